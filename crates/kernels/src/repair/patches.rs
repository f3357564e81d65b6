//! The inputs of a layer as rows, one for each position of its output: what a kernel lies over, zero where the layer pads.

use crate::error::{Error, reserve};
use crate::tasks::for_chunks;

use super::product::{BLOCK, width_of};

/// How a layer goes over its input. A dense layer has neither space nor kernel: all of these are 1, and pads 0.
#[derive(Clone, Copy, Debug)]
pub struct Geometry {
    pub groups: usize,
    /// The input channels of each group.
    pub inputs: usize,
    /// Along depth, height and width; 1 along an axis that the layer does not have.
    pub kernel: [usize; 3],
    pub strides: [usize; 3],
    /// Before the input's first position, along each axis. Negative pads leave inputs out.
    pub pads: [isize; 3],
    pub dilations: [usize; 3],
    /// Whether it is a transposed convolution, whose kernel an input position spreads over the output.
    pub transposed: bool,
}

impl Geometry {
    /// The length of a row: input channels of a group times places of the kernel.
    pub fn columns(&self) -> usize {
        self.inputs * self.kernel.iter().product::<usize>()
    }
}

/// A batch of inputs of a layer.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    pub numbers: &'a [f32],
    /// Of the input: samples, then depth, height and width, each 1 where there is no such axis.
    pub samples: usize,
    pub space: [usize; 3],
    /// The positions of the output along depth, height and width.
    pub positions: [usize; 3],
    /// How far apart in `numbers` neighbours are along samples, channels, depth, height and width.
    pub steps: [usize; 5],
}

/// In place of the offset of a position outside of the input.
const OUTSIDE: usize = usize::MAX;

/// The rows of a batch.
pub(crate) struct Patches<'a> {
    geometry: &'a Geometry,
    inputs: &'a Inputs<'a>,
    /// Along each axis, for each position of the output and each place of the kernel: the offset of the input there.
    offsets: [Vec<usize>; 3],
}

impl<'a> Patches<'a> {
    pub(crate) fn new(geometry: &'a Geometry, inputs: &'a Inputs<'a>) -> Result<Self, Error> {
        let Geometry { groups, inputs: channels, .. } = *geometry;
        check_sizes(geometry, inputs)?;
        let [sample, channel, space @ ..] = inputs.steps;
        let sizes = [(inputs.samples, sample), (groups * channels, channel)];
        let axes = sizes.into_iter().chain(inputs.space.into_iter().zip(space));
        let last = axes.map(|(size, step)| size.saturating_sub(1).saturating_mul(step)).fold(0, usize::saturating_add);
        let is_empty = inputs.samples == 0 || inputs.space.contains(&0);
        if geometry.columns() == 0 || groups == 0 || geometry.strides.contains(&0) {
            return Err(Error::Request("moments: a layer without inputs"));
        }
        if !is_empty && last >= inputs.numbers.len() {
            return Err(Error::Request("moments: the inputs are shorter than their shape"));
        }
        let mut offsets = [const { Vec::new() }; 3];
        for (axis, offsets) in offsets.iter_mut().enumerate() {
            let count = inputs.positions[axis].checked_mul(geometry.kernel[axis]);
            *offsets = reserve(count.ok_or(Error::Request("moments: too many positions"))?)?;
            for position in 0..inputs.positions[axis] {
                for place in 0..geometry.kernel[axis] {
                    let coordinate = geometry.coordinate(axis, position, place);
                    let inside = coordinate.filter(|&at| at < inputs.space[axis]);
                    offsets.push(inside.map_or(OUTSIDE, |at| at * space[axis]));
                }
            }
        }
        Ok(Patches { geometry, inputs, offsets })
    }

    /// How many rows there are in each group.
    pub(crate) fn rows(&self) -> usize {
        self.inputs.samples * self.inputs.positions.iter().product::<usize>()
    }

    /// The columns of a row, and one that is 1.
    pub(crate) fn width(&self) -> usize {
        width_of(self.geometry.columns())
    }

