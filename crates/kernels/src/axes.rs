//! How a tensor's axes form units.
//!
//! A unit is a set of weights that are removed or kept together: those whose indices fall into the same block of each
//! axis. An axis with blocks of 1 is *kept*: it counts the units. One whose block is the whole axis is *reduced*: it runs
//! inside a unit. An axis in *tiles* does both. Axes are given in stored, row-major order; `order` is an axis's place in
//! the canonical order, in which ties are broken and sums are taken, so that a transposed tensor gives the transposed
//! result, bit for bit.
//!
//! Units are numbered in stored order of the kept axes. [`Axes::canonical_unit`] and [`Axes::stored_unit`] translate.

use std::ops::Range;

use crate::error::Error;

/// The largest number of axes of a tensor. Six roles, and two more for axes that a layout stores in two parts.
pub const MAX_AXES: usize = 8;

/// One axis of a tensor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Axis {
    pub size: usize,
    /// How many neighbours along the axis lie in one unit. Where the size is no multiple of it, the last tile is smaller.
    pub block: usize,
    /// The place in the canonical order; no two axes share one.
    pub order: u8,
}

impl Axis {
    /// An axis that counts units.
    pub const fn kept(size: usize, order: u8) -> Axis {
        Axis { size, block: 1, order }
    }

    /// An axis that runs inside a unit.
    pub const fn reduced(size: usize, order: u8) -> Axis {
        Axis { size, block: size, order }
    }
}

/// A part of the way through a tensor: `size` places with a distance of `stride`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Step {
    pub(crate) size: usize,
    pub(crate) stride: usize,
}

/// A short list of steps, outermost first.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Steps {
    items: [Step; MAX_AXES],
    count: usize,
}

impl Steps {
    fn push(&mut self, step: Step) {
        self.items[self.count] = step;
        self.count += 1;
    }

    pub(crate) fn as_slice(&self) -> &[Step] {
        &self.items[..self.count]
    }

    /// The sum of strides at the row-major position `index`.
    pub(crate) fn offset(&self, mut index: usize) -> usize {
        let mut offset = 0;
        for step in self.as_slice().iter().rev() {
            offset += index % step.size * step.stride;
            index /= step.size;
        }
        offset
    }

    /// Whether all places follow each other in memory.
    pub(crate) fn is_line(&self) -> bool {
        matches!(self.as_slice(), [] | [Step { stride: 1, .. }])
    }

    /// Whether each place follows the one before at this distance.
    pub(crate) fn leads_on(&self, distance: usize) -> bool {
        matches!(self.as_slice(), [step] if step.stride == distance)
    }

    /// Rows of places that follow each other in memory: the way from one to the next, and how long they are.
    pub(crate) fn rows(&self) -> (Steps, usize) {
        match self.as_slice() {
            [.., Step { size, stride: 1 }] => (Steps { count: self.count - 1, ..*self }, *size),
            _ => (*self, 1),
        }
    }

    /// How many places the steps lead through.
    pub(crate) fn places(&self) -> usize {
        self.as_slice().iter().map(|step| step.size).product()
    }

    /// The offset of each place relative to the first, from index `start` on.
    pub(crate) fn walk(&self, start: usize) -> Walk<'_> {
        Walk::new(self.as_slice(), start)
    }

    /// Cuts the places of `range` into boxes of at most `capacity`, each as large as can be, in order.
    pub(crate) fn boxes(&self, range: Range<usize>, capacity: usize) -> impl Iterator<Item = StepsBox> {
        let (mut at, end) = (range.start, range.end);
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let mut result = StepsBox { index: at, offset: 0, first: [0; MAX_AXES], steps: *self };
            let (mut rest, mut room) = (at, capacity.min(end - at));
            for (step, first) in result.steps.items[..self.count].iter_mut().zip(&mut result.first).rev() {
                let size = step.size;
                *first = rest % size;
                rest /= size;
                result.offset += *first * step.stride;
                step.size = room.min(size - *first);
                // Beyond a step that is not taken whole there is one place of each.
                room = if step.size == size { room / size } else { 1 };
            }
            at += result.steps.places();
            Some(result)
        })
    }
}

/// Some of the places that steps lead through: neighbours along each step, with the strides of the whole.
pub(crate) struct StepsBox {
    /// Which of all places the first is, and its offset.
    pub(crate) index: usize,
    pub(crate) offset: usize,
    /// Where the box begins along each step.
    first: [usize; MAX_AXES],
    pub(crate) steps: Steps,
}

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

