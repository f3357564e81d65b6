//! Removed weights become +0.0, bit for bit; kept weights are not touched.

use std::iter::Sum;
use std::mem::take;

use crate::axes::Axes;
use crate::bits::{BITS, for_weights, words_for};
use crate::error::{Error, reserve};
use crate::keys::Keyed;
use crate::numbers::NumbersMut;
use crate::simd::{HALVES, Halves, LANES, Lanes, Narrow, Register, Squares, Wide};
use crate::tasks::for_chunk_pairs;

pub(crate) const TASK: usize = 1 << 16;

/// Squares are summed up in runs of this many numbers, whose sums are added in order: those of a task, then those of all
/// tasks.
const RUN: usize = 4096;

/// What zeroing did to the numbers of a tensor.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Zeroed {
    /// How many of them are zero now, of either sign.
    pub zeros: usize,
    /// The sum of the squares of the numbers that stayed as they were.
    pub kept_squares: f64,
    /// The sum of the squares that the others had.
    pub removed_squares: f64,
}

impl Sum for Zeroed {
    fn sum<I: Iterator<Item = Zeroed>>(parts: I) -> Zeroed {
        parts.fold(Zeroed::default(), |all, part| Zeroed {
            zeros: all.zeros + part.zeros,
            kept_squares: all.kept_squares + part.kept_squares,
            removed_squares: all.removed_squares + part.removed_squares,
        })
    }
}

/// Zeroes the weights of all units that the mask removes.
pub fn apply(numbers: NumbersMut, axes: &Axes, mask: &[u32]) -> Result<Zeroed, Error> {
    if numbers.len() != axes.weights() || mask.len() != words_for(axes.units()) {
        return Err(Error::Request("apply: the mask does not describe the numbers"));
    }
    Ok(match numbers {
        NumbersMut::Float32(numbers) => zero(numbers, axes, mask, add_floats, zero_and_count),
        NumbersMut::Float16(numbers) => zero(numbers, axes, mask, add_float16, zero_halves_and_count),
        NumbersMut::Bfloat16(numbers) => zero(numbers, axes, mask, add_bfloat16, zero_halves_and_count),
    })
}

/// `act` zeroes some of 32 numbers and counts zeros.
fn zero<const BYTES: usize>(
    numbers: &mut [[u8; BYTES]],
    axes: &Axes,
    mask: &[u32],
    add: AddSquares<BYTES>,
    act: impl Fn(&mut [[u8; BYTES]; 32], u32) -> u32 + Sync,
) -> Zeroed {
    let zero_task = |task: usize, numbers: &mut [[u8; BYTES]]| {
        let start = task * TASK;
        let weights = start..start + numbers.len();
        let (mut tally, mut numbers) = (Tally::default(), InWords::new(numbers, add));
        for_weights(mask, axes, weights, |word| {
            numbers.zero(&mut tally, word, &act);
        });
        tally.finish()
    };
    // A change that began in an earlier call must not stop for want of memory.
    let count = numbers.len().div_ceil(TASK);
    let Ok(mut parts) = reserve(count) else {
        return numbers.chunks_mut(TASK).enumerate().map(|(task, numbers)| zero_task(task, numbers)).sum();
    };
    parts.resize(count, Zeroed::default());
    for_chunk_pairs(numbers, TASK, &mut parts, 1, &|task, numbers, part| part[0] = zero_task(task, numbers));
    parts.into_iter().sum()
}

/// What is found out while numbers become zero, 32 at a time.
#[derive(Default)]
pub(crate) struct Tally {
    zeroed: Zeroed,
    run: Squares,
    /// How many of the run's numbers are added.
    added: usize,
}

impl Tally {
    /// Notes that 32 numbers more are done.
    #[inline(always)]
    fn note(&mut self, zeros: u32) {
        self.zeroed.zeros += zeros as usize;
        self.added += 32;
        if self.added == RUN {
            self.end_run();
        }
    }

