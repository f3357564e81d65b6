//! Removed weights become +0.0, bit for bit; kept weights are not touched.

use std::iter::Sum;
use std::mem::take;

use crate::axes::Axes;
use crate::bits::{BITS, for_weights, words_for};
use crate::error::{Error, reserve};
use crate::keys::Keyed;
use crate::numbers::NumbersMut;
use crate::simd::{HALVES, Halves, LANES, Lanes, Narrow, Register, Squares, SquaresOfWord, Wide};
use crate::tasks::for_chunk_pairs;

pub(crate) const TASK: usize = 1 << 16;

/// Squares are summed up in words of 32 numbers, by lanes, in `f32`; then in runs of this many numbers, by lanes; then those
/// of a task and those of all tasks in order, in `f64`. Squares in `f64` would take as long as all else. In `f32` the sums
/// differ by at most 9 roundings.
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
    /// Whether any of the others was not zero. The sum of their squares does not tell: squares of numbers below 1e-23 are 0.
    pub is_changed: bool,
}

impl Sum for Zeroed {
    fn sum<I: Iterator<Item = Zeroed>>(parts: I) -> Zeroed {
        parts.fold(Zeroed::default(), |all, part| Zeroed {
            zeros: all.zeros + part.zeros,
            kept_squares: all.kept_squares + part.kept_squares,
            removed_squares: all.removed_squares + part.removed_squares,
            is_changed: all.is_changed || part.is_changed,
        })
    }
}

/// Zeroes the weights of all units that the mask removes.
pub fn apply(numbers: NumbersMut, axes: &Axes, mask: &[u32]) -> Result<Zeroed, Error> {
    if numbers.len() != axes.weights() || mask.len() != words_for(axes.units()) {
        return Err(Error::Request("apply: the mask does not describe the numbers"));
    }
    Ok(match numbers {
        NumbersMut::Float32(numbers) => zero(numbers, axes, mask, zero_and_count),
        NumbersMut::Float16(numbers) => zero(numbers, axes, mask, zero_float16),
        NumbersMut::Bfloat16(numbers) => zero(numbers, axes, mask, zero_bfloat16),
    })
}

/// `act` zeroes some of 32 numbers, adds squares and counts zeros.
fn zero<const BYTES: usize>(
    numbers: &mut [[u8; BYTES]],
    axes: &Axes,
    mask: &[u32],
    act: impl Fn(&mut [[u8; BYTES]; 32], u32, &mut SquaresOfWord) -> u32 + Sync,
) -> Zeroed {
    let zero_task = |task: usize, numbers: &mut [[u8; BYTES]]| {
        let start = task * TASK;
        let weights = start..start + numbers.len();
        let (mut tally, mut numbers) = (Tally::default(), InWords::new(numbers));
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
    fn note(&mut self, zeros: u32, squares: SquaresOfWord) {
        self.zeroed.zeros += zeros as usize;
        self.run.add(squares);
        self.added += 32;
        if self.added == RUN {
            self.end_run();
        }
    }

    fn end_run(&mut self) {
        let run = take(&mut self.run);
        let [all, going] = run.sums();
        self.zeroed.kept_squares += all - going;
        self.zeroed.removed_squares += going;
        self.zeroed.is_changed |= run.is_any_going();
        self.added = 0;
    }

    pub(crate) fn finish(mut self) -> Zeroed {
        self.end_run();
        self.zeroed
    }
}

/// The bits of a word beyond so many.
fn beyond(length: u32) -> u32 {
    u32::MAX.checked_shl(length).unwrap_or(0)
}

/// Numbers, as many at a time as a word has bits.
pub(crate) struct InWords<'a, const BYTES: usize> {
    whole: std::slice::IterMut<'a, [[u8; BYTES]; 32]>,
    last: &'a mut [[u8; BYTES]],
}

impl<'a, const BYTES: usize> InWords<'a, BYTES> {
    pub(crate) fn new(numbers: &'a mut [[u8; BYTES]]) -> Self {
        let (whole, last) = numbers.as_chunks_mut::<32>();
        InWords { whole: whole.iter_mut(), last }
    }

