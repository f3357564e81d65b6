//! Kept weights that make up for removed ones: a least-squares fit on a fixed mask, by conjugate gradients.
//!
//! All rows of a layer are solved at once, with the matrix of moments read once per step. Arrays of a layer are transposed
//! here, `[column][output]`, so that rows of the layer lie beside each other in registers and both factors of each product
//! are read along their rows.

use crate::error::Error;

use super::product::{Panels, add_products, padded, zeros};
use super::seen::{Seen, Which};

/// A layer to fit.
#[derive(Clone, Copy, Debug)]
pub struct Fit<'a> {
    pub groups: usize,
    /// The outputs of each group, and the columns of a row.
    pub outputs: usize,
    pub columns: usize,
    /// The dense weights, `[groups, outputs, columns]`.
    pub weights: &'a [f32],
    /// 1 for each weight that is kept, 0 for the others.
    pub kept: &'a [u8],
    pub seen: Seen<'a>,
    /// The rows that solutions are compared on; those of `seen` if there are none.
    pub held_out: Option<Seen<'a>>,
    /// Added to the diagonal, as a share of its mean.
    pub ridge: f64,
    /// After how many steps solutions are compared, in ascending order. 0 is the mask with its bias.
    pub checks: &'a [usize],
    /// Whether the layer has a bias, or is given one.
    pub has_bias: bool,
    /// Whether outputs without any weight have lost their bias, too. They are given none.
    pub without_empty: bool,
    /// What storing does to a weight.
    pub round: fn(f32) -> f32,
}

/// What a fit achieves, over the rows that solutions are compared on: sums of squares, divided by the number of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Fitted {
    /// Of the differences of outputs, with the mask alone and with the solution.
    pub masked: f64,
    pub solved: f64,
    /// Of the dense outputs, without their bias.
    pub whole: f64,
    /// How many groups have a solution that is better than the mask alone. The others keep it.
    pub groups: usize,
}

/// Writes the weights that come nearest to the dense layer's outputs, and what its bias gains. Removed weights are +0.0.
///
/// `H = x'x / n - m m'` of the pruned rows, `G = W (x_dense'x_pruned / n - m_dense m_pruned' + r I)`, both without the means
/// if there is no bias; then `H += r I`. Preconditioned conjugate gradients minimise `tr(V H V' - 2 G V')` on the mask, from
/// the masked weights on. Scalars and products of matrices are added up in `f64`, all else is `f32`.
pub fn fit(fit: &Fit, solution: &mut [f32], shift: &mut [f32]) -> Result<Fitted, Error> {
    let Fit { groups, outputs, columns, checks, .. } = *fit;
    let weights = groups.checked_mul(outputs).and_then(|count| count.checked_mul(columns));
    let has = |length: usize| Some(length) == weights;
    let moments = [Some(fit.seen), fit.held_out];
    let fits = moments.iter().flatten().all(|seen| seen.fits(groups, columns));
    if !(has(fit.weights.len()) && has(fit.kept.len()) && has(solution.len()) && fits)
        || shift.len() != groups * outputs
        || !checks.is_sorted()
        || checks.last().is_some_and(|last| *last > MOST_STEPS)
    {
        return Err(Error::Request("fit: the parts have different sizes"));
    }
    let mut state = State::new(fit)?;
    let mut total = Fitted::default();
    for group in 0..groups {
        let each = outputs * columns;
        let result = (&mut solution[group * each..][..each], &mut shift[group * outputs..][..outputs]);
        let fitted = state.solve(fit, group, result);
        total.masked += fitted.masked;
        total.solved += fitted.solved;
        total.whole += fitted.whole;
        total.groups += fitted.groups;
    }
    Ok(total)
}

/// The most steps: as many as the option of the facade may ask for.
const MOST_STEPS: usize = 1000;

/// Of the mean second moment, times the root of the number of columns: an upper bound for what rounding moments to `f32` does
/// to the eigenvalues of covariances. The ridge is at least that, or inputs that hardly vary would have any solution.
const ROUNDING: f64 = 5e-7;

