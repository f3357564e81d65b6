//! How many scores of a tensor lie below, at and between two keys, for rankings over tensors that come one at a time.
//!
//! `select` looks at all tensors of a ranking again and again. Where they do not fit in memory together, each is looked
//! at once for all that has to be known of it: the counts of one bracket of keys, and the scores inside, as far as there
//! is room for them.

use std::sync::Mutex;

use crate::error::Error;
use crate::keys::PIECE;
use crate::scalar::score_of;
use crate::segment::Segment;
use crate::select::{BINS, Bracket, Counter, TABLES};
use crate::tasks::for_each;

/// What [`survey`] counts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Survey {
    /// How many keys are smaller than the lowest of the bracket.
    pub below: u32,
    /// How many have that very key.
    pub low: u32,
    /// How many are in each bin between the ends.
    pub between: [u32; BINS],
    /// How many have the highest key of the bracket, unless that is the lowest, too.
    pub high: u32,
    /// The largest key of all.
    pub highest: i32,
}

impl Survey {
    /// Of no units.
    pub const EMPTY: Survey = Survey { below: 0, low: 0, between: [0; BINS], high: 0, highest: i32::MIN };
}

/// A task's units. A multiple of [`PIECE`].
const TASK: usize = 1 << 17;

/// What all tasks add to.
struct Shared<'a> {
    counts: &'a mut Survey,
    room: &'a mut [f32],
    gathered: usize,
}

/// Counts the segment's keys below, in, and at the ends of the bracket from `low` to `high`, both included, and gathers
/// the scores between the ends in any order, as long as there is room.
///
/// A key between the ends is in the bin of its distance from `low + 1` without so many of its lower bits that there are
/// bins for all. The scores in the room are all there are if the bins count no more than it holds.
pub fn survey(segment: &Segment, low: i32, high: i32, counts: &mut Survey, room: &mut [f32]) -> Result<(), Error> {
    segment.check(segment.group + 1)?;
    if low > high {
        return Err(Error::Request("survey: a bracket"));
    }
    // Field by field: the constant would be 8 KB of the wasm.
    (counts.below, counts.low, counts.high, counts.highest) = (0, 0, 0, i32::MIN);
    counts.between.fill(0);
    let units = segment.axes.units();
    let bracket = Bracket { low, high };
    let shared = Mutex::new(Shared { counts, room, gathered: 0 });
    for_each(units.div_ceil(TASK), &|task| {
        let mut counter = Counter::new(bracket);
        let mut tables = [[0; BINS]; TABLES];
        let mut found = [0.0; 4 * PIECE];
        let mut held = 0;
        let end = units.min((task + 1) * TASK);
        let mut buffer = [0; PIECE];
        for start in (task * TASK..end).step_by(PIECE) {
            let keys = &mut buffer[..PIECE.min(end - start)];
            segment.fill_keys(start, keys);
            counter.all(keys, &mut tables, |key| {
                if let Some(place) = found.get_mut(held) {
                    *place = score_of(key);
                    held += 1;
                }
            });
            if held > found.len() - PIECE
                && let Ok(mut shared) = shared.lock()
            {
                shared.gather(&found[..held]);
                held = 0;
            }
        }
        let Ok(mut shared) = shared.lock() else { return };
        shared.gather(&found[..held]);
        let counts = &mut *shared.counts;
        counts.below += counter.below;
        counts.low += counter.at_low;
        counts.high += if low < high { counter.at_high } else { 0 };
        counts.highest = counts.highest.max(counter.highest);
        for (bin, count) in counts.between.iter_mut().enumerate() {
            *count += tables.iter().map(|table| table[bin]).sum::<u32>();
        }
    });
    Ok(())
}

