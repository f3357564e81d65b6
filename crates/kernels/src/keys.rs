//! Keys of units, side by side: what units are compared by.

use std::ops::Range;

use crate::bits::{BITS, is_kept};
use crate::elements::{Element, Elements, STRIP};
use crate::numbers::Numbers;
use crate::scalar::{REMOVED, key_of, widen_float16};
use crate::segment::Segment;
use crate::simd::{LANES, Lanes, Register, Wide};

/// Units are looked at this many at a time, so that a first level cache holds what is worked out for them.
pub(crate) const PIECE: usize = 1024;

/// What a key is worked out from in no more than an instruction.
pub(crate) trait Keyed: Copy {
    fn key(self) -> i32;
    /// Those of neighbours.
    fn keys(items: &[Self; LANES]) -> Lanes;
}

/// A key itself.
impl Keyed for i32 {
    #[inline(always)]
    fn key(self) -> i32 {
        self
    }

    #[inline(always)]
    fn keys(items: &[Self; LANES]) -> Lanes {
        Lanes::read(items)
    }
}

/// A number of 32 bits, whose magnitude is the score.
impl Keyed for [u8; 4] {
    #[inline(always)]
    fn key(self) -> i32 {
        i32::from_le_bytes(self) & i32::MAX
    }

    #[inline(always)]
    fn keys(items: &[Self; LANES]) -> Lanes {
        Lanes::load(items).and(Lanes::splat(i32::MAX))
    }
}

/// Whether an item has this key.
pub(crate) fn has_key<T: Keyed>(items: &[T], own: i32) -> bool {
    count_of(items, own) > 0
}

/// Numbers under another type, which says what their keys are.
///
/// # Safety
/// Implementers are `repr(transparent)` around `Number`.
unsafe trait Wraps: Sized {
    type Number;

    fn wrapped(numbers: &[Self::Number]) -> &[Self] {
        // SAFETY: the type has the layout of the number (implementers promise it), and the lifetime is the same.
        unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), numbers.len()) }
    }
}

/// A score.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Score([u8; 4]);

/// A number of 16 bits, whose magnitude is the score.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Float16([u8; 2]);

/// The same as the upper half of one of 32 bits.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Bfloat16([u8; 2]);

// SAFETY: it is.
unsafe impl Wraps for Score {
    type Number = [u8; 4];
}
// SAFETY: it is.
unsafe impl Wraps for Float16 {
    type Number = [u8; 2];
}
// SAFETY: it is.
unsafe impl Wraps for Bfloat16 {
    type Number = [u8; 2];
}

impl Keyed for Score {
    #[inline(always)]
    fn key(self) -> i32 {
        key_of(f32::from_le_bytes(self.0))
    }

    #[inline(always)]
    fn keys(items: &[Self; LANES]) -> Lanes {
        Lanes::load(&items.map(|Score(number)| number)).keys_of_scores()
    }
}

impl Keyed for Float16 {
    #[inline(always)]
    fn key(self) -> i32 {
        widen_float16(u16::from_le_bytes(self.0)).to_bits() as i32 & i32::MAX
    }

    #[inline(always)]
    fn keys(items: &[Self; LANES]) -> Lanes {
        Lanes::load_halves(&items.map(|Float16(number)| number)).magnitudes_of_float16()
    }
}

impl Keyed for Bfloat16 {
    #[inline(always)]
    fn key(self) -> i32 {
        i32::from(u16::from_le_bytes(self.0) & 0x7fff) << 16
    }

    #[inline(always)]
    fn keys(items: &[Self; LANES]) -> Lanes {
        Lanes::load_halves(&items.map(|Bfloat16(number)| number)).magnitudes_of_bfloat16()
    }
}