    /// Calls `act` with the next 32, of which those stay whose bit is 1. It zeroes the others, adds squares and counts zeros.
    // Not inlined: words come from several places.
    #[inline(never)]
    pub(crate) fn zero(
        &mut self,
        tally: &mut Tally,
        staying: u32,
        act: impl Fn(&mut [[u8; BYTES]; 32], u32, &mut SquaresOfWord) -> u32,
    ) {
        let mut squares = SquaresOfWord::default();
        if let Some(numbers) = self.whole.next() {
            let zeros = act(numbers, staying, &mut squares);
            return tally.note(zeros, squares);
        }
        // The last ones are followed by zeros, which stay and change no sum.
        let length = self.last.len();
        let mut numbers = [[0; BYTES]; 32];
        numbers[..length].copy_from_slice(self.last);
        let zeros = act(&mut numbers, staying | beyond(length as u32), &mut squares);
        self.last.copy_from_slice(&numbers[..length]);
        tally.note(zeros - (32 - length as u32), squares);
    }

    /// Calls `act` with the next 32. It zeroes some, adds squares, counts zeros, and tells which stay, by bits.
    #[inline(always)]
    pub(crate) fn zero_and_tell(
        &mut self,
        tally: &mut Tally,
        act: impl Fn(&mut [[u8; BYTES]; 32], &mut SquaresOfWord) -> (u32, u32),
    ) -> u32 {
        let mut squares = SquaresOfWord::default();
        if let Some(numbers) = self.whole.next() {
            let (zeros, staying) = act(numbers, &mut squares);
            tally.note(zeros, squares);
            return staying;
        }
        let length = self.last.len();
        let mut numbers = [[0; BYTES]; 32];
        numbers[..length].copy_from_slice(self.last);
        let (zeros, staying) = act(&mut numbers, &mut squares);
        self.last.copy_from_slice(&numbers[..length]);
        tally.note(zeros - (32 - length as u32), squares);
        staying | beyond(length as u32)
    }
}

pub(crate) fn zero_and_count(numbers: &mut [[u8; 4]; 32], word: u32, squares: &mut SquaresOfWord) -> u32 {
    let zero = Lanes::splat(0);
    let (quads, _) = numbers.as_chunks_mut::<LANES>();
    if word == 0 {
        quads.iter().for_each(|numbers| squares.add_going(Lanes::load(numbers)));
        *numbers = [[0; 4]; 32];
        return 32;
    }
    let mut zeros = zero;
    if word == u32::MAX {
        // Nothing is written.
        for numbers in quads {
            squares.add_staying(Lanes::load(numbers));
            zeros = zeros.add(Keyed::keys(numbers).is_equal(zero));
        }
        return zeros.count();
    }
    let word = Lanes::splat(word as i32);
    for (numbers, bits) in quads.iter_mut().zip(BITS.as_chunks::<LANES>().0) {
        let going = word.and(Lanes::read(&bits.map(u32::cast_signed))).is_equal(zero);
        let own = Lanes::load(numbers);
        squares.add(own, going);
        zeros = zeros.add(going.or(Keyed::keys(numbers).is_equal(zero)));
        own.without(going).store(numbers);
    }
    zeros.count()
}

pub(crate) fn zero_float16(numbers: &mut [[u8; 2]; 32], word: u32, squares: &mut SquaresOfWord) -> u32 {
    add_float16(numbers, word, squares);
    zero_halves_and_count(numbers, word)
}

pub(crate) fn zero_bfloat16(numbers: &mut [[u8; 2]; 32], word: u32, squares: &mut SquaresOfWord) -> u32 {
    add_bfloat16(numbers, word, squares);
    zero_halves_and_count(numbers, word)
}

// Not inlined: they have several callers.

#[inline(never)]
pub(crate) fn add_float16(numbers: &[[u8; 2]; 32], word: u32, squares: &mut SquaresOfWord) {
    add_halves(numbers, word, Lanes::magnitudes_of_float16, squares);
}

