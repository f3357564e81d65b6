//! Lines of memory, and the units that their weights belong to.

use std::ops::Range;

use super::steps::MAX_AXES;

/// A stored axis, or several that follow each other in stored order, where one unit follows another in steps of `block`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Span {
    pub(super) size: usize,
    /// As in [`Axis`](super::Axis).
    pub(super) block: usize,
    /// How far apart its neighbours are stored, and how far apart the numbers of its units are.
    pub(super) stride: usize,
    pub(super) unit_stride: usize,
}

/// A stretch of memory in which one unit follows another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// How many weights it has.
    pub(crate) count: usize,
    /// The unit of the first one.
    pub(crate) unit: usize,
    /// Each unit has so many weights in the line, the first one less where it began before, the last one maybe less.
    pub(crate) block: usize,
    /// How many weights of the first unit lie before the line.
    pub(crate) before: usize,
}

impl Line {
    /// What it has of a unit that began before, its whole units, and what it has of one that goes on.
    pub(crate) fn parts(self) -> [Line; 3] {
        let head = if self.before > 0 { self.count.min(self.block - self.before) } else { 0 };
        let whole = (self.count - head) / self.block * self.block;
        let body = Line { count: whole, unit: self.unit + usize::from(self.before > 0), before: 0, ..self };
        let tail = Line { count: self.count - head - whole, unit: body.unit + whole / self.block, ..body };
        [Line { count: head, ..self }, body, tail]
    }

    /// Each unit with its number of weights.
    pub(crate) fn units(self) -> impl Iterator<Item = (usize, usize)> {
        let end = self.before + self.count;
        (self.unit..)
            .zip((0..end).step_by(self.block))
            .map(move |(unit, start)| (unit, (start + self.block).min(end) - start.max(self.before)))
    }
}

/// Lines of memory in stored order.
pub(crate) struct Lines<'a> {
    line: Span,
    outer: &'a [Span],
    /// For each outer span, the index along it, and how many weights of its unit lie before.
    places: [(usize, usize); MAX_AXES],
    /// The first unit of the line.
    unit: usize,
    /// Where the next line begins in its span.
    from: usize,
    /// How many weights are left.
    rest: usize,
}

impl<'a> Lines<'a> {
    pub(super) fn new(spans: &'a [Span], range: Range<usize>) -> Self {
        let (outer, line) = spans.split_at(spans.len() - 1);
        let mut lines = Lines {
            line: line[0],
            outer,
            places: [(0, 0); MAX_AXES],
            unit: 0,
            from: range.start % line[0].size,
            rest: range.len(),
        };
        for (span, place) in outer.iter().zip(&mut lines.places) {
            let index = range.start / span.stride % span.size;
            *place = (index, index % span.block);
            lines.unit += index / span.block * span.unit_stride;
        }
        lines
    }
}

impl Iterator for Lines<'_> {
    type Item = Line;

    fn next(&mut self) -> Option<Line> {
        if self.rest == 0 {
            return None;
        }
        let Span { size, block, .. } = self.line;
        let count = self.rest.min(size - self.from);
        let line = Line { count, unit: self.unit + self.from / block, block, before: self.from % block };
        self.rest -= count;
        self.from = 0;
        for (span, (index, before)) in self.outer.iter().zip(&mut self.places).rev() {
            (*index, *before) = (*index + 1, *before + 1);
            if *index < span.size {
                if *before == span.block {
                    *before = 0;
                    self.unit += span.unit_stride;
                }
                break;
            }
            (*index, *before) = (0, 0);
            self.unit -= (span.size - 1) / span.block * span.unit_stride;
        }
        Some(line)
    }
}
