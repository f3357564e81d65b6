//! How a tensor's axes form units.
//!
//! A unit is a set of weights that are removed or kept together: those whose indices fall into the same block of each
//! axis. An axis with blocks of 1 is *kept*: it counts the units. One whose block is the whole axis is *reduced*: it runs
//! inside a unit. An axis in *tiles* does both. Axes are given in stored, row-major order; `order` is an axis's place in
//! the canonical order, in which ties are broken and sums are taken, so that a transposed tensor gives the transposed
//! result, bit for bit.
//!
//! Units are numbered in stored order of the kept axes. [`Axes::canonical_unit`] and [`Axes::stored_unit`] translate.

mod lines;
mod steps;
#[cfg(test)]
pub(crate) mod tests;
mod units;

use std::ops::Range;

use crate::error::Error;

use lines::{Lines, Span};
use steps::{Step, Walk};
use units::Uneven;

pub(crate) use lines::Line;
pub use steps::MAX_AXES;
pub(crate) use steps::Steps;
pub(crate) use units::UnitBox;

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
        units::for_boxes(&self.kept, &self.reduced, &self.uneven[..self.uneven_count], range, capacity, visit);
    }

    /// The lines of memory that the weights `range` lie in.
    pub(crate) fn lines(&self, range: Range<usize>) -> Lines<'_> {
        Lines::new(&self.spans[..self.span_count], range)
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