impl Shared<'_> {
    #[inline(never)]
    fn gather(&mut self, scores: &[f32]) {
        let room = &mut self.room[self.gathered..];
        let count = room.len().min(scores.len());
        room[..count].copy_from_slice(&scores[..count]);
        self.gathered += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::axes::{Axes, Axis};
    use crate::bits::{is_kept, words_for};
    use crate::elements::{Element, Elements};
    use crate::numbers::Numbers;
    use crate::scalar::{REMOVED, key_of};
    use proptest::prelude::*;

    fn check(scores: &[f32], earlier: Option<&[u32]>, low: i32, high: i32, room: usize) {
        let bytes: Vec<[u8; 4]> = scores.iter().map(|score| score.to_le_bytes()).collect();
        let axes = Axes::new(&[Axis::kept(scores.len(), 0)]).unwrap();
        let elements = Elements::new(Numbers::Float32(&bytes), Element::Itself, None).unwrap();
        let segment = Segment { scores: elements, axes: &axes, earlier, group: 0, limit: scores.len() };
        let mut counts = Survey { below: 7, ..Survey::EMPTY };
        let mut gathered = vec![f32::NAN; room];
        survey(&segment, low, high, &mut counts, &mut gathered).unwrap();

        let is_removed = |unit: usize| earlier.is_some_and(|mask| !is_kept(mask, unit));
        let keys: Vec<i32> =
            (0..scores.len()).map(|unit| if is_removed(unit) { REMOVED } else { key_of(scores[unit]) }).collect();
        let count = |wanted: &dyn Fn(i32) -> bool| keys.iter().filter(|&&key| wanted(key)).count() as u32;
        let between = |key: i32| low < key && key < high;
        assert_eq!(counts.below, count(&|key| key < low));
        assert_eq!(counts.low, count(&|key| key == low));
        assert_eq!(counts.high, count(&|key| key == high && low < high));
        assert_eq!(counts.highest, keys.iter().copied().max().unwrap());
        // The narrowest bins, of a power of two of keys, that there are enough of.
        let widths = (0..u32::BITS).map(|bits| 1u64 << bits);
        let between_ends = u64::from(high.abs_diff(low)).saturating_sub(1);
        let width = widths.into_iter().find(|width| between_ends <= width * BINS as u64).unwrap();
        let mut bins = vec![0; BINS];
        for &key in keys.iter().filter(|key| between(**key)) {
            bins[((u64::from(key.abs_diff(low)) - 1) / width) as usize] += 1;
        }
        assert_eq!(counts.between[..], bins);
        let mut expected: Vec<i32> = keys.iter().copied().filter(|&key| between(key)).collect();
        let taken = room.min(expected.len());
        let mut found: Vec<i32> = gathered[..taken].iter().map(|&score| key_of(score)).collect();
        expected.sort_unstable();
        found.sort_unstable();
        if taken == expected.len() {
            assert_eq!(found, expected);
        } else {
            assert!(found.iter().all(|key| between(*key)));
        }
        assert!(gathered[taken..].iter().all(|score| score.is_nan()));
    }

    proptest! {
        #[test]
        fn counts_and_scores_are_those_of_their_definitions(
            scores in proptest::collection::vec(prop_oneof![-2f32..2.0, Just(0.0), Just(-0.0), Just(1.0)], 1..300),
            words in proptest::option::of(proptest::collection::vec(any::<u32>(), 10)),
            (first, second) in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
            wide in any::<bool>(),
            room in 0usize..400,
        ) {
            let earlier = words.map(|words| words[..words_for(scores.len())].to_vec());
            let (first, second) = (key_of(scores[first.index(scores.len())]), key_of(scores[second.index(scores.len())]));
            let (low, high) = if wide { (i32::MIN, i32::MAX) } else { (first.min(second), first.max(second)) };
            check(&scores, earlier.as_deref(), low, high, room);
        }
    }

    #[test]
    fn tasks_buffers_and_narrow_brackets_meet() {
        for units in [PIECE - 1, PIECE + 1, TASK, TASK + 31, 2 * TASK + PIECE + 1] {
            let scores: Vec<f32> = (0..units as u32)
                .map(|unit| f32::from_bits(0x3f80_0000 + (unit.wrapping_mul(2_654_435_761) >> 18)))
                .collect();
            let key = key_of(1.0);
            for (low, high) in [
                (i32::MIN, i32::MAX),
                (key, key),
                (key, key + 1),
                (key + 5, key + 7),
                (key, key + 2049),
                (key, key + 2050),
                (key + 9000, key + 12000),
            ] {
                check(&scores, None, low, high, units / 2);
                check(&scores, None, low, high, units);
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let bytes = [1.0f32.to_le_bytes(); 4];
        let axes = Axes::new(&[Axis::kept(4, 0)]).unwrap();
        let scores = Elements::new(Numbers::Float32(&bytes), Element::Itself, None).unwrap();
        let segment = Segment { scores, axes: &axes, earlier: None, group: 0, limit: 4 };
        assert!(survey(&segment, 1, 1, &mut Survey::EMPTY.clone(), &mut []).is_ok());
        assert!(survey(&segment, 2, 1, &mut Survey::EMPTY.clone(), &mut []).is_err());
        let segment = Segment { limit: 5, ..segment };
        assert!(survey(&segment, 1, 1, &mut Survey::EMPTY.clone(), &mut []).is_err());
    }
}
