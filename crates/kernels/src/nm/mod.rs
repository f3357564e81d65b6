//! N:M: of every m units that follow each other along an axis, at most n stay.

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

use crate::bits::words_for;
use crate::error::Error;
use crate::keys::{Keyed, fill_keys};
use crate::segment::Segment;
use crate::simd::{LANES, Lanes, Register, Wide, bits_of};
use crate::tasks::for_chunks;

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

/// A task decides about this many units, whole words of the mask. Groups that reach beyond are ranked by both tasks.
const TASK: usize = 1 << 16;

/// Units are ranked this many at a time: at least four groups of the largest pattern that are [`ROW`] units wide each.
const BATCH: usize = 4096;

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
    let highest = AtomicI32::new(i32::MIN);
    for_chunks(bits, TASK / 32, &|task, words| {
        let units = task * TASK..units.min((task + 1) * TASK);
        let mut part =
            Part { segment, pattern, units: units.clone(), highest: i32::MIN, keys: [0; BATCH], gone: [0; TASK] };
        part.rank_all();
        for (place, (word, gone)) in words.iter_mut().zip(part.gone.as_chunks::<32>().0).enumerate() {
            let earlier = segment.earlier.map_or(u32::MAX, |mask| mask[units.start / 32 + place]);
            *word = earlier & !bits_of(gone);
        }
        highest.fetch_max(part.highest, Relaxed);
    });
    Ok(highest.into_inner())
}

/// Some of the units, and what is found out about them.
struct Part<'a> {
    segment: &'a Segment<'a>,
    pattern: Pattern,
    units: Range<usize>,
    highest: i32,
    /// The keys of a batch, where these are not the numbers themselves.
    keys: [i32; BATCH],
    /// A byte for each unit: 255 where it goes, else 0.
    gone: [u8; TASK],
}

impl<'a> Part<'a> {
    fn rank_all(&mut self) {
        let Pattern { of, size, stride, .. } = self.pattern;
        let span = of * stride;
        // Groups follow each other in memory; where no unit is left over at the end of the axis, all of them do.
        let line = if size.is_multiple_of(of) { self.segment.axes.units() } else { size * stride };
        let mut unit = self.units.start;
        while unit < self.units.end {
            let (start, group) = (unit / line * line, unit % line / span);
            let groups = line / stride / of - group.min(line / stride / of);
            let first = start + group * span;
            if groups == 0 {
                let end = self.units.end.min(start + line);
                self.look_at(unit..end);
                unit = end;
            } else if stride >= ROW {
                self.in_rows(first);
                unit = first + span;
            } else {
                let groups = groups.min(BATCH / span).min((self.units.end - first).div_ceil(span));
                self.side_by_side(first, groups);
                unit = first + groups * span;
            }
        }
    }

    /// Units that stay, whatever their scores.
    fn look_at(&mut self, units: Range<usize>) {
        for start in units.clone().step_by(BATCH) {
            self.read(start, 0..BATCH.min(units.end - start));
        }
    }

    /// `groups` whole groups from unit `start` on, all their units side by side.
    fn side_by_side(&mut self, start: usize, groups: usize) {
        let Pattern { of, stride, .. } = self.pattern;
        let count = groups * of * stride;
        let mut gone = [0; BATCH];
        // Fewer groups than there are lanes are ranked with any keys behind them.
        match self.magnitudes().filter(|_| stride >= LANES || groups >= LANES) {
            Some(numbers) => {
                let highest = rank_side_by_side(&numbers[start..start + count], self.pattern, groups, &mut gone);
                self.highest = self.highest.max(highest);
            }
            None => {
                self.read(start, 0..count);
                rank_side_by_side(&self.keys, self.pattern, groups, &mut gone);
            }
        }
        self.note(start, &gone[..count]);
    }

