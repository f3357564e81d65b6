//! One score per unit: larger is more useful.

use std::array::from_fn;
use std::ops::Range;

use crate::axes::{Axes, MAX_AXES, Steps, UnitBox};
use crate::error::{Error, reserve};
use crate::fold::{Fold, Folding, LANES, sum_lines};
use crate::keys::{Piece, with_items, write_magnitudes};
use crate::lanes::{add_magnitudes, quotients, sum_magnitudes};
use crate::numbers::Numbers;
use crate::tasks::for_chunks;

/// The score of one weight `w`, in `f32`, every operation rounded once, in the order written. Some compare it with
/// another number `v`: an earlier value of the weight, its gradient, or a number of its input channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// `w`: for numbers that are scores already.
    Itself,
    /// `|w|`
    Magnitude,
    /// `w * w`
    Square,
    /// `-|w|`
    NegativeMagnitude,
    /// `v`
    Other,
    /// `|v|`
    OtherMagnitude,
    /// `-|v|`
    NegativeOtherMagnitude,
    /// `min(|w|, |v|)`
    SmallerMagnitude,
    /// `-max(|w|, |v|)`
    NegativeLargerMagnitude,
    /// `|w| - |v|`
    MagnitudeIncrease,
    /// `|w - v|`
    Distance,
    /// `|w * (w - v)|`
    WeightedDistance,
    /// `(w * v) * (w * v)`
    SquaredProduct,
    /// `|w| * v`
    ScaledMagnitude,
}

/// How the scores of a unit's weights become one. Sums run in `f64` from +0 and are rounded to `f32` once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reducer {
    Mean,
    Sum,
    /// The square root of the sum of squares.
    L2,
    Max,
}

/// The numbers that weights are compared with.
#[derive(Clone, Copy, Debug)]
pub enum Other<'a> {
    /// One for each weight, in the same stored order.
    Each(Numbers<'a>),
    /// One for each input channel.
    Channels { numbers: Numbers<'a>, steps: [ChannelStep; 2] },
}

/// A part of an input channel's number: `position / stride % size * factor`. Two of them make the whole, since layouts
/// store the group of a channel apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChannelStep {
    pub stride: usize,
    pub size: usize,
    pub factor: usize,
}

impl Other<'_> {
    /// Refuses channels that reach beyond the numbers, and lists of another length than the weights.
    fn check(&self, weights: usize) -> Result<(), Error> {
        let fits = match self {
            Other::Each(numbers) => numbers.len() == weights,
            Other::Channels { numbers, steps } => {
                steps.iter().all(|step| step.stride > 0 && step.size > 0)
                    && steps.iter().map(|step| (step.size - 1).saturating_mul(step.factor)).sum::<usize>()
                        < numbers.len()
            }
        };
        if fits { Ok(()) } else { Err(Error::Request("score: the other numbers do not fit the weights")) }
    }

    /// Fills `target` with the numbers of every `stride`-th weight from stored position `start` on.
    fn gather(&self, start: usize, stride: usize, target: &mut [f32]) {
        match self {
            Other::Each(numbers) => numbers.gather(start, stride, target),
            Other::Channels { numbers, steps } => {
                for (piece, target) in target.chunks_mut(PIECE).enumerate() {
                    let mut channels = [0; PIECE];
                    let channels = &mut channels[..target.len()];
                    for step in steps.iter().filter(|step| step.size > 1) {
                        step.add(start + piece * PIECE * stride, stride, channels);
                    }
                    numbers.pick(channels.iter().copied(), target);
                }
            }
        }
    }
}

impl ChannelStep {
    /// Adds this part for every `distance`-th weight from stored position `start` on.
    fn add(&self, start: usize, distance: usize, channels: &mut [usize]) {
        // What a weight adds to the position's quotient and to its remainder.
        let (turn, shift) = (distance / self.stride % self.size, distance % self.stride);
        let (mut index, mut rest) = (start / self.stride % self.size, start % self.stride);
        for channel in channels {
            *channel += index * self.factor;
            rest += shift;
            index += turn;
            if rest >= self.stride {
                rest -= self.stride;
                index += 1;
            }
            if index >= self.size {
                index -= self.size;
            }
        }
    }
}

