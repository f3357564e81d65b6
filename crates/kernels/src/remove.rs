//! Mask and zeros in one pass, for units that are weights and are scored by nothing else.

use std::sync::{Mutex, PoisonError};

use crate::apply::{
    InWords, TASK, Tally, Zeroed, add_bfloat16, add_float16, zero_and_count, zero_bfloat16, zero_float16,
};
use crate::axes::Axes;
use crate::bits::words_for;
use crate::elements::{Element, Elements};
use crate::error::{Error, reserve};
use crate::keys::{Keyed, PIECE, fill_keys, has_key, with_items};
use crate::mask::{settle_ties, write_words};
use crate::numbers::{Numbers, NumbersMut};
use crate::scalar::key_of;
use crate::segment::Cut;
use crate::simd::{HALVES, Halves, LANES, Lanes, Narrow, Register, SquaresOfWord, Wide};
use crate::tasks::for_each;

/// What is removed from one tensor.
#[derive(Debug)]
pub struct Removal<'a> {
    pub numbers: NumbersMut<'a>,
    pub element: Element,
    pub axes: Axes,
    /// The mask of an earlier call: what it removed becomes zero, too, if it comes back.
    pub earlier: Option<&'a [u32]>,
    pub cut: Cut,
    /// Where the mask goes.
    pub bits: &'a mut [u32],
    /// Is told what became of the numbers.
    pub zeroed: Mutex<Zeroed>,
}

impl Removal<'_> {
    /// What became of the numbers.
    pub fn zeroed(&self) -> Zeroed {
        *self.zeroed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self) -> Result<(), Error> {
        let units = self.axes.units();
        let fits = units == self.axes.weights()
            && self.numbers.len() == units
            && self.bits.len() == words_for(units)
            && self.earlier.is_none_or(|mask| mask.len() == self.bits.len())
            && self.cut.bound <= units;
        if !fits {
            return Err(Error::Request("remove: one number and one bit per unit"));
        }
        Elements::new(Numbers::Float32(&[]), self.element, None).map(|_| ())
    }
}

/// Does what `mask` and `apply` do, in all tensors.
pub fn remove(removals: &mut [Removal]) -> Result<(), Error> {
    removals.iter().try_for_each(Removal::check)?;
    let count = removals.iter().map(|removal| removal.bits.len().div_ceil(TASK / 32)).sum();
    let parts = removals.iter_mut().flat_map(|Removal { numbers, element, axes, earlier, cut, bits, zeroed }| {
        let what = What { element: *element, axes, earlier: *earlier, cut: *cut, zeroed };
        let parts = numbers.chunks_mut(TASK).zip(bits.chunks_mut(TASK / 32));
        parts.enumerate().map(move |(task, (numbers, bits))| Part {
            what,
            start: task * TASK,
            numbers,
            bits,
            zeroed: Zeroed::default(),
        })
    });
    // A change that began in an earlier call must not stop for want of memory.
    let Ok(mut list) = reserve(count) else {
        parts.for_each(|mut part| {
            part.carry_out();
            part.tell();
        });
        return Ok(());
    };
    list.extend(parts.map(Mutex::new));
    for_each(count, &|place| {
        // Each part is asked for once, so nobody waits and no lock is poisoned.
        if let Ok(mut part) = list[place].lock() {
            part.carry_out();
        }
    });
    // In order, so that sums do not depend on which part was ready first.
    list.into_iter().for_each(|part| part.into_inner().unwrap_or_else(PoisonError::into_inner).tell());
    Ok(())
}

#[derive(Clone, Copy)]
struct What<'a> {
    element: Element,
    axes: &'a Axes,
    earlier: Option<&'a [u32]>,
    cut: Cut,
    zeroed: &'a Mutex<Zeroed>,
}

/// Some of a tensor's units, from `start` on.
struct Part<'a> {
    what: What<'a>,
    start: usize,
    numbers: NumbersMut<'a>,
    bits: &'a mut [u32],
    zeroed: Zeroed,
}

