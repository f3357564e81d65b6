//! N:M: of every m units that follow each other along an axis, at most n stay.

use std::ops::Range;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering::Relaxed};

use crate::error::{Error, reserve};
use crate::keys::{Keyed, REMOVED, fill_keys};
use crate::lanes::{LANES, Lanes};
use crate::mask::{BITS, is_kept, words_for};
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

/// Units are ranked this many at a time: at least four groups of the largest pattern that are [`ROW`] units wide each.
const BATCH: usize = 4096;

/// A task has this many batches, so that its buffers cost little.
const TASK: usize = 16;

/// Groups whose units lie at least this far apart are read row by row, others as they lie in memory.
const ROW: usize = 16;

/// Writes the mask that keeps the `keep` best of each group; of equal scores the later along the axis. The units at the
/// end of the axis that make no whole group stay. Units that an earlier mask removed stay removed.
///
/// All axes are kept, so that stored units are stored numbers. Gives the highest key.
pub fn nm(segment: &Segment, pattern: Pattern, bits: &mut [u32]) -> Result<i32, Error> {
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
    let in_rows = stride >= ROW;
    // What one task takes: whole groups, as many as a register has lanes or a multiple, or a part of the columns of one.
    let (at_once, columns) = if in_rows { (BATCH / of, stride) } else { (BATCH / (of * stride), groups) };
    let at_once = if at_once < LANES { at_once } else { at_once / LANES * LANES };
    let batches = columns.div_ceil(at_once);
    let count = lines * if in_rows { groups * batches } else { batches };
    let highest = AtomicI32::new(i32::MIN);
    for_each(count.div_ceil(TASK), &|task| {
        let mut batch =
            Batch { segment, pattern, words: &words, highest: i32::MIN, keys: [0; BATCH], gone: [0; BATCH] };
        for number in task * TASK..count.min((task + 1) * TASK) {
            let (line, first) = (number / batches, number % batches * at_once);
            let count = at_once.min(columns - first);
            if in_rows {
                batch.in_rows((line / groups * size + line % groups * of) * stride + first, count);
            } else {
                batch.side_by_side((line * size + first * of) * stride, count);
            }
        }
        highest.fetch_max(batch.highest, Relaxed);
    });
    for (word, result) in bits.iter_mut().zip(words) {
        *word = result.into_inner();
    }
    let whole = size / of * of * stride;
    if !size.is_multiple_of(of) {
        // What is left over at the end of each line; all of it where there is no whole group.
        let (lines, length) = if whole == 0 { (1, units) } else { (units / (size * stride), size * stride) };
        for_each(lines, &|line| {
            let mut keys = [0; BATCH];
            for start in (line * length + whole..(line + 1) * length).step_by(BATCH) {
                let keys = &mut keys[..BATCH.min((line + 1) * length - start)];
                fill_keys(segment.scores, start, None, keys);
                highest.fetch_max(highest_of(keys), Relaxed);
            }
        });
    }
    Ok(highest.into_inner())
}

fn highest_of(keys: &[i32]) -> i32 {
    keys.iter().fold(i32::MIN, |highest, &key| if key > highest { key } else { highest })
}

struct Batch<'a> {
    segment: &'a Segment<'a>,
    pattern: Pattern,
    words: &'a [AtomicU32],
    highest: i32,
    keys: [i32; BATCH],
    /// Lanes of comparisons: which units go.
    gone: [i32; BATCH],
}

impl Batch<'_> {
    /// `groups` whole groups from unit `start` on, all their units side by side.
    fn side_by_side(&mut self, start: usize, groups: usize) {
        let Pattern { of, stride, .. } = self.pattern;
        let count = groups * of * stride;
        self.read(start, 0..count);
        if stride < LANES {
            // Lanes are units of groups that follow each other; beyond the last one they are any.
            for group in (0..groups).step_by(LANES) {
                for column in 0..stride {
                    self.rank(Groups { first: group * of * stride + column, stride, apart: of * stride });
                }
            }
        } else {
            for group in 0..groups {
                for column in (0..stride).step_by(LANES) {
                    // The last columns are looked at with some of those before, maybe twice.
                    let first = group * of * stride + column.min(stride - LANES);
                    self.rank(Groups { first, stride, apart: 1 });
                }
            }
        }
        clear(self.words, start, &self.gone[..count]);
    }

    /// `columns` groups, the first units of which lie side by side from unit `start` on.
    fn in_rows(&mut self, start: usize, columns: usize) {
        let Pattern { of, stride, .. } = self.pattern;
        let width = columns.next_multiple_of(LANES);
        for row in 0..of {
            self.read(start + row * stride, row * width..row * width + columns);
        }
        for column in (0..columns).step_by(LANES) {
            self.rank(Groups { first: column, stride: width, apart: 1 });
        }
        for (row, gone) in self.gone.chunks_exact(width).take(of).enumerate() {
            clear(self.words, start + row * stride, &gone[..columns]);
        }
    }

    fn read(&mut self, start: usize, places: Range<usize>) {
        let keys = &mut self.keys[places];
        fill_keys(self.segment.scores, start, None, keys);
        self.highest = self.highest.max(highest_of(keys));
        if let Some(mask) = self.segment.earlier {
            for (place, key) in keys.iter_mut().enumerate() {
                *key = if is_kept(mask, start + place) { *key } else { REMOVED };
            }
        }
    }

    /// Which units go of as many groups as there are lanes.
    fn rank(&mut self, groups: Groups) {
        let Batch { pattern: Pattern { keep, of, .. }, keys, gone, .. } = self;
        let (keep, of) = (*keep, *of);
        let most = Lanes::splat(1 - keep as i32);
        // Each comparison that holds counts -1, so that the larger number is that of fewer better units.
        let goes = |better: Lanes, own: Lanes| better.is_less(most).or(own.is_equal(Lanes::splat(REMOVED)));
        if of == 4 {
            // By far the most common pattern, all in registers. A comparison holds where the later unit is worse.
            let [a, b, c, d] = groups.load_four(keys);
            let [ab, ac, ad, bc, bd, cd] =
                [b.is_less(a), c.is_less(a), d.is_less(a), c.is_less(b), d.is_less(b), d.is_less(c)];
            let not = |lanes: Lanes| Lanes::splat(-1).without(lanes);
            let better = [
                not(ab).add(not(ac)).add(not(ad)),
                ab.add(not(bc)).add(not(bd)),
                ac.add(bc).add(not(cd)),
                ad.add(bd).add(cd),
            ];
            let [a, b, c, d] = [goes(better[0], a), goes(better[1], b), goes(better[2], c), goes(better[3], d)];
            return groups.store_four(gone, [a, b, c, d]);
        }
        for row in 0..of {
            let own = groups.load(keys, row);
            let mut better = Lanes::splat(0);
            for other in 0..of {
                let key = groups.load(keys, other);
                // Of equal ones those that come later are better.
                let is_better = if other > row { Lanes::splat(-1).without(key.is_less(own)) } else { own.is_less(key) };
                better = better.add(is_better);
            }
            groups.store(gone, row, goes(better, own));
        }
    }
}

