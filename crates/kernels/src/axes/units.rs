//! Units of one size, as boxes of a tensor.

use std::ops::Range;

use super::steps::{Steps, StepsBox};

/// Units of one size.
#[derive(Clone, Copy)]
pub(crate) struct UnitBox {
    /// The stored position of the first weight.
    pub(crate) start: usize,
    /// The way from unit to unit in memory.
    pub(crate) units: Steps,
    /// The way through the weights of a unit in memory, in canonical order.
    pub(crate) inside: Steps,
    /// The first unit's place in the range that was asked for.
    place: usize,
    /// How many units after another have numbers that follow each other, and the way from one such row to the next.
    row: usize,
    rows: Steps,
}

impl UnitBox {
    /// What belongs to the units, cut into rows: for each the place of its first unit in the range that was asked for.
    pub(crate) fn rows<'a, T>(&'a self, all: &'a [T]) -> impl Iterator<Item = (usize, &'a [T])> {
        self.rows.walk(0).map(|place| self.place + place).zip(all.chunks(self.row))
    }
}

/// An axis whose last tile is smaller than the others.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Uneven {
    /// Its place among the kept steps in stored order, and among the reduced ones.
    pub(super) kept: usize,
    pub(super) reduced: usize,
    /// How many neighbours lie in the last tile.
    pub(super) last: usize,
}

/// Cuts the units of `range` into boxes of at most `capacity` units of one size, and calls `visit` with each. `kept` leads
/// from unit to unit, `reduced` through one.
pub(super) fn for_boxes(
    kept: &Steps,
    reduced: &Steps,
    uneven: &[Uneven],
    range: Range<usize>,
    capacity: usize,
    visit: &mut dyn FnMut(&UnitBox),
) {
    for StepsBox { index, offset, first, steps } in kept.boxes(range.clone(), capacity) {
        let mut places = steps;
        let mut stride = 1;
        for step in places.items[..places.count].iter_mut().rev() {
            step.stride = stride;
            stride *= step.size;
        }
        let place = index - range.start;
        let all = UnitBox { start: offset, units: steps, inside: *reduced, place, row: stride, rows: Steps::default() };
        if uneven.is_empty() {
            visit(&all);
            continue;
        }
        // The tiles of each uneven axis apart: those of full size, and the last one.
        for is_last in 0..1usize << uneven.len() {
            let (mut part, mut rows) = (all, places);
            for (bit, uneven) in uneven.iter().enumerate() {
                let (units, rows) = (&mut part.units.items[uneven.kept], &mut rows.items[uneven.kept]);
                let full = (kept.items[uneven.kept].size - 1 - first[uneven.kept]).min(units.size);
                let (skipped, size) = if is_last >> bit & 1 == 0 { (0, full) } else { (full, units.size - full) };
                part.start += skipped * units.stride;
                part.place += skipped * rows.stride;
                (units.size, rows.size) = (size, size);
                if is_last >> bit & 1 == 1 {
                    part.inside.items[uneven.reduced].size = uneven.last;
                }
            }
            if part.units.places() > 0 {
                rows.count -= 1;
                (part.row, part.rows) = (rows.items[rows.count].size, rows);
                visit(&part);
            }
        }
    }
}
