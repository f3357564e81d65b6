//! What is known of the inputs of a layer.

/// Of the rows that a model sees: second moments `x'x / n`, `[groups, d, d]`, and means `[groups, d]`.
#[derive(Clone, Copy, Debug)]
pub struct Moments<'a> {
    pub moment: &'a [f32],
    pub mean: &'a [f32],
}

/// Rows of the same samples in two models.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Those of the pruned model.
    pub pruned: Moments<'a>,
    /// Those of the dense model, and `x_dense'x_pruned / n`, if they differ.
    pub dense: Option<(Moments<'a>, &'a [f32])>,
}

impl Moments<'_> {
    fn fits(&self, groups: usize, columns: usize) -> bool {
        self.moment.len() == groups * columns * columns && self.mean.len() == groups * columns
    }
}

impl<'a> Seen<'a> {
    pub(super) fn fits(&self, groups: usize, columns: usize) -> bool {
        let dense = self
            .dense
            .is_none_or(|(dense, cross)| dense.fits(groups, columns) && cross.len() == groups * columns * columns);
        self.pruned.fits(groups, columns) && dense
    }

    pub(super) fn dense_mean(&self) -> &[f32] {
        self.dense.map_or(self.pruned.mean, |(dense, _)| dense.mean)
    }

    /// The second moments of a group, and the means of their left and right factors.
    pub(super) fn of(&self, which: Which, group: usize, columns: usize) -> (&[f32], &[f32], &[f32]) {
        let (moment, left, right) = match (which, self.dense) {
            (Which::Dense, Some((dense, _))) => (dense.moment, dense.mean, dense.mean),
            (Which::Cross, Some((dense, cross))) => (cross, dense.mean, self.pruned.mean),
            _ => (self.pruned.moment, self.pruned.mean, self.pruned.mean),
        };
        let mean = |mean: &'a [f32]| &mean[group * columns..][..columns];
        (&moment[group * columns * columns..][..columns * columns], mean(left), mean(right))
    }
}

/// The pairs of models whose rows are multiplied.
#[derive(Clone, Copy)]
pub(super) enum Which {
    Pruned,
    Dense,
    Cross,
}