/// The element scores of a tensor, computed where they are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Elements<'a> {
    pub(crate) numbers: Numbers<'a>,
    other: Option<Other<'a>>,
    pub(crate) element: Element,
}

impl<'a> Elements<'a> {
    /// The scores of `numbers`; `other` is what elements with a `v` compare them with, and missing for the rest.
    pub fn new(numbers: Numbers<'a>, element: Element, other: Option<Other<'a>>) -> Result<Self, Error> {
        let compares =
            !matches!(element, Element::Itself | Element::Magnitude | Element::Square | Element::NegativeMagnitude);
        if compares != other.is_some() {
            return Err(Error::Request("score: other numbers are missing, or not needed"));
        }
        if let Some(other) = other {
            other.check(numbers.len())?;
        }
        Ok(Elements { numbers, other, element })
    }

    pub(crate) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Fills `target` with the scores from stored position `start` on.
    pub(crate) fn read(&self, start: usize, target: &mut [f32]) {
        match (self.element, self.other) {
            (Element::Itself, _) => self.numbers.fill(start, target, |w| w),
            (Element::Magnitude, _) => self.numbers.fill(start, target, f32::abs),
            (Element::Square, _) => self.numbers.fill(start, target, |w| w * w),
            (element, other) => {
                let (mut weights, mut others) = ([0.0; PIECE], [0.0; PIECE]);
                for (piece, target) in target.chunks_mut(PIECE).enumerate() {
                    let (weights, others) = (&mut weights[..target.len()], &mut others[..target.len()]);
                    self.numbers.fill(start + piece * PIECE, weights, |w| w);
                    if let Some(other) = other {
                        other.gather(start + piece * PIECE, 1, others);
                    }
                    combine(element, weights, others, target);
                }
            }
        }
    }
}

/// Weights and what they are compared with are read this many at a time.
const PIECE: usize = 256;

/// The elements' formulas.
fn combine(element: Element, weights: &[f32], others: &[f32], target: &mut [f32]) {
    fn each(weights: &[f32], others: &[f32], target: &mut [f32], formula: impl Fn(f32, f32) -> f32) {
        for ((target, &w), &v) in target.iter_mut().zip(weights).zip(others) {
            *target = formula(w, v);
        }
    }
    // Comparisons rather than `f32::min` and `max`: these are one instruction each, and nothing here is NaN.
    let smaller = |a: f32, b: f32| if b < a { b } else { a };
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    match element {
        Element::Itself => each(weights, others, target, |w, _| w),
        Element::Magnitude => each(weights, others, target, |w, _| w.abs()),
        Element::Square => each(weights, others, target, |w, _| w * w),
        Element::NegativeMagnitude => each(weights, others, target, |w, _| -w.abs()),
        Element::Other => each(weights, others, target, |_, v| v),
        Element::OtherMagnitude => each(weights, others, target, |_, v| v.abs()),
        Element::NegativeOtherMagnitude => each(weights, others, target, |_, v| -v.abs()),
        Element::SmallerMagnitude => each(weights, others, target, |w, v| smaller(w.abs(), v.abs())),
        Element::NegativeLargerMagnitude => each(weights, others, target, |w, v| -larger(w.abs(), v.abs())),
        Element::MagnitudeIncrease => each(weights, others, target, |w, v| w.abs() - v.abs()),
        Element::Distance => each(weights, others, target, |w, v| (w - v).abs()),
        Element::WeightedDistance => each(weights, others, target, |w, v| (w * (w - v)).abs()),
        Element::SquaredProduct => each(weights, others, target, |w, v| (w * v) * (w * v)),
        Element::ScaledMagnitude => each(weights, others, target, |w, v| w.abs() * v),
    }
}

/// A unit's weights are cut into runs of this many in canonical order, and the sums of the runs are added in order, so
/// that one large unit is work for several threads. A multiple of [`LANES`].
const RUN: usize = 4096;

