//! N:M: of every m units that follow each other along an axis, at most n stay.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::error::{Error, reserve};
use crate::mask::{is_kept, words_for};
use crate::keys::{REMOVED, key_of};
use crate::select::Segment;
use crate::tasks::for_each;

/// The largest `of`: the work grows with its square.
pub const MAX_PATTERN: usize = 256;

/// Of every `of` units, `keep` stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern {
    pub keep: usize,
    pub of: usize,
    /// How many units the axis has along which they follow each other, and how far apart neighbours are stored.
    pub size: usize,
    pub stride: usize,
}

/// Units are ranked this many at a time. A multiple of [`MAX_PATTERN`].
const BATCH: usize = 4096;

/// Groups whose units lie at least this far apart are compared as they lie in memory, others are sorted into rows first.
const ROW: usize = 16;

/// Writes the mask that keeps the `keep` best of each group; of equal scores the later along the axis. The units at the
/// end of the axis that make no whole group stay. Units that an earlier mask removed stay removed.
///
/// All axes are kept, so that stored units are stored numbers.
pub fn nm(segment: &Segment, pattern: Pattern, bits: &mut [u32]) -> Result<(), Error> {
    let Pattern { keep, of, size, stride } = pattern;
    let units = segment.axes.units();
    let fits = bits.len() == words_for(units)
        && segment.scores.len() == units
        && segment.earlier.is_none_or(|mask| mask.len() == bits.len())
        && (1..=MAX_PATTERN).contains(&of)
        && (1..=of).contains(&keep)
        && size.checked_mul(stride).is_some_and(|line| line > 0 && units.is_multiple_of(line));
    if !fits {
        return Err(Error::Request("nm: the pattern does not fit the units"));
    }
    let mut words = reserve::<AtomicU32>(bits.len())?;
    words.extend((0..bits.len()).map(|word| AtomicU32::new(segment.earlier.map_or(u32::MAX, |mask| mask[word]))));

    // Groups that follow each other in memory; where no unit is left over at the end of the axis, all of them do.
    let (lines, groups) = match (units / (size * stride), size / of) {
        (lines, groups) if size.is_multiple_of(of) => (1, lines * groups),
        both => both,
    };
    let batch = Batch { segment, pattern };
    let in_rows = stride >= ROW;
    // What one task takes: whole groups, or a part of the columns of one.
    let columns = BATCH / of / LANES * LANES;
    let (at_once, columns) = if in_rows { (columns, stride) } else { (columns / stride, groups) };
    let tasks = columns.div_ceil(at_once);
    for_each(lines * if in_rows { groups * tasks } else { tasks }, &|task| {
        let (line, first) = (task / tasks, task % tasks * at_once);
        let count = at_once.min(columns - first);
        if in_rows {
            let start = (line / groups * size + line % groups * of) * stride + first;
            batch.in_rows(start, count, &words);
        } else {
            batch.side_by_side((line * size + first * of) * stride, count, &words);
        }
    });
    for (word, result) in bits.iter_mut().zip(words) {
        *word = result.into_inner();
    }
    Ok(())
}

/// Groups are compared this many at a time, in registers. Divides [`BATCH`] by [`MAX_PATTERN`].
const LANES: usize = 16;

struct Batch<'a> {
    segment: &'a Segment<'a>,
    pattern: Pattern,
}