    fn end_run(&mut self) {
        let [kept, removed] = take(&mut self.run).sums();
        self.zeroed.kept_squares += kept;
        self.zeroed.removed_squares += removed;
        self.added = 0;
    }

    pub(crate) fn finish(mut self) -> Zeroed {
        self.end_run();
        self.zeroed
    }
}

/// Adds the squares of 32 numbers; the bits of a word say which of them stay.
pub(crate) type AddSquares<const BYTES: usize> = fn(&mut Squares, &[[u8; BYTES]; 32], u32);

pub(crate) fn add_floats(squares: &mut Squares, numbers: &[[u8; 4]; 32], word: u32) {
    squares.add(numbers, word, &BITS);
}

pub(crate) fn add_float16(squares: &mut Squares, numbers: &[[u8; 2]; 32], word: u32) {
    squares.add(&widened(numbers, Lanes::magnitudes_of_float16), word, &BITS);
}

pub(crate) fn add_bfloat16(squares: &mut Squares, numbers: &[[u8; 2]; 32], word: u32) {
    squares.add(&widened(numbers, Lanes::magnitudes_of_bfloat16), word, &BITS);
}

/// The magnitudes of 32 numbers, as numbers of 32 bits.
fn widened(numbers: &[[u8; 2]; 32], magnitudes: impl Fn(Lanes) -> Lanes) -> [[u8; 4]; 32] {
    let mut wide = [[0; 4]; 32];
    for (numbers, wide) in numbers.as_chunks::<LANES>().0.iter().zip(wide.as_chunks_mut::<LANES>().0) {
        magnitudes(Lanes::load_halves(numbers)).store(wide);
    }
    wide
}

/// The bits of a word beyond so many.
fn beyond(length: u32) -> u32 {
    u32::MAX.checked_shl(length).unwrap_or(0)
}

/// Numbers, as many at a time as a word has bits.
pub(crate) struct InWords<'a, const BYTES: usize> {
    whole: std::slice::IterMut<'a, [[u8; BYTES]; 32]>,
    last: &'a mut [[u8; BYTES]],
    add: AddSquares<BYTES>,
}

impl<'a, const BYTES: usize> InWords<'a, BYTES> {
    pub(crate) fn new(numbers: &'a mut [[u8; BYTES]], add: AddSquares<BYTES>) -> Self {
        let (whole, last) = numbers.as_chunks_mut::<32>();
        InWords { whole: whole.iter_mut(), last, add }
    }

    /// Calls `act` with the next 32, of which those stay whose bit is 1. It zeroes the others and counts zeros.
    // Not inlined: words come from several places.
    #[inline(never)]
    pub(crate) fn zero(
        &mut self,
        tally: &mut Tally,
        staying: u32,
        act: impl FnOnce(&mut [[u8; BYTES]; 32], u32) -> u32,
    ) {
        let add = self.add;
        self.next(|numbers, length| {
            let rest;
            let own = if length == 32 {
                &*numbers
            } else {
                rest = first(numbers, length);
                &rest
            };
            add(&mut tally.run, own, staying);
            tally.note(act(numbers, staying | beyond(length)));
        });
    }

    /// Calls `act` with the next 32. It zeroes some, counts zeros, and gives the bits of those that stay.
    #[inline(always)]
    pub(crate) fn zero_and_tell(&mut self, tally: &mut Tally, act: impl FnOnce(&mut [[u8; BYTES]; 32]) -> (u32, u32)) {
        let add = self.add;
        self.next(|numbers, length| {
            let before = if length == 32 { *numbers } else { first(numbers, length) };
            let (zeros, staying) = act(numbers);
            add(&mut tally.run, &before, staying);
            tally.note(zeros);
        });
    }

    /// Calls `act` with the next 32, and how many of them are numbers: the last ones are followed by what is neither zero
    /// nor smaller than any number.
    #[inline(always)]
    fn next(&mut self, act: impl FnOnce(&mut [[u8; BYTES]; 32], u32)) {
        if let Some(numbers) = self.whole.next() {
            return act(numbers, 32);
        }
        let mut numbers = [[u8::MAX; BYTES]; 32];
        let length = self.last.len();
        numbers[..length].copy_from_slice(self.last);
        act(&mut numbers, length as u32);
        self.last.copy_from_slice(&numbers[..length]);
    }
}