/// All lanes of so many units are folded side by side: 8 lanes x 2048 units x 8 bytes stay in a second level cache, and rows of this
/// many neighbours are read as fast as memory gives them.
const WIDTH: usize = 2048;

/// Rows of fewer neighbours are sorted first.
const ROW: usize = 16;

/// The sums of at most so many rows stay in registers.
const FEW_ROWS: usize = 32;

/// Of more rows so many are added to each lane at once: lanes are further away than registers.
const AT_ONCE: usize = 4;

/// Element scores are read this many at a time, into a buffer that a first level cache holds.
const BUFFER: usize = 4096;

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

/// Numbers whose magnitudes are summed up, where that is the fold: SIMD does it.
#[derive(Clone, Copy)]
struct Summands<'a> {
    items: Piece<'a>,
    is_mean: bool,
}

impl<'a> Summands<'a> {
    /// Some of them, widened into the buffer if they must be.
    fn line<'b>(&self, range: Range<usize>, buffer: &'b mut [[u8; 4]; BUFFER]) -> &'b [[u8; 4]]
    where
        'a: 'b,
    {
        if let Some(numbers) = self.items.magnitudes() {
            return &numbers[range];
        }
        let buffer = &mut buffer[..range.len()];
        with_items!(self.items.part(range), items => write_magnitudes(items, buffer));
        buffer
    }
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

/// How many units are folded side by side. Those with few weights use few lanes.
fn width_of(axes: &Axes) -> usize {
    axes.units_together((LANES * WIDTH / LANES.min(axes.weights_per_unit())).min(BUFFER))
}

/// What folds units, with its buffers.
struct Units<'a> {
    fold: &'a dyn Folding,
    summands: Option<Summands<'a>>,
    axes: &'a Axes,
    reader: Reader<'a>,
    widened: [[u8; 4]; BUFFER],
    lanes: [f64; LANES * WIDTH],
}

impl<'a> Units<'a> {
    fn new(fold: &'a dyn Folding, summands: Option<Summands<'a>>, elements: Elements<'a>, axes: &'a Axes) -> Self {
        Units {
            fold,
            summands,
            axes,
            reader: Reader::new(elements),
            widened: [[0; 4]; BUFFER],
            lanes: [0.0; LANES * WIDTH],
        }
    }

    /// Folds one run of each unit of a range, some units at a time, and calls `give` with these and their results.
    fn fold(&mut self, range: Range<usize>, run: usize, give: &mut dyn FnMut(&UnitBox, &[f64])) {
        let axes = self.axes;
        axes.for_units(range, width_of(axes), &mut |units| {
            let (width, weights) = (units.units.places(), units.inside.places());
            let run = run * RUN..weights.min((run + 1) * RUN);
            let (_, row) = units.units.rows();
            if run.is_empty() {
                // The last tile of an axis has fewer runs than the others.
                self.lanes[..width].fill(self.fold.start());
            } else if units.inside.is_line() {
                self.lines(units, run, width);
            } else if row == width
                && run.len() <= FEW_ROWS
                && let Some(numbers) = self.summands.and_then(|summands| summands.items.magnitudes())
            {
                self.few_rows(numbers, units, run, width);
            } else {
                self.rows(units, run, width);
            }
            give(units, &self.lanes[..width]);
        });
    }

    /// Folds a run of units each of which lies in one line of memory.
    fn lines(&mut self, units: &UnitBox, run: Range<usize>, width: usize) {
        let weights = units.inside.places();
        // Units that follow each other as their weights do are one line.
        let at_once = if units.units.leads_on(weights) && weights <= BUFFER { BUFFER / weights } else { 1 };
        for (index, results) in self.lanes[..width].chunks_mut(at_once).enumerate() {
            let first = if at_once == 1 { units.units.offset(index) } else { index * at_once * weights };
            let (start, length) = (units.start + first + run.start, results.len() * run.len());
            match self.summands {
                Some(summands) => {
                    sum_lines(summands.line(start..start + length, &mut self.widened), run.len(), results)
                }
                None => self.fold.lines(self.reader.line(start, length), run.len(), results),
            }
        }
    }