/// Units whose first weights are at least this far apart are read one by one.
const FAR: usize = 256;

/// An axis in tiles has two parts: from tile to tile, and inside a tile.
const MAX_PARTS: usize = 2 * MAX_AXES;

/// Steps along a stored axis, or several that follow each other in every order.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    step: Step,
    reduced: bool,
    /// The place of its last axis in the canonical order.
    order: u8,
    /// For both parts of an axis whose last tile is smaller: the axis's size.
    uneven: Option<usize>,
}

/// An axis whose last tile is smaller than the others.
#[derive(Clone, Copy, Debug, Default)]
struct Uneven {
    /// Its place among the kept steps in stored order, and among the reduced ones.
    kept: usize,
    reduced: usize,
    /// How many neighbours lie in the last tile.
    last: usize,
}

/// A stored axis, or several that follow each other in stored order, where one unit follows another in steps of `block`.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    size: usize,
    /// As in [`Axis`].
    block: usize,
    /// How far apart its neighbours are stored, and how far apart the numbers of its units are.
    stride: usize,
    unit_stride: usize,
}

/// The axes of one tensor, split into those that count units and those inside a unit.
#[derive(Clone, Copy, Debug)]
pub struct Axes {
    weights: usize,
    units: usize,
    /// Kept steps in stored order, with their strides in the tensor.
    kept: Steps,
    /// Reduced steps in canonical order, with their strides in the tensor.
    reduced: Steps,
    uneven: [Uneven; MAX_AXES],
    uneven_count: usize,
    /// All of the tensor, outermost first.
    spans: [Span; MAX_AXES],
    span_count: usize,
    /// Kept steps in stored order, with their strides in canonical unit numbers.
    to_canonical: Steps,
    /// Kept steps in canonical order, with their strides in stored unit numbers.
    to_stored: Steps,
}

impl Axes {
    /// Checks the axes and works out their strides.
    pub fn new(axes: &[Axis]) -> Result<Axes, Error> {
        if axes.is_empty() || axes.len() > MAX_AXES {
            return Err(Error::Request("a tensor has 1 to 8 axes"));
        }
        let distinct = axes.iter().enumerate().all(|(i, axis)| axes[..i].iter().all(|other| other.order != axis.order));
        if !distinct {
            return Err(Error::Request("two axes have the same place in the canonical order"));
        }
        if axes.iter().any(|axis| axis.block == 0) {
            return Err(Error::Request("a block is empty"));
        }
        let weights = axes
            .iter()
            .try_fold(1usize, |product, axis| product.checked_mul(axis.size).filter(|&product| product > 0))
            .ok_or(Error::Request("an axis is empty, or the tensor is larger than memory"))?;
        let units = axes.iter().map(|axis| axis.size.div_ceil(axis.block)).product();

        let mut parts = [Part::default(); MAX_PARTS];
        let mut count = 0;
        let mut push = |part: Part| {
            // Neighbours of one kind that follow each other in the canonical order too are one.
            let follows = |last: &Part| {
                last.reduced == part.reduced
                    && last.uneven.is_none()
                    && part.uneven.is_none()
                    && last.step.stride == part.step.size * part.step.stride
                    && last.order < part.order
                    && !axes.iter().any(|other| {
                        let has = if part.reduced { other.block > 1 } else { other.block < other.size };
                        other.size > 1 && has && (last.order + 1..part.order).contains(&other.order)
                    })
            };
            match parts[..count].last_mut() {
                Some(last) if follows(last) => {
                    *last =
                        Part { step: Step { size: last.step.size * part.step.size, stride: part.step.stride }, ..part };
                }
                _ => {
                    parts[count] = part;
                    count += 1;
                }
            }
        };
        let mut stride = weights;
        // Axes of one index move nothing.
        for &Axis { size, block, order } in axes.iter().filter(|axis| axis.size > 1) {
            stride /= size;
            let uneven = (size % block > 0 && block < size).then_some(size);
            let part = |size, stride, reduced| Part { step: Step { size, stride }, reduced, order, uneven };
            if block < size {
                push(part(size.div_ceil(block), block * stride, false));
            }
            if block > 1 {
                push(part(block.min(size), stride, true));
            }
        }
        let parts = &parts[..count];

        let mut result = Axes {
            weights,
            units,
            kept: Steps::default(),
            reduced: Steps::default(),
            uneven: [Uneven::default(); MAX_AXES],
            uneven_count: 0,
            spans: [Span::default(); MAX_AXES],
            span_count: 0,
            to_canonical: Steps::default(),
            to_stored: Steps::default(),
        };
        let mut by_order = [0; MAX_PARTS];
        for (i, place) in by_order[..count].iter_mut().enumerate() {
            *place = i;
        }
        by_order[..count].sort_unstable_by_key(|&i| parts[i].order);

        let kept = || parts.iter().filter(|part| !part.reduced);
        let product = |parts: &mut dyn Iterator<Item = &Part>| parts.map(|part| part.step.size).product::<usize>();
        for part in kept() {
            let stride = product(&mut kept().filter(|other| other.order > part.order));
            result.kept.push(part.step);
            result.to_canonical.push(Step { stride, ..part.step });
        }
        for &i in &by_order[..count] {
            let part = parts[i];
            if !part.reduced {
                let stride = product(&mut parts[i + 1..].iter().filter(|other| !other.reduced));
                result.to_stored.push(Step { stride, ..part.step });
                continue;
            }
            if let Some(size) = part.uneven {
                let place = |other: &Part| !other.reduced && other.order == part.order;
                result.uneven[result.uneven_count] = Uneven {
                    kept: kept().position(place).unwrap_or_default(),
                    reduced: result.reduced.count,
                    last: size % part.step.size,
                };
                result.uneven_count += 1;
            }
            result.reduced.push(part.step);
        }
        result.join_spans(axes);
        Ok(result)
    }