/// The first numbers, followed by 0, which changes no sum.
#[inline(never)]
fn first<const BYTES: usize>(numbers: &[[u8; BYTES]; 32], length: u32) -> [[u8; BYTES]; 32] {
    let mut result = [[0; BYTES]; 32];
    result[..length as usize].copy_from_slice(&numbers[..length as usize]);
    result
}

pub(crate) fn zero_and_count(numbers: &mut [[u8; 4]; 32], word: u32) -> u32 {
    if word == 0 {
        *numbers = [[0; 4]; 32];
        return 32;
    }
    let zero = Lanes::splat(0);
    let mut zeros = zero;
    let (quads, _) = numbers.as_chunks_mut::<LANES>();
    if word == u32::MAX {
        // Nothing is written.
        quads.iter().for_each(|numbers| zeros = zeros.add(Keyed::keys(numbers).is_equal(zero)));
        return zeros.count();
    }
    let word = Lanes::splat(word as i32);
    for (numbers, bits) in quads.iter_mut().zip(BITS.as_chunks::<LANES>().0) {
        let going = word.and(Lanes::read(&bits.map(u32::cast_signed))).is_equal(zero);
        zeros = zeros.add(going.or(Keyed::keys(numbers).is_equal(zero)));
        Lanes::load(numbers).without(going).store(numbers);
    }
    zeros.count()
}

