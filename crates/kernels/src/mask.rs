//! One bit per unit: 1 is kept, 0 is removed. Bit n of word w is unit 32 w + n, in stored order of the units.

use crate::axes::Axes;
use crate::error::Error;
use crate::select::{BUFFER, Cut, Segment};
use crate::tasks::for_chunks;

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
    for_chunks(bits, TASK_WORDS, &|task, words| {
        for (place, words) in words.chunks_mut(BUFFER / 32).enumerate() {
            let start = task * TASK_WORDS * 32 + place * BUFFER;
            // Beyond the last unit nothing goes.
            let mut keys = [u32::MAX; BUFFER];
            segment.fill_keys(start, &mut keys[..BUFFER.min(units - start)]);
            settle_ties(segment.axes, cut, start, &mut keys);
            // A tie that goes has key 0 now.
            let least_kept = cut.key.max(1);
            for (word, keys) in words.iter_mut().zip(keys.as_chunks::<32>().0) {
                *word =
                    !keys.iter().zip(BITS).fold(0, |gone, (&key, bit)| gone | if key < least_kept { bit } else { 0 });
            }
        }
    })
}

/// Of the keys that are the cut's own, those of units that go become 0, which ranks below all, and the others stay.
fn settle_ties(axes: &Axes, Cut { key: own, bound, .. }: Cut, start: usize, keys: &mut [u32; BUFFER]) {
    if own != 0 && (bound == 0 || !keys.contains(&own)) {
        return;
    }
    let (length, step) = axes.canonical_run();
    let end = BUFFER.min(axes.units() - start);
    let mut done = 0;
    while done < end {
        let run = &mut keys[done..end.min(done + length - (start + done) % length)];
        let first = axes.canonical_unit(start + done);
        let going = bound.saturating_sub(first).div_ceil(step).min(run.len());
        done += run.len();
        let (going, staying) = run.split_at_mut(going);
        going.iter_mut().for_each(|key| *key = if *key == own { 0 } else { *key });
        if own == 0 {
            staying.iter_mut().for_each(|key| *key = if *key == 0 { u32::MAX } else { *key });
        }
    }
}