/// The arrays of one group. Those of weights are `[column][output]`, `wide` outputs each.
struct State {
    outputs: usize,
    columns: usize,
    wide: usize,
    dense: Vec<f32>,
    kept: Vec<f32>,
    solution: Vec<f32>,
    residual: Vec<f32>,
    direction: Vec<f32>,
    /// The solution as it is stored, and differences of weights.
    rounded: Vec<f32>,
    products: Vec<f64>,
    /// Matrices of `[columns][padded columns]`, one at a time but for the damped one, which the steps read.
    damped: Panels,
    matrix: Panels,
    /// The other factor of a product.
    factor: Panels,
    /// A row of a matrix. Behind the columns it stays 0.
    row: Vec<f32>,
    shift: Vec<f64>,
}

impl State {
    fn new(fit: &Fit) -> Result<Self, Error> {
        let wide = padded(fit.outputs);
        let weights = fit.columns * wide;
        let square = || Panels::new(1, fit.columns, padded(fit.columns));
        Ok(State {
            outputs: fit.outputs,
            columns: fit.columns,
            wide,
            dense: zeros(weights)?,
            kept: zeros(weights)?,
            solution: zeros(weights)?,
            residual: zeros(weights)?,
            direction: zeros(weights)?,
            rounded: zeros(weights)?,
            products: zeros(padded(fit.columns) * wide)?,
            damped: square()?,
            matrix: square()?,
            factor: Panels::new(1, fit.columns, wide)?,
            row: zeros(padded(fit.columns))?,
            shift: zeros(wide)?,
        })
    }

    fn solve(&mut self, fit: &Fit, group: usize, (solution, shift): (&mut [f32], &mut [f32])) -> Fitted {
        let each = self.outputs * self.columns;
        for output in 0..self.outputs {
            for column in 0..self.columns {
                let (from, to) = (group * each + output * self.columns + column, column * self.wide + output);
                self.dense[to] = fit.weights[from];
                self.kept[to] = f32::from(fit.kept[from] != 0);
            }
        }
        for ((solution, weight), kept) in self.solution.iter_mut().zip(&self.dense).zip(&self.kept) {
            *solution = if *kept == 0.0 { 0.0 } else { *weight };
        }
        let compared = fit.held_out.unwrap_or(fit.seen);
        self.shift.fill(0.0);
        self.round(fit);
        let whole = self.whole(fit, &compared, group);
        let masked = self.error(fit, &compared, group);
        self.keep(solution, shift);
        let mut best = Fitted { masked, solved: masked, whole, groups: 0 };

        let ridge = self.load(fit, &fit.seen, group, Which::Pruned, true);
        self.first_residual(fit, group, ridge);
        let mut old = self.precondition(None);
        let last = fit.checks.last().copied().unwrap_or(0);
        for step in 0..=last {
            if step > 0 {
                old = self.step(old);
            }
            if fit.checks.contains(&step) {
                self.round(fit);
                self.set_shift(fit, group);
                let solved = self.error(fit, &compared, group);
                if solved < best.solved {
                    self.keep(solution, shift);
                    best = Fitted { solved, groups: 1, ..best };
                }
            }
        }
        best
    }

    /// The solution as it is stored.
    fn round(&mut self, fit: &Fit) {
        for (rounded, number) in self.rounded.iter_mut().zip(&self.solution) {
            *rounded = (fit.round)(*number);
        }
    }

    /// Writes the rounded solution and its shift to the results.
    fn keep(&self, solution: &mut [f32], shift: &mut [f32]) {
        for (output, (row, shift)) in solution.chunks_exact_mut(self.columns).zip(shift).enumerate() {
            for (column, number) in row.iter_mut().enumerate() {
                *number = self.rounded[column * self.wide + output];
            }
            *shift = self.shift[output] as f32;
        }
    }