/// Units side by side, by what their keys are worked out from.
#[derive(Clone, Copy)]
pub(crate) enum Piece<'a> {
    Magnitudes(&'a [[u8; 4]]),
    Float16(&'a [Float16]),
    Bfloat16(&'a [Bfloat16]),
    Scores(&'a [Score]),
    Keys(&'a [i32]),
}

/// Calls a function that is generic over what keys are worked out from.
macro_rules! with_items {
    ($piece:expr, $items:ident => $call:expr) => {
        match $piece {
            $crate::keys::Piece::Magnitudes($items) => $call,
            $crate::keys::Piece::Float16($items) => $call,
            $crate::keys::Piece::Bfloat16($items) => $call,
            $crate::keys::Piece::Scores($items) => $call,
            $crate::keys::Piece::Keys($items) => $call,
        }
    };
}
pub(crate) use with_items;

impl<'a> Piece<'a> {
    /// These units alone.
    pub(crate) fn part(self, units: Range<usize>) -> Piece<'a> {
        match self {
            Piece::Magnitudes(items) => Piece::Magnitudes(&items[units]),
            Piece::Float16(items) => Piece::Float16(&items[units]),
            Piece::Bfloat16(items) => Piece::Bfloat16(&items[units]),
            Piece::Scores(items) => Piece::Scores(&items[units]),
            Piece::Keys(items) => Piece::Keys(&items[units]),
        }
    }

    /// The numbers of 32 bits whose magnitudes are the scores, where these they are.
    pub(crate) fn magnitudes(self) -> Option<&'a [[u8; 4]]> {
        match self {
            Piece::Magnitudes(numbers) => Some(numbers),
            _ => None,
        }
    }

    pub(crate) fn len(&self) -> usize {
        with_items!(self, items => items.len())
    }

    pub(crate) fn key(&self, unit: usize) -> i32 {
        with_items!(self, items => items[unit].key())
    }

    /// How many of these units have this key.
    pub(crate) fn count(&self, units: Range<usize>, own: i32) -> u32 {
        with_items!(self, items => count_of(&items[units], own))
    }
}

fn count_of<T: Keyed>(items: &[T], own: i32) -> u32 {
    let (groups, last) = items.as_chunks::<LANES>();
    let lanes = Lanes::splat(own);
    let equal = groups.iter().fold(Lanes::splat(0), |equal, items| equal.add(T::keys(items).is_equal(lanes)));
    equal.count() + last.iter().map(|item| u32::from(item.key() == own)).sum::<u32>()
}

/// The magnitudes of numbers, which are their keys, as numbers of 32 bits.
pub(crate) fn write_magnitudes<T: Keyed>(items: &[T], magnitudes: &mut [[u8; 4]]) {
    write(items, magnitudes, Lanes::store, i32::to_le_bytes);
}

fn write_keys<T: Keyed>(items: &[T], keys: &mut [i32]) {
    write(items, keys, Lanes::write, |key| key);
}

/// `lanes` and `one` write keys in the same way, by SIMD and one by one.
#[inline(always)]
fn write<T: Keyed, Out>(
    items: &[T],
    target: &mut [Out],
    lanes: impl Fn(Lanes, &mut [Out; LANES]),
    one: impl Fn(i32) -> Out,
) {
    let (groups, last) = items.as_chunks::<LANES>();
    let (wholes, rest) = target.as_chunks_mut::<LANES>();
    for (items, target) in groups.iter().zip(wholes) {
        lanes(T::keys(items), target);
    }
    for (item, target) in last.iter().zip(rest) {
        *target = one(item.key());
    }
}

impl Segment<'_> {
    /// Fills `keys` with those of the units from any place on.
    pub(crate) fn keys_at(&self, start: usize, keys: &mut [i32]) {
        fill_keys(self.scores, start, None, keys);
        self.mark_removed(start, keys);
    }

    /// Gives units that are removed already the key of these; `keys` are those of the units from `start` on.
    pub(crate) fn mark_removed(&self, start: usize, keys: &mut [i32]) {
        let Some(mask) = self.earlier else { return };
        for (key, unit) in keys.iter_mut().zip(start..) {
            *key = if is_kept(mask, unit) { *key } else { REMOVED };
        }
    }

    /// Fills `keys` with those of the units from `start` on, a multiple of 32.
    pub(crate) fn fill_keys(&self, start: usize, keys: &mut [i32]) {
        fill_keys(self.scores, start, self.earlier.map(|mask| &mask[start / 32..]), keys);
    }

    /// Calls `use_piece` with the units of a range, which begins at a multiple of 32, and the first unit of each piece.
    pub(crate) fn for_pieces(&self, units: Range<usize>, mut use_piece: impl FnMut(usize, Piece)) {
        let all = self.scores.items().filter(|_| self.earlier.is_none());
        let mut buffer = [0; PIECE];
        for start in units.clone().step_by(PIECE) {
            let end = units.end.min(start + PIECE);
            match all {
                Some(all) => use_piece(start, all.part(start..end)),
                None => {
                    let keys = &mut buffer[..end - start];
                    self.fill_keys(start, keys);
                    use_piece(start, Piece::Keys(keys));
                }
            }
        }
    }
}

impl<'a> Elements<'a> {
    /// The numbers, where their magnitudes are the scores.
    pub(crate) fn magnitudes(&self) -> Option<&'a [[u8; 4]]> {
        self.items()?.magnitudes()
    }

    /// The numbers, where keys are worked out from each by itself in few instructions.
    pub(crate) fn items(&self) -> Option<Piece<'a>> {
        match (self.numbers, self.element) {
            (Numbers::Float32(numbers), Element::Magnitude) => Some(Piece::Magnitudes(numbers)),
            (Numbers::Float16(numbers), Element::Magnitude) => Some(Piece::Float16(Wraps::wrapped(numbers))),
            (Numbers::Bfloat16(numbers), Element::Magnitude) => Some(Piece::Bfloat16(Wraps::wrapped(numbers))),
            (Numbers::Float32(numbers), Element::Itself) => Some(Piece::Scores(Wraps::wrapped(numbers))),
            _ => None,
        }
    }
}

