//! Mask and zeros in one pass, for units that are weights and are scored by nothing else.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::apply::zero_by_bits;
use crate::axes::Axes;
use crate::error::Error;
use crate::mask::{least_kept, settle_ties, words_for, write_words};
use crate::numbers::{Numbers, NumbersMut};
use crate::score::{Element, Elements};
use crate::select::{BUFFER, Cut, fill_keys};
use crate::tasks::for_chunk_pairs;

/// A multiple of [`BUFFER`].
const TASK: usize = 1 << 16;

/// Does what `mask` and `apply` do, and says how many of the numbers are zero then. Units that `earlier` removed become
/// zero, too, if they come back.
pub fn remove(
    numbers: NumbersMut,
    element: Element,
    axes: &Axes,
    earlier: Option<&[u32]>,
    cut: Cut,
    bits: &mut [u32],
) -> Result<usize, Error> {
    let units = axes.units();
    let fits = units == axes.weights()
        && numbers.len() == units
        && bits.len() == words_for(units)
        && earlier.is_none_or(|mask| mask.len() == bits.len())
        && cut.bound <= units;
    if !fits {
        return Err(Error::Request("remove: one number and one bit per unit"));
    }
    let request = Request { element, axes, earlier, cut };
    match numbers {
        NumbersMut::Float32(numbers) => request.carry_out(
            numbers,
            |numbers| Numbers::Float32(numbers),
            |bytes| u32::from_le_bytes(bytes) << 1,
            bits,
        ),
        NumbersMut::Float16(numbers) => {
            let magnitude = |bytes| u32::from(u16::from_le_bytes(bytes) << 1);
            request.carry_out(numbers, |numbers| Numbers::Float16(numbers), magnitude, bits)
        }
        NumbersMut::Bfloat16(numbers) => {
            let magnitude = |bytes| u32::from(u16::from_le_bytes(bytes) << 1);
            request.carry_out(numbers, |numbers| Numbers::Bfloat16(numbers), magnitude, bits)
        }
    }
}

struct Request<'a> {
    element: Element,
    axes: &'a Axes,
    earlier: Option<&'a [u32]>,
    cut: Cut,
}

