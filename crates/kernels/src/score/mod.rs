//! One score per unit: larger is more useful.

mod fold;
mod reader;
#[cfg(test)]
mod tests;
mod units;

use crate::axes::Axes;
use crate::elements::{Element, Elements};
use crate::error::{Error, reserve};
use crate::simd::quotients;
use crate::tasks::for_chunks;

use fold::Folding;
use units::{RUN, Summands, Units, width_of};

pub use fold::Fold;

/// How the scores of a unit's weights become one. Sums run in `f64` from +0 and are rounded to `f32` once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reducer {
    Mean,
    Sum,
    /// The square root of the sum of squares.
    L2,
    Max,
}

impl Reducer {
    /// All of them; callers outside know them by their places here.
    pub const ALL: [Reducer; 4] = [Reducer::Mean, Reducer::Sum, Reducer::L2, Reducer::Max];
}

/// A task is about this many weights, enough to outweigh its scheduling and its buffers.
const TASK: usize = 1 << 18;

/// Writes the score of each unit, in stored order of the units.
pub fn score(elements: Elements, axes: &Axes, reducer: Reducer, scores: &mut [f32]) -> Result<(), Error> {
    if reducer == Reducer::Max {
        // A comparison rather than `f64::max`, which is several instructions; nothing here is NaN.
        let larger = |a, b| if b > a { b } else { a };
        let fold = Fold { start: f64::NEG_INFINITY, step: larger, merge: larger, finish: |max, _| max };
        return reduce(elements, axes, &fold, scores);
    }
    let merge = |a, b| a + b;
    if reducer == Reducer::L2 {
        let fold = Fold { start: 0.0, step: |sum, score| sum + score * score, merge, finish: |sum: f64, _| sum.sqrt() };
        return reduce(elements, axes, &fold, scores);
    }
    let is_mean = reducer == Reducer::Mean;
    let finish = |sum: f64, count| if is_mean { sum / count } else { sum };
    let fold = Fold { start: 0.0, step: |sum, score| sum + score, merge, finish };
    let items = elements.items().filter(|_| elements.element == Element::Magnitude);
    let summands = items.map(|items| Summands { items, is_mean });
    reduce_by(elements, axes, &fold, summands, scores)
}

/// Writes what a fold makes of each unit's element scores, in stored order of the units.
///
/// The order of all steps and merges depends on the canonical order and the number of the unit's weights alone.
pub fn reduce<Step, Merge, Finish>(
    elements: Elements,
    axes: &Axes,
    fold: &Fold<Step, Merge, Finish>,
    scores: &mut [f32],
) -> Result<(), Error>
where
    Step: Fn(f64, f64) -> f64 + Sync,
    Merge: Fn(f64, f64) -> f64 + Sync,
    Finish: Fn(f64, f64) -> f64 + Sync,
{
    reduce_by(elements, axes, fold, None, scores)
}

/// Not generic, since what differs from fold to fold are its loops alone.
fn reduce_by(
    elements: Elements,
    axes: &Axes,
    fold: &dyn Folding,
    summands: Option<Summands>,
    scores: &mut [f32],
) -> Result<(), Error> {
    if elements.len() != axes.weights() || scores.len() != axes.units() {
        return Err(Error::Request("score: the axes do not describe the numbers"));
    }
    let count = axes.weights_per_unit();
    let runs = count.div_ceil(RUN);
    if runs == 1 {
        let at_once = (TASK / count).max(1);
        for_chunks(scores, at_once, &|task, scores| {
            let first = task * at_once;
            Units::new(fold, summands, elements, axes).fold(first..first + scores.len(), 0, &mut |units, results| {
                let count = units.inside.places() as f64;
                for (place, results) in units.rows(results) {
                    finish(fold, summands, results, count, &mut scores[place..place + results.len()]);
                }
            });
        });
        return Ok(());
    }

    // Results of runs, of `at_once` units at a time.
    let at_once = width_of(axes);
    let groups = axes.units().div_ceil(at_once);
    let mut partial = reserve::<f64>(groups * runs * at_once)?;
    partial.resize(groups * runs * at_once, fold.start());
    let runs_at_once = (TASK / RUN / at_once).max(1);
    for_chunks(&mut partial, at_once * runs_at_once, &|task, partial| {
        let mut folding = Units::new(fold, summands, elements, axes);
        for (index, partial) in partial.chunks_mut(at_once).enumerate() {
            let index = task * runs_at_once + index;
            let first = index / runs * at_once;
            let units = first..axes.units().min(first + at_once);
            folding.fold(units, index % runs, &mut |units, results| {
                for (place, results) in units.rows(results) {
                    partial[place..place + results.len()].copy_from_slice(results);
                }
            });
        }
    });
    for (group, (runs, scores)) in partial.chunks_mut(runs * at_once).zip(scores.chunks_mut(at_once)).enumerate() {
        let (first, later) = runs.split_at_mut(at_once);
        for run in later.chunks(at_once) {
            fold.merge(first, run);
        }
        for (place, score) in scores.iter_mut().enumerate() {
            let count = axes.weights_of(group * at_once + place) as f64;
            finish(fold, summands, &first[place..=place], count, std::slice::from_mut(score));
        }
    }
    Ok(())
}

fn finish(fold: &dyn Folding, summands: Option<Summands>, results: &[f64], count: f64, scores: &mut [f32]) {
    match summands {
        Some(Summands { is_mean, .. }) => quotients(results, if is_mean { count } else { 1.0 }, scores),
        None => fold.finish(results, count, scores),
    }
}
