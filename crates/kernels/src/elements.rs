//! Scores of single weights, computed where they are asked for.

use crate::error::Error;
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
    pub(crate) fn gather(&self, start: usize, stride: usize, target: &mut [f32]) {
        match self {
            Other::Each(numbers) => numbers.gather(start, stride, target),
            Other::Channels { numbers, steps } => {
                for (piece, target) in target.chunks_mut(STRIP).enumerate() {
                    let mut channels = [0; STRIP];
                    let channels = &mut channels[..target.len()];
                    for step in steps.iter().filter(|step| step.size > 1) {
                        step.add(start + piece * STRIP * stride, stride, channels);
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

impl Element {
    /// All of them; callers outside know them by their places here.
    pub const ALL: [Element; 14] = [
        Element::Itself,
        Element::Magnitude,
        Element::Square,
        Element::NegativeMagnitude,
        Element::Other,
        Element::OtherMagnitude,
        Element::NegativeOtherMagnitude,
        Element::SmallerMagnitude,
        Element::NegativeLargerMagnitude,
        Element::MagnitudeIncrease,
        Element::Distance,
        Element::WeightedDistance,
        Element::SquaredProduct,
        Element::ScaledMagnitude,
    ];
}

/// The element scores of a tensor, computed where they are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Elements<'a> {
    pub(crate) numbers: Numbers<'a>,
    pub(crate) other: Option<Other<'a>>,
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
                let (mut weights, mut others) = ([0.0; STRIP], [0.0; STRIP]);
                for (piece, target) in target.chunks_mut(STRIP).enumerate() {
                    let (weights, others) = (&mut weights[..target.len()], &mut others[..target.len()]);
                    self.numbers.fill(start + piece * STRIP, weights, |w| w);
                    if let Some(other) = other {
                        other.gather(start + piece * STRIP, 1, others);
                    }
                    combine(element, weights, others, target);
                }
            }
        }
    }
}

/// Weights, what they are compared with, and scores on their way to keys are worked on this many at a time.
pub(crate) const STRIP: usize = 256;

/// The elements' formulas.
pub(crate) fn combine(element: Element, weights: &[f32], others: &[f32], target: &mut [f32]) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn channels_of_weights_at_equal_distances_follow_their_formula(
            (start, distance, count) in (0usize..1000, 1usize..100, 1usize..3 * STRIP),
            steps in proptest::array::uniform2((1usize..30, 1usize..8, 0usize..4)),
        ) {
            let numbers: Vec<[u8; 4]> = (0..43).map(|channel| (channel as f32).to_le_bytes()).collect();
            let steps = steps.map(|(stride, size, factor)| ChannelStep { stride, size, factor });
            let mut channels = vec![0.0; count];
            Other::Channels { numbers: Numbers::Float32(&numbers), steps }.gather(start, distance, &mut channels);
            for (index, channel) in channels.into_iter().enumerate() {
                let position = start + index * distance;
                let parts = steps.iter().map(|step| position / step.stride % step.size * step.factor);
                prop_assert_eq!(channel, parts.sum::<usize>() as f32);
            }
        }
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
}
