//! How the scores of a unit's weights become one, as loops over many numbers.
//!
//! The n-th number of a unit is taken into its lane n mod 8; the lanes are merged as a balanced tree. So the order of all
//! operations depends on the number of weights alone, and SIMD and scalar code agree.

use crate::lanes::{Sums, add_magnitudes};

/// Enough independent chains to hide the latency of an addition.
pub(crate) const LANES: usize = 8;

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

/// Neighbours in memory: numbers whose magnitudes are the scores, or scores.
#[derive(Clone, Copy)]
pub(crate) enum Scores<'a> {
    Magnitudes(&'a [[u8; 4]]),
    Numbers(&'a [f32]),
}

/// What is done with a fold.
pub(crate) trait Folding: Sync {
    fn start(&self) -> f64;

    /// The results of units that lie side by side, each of `length` neighbours.
    fn lines(&self, scores: Scores, length: usize, results: &mut [f64]);

    /// Takes one score of each of several units into a lane of each, the first one of that lane or a further one.
    fn row(&self, lanes: &mut [f64], is_first: bool, scores: Scores);

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

    fn lines(&self, scores: Scores, length: usize, results: &mut [f64]) {
        match scores {
            Scores::Magnitudes(numbers) => self.lines_of(numbers, magnitude, length, results),
            Scores::Numbers(scores) => self.lines_of(scores, |score| score, length, results),
        }
    }

    fn row(&self, lanes: &mut [f64], is_first: bool, scores: Scores) {
        match scores {
            Scores::Magnitudes(numbers) => self.row_of(lanes, is_first, numbers, magnitude),
            Scores::Numbers(scores) => self.row_of(lanes, is_first, scores, |score| score),
        }
    }

    fn rows(&self, lanes: &mut [f64], at: usize, scores: &[f32]) {
        let (head, scores) = scores.split_at(scores.len().min(lanes.len() - at));
        self.row_of(&mut lanes[at..], false, head, |score| score);
        for scores in scores.chunks(lanes.len()) {
            self.row_of(lanes, false, scores, |score| score);
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

impl<Step, Merge, Finish> Fold<Step, Merge, Finish>
where
    Step: Fn(f64, f64) -> f64,
    Merge: Fn(f64, f64) -> f64,
{
    fn lines_of<T: Copy>(&self, items: &[T], score: impl Fn(T) -> f32, length: usize, results: &mut [f64]) {
        for (result, items) in results.iter_mut().zip(items.chunks_exact(length)) {
            let mut lanes = [self.start; LANES];
            let (blocks, last) = items.as_chunks::<LANES>();
            for block in blocks {
                for (lane, &item) in lanes.iter_mut().zip(block) {
                    *lane = (self.step)(*lane, f64::from(score(item)));
                }
            }
            for (lane, &item) in lanes.iter_mut().zip(last) {
                *lane = (self.step)(*lane, f64::from(score(item)));
            }
            // Lanes that took nothing change nothing.
            let [a, b, c, d, e, f, g, h] = lanes;
            let merge = &self.merge;
            *result = merge(merge(merge(a, e), merge(c, g)), merge(merge(b, f), merge(d, h)));
        }
    }

    fn row_of<T: Copy>(&self, lanes: &mut [f64], is_first: bool, items: &[T], score: impl Fn(T) -> f32) {
        for (lane, &item) in lanes.iter_mut().zip(items) {
            *lane = (self.step)(if is_first { self.start } else { *lane }, f64::from(score(item)));
        }
    }
}

fn magnitude(number: [u8; 4]) -> f32 {
    f32::from_le_bytes(number).abs()
}

/// A fold that adds scores up, and adds magnitudes by SIMD.
pub(crate) struct Adding<F>(pub F);

impl<F: Folding> Folding for Adding<F> {
    fn start(&self) -> f64 {
        self.0.start()
    }

    fn lines(&self, scores: Scores, length: usize, results: &mut [f64]) {
        let Scores::Magnitudes(numbers) = scores else { return self.0.lines(scores, length, results) };
        for (result, numbers) in results.iter_mut().zip(numbers.chunks_exact(length)) {
            let mut sums = Sums::default();
            let (blocks, last) = numbers.as_chunks::<LANES>();
            blocks.iter().for_each(|block| sums.add_magnitudes(block));
            if !last.is_empty() {
                let mut block = [[0; 4]; LANES];
                block.iter_mut().zip(last).for_each(|(place, number)| *place = *number);
                sums.add_magnitudes(&block);
            }
            *result = sums.sum();
        }
    }

    fn row(&self, lanes: &mut [f64], is_first: bool, scores: Scores) {
        let Scores::Magnitudes(numbers) = scores else { return self.0.row(lanes, is_first, scores) };
        add_magnitudes(lanes, is_first, numbers);
    }

    fn rows(&self, lanes: &mut [f64], at: usize, scores: &[f32]) {
        self.0.rows(lanes, at, scores);
    }

    fn merge(&self, results: &mut [f64], later: &[f64]) {
        self.0.merge(results, later);
    }

    fn finish(&self, results: &[f64], count: f64, scores: &mut [f32]) {
        self.0.finish(results, count, scores);
    }
}