pub(crate) fn zero_halves_and_count(numbers: &mut [[u8; 2]; 32], word: u32) -> u32 {
    let zero = Halves::splat(0);
    let mut zeros = zero;
    for (numbers, bits) in numbers.as_chunks_mut::<HALVES>().0.iter_mut().zip(word.to_le_bytes()) {
        let (own, going) = (Halves::load(numbers), Halves::without_bit(bits));
        zeros = zeros.add(going.or(own.magnitudes().is_equal(zero)));
        own.without(going).store(numbers);
    }
    zeros.count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::axes::Axis;
    use crate::axes::tests::{any_axes, naive_places};
    use crate::bits::is_kept;
    use crate::numbers::Numbers;
    use proptest::prelude::*;

    /// By the definition: lanes of a run, runs of a task, tasks.
    fn naive_squares(numbers: &[f32], is_summed: impl Fn(usize) -> bool) -> f64 {
        let square = |place: usize| if is_summed(place) { f64::from(numbers[place]).powi(2) } else { 0.0 };
        let sum_of_run = |start: usize, end: usize| {
            let [a, b, c, d, e, f, g, h] =
                std::array::from_fn(|lane| (start + lane..end).step_by(8).fold(0.0, |sum, place| sum + square(place)));
            ((a + e) + (c + g)) + ((b + f) + (d + h))
        };
        let sum_of_task = |start: usize| {
            let end = numbers.len().min(start + TASK);
            (start..end).step_by(RUN).fold(0.0, |sum, run| sum + sum_of_run(run, end.min(run + RUN)))
        };
        (0..numbers.len()).step_by(TASK).fold(0.0, |sum, task| sum + sum_of_task(task))
    }

    /// Zeroes numbers of each type, and compares the sums of squares with the definition.
    fn check_squares(bytes: &[[u8; 4]], axes: &Axes, mask: &[u32], is_staying: impl Fn(usize) -> bool) {
        let halves: Vec<[u8; 2]> = bytes.iter().map(|&[_, _, low, high]| [low, high]).collect();
        let check = |before: Numbers, after: NumbersMut| {
            let numbers: Vec<f32> = (0..before.len()).map(|place| before.at(place)).collect();
            let zeroed = apply(after, axes, mask).unwrap();
            let expected = [naive_squares(&numbers, &is_staying), naive_squares(&numbers, |place| !is_staying(place))];
            assert_eq!([zeroed.kept_squares, zeroed.removed_squares].map(f64::to_bits), expected.map(f64::to_bits));
        };
        check(Numbers::Float32(bytes), NumbersMut::Float32(&mut bytes.to_vec()));
        check(Numbers::Float16(&halves), NumbersMut::Float16(&mut halves.clone()));
        check(Numbers::Bfloat16(&halves), NumbersMut::Bfloat16(&mut halves.clone()));
    }

    /// Numbers of all sizes, none of them infinite in any type.
    fn any_number(seed: u32) -> [u8; 4] {
        (seed.wrapping_mul(2_654_435_761) & 0xbbff_ffff).to_le_bytes()
    }

    proptest! {
        #[test]
        fn exactly_the_weights_of_removed_units_become_zero(list in any_axes(), words in proptest::collection::vec(any::<u32>(), words_for(6usize.pow(6)))) {
            let axes = Axes::new(&list).unwrap();
            let mask = &words[..words_for(axes.units())];
            let mut numbers: Vec<[u8; 4]> = (1..=axes.weights() as u32).map(|i| (-(i as f32)).to_le_bytes()).collect();
            numbers.iter_mut().step_by(7).for_each(|number| *number = (-0.0f32).to_le_bytes());
            let before = numbers.clone();
            let zeroed = apply(NumbersMut::Float32(&mut numbers), &axes, mask).unwrap();
            prop_assert_eq!(zeroed.zeros, numbers.iter().filter(|number| f32::from_le_bytes(**number) == 0.0).count());
            for (position, (unit, ..)) in naive_places(&list).into_iter().enumerate() {
                prop_assert_eq!(numbers[position], if is_kept(mask, unit) { before[position] } else { [0; 4] });
            }
        }

        #[test]
        fn squares_are_summed_up_by_the_definition(list in any_axes(), seed in any::<u32>(), words in proptest::collection::vec(any::<u32>(), words_for(6usize.pow(6)))) {
            let axes = Axes::new(&list).unwrap();
            let mask = &words[..words_for(axes.units())];
            let numbers: Vec<[u8; 4]> = (0..axes.weights() as u32).map(|place| any_number(seed ^ place)).collect();
            let units: Vec<usize> = naive_places(&list).into_iter().map(|(unit, ..)| unit).collect();
            check_squares(&numbers, &axes, mask, |place| is_kept(mask, units[place]));
        }
    }

    #[test]
    fn squares_of_several_runs_and_tasks_are_summed_up_by_the_definition() {
        for count in [RUN - 1, RUN, RUN + 9, TASK - 1, TASK + RUN + 1, 3 * TASK + 2 * RUN + 33] {
            let axes = Axes::new(&[Axis::kept(count, 0)]).unwrap();
            let mask: Vec<u32> = (0..words_for(count) as u32).map(|i| 0x5a5a_1234 ^ i.wrapping_mul(40_503)).collect();
            let numbers: Vec<[u8; 4]> = (0..count as u32).map(any_number).collect();
            check_squares(&numbers, &axes, &mask, |place| is_kept(&mask, place));
        }
    }

    #[test]
    fn long_lines_and_half_precision_agree_with_the_definition() {
        for count in [31, 32, 33, TASK - 1, TASK + 1, 2 * TASK + 3] {
            for reduced in [false, true] {
                let list = [Axis::kept(3, 0), if reduced { Axis::reduced(count, 1) } else { Axis::kept(count, 1) }];
                let axes = Axes::new(&list).unwrap();
                let mask: Vec<u32> =
                    (0..words_for(axes.units()) as u32).map(|i| 0x5a5a_1234 ^ i.wrapping_mul(2_654_435_761)).collect();
                let mut numbers = vec![[1u8, 128]; 3 * count];
                apply(NumbersMut::Float16(&mut numbers), &axes, &mask).unwrap();
                for (position, number) in numbers.into_iter().enumerate() {
                    let unit = if reduced { position / count } else { position };
                    assert_eq!(number, if is_kept(&mask, unit) { [1, 128] } else { [0, 0] });
                }
            }
        }
    }
}
