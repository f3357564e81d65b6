//! Scores of one layer brought to a scale that layers share, for rankings across layers.

use crate::axes::Axes;
use crate::bits::{is_kept, words_for};
use crate::error::{Error, reserve};
use crate::scalar::key_of;
use crate::tasks::for_chunks;

const TASK: usize = 1 << 14;

/// What each score `s` of a layer becomes. Sums, extremes and counts are over the units not yet removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Normalizer {
    /// `s / sum |s|`
    Sum,
    /// `s / mean |s|`
    Mean,
    /// `s / max |s|`
    Max,
    /// `s / square root of sum s^2`
    L2,
    /// `(s - min) / (max - min)`
    MinMax,
    /// `(s - mean) / standard deviation`, with `n - 1`
    Standard,
    /// `s^2 / sum of r^2` over the scores `r >= s`, for scores from 0 on (Lee et al., "Layer-adaptive sparsity for the
    /// magnitude-based pruning", 2021)
    Lamp,
}

impl Normalizer {
    /// All of them; callers outside know them by their places here.
    pub const ALL: [Normalizer; 7] = [
        Normalizer::Sum,
        Normalizer::Mean,
        Normalizer::Max,
        Normalizer::L2,
        Normalizer::MinMax,
        Normalizer::Standard,
        Normalizer::Lamp,
    ];
}

/// Replaces the scores, in `f64` and rounded once. A zero or undefined divisor gives 0 for all.
pub fn normalize(
    scores: &mut [f32],
    axes: &Axes,
    earlier: Option<&[u32]>,
    normalizer: Normalizer,
) -> Result<(), Error> {
    if scores.len() != axes.units() || earlier.is_some_and(|mask| mask.len() != words_for(scores.len())) {
        return Err(Error::Request("normalize: one score and one bit per unit"));
    }
    let ranked = |scores: &[f32], visit: &mut dyn FnMut(f64)| {
        // In canonical order, so that a transposed tensor gives the same bits.
        for unit in axes.walk_units(0).take(scores.len()) {
            if earlier.is_none_or(|mask| is_kept(mask, unit)) {
                visit(f64::from(scores[unit]));
            }
        }
    };
    let fold = |start: f64, step: &dyn Fn(f64, f64) -> f64| {
        let mut result = start;
        ranked(scores, &mut |score| result = step(result, score));
        result
    };
    let count = fold(0.0, &|count, _| count + 1.0);
    let sum_of_magnitudes = || fold(0.0, &|sum, score| sum + score.abs());
    let (offset, divisor) = match normalizer {
        Normalizer::Sum => (0.0, sum_of_magnitudes()),
        Normalizer::Mean => (0.0, sum_of_magnitudes() / count),
        Normalizer::Max => (0.0, fold(0.0, &|max, score| max.max(score.abs()))),
        Normalizer::L2 => (0.0, fold(0.0, &|sum, score| sum + score * score).sqrt()),
        Normalizer::MinMax => {
            let min = fold(f64::INFINITY, &f64::min);
            (min, fold(f64::NEG_INFINITY, &f64::max) - min)
        }
        Normalizer::Standard => {
            let mean = fold(0.0, &|sum, score| sum + score) / count;
            (mean, (fold(0.0, &|sum, score| sum + (score - mean) * (score - mean)) / (count - 1.0)).sqrt())
        }
        Normalizer::Lamp => return lamp(scores, earlier),
    };
    let usable = divisor > 0.0 && divisor.is_finite();
    for_chunks(scores, TASK, &|_, scores| {
        for score in scores {
            *score = if usable { ((f64::from(*score) - offset) / divisor) as f32 } else { 0.0 };
        }
    });
    Ok(())
}