    /// Sets `matrix`, or `damped`, to covariances, or to second moments if the layer has no bias. Returns what is added to
    /// the diagonal of the damped ones.
    fn load(&mut self, fit: &Fit, seen: &Seen, group: usize, which: Which, damp: bool) -> f64 {
        let columns = self.columns;
        let (moment, left, right) = seen.of(which, group, columns);
        let target = if damp { &mut self.damped } else { &mut self.matrix };
        let row = &mut self.row;
        for (place, (moment, left)) in moment.chunks_exact(columns).zip(left).enumerate() {
            row[..columns].copy_from_slice(moment);
            if fit.has_bias {
                for (number, right) in row.iter_mut().zip(right) {
                    *number = (f64::from(*number) - f64::from(*left) * f64::from(*right)) as f32;
                }
            }
            target.set_row(place, row);
        }
        if !damp {
            return 0.0;
        }
        let mean = |diagonal: &dyn Fn(usize) -> f32| {
            (0..columns).map(|place| f64::from(diagonal(place))).sum::<f64>() / columns as f64
        };
        let rounding = ROUNDING * (columns as f64).sqrt() * mean(&|place| moment[place * columns + place]);
        let ridge = (fit.ridge * mean(&|place| target.get(place, place))).max(rounding);
        for place in 0..columns {
            target.add(place, place, ridge as f32);
        }
        ridge
    }

    /// Sets `products` to a matrix times `numbers`.
    fn multiply(products: &mut [f64], matrix: &Panels, factor: &mut Panels, numbers: &[f32]) {
        products.fill(0.0);
        factor.set(numbers);
        add_products(matrix, factor, false, products);
    }

    /// `(G - V H) . M` of the masked weights.
    fn first_residual(&mut self, fit: &Fit, group: usize, ridge: f64) {
        if fit.seen.dense.is_none() {
            // W H - V H.
            for ((difference, dense), solution) in self.rounded.iter_mut().zip(&self.dense).zip(&self.solution) {
                *difference = dense - solution;
            }
            Self::multiply(&mut self.products, &self.damped, &mut self.factor, &self.rounded);
            for ((residual, product), kept) in self.residual.iter_mut().zip(&self.products).zip(&self.kept) {
                *residual = *product as f32 * kept;
            }
            return;
        }
        self.load(fit, &fit.seen, group, Which::Cross, false);
        for place in 0..self.columns {
            self.matrix.add(place, place, ridge as f32);
        }
        Self::multiply(&mut self.products, &self.matrix, &mut self.factor, &self.dense);
        for (residual, product) in self.residual.iter_mut().zip(&self.products) {
            *residual = *product as f32;
        }
        Self::multiply(&mut self.products, &self.damped, &mut self.factor, &self.solution);
        for ((residual, product), kept) in self.residual.iter_mut().zip(&self.products).zip(&self.kept) {
            *residual = (*residual - *product as f32) * kept;
        }
    }

    /// The next direction, `Z + b P` with `Z = R / diag(H)` and `b = <R, Z> / old`, or `Z` at first. Returns `<R, Z>` of each
    /// output.
    fn precondition(&mut self, old: Option<&[f64]>) -> Vec<f64> {
        let wide = self.wide;
        let mut dots = vec![0.0; wide];
        for (column, residual) in self.residual.chunks_exact(wide).enumerate() {
            let diagonal = self.damped.get(column, column);
            for (dot, residual) in dots.iter_mut().zip(residual) {
                *dot += f64::from(*residual) * f64::from(quotient(*residual, diagonal));
            }
        }
        for (column, direction) in self.direction.chunks_exact_mut(wide).enumerate() {
            let diagonal = self.damped.get(column, column);
            let residual = &self.residual[column * wide..][..wide];
            for (output, (direction, residual)) in direction.iter_mut().zip(residual).enumerate() {
                let before = old.map_or(0.0, |old| ratio(dots[output], old[output]) as f32 * *direction);
                *direction = quotient(*residual, diagonal) + before;
            }
        }
        dots
    }

