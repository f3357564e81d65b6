//! Repair: what the kept weights and the bias of a pruned layer must be, so that its outputs stay near those of the dense
//! layer. [`moments()`] adds up what a fit needs to know of a layer's inputs, [`fit()`] solves for weights and bias.

mod layer;
mod moments;
mod patches;
mod product;
mod seen;
mod solve;

pub use layer::{Fitting, Layout, fit_layer};
pub use moments::{diagonal, finish, moments, sums_width};
pub use patches::{Geometry, Inputs};
pub use seen::{Moments, Seen};
pub use solve::{Fit, Fitted, fit};
