//! The one multiplication of matrices: sums of products of columns.
//!
//! Products of up to [`BLOCK`] rows are added up in `f32`, in the order of the rows; these sums are added up in `f64`, in
//! the order of the blocks. So each sum has an error of at most 64 roundings of `f32`, however many rows there are, and
//! for less than 2 % of the time that sums in `f64` alone take.

use crate::error::{Error, reserve};
use crate::tasks::for_chunks;

/// So many rows are added up in `f32`.
pub(crate) const BLOCK: usize = 64;

/// Widths are multiples of this. So many columns of the left matrices are one task.
pub(crate) const STRIP: usize = 8;

/// The rows of a register tile: with twice [`STRIP`]'s lanes, as many sums as fit in registers.
const TALL: usize = 4;

/// The width of a matrix of so many columns.
pub(crate) fn padded(columns: usize) -> usize {
    columns.next_multiple_of(STRIP)
}

/// The width of rows of so many columns and one more.
pub(crate) fn width_of(columns: usize) -> usize {
    padded(columns + 1)
}

/// An array for matrices.
pub(crate) fn zeros<T: Clone + Default>(length: usize) -> Result<Vec<T>, Error> {
    let mut list = reserve(length)?;
    list.resize(length, T::default());
    Ok(list)
}

/// Matrices of one size, one after another.
#[derive(Clone, Copy)]
pub(crate) struct Matrices<'a> {
    pub(crate) numbers: &'a [f32],
    /// How many rows each has.
    pub(crate) rows: usize,
    /// How many columns each has, a multiple of [`STRIP`].
    pub(crate) width: usize,
}

impl<'a> Matrices<'a> {
    fn of(&self, index: usize) -> &'a [f32] {
        &self.numbers[index * self.rows * self.width..][..self.rows * self.width]
    }
}

/// Adds to `sums[g][i][j]` the sum over all rows `r` of `left[g][r][i] * right[g][r][j]`, where `j` is at least `i`
/// rounded down to a multiple of [`STRIP`] if only the `upper` half is wanted.
pub(crate) fn add_products(left: Matrices, right: Matrices, upper: bool, sums: &mut [f64]) {
    let strips = left.width / STRIP;
    for_chunks(sums, STRIP * right.width, &|index, sums| {
        let (group, start) = (index / strips, index % strips * STRIP);
        let (left_rows, right_rows) = (left.of(group), right.of(group));
        let blocks = left_rows.chunks(BLOCK * left.width).zip(right_rows.chunks(BLOCK * right.width));
        for (left_rows, right_rows) in blocks {
            for column in (if upper { start } else { 0 }..right.width).step_by(STRIP) {
                for (part, sums) in sums.chunks_mut(TALL * right.width).enumerate() {
                    let first = start + part * TALL;
                    let tile = tile(left_rows, left.width, first, right_rows, right.width, column);
                    for (sums, tile) in sums.chunks_mut(right.width).zip(tile) {
                        for (sum, product) in sums[column..].iter_mut().zip(tile) {
                            *sum += f64::from(product);
                        }
                    }
                }
            }
        }
    });
}

/// The products of a few columns of a block. Not inlined, so that all sums stay in registers.
#[inline(never)]
fn tile(
    left: &[f32],
    left_width: usize,
    left_start: usize,
    right: &[f32],
    right_width: usize,
    right_start: usize,
) -> [[f32; STRIP]; TALL] {
    let mut sums = [[0.0f32; STRIP]; TALL];
    for (left, right) in left.chunks_exact(left_width).zip(right.chunks_exact(right_width)) {
        let left = &left[left_start..left_start + TALL];
        let right = &right[right_start..right_start + STRIP];
        for (sums, left) in sums.iter_mut().zip(left) {
            for (sum, right) in sums.iter_mut().zip(right) {
                *sum += left * right;
            }
        }
    }
    sums
}
