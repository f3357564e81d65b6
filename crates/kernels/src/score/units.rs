//! Folds units: along lines of memory, in rows beside each other, or sorted first.

use std::array::from_fn;
use std::ops::Range;

use super::fold::{Folding, sum_lines};
use super::reader::{BUFFER, Reader};
use crate::axes::{Axes, UnitBox};
use crate::elements::Elements;
use crate::keys::{Piece, with_items, write_magnitudes};
use crate::simd::{SUMS, add_magnitudes, sum_magnitudes};

/// A unit's weights are cut into runs of this many in canonical order, and the sums of the runs are added in order, so
/// that one large unit is work for several threads. A multiple of [`SUMS`].
pub(super) const RUN: usize = 4096;

/// All lanes of so many units are folded side by side: 8 lanes x 2048 units x 8 bytes stay in a second level cache, and rows of this
/// many neighbours are read as fast as memory gives them.
pub(super) const WIDTH: usize = 2048;

/// Rows of fewer neighbours are sorted first.
pub(super) const ROW: usize = 16;

/// The sums of at most so many rows stay in registers.
const FEW_ROWS: usize = 32;

/// Of more rows so many are added to each lane at once: lanes are further away than registers.
pub(super) const AT_ONCE: usize = 4;

/// Numbers whose magnitudes are summed up, where that is the fold: SIMD does it.
#[derive(Clone, Copy)]
pub(super) struct Summands<'a> {
    pub(super) items: Piece<'a>,
    pub(super) is_mean: bool,
}

impl<'a> Summands<'a> {
    /// Some of them, widened into the buffer if they must be.
    fn line<'b>(&self, range: Range<usize>, buffer: &'b mut [[u8; 4]; BUFFER]) -> &'b [[u8; 4]]
    where
        'a: 'b,
    {
        if let Some(numbers) = self.items.magnitudes() {
            return &numbers[range];
        }
        let buffer = &mut buffer[..range.len()];
        with_items!(self.items.part(range), items => write_magnitudes(items, buffer));
        buffer
    }
}

/// How many units are folded side by side. Those with few weights use few lanes.
pub(super) fn width_of(axes: &Axes) -> usize {
    axes.units_together((SUMS * WIDTH / SUMS.min(axes.weights_per_unit())).min(BUFFER))
}

/// What folds units, with its buffers.
pub(super) struct Units<'a> {
    fold: &'a dyn Folding,
    summands: Option<Summands<'a>>,
    axes: &'a Axes,
    reader: Reader<'a>,
    widened: [[u8; 4]; BUFFER],
    lanes: [f64; SUMS * WIDTH],
}

impl<'a> Units<'a> {
    pub(super) fn new(
        fold: &'a dyn Folding,
        summands: Option<Summands<'a>>,
        elements: Elements<'a>,
        axes: &'a Axes,
    ) -> Self {
        Units {
            fold,
            summands,
            axes,
            reader: Reader::new(elements),
            widened: [[0; 4]; BUFFER],
            lanes: [0.0; SUMS * WIDTH],
        }
    }

    /// Folds one run of each unit of a range, some units at a time, and calls `give` with these and their results.
    pub(super) fn fold(&mut self, range: Range<usize>, run: usize, give: &mut dyn FnMut(&UnitBox, &[f64])) {
        let axes = self.axes;
        axes.for_units(range, width_of(axes), &mut |units| {
            let (width, weights) = (units.units.places(), units.inside.places());
            let run = run * RUN..weights.min((run + 1) * RUN);
            let (_, row) = units.units.rows();
            if run.is_empty() {
                // The last tile of an axis has fewer runs than the others.
                self.lanes[..width].fill(self.fold.start());
            } else if units.inside.is_line() {
                self.lines(units, run, width);
            } else if row == width
                && run.len() <= FEW_ROWS
                && let Some(numbers) = self.summands.and_then(|summands| summands.items.magnitudes())
            {
                self.few_rows(numbers, units, run, width);
            } else {
                self.rows(units, run, width);
            }
            give(units, &self.lanes[..width]);
        });
    }

