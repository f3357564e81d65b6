//! What the verbs of `repair` take and give: one struct of words for each call.

use sparsifier_kernels::{Error, Fitting, Geometry, Inputs, Layout, Moments, Seen, diagonal, fit_layer, sums_width};

use crate::blocks::check_range;
use crate::record::{words, words_of};
use crate::table::{Record, floats, floats_mut, numbers, sums_mut};

/// Room for so many checks of a fit.
pub const MOST_CHECKS: usize = 8;

words! {
/// A batch of inputs of a layer, and where its products are added up. An address of 0 means that there is none.
MomentsWords MOMENTS {
    /// `f32`, aligned.
    inputs: u32,
    /// The inputs of the same samples in another model, of the same shape.
    second: u32,
    /// How many numbers each has.
    length: u32,
    /// `f64`, aligned.
    sums: u32,
    /// 1 for the diagonal only.
    is_diagonal: u32,
    groups: u32,
    channels: u32,
    kernel: [u32; 3],
    strides: [u32; 3],
    pads: [i32; 3],
    dilations: [u32; 3],
    transposed: u32,
    samples: u32,
    space: [u32; 3],
    positions: [u32; 3],
    steps: [u32; 5],
}
}

words! {
/// Sums, and where the moments and means go that they give.
FinishWords FINISH {
    sums: u32,
    groups: u32,
    columns: u32,
    moments: u32,
    means: u32,
    second_means: u32,
}
}

words! {
/// A layer to fit, beside the record of its weights and mask.
FitWords FIT {
    /// An `f64`, the lower word first, as are the results.
    ridge: [u32; 2],
    masked: [u32; 2],
    solved: [u32; 2],
    whole: [u32; 2],
    /// How many groups have a solution that is better than the mask alone.
    better: u32,
    /// The dense weights, of the type of the record's.
    dense: u32,
    sizes: [u32; 6],
    steps: [u32; 6],
    /// Moments and means, those of the dense model, and moments of both.
    seen: [u32; 5],
    held_out: [u32; 5],
    checks: [u32; MOST_CHECKS],
    check_count: u32,
    has_bias: u32,
    without_empty: u32,
    /// `f32`, one for each output.
    shift: u32,
}
}

/// One request to read, or to write results to.
fn request<'a, T>(address: usize) -> Result<&'a mut T, Error> {
    check_range(address, 1, size_of::<T>(), align_of::<T>())?;
    // SAFETY: the range lies in a block and is aligned (checked), and any words are a request; the caller promises a block
    // of its own for these.
    Ok(unsafe { &mut *(address as *mut T) })
}

fn triple(words: [u32; 3]) -> [usize; 3] {
    words.map(|word| word as usize)
}

/// Adds the products of a batch to its sums.
pub fn moments(address: usize) -> Result<(), Error> {
    let words = request::<MomentsWords>(address)?;
    let geometry = Geometry {
        groups: words.groups as usize,
        inputs: words.channels as usize,
        kernel: triple(words.kernel),
        strides: triple(words.strides),
        pads: words.pads.map(|pad| pad as isize),
        dilations: triple(words.dilations),
        transposed: words.transposed != 0,
    };
    let inputs = |address: u32| {
        Ok(Inputs {
            numbers: floats(address as usize, words.length as usize)?,
            samples: words.samples as usize,
            space: triple(words.space),
            positions: triple(words.positions),
            steps: words.steps.map(|step| step as usize),
        })
    };
    let is_diagonal = words.is_diagonal != 0;
    let width = sums_width(geometry.columns());
    let rows = if is_diagonal { 2 } else { width };
    let count = geometry.groups.checked_mul(width).and_then(|count| count.checked_mul(rows));
    let sums = sums_mut(words.sums as usize, count.ok_or(Error::Request("moments: the layer is too large"))?)?;
    let first = inputs(words.inputs)?;
    if is_diagonal {
        return diagonal(&geometry, &first, sums);
    }
    let second = if words.second == 0 { None } else { Some(inputs(words.second)?) };
    sparsifier_kernels::moments(&geometry, &first, second.as_ref(), sums)
}

/// Divides sums by the number of rows.
pub fn finish(address: usize) -> Result<(), Error> {
    let words = request::<FinishWords>(address)?;
    let (groups, columns) = (words.groups as usize, words.columns as usize);
    let width = sums_width(columns);
    let square = |width: usize| groups.checked_mul(width).and_then(|count| count.checked_mul(width));
    let too_large = Error::Request("finish: the layer is too large");
    let sums = sums_mut(words.sums as usize, square(width).ok_or(too_large)?)?;
    let results = floats_mut(words.moments as usize, square(columns).ok_or(too_large)?)?;
    let means = floats_mut(words.means as usize, groups * columns)?;
    let second_means = match words.second_means as usize {
        0 => None,
        address => Some(floats_mut(address, groups * columns)?),
    };
    sparsifier_kernels::finish(groups, columns, sums, results, means, second_means)
}

/// Fits the weights of a record, and writes what came of it.
pub fn fit(record: &mut Record, address: usize) -> Result<(), Error> {
    let words = request::<FitWords>(address)?;
    let layout = Layout { sizes: words.sizes.map(|size| size as usize), steps: words.steps.map(|step| step as usize) };
    let [groups, outputs, inputs, kernel @ ..] = layout.sizes;
    let too_large = Error::Request("fit: the layer is too large");
    let product = |sizes: &[usize]| sizes.iter().try_fold(1usize, |all, size| all.checked_mul(*size)).ok_or(too_large);
    let columns = product(&[inputs, product(&kernel)?])?;
    let (means, square) = (product(&[groups, columns])?, product(&[groups, columns, columns])?);
    let moments_at = |moment: u32, mean: u32| {
        Ok(Moments { moment: floats(moment as usize, square)?, mean: floats(mean as usize, means)? })
    };
    let seen = |[moment, mean, dense_moment, dense_mean, cross]: [u32; 5]| {
        let dense = match dense_moment {
            0 => None,
            _ => Some((moments_at(dense_moment, dense_mean)?, floats(cross as usize, square)?)),
        };
        Ok(Seen { pruned: moments_at(moment, mean)?, dense })
    };
    let checks = words.checks.map(|check| check as usize);
    let checks = checks.get(..words.check_count as usize).ok_or(Error::Request("fit: too many checks"))?;
    let fitting = Fitting {
        layout,
        seen: seen(words.seen)?,
        held_out: if words.held_out[0] == 0 { None } else { Some(seen(words.held_out)?) },
        ridge: f64_of(words.ridge),
        checks,
        has_bias: words.has_bias != 0,
        without_empty: words.without_empty != 0,
    };
    let axes = record.axes()?;
    let dense = numbers(words.dense as usize, axes.weights(), record.data_type())?;
    let shift = floats_mut(words.shift as usize, product(&[groups, outputs])?)?;
    let mask = (&axes, record.mask()?);
    let fitted = fit_layer(&fitting, dense, record.numbers_mut()?, mask, shift)?;
    words.masked = words_of(fitted.masked);
    words.solved = words_of(fitted.solved);
    words.whole = words_of(fitted.whole);
    words.better = fitted.groups as u32;
    Ok(())
}

fn f64_of([low, high]: [u32; 2]) -> f64 {
    f64::from_bits(u64::from(low) | u64::from(high) << 32)
}
