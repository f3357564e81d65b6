//! The one multiplication of matrices: sums of products of columns.
//!
//! Products of up to [`BLOCK`] rows are added up in `f32`, in the order of the rows; these sums are added up in `f64`, in
//! the order of the blocks. So each sum has an error of at most 64 roundings of `f32`, however many rows there are, and
//! for less than 2 % of the time that sums in `f64` alone take.

use crate::error::{Error, reserve};
use crate::simd::{LANES, Lanes, Register, Wide};
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

/// Matrices of one size, one after another. Each is stored in blocks of rows, and a block in panels of [`STRIP`] columns,
/// so that a product reads both factors from beginning to end: along columns of a wide matrix all numbers would have the
/// same few places in the cache.
pub(crate) struct Panels {
    numbers: Vec<f32>,
    /// How many rows each has.
    rows: usize,
    /// How many columns each has, a multiple of [`STRIP`].
    width: usize,
}

impl Panels {
    pub(crate) fn new(count: usize, rows: usize, width: usize) -> Result<Self, Error> {
        Ok(Panels { numbers: zeros(count * rows * width)?, rows, width })
    }

    /// Takes numbers that are stored row by row. If there are several matrices, their rows are a multiple of [`BLOCK`].
    pub(crate) fn set(&mut self, numbers: &[f32]) {
        let width = self.width;
        for_chunks(&mut self.numbers, BLOCK * width, &|index, block| {
            let height = block.len() / width;
            let rows = &numbers[index * BLOCK * width..][..height * width];
            for (place, panel) in block.chunks_exact_mut(height * STRIP).enumerate() {
                for (target, row) in panel.chunks_exact_mut(STRIP).zip(rows.chunks_exact(width)) {
                    target.copy_from_slice(&row[place * STRIP..][..STRIP]);
                }
            }
        });
    }

    /// Takes a row of the only matrix.
    pub(crate) fn set_row(&mut self, row: usize, numbers: &[f32]) {
        for (panel, part) in numbers.chunks_exact(STRIP).enumerate() {
            let start = self.place(row, panel * STRIP);
            self.numbers[start..start + STRIP].copy_from_slice(part);
        }
    }

    /// A number of the only matrix.
    pub(crate) fn get(&self, row: usize, column: usize) -> f32 {
        self.numbers[self.place(row, column)]
    }

    /// Adds to a number of the only matrix.
    pub(crate) fn add(&mut self, row: usize, column: usize, number: f32) {
        let place = self.place(row, column);
        self.numbers[place] += number;
    }

    fn place(&self, row: usize, column: usize) -> usize {
        let start = row / BLOCK * BLOCK;
        let height = BLOCK.min(self.rows - start);
        start * self.width + column / STRIP * STRIP * height + (row - start) * STRIP + column % STRIP
    }

    fn of(&self, index: usize) -> &[f32] {
        &self.numbers[index * self.rows * self.width..][..self.rows * self.width]
    }
}

/// Adds to `sums[g][i][j]` the sum over all rows `r` of `left[g][r][i] * right[g][r][j]`, where `j` is at least `i`
/// rounded down to a multiple of [`STRIP`] if only the `upper` half is wanted.
pub(crate) fn add_products(left: &Panels, right: &Panels, upper: bool, sums: &mut [f64]) {
    let strips = left.width / STRIP;
    for_chunks(sums, STRIP * right.width, &|index, sums| {
        let (group, strip) = (index / strips, index % strips);
        let blocks = left.of(group).chunks(BLOCK * left.width).zip(right.of(group).chunks(BLOCK * right.width));
        for (left_block, right_block) in blocks {
            let panel = left_block.len() / left.width * STRIP;
            let left_panel = &left_block[strip * panel..][..panel];
            let first = if upper { strip } else { 0 };
            for (place, right_panel) in right_block.chunks_exact(panel).enumerate().skip(first) {
                for (part, sums) in sums.chunks_mut(TALL * right.width).enumerate() {
                    let tile = tile(left_panel, part * TALL, right_panel);
                    for (sums, tile) in sums.chunks_mut(right.width).zip(tile) {
                        for (sum, product) in sums[place * STRIP..].iter_mut().zip(tile) {
                            *sum += f64::from(product);
                        }
                    }
                }
            }
        }
    });
}

/// The products of [`TALL`] columns of a panel, from the `first` on, with another panel. Not inlined, so that all sums stay
/// in registers.
#[inline(never)]
fn tile(left: &[f32], first: usize, right: &[f32]) -> [[f32; STRIP]; TALL] {
    let mut sums = [[Lanes::splat(0); STRIP / LANES]; TALL];
    for (left, right) in left.as_chunks::<STRIP>().0.iter().zip(right.as_chunks::<STRIP>().0) {
        let right: [Lanes; STRIP / LANES] = std::array::from_fn(|part| Lanes::read_floats(&right.as_chunks().0[part]));
        for (sums, left) in sums.iter_mut().zip(&left[first..first + TALL]) {
            let left = Lanes::splat(left.to_bits().cast_signed());
            for (sum, right) in sums.iter_mut().zip(right) {
                *sum = sum.add_floats(left.multiply_floats(right));
            }
        }
    }
    let mut products = [[0.0; STRIP]; TALL];
    for (products, sums) in products.iter_mut().zip(sums) {
        products.as_chunks_mut().0.iter_mut().zip(sums).for_each(|(products, sum)| sum.write_floats(products));
    }
    products
}
