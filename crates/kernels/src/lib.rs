//! Scores, thresholds and masks for pruning weight tensors.
//!
//! Four verbs, one module each: [`score()`] gives every unit of a tensor its usefulness, [`select()`] finds the cut that
//! removes an exact number of units, [`mask()`] writes one bit per unit, [`apply()`] zeroes the removed weights.
//!
//! The kernels know neither the names of criteria nor file formats nor JavaScript. Results are the same bits for any
//! number of threads and on every target: work is split by shape alone, sums run in `f64` in canonical order, nothing
//! is contracted or reassociated. Nothing here panics on valid requests; requests are checked on entry.

mod apply;
mod axes;
mod error;
mod inspect;
mod mask;
mod normalize;
mod numbers;
mod random;
mod score;
mod select;

pub use apply::apply;
pub use axes::{Axes, Axis, MAX_AXES};
pub use error::Error;
pub use inspect::{Findings, inspect};
pub use mask::{mask, words_for};
pub use normalize::{Normalizer, normalize};
pub use numbers::{Numbers, NumbersMut};
pub use random::random;
pub use score::{Element, Elements, Reducer, score};
pub use select::{Cut, Segment, select};
