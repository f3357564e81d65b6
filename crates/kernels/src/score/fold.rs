//! How the scores of a unit's weights become one, as loops over many numbers.
//!
//! The n-th number of a unit is taken into its lane n mod 8; the lanes are merged as a balanced tree. So the order of all
//! operations depends on the number of weights alone, and SIMD and scalar code agree.

use crate::simd::{SUMS, Sums};

/// How element scores become one number.
#[derive(Clone, Copy, Debug)]
pub struct Fold<Step, Merge, Finish> {
    /// What a fold starts with; merged with any result it gives that result.
    pub start: f64,
    /// Takes one more element score.
    pub step: Step,
    /// Joins the results of two parts of a unit, the earlier one first.
    pub merge: Merge,
    /// Makes the unit's score, which is rounded to `f32`, from the result and the number of weights.
    pub finish: Finish,
}

/// What is done with a fold.
pub(super) trait Folding: Sync {
    fn start(&self) -> f64;

    /// The results of units that lie side by side, each of `length` neighbours.
    fn lines(&self, scores: &[f32], length: usize, results: &mut [f64]);

    /// Takes one score of each of several units into a lane of each, the first one of that lane or a further one.
    fn row(&self, lanes: &mut [f64], is_first: bool, scores: &[f32]);

    /// Takes scores, one of each unit after another, into the lanes from place `at` on, and around.
    fn rows(&self, lanes: &mut [f64], at: usize, scores: &[f32]);

    /// Merges the results of later parts into those of earlier ones.
    fn merge(&self, results: &mut [f64], later: &[f64]);

    /// The scores of units of `count` weights.
    fn finish(&self, results: &[f64], count: f64, scores: &mut [f32]);
}

impl<Step, Merge, Finish> Folding for Fold<Step, Merge, Finish>
where
    Step: Fn(f64, f64) -> f64 + Sync,
    Merge: Fn(f64, f64) -> f64 + Sync,
    Finish: Fn(f64, f64) -> f64 + Sync,
{
    fn start(&self) -> f64 {
        self.start
    }

    fn lines(&self, scores: &[f32], length: usize, results: &mut [f64]) {
        for (result, scores) in results.iter_mut().zip(scores.chunks_exact(length)) {
            let mut lanes = [self.start; SUMS];
            for scores in scores.chunks(SUMS) {
                self.row(&mut lanes, false, scores);
            }
            // Lanes that took nothing change nothing.
            let [a, b, c, d, e, f, g, h] = lanes;
            let merge = &self.merge;
            *result = merge(merge(merge(a, e), merge(c, g)), merge(merge(b, f), merge(d, h)));
        }
    }

    fn row(&self, lanes: &mut [f64], is_first: bool, scores: &[f32]) {
        for (lane, &score) in lanes.iter_mut().zip(scores) {
            *lane = (self.step)(if is_first { self.start } else { *lane }, f64::from(score));
        }
    }

    fn rows(&self, lanes: &mut [f64], at: usize, scores: &[f32]) {
        let (head, scores) = scores.split_at(scores.len().min(lanes.len() - at));
        self.row(&mut lanes[at..], false, head);
        for scores in scores.chunks(lanes.len()) {
            self.row(lanes, false, scores);
        }
    }

    fn merge(&self, results: &mut [f64], later: &[f64]) {
        for (result, &later) in results.iter_mut().zip(later) {
            *result = (self.merge)(*result, later);
        }
    }

    fn finish(&self, results: &[f64], count: f64, scores: &mut [f32]) {
        for (score, &result) in scores.iter_mut().zip(results) {
            *score = (self.finish)(result, count) as f32;
        }
    }
}

/// The sums of magnitudes that [`Folding::lines`] would give, by SIMD.
pub(super) fn sum_lines(numbers: &[[u8; 4]], length: usize, results: &mut [f64]) {
    match length {
        9 => sum_nines(numbers, results),
        _ => sum_any(numbers, length, results),
    }
}

// Neither is inlined: compilers of wasm do not keep sums in registers where functions are large.

#[inline(never)]
fn sum_any(numbers: &[[u8; 4]], length: usize, results: &mut [f64]) {
    for (result, numbers) in results.iter_mut().zip(numbers.chunks_exact(length)) {
        let mut sums = Sums::default();
        let (blocks, last) = numbers.as_chunks::<SUMS>();
        blocks.iter().for_each(|block| sums.add_magnitudes(block));
        // 0 changes no sum.
        let mut rest = [[0; 4]; SUMS];
        rest[..last.len()].copy_from_slice(last);
        sums.add_magnitudes(&rest);
        *result = sums.sum();
    }
}

/// Kernels of 3 x 3 weights are most common, and of so few instructions that a loop of their own pays.
#[inline(never)]
fn sum_nines(numbers: &[[u8; 4]], results: &mut [f64]) {
    for (result, [block @ .., last]) in results.iter_mut().zip(numbers.as_chunks::<9>().0) {
        let mut sums = Sums::default();
        sums.add_magnitudes(block);
        sums.add_to_first(*last);
        *result = sums.sum();
    }
}