    /// Folds a run of units each of which lies in one line of memory.
    fn lines(&mut self, units: &UnitBox, run: Range<usize>, width: usize) {
        let weights = units.inside.places();
        // Units that follow each other as their weights do are one line.
        let at_once = if units.units.leads_on(weights) && weights <= BUFFER { BUFFER / weights } else { 1 };
        for (index, results) in self.lanes[..width].chunks_mut(at_once).enumerate() {
            let first = if at_once == 1 { units.units.offset(index) } else { index * at_once * weights };
            let (start, length) = (units.start + first + run.start, results.len() * run.len());
            match self.summands {
                Some(summands) => {
                    sum_lines(summands.line(start..start + length, &mut self.widened), run.len(), results)
                }
                None => self.fold.lines(self.reader.line(start, length), run.len(), results),
            }
        }
    }

    /// Sums up a run of units of few weights that are neighbours in memory.
    fn few_rows(&mut self, numbers: &[[u8; 4]], units: &UnitBox, run: Range<usize>, width: usize) {
        let mut rows: [&[[u8; 4]]; FEW_ROWS] = [&[]; FEW_ROWS];
        for (row, offset) in rows.iter_mut().zip(units.inside.walk(run.start).take(run.len())) {
            *row = &numbers[units.start + offset..][..width];
        }
        sum_magnitudes(&rows[..run.len()], &mut self.lanes[..width]);
    }

    /// Folds a run of any units: the first lane of each, then the second of each, and so on, as many as the run uses.
    fn rows(&mut self, units: &UnitBox, run: Range<usize>, width: usize) {
        let used = SUMS.min(run.len());
        let lanes = &mut self.lanes[..used * width];
        let (rows, row) = units.units.rows();
        if row >= ROW {
            let mut offsets = [0; SUMS * AT_ONCE];
            let mut way = units.inside.walk(run.start).take(run.len());
            for first in run.clone().step_by(offsets.len()) {
                let is_first = first == run.start;
                let count = offsets.len().min(run.end - first);
                for (offset, next) in offsets.iter_mut().zip(way.by_ref()) {
                    *offset = next;
                }
                for (lane, lanes) in lanes.chunks_exact_mut(width).enumerate().take(count) {
                    for (lanes, place) in lanes.chunks_exact_mut(row).zip(rows.walk(0)) {
                        let start = |index: usize| units.start + offsets[lane + index * SUMS] + place;
                        let line = |index: usize| start(index)..start(index) + row;
                        if count == offsets.len()
                            && let Some(numbers) = self.summands.and_then(|summands| summands.items.magnitudes())
                        {
                            add_magnitudes::<AT_ONCE>(lanes, is_first, from_fn(|index| &numbers[line(index)]));
                            continue;
                        }
                        for index in 0..(count - lane).div_ceil(SUMS) {
                            let is_first = is_first && index == 0;
                            match self.summands {
                                Some(summands) => {
                                    add_magnitudes(lanes, is_first, [summands.line(line(index), &mut self.widened)]);
                                }
                                None => self.fold.row(lanes, is_first, self.reader.line(start(index), row)),
                            }
                        }
                    }
                }
            }
        } else {
            lanes.fill(self.fold.start());
            for weights in units.inside.boxes(run, BUFFER / width) {
                let scores = self.reader.read(units.start + weights.offset, &units.units, &weights.steps);
                self.fold.rows(lanes, weights.index % SUMS * width, scores);
            }
        }
        for half in [4, 2, 1].into_iter().filter(|&half| half < used) {
            let (low, high) = lanes.split_at_mut(half * width);
            self.fold.merge(low, &high[..(half * width).min(high.len())]);
        }
    }
}
