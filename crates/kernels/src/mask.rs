//! The mask that a cut makes.

use crate::axes::Axes;
use crate::bits::{BITS, words_for};
use crate::error::Error;
use crate::keys::{PIECE, has_key};
use crate::scalar::REMOVED;
use crate::segment::{Cut, Segment};
use crate::tasks::for_chunks;

const TASK_WORDS: usize = 1 << 11;

/// Writes the mask that a cut makes; unused bits of the last word are 1.
pub fn mask(segment: &Segment, cut: Cut, bits: &mut [u32]) -> Result<(), Error> {
    let units = segment.axes.units();
    if bits.len() != words_for(units) || segment.scores.len() != units || cut.bound > units {
        return Err(Error::Request("mask: one bit per unit"));
    }
    for_chunks(bits, TASK_WORDS, &|task, words| {
        for (place, words) in words.chunks_mut(PIECE / 32).enumerate() {
            let start = task * TASK_WORDS * 32 + place * PIECE;
            // Beyond the last unit nothing goes.
            let mut keys = [i32::MAX; PIECE];
            segment.fill_keys(start, &mut keys[..PIECE.min(units - start)]);
            settle_ties(segment.axes, cut, start, &mut keys);
            write_words(&keys, cut, words);
        }
    });
    Ok(())
}

/// The smallest key that stays, where ties are settled: one that goes has the key of what is removed already.
fn least_kept(cut: Cut) -> i32 {
    cut.key.max(REMOVED + 1)
}

/// The bits of units whose ties are settled.
pub(crate) fn write_words(keys: &[i32; PIECE], cut: Cut, words: &mut [u32]) {
    let least_kept = least_kept(cut);
    for (word, keys) in words.iter_mut().zip(keys.as_chunks::<32>().0) {
        *word = !keys.iter().zip(&BITS).fold(0, |gone, (&key, bit)| gone | if key < least_kept { *bit } else { 0 });
    }
}

/// Of the keys that are the cut's own, those of units that go become [`REMOVED`], which ranks below all; the others stay.
pub(crate) fn settle_ties(axes: &Axes, Cut { key: own, bound, .. }: Cut, start: usize, keys: &mut [i32; PIECE]) {
    if own != REMOVED && (bound == 0 || !has_key(keys.as_slice(), own)) {
        return;
    }
    let (length, step) = axes.canonical_run();
    let end = PIECE.min(axes.units() - start);
    let mut done = 0;
    while done < end {
        let run = &mut keys[done..end.min(done + length - (start + done) % length)];
        let first = axes.canonical_unit(start + done);
        let going = bound.saturating_sub(first).div_ceil(step).min(run.len());
        done += run.len();
        let (going, staying) = run.split_at_mut(going);
        going.iter_mut().for_each(|key| *key = if *key == own { REMOVED } else { *key });
        if own == REMOVED {
            staying.iter_mut().for_each(|key| *key = if *key == REMOVED { i32::MAX } else { *key });
        }
    }
}