impl Part<'_> {
    fn carry_out(&mut self) {
        let pieces = self.numbers.chunks_mut(PIECE).zip(self.bits.chunks_mut(PIECE / 32)).enumerate();
        let mut tally = Tally::default();
        for (place, (numbers, words)) in pieces {
            self.what.remove_from_piece(self.start + place * PIECE, numbers, words, &mut tally);
        }
        self.zeroed = tally.finish();
    }

    /// Adds what became of its numbers to that of the tensor.
    fn tell(self) {
        let mut all = self.what.zeroed.lock().unwrap_or_else(PoisonError::into_inner);
        *all = [*all, self.zeroed].into_iter().sum();
    }
}

impl What<'_> {
    /// Removes from the numbers of a piece, which begins with unit `start`.
    fn remove_from_piece(&self, start: usize, numbers: NumbersMut, words: &mut [u32], tally: &mut Tally) {
        match numbers {
            NumbersMut::Float32(numbers) => {
                let words = Words { words, tally };
                match self.least_kept_of(start, Numbers::Float32(numbers)) {
                    Some(least) => {
                        words.zero_below(numbers, |numbers, squares| zero_below_in_word(numbers, least, squares));
                    }
                    None => self.by_keys(start, numbers, |numbers| Numbers::Float32(numbers), words, zero_and_count),
                }
            }
            NumbersMut::Float16(numbers) => {
                let half = Half { typed: |numbers| Numbers::Float16(numbers), zero: zero_float16, add: add_float16 };
                self.remove_halves(start, numbers, &half, Words { words, tally });
            }
            NumbersMut::Bfloat16(numbers) => {
                let half = Half { typed: |numbers| Numbers::Bfloat16(numbers), zero: zero_bfloat16, add: add_bfloat16 };
                self.remove_halves(start, numbers, &half, Words { words, tally });
            }
        }
    }

    fn remove_halves(&self, start: usize, numbers: &mut [[u8; 2]], half: &Half, words: Words) {
        let Some(least) = self.least_kept_of(start, (half.typed)(numbers)) else {
            return self.by_keys(start, numbers, half.typed, words, half.zero);
        };
        let least = least_half(least, |bits| (half.typed)(&[bits.to_le_bytes()]).at(0));
        words.zero_below(numbers, |numbers, squares| {
            let before = *numbers;
            let (zeros, word) = zero_halves_below_in_word(numbers, least);
            (half.add)(&before, word, squares);
            (zeros, word)
        });
    }

    /// `act` zeroes numbers by the bits of a word, adds squares and counts zeros.
    fn by_keys<const BYTES: usize>(
        &self,
        start: usize,
        numbers: &mut [[u8; BYTES]],
        typed: impl Fn(&[[u8; BYTES]]) -> Numbers<'_>,
        Words { words, tally }: Words,
        act: impl Fn(&mut [[u8; BYTES]; 32], u32, &mut SquaresOfWord) -> u32,
    ) {
        let Ok(scores) = Elements::new(typed(numbers), self.element, None) else { return };
        // Beyond the last unit nothing goes.
        let mut keys = [i32::MAX; PIECE];
        let earlier = self.earlier.map(|mask| &mask[start / 32..][..words.len()]);
        fill_keys(scores, 0, earlier, &mut keys[..numbers.len()]);
        settle_ties(self.axes, self.cut, start, &mut keys);
        write_words(&keys, self.cut, words);
        let mut numbers = InWords::new(numbers);
        for (place, word) in words.iter().enumerate() {
            let staying = word & earlier.map_or(u32::MAX, |earlier| earlier[place]);
            numbers.zero(tally, staying, &act);
        }
    }

    /// The key of the smallest magnitude that stays, where magnitudes are the scores and no unit of the piece is looked
    /// at one by one.
    fn least_kept_of(&self, start: usize, numbers: Numbers) -> Option<i32> {
        let Cut { key, bound, .. } = self.cut;
        let above = key.saturating_add(1);
        let is_canonical = self.axes.canonical_run() == (self.axes.units(), 1);
        if self.earlier.is_some() || self.element != Element::Magnitude {
            return None;
        }
        if bound == 0 || (is_canonical && bound <= start) {
            return Some(key);
        }
        if bound == self.axes.units() || (is_canonical && bound >= start + numbers.len()) {
            return Some(above);
        }
        let items = Elements::new(numbers, self.element, None).ok()?.items()?;
        (!with_items!(items, items => has_key(items, key))).then_some(key)
    }
}

