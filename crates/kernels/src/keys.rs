//! Keys: whole numbers that order like scores. They are what units are compared by.

use std::ops::Range;

use crate::lanes::{LANES, Lanes};
use crate::mask::BITS;
use crate::numbers::Numbers;
use crate::score::{Element, Elements};
use crate::select::Segment;

/// The key of units that are removed already: it ranks below all, and no score has it.
pub(crate) const REMOVED: i32 = i32::MIN;

/// Units are looked at this many at a time, so that a first level cache holds what is worked out for them.
pub(crate) const PIECE: usize = 1024;

/// Scores become keys so many at a time.
const BUFFER: usize = 256;

/// A whole number that orders like the score; -0 and +0 are one.
pub(crate) fn key_of(score: f32) -> i32 {
    let bits = (score + 0.0).to_bits() as i32;
    // The bits of negative numbers grow with their size.
    bits ^ ((bits >> 31) as u32 >> 1) as i32
}

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
    items.iter().fold(false, |found, &item| found | (item.key() == own))
}

/// The units of a piece: their keys, or numbers whose magnitudes are the scores.
pub(crate) enum Piece<'a> {
    Magnitudes(&'a [[u8; 4]]),
    Keys(&'a [i32]),
}

impl Piece<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Piece::Magnitudes(numbers) => numbers.len(),
            Piece::Keys(keys) => keys.len(),
        }
    }

    pub(crate) fn key(&self, unit: usize) -> i32 {
        match self {
            Piece::Magnitudes(numbers) => numbers[unit].key(),
            Piece::Keys(keys) => keys[unit],
        }
    }

    /// How many of these units have this key.
    pub(crate) fn count(&self, units: Range<usize>, own: i32) -> u32 {
        match self {
            Piece::Magnitudes(numbers) => count_of(&numbers[units], own),
            Piece::Keys(keys) => count_of(&keys[units], own),
        }
    }
}

fn count_of<T: Keyed>(items: &[T], own: i32) -> u32 {
    items.iter().map(|&item| u32::from(item.key() == own)).sum()
}

impl Segment<'_> {
    pub(crate) fn key_at(&self, unit: usize) -> i32 {
        if self.earlier.is_some_and(|mask| mask[unit / 32] & BITS[unit % 32] == 0) {
            REMOVED
        } else {
            key_of(self.scores.at(unit))
        }
    }

    /// Fills `keys` with those of the units from `start` on, a multiple of 32.
    pub(crate) fn fill_keys(&self, start: usize, keys: &mut [i32]) {
        fill_keys(self.scores, start, self.earlier.map(|mask| &mask[start / 32..]), keys);
    }

    /// Calls `use_piece` with the units of a range, which begins at a multiple of 32, and the first unit of each piece.
    pub(crate) fn for_pieces(&self, units: Range<usize>, mut use_piece: impl FnMut(usize, Piece)) {
        let magnitudes = self.scores.magnitudes().filter(|_| self.earlier.is_none());
        let mut buffer = [0; PIECE];
        for start in units.clone().step_by(PIECE) {
            let end = units.end.min(start + PIECE);
            match magnitudes {
                Some(numbers) => use_piece(start, Piece::Magnitudes(&numbers[start..end])),
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
        match (self.numbers, self.element) {
            (Numbers::Float32(numbers), Element::Magnitude) => Some(numbers),
            _ => None,
        }
    }
}

/// Fills `keys` with those of the scores from `start` on; `earlier` begins with the word of the first.
pub(crate) fn fill_keys(scores: Elements, start: usize, earlier: Option<&[u32]>, keys: &mut [i32]) {
    match scores.magnitudes() {
        Some(numbers) => {
            keys.iter_mut().zip(&numbers[start..]).for_each(|(key, number)| *key = number.key());
        }
        None => {
            for (piece, keys) in keys.chunks_mut(BUFFER).enumerate() {
                let mut buffer = [0.0; BUFFER];
                let buffer = &mut buffer[..keys.len()];
                scores.read(start + piece * BUFFER, buffer);
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
        fn keys_order_like_scores(a in any::<f32>(), b in any::<f32>()) {
            prop_assume!(!a.is_nan() && !b.is_nan());
            prop_assert_eq!(key_of(a).cmp(&key_of(b)), a.partial_cmp(&b).unwrap());
            prop_assert!(key_of(a) > REMOVED);
            prop_assert_eq!(a.to_le_bytes().key(), key_of(a.abs()));
        }
    }
}
