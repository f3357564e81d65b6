//! One bit per unit: 1 is kept, 0 is removed. Bit n of word w is unit 32 w + n, in stored order of the units.

use rayon::prelude::*;

use crate::error::Error;
use crate::select::{BUFFER, Cut, Segment};

const TASK_WORDS: usize = 1 << 11;

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

/// Writes the mask that a cut makes; unused bits of the last word are 1.
pub fn mask(segment: &Segment, cut: Cut, bits: &mut [u32]) -> Result<(), Error> {
    let units = segment.axes.units();
    if bits.len() != words_for(units) || segment.scores.len() != units || cut.bound > units {
        return Err(Error::Request("mask: one bit per unit"));
    }
    bits.par_chunks_mut(TASK_WORDS).enumerate().for_each(|(task, words)| {
        for (place, words) in words.chunks_mut(BUFFER / 32).enumerate() {
            let start = task * TASK_WORDS * 32 + place * BUFFER;
            // Beyond the last unit nothing goes.
            let mut keys = [u32::MAX; BUFFER];
            segment.fill_keys(start, &mut keys[..BUFFER.min(units - start)]);
            for (place, (word, keys)) in words.iter_mut().zip(keys.as_chunks::<32>().0).enumerate() {
                let gone =
                    keys.iter().zip(BITS).fold(0, |gone, (&key, bit)| gone | if key < cut.key { bit } else { 0 });
                *word = !gone;
                if cut.bound > 0 && keys.contains(&cut.key) {
                    for (bit, _) in keys.iter().enumerate().filter(|(_, key)| **key == cut.key) {
                        let unit = start + place * 32 + bit;
                        let goes = cut.bound == units || segment.axes.canonical_unit(unit) < cut.bound;
                        *word ^= u32::from(goes) << bit;
                    }
                }
            }
        }
    });
    Ok(())
}