/// What is done with 32 numbers of a type of 16 bits.
struct Half {
    typed: for<'n> fn(&'n [[u8; 2]]) -> Numbers<'n>,
    zero: fn(&mut [[u8; 2]; 32], u32, &mut SquaresOfWord) -> u32,
    add: fn(&[[u8; 2]; 32], u32, &mut SquaresOfWord),
}

/// The smallest magnitude of 16 bits whose key, once widened, is not smaller.
fn least_half(least: i32, widened: impl Fn(u16) -> f32) -> i16 {
    let (mut low, mut high) = (0, i16::MAX);
    while low < high {
        let middle = low + (high - low) / 2;
        if key_of(widened(middle as u16)) < least {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// Where the bits of a piece go, and what is found out.
struct Words<'a> {
    words: &'a mut [u32],
    tally: &'a mut Tally,
}

impl Words<'_> {
    /// `act` zeroes numbers word by word, adds squares, counts zeros, and tells which stay, by bits.
    fn zero_below<const BYTES: usize>(
        self,
        numbers: &mut [[u8; BYTES]],
        act: impl Fn(&mut [[u8; BYTES]; 32], &mut SquaresOfWord) -> (u32, u32),
    ) {
        let mut numbers = InWords::new(numbers);
        for word in self.words {
            *word = numbers.zero_and_tell(self.tally, &act);
        }
    }
}

fn zero_halves_below_in_word(numbers: &mut [[u8; 2]; 32], least: i16) -> (u32, u32) {
    let (least, zero) = (Halves::splat(least), Halves::splat(0));
    let mut zeros = zero;
    let [a, b, c, d] = {
        let (groups, _) = numbers.as_chunks_mut::<HALVES>();
        let mut act = |group: usize| {
            let own = Halves::load(&groups[group]);
            let magnitudes = own.magnitudes();
            let going = magnitudes.is_less(least);
            zeros = zeros.add(going.or(magnitudes.is_equal(zero)));
            own.without(going).store(&mut groups[group]);
            going
        };
        [act(0), act(1), act(2), act(3)]
    };
    (zeros.count(), !(Halves::bits(a, b) | Halves::bits(c, d) << 16))
}

fn zero_below_in_word(numbers: &mut [[u8; 4]; 32], least: i32, squares: &mut SquaresOfWord) -> (u32, u32) {
    let (least, zero) = (Lanes::splat(least), Lanes::splat(0));
    let mut zeros = zero;
    let (halves, _) = numbers.as_chunks_mut::<16>();
    let bits = [0, 1].map(|half| {
        let (groups, _) = halves[half].as_chunks_mut::<LANES>();
        let going = [0, 1, 2, 3].map(|group| {
            let numbers = &mut groups[group];
            let (own, keys) = (Lanes::load(numbers), Keyed::keys(numbers));
            let going = keys.is_less(least);
            squares.add(own, going);
            zeros = zeros.add(going.or(keys.is_equal(zero)));
            own.without(going).store(numbers);
            going
        });
        Lanes::bits(going)
    });
    (zeros.count(), !(bits[0] | bits[1] << 16))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::apply;
    use crate::axes::Axis;
    use crate::axes::tests::any_axes;
    use crate::inspect::inspect;
    use crate::mask::mask;
    use crate::segment::Segment;
    use crate::select::select;
    use proptest::prelude::*;

    fn removal<'a>(numbers: NumbersMut<'a>, axes: Axes, cut: Cut, bits: &'a mut [u32]) -> Removal<'a> {
        Removal { numbers, element: Element::Magnitude, axes, earlier: None, cut, bits, zeroed: Mutex::default() }
    }

    /// Compares with the steps one by one, for numbers of each type.
    fn check(numbers: &[[u8; 4]], list: &[Axis], earlier: Option<&[u32]>, remove_count: usize) {
        check_type(numbers, |it| Numbers::Float32(it), |it| NumbersMut::Float32(it), list, earlier, remove_count);
        let halves: Vec<[u8; 2]> = numbers.iter().map(|&[_, _, low, high]| [low, high]).collect();
        check_type(&halves, |it| Numbers::Float16(it), |it| NumbersMut::Float16(it), list, earlier, remove_count);
        check_type(&halves, |it| Numbers::Bfloat16(it), |it| NumbersMut::Bfloat16(it), list, earlier, remove_count);
    }

    fn check_type<const BYTES: usize>(
        numbers: &[[u8; BYTES]],
        typed: impl Fn(&[[u8; BYTES]]) -> Numbers<'_>,
        typed_mut: impl Fn(&mut [[u8; BYTES]]) -> NumbersMut<'_>,
        list: &[Axis],
        earlier: Option<&[u32]>,
        remove_count: usize,
    ) {
        let axes = Axes::new(list).unwrap();
        let scores = Elements::new(typed(numbers), Element::Magnitude, None).unwrap();
        let segment = Segment { scores, axes: &axes, earlier, group: 0, limit: axes.units() };
        let cut = select(&[segment], &[remove_count]).unwrap()[0];
        let mut expected = vec![0; words_for(axes.units())];
        mask(&segment, cut, &mut expected).unwrap();
        let mut zeroed = numbers.to_vec();
        let both: Vec<u32> = expected
            .iter()
            .enumerate()
            .map(|(place, word)| word & earlier.map_or(u32::MAX, |earlier| earlier[place]))
            .collect();
        let outcome = apply(typed_mut(&mut zeroed), &axes, &both).unwrap();

        let (mut result, mut bits) = (numbers.to_vec(), vec![0; expected.len()]);
        let removal = removal(typed_mut(&mut result), axes, cut, &mut bits);
        let mut removals = [Removal { earlier, ..removal }];
        remove(&mut removals).unwrap();
        let found = removals[0].zeroed();
        assert!(result == zeroed && bits == expected, "{remove_count} of {list:?}");
        assert_eq!(found, outcome);
        assert_eq!(found.zeros, inspect(typed(&zeroed)).zeros);
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
        for units in [PIECE - 1, PIECE + 1, TASK, TASK + 31, 2 * TASK + PIECE + 1] {
            let numbers: Vec<[u8; 4]> = (0..units as u32).map(|unit| ((unit % 5) as f32 - 2.0).to_le_bytes()).collect();
            check(&numbers, &[Axis::kept(units, 0)], None, units / 2);
        }
    }

    #[test]
    fn half_precision_keeps_its_bits_and_zeros_of_both_signs_are_counted() {
        let mut numbers = [0x8000u16, 0x3c00, 0xbc01, 0x0000, 0x0001].map(u16::to_le_bytes);
        let axes = Axes::new(&[Axis::kept(5, 0)]).unwrap();
        let cut = Cut { removed: 1, key: 0x3380_0000, bound: 5, ..Cut::NOTHING };
        let mut bits = [0];
        let mut removals = [removal(NumbersMut::Float16(&mut numbers), axes, cut, &mut bits)];
        assert_eq!(remove(&mut removals), Ok(()));
        assert_eq!(removals[0].zeroed().zeros, 3);
        assert_eq!(numbers.map(u16::from_le_bytes), [0, 0x3c00, 0xbc01, 0, 0]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let refused = |axes: &[Axis], element: Element, bound: usize, words: usize| {
            let (mut numbers, mut bits) = ([[0u8; 4]; 4], vec![0; words]);
            let cut = Cut { bound, ..Cut::NOTHING };
            let removal = removal(NumbersMut::Float32(&mut numbers), Axes::new(axes).unwrap(), cut, &mut bits);
            remove(&mut [Removal { element, ..removal }]).is_err()
        };
        let axes = [Axis::kept(4, 0)];
        assert!(!refused(&axes, Element::Magnitude, 0, 1));
        assert!(refused(&[Axis::kept(2, 0), Axis::reduced(2, 1)], Element::Magnitude, 0, 1));
        assert!(refused(&axes, Element::Distance, 0, 1));
        assert!(refused(&axes, Element::Magnitude, 0, 0));
        assert!(refused(&axes, Element::Magnitude, 5, 1));
        assert!(refused(&[Axis::kept(3, 0)], Element::Magnitude, 0, 1));
    }
}
