//! Removed weights become +0.0, bit for bit; kept weights are not touched.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::axes::Axes;
use crate::bits::{BITS, for_weights, words_for};
use crate::error::Error;
use crate::keys::Keyed;
use crate::numbers::NumbersMut;
use crate::simd::{HALVES, Halves, LANES, Lanes, Narrow, Register, Wide};
use crate::tasks::for_chunks;

const TASK: usize = 1 << 16;

/// Zeroes the weights of all units that the mask removes, and says how many of the numbers are zero then.
pub fn apply(numbers: NumbersMut, axes: &Axes, mask: &[u32]) -> Result<usize, Error> {
    if numbers.len() != axes.weights() || mask.len() != words_for(axes.units()) {
        return Err(Error::Request("apply: the mask does not describe the numbers"));
    }
    Ok(match numbers {
        NumbersMut::Float32(numbers) => zero(numbers, axes, mask, zero_and_count),
        NumbersMut::Float16(numbers) | NumbersMut::Bfloat16(numbers) => {
            zero(numbers, axes, mask, zero_halves_and_count)
        }
    })
}

/// `act` zeroes some of 32 numbers and counts zeros.
fn zero<const BYTES: usize>(
    numbers: &mut [[u8; BYTES]],
    axes: &Axes,
    mask: &[u32],
    act: impl Fn(&mut [[u8; BYTES]; 32], u32) -> u32 + Sync,
) -> usize {
    let zeros = AtomicUsize::new(0);
    for_chunks(numbers, TASK, &|task, numbers| {
        let start = task * TASK;
        let weights = start..start + numbers.len();
        let mut numbers = InWords::new(numbers);
        let mut count = 0;
        for_weights(mask, axes, weights, |word| {
            count += numbers.next(|numbers, length| act(numbers, word | beyond(length)));
        });
        zeros.fetch_add(count as usize, Relaxed);
    });
    zeros.into_inner()
}

/// The bits of a word beyond so many.
pub(crate) fn beyond(length: u32) -> u32 {
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

    /// Calls `act` with the next 32, and how many of them are numbers: the last ones are followed by what is neither
    /// zero nor smaller than any number.
    #[inline(always)]
    pub(crate) fn next(&mut self, act: impl FnOnce(&mut [[u8; BYTES]; 32], u32) -> u32) -> u32 {
        if let Some(numbers) = self.whole.next() {
            return act(numbers, 32);
        }
        let mut numbers = [[u8::MAX; BYTES]; 32];
        let length = self.last.len();
        numbers[..length].copy_from_slice(self.last);
        let result = act(&mut numbers, length as u32);
        self.last.copy_from_slice(&numbers[..length]);
        result
    }
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
    use crate::axes::tests::{any_axes, naive_places};
    use crate::bits::is_kept;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn exactly_the_weights_of_removed_units_become_zero(list in any_axes(), words in proptest::collection::vec(any::<u32>(), words_for(6usize.pow(6)))) {
            let axes = Axes::new(&list).unwrap();
            let mask = &words[..words_for(axes.units())];
            let mut numbers: Vec<[u8; 4]> = (1..=axes.weights() as u32).map(|i| (-(i as f32)).to_le_bytes()).collect();
            numbers.iter_mut().step_by(7).for_each(|number| *number = (-0.0f32).to_le_bytes());
            let before = numbers.clone();
            let zeros = apply(NumbersMut::Float32(&mut numbers), &axes, mask).unwrap();
            prop_assert_eq!(zeros, numbers.iter().filter(|number| f32::from_le_bytes(**number) == 0.0).count());
            for (position, (unit, ..)) in naive_places(&list).into_iter().enumerate() {
                prop_assert_eq!(numbers[position], if is_kept(mask, unit) { before[position] } else { [0; 4] });
            }
        }
    }

    #[test]
    fn long_lines_and_half_precision_agree_with_the_definition() {
        use crate::axes::Axis;
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