    /// Sums up a run of units of few weights that are neighbours in memory.
    fn few_rows(&mut self, numbers: &[[u8; 4]], units: &UnitBox, run: Range<usize>, width: usize) {
        let mut rows: [&[[u8; 4]]; FEW_ROWS] = [&[]; FEW_ROWS];
        for (row, offset) in rows.iter_mut().zip(units.inside.walk(run.start).take(run.len())) {
            *row = &numbers[units.start + offset..][..width];
        }
        sum_magnitudes(&rows[..run.len()], &mut self.lanes[..width]);
    }

    /// Folds a run of any units: the first lane of each, then the second of each, and so on, as many as the run uses.
    fn rows(&mut self, units: &UnitBox, run: Range<usize>, width: usize) {
        let used = LANES.min(run.len());
        let lanes = &mut self.lanes[..used * width];
        let (rows, row) = units.units.rows();
        if row >= ROW {
            let mut offsets = [0; LANES * AT_ONCE];
            let mut way = units.inside.walk(run.start).take(run.len());
            for first in run.clone().step_by(offsets.len()) {
                let is_first = first == run.start;
                let count = offsets.len().min(run.end - first);
                for (offset, next) in offsets.iter_mut().zip(way.by_ref()) {
                    *offset = next;
                }
                for (lane, lanes) in lanes.chunks_exact_mut(width).enumerate().take(count) {
                    for (lanes, place) in lanes.chunks_exact_mut(row).zip(rows.walk(0)) {
                        let start = |index: usize| units.start + offsets[lane + index * LANES] + place;
                        let line = |index: usize| start(index)..start(index) + row;
                        if count == offsets.len()
                            && let Some(numbers) = self.summands.and_then(|summands| summands.items.magnitudes())
                        {
                            add_magnitudes::<AT_ONCE>(lanes, is_first, from_fn(|index| &numbers[line(index)]));
                            continue;
                        }
                        for index in 0..(count - lane).div_ceil(LANES) {
                            let is_first = is_first && index == 0;
                            match self.summands {
                                Some(summands) => {
                                    add_magnitudes(lanes, is_first, [summands.line(line(index), &mut self.widened)]);
                                }
                                None => self.fold.row(lanes, is_first, self.reader.line(start(index), row)),
                            }
                        }
                    }
                }
            }
        } else {
            lanes.fill(self.fold.start());
            for weights in units.inside.boxes(run, BUFFER / width) {
                let scores = self.reader.read(units.start + weights.offset, &units.units, &weights.steps);
                self.fold.rows(lanes, weights.index % LANES * width, scores);
            }
        }
        for half in [4, 2, 1].into_iter().filter(|&half| half < used) {
            let (low, high) = lanes.split_at_mut(half * width);
            self.fold.merge(low, &high[..(half * width).min(high.len())]);
        }
    }
}

/// Reads element scores from wherever they lie in memory.
struct Reader<'a> {
    elements: Elements<'a>,
    scores: [f32; BUFFER],
    /// Pieces of a line on the way to the scores.
    weights: [f32; PIECE],
    others: [f32; PIECE],
    line: [f32; PIECE],
}

/// A way through memory and through the buffer.
#[derive(Clone, Copy, Default)]
struct Way {
    size: usize,
    stride: usize,
    place: usize,
}

impl<'a> Reader<'a> {
    fn new(elements: Elements<'a>) -> Self {
        Reader { elements, scores: [0.0; BUFFER], weights: [0.0; PIECE], others: [0.0; PIECE], line: [0.0; PIECE] }
    }

    /// The scores of neighbours in memory, at most as many as are read at a time.
    fn line(&mut self, start: usize, length: usize) -> &[f32] {
        let scores = &mut self.scores[..length];
        self.elements.read(start, scores);
        scores
    }

