//! One score per unit: larger is more useful.

use rayon::prelude::*;

use crate::axes::{Axes, Steps};
use crate::error::{Error, reserve};
use crate::numbers::Numbers;

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

    fn at(&self, position: usize) -> f32 {
        match self {
            Other::Each(numbers) => numbers.at(position),
            Other::Channels { numbers, steps } => {
                numbers.at(steps.iter().map(|step| position / step.stride % step.size * step.factor).sum())
            }
        }
    }

    fn read(&self, start: usize, target: &mut [f32]) {
        match self {
            Other::Each(numbers) => numbers.fill(start, target, |number| number),
            Other::Channels { .. } => {
                for (place, number) in target.iter_mut().enumerate() {
                    *number = self.at(start + place);
                }
            }
        }
    }
}

/// The element scores of a tensor, computed where they are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Elements<'a> {
    numbers: Numbers<'a>,
    other: Option<Other<'a>>,
    element: Element,
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

    pub(crate) fn at(&self, position: usize) -> f32 {
        let w = self.numbers.at(position);
        let v = self.other.map_or(0.0, |other| other.at(position));
        let mut result = 0.0;
        combine(self.element, &[w], &[v], std::slice::from_mut(&mut result), |score| score);
        result
    }

    /// Fills `target` with `change` of the scores from stored position `start` on.
    // Not inlined: loops for each data type and element, that every caller would repeat.
    #[inline(never)]
    pub(crate) fn fill<T>(&self, start: usize, target: &mut [T], change: impl Fn(f32) -> T + Copy) {
        match (self.element, self.other) {
            (Element::Itself, _) => self.numbers.fill(start, target, change),
            (Element::Magnitude, _) => self.numbers.fill(start, target, |w| change(w.abs())),
            (Element::Square, _) => self.numbers.fill(start, target, |w| change(w * w)),
            (element, other) => {
                let (mut weights, mut others) = ([0.0; PIECE], [0.0; PIECE]);
                for (piece, target) in target.chunks_mut(PIECE).enumerate() {
                    let (weights, others) = (&mut weights[..target.len()], &mut others[..target.len()]);
                    self.numbers.fill(start + piece * PIECE, weights, |w| w);
                    if let Some(other) = other {
                        other.read(start + piece * PIECE, others);
                    }
                    combine(element, weights, others, target, change);
                }
            }
        }
    }

    /// Fills `target` with the scores from stored position `start` on.
    fn read(&self, start: usize, target: &mut [f32]) {
        self.fill(start, target, std::convert::identity::<f32>);
    }
}

/// Weights and what they are compared with are read this many at a time.
const PIECE: usize = 256;

/// The elements' formulas.
fn combine<T>(element: Element, weights: &[f32], others: &[f32], target: &mut [T], change: impl Fn(f32) -> T + Copy) {
    fn each<T>(weights: &[f32], others: &[f32], target: &mut [T], formula: impl Fn(f32, f32) -> T) {
        for ((target, &w), &v) in target.iter_mut().zip(weights).zip(others) {
            *target = formula(w, v);
        }
    }
    // Comparisons rather than `f32::min` and `max`: these are one instruction each, and nothing here is NaN.
    let smaller = |a: f32, b: f32| if b < a { b } else { a };
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    match element {
        Element::Itself => each(weights, others, target, |w, _| change(w)),
        Element::Magnitude => each(weights, others, target, |w, _| change(w.abs())),
        Element::Square => each(weights, others, target, |w, _| change(w * w)),
        Element::NegativeMagnitude => each(weights, others, target, |w, _| change(-w.abs())),
        Element::Other => each(weights, others, target, |_, v| change(v)),
        Element::OtherMagnitude => each(weights, others, target, |_, v| change(v.abs())),
        Element::NegativeOtherMagnitude => each(weights, others, target, |_, v| change(-v.abs())),
        Element::SmallerMagnitude => each(weights, others, target, |w, v| change(smaller(w.abs(), v.abs()))),
        Element::NegativeLargerMagnitude => each(weights, others, target, |w, v| change(-larger(w.abs(), v.abs()))),
        Element::MagnitudeIncrease => each(weights, others, target, |w, v| change(w.abs() - v.abs())),
        Element::Distance => each(weights, others, target, |w, v| change((w - v).abs())),
        Element::WeightedDistance => each(weights, others, target, |w, v| change((w * (w - v)).abs())),
        Element::SquaredProduct => each(weights, others, target, |w, v| change((w * v) * (w * v))),
        Element::ScaledMagnitude => each(weights, others, target, |w, v| change(w.abs() * v)),
    }
}