/// Fills `keys` with those of the scores from `start` on; `earlier` begins with the word of the first.
pub(crate) fn fill_keys(scores: Elements, start: usize, earlier: Option<&[u32]>, keys: &mut [i32]) {
    match scores.items() {
        Some(all) => with_items!(all.part(start..start + keys.len()), items => write_keys(items, keys)),
        None => {
            for (piece, keys) in keys.chunks_mut(STRIP).enumerate() {
                let mut buffer = [0.0; STRIP];
                let buffer = &mut buffer[..keys.len()];
                scores.read(start + piece * STRIP, buffer);
                keys.iter_mut().zip(buffer).for_each(|(key, score)| *key = key_of(*score));
            }
        }
    }
    let Some(words) = earlier else { return };
    let remove = |keys: &mut [i32], word: u32| {
        for (key, bit) in keys.iter_mut().zip(&BITS) {
            *key = if word & bit == 0 { REMOVED } else { *key };
        }
    };
    let (groups, last) = keys.as_chunks_mut::<32>();
    for (keys, &word) in groups.iter_mut().zip(words) {
        remove(keys, word);
    }
    if !last.is_empty() {
        remove(last, words[groups.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_key_of_bytes_is_that_of_the_magnitude(number in any::<f32>()) {
            prop_assume!(!number.is_nan());
            prop_assert_eq!(number.to_le_bytes().key(), key_of(number.abs()));
            prop_assert_eq!(Score(number.to_le_bytes()).key(), key_of(number));
        }

        #[test]
        fn keys_side_by_side_are_those_one_by_one(words in proptest::array::uniform4(any::<u32>())) {
            fn check<T: Keyed>(items: [T; LANES]) {
                assert_eq!(T::keys(&items).to_array(), items.map(T::key));
            }
            let bytes = words.map(u32::to_le_bytes);
            let halves = words.map(|word| (word as u16).to_le_bytes());
            check(words.map(u32::cast_signed));
            check(bytes);
            check(bytes.map(Score));
            check(halves.map(Float16));
            check(halves.map(Bfloat16));
        }
    }
}