    /// The scores of some weights of some units from stored position `start` on: the first weight of each unit, then
    /// the second of each, and so on.
    fn read(&mut self, start: usize, units: &Steps, weights: &Steps) -> &[f32] {
        // Ordered by their strides, the smallest first.
        let mut ways = [Way::default(); 2 * MAX_AXES];
        let mut count = 0;
        let mut place = 1;
        for step in units.as_slice().iter().rev().chain(weights.as_slice().iter().rev()) {
            if step.size > 1 {
                let mut at = count;
                while at > 0 && ways[at - 1].stride > step.stride {
                    ways[at] = ways[at - 1];
                    at -= 1;
                }
                ways[at] = Way { size: step.size, stride: step.stride, place };
                count += 1;
                place *= step.size;
            }
        }
        // Ways that lead on where others end are one.
        let mut joined = 0;
        for at in 1..count {
            let (inner, outer) = (ways[joined], ways[at]);
            if outer.stride == inner.size * inner.stride && outer.place == inner.size * inner.place {
                ways[joined].size *= outer.size;
            } else {
                joined += 1;
                ways[joined] = outer;
            }
        }
        count = count.min(joined + 1);
        // Lines are taken along one way: that with neighbours in memory, unless these are few.
        let longest = (0..count).fold(0, |best, at| if ways[at].size > ways[best].size { at } else { best });
        let best = if ways[0].stride == 1 && ways[0].size >= 16 { 0 } else { longest };
        let line = if count == 0 { Way { size: 1, stride: 1, place: 1 } } else { ways[best] };
        ways.copy_within(best + 1.., best);
        let ways = &ways[..count.saturating_sub(1)];

        let mut indices = [0; 2 * MAX_AXES];
        let (mut from, mut to) = (start, 0);
        loop {
            self.read_line(from, to, line);
            let mut level = 0;
            loop {
                let Some(way) = ways.get(level) else { return &self.scores[..place] };
                indices[level] += 1;
                from += way.stride;
                to += way.place;
                if indices[level] < way.size {
                    break;
                }
                indices[level] = 0;
                from -= way.size * way.stride;
                to -= way.size * way.place;
                level += 1;
            }
        }
    }

