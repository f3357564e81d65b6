//! What a layer's inputs have in common, as far as a least-squares fit needs it: sums of products of their columns.

use crate::error::Error;
use crate::tasks::{for_chunk_pairs, for_chunks};

use super::patches::{Geometry, Inputs, Patches};
use super::product::{BLOCK, Panels, add_products, width_of, zeros};

/// Rows are gathered in so many numbers at a time, if that is not less than one block.
const GATHERED: usize = 1 << 20;

/// The length of the rows of sums of a layer whose rows have so many columns: one more, in which the columns themselves
/// are added up, and a few that are 0.
pub fn sums_width(columns: usize) -> usize {
    width_of(columns)
}

/// Adds the products of a batch to `sums`, which are `groups` matrices of [`sums_width`] rows and columns:
///
/// - `sums[g][i][j]`, of columns `i <= j` (what is below is of no use): the sum of `x_i * x_j` over all rows;
/// - `sums[g][i][columns]`: the sum of `x_i`; `sums[g][columns][columns]`: the number of rows.
///
/// With a `second` batch of as many rows `y`, which another model makes of the same samples, they are the sums of
/// `x_i * y_j` for all `i` and `j`, in row `columns` those of `y_j`.
///
/// The sums are the same for any number of threads. They depend on how samples are divided into batches, by the last bits.
pub fn moments(geometry: &Geometry, first: &Inputs, second: Option<&Inputs>, sums: &mut [f64]) -> Result<(), Error> {
    let first = Patches::new(geometry, first)?;
    let second = second.map(|second| Patches::new(geometry, second)).transpose()?;
    let (width, rows) = (first.width(), first.rows());
    let has_room = geometry.groups.checked_mul(width * width) == Some(sums.len());
    if !has_room || second.as_ref().is_some_and(|second| second.rows() != rows) {
        return Err(Error::Request("moments: the parts have different sizes"));
    }
    let each = geometry.groups * width;
    let count = (GATHERED / each / BLOCK * BLOCK).clamp(BLOCK, rows.next_multiple_of(BLOCK).max(BLOCK));
    let mut left = Rows::new(geometry, count, width)?;
    let mut right = second.is_some().then(|| Rows::new(geometry, count, width)).transpose()?;
    for start in (0..rows).step_by(count) {
        let length = count.min(rows - start);
        left.gather(&first, start, length);
        match (&second, &mut right) {
            (Some(second), Some(right)) => {
                right.gather(second, start, length);
                add_products(&left.panels, &right.panels, false, sums);
                add_shifts(&left, right, length, sums);
            }
            _ => {
                add_products(&left.panels, &left.panels, true, sums);
                add_shifts(&left, &left, length, sums);
            }
        }
    }
    Ok(())
}

/// What [`moments()`] added up, divided by the number of rows: second moments `[groups, d, d]` and means `[groups, d]`, those
/// of the first rows, and those of the second ones if there were any. The moments are then of the first (`i`) and the
/// second (`j`).
pub fn finish(
    groups: usize,
    columns: usize,
    sums: &[f64],
    results: &mut [f32],
    means: &mut [f32],
    second_means: Option<&mut [f32]>,
) -> Result<(), Error> {
    let width = width_of(columns);
    let (square, has_second) = (groups * columns * columns, second_means.is_some());
    let second_length = second_means.as_ref().map_or(groups * columns, |means| means.len());
    let has_room = results.len() == square && means.len() == groups * columns && second_length == means.len();
    if columns == 0 || !has_room || sums.len() != groups * width * width {
        return Err(Error::Request("finish: the parts have different sizes"));
    }
    // Of the second rows, or of the first ones if there are no others.
    let mean = |group: usize, column: usize, is_second: bool| {
        let sums = &sums[group * width * width..];
        let place = if is_second && has_second { columns * width + column } else { column * width + columns };
        let rows = sums[columns * width + columns];
        if rows > 0.0 { sums[place] / rows } else { 0.0 }
    };
    for_chunks(results, columns, &|index, results| {
        let (group, i) = (index / columns, index % columns);
        let sums = &sums[group * width * width..];
        let rows = sums[columns * width + columns].max(1.0);
        for (j, result) in results.iter_mut().enumerate() {
            let place = if has_second || i <= j { i * width + j } else { j * width + i };
            *result = (sums[place] / rows) as f32;
        }
    });
    let fill = |means: &mut [f32], is_second: bool| {
        for (index, number) in means.iter_mut().enumerate() {
            *number = mean(index / columns, index % columns, is_second) as f32;
        }
    };
    fill(means, false);
    if let Some(means) = second_means {
        fill(means, true);
    }
    Ok(())
}