/// Sums have this many partial sums: the n-th number of a run goes to partial sum n mod 8. Enough independent chains to
/// hide the latency of an addition.
const LANES: usize = 8;

/// A unit's weights are cut into runs of this many in canonical order, and the sums of the runs are added in order, so
/// that one large unit is work for several threads. A multiple of [`LANES`].
const RUN: usize = 4096;

/// Units side by side in memory are summed together, this many at a time: 8 lanes x 128 units x 8 bytes fit a first
/// level cache beside the numbers.
const WIDTH: usize = 128;

/// A task is about this many weights, enough to outweigh its scheduling.
const TASK: usize = 1 << 16;

/// Writes the score of each unit, in stored order of the units.
pub fn score(elements: Elements, axes: &Axes, reducer: Reducer, scores: &mut [f32]) -> Result<(), Error> {
    if elements.len() != axes.weights() || scores.len() != axes.units() {
        return Err(Error::Request("score: the axes do not describe the numbers"));
    }
    if reducer == Reducer::Max {
        return reduce(elements, axes, f64::max, f64::max, f64::NEG_INFINITY, scores, |max, _| max);
    }
    // One loop for all sums: the choice is made by a multiplication, exact in `f64`.
    let square = reducer == Reducer::L2;
    let step = move |sum: f64, score: f64| sum + score * if square { score } else { 1.0 };
    reduce(
        elements,
        axes,
        step,
        |a, b| a + b,
        0.0,
        scores,
        |sum, count| match reducer {
            Reducer::Mean => sum / count,
            Reducer::L2 => sum.sqrt(),
            _ => sum,
        },
    )
}

/// Folds a unit's element scores with `step` into lanes, lanes and runs with `merge`, and rounds what `finish` gives.
fn reduce(
    elements: Elements,
    axes: &Axes,
    step: impl Fn(f64, f64) -> f64 + Sync,
    merge: impl Fn(f64, f64) -> f64 + Sync,
    start: f64,
    scores: &mut [f32],
    finish: impl Fn(f64, f64) -> f64 + Sync,
) -> Result<(), Error> {
    let count = axes.weights_per_unit();
    if count == 1 {
        // The fold of one number is that number, up to its square root's square.
        scores.par_chunks_mut(TASK).enumerate().for_each(|(chunk, scores)| {
            elements.read(chunk * TASK, scores);
            for score in scores {
                *score = finish(step(start, f64::from(*score)), 1.0) as f32;
            }
        });
        return Ok(());
    }

    let fold = Fold { elements, axes, step, merge, start };
    if axes.is_uneven() {
        scores.par_chunks_mut((TASK / count).max(1)).enumerate().for_each(|(task, scores)| {
            let first = task * (TASK / count).max(1);
            for (place, score) in scores.iter_mut().enumerate() {
                let steps = axes.inside_of(first + place);
                let count = steps.places();
                let run = |from: usize| {
                    let mut sum = [0.0];
                    fold.run(&steps, first + place, from..count.min(from + RUN), &mut sum);
                    sum[0]
                };
                let sum = (RUN..count).step_by(RUN).fold(run(0), |sum, from| (fold.merge)(sum, run(from)));
                *score = finish(sum, count as f64) as f32;
            }
        });
        return Ok(());
    }
    let group = axes.units_in_a_row().min(WIDTH);
    let row = axes.units_in_a_row();
    let runs = count.div_ceil(RUN);
    let finish = |sum: f64| finish(sum, count as f64) as f32;

    if runs == 1 {
        let rows_per_task = (TASK / (row * count)).max(1);
        scores.par_chunks_mut(row * rows_per_task).enumerate().for_each(|(task, scores)| {
            let first_row = task * rows_per_task * row;
            if row == 1 && axes.inside().run_length() == count {
                return fold.units_side_by_side(first_row, scores, finish);
            }
            for (place, scores) in scores.chunks_mut(row).enumerate() {
                let first = first_row + place * row;
                scores.par_chunks_mut(group).enumerate().for_each(|(place, scores)| {
                    let mut sums = [0.0; WIDTH];
                    let sums = &mut sums[..scores.len()];
                    fold.run(axes.inside(), first + place * group, 0..count, sums);
                    for (score, sum) in scores.iter_mut().zip(sums) {
                        *score = finish(*sum);
                    }
                });
            }
        });
        return Ok(());
    }

    // Sums of runs, `group` at a time; the last group of a row may leave some of its places unused.
    let groups_per_row = row.div_ceil(group);
    let groups = axes.units() / row * groups_per_row;
    let mut partial = reserve::<f64>(groups * runs * group)?;
    partial.resize(groups * runs * group, 0.0);
    let place_of = |index: usize| {
        let first = index / groups_per_row * row + index % groups_per_row * group;
        (first, group.min(row - index % groups_per_row * group))
    };
    partial.par_chunks_mut(group).enumerate().for_each(|(index, sums)| {
        let (first, width) = place_of(index / runs);
        let from = index % runs * RUN;
        fold.run(axes.inside(), first, from..count.min(from + RUN), &mut sums[..width]);
    });
    for (index, partial) in partial.chunks(group * runs).enumerate() {
        let (first, width) = place_of(index);
        for (place, score) in scores[first..first + width].iter_mut().enumerate() {
            let sums = partial.iter().skip(place).step_by(group);
            *score = finish(sums.fold(start, |sum, &run| (fold.merge)(sum, run)));
        }
    }
    Ok(())
}