impl Request<'_> {
    /// `magnitude` gives a number's bits without the sign.
    fn carry_out<const BYTES: usize>(
        &self,
        numbers: &mut [[u8; BYTES]],
        typed: impl Fn(&[[u8; BYTES]]) -> Numbers<'_> + Sync,
        magnitude: impl Fn([u8; BYTES]) -> u32 + Sync,
        bits: &mut [u32],
    ) -> Result<usize, Error> {
        Elements::new(typed(numbers), self.element, None)?;
        let zeros = AtomicUsize::new(0);
        for_chunk_pairs(numbers, TASK, bits, TASK / 32, &|task, numbers, words| {
            let mut count = 0;
            for (place, (numbers, words)) in numbers.chunks_mut(BUFFER).zip(words.chunks_mut(BUFFER / 32)).enumerate() {
                let start = task * TASK + place * BUFFER;
                // Beyond the last unit nothing goes.
                let mut keys = [u32::MAX; BUFFER];
                let Ok(scores) = Elements::new(typed(numbers), self.element, None) else { return };
                let earlier = self.earlier.map(|mask| &mask[start / 32..][..words.len()]);
                fill_keys(scores, 0, earlier, &mut keys[..numbers.len()]);
                settle_ties(self.axes, self.cut, start, &mut keys);
                write_words(&keys, self.cut, words);
                let least_kept = least_kept(self.cut);
                for (number, &key) in numbers.iter_mut().zip(&keys) {
                    *number = if key < least_kept { [0; BYTES] } else { *number };
                }
                for (numbers, &word) in numbers.chunks_mut(32).zip(earlier.unwrap_or_default()) {
                    zero_by_bits(numbers, word);
                }
                count += numbers.iter().map(|&number| u32::from(magnitude(number) == 0)).sum::<u32>();
            }
            zeros.fetch_add(count as usize, Relaxed);
        });
        Ok(zeros.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::apply;
    use crate::axes::Axis;
    use crate::axes::tests::any_axes;
    use crate::inspect::inspect;
    use crate::mask::mask;
    use crate::select::{Segment, select};
    use proptest::prelude::*;

    /// Compares with the steps one by one.
    fn check(numbers: &[[u8; 4]], list: &[Axis], earlier: Option<&[u32]>, remove_count: usize) {
        let axes = Axes::new(list).unwrap();
        let scores = Elements::new(Numbers::Float32(numbers), Element::Magnitude, None).unwrap();
        let segment = Segment { scores, axes: &axes, earlier, group: 0, limit: axes.units() };
        let cut = select(&[segment], &[remove_count]).unwrap()[0];
        let mut expected = vec![0; words_for(axes.units())];
        mask(&segment, cut, &mut expected).unwrap();
        let mut zeroed = numbers.to_vec();
        for mask in earlier.into_iter().chain([&*expected]) {
            apply(NumbersMut::Float32(&mut zeroed), &axes, mask).unwrap();
        }

        let (mut result, mut bits) = (numbers.to_vec(), vec![0; expected.len()]);
        let target = NumbersMut::Float32(&mut result);
        let zeros = remove(target, Element::Magnitude, &axes, earlier, cut, &mut bits).unwrap();
        assert!(result == zeroed && bits == expected, "{remove_count} of {list:?}");
        assert_eq!(zeros, inspect(Numbers::Float32(&zeroed)).zeros);
    }

    proptest! {
        #[test]
        fn mask_and_zeros_are_those_of_the_steps_one_by_one(
            list in any_axes(),
            share in 0f64..=1.0,
            seed in any::<u32>(),
            words in proptest::option::of(proptest::collection::vec(any::<u32>(), 3700)),
        ) {
            let list: Vec<Axis> = list.into_iter().map(|axis| Axis { block: 1, ..axis }).collect();
            let units: usize = list.iter().map(|axis| axis.size).product();
            let numbers: Vec<[u8; 4]> = (0..units as u32)
                .map(|unit| (((unit ^ seed).wrapping_mul(2_654_435_761) >> 28) as f32 - 8.0).to_le_bytes())
                .collect();
            let earlier = words.map(|mut words| {
                words.truncate(words_for(units));
                if !units.is_multiple_of(32) {
                    *words.last_mut().unwrap() |= u32::MAX << (units % 32);
                }
                words
            });
            check(&numbers, &list, earlier.as_deref(), (share * units as f64) as usize);
        }
    }

    #[test]
    fn tasks_and_buffers_meet() {
        for units in [BUFFER - 1, BUFFER + 1, TASK, TASK + 31, 2 * TASK + BUFFER + 1] {
            let numbers: Vec<[u8; 4]> = (0..units as u32).map(|unit| ((unit % 5) as f32 - 2.0).to_le_bytes()).collect();
            check(&numbers, &[Axis::kept(units, 0)], None, units / 2);
        }
    }

    #[test]
    fn half_precision_keeps_its_bits_and_zeros_of_both_signs_are_counted() {
        let mut numbers = [0x8000u16, 0x3c00, 0xbc01, 0x0000, 0x0001].map(u16::to_le_bytes);
        let axes = Axes::new(&[Axis::kept(5, 0)]).unwrap();
        let cut = Cut { removed: 1, key: 1 << 31 | 0x3380_0000, bound: 5, settled: true, highest: 0 };
        let target = NumbersMut::Float16(&mut numbers);
        assert_eq!(remove(target, Element::Magnitude, &axes, None, cut, &mut [0]), Ok(3));
        assert_eq!(numbers.map(u16::from_le_bytes), [0, 0x3c00, 0xbc01, 0, 0]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut numbers = [[0u8; 4]; 4];
        let refused = |axes: &[Axis], element: Element, cut: Cut, bits: &mut [u32], numbers: &mut [[u8; 4]]| {
            remove(NumbersMut::Float32(numbers), element, &Axes::new(axes).unwrap(), None, cut, bits).is_err()
        };
        let axes = [Axis::kept(4, 0)];
        assert!(!refused(&axes, Element::Magnitude, Cut::default(), &mut [0], &mut numbers));
        assert!(refused(
            &[Axis::kept(2, 0), Axis::reduced(2, 1)],
            Element::Magnitude,
            Cut::default(),
            &mut [0],
            &mut numbers
        ));
        assert!(refused(&axes, Element::Distance, Cut::default(), &mut [0], &mut numbers));
        assert!(refused(&axes, Element::Magnitude, Cut::default(), &mut [], &mut numbers));
        assert!(refused(&axes, Element::Magnitude, Cut { bound: 5, ..Cut::default() }, &mut [0], &mut numbers));
        assert!(refused(&[Axis::kept(3, 0)], Element::Magnitude, Cut::default(), &mut [0], &mut numbers));
    }
}
