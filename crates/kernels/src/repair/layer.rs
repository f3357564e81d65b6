//! A fit of weights as they are stored.

use crate::apply::apply;
use crate::axes::Axes;
use crate::error::{Error, reserve};
use crate::numbers::{Numbers, NumbersMut};
use crate::scalar::{narrow_bfloat16, narrow_float16, widen_bfloat16, widen_float16};

use super::product::zeros;
use super::seen::Seen;
use super::solve::{Fit, Fitted, fit};

/// Where the weights of a layer are stored.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Groups, outputs of a group, inputs of a group, depth, height, width.
    pub sizes: [usize; 6],
    /// How far apart neighbours are along each of them.
    pub steps: [usize; 6],
}

impl Layout {
    /// The place of each weight, in canonical order, if all of them are below `count`.
    fn places(&self, count: usize) -> Result<Vec<usize>, Error> {
        let Layout { sizes, steps } = *self;
        let total = sizes.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
        if total != Some(count) || count == 0 {
            return Err(Error::Request("fit: the layout does not have the weights of the tensor"));
        }
        let mut places = reserve(count)?;
        places.push(0);
        // Each axis follows every place of those before it.
        for (size, step) in sizes.into_iter().zip(steps) {
            let before: Vec<usize> = std::mem::replace(&mut places, reserve(count)?);
            places.extend(before.iter().flat_map(|place| (0..size).map(move |index| place + index * step)));
        }
        if places.iter().any(|place| *place >= count) {
            return Err(Error::Request("fit: a weight lies outside of the tensor"));
        }
        Ok(places)
    }
}

/// How a layer is fitted: see [`Fit`].
#[derive(Clone, Copy, Debug)]
pub struct Fitting<'a> {
    pub layout: Layout,
    pub seen: Seen<'a>,
    pub held_out: Option<Seen<'a>>,
    pub ridge: f64,
    pub checks: &'a [usize],
    pub has_bias: bool,
    pub without_empty: bool,
}

/// [`fit`]s the weights that the mask keeps to the outputs of the `dense` ones, and writes them to `weights`, which have the
/// same type and layout. `shift` has one number for each output, what the bias gains.
pub fn fit_layer(
    fitting: &Fitting,
    dense: Numbers,
    weights: NumbersMut,
    (axes, mask): (&Axes, &[u32]),
    shift: &mut [f32],
) -> Result<Fitted, Error> {
    let Fitting { layout, seen, held_out, ridge, checks, has_bias, without_empty } = *fitting;
    let count = weights.len();
    if dense.len() != count {
        return Err(Error::Request("fit: the dense weights have another size"));
    }
    let round: fn(f32) -> f32 = match (&dense, &weights) {
        (Numbers::Float32(_), NumbersMut::Float32(_)) => |number| number,
        (Numbers::Float16(_), NumbersMut::Float16(_)) => |number| widen_float16(narrow_float16(number)),
        (Numbers::Bfloat16(_), NumbersMut::Bfloat16(_)) => |number| widen_bfloat16(narrow_bfloat16(number)),
        _ => return Err(Error::Request("fit: the dense weights have another type")),
    };
    let places = layout.places(count)?;
    let mut marks = reserve(count)?;
    marks.resize(count, 1.0f32.to_le_bytes());
    apply(NumbersMut::Float32(&mut marks), axes, mask)?;
    let mut kept = reserve(count)?;
    kept.extend(places.iter().map(|place| u8::from(marks[*place] != [0; 4])));
    let mut canonical = zeros(count)?;
    dense.pick(places.iter().copied(), &mut canonical);

    let [groups, outputs, inputs, kernel @ ..] = layout.sizes;
    let columns = inputs * kernel.iter().product::<usize>();
    let problem = Fit {
        groups,
        outputs,
        columns,
        weights: &canonical,
        kept: &kept,
        seen,
        held_out,
        ridge,
        checks,
        has_bias,
        without_empty,
        round,
    };
    let mut solution = zeros(count)?;
    let fitted = fit(&problem, &mut solution, shift)?;
    let pairs = places.into_iter().zip(solution);
    match weights {
        NumbersMut::Float32(weights) => pairs.for_each(|(place, number)| weights[place] = number.to_le_bytes()),
        NumbersMut::Float16(weights) => {
            pairs.for_each(|(place, number)| weights[place] = narrow_float16(number).to_le_bytes());
        }
        NumbersMut::Bfloat16(weights) => {
            pairs.for_each(|(place, number)| weights[place] = narrow_bfloat16(number).to_le_bytes());
        }
    }
    Ok(fitted)
}