    /// Writes rows from `start` on of each group, `count` rows for each, zeros after the last one. `count` is a multiple
    /// of [`BLOCK`].
    pub(crate) fn write(&self, start: usize, count: usize, target: &mut [f32]) {
        let (width, all) = (self.width(), self.rows());
        for_chunks(target, BLOCK * width, &|index, target| {
            let blocks = count / BLOCK;
            let (group, first) = (index / blocks, start + index % blocks * BLOCK);
            for (row, target) in (first..).zip(target.chunks_exact_mut(width)) {
                target.fill(0.0);
                if row < all {
                    self.write_row(group, row, target);
                }
            }
        });
    }

    fn write_row(&self, group: usize, row: usize, target: &mut [f32]) {
        let Geometry { inputs: channels, kernel, .. } = *self.geometry;
        let Inputs { numbers, positions, steps, .. } = *self.inputs;
        let (row, w) = (row / positions[2], row % positions[2]);
        let (row, h) = (row / positions[1], row % positions[1]);
        let (sample, d) = (row / positions[0], row % positions[0]);
        let along = |axis: usize, position: usize| &self.offsets[axis][position * kernel[axis]..][..kernel[axis]];
        let places = kernel.iter().product();
        for (channel, target) in target.chunks_exact_mut(places).take(channels).enumerate() {
            let start = sample * steps[0] + (group * channels + channel) * steps[1];
            let mut target = target.iter_mut();
            for &depth in along(0, d) {
                for &height in along(1, h) {
                    for &width in along(2, w) {
                        let is_inside = depth != OUTSIDE && height != OUTSIDE && width != OUTSIDE;
                        if let Some(target) = target.next()
                            && is_inside
                        {
                            *target = numbers[start + depth + height + width];
                        }
                    }
                }
            }
        }
        target[self.geometry.columns()] = 1.0;
    }
}

/// Rows without any number of the input, which pads and strides may make, are at most so many times the others, and so
/// many more. Otherwise a few numbers would take as long as somebody likes.
const MOST_EMPTY: u64 = 1 << 12;
const MORE_EMPTY: u64 = 1 << 22;

/// Refuses sizes whose product does not fit, or that take more time than the inputs are worth.
fn check_sizes(geometry: &Geometry, inputs: &Inputs) -> Result<(), Error> {
    let Geometry { groups, inputs: channels, kernel, .. } = *geometry;
    let product = |sizes: &[usize]| sizes.iter().fold(1, |product: u64, size| product.saturating_mul(*size as u64));
    if product(&kernel).saturating_mul(product(&[groups, channels])) > u64::from(u32::MAX) {
        return Err(Error::Request("moments: the layer is too large"));
    }
    let numbers = product(&inputs.space).saturating_mul(product(&[inputs.samples, groups, channels]));
    if numbers > inputs.numbers.len() as u64 {
        return Err(Error::Request("moments: the inputs are shorter than their shape"));
    }
    // Each place of the kernel meets each position of the input at most once.
    let met = product(&inputs.space).saturating_mul(product(&kernel)).saturating_mul(inputs.samples as u64);
    let rows = product(&inputs.positions.map(|count| count.max(1))).saturating_mul(inputs.samples.max(1) as u64);
    if rows > met.saturating_mul(MOST_EMPTY).saturating_add(MORE_EMPTY) {
        return Err(Error::Request("moments: most positions are outside of the inputs"));
    }
    Ok(())
}

impl Geometry {
    /// The position of the input under a place of the kernel, where there may be one.
    fn coordinate(&self, axis: usize, position: usize, place: usize) -> Option<usize> {
        let (stride, reach) = (self.strides[axis] as isize, (place * self.dilations[axis]) as isize);
        let (position, pad) = (position as isize, self.pads[axis]);
        let at = if self.transposed {
            let spread = position + pad - reach;
            if spread % stride != 0 {
                return None;
            }
            spread / stride
        } else {
            position * stride + reach - pad
        };
        usize::try_from(at).ok()
    }
}