    fn join_spans(&mut self, axes: &[Axis]) {
        for &Axis { size, block, .. } in axes {
            let block = block.min(size);
            let joined = match self.spans[..self.span_count].last_mut() {
                // A reduced axis makes the units of the span before it larger, kept ones add to each other.
                Some(span) if block == size => Some((span, size)),
                Some(span) if span.block == 1 && size % block == 0 => Some((span, block)),
                _ => None,
            };
            match joined {
                Some((span, block)) => {
                    span.size *= size;
                    span.block *= block;
                }
                None => {
                    self.spans[self.span_count] = Span { size, block, stride: 0, unit_stride: 0 };
                    self.span_count += 1;
                }
            }
        }
        let (mut stride, mut unit_stride) = (1, 1);
        for span in self.spans[..self.span_count].iter_mut().rev() {
            (span.stride, span.unit_stride) = (stride, unit_stride);
            stride *= span.size;
            unit_stride *= span.size.div_ceil(span.block);
        }
    }

    pub fn weights(&self) -> usize {
        self.weights
    }

    pub fn units(&self) -> usize {
        self.units
    }

    /// The weights of a unit; those in the last tile of an axis may have fewer.
    pub fn weights_per_unit(&self) -> usize {
        self.reduced.places()
    }

    /// The canonical number of a unit given by its stored number.
    pub fn canonical_unit(&self, stored: usize) -> usize {
        self.to_canonical.offset(stored)
    }

    /// The stored number of a unit given by its canonical number.
    pub fn stored_unit(&self, canonical: usize) -> usize {
        self.to_stored.offset(canonical)
    }

    /// How many units that follow each other in memory have canonical numbers at one distance, and this distance.
    pub(crate) fn canonical_run(&self) -> (usize, usize) {
        self.to_canonical.as_slice().last().map_or((1, 1), |last| (last.size, last.stride))
    }

    /// How many weights this very unit has.
    pub(crate) fn weights_of(&self, unit: usize) -> usize {
        let mut steps = self.reduced;
        for uneven in &self.uneven[..self.uneven_count] {
            let (kept, inner) = self.kept.as_slice().split_at(uneven.kept + 1);
            let index = unit / inner.iter().map(|step| step.size).product::<usize>() % kept[uneven.kept].size;
            if index + 1 == kept[uneven.kept].size {
                steps.items[uneven.reduced].size = uneven.last;
            }
        }
        steps.places()
    }

    /// How many units, of at most `most`, lie so close that their weights are best read together. Where units are farther
    /// apart, each has at least as many weights in between.
    pub(crate) fn units_together(&self, most: usize) -> usize {
        let near = self.kept.as_slice().iter().rev().take_while(|step| step.stride < FAR);
        near.map(|step| step.size).product::<usize>().min(most)
    }

