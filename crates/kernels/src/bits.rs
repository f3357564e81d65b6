//! Masks: one bit per unit, 1 for a unit that stays and 0 for one that is removed. Bit n of word w is unit 32 w + n, in
//! stored order of the units.

use std::ops::Range;

use crate::axes::{Axes, Line};

/// The bits of a word. Shifts by different distances are no SIMD everywhere; comparisons and these constants are.
pub(crate) const BITS: [u32; 32] = {
    let mut bits = [0; 32];
    let mut bit = 0;
    while bit < 32 {
        bits[bit] = 1 << bit;
        bit += 1;
    }
    bits
};

/// How many words the mask of that many units has.
pub fn words_for(units: usize) -> usize {
    units.div_ceil(32)
}

pub(crate) fn is_kept(mask: &[u32], unit: usize) -> bool {
    mask[unit / 32] >> (unit % 32) & 1 == 1
}

/// Calls `use_word` with the bits of the units of 32 weights after another from stored position `start` on, a multiple of
/// 32; bits beyond the last weight are 0.
pub(crate) fn for_weights(mask: &[u32], axes: &Axes, weights: Range<usize>, use_word: impl FnMut(u32)) {
    let mut words = Words { word: 0, filled: 0, use_word };
    let mut spread = Spread { block: 0, units: 0, table: [0; 1 << SPREAD] };
    for line in axes.lines(weights) {
        if line.block == 1 {
            for place in (0..line.count).step_by(32) {
                words.push(word_from(mask, line.unit + place), 32.min(line.count - place));
            }
            continue;
        }
        if line.block > 32 {
            words.push_units(mask, line);
            continue;
        }
        let [head, body, tail] = line.parts();
        words.push_units(mask, head);
        spread.prepare(line.block);
        let mut rest = body;
        while rest.count >= spread.units * line.block {
            let (bits, count) =
                (spread.table[word_from(mask, rest.unit) as usize % (1 << spread.units)], spread.units * line.block);
            words.push(bits as u32, count.min(32));
            if count > 32 {
                words.push((bits >> 32) as u32, count - 32);
            }
            rest = Line { unit: rest.unit + spread.units, count: rest.count - count, ..rest };
        }
        words.push_units(mask, rest);
        words.push_units(mask, tail);
    }
    if words.filled > 0 {
        (words.use_word)(words.word as u32);
    }
}

/// Bits on their way into words.
struct Words<F> {
    word: u64,
    filled: usize,
    use_word: F,
}

impl<F: FnMut(u32)> Words<F> {
    /// Adds 1 to 32 bits.
    fn push(&mut self, bits: u32, count: usize) {
        self.word |= u64::from(bits & (u32::MAX >> (32 - count))) << self.filled;
        self.filled += count;
        if self.filled >= 32 {
            (self.use_word)(self.word as u32);
            self.word >>= 32;
            self.filled -= 32;
        }
    }

    /// Adds the bits of a line's weights, unit by unit.
    fn push_units(&mut self, mask: &[u32], line: Line) {
        for (unit, mut count) in line.units() {
            let bits = if is_kept(mask, unit) { u32::MAX } else { 0 };
            while count > 32 {
                self.push(bits, 32);
                count -= 32;
            }
            self.push(bits, count);
        }
    }
}

/// At most the bits of so many units are looked up at once.
const SPREAD: usize = 7;

/// The bits of the weights of a few units by the bits of these.
struct Spread {
    /// How many weights each unit has, and how many units are looked up at once.
    block: usize,
    units: usize,
    table: [u64; 1 << SPREAD],
}

impl Spread {
    fn prepare(&mut self, block: usize) {
        if self.block == block {
            return;
        }
        (self.block, self.units) = (block, (64 / block).min(SPREAD));
        for (units, bits) in self.table[..1 << self.units].iter_mut().enumerate() {
            let of_unit = |unit| if units >> unit & 1 == 1 { u64::MAX >> (64 - block) << (unit * block) } else { 0 };
            *bits = (0..self.units).map(of_unit).sum();
        }
    }
}

/// The bits of 32 units; those beyond the last one are any.
fn word_from(mask: &[u32], unit: usize) -> u32 {
    let (word, bit) = (unit / 32, unit % 32);
    let next = mask.get(word + 1).copied().unwrap_or(0);
    ((u64::from(next) << 32 | u64::from(mask[word])) >> bit) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::axes::tests::{any_axes, naive_places};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bits_of_weights_are_those_of_their_units(
            list in any_axes(),
            words in proptest::collection::vec(any::<u32>(), 3700),
            (start, end) in (0f64..1.0, 0f64..=1.0),
        ) {
            let axes = Axes::new(&list).unwrap();
            let mask = &words[..words_for(axes.units())];
            let place = |share: f64| (share * axes.weights() as f64) as usize;
            let start = place(start) / 32 * 32;
            let weights = start..place(end).max(start);
            let mut found = vec![];
            for_weights(mask, &axes, weights.clone(), |word| found.push(word));
            let units: Vec<usize> = naive_places(&list)[weights].iter().map(|&(unit, ..)| unit).collect();
            let word = |units: &[usize]| {
                units.iter().enumerate().fold(0, |word, (bit, &unit)| word | u32::from(is_kept(mask, unit)) << bit)
            };
            prop_assert_eq!(found, units.chunks(32).map(word).collect::<Vec<_>>());
        }
    }
}