/// Adds squares and sums of the columns of a batch to `sums`, in place of all products: two rows of [`sums_width`] for each
/// group, of the sums of `x_i * x_i` and of `x_i`. Behind the columns is the number of rows.
pub fn diagonal(geometry: &Geometry, inputs: &Inputs, sums: &mut [f64]) -> Result<(), Error> {
    let patches = Patches::new(geometry, inputs)?;
    let (width, rows) = (patches.width(), patches.rows());
    if geometry.groups.checked_mul(2 * width) != Some(sums.len()) {
        return Err(Error::Request("diagonal: the parts have different sizes"));
    }
    let count = (GATHERED / (geometry.groups * width) / BLOCK * BLOCK).max(BLOCK);
    let mut part = zeros(geometry.groups * width * count)?;
    for start in (0..rows).step_by(count) {
        patches.write(start, count, &mut part);
        // Rows behind the last one are 0.
        for_chunks(sums, 2 * width, &|group, sums| {
            let (squares, totals) = sums.split_at_mut(width);
            for row in part[group * count * width..][..count * width].chunks_exact(width) {
                for ((square, total), number) in squares.iter_mut().zip(&mut *totals).zip(row) {
                    let number = f64::from(*number);
                    *square += number * number;
                    *total += number;
                }
            }
        });
    }
    Ok(())
}

/// Some rows of each group, less their mean: so that sums of products in `f32` are exact relative to how much the
/// columns vary, however large their means are.
struct Rows {
    count: usize,
    width: usize,
    numbers: Vec<f32>,
    panels: Panels,
    /// Of each group, for each column: what was taken from its numbers, and the sum of what is left.
    shifts: Vec<f64>,
    sums: Vec<f64>,
    /// The sums of the numbers of each block of rows.
    parts: Vec<f64>,
}

impl Rows {
    fn new(geometry: &Geometry, count: usize, width: usize) -> Result<Self, Error> {
        let numbers = zeros(geometry.groups * width * count)?;
        let panels = Panels::new(geometry.groups, count, width)?;
        let [shifts, sums] = [zeros(geometry.groups * width)?, zeros(geometry.groups * width)?];
        let parts = zeros(geometry.groups * width * (count / BLOCK))?;
        Ok(Rows { count, width, numbers, panels, shifts, sums, parts })
    }

    fn gather(&mut self, patches: &Patches, start: usize, length: usize) {
        let Rows { count, width, .. } = *self;
        let blocks = count / BLOCK;
        patches.write(start, count, &mut self.numbers);
        // Rows behind the last one are 0, and stay so.
        for_chunk_pairs(&mut self.numbers, BLOCK * width, &mut self.parts, width, &|_, rows, sums| {
            sums.fill(0.0);
            for row in rows.chunks_exact(width) {
                row.iter().zip(&mut *sums).for_each(|(number, sum)| *sum += f64::from(*number));
            }
        });
        self.sums.fill(0.0);
        for (sums, parts) in self.sums.chunks_exact_mut(width).zip(self.parts.chunks_exact(width * blocks)) {
            for part in parts.chunks_exact(width) {
                sums.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
            }
        }
        for (sum, shift) in self.sums.iter_mut().zip(&mut self.shifts) {
            *shift = f64::from((*sum / length as f64) as f32);
            *sum -= *shift * length as f64;
        }
        let shifts = self.shifts.as_slice();
        for_chunks(&mut self.numbers, BLOCK * width, &|index, rows| {
            let (group, first) = (index / blocks, index % blocks * BLOCK);
            for row in rows.chunks_exact_mut(width).take(length.saturating_sub(first)) {
                let shifts = &shifts[group * width..];
                row.iter_mut().zip(shifts).for_each(|(number, shift)| *number -= *shift as f32);
            }
        });
        self.panels.set(&self.numbers);
    }
}

/// Makes sums of products of shifted numbers those of the numbers themselves: `(x + a)(y + b) = xy + ay + xb + ab`.
fn add_shifts(left: &Rows, right: &Rows, length: usize, sums: &mut [f64]) {
    let width = left.width;
    for_chunks(sums, width, &|index, sums| {
        let row = index / width * width;
        let (shift, total) = (left.shifts[index], left.sums[index]);
        let columns = right.shifts[row..].iter().zip(&right.sums[row..]);
        for (sum, (other, other_total)) in sums.iter_mut().zip(columns) {
            *sum += shift * other_total + total * other + length as f64 * shift * other;
        }
    });
}
