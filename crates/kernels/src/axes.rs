//! How a tensor's axes form units.
//!
//! A unit is a set of weights that are removed or kept together: those whose indices fall into the same block of each
//! axis. An axis with blocks of 1 is *kept*: it counts the units. One whose block is the whole axis is *reduced*: it runs
//! inside a unit. An axis in *tiles* does both. Axes are given in stored, row-major order; `order` is an axis's place in
//! the canonical order, in which ties are broken and sums are taken, so that a transposed tensor gives the transposed
//! result, bit for bit.
//!
//! Units are numbered in stored order of the kept axes. [`Axes::canonical_unit`] and [`Axes::stored_unit`] translate.

use crate::error::Error;

/// The largest number of axes of a tensor. Six roles, and two more for axes that a layout stores in two parts.
pub const MAX_AXES: usize = 8;

/// An axis in tiles is stepped through twice: from tile to tile, and inside a tile.
const MAX_STEPS: usize = 2 * MAX_AXES;

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
struct Step {
    size: usize,
    stride: usize,
}

/// A short list of steps, outermost first.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Steps {
    items: [Step; MAX_STEPS],
    count: usize,
}

impl Steps {
    fn push(&mut self, step: Step) {
        self.items[self.count] = step;
        self.count += 1;
    }

    fn as_slice(&self) -> &[Step] {
        &self.items[..self.count]
    }

    /// The sum of strides at the row-major position `index`.
    fn offset(&self, mut index: usize) -> usize {
        let mut offset = 0;
        for step in self.as_slice().iter().rev() {
            offset += index % step.size * step.stride;
            index /= step.size;
        }
        offset
    }

    /// How many places the steps lead through.
    pub(crate) fn places(&self) -> usize {
        self.as_slice().iter().map(|step| step.size).product()
    }

    /// How many places lie side by side in memory, in the order of the steps.
    pub(crate) fn run_length(&self) -> usize {
        match self.as_slice().last() {
            Some(last) if last.stride == 1 => last.size,
            _ => 1,
        }
    }

    /// The stored position of each place relative to the first, from index `start` on.
    pub(crate) fn walk(&self, start: usize) -> Walk<'_> {
        Walk::new(self.as_slice(), start)
    }
}

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
    size: usize,
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

        let mut parts = [Part::default(); MAX_STEPS];
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
            to_canonical: Steps::default(),
            to_stored: Steps::default(),
        };
        let mut by_order = [0; MAX_STEPS];
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
                    size,
                };
                result.uneven_count += 1;
            }
            result.reduced.push(part.step);
        }
        Ok(result)
    }

    pub fn weights(&self) -> usize {
        self.weights
    }

    pub fn units(&self) -> usize {
        self.units
    }

    /// The weights of a unit; those at the end of an axis may have fewer where [`Axes::is_uneven`].
    pub fn weights_per_unit(&self) -> usize {
        self.reduced.places()
    }

    /// Whether units differ in size.
    pub(crate) fn is_uneven(&self) -> bool {
        self.uneven_count > 0
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

    /// Where the first weight of a unit lies in the tensor.
    pub(crate) fn first_weight(&self, unit: usize) -> usize {
        self.kept.offset(unit)
    }

    /// The way through the weights of a unit, in canonical order; of any unit, unless they differ in size.
    pub(crate) fn inside(&self) -> &Steps {
        &self.reduced
    }

    /// The way through the weights of this very unit, in canonical order.
    pub(crate) fn inside_of(&self, unit: usize) -> Steps {
        let mut steps = self.reduced;
        for uneven in &self.uneven[..self.uneven_count] {
            let (kept, inner) = self.kept.as_slice().split_at(uneven.kept + 1);
            let index = unit / inner.iter().map(|step| step.size).product::<usize>() % kept[uneven.kept].size;
            if index + 1 == kept[uneven.kept].size {
                steps.items[uneven.reduced].size = uneven.last;
            }
        }
        steps
    }

    /// How many units lie side by side in memory, weight for weight; 1 where the last stored axis runs inside a unit.
    pub(crate) fn units_in_a_row(&self) -> usize {
        match self.kept.as_slice().last() {
            Some(last) if last.stride == 1 => last.size,
            _ => 1,
        }
    }

    /// How many weights of one unit lie side by side in memory, in whatever order.
    pub(crate) fn same_unit_in_a_row(&self) -> usize {
        let is_even = |place: usize| self.uneven[..self.uneven_count].iter().all(|uneven| uneven.reduced != place);
        let mut steps = self.reduced.as_slice().iter().enumerate();
        steps.find(|(_, step)| step.stride == 1).map_or(1, |(place, step)| if is_even(place) { step.size } else { 1 })
    }

    /// The stored number of each unit, from canonical number `start` on.
    pub(crate) fn walk_units(&self, start: usize) -> Walk<'_> {
        self.to_stored.walk(start)
    }

    /// The unit of the weight at a stored position.
    pub(crate) fn unit_of(&self, position: usize) -> usize {
        let mut unit = 0;
        for (place, step) in self.kept.as_slice().iter().enumerate() {
            let uneven = self.uneven[..self.uneven_count].iter().find(|uneven| uneven.kept == place);
            let index = match uneven {
                None => position / step.stride % step.size,
                Some(uneven) => {
                    let inside = self.reduced.items[uneven.reduced];
                    position / inside.stride % uneven.size / inside.size
                }
            };
            unit = unit * step.size + index;
        }
        unit
    }
}