impl Batch<'_> {
    /// `groups` whole groups from unit `start` on, all their units side by side.
    fn side_by_side(&self, start: usize, groups: usize, words: &[AtomicU32]) {
        let Pattern { of, stride, .. } = self.pattern;
        let (columns, count) = (groups * stride, groups * of * stride);
        let width = columns.next_multiple_of(LANES);
        let (mut keys, mut rows) = ([0; BATCH], [0; BATCH]);
        self.read(start, &mut keys[..count]);
        self.each_place(columns, width, &mut |place, row_place| rows[row_place] = keys[place]);
        let (mut gone, mut in_place) = ([false; BATCH], [false; BATCH]);
        self.rank(&rows, width, &mut gone);
        self.each_place(columns, width, &mut |place, row_place| in_place[place] = gone[row_place]);
        clear(words, start, &in_place[..count]);
    }

    /// Calls `act` with each unit's place in memory, and in rows of `width` of which `columns` are in use.
    #[inline(always)]
    fn each_place(&self, columns: usize, width: usize, act: &mut impl FnMut(usize, usize)) {
        let Pattern { of, stride, .. } = self.pattern;
        for row in 0..of {
            if stride == 1 {
                // By far the most common, and quicker without the inner loop.
                (0..columns).for_each(|column| act(column * of + row, row * width + column));
                continue;
            }
            for first in (0..columns).step_by(stride) {
                (0..stride).for_each(|column| act(first * of + row * stride + column, row * width + first + column));
            }
        }
    }

    /// `columns` groups, the first units of which lie side by side from unit `start` on.
    fn in_rows(&self, start: usize, columns: usize, words: &[AtomicU32]) {
        let Pattern { of, stride, .. } = self.pattern;
        let width = columns.next_multiple_of(LANES);
        let mut rows = [0; BATCH];
        for (row, keys) in rows.chunks_exact_mut(width).take(of).enumerate() {
            self.read(start + row * stride, &mut keys[..columns]);
        }
        let mut gone = [false; BATCH];
        self.rank(&rows, width, &mut gone);
        for (row, gone) in gone.chunks_exact(width).take(of).enumerate() {
            clear(words, start + row * stride, &gone[..columns]);
        }
    }

    fn read(&self, start: usize, keys: &mut [i32]) {
        self.segment.scores.fill(start, keys, key_of);
        if let Some(mask) = self.segment.earlier {
            for (place, key) in keys.iter_mut().enumerate() {
                *key = if is_kept(mask, start + place) { *key } else { REMOVED };
            }
        }
    }

    /// Which units go, of groups that are the columns of `rows`; a row is `width` units long, a multiple of [`LANES`].
    fn rank(&self, rows: &[i32; BATCH], width: usize, gone: &mut [bool; BATCH]) {
        let Pattern { keep, of, .. } = self.pattern;
        let (rows, gone) = (rows.as_chunks::<LANES>().0, gone.as_chunks_mut::<LANES>().0);
        let blocks = width / LANES;
        for block in 0..blocks {
            for row in 0..of {
                let own = rows[row * blocks + block];
                // How many units of the group are better: of equal ones those that come later.
                let mut better = [0u32; LANES];
                for other in 0..of {
                    // No key is as large as can be, so one more is none too many.
                    let least = own.map(|key| key + i32::from(other <= row));
                    for ((better, key), least) in better.iter_mut().zip(rows[other * blocks + block]).zip(least) {
                        *better += u32::from(key >= least);
                    }
                }
                for ((gone, better), own) in gone[row * blocks + block].iter_mut().zip(better).zip(own) {
                    *gone = better as usize >= keep || own == REMOVED;
                }
            }
        }
    }
}

