//! Keys of a bracket, counted in one pass.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::bracket::{BINS, Bracket, COUNTS};
use super::gather::GROUP;
use super::pass::Tally;
use crate::keys::{Keyed, with_items};
use crate::segment::Segment;
use crate::simd::{LANES, Lanes, Register, Wide};

/// Neighbouring keys are counted in different tables: weights crowd in few bins, and an addition to the bin of the
/// addition before has to wait for it.
pub(crate) const TABLES: usize = 4;

/// Counts one task's keys: those below the bracket, and those inside by bins.
pub(super) fn count(segment: &Segment, task: usize, bracket: Bracket, tally: &Tally, counts: &[AtomicU32]) {
    let mut counter = Counter::new(bracket);
    if bracket.high.wrapping_sub(bracket.low) as u32 <= 1 {
        segment.for_pieces(segment.range(task), |_, piece| with_items!(piece, items => _ = counter.outside(items)));
    } else {
        let mut tables = [[0; BINS]; TABLES];
        segment.for_pieces(segment.range(task), |_, piece| {
            with_items!(piece, items => counter.all(items, &mut tables, |_| {}));
        });
        for (bin, count) in counts[1..COUNTS - 1].iter().enumerate() {
            let sum = tables.iter().map(|table| table[bin]).sum();
            if sum > 0 {
                count.fetch_add(sum, Relaxed);
            }
        }
    }
    tally.below.fetch_add(counter.below, Relaxed);
    tally.highest.fetch_max(counter.highest, Relaxed);
    counts[0].fetch_add(counter.at_low, Relaxed);
    if bracket.low < bracket.high {
        counts[COUNTS - 1].fetch_add(counter.at_high, Relaxed);
    }
}

/// Counts of keys below a bracket, and at its ends.
pub(crate) struct Counter {
    bracket: Bracket,
    pub(crate) below: u32,
    pub(crate) at_low: u32,
    pub(crate) at_high: u32,
    pub(crate) highest: i32,
}

impl Counter {
    pub(crate) fn new(bracket: Bracket) -> Self {
        Counter { bracket, below: 0, at_low: 0, at_high: 0, highest: i32::MIN }
    }

    /// Counts what is not in a bin, and says whether the rest is nothing.
    fn outside<T: Keyed>(&mut self, items: &[T]) -> bool {
        let Bracket { low, high } = self.bracket;
        let [lowest, most, mut below, mut at_low, mut at_high, mut outside] = [low, high, 0, 0, 0, 0].map(Lanes::splat);
        let mut highest = Lanes::splat(self.highest);
        let (groups, last) = items.as_chunks::<LANES>();
        for items in groups {
            let keys = T::keys(items);
            let (is_below, is_low, is_high) = (keys.is_less(lowest), keys.is_equal(lowest), keys.is_equal(most));
            below = below.add(is_below);
            at_low = at_low.add(is_low);
            at_high = at_high.add(is_high);
            outside = outside.add(is_below.or(is_low).or(is_high).or(most.is_less(keys)));
            highest = highest.max(keys);
        }
        self.below += below.count();
        self.at_low += at_low.count();
        self.at_high += at_high.count();
        self.highest = highest.highest();
        for key in last.iter().map(|item| item.key()) {
            self.below += u32::from(key < low);
            self.at_low += u32::from(key == low);
            self.at_high += u32::from(key == high);
            self.highest = self.highest.max(key);
        }
        outside.count() as usize == groups.len() * LANES && last.is_empty()
    }

    /// Counts all; what is in a bin in any of the tables. Tells the keys of these.
    pub(crate) fn all<T: Keyed>(
        &mut self,
        items: &[T],
        tables: &mut [[u32; BINS]; TABLES],
        mut use_inside: impl FnMut(i32),
    ) {
        if self.outside(items) {
            return;
        }
        let shift = self.bracket.bin_shift();
        let between = self.bracket.distance(self.bracket.high).saturating_sub(1);
        let first = self.bracket.low.wrapping_add(1);
        let [lowest, most] = [self.bracket.low, self.bracket.high].map(Lanes::splat);
        let mut bin = |lane: usize, item: T| {
            let distance = item.key().wrapping_sub(first) as u32;
            if distance < between {
                tables[lane % TABLES][(distance >> shift) as usize & (BINS - 1)] += 1;
                use_inside(item.key());
            }
        };
        let (groups, last) = items.as_chunks::<GROUP>();
        for items in groups {
            let (quarters, _) = items.as_chunks::<LANES>();
            let mut inside = Lanes::bits([0, 1, 2, 3].map(|quarter| {
                let keys = T::keys(&quarters[quarter]);
                lowest.is_less(keys).and(keys.is_less(most))
            }));
            if inside.count_ones() > GROUP as u32 / 2 {
                items.iter().enumerate().for_each(|(lane, &item)| bin(lane, item));
                continue;
            }
            while inside != 0 {
                let lane = inside.trailing_zeros() as usize % GROUP;
                inside &= inside - 1;
                bin(lane, items[lane]);
            }
        }
        last.iter().enumerate().for_each(|(lane, &item)| bin(lane, item));
    }
}
