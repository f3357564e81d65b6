//! Whole numbers side by side in one SIMD register.
//!
//! Compilers make SIMD of plain loops, but not of those that turn comparisons into bits. So each operation here is one or
//! two instructions in wasm (`wasm.rs`) and a loop elsewhere (`portable.rs`); `register.rs` says what both of them do.

#[cfg(not(target_feature = "simd128"))]
mod portable;
mod register;
mod sums;
#[cfg(test)]
mod tests;
#[cfg(target_feature = "simd128")]
mod wasm;

#[cfg(not(target_feature = "simd128"))]
pub(crate) use portable::{Halves, Lanes, bits_of};
pub(crate) use register::{HALVES, LANES, Narrow, Register, Wide};
pub(crate) use sums::{SUMS, Squares, SquaresOfWord, Sums, add_magnitudes, quotients, sum_magnitudes};
#[cfg(target_feature = "simd128")]
pub(crate) use wasm::{Halves, Lanes, bits_of};