    /// A row of groups: first units that lie side by side from unit `start` on, and those that belong to each.
    fn in_rows(&mut self, start: usize) {
        let Pattern { of, stride, .. } = self.pattern;
        let width = stride.min(BATCH / of / LANES * LANES);
        for column in (0..stride).step_by(width) {
            // The last columns are looked at with some of those before, maybe twice.
            let first = start + column.min(stride - width);
            let rows = (0..of).map(|row| first + row * stride);
            if !rows.clone().any(|row| row < self.units.end && row + width > self.units.start) {
                continue;
            }
            let mut gone = [0; BATCH];
            match self.magnitudes() {
                Some(numbers) => {
                    let highest = rank_rows(&numbers[first..], self.pattern, stride, width, &mut gone);
                    self.highest = self.highest.max(highest);
                }
                None => {
                    for (place, row) in rows.clone().enumerate() {
                        self.read(row, place * width..(place + 1) * width);
                    }
                    rank_rows(&self.keys, self.pattern, width, width, &mut gone);
                }
            }
            for (row, gone) in rows.zip(gone.chunks_exact(width)) {
                self.note(row, gone);
            }
        }
    }

    /// The numbers, where they can be ranked as they lie in memory.
    fn magnitudes(&self) -> Option<&'a [[u8; 4]]> {
        self.segment.scores.magnitudes().filter(|_| self.segment.earlier.is_none())
    }

    fn read(&mut self, start: usize, places: Range<usize>) {
        let keys = &mut self.keys[places];
        fill_keys(self.segment.scores, start, None, keys);
        self.highest = self.highest.max(highest_of(keys));
        self.segment.mark_removed(start, keys);
    }

    /// Takes over which units go from unit `start` on; those of other tasks are left to these.
    fn note(&mut self, start: usize, gone: &[u8]) {
        let own = start.max(self.units.start)..self.units.end.min(start + gone.len());
        if !own.is_empty() {
            let places = own.start - self.units.start..own.end - self.units.start;
            self.gone[places].copy_from_slice(&gone[own.start - start..own.end - start]);
        }
    }
}

fn highest_of<T: Keyed>(items: &[T]) -> i32 {
    let (quads, last) = items.as_chunks::<LANES>();
    let highest = quads.iter().fold(Lanes::splat(i32::MIN), |highest, items| highest.max(T::keys(items))).highest();
    last.iter().fold(highest, |highest, item| highest.max(item.key()))
}

/// Of `groups` groups that follow each other. Gives the highest key.
fn rank_side_by_side<T: Keyed>(items: &[T], pattern: Pattern, groups: usize, gone: &mut [u8; BATCH]) -> i32 {
    let Pattern { of, stride, .. } = pattern;
    let mut highest = Lanes::splat(i32::MIN);
    if stride < LANES {
        // Lanes are units of groups that follow each other.
        for group in (0..groups).step_by(LANES).map(|group| group.min(groups.saturating_sub(LANES))) {
            for column in 0..stride {
                let first = group * of * stride + column;
                let groups = Groups { items, first, stride, apart: of * stride };
                highest = highest.max(groups.rank(pattern, gone, stride));
            }
        }
        return highest.highest();
    }
    for group in 0..groups {
        for column in (0..stride).step_by(LANES).map(|column| column.min(stride - LANES)) {
            let first = group * of * stride + column;
            highest = highest.max(Groups { items, first, stride, apart: 1 }.rank(pattern, gone, stride));
        }
    }
    highest.highest()
}

/// Of groups in `width` columns; rows are so far apart in memory. Gives the highest key.
fn rank_rows<T: Keyed>(items: &[T], pattern: Pattern, stride: usize, width: usize, gone: &mut [u8; BATCH]) -> i32 {
    let mut highest = Lanes::splat(i32::MIN);
    for first in (0..width).step_by(LANES).map(|column| column.min(width - LANES)) {
        highest = highest.max(Groups { items, first, stride, apart: 1 }.rank(pattern, gone, width));
    }
    highest.highest()
}

/// As many groups as there are lanes.
#[derive(Clone, Copy)]
struct Groups<'a, T> {
    items: &'a [T],
    first: usize,
    /// How far apart a group's units are, and the groups' first units.
    stride: usize,
    apart: usize,
}