/// Clears the bits of units that go, from unit `start` on. Batches may meet within a word.
fn clear(words: &[AtomicU32], start: usize, gone: &[bool]) {
    let lead = (32 - start % 32) % 32;
    let (head, tail) = gone.split_at(lead.min(gone.len()));
    let clear = |unit: usize, gone: &[bool]| {
        let bits = gone.iter().enumerate().fold(0, |bits, (bit, &goes)| bits | u32::from(goes) << bit);
        words[unit / 32].fetch_and(!(bits << (unit % 32)), Relaxed);
    };
    if !head.is_empty() {
        clear(start, head);
    }
    for (word, gone) in tail.chunks(32).enumerate() {
        clear(start + lead + 32 * word, gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::axes::{Axes, Axis};
    use crate::numbers::Numbers;
    use crate::score::{Element, Elements};
    use proptest::prelude::*;

    /// By definition: sorts each group.
    fn naive(scores: &[f32], pattern: Pattern, earlier: Option<&[u32]>) -> Vec<bool> {
        let Pattern { keep, of, size, stride } = pattern;
        let mut kept: Vec<bool> =
            (0..scores.len()).map(|unit| earlier.is_none_or(|mask| is_kept(mask, unit))).collect();
        for first in
            (0..scores.len()).filter(|unit| unit / stride % size < size / of * of && unit / stride % size % of == 0)
        {
            let mut group: Vec<usize> =
                (0..of).map(|place| first + place * stride).filter(|&unit| kept[unit]).collect();
            group.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(b.cmp(&a)));
            group.iter().skip(keep).for_each(|&unit| kept[unit] = false);
        }
        kept
    }

    fn check(scores: &[f32], pattern: Pattern, earlier: Option<&[u32]>) {
        let axes = Axes::new(&[Axis::kept(scores.len(), 0)]).unwrap();
        let bytes: Vec<[u8; 4]> = scores.iter().map(|score| score.to_le_bytes()).collect();
        let scores_read = Elements::new(Numbers::Float32(&bytes), Element::Itself, None).unwrap();
        let segment = Segment { scores: scores_read, axes: &axes, earlier, group: 0, limit: 0 };
        let mut bits = vec![0; words_for(scores.len())];
        nm(&segment, pattern, &mut bits).unwrap();
        let kept: Vec<bool> = (0..scores.len()).map(|unit| is_kept(&bits, unit)).collect();
        assert_eq!(kept, naive(scores, pattern, earlier), "{pattern:?}");
    }

    proptest! {
        #[test]
        fn any_pattern_agrees_with_sorting(
            (of, keep) in (1usize..9).prop_flat_map(|of| (Just(of), 1..=of)),
            (lines, size, stride) in (1usize..5, 1usize..40, prop_oneof![1usize..20, 60usize..70]),
            seed in any::<u32>(),
            words in proptest::option::of(proptest::collection::vec(any::<u32>(), 400)),
        ) {
            let scores: Vec<f32> = (0..lines * size * stride)
                .map(|unit| ((unit as u32 ^ seed).wrapping_mul(2_654_435_761) >> 28) as f32)
                .collect();
            let mask = words.map(|mut words| {
                words.truncate(words_for(scores.len()));
                let unused = words_for(scores.len()) * 32 - scores.len();
                *words.last_mut().unwrap() |= u32::MAX.checked_shl(32 - unused as u32).unwrap_or(0);
                words
            });
            check(&scores, Pattern { keep, of, size, stride }, mask.as_deref());
        }
    }

    #[test]
    fn batches_of_every_shape_agree_with_sorting() {
        for (keep, of) in [(2, 4), (1, 2), (4, 8), (1, 16), (3, 5), (100, 256)] {
            for stride in [1, 9, ROW - 1, ROW, ROW + 1, BATCH / of - 1, BATCH / of + 1] {
                for size in [of - 1, of, 3 * of, 3 * of + 1] {
                    let scores: Vec<f32> =
                        (0..2 * size * stride).map(|unit| (unit * 7919 % 10_007) as f32 - 5000.0).collect();
                    check(&scores, Pattern { keep, of, size, stride }, None);
                }
            }
        }
    }

    #[test]
    fn patterns_that_do_not_fit_are_refused() {
        let axes = Axes::new(&[Axis::kept(8, 0)]).unwrap();
        let scores = Elements::new(Numbers::Float32(&[[0; 4]; 8]), Element::Itself, None).unwrap();
        let segment = Segment { scores, axes: &axes, earlier: None, group: 0, limit: 0 };
        let good = Pattern { keep: 2, of: 4, size: 4, stride: 2 };
        assert!(nm(&segment, good, &mut [0]).is_ok());
        assert!(nm(&segment, good, &mut []).is_err());
        for bad in [
            Pattern { keep: 0, ..good },
            Pattern { keep: 5, ..good },
            Pattern { keep: 1, of: MAX_PATTERN + 1, ..good },
            Pattern { size: 3, ..good },
            Pattern { stride: 0, ..good },
            Pattern { size: usize::MAX, ..good },
        ] {
            assert!(nm(&segment, bad, &mut [0]).is_err(), "{bad:?}");
        }
    }
}