struct Fold<'a, Step, Merge> {
    elements: Elements<'a>,
    axes: &'a Axes,
    step: Step,
    merge: Merge,
    start: f64,
}

impl<Step, Merge> Fold<'_, Step, Merge>
where
    Step: Fn(f64, f64) -> f64,
    Merge: Fn(f64, f64) -> f64,
{
    /// Lanes as a balanced tree, so that SIMD and scalar code agree.
    fn merge_lanes(&self, lanes: [f64; LANES]) -> f64 {
        let [a, b, c, d, e, f, g, h] = lanes;
        let merge = &self.merge;
        merge(merge(merge(a, e), merge(c, g)), merge(merge(b, f), merge(d, h)))
    }

    fn add_to_lanes(&self, lanes: &mut [f64; LANES], scores: &[f32]) {
        let mut blocks = scores.chunks_exact(LANES);
        for block in &mut blocks {
            for (lane, &score) in lanes.iter_mut().zip(block) {
                *lane = (self.step)(*lane, f64::from(score));
            }
        }
        for (lane, &score) in lanes.iter_mut().zip(blocks.remainder()) {
            *lane = (self.step)(*lane, f64::from(score));
        }
    }

    /// Units whose weights lie side by side in canonical order, none longer than a run.
    fn units_side_by_side(&self, first: usize, scores: &mut [f32], finish: impl Fn(f64) -> f32) {
        let count = self.axes.weights_per_unit();
        let mut buffer = [0f32; RUN];
        let units_at_once = RUN / count;
        for (place, scores) in scores.chunks_mut(units_at_once).enumerate() {
            let buffer = &mut buffer[..scores.len() * count];
            self.elements.read((first + place * units_at_once) * count, buffer);
            for (score, unit) in scores.iter_mut().zip(buffer.chunks_exact(count)) {
                let mut lanes = [self.start; LANES];
                self.add_to_lanes(&mut lanes, unit);
                *score = finish(self.merge_lanes(lanes));
            }
        }
    }

    /// Folds the weights `range` (canonical indices inside the unit) of `sums.len()` units that lie in a row; `inside`
    /// leads through the weights of each.
    fn run(&self, inside: &Steps, first: usize, range: std::ops::Range<usize>, sums: &mut [f64]) {
        let base = self.axes.first_weight(first);
        let mut walk = inside.walk(range.start);
        let mut index = 0;
        let length = range.len();
        if sums.len() == 1 {
            let mut lanes = [self.start; LANES];
            let in_a_row = inside.run_length();
            let mut buffer = [0f32; 512];
            while index < length {
                // A piece ends where the memory jumps, and at a whole number of lanes where it can.
                let until_jump = in_a_row - (range.start + index) % in_a_row;
                let piece = until_jump.min(length - index).min(buffer.len() - index % LANES);
                let buffer = &mut buffer[..piece];
                self.elements.read(base + walk.offset(), buffer);
                let lead = (LANES - index % LANES) % LANES;
                let (head, tail) = buffer.split_at(lead.min(piece));
                for (&score, place) in head.iter().zip(index..) {
                    lanes[place % LANES] = (self.step)(lanes[place % LANES], f64::from(score));
                }
                self.add_to_lanes(&mut lanes, tail);
                index += piece;
                walk.advance(piece);
            }
            sums[0] = self.merge_lanes(lanes);
            return;
        }
        let mut lanes = [[self.start; WIDTH]; LANES];
        let mut buffer = [0f32; WIDTH];
        let buffer = &mut buffer[..sums.len()];
        while index < length {
            self.elements.read(base + walk.offset(), buffer);
            for (lane, &score) in lanes[index % LANES].iter_mut().zip(&*buffer) {
                *lane = (self.step)(*lane, f64::from(score));
            }
            index += 1;
            walk.advance(1);
        }
        for (place, sum) in sums.iter_mut().enumerate() {
            *sum = self.merge_lanes(std::array::from_fn(|lane| lanes[lane][place]));
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

    /// Weights whose sums are exact in any order, so that the oracle may add as it likes.
    fn exact_weights(count: usize) -> Vec<f32> {
        (0..count as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 20) as i32 as f32 - 2048.0).collect()
    }

    fn naive(weights: &[f32], list: &[Axis], reducer: Reducer) -> Vec<f32> {
        let axes = Axes::new(list).unwrap();
        let mut units = vec![vec![]; axes.units()];
        for (position, (unit, ..)) in naive_places(list).into_iter().enumerate() {
            units[unit].push(f64::from(weights[position].abs()));
        }
        let sum = |unit: &[f64]| unit.iter().sum::<f64>();
        units
            .iter()
            .map(|unit| match reducer {
                Reducer::Mean => sum(unit) / unit.len() as f64,
                Reducer::Sum => sum(unit),
                Reducer::L2 => unit.iter().map(|x| x * x).sum::<f64>().sqrt(),
                Reducer::Max => unit.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            } as f32)
            .collect()
    }

    proptest! {
        #[test]
        fn any_axes_agree_with_the_definition(list in any_axes(), reducer in proptest::sample::select(vec![Reducer::Mean, Reducer::Sum, Reducer::L2, Reducer::Max])) {
            let weights = exact_weights(list.iter().map(|axis| axis.size).product());
            prop_assert_eq!(scores_of(&weights, &list, Element::Magnitude, reducer), naive(&weights, &list, reducer));
        }
    }

    #[test]
    fn units_at_the_edges_of_lanes_runs_and_widths_agree_with_the_definition() {
        for count in [1, 2, 7, 8, 9, 511, 512, 513, RUN - 1, RUN, RUN + 1, 2 * RUN + 3] {
            for units in [1, 3, WIDTH - 1, WIDTH, WIDTH + 1] {
                for reduced_first in [false, true] {
                    let list = if reduced_first {
                        [Axis::reduced(count, 1), Axis::kept(units, 0)]
                    } else {
                        [Axis::kept(units, 0), Axis::reduced(count, 1)]
                    };
                    let weights = exact_weights(count * units);
                    assert_eq!(
                        scores_of(&weights, &list, Element::Magnitude, Reducer::Mean),
                        naive(&weights, &list, Reducer::Mean),
                        "{count} weights in each of {units} units, reduced first: {reduced_first}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_transposed_tensor_has_the_same_scores_bit_for_bit() {
        let (out, rest) = (37, 5000);
        let weights: Vec<f32> =
            (0..out * rest).map(|i| (i as f32 * 0.7).sin() * 1e3f32.powf((i % 7) as f32 - 3.0)).collect();
        let transposed: Vec<f32> = (0..out * rest).map(|i| weights[i % out * rest + i / out]).collect();
        let out_axis = Axis::kept(out, 0);
        let rest_axis = Axis::reduced(rest, 1);
        for reducer in [Reducer::Mean, Reducer::Sum, Reducer::L2, Reducer::Max] {
            assert_eq!(
                scores_of(&weights, &[out_axis, rest_axis], Element::Square, reducer),
                scores_of(&transposed, &[rest_axis, out_axis], Element::Square, reducer)
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
            for (position, score) in scores.iter().enumerate() {
                assert_eq!(elements.at(position), *score);
            }
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