    fn read_line(&mut self, mut from: usize, mut to: usize, Way { size, stride, place }: Way) {
        if (stride, place) == (1, 1) {
            return self.elements.read(from, &mut self.scores[to..to + size]);
        }
        let Elements { numbers, other, element } = self.elements;
        let mut rest = size;
        while rest > 0 {
            let count = rest.min(PIECE);
            rest -= count;
            let (weights, others) = (&mut self.weights[..count], &mut self.others[..count]);
            numbers.gather(from, stride, weights);
            if let Some(other) = other {
                other.gather(from, stride, others);
            }
            from += count * stride;
            if place == 1 {
                combine(element, weights, others, &mut self.scores[to..to + count]);
                to += count;
                continue;
            }
            let line = &mut self.line[..count];
            combine(element, weights, others, line);
            for &score in &*line {
                self.scores[to] = score;
                to += place;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::axes::{Axis, tests::any_axes, tests::naive_places};
    use proptest::prelude::*;

    fn bytes(weights: &[f32]) -> Vec<[u8; 4]> {
        weights.iter().map(|weight| weight.to_le_bytes()).collect()
    }

    fn scores_of(weights: &[f32], list: &[Axis], element: Element, reducer: Reducer) -> Vec<f32> {
        let axes = Axes::new(list).unwrap();
        let mut scores = vec![0.0; axes.units()];
        let bytes = bytes(weights);
        score(Elements::new(Numbers::Float32(&bytes), element, None).unwrap(), &axes, reducer, &mut scores).unwrap();
        scores
    }

    /// Magnitudes are summed up by SIMD, and those of 16 bits on their way through a buffer.
    fn check_magnitudes(weights: &[f32], list: &[Axis], reducer: Reducer) {
        let axes = Axes::new(list).unwrap();
        let magnitudes: Vec<f32> = weights.iter().map(|weight| weight.abs()).collect();
        let scores = scores_of(weights, list, Element::Magnitude, reducer);
        assert_eq!(scores, scores_of(&magnitudes, list, Element::Itself, reducer), "{reducer:?} {list:?}");
        // Any bits but those of what is not finite.
        let halves: Vec<[u8; 2]> =
            weights.iter().map(|weight| ((weight.to_bits() >> 9) as u16 & 0xbbff).to_le_bytes()).collect();
        for numbers in [Numbers::Float16(&halves), Numbers::Bfloat16(&halves)] {
            let widened: Vec<f32> = (0..numbers.len()).map(|index| numbers.at(index)).collect();
            let mut scores = vec![0.0; axes.units()];
            score(Elements::new(numbers, Element::Magnitude, None).unwrap(), &axes, reducer, &mut scores).unwrap();
            assert_eq!(scores, scores_of(&widened, list, Element::Magnitude, reducer), "{reducer:?} {list:?}");
        }
    }

    /// Weights of many scales that nearly cancel out in each unit, so that sums tell in which order they were taken.
    fn telling_weights(list: &[Axis]) -> Vec<f32> {
        let places = naive_places(list);
        let mut counts = vec![0; places.len()];
        places.iter().for_each(|(unit, ..)| counts[*unit] += 1);
        let weight = |unit: usize, index: usize| {
            let bits = ((unit * 31 + index) as u32).wrapping_mul(2_654_435_761);
            (1.0 + (bits >> 9) as f32 * 2f32.powi(-23)) * 2f32.powi((bits % 61) as i32)
        };
        let weights = places.into_iter().map(|(unit, _, index)| match counts[unit] - 1 - index {
            partner if partner < index => -weight(unit, partner),
            _ => weight(unit, index),
        });
        weights.collect()
    }

    /// The scores of each unit's weights, in canonical order.
    fn in_order(scores: &[f32], list: &[Axis]) -> Vec<Vec<f64>> {
        let mut places: Vec<_> = naive_places(list).into_iter().zip(scores).collect();
        places.sort_by_key(|((unit, _, index), _)| (*unit, *index));
        places
            .chunk_by(|((a, ..), _), ((b, ..), _)| a == b)
            .map(|unit| unit.iter().map(|(_, score)| f64::from(**score)).collect())
            .collect()
    }

    /// Sums by definition: eight lanes, a tree of these, runs in order.
    fn sum(scores: impl Iterator<Item = f64>) -> f64 {
        let runs: Vec<f64> = scores.collect();
        let lanes = |run: &[f64]| -> [f64; LANES] {
            std::array::from_fn(|lane| run.iter().skip(lane).step_by(LANES).fold(0.0, |sum, score| sum + score))
        };
        let tree = |[a, b, c, d, e, f, g, h]: [f64; LANES]| ((a + e) + (c + g)) + ((b + f) + (d + h));
        runs.chunks(RUN).fold(0.0, |sum, run| sum + tree(lanes(run)))
    }

    fn naive(weights: &[f32], list: &[Axis], reducer: Reducer) -> Vec<f32> {
        let score = |unit: &Vec<f64>| match reducer {
            Reducer::Mean => sum(unit.iter().copied()) / unit.len() as f64,
            Reducer::Sum => sum(unit.iter().copied()),
            Reducer::L2 => sum(unit.iter().map(|x| x * x)).sqrt(),
            Reducer::Max => unit.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        };
        in_order(weights, list).iter().map(|unit| score(unit) as f32).collect()
    }

    const REDUCERS: [Reducer; 4] = [Reducer::Mean, Reducer::Sum, Reducer::L2, Reducer::Max];

    fn check(list: &[Axis], reducer: Reducer) {
        let weights = telling_weights(list);
        let scores = scores_of(&weights, list, Element::Itself, reducer);
        assert_eq!(scores, naive(&weights, list, reducer), "{reducer:?} {list:?}");
        check_magnitudes(&weights, list, reducer);
    }

    proptest! {
        #[test]
        fn any_axes_agree_with_the_definition(list in any_axes(), reducer in proptest::sample::select(REDUCERS.to_vec())) {
            check(&list, reducer);
        }

        /// Units that are far apart, near, in tiles; lines longer than a piece; more than one run or buffer.
        #[test]
        fn large_axes_agree_with_the_definition(
            sizes in (1usize..20, 1usize..500, 1usize..4, 1usize..4),
            blocks in proptest::array::uniform4(prop_oneof![Just(1), Just(1000), 1usize..6]),
            orders in Just([0, 1, 2, 3]).prop_shuffle(),
            stored in Just([0, 1, 2, 3]).prop_shuffle(),
            reducer in proptest::sample::select(REDUCERS.to_vec()),
        ) {
            let sizes = [sizes.0, sizes.1, sizes.2, sizes.3];
            check(&stored.map(|i| Axis { size: sizes[i], block: blocks[i].min(sizes[i]), order: orders[i] }), reducer);
        }

        #[test]
        fn channels_of_weights_at_equal_distances_follow_their_formula(
            (start, distance, count) in (0usize..1000, 1usize..100, 1usize..3 * PIECE),
            steps in proptest::array::uniform2((1usize..30, 1usize..8, 0usize..4)),
        ) {
            let numbers: Vec<f32> = (0..43).map(|channel| channel as f32).collect();
            let steps = steps.map(|(stride, size, factor)| ChannelStep { stride, size, factor });
            let mut channels = vec![0.0; count];
            Other::Channels { numbers: Numbers::Float32(&bytes(&numbers)), steps }.gather(start, distance, &mut channels);
            for (index, channel) in channels.into_iter().enumerate() {
                let position = start + index * distance;
                let parts = steps.iter().map(|step| position / step.stride % step.size * step.factor);
                prop_assert_eq!(channel, parts.sum::<usize>() as f32);
            }
        }
    }

    #[test]
    fn units_at_the_edges_of_lanes_runs_and_widths_agree_with_the_definition() {
        for count in [1, 2, 7, 8, 9, 255, 256, 257, RUN - 1, RUN, RUN + 1, 2 * RUN + 3] {
            let most = if count >= RUN - 1 { 3 } else { WIDTH + 1 };
            for units in [1, 3, WIDTH - 1, WIDTH, WIDTH + 1].into_iter().filter(|&units| units <= most) {
                check(&[Axis::kept(units, 0), Axis::reduced(count, 1)], Reducer::Sum);
                check(&[Axis::reduced(count, 1), Axis::kept(units, 0)], Reducer::Sum);
                check(&[Axis::reduced(3, 2), Axis::kept(units, 0), Axis::reduced(count, 1)], Reducer::Sum);
            }
        }
        check(&[Axis::reduced(RUN, 1), Axis::kept(WIDTH + 1, 0)], Reducer::Sum);
        // A last run that leaves lanes unused, of rows beside each other.
        for rest in [1, 3, 7, 8, LANES * AT_ONCE - 1, LANES * AT_ONCE + 1] {
            check(&[Axis::reduced(RUN + rest, 1), Axis::kept(ROW + 3, 0)], Reducer::Sum);
        }
    }

    #[test]
    fn tiles_at_the_edges_of_runs_agree_with_the_definition() {
        for block in [RUN - 1, RUN, RUN + 1, 5000] {
            for size in [block, block + 1, 2 * block - 1, 2 * block, 2 * block + 1] {
                check(&[Axis { size, block, order: 1 }], Reducer::Sum);
                check(&[Axis::kept(2, 0), Axis { size, block, order: 1 }], Reducer::Mean);
                check(&[Axis { size, block, order: 1 }, Axis::kept(2, 0)], Reducer::Sum);
                check(&[Axis { size: 3, block: 2, order: 2 }, Axis { size, block, order: 1 }], Reducer::Sum);
            }
        }
    }

    #[test]
    fn a_transposed_tensor_has_the_same_scores_bit_for_bit() {
        let (out, rest) = (37, 5000);
        let weights = telling_weights(&[Axis::kept(out, 0), Axis::reduced(rest, 1)]);
        let transposed: Vec<f32> = (0..out * rest).map(|i| weights[i % out * rest + i / out]).collect();
        let out_axis = Axis::kept(out, 0);
        let rest_axis = Axis::reduced(rest, 1);
        for reducer in REDUCERS {
            assert_eq!(
                scores_of(&weights, &[out_axis, rest_axis], Element::Itself, reducer),
                scores_of(&transposed, &[rest_axis, out_axis], Element::Itself, reducer)
            );
        }
    }

    #[test]
    fn each_element_follows_its_formula() {
        let (w, v) = ([-3.0f32, 0.5, 2.0, -0.0], [1.0f32, -0.75, -2.0, 4.0]);
        let (weights, others) = (bytes(&w), bytes(&v));
        let scored = |element, other| {
            let axes = Axes::new(&[Axis::kept(4, 0)]).unwrap();
            let mut scores = [0.0; 4];
            let elements = Elements::new(Numbers::Float32(&weights), element, other).unwrap();
            score(elements, &axes, Reducer::Mean, &mut scores).unwrap();
            let mut read = [0.0; 4];
            elements.read(0, &mut read);
            assert_eq!(read, scores);
            scores
        };
        type Formula = fn(f32, f32) -> f32;
        let table: [(Element, Formula); 10] = [
            (Element::Other, |_, v| v),
            (Element::OtherMagnitude, |_, v| v.abs()),
            (Element::NegativeOtherMagnitude, |_, v| -v.abs()),
            (Element::SmallerMagnitude, |w, v| w.abs().min(v.abs())),
            (Element::NegativeLargerMagnitude, |w, v| -w.abs().max(v.abs())),
            (Element::MagnitudeIncrease, |w, v| w.abs() - v.abs()),
            (Element::Distance, |w, v| (w - v).abs()),
            (Element::WeightedDistance, |w, v| (w * (w - v)).abs()),
            (Element::SquaredProduct, |w, v| (w * v) * (w * v)),
            (Element::ScaledMagnitude, |w, v| w.abs() * v),
        ];
        for (element, formula) in table {
            let expected = std::array::from_fn(|i| formula(w[i], v[i]));
            assert_eq!(scored(element, Some(Other::Each(Numbers::Float32(&others)))), expected, "{element:?}");
        }
        assert_eq!(scored(Element::NegativeMagnitude, None), w.map(|w| -w.abs()));
        let steps = [ChannelStep { stride: 1, size: 2, factor: 1 }, ChannelStep { stride: 2, size: 2, factor: 2 }];
        let channels = Other::Channels { numbers: Numbers::Float32(&others), steps };
        assert_eq!(scored(Element::ScaledMagnitude, Some(channels)), std::array::from_fn(|i| w[i].abs() * v[i]));
    }

    #[test]
    fn other_numbers_that_do_not_fit_are_refused() {
        let (three, four) = ([[0u8; 4]; 3], [[0u8; 4]; 4]);
        let new = |element, other| Elements::new(Numbers::Float32(&four), element, other).is_ok();
        assert!(!new(Element::Distance, None));
        assert!(!new(Element::Magnitude, Some(Other::Each(Numbers::Float32(&four)))));
        assert!(!new(Element::Distance, Some(Other::Each(Numbers::Float32(&three)))));
        let channels = |size| Other::Channels {
            numbers: Numbers::Float32(&three),
            steps: [ChannelStep { stride: 1, size, factor: 1 }, ChannelStep { stride: 1, size: 1, factor: 0 }],
        };
        assert!(new(Element::ScaledMagnitude, Some(channels(3))));
        assert!(!new(Element::ScaledMagnitude, Some(channels(4))));
        assert!(!new(Element::ScaledMagnitude, Some(channels(0))));
    }

    #[test]
    fn lengths_that_disagree_are_refused() {
        let axes = Axes::new(&[Axis::kept(4, 0)]).unwrap();
        let elements = Elements::new(Numbers::Float32(&[[0; 4]; 3]), Element::Magnitude, None).unwrap();
        assert!(score(elements, &axes, Reducer::Mean, &mut [0.0; 4]).is_err());
    }
}