/// Steps through nested axes, the last one fastest.
pub(crate) struct Walk<'a> {
    steps: &'a [Step],
    indices: [usize; MAX_STEPS],
    offset: usize,
}

impl<'a> Walk<'a> {
    fn new(steps: &'a [Step], start: usize) -> Self {
        let mut walk = Walk { steps, indices: [0; MAX_STEPS], offset: 0 };
        walk.advance(start);
        walk
    }

    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    /// Goes on by `distance` places.
    pub(crate) fn advance(&mut self, distance: usize) {
        let mut carry = distance;
        for (step, index) in self.steps.iter().zip(&mut self.indices).rev() {
            if carry == 0 {
                return;
            }
            let sum = *index + carry;
            let next = if sum < step.size {
                carry = 0;
                sum
            } else {
                carry = sum / step.size;
                sum % step.size
            };
            // Wrapping: the offset falls where an index starts again.
            self.offset = self.offset.wrapping_add(next.wrapping_sub(*index).wrapping_mul(step.stride));
            *index = next;
        }
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

    proptest! {
        #[test]
        fn numbers_of_units_and_weights_follow_their_definition(list in any_axes()) {
            let axes = Axes::new(&list).unwrap();
            for (position, (unit, canonical, index)) in naive_places(&list).into_iter().enumerate() {
                prop_assert_eq!(axes.unit_of(position), unit);
                prop_assert_eq!(axes.canonical_unit(unit), canonical);
                prop_assert_eq!(axes.stored_unit(canonical), unit);
                prop_assert_eq!(axes.first_weight(unit) + axes.inside_of(unit).walk(index).offset(), position);
                prop_assert_eq!(axes.walk_units(canonical).offset(), unit);
            }
        }

        #[test]
        fn a_walk_in_steps_arrives_where_a_walk_at_once_does(list in any_axes(), steps in proptest::collection::vec(0usize..9, 0..9)) {
            let axes = Axes::new(&list).unwrap();
            let inside = axes.inside();
            let mut walk = inside.walk(0);
            let mut at = 0;
            for step in steps {
                if at + step >= axes.weights_per_unit() { break; }
                walk.advance(step);
                at += step;
                prop_assert_eq!(walk.offset(), inside.walk(at).offset());
            }
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