/// Sorts the scores and adds their squares up from the largest down; equal ones share a sum, so that their order does
/// not matter. Infinite scores count as the largest number, since the ratio of two infinities is none.
fn lamp(scores: &mut [f32], earlier: Option<&[u32]>) -> Result<(), Error> {
    let mut order = reserve::<i64>(scores.len())?;
    let ranked = (0..scores.len()).filter(|&unit| earlier.is_none_or(|mask| is_kept(mask, unit)));
    order.extend(ranked.map(|unit| i64::from(key_of(scores[unit])) << 32 | unit as i64));
    order.sort_unstable();
    let square = |score: f32| {
        let score = f64::from(score.min(f32::MAX));
        score * score
    };
    let mut sum = 0.0;
    for equal in order.chunk_by(|a, b| a >> 32 == b >> 32).rev() {
        let unit_of = |entry: &i64| *entry as u32 as usize;
        sum = equal.iter().fold(sum, |sum, entry| sum + square(scores[unit_of(entry)]));
        for entry in equal {
            let score = &mut scores[unit_of(entry)];
            *score = if sum > 0.0 { (square(*score) / sum) as f32 } else { 0.0 };
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::axes::Axis;

    fn normalized(scores: &[f32], earlier: Option<&[u32]>, normalizer: Normalizer) -> Vec<f32> {
        let axes = Axes::new(&[Axis::kept(scores.len(), 0)]).unwrap();
        let mut scores = scores.to_vec();
        normalize(&mut scores, &axes, earlier, normalizer).unwrap();
        scores
    }

    #[test]
    fn each_normalizer_follows_its_formula() {
        let scores = [-2.0, 0.0, 4.0, 2.0];
        assert_eq!(normalized(&scores, None, Normalizer::Sum), [-0.25, 0.0, 0.5, 0.25]);
        assert_eq!(normalized(&scores, None, Normalizer::Mean), [-1.0, 0.0, 2.0, 1.0]);
        assert_eq!(normalized(&scores, None, Normalizer::Max), [-0.5, 0.0, 1.0, 0.5]);
        assert_eq!(normalized(&scores, None, Normalizer::L2), scores.map(|s| (f64::from(s) / 24f64.sqrt()) as f32));
        assert_eq!(normalized(&scores, None, Normalizer::MinMax), [0.0, 1.0 / 3.0, 1.0, 2.0 / 3.0]);
        let deviation = (20f64 / 3.0).sqrt();
        assert_eq!(
            normalized(&scores, None, Normalizer::Standard),
            scores.map(|s| ((f64::from(s) - 1.0) / deviation) as f32)
        );
    }

    #[test]
    fn lamp_follows_its_definition_and_equal_scores_share() {
        let scores = [3.0, 0.0, 1.0, 2.0, 1.0, -0.0];
        assert_eq!(normalized(&scores, None, Normalizer::Lamp), [1.0, 0.0, 1.0 / 15.0, 4.0 / 13.0, 1.0 / 15.0, 0.0]);
        assert_eq!(normalized(&scores, Some(&[0b111110]), Normalizer::Lamp)[1..4], [0.0, 1.0 / 6.0, 1.0]);
        assert_eq!(normalized(&[0.0, 0.0], None, Normalizer::Lamp), [0.0, 0.0]);
        let infinite = normalized(&[1.0, f32::INFINITY, f32::MAX, f32::INFINITY], None, Normalizer::Lamp);
        assert_eq!(infinite, [0.0, 0.5, 1.0 / 3.0, 0.5]);

        let many: Vec<f32> = (0..1000u32).map(|unit| (unit.wrapping_mul(2_654_435_761) >> 24) as f32).collect();
        let square = |score: f32| f64::from(score) * f64::from(score);
        let naive = |score: f32| {
            (square(score) / many.iter().filter(|&&other| other >= score).map(|&other| square(other)).sum::<f64>())
                as f32
        };
        assert_eq!(normalized(&many, None, Normalizer::Lamp), many.iter().copied().map(naive).collect::<Vec<_>>());
    }

    #[test]
    fn removed_units_do_not_count_and_an_undefined_divisor_gives_zero() {
        assert_eq!(normalized(&[8.0, 1.0, 3.0], Some(&[0b110]), Normalizer::Sum)[1..], [0.25, 0.75]);
        for normalizer in [
            Normalizer::Sum,
            Normalizer::Mean,
            Normalizer::Max,
            Normalizer::L2,
            Normalizer::MinMax,
            Normalizer::Standard,
        ] {
            assert_eq!(normalized(&[0.0, 0.0], None, normalizer), [0.0, 0.0]);
            assert_eq!(normalized(&[3.0], Some(&[0]), normalizer), [0.0]);
        }
        assert_eq!(normalized(&[3.0], None, Normalizer::Standard), [0.0]);
    }
}