#[inline(never)]
pub(crate) fn add_bfloat16(numbers: &[[u8; 2]; 32], word: u32, squares: &mut SquaresOfWord) {
    add_halves(numbers, word, Lanes::magnitudes_of_bfloat16, squares);
}

/// Adds the squares of 32 numbers, of which those stay whose bit is 1.
#[inline(always)]
fn add_halves(numbers: &[[u8; 2]; 32], word: u32, magnitudes: impl Fn(Lanes) -> Lanes, squares: &mut SquaresOfWord) {
    let word = Lanes::splat(word as i32);
    for (numbers, bits) in numbers.as_chunks::<LANES>().0.iter().zip(BITS.as_chunks::<LANES>().0) {
        let going = word.and(Lanes::read(&bits.map(u32::cast_signed))).is_equal(Lanes::splat(0));
        squares.add(magnitudes(Lanes::load_halves(numbers)), going);
    }
}

#[inline(never)]
fn zero_halves_and_count(numbers: &mut [[u8; 2]; 32], word: u32) -> u32 {
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

    /// By the definition: lanes of words, lanes of runs, tasks.
    fn naive_squares(numbers: &[f32], is_summed: impl Fn(usize) -> bool) -> [f64; 2] {
        let square = |place: usize, is_all: bool| {
            if place < numbers.len() && (is_all || is_summed(place)) { numbers[place] * numbers[place] } else { 0.0 }
        };
        let sum_of_run = |start: usize, end: usize, is_all: bool| {
            let lane = |lane: usize| {
                let words = (start..end).step_by(32);
                words.fold(0.0, |sum, word| {
                    let own = (0..8).fold(0.0f32, |sum, quad| sum + square(word + 4 * quad + lane, is_all));
                    sum + f64::from(own)
                })
            };
            (lane(0) + lane(2)) + (lane(1) + lane(3))
        };
        let sum_of_task = |start: usize| {
            let end = numbers.len().min(start + TASK);
            (start..end).step_by(RUN).fold([0.0; 2], |[kept, removed], run| {
                let [all, going] = [true, false].map(|is_all| sum_of_run(run, end.min(run + RUN), is_all));
                [kept + (all - going), removed + going]
            })
        };
        (0..numbers.len()).step_by(TASK).map(sum_of_task).fold([0.0; 2], |all, own| [all[0] + own[0], all[1] + own[1]])
    }

    /// Zeroes numbers of each type, and compares the sums of squares with the definition.
    fn check_squares(bytes: &[[u8; 4]], axes: &Axes, mask: &[u32], is_staying: impl Fn(usize) -> bool) {
        let halves: Vec<[u8; 2]> = bytes.iter().map(|&[_, _, low, high]| [low, high]).collect();
        let check = |before: Numbers, after: NumbersMut| {
            let numbers: Vec<f32> = (0..before.len()).map(|place| before.at(place)).collect();
            let zeroed = apply(after, axes, mask).unwrap();
            let expected = naive_squares(&numbers, |place| !is_staying(place));
            assert_eq!([zeroed.kept_squares, zeroed.removed_squares].map(f64::to_bits), expected.map(f64::to_bits));
            assert_eq!(zeroed.is_changed, (0..numbers.len()).any(|place| numbers[place] != 0.0 && !is_staying(place)));
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
    fn a_removed_number_is_a_change_however_small_its_square_is() {
        let axes = Axes::new(&[Axis::kept(40, 0)]).unwrap();
        for (number, is_changed) in [(f32::from_bits(1), true), (-1e-30, true), (0.0, false), (-0.0, false)] {
            let numbers = [number.to_le_bytes(); 40];
            for mask in [[0, 0], [!0, !1], [!2, !0]] {
                let zeroed = apply(NumbersMut::Float32(&mut numbers.clone()), &axes, &mask).unwrap();
                assert_eq!((zeroed.removed_squares, zeroed.is_changed), (0.0, is_changed));
            }
            assert!(!apply(NumbersMut::Float32(&mut numbers.clone()), &axes, &[!0, !0]).unwrap().is_changed);
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