impl<T: Keyed> Groups<'_, T> {
    /// Tells in bytes which units go; a group's bytes are `distance` apart, and begin at `first`. Gives the highest keys.
    #[inline(always)]
    fn rank(self, pattern: Pattern, gone: &mut [u8; BATCH], distance: usize) -> Lanes {
        let Pattern { keep, of, .. } = pattern;
        let Groups { items, first, stride, apart } = self;
        // Each comparison that holds counts -1, so that the larger number is that of fewer better units.
        let most = Lanes::splat(1 - keep as i32);
        if of != 4 {
            return self.rank_any(of, most, gone, distance);
        }
        // All of it is written out: where a closure is called for each of four, compilers do not always inline it.
        let units = if (stride, apart) == (1, 4) {
            let at = |place: usize| items[place..].first_chunk().map_or(Lanes::splat(0), T::keys);
            Lanes::transposed([at(first), at(first + 4), at(first + 8), at(first + 12)])
        } else {
            [self.load(0), self.load(1), self.load(2), self.load(3)]
        };
        let [a, b, c, d] = better_of_four(units);
        let goes = [a.is_less(most), b.is_less(most), c.is_less(most), d.is_less(most)];
        if (stride, apart) == (1, 4) {
            if let Some(gone) = gone[first..].first_chunk_mut() {
                *gone = Lanes::bytes(Lanes::transposed(goes));
            }
        } else {
            let [a, b, c, d] = Lanes::bytes_of_each(goes);
            self.write(gone, first, a);
            self.write(gone, first + distance, b);
            self.write(gone, first + 2 * distance, c);
            self.write(gone, first + 3 * distance, d);
        }
        let [a, b, c, d] = units;
        a.max(b).max(c.max(d))
    }

    /// Patterns of other than four. Not inlined: [`Groups::rank`] is, at each of its places.
    #[inline(never)]
    fn rank_any(self, of: usize, most: Lanes, gone: &mut [u8; BATCH], distance: usize) -> Lanes {
        (0..of).fold(Lanes::splat(i32::MIN), |highest, row| {
            self.store(gone, self.first + row * distance, self.count_better(row, of).is_less(most));
            highest.max(self.load(row))
        })
    }

    /// Of equal units those that come later are better.
    fn count_better(self, row: usize, of: usize) -> Lanes {
        let own = self.load(row);
        (0..of).fold(Lanes::splat(0), |better, other| {
            let key = self.load(other);
            better.add(if other > row { Lanes::splat(-1).without(key.is_less(own)) } else { own.is_less(key) })
        })
    }

    #[inline(always)]
    fn load(self, row: usize) -> Lanes {
        let place = self.first + row * self.stride;
        let key = |lane: usize| self.items[place + lane * self.apart].key();
        match self.items[place..].first_chunk() {
            Some(items) if self.apart == 1 => T::keys(items),
            _ => Lanes::read(&[key(0), key(1), key(2), key(3)]),
        }
    }

    #[inline(always)]
    fn store(self, gone: &mut [u8; BATCH], place: usize, goes: Lanes) {
        let zero = Lanes::splat(0);
        let [bytes, ..] = Lanes::bytes_of_each([goes, zero, zero, zero]);
        self.write(gone, place, bytes);
    }

    #[inline(always)]
    fn write(self, gone: &mut [u8; BATCH], place: usize, bytes: [u8; LANES]) {
        match gone[place..].first_chunk_mut() {
            Some(gone) if self.apart == 1 => *gone = bytes,
            _ => (0..LANES).for_each(|lane| gone[place + lane * self.apart] = bytes[lane]),
        }
    }
}

/// How many units of each group are better than the first, the second and so on, in negative numbers: by far the most
/// common pattern, all in registers.
#[inline(always)]
fn better_of_four([a, b, c, d]: [Lanes; 4]) -> [Lanes; 4] {
    // A comparison holds where the later unit is worse.
    let [ab, ac, ad, bc, bd, cd] = [b.is_less(a), c.is_less(a), d.is_less(a), c.is_less(b), d.is_less(b), d.is_less(c)];
    let not = |lanes: Lanes| Lanes::splat(-1).without(lanes);
    [not(ab).add(not(ac)).add(not(ad)), ab.add(not(bc)).add(not(bd)), ac.add(bc).add(not(cd)), ad.add(bd).add(cd)]
}