/// Where the units of as many groups as there are lanes lie in a batch.
#[derive(Clone, Copy)]
struct Groups {
    first: usize,
    /// How far apart a group's units are, and the groups' first units.
    stride: usize,
    apart: usize,
}

impl Groups {
    /// The keys of groups of four.
    #[inline(always)]
    fn load_four(self, keys: &[i32; BATCH]) -> [Lanes; 4] {
        let at = |place: usize| keys[place..].first_chunk::<LANES>().map_or(Lanes::splat(0), Keyed::keys);
        let Groups { first, stride, apart } = self;
        match (stride, apart) {
            (1, 4) => Lanes::transposed([at(first), at(first + 4), at(first + 8), at(first + 12)]),
            (_, 1) => [at(first), at(first + stride), at(first + 2 * stride), at(first + 3 * stride)],
            _ => [self.load(keys, 0), self.load(keys, 1), self.load(keys, 2), self.load(keys, 3)],
        }
    }

    #[inline(always)]
    fn store_four(self, gone: &mut [i32; BATCH], lanes: [Lanes; 4]) {
        let mut put = |place: usize, lanes: Lanes| {
            if let Some(gone) = gone[place..].first_chunk_mut::<LANES>() {
                lanes.write(gone);
            }
        };
        let Groups { first, stride, apart } = self;
        let (distance, [a, b, c, d]) = match (stride, apart) {
            (1, 4) => (4, Lanes::transposed(lanes)),
            (_, 1) => (stride, lanes),
            _ => return lanes.into_iter().enumerate().for_each(|(row, lanes)| self.store(gone, row, lanes)),
        };
        put(first, a);
        put(first + distance, b);
        put(first + 2 * distance, c);
        put(first + 3 * distance, d);
    }

    #[inline(always)]
    fn load(self, keys: &[i32; BATCH], row: usize) -> Lanes {
        let place = self.first + row * self.stride;
        let lane = |lane: usize| keys[place + lane * self.apart];
        match keys[place..].first_chunk() {
            Some(keys) if self.apart == 1 => Keyed::keys(keys),
            _ => Keyed::keys(&[lane(0), lane(1), lane(2), lane(3)]),
        }
    }

    #[inline(always)]
    fn store(self, gone: &mut [i32; BATCH], row: usize, lanes: Lanes) {
        let place = self.first + row * self.stride;
        match gone[place..].first_chunk_mut() {
            Some(gone) if self.apart == 1 => lanes.write(gone),
            _ => {
                for (lane, goes) in lanes.to_array().into_iter().enumerate() {
                    gone[place + lane * self.apart] = goes;
                }
            }
        }
    }
}

/// Clears the bits of units that go, from unit `start` on. Batches may meet within a word.
fn clear(words: &[AtomicU32], start: usize, gone: &[i32]) {
    let lead = (32 - start % 32) % 32;
    let (head, tail) = gone.split_at(lead.min(gone.len()));
    let clear = |unit: usize, gone: &[i32]| {
        let bits = gone.iter().zip(&BITS).fold(0, |bits, (&goes, bit)| bits | goes as u32 & bit);
        words[unit / 32].fetch_and(!(bits << (unit % 32)), Relaxed);
    };
    if !head.is_empty() {
        clear(start, head);
    }
    let (groups, last) = tail.as_chunks::<32>();
    let first = (start + lead) / 32;
    for (gone, word) in groups.iter().zip(&words[first..]) {
        let (quads, _) = gone.as_chunks::<LANES>();
        let half = |first: usize| Lanes::bits([0, 1, 2, 3].map(|quad| Lanes::read(&quads[first + quad])));
        word.fetch_and(!(half(0) | half(4) << 16), Relaxed);
    }
    if !last.is_empty() {
        clear((first + groups.len()) * 32, last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::axes::{Axes, Axis};
    use crate::keys::key_of;
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
        let highest = nm(&segment, pattern, &mut bits).unwrap();
        assert_eq!(Some(highest), scores.iter().map(|&score| key_of(score)).max());
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