    /// One step of conjugate gradients. @returns `<R, Z>` after it
    fn step(&mut self, old: Vec<f64>) -> Vec<f64> {
        let wide = self.wide;
        Self::multiply(&mut self.products, &self.damped, &mut self.factor, &self.direction);
        let mut curves = vec![0.0; wide];
        let rows = || self.products.chunks_exact(wide).zip(self.kept.chunks_exact(wide));
        for ((products, kept), direction) in rows().zip(self.direction.chunks_exact(wide)) {
            for (((curve, product), kept), direction) in curves.iter_mut().zip(products).zip(kept).zip(direction) {
                *curve += f64::from(*direction) * (*product * f64::from(*kept));
            }
        }
        let lengths: Vec<f32> = old.iter().zip(curves).map(|(old, curve)| ratio(*old, curve) as f32).collect();
        for ((solution, direction), row) in self
            .solution
            .chunks_exact_mut(wide)
            .zip(self.direction.chunks_exact(wide))
            .zip(self.residual.chunks_exact_mut(wide).zip(rows()))
        {
            let (residual, (products, kept)) = row;
            for output in 0..wide {
                solution[output] += lengths[output] * direction[output];
                residual[output] -= lengths[output] * (products[output] as f32 * kept[output]);
            }
        }
        self.precondition(Some(&old))
    }

    /// `W m_dense - V m_pruned` for each output, by which the means of outputs differ.
    fn offsets(&mut self, seen: &Seen, group: usize) -> Vec<f64> {
        let mut offsets = vec![0.0; self.wide];
        let start = group * self.columns;
        for column in 0..self.columns {
            let dense = f64::from(seen.dense_mean()[start + column]);
            let pruned = f64::from(seen.pruned.mean[start + column]);
            let place = column * self.wide;
            let rows = self.dense[place..].iter().zip(&self.rounded[place..]);
            for (offset, (weight, solution)) in offsets.iter_mut().zip(rows) {
                *offset += f64::from(*weight) * dense - f64::from(*solution) * pruned;
            }
        }
        offsets
    }

    fn set_shift(&mut self, fit: &Fit, group: usize) {
        if !fit.has_bias {
            return;
        }
        self.shift = self.offsets(&fit.seen, group);
        if fit.without_empty {
            for output in 0..self.outputs {
                let mut kept = self.kept[output..].iter().step_by(self.wide);
                if kept.all(|kept| *kept == 0.0) {
                    self.shift[output] = 0.0;
                }
            }
        }
    }

    /// The mean of the squared differences between the outputs of the dense weights and of the rounded solution.
    fn error(&mut self, fit: &Fit, seen: &Seen, group: usize) -> f64 {
        let centred = Fit { has_bias: true, ..*fit };
        let offsets = self.offsets(seen, group);
        let mut error: f64 = offsets.iter().zip(&self.shift).map(|(offset, shift)| (offset - shift).powi(2)).sum();
        self.load(&centred, seen, group, Which::Pruned, false);
        if seen.dense.is_none() {
            let difference: Vec<f32> = self.dense.iter().zip(&self.rounded).map(|(a, b)| a - b).collect();
            Self::multiply(&mut self.products, &self.matrix, &mut self.factor, &difference);
            return (error + dot(&self.products, &difference)).max(0.0);
        }
        Self::multiply(&mut self.products, &self.matrix, &mut self.factor, &self.rounded);
        error += dot(&self.products, &self.rounded);
        self.load(&centred, seen, group, Which::Dense, false);
        Self::multiply(&mut self.products, &self.matrix, &mut self.factor, &self.dense);
        error += dot(&self.products, &self.dense);
        self.load(&centred, seen, group, Which::Cross, false);
        Self::multiply(&mut self.products, &self.matrix, &mut self.factor, &self.dense);
        (error - 2.0 * dot(&self.products, &self.rounded)).max(0.0)
    }

    /// The mean of the squared outputs of the dense weights, without their bias.
    fn whole(&mut self, fit: &Fit, seen: &Seen, group: usize) -> f64 {
        let raw = Fit { has_bias: false, ..*fit };
        self.load(&raw, seen, group, Which::Dense, false);
        Self::multiply(&mut self.products, &self.matrix, &mut self.factor, &self.dense);
        dot(&self.products, &self.dense)
    }
}

fn dot(products: &[f64], numbers: &[f32]) -> f64 {
    products.iter().zip(numbers).map(|(product, number)| product * f64::from(*number)).sum()
}

/// 0 divided by 0 is 0 here: an input that never varies.
fn quotient(number: f32, divisor: f32) -> f32 {
    if divisor > 0.0 { number / divisor } else { 0.0 }
}

fn ratio(number: f64, divisor: f64) -> f64 {
    if divisor > 0.0 { number / divisor } else { 0.0 }
}
