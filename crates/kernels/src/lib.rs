//! Scores, thresholds and masks for pruning weight tensors.
//!
//! Four verbs, one module each: [`score()`] gives every unit of a tensor its usefulness, [`select()`] finds the cut that
//! removes an exact number of units, [`mask()`] writes one bit per unit, [`apply()`] zeroes the removed weights.
//! [`nm()`] makes masks of a fixed pattern in place of the second and third; [`survey()`] finds out what a selection needs
//! to know of a tensor that cannot stay; [`save()`] and [`restore()`] take removed
//! weights out and put them back.
//!
//! ```
//! use sparsifier_kernels::{Axes, Axis, Element, Elements, Numbers, NumbersMut, Segment, apply, mask, select, words_for};
//!
//! let mut weights = [3.0f32, -1.0, 2.0, 0.5].map(f32::to_le_bytes);
//! let axes = Axes::new(&[Axis::kept(4, 0)])?;
//! let scores = Elements::new(Numbers::Float32(&weights), Element::Magnitude, None)?;
//! let segment = Segment { scores, axes: &axes, earlier: None, group: 0, limit: 4 };
//! let cut = select(&[segment], &[2])?[0];
//! let mut bits = vec![0; words_for(4)];
//! mask(&segment, cut, &mut bits)?;
//! apply(NumbersMut::Float32(&mut weights), &axes, &bits)?;
//! assert_eq!(weights.map(f32::from_le_bytes), [3.0, 0.0, 2.0, 0.0]);
//! # Ok::<(), sparsifier_kernels::Error>(())
//! ```
//!
//! The kernels know neither the names of criteria nor file formats nor JavaScript. Results are the same bits for any
//! number of threads and on every target: work is split by shape alone, sums run in `f64` in canonical order, nothing
//! is contracted or reassociated. Nothing here panics on valid requests; requests are checked on entry.

// Each module uses those of the floors below it alone; tests/floors.rs holds the order.
//
// Vocabulary: numbers, axes, bits, scores of weights, and the units of a tensor.
mod axes;
mod bits;
mod elements;
mod error;
mod keys;
mod numbers;
mod scalar;
mod segment;
mod simd;
mod tasks;

// Verbs.
mod apply;
mod inspect;
mod mask;
mod nm;
mod normalize;
mod random;
mod remove;
mod repair;
mod save;
mod score;
mod select;
mod survey;
#[cfg(feature = "yardstick")]
mod yardstick;

pub use apply::{Zeroed, apply};
pub use axes::{Axes, Axis, MAX_AXES};
pub use bits::words_for;
pub use elements::{ChannelStep, Element, Elements, Other};
pub use error::Error;
pub use inspect::{Findings, inspect};
pub use mask::mask;
pub use nm::{MAX_PATTERN, Pattern, nm};
pub use normalize::{Normalizer, normalize};
pub use numbers::{Numbers, NumbersMut};
pub use random::random;
pub use remove::{Removal, remove};
pub use repair::{
    Fit, Fitted, Fitting, Geometry, Inputs, Layout, Moments, Seen, diagonal, finish, fit, fit_layer, moments,
    sums_width,
};
pub use save::{restore, save};
pub use scalar::INFINITY_KEY;
pub use score::{Fold, Reducer, reduce, score};
pub use segment::{Cut, Segment};
pub use select::select;
pub use survey::{Survey, survey};
pub use tasks::try_for_each;
#[cfg(feature = "yardstick")]
pub use yardstick::{multiply, pass};
