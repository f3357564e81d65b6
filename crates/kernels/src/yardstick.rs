//! What benchmarks measure the kernels against: memory read and written once, in the same chunks on the same threads, and
//! a plain product of matrices.

use crate::simd::{LANES, Lanes, Register, Wide};
use crate::tasks::for_chunks;

const TASK: usize = 1 << 16;

/// Multiplies each number by `factor`, in place.
pub fn pass(numbers: &mut [[u8; 4]], factor: f32) {
    for_chunks(numbers, TASK, &|_, numbers| {
        for number in numbers {
            *number = (f32::from_le_bytes(*number) * factor).to_le_bytes();
        }
    });
}

/// Rows and columns of the part of a product whose sums fit in registers.
const TALL: usize = 4;
const STRIP: usize = 2 * LANES;

/// `product = left * right`, of square matrices whose size is a multiple of 8, as libraries for `f32` do it: in SIMD
/// registers, with the right matrix in panels, and all sums in `f32`.
pub fn multiply(size: usize, left: &[f32], right: &[f32], product: &mut [f32]) {
    let mut panels = vec![0.0; size * size];
    for_chunks(&mut panels, size * STRIP, &|panel, target| {
        for (target, row) in target.chunks_exact_mut(STRIP).zip(right.chunks_exact(size)) {
            target.copy_from_slice(&row[panel * STRIP..][..STRIP]);
        }
    });
    for_chunks(product, TALL * size, &|index, rows| {
        let left = &left[index * TALL * size..][..TALL * size];
        for (place, panel) in panels.chunks_exact(size * STRIP).enumerate() {
            for (row, sums) in rows.chunks_exact_mut(size).zip(sums_of(left, panel)) {
                let (parts, _) = row[place * STRIP..][..STRIP].as_chunks_mut();
                parts.iter_mut().zip(sums).for_each(|(part, sum)| sum.write_floats(part));
            }
        }
    });
}

#[inline(never)]
fn sums_of(left: &[f32], panel: &[f32]) -> [[Lanes; 2]; TALL] {
    let size = left.len() / TALL;
    let mut sums = [[Lanes::splat(0); 2]; TALL];
    for (place, right) in panel.as_chunks::<STRIP>().0.iter().enumerate() {
        let right: [Lanes; 2] = std::array::from_fn(|part| Lanes::read_floats(&right.as_chunks().0[part]));
        for (row, sums) in sums.iter_mut().enumerate() {
            let left = Lanes::splat(left[row * size + place].to_bits().cast_signed());
            for (sum, right) in sums.iter_mut().zip(right) {
                *sum = sum.add_floats(left.multiply_floats(right));
            }
        }
    }
    sums
}