    /// Cuts the units of `range` into boxes of at most `capacity` units of one size, and calls `visit` with each.
    pub(crate) fn for_units(&self, range: Range<usize>, capacity: usize, visit: &mut dyn FnMut(&UnitBox)) {
        let uneven = &self.uneven[..self.uneven_count];
        for StepsBox { index, offset, first, steps } in self.kept.boxes(range.clone(), capacity) {
            let mut places = steps;
            let mut stride = 1;
            for step in places.items[..places.count].iter_mut().rev() {
                step.stride = stride;
                stride *= step.size;
            }
            let place = index - range.start;
            let all = UnitBox {
                start: offset,
                units: steps,
                inside: self.reduced,
                place,
                row: stride,
                rows: Steps::default(),
            };
            if uneven.is_empty() {
                visit(&all);
                continue;
            }
            // The tiles of each uneven axis apart: those of full size, and the last one.
            for is_last in 0..1usize << uneven.len() {
                let (mut part, mut rows) = (all, places);
                for (bit, uneven) in uneven.iter().enumerate() {
                    let (units, rows) = (&mut part.units.items[uneven.kept], &mut rows.items[uneven.kept]);
                    let full = (self.kept.items[uneven.kept].size - 1 - first[uneven.kept]).min(units.size);
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

    /// The lines of memory that the weights `range` lie in.
    pub(crate) fn lines(&self, range: Range<usize>) -> Lines<'_> {
        let (outer, line) = self.spans[..self.span_count].split_at(self.span_count - 1);
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

    /// The stored number of each unit, from canonical number `start` on.
    pub(crate) fn walk_units(&self, start: usize) -> Walk<'_> {
        self.to_stored.walk(start)
    }

    /// The canonical number of each unit, from stored number `start` on.
    pub(crate) fn walk_canonical_units(&self, start: usize) -> Walk<'_> {
        self.to_canonical.walk(start)
    }
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

/// Offsets of places, one after another, the last step fastest.
pub(crate) struct Walk<'a> {
    steps: &'a [Step],
    indices: [usize; MAX_AXES],
    offset: usize,
}

impl<'a> Walk<'a> {
    fn new(steps: &'a [Step], start: usize) -> Self {
        let mut walk = Walk { steps, indices: [0; MAX_AXES], offset: 0 };
        let mut rest = start;
        for (step, index) in steps.iter().zip(&mut walk.indices).rev() {
            *index = rest % step.size;
            rest /= step.size;
            walk.offset += *index * step.stride;
        }
        walk
    }
}

impl Iterator for Walk<'_> {
    type Item = usize;

    /// Never ends: after the last place comes the first one again.
    fn next(&mut self) -> Option<usize> {
        let offset = self.offset;
        for (step, index) in self.steps.iter().zip(&mut self.indices).rev() {
            *index += 1;
            self.offset += step.stride;
            if *index < step.size {
                break;
            }
            *index = 0;
            self.offset -= step.size * step.stride;
        }
        Some(offset)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Axes of 1 to 6 dimensions in any stored order, kept, reduced or in tiles.
    pub(crate) fn any_axes() -> impl Strategy<Value = Vec<Axis>> {
        let axis = (1usize..7).prop_flat_map(|size| (Just(size), prop_oneof![Just(1), Just(size), 1..=size]));
        (1usize..=6)
            .prop_flat_map(move |rank| {
                (
                    proptest::collection::vec(axis.clone(), rank),
                    Just((0..rank as u8).collect::<Vec<_>>()).prop_shuffle(),
                )
            })
            .prop_map(|(sizes, orders)| {
                sizes.into_iter().zip(orders).map(|((size, block), order)| Axis { size, block, order }).collect()
            })
    }

    /// For each stored position: (stored unit, canonical unit, canonical index inside the unit), by definition.
    pub(crate) fn naive_places(axes: &[Axis]) -> Vec<(usize, usize, usize)> {
        let weights: usize = axes.iter().map(|axis| axis.size).product();
        let mut canonical: Vec<usize> = (0..axes.len()).collect();
        canonical.sort_by_key(|&i| axes[i].order);
        (0..weights)
            .map(|position| {
                let mut indices = vec![0; axes.len()];
                let mut rest = position;
                for i in (0..axes.len()).rev() {
                    indices[i] = rest % axes[i].size;
                    rest /= axes[i].size;
                }
                let unit =
                    |unit: usize, i: usize| unit * axes[i].size.div_ceil(axes[i].block) + indices[i] / axes[i].block;
                let inside = |index: usize, i: usize| {
                    let first = indices[i] / axes[i].block * axes[i].block;
                    index * axes[i].block.min(axes[i].size - first) + indices[i] - first
                };
                (
                    (0..axes.len()).fold(0, unit),
                    canonical.iter().copied().fold(0, unit),
                    canonical.iter().copied().fold(0, inside),
                )
            })
            .collect()
    }

    /// Axes and a part of the range from 0 to how many of something they have.
    fn with_range(count: fn(&Axes) -> usize) -> impl Strategy<Value = (Vec<Axis>, Axes, Range<usize>)> {
        any_axes().prop_flat_map(move |list| {
            let axes = Axes::new(&list).unwrap();
            let count = count(&axes);
            (Just(list), Just(axes), (0..=count, 0..=count).prop_map(|(a, b)| a.min(b)..a.max(b)))
        })
    }

    proptest! {
        #[test]
        fn numbers_of_units_follow_their_definition(list in any_axes()) {
            let axes = Axes::new(&list).unwrap();
            let mut weights = vec![0; axes.units()];
            for (unit, canonical, _) in naive_places(&list) {
                weights[unit] += 1;
                prop_assert_eq!(axes.canonical_unit(unit), canonical);
                prop_assert_eq!(axes.stored_unit(canonical), unit);
                prop_assert_eq!(axes.walk_units(canonical).next(), Some(unit));
                prop_assert_eq!(axes.walk_canonical_units(unit).next(), Some(canonical));
            }
            for (unit, weights) in weights.into_iter().enumerate() {
                prop_assert_eq!(axes.weights_of(unit), weights);
            }
        }

        #[test]
        fn a_walk_arrives_where_one_that_starts_later_does(list in any_axes()) {
            let axes = Axes::new(&list).unwrap();
            for (canonical, unit) in axes.walk_units(0).take(axes.units()).enumerate() {
                prop_assert_eq!(unit, axes.stored_unit(canonical));
            }
        }

        #[test]
        fn boxes_of_units_hold_each_weight_once((list, axes, range) in with_range(Axes::units), capacity in 1usize..40) {
            let mut found = vec![];
            axes.for_units(range.clone(), capacity, &mut |units| {
                let (count, weights) = (units.units.places(), units.inside.places());
                assert!(count <= capacity);
                let starts: Vec<usize> = units.units.walk(0).take(count).collect();
                for (place, starts) in units.rows(&starts) {
                    for (unit, start) in (range.start + place..).zip(starts) {
                        let inside = units.inside.walk(0).take(weights).enumerate();
                        found.extend(inside.map(|(index, offset)| (units.start + start + offset, unit, index)));
                    }
                }
            });
            found.sort_unstable();
            let places = naive_places(&list).into_iter().enumerate();
            let expected = places.filter(|(_, (unit, ..))| range.contains(unit));
            prop_assert_eq!(found, expected.map(|(position, (unit, _, index))| (position, unit, index)).collect::<Vec<_>>());
        }

        #[test]
        fn boxes_follow_each_other_in_order((_, axes, range) in with_range(Axes::weights_per_unit), capacity in 1usize..40) {
            let mut at = range.start;
            for piece in axes.reduced.boxes(range.clone(), capacity) {
                prop_assert_eq!(piece.index, at);
                prop_assert!(piece.steps.places() <= capacity);
                for offset in piece.steps.walk(0).take(piece.steps.places()) {
                    prop_assert_eq!(piece.offset + offset, axes.reduced.offset(at));
                    at += 1;
                }
            }
            prop_assert_eq!(at, range.end);
        }

        #[test]
        fn lines_name_the_unit_of_each_weight((list, axes, range) in with_range(Axes::weights)) {
            let units = axes.lines(range.clone()).flat_map(|line| {
                assert_eq!(line.units().map(|(_, count)| count).sum::<usize>(), line.count);
                line.units().flat_map(|(unit, count)| std::iter::repeat_n(unit, count))
            });
            let expected = naive_places(&list)[range].iter().map(|&(unit, ..)| unit).collect::<Vec<_>>();
            prop_assert_eq!(units.collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn impossible_axes_are_refused() {
        let axis = Axis::kept;
        assert!(Axes::new(&[]).is_err());
        assert!(Axes::new(&[axis(0, 0)]).is_err());
        assert!(Axes::new(&[axis(2, 0), axis(2, 0)]).is_err());
        assert!(Axes::new(&[axis(usize::MAX, 0), axis(2, 1)]).is_err());
        assert!(Axes::new(&[axis(1, 0); 9]).is_err());
        assert!(Axes::new(&[Axis { size: 2, block: 0, order: 0 }]).is_err());
    }
}
