//! One bit per unit: 1 is kept, 0 is removed. Bit n of word w is unit 32 w + n, in stored order of the units.

use rayon::prelude::*;

use crate::error::Error;
use crate::select::{Cut, Segment};

const TASK_WORDS: usize = 1 << 11;

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
        let mut keys = [0; 32];
        for (place, word) in words.iter_mut().enumerate() {
            let start = (task * TASK_WORDS + place) * 32;
            let keys = &mut keys[..32.min(units - start)];
            segment.fill_keys(start, keys);
            *word = u32::MAX;
            for (bit, &key) in keys.iter().enumerate() {
                *word ^= u32::from(key < cut.key) << bit;
            }
            if cut.bound > 0 {
                for (bit, _) in keys.iter().enumerate().filter(|(_, key)| **key == cut.key) {
                    let goes = cut.bound == units || segment.axes.canonical_unit(start + bit) < cut.bound;
                    *word ^= u32::from(goes) << bit;
                }
            }
        }
    });
    Ok(())
}
