//! How a tensor's axes form units.
//!
//! A unit is a set of weights that are removed or kept together. The *reduced* axes run inside a unit, the *kept* axes
//! count the units. Axes are given in stored, row-major order; `order` is an axis's place in the canonical order, in
//! which ties are broken and sums are taken, so that a transposed tensor gives the transposed result, bit for bit.
//!
//! Units are numbered in stored order of the kept axes. [`Axes::canonical_unit`] and [`Axes::stored_unit`] translate.

use crate::error::Error;

/// The largest number of axes of a tensor. Six roles, and two more for axes that a layout stores in two parts.
pub const MAX_AXES: usize = 8;

/// One axis of a tensor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Axis {
    pub size: usize,
    /// Whether the axis runs inside a unit.
    pub reduced: bool,
    /// The place in the canonical order; no two axes share one.
    pub order: u8,
}

/// An axis with the distance between its neighbours.
#[derive(Clone, Copy, Debug, Default)]
struct Step {
    size: usize,
    stride: usize,
}

/// A short list of axes, outermost first.
#[derive(Clone, Copy, Debug, Default)]
struct Steps {
    items: [Step; MAX_AXES],
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
}

/// The axes of one tensor, split into those that count units and those inside a unit.
#[derive(Clone, Copy, Debug)]
pub struct Axes {
    weights: usize,
    units: usize,
    /// Kept axes in stored order, with their strides in the tensor.
    kept: Steps,
    /// Reduced axes in canonical order, with their strides in the tensor.
    reduced: Steps,
    /// Kept axes in stored order, with their strides in canonical unit numbers.
    to_canonical: Steps,
    /// Kept axes in canonical order, with their strides in stored unit numbers.
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
        let weights = axes
            .iter()
            .try_fold(1usize, |product, axis| product.checked_mul(axis.size).filter(|&product| product > 0))
            .ok_or(Error::Request("an axis is empty, or the tensor is larger than memory"))?;
        let units = axes.iter().filter(|axis| !axis.reduced).map(|axis| axis.size).product();

        // Axes of one index move nothing; without them more neighbours can be merged.
        let mut list = [Axis::default(); MAX_AXES];
        let mut count = 0;
        for &axis in axes.iter().filter(|axis| axis.size > 1) {
            let follows = |last: &Axis| {
                last.reduced == axis.reduced
                    && last.order < axis.order
                    && !axes.iter().any(|other| {
                        other.size > 1
                            && other.reduced == axis.reduced
                            && (last.order + 1..axis.order).contains(&other.order)
                    })
            };
            match list[..count].last_mut() {
                Some(last) if follows(last) => {
                    last.size *= axis.size;
                    last.order = axis.order;
                }
                _ => {
                    list[count] = axis;
                    count += 1;
                }
            }
        }
        let list = &list[..count];

        let stride = |i: usize| list[i + 1..].iter().map(|axis| axis.size).product::<usize>();
        let unit_stride =
            |i: usize| list[i + 1..].iter().filter(|axis| !axis.reduced).map(|axis| axis.size).product::<usize>();
        let canonical_stride = |i: usize| {
            list.iter()
                .filter(|axis| !axis.reduced && axis.order > list[i].order)
                .map(|axis| axis.size)
                .product::<usize>()
        };
        let mut by_order = [0; MAX_AXES];
        for (i, place) in by_order[..count].iter_mut().enumerate() {
            *place = i;
        }
        by_order[..count].sort_unstable_by_key(|&i| list[i].order);

        let mut result = Axes {
            weights,
            units,
            kept: Steps::default(),
            reduced: Steps::default(),
            to_canonical: Steps::default(),
            to_stored: Steps::default(),
        };
        for (i, axis) in list.iter().enumerate().filter(|(_, axis)| !axis.reduced) {
            result.kept.push(Step { size: axis.size, stride: stride(i) });
            result.to_canonical.push(Step { size: axis.size, stride: canonical_stride(i) });
        }
        for &i in &by_order[..count] {
            if list[i].reduced {
                result.reduced.push(Step { size: list[i].size, stride: stride(i) });
            } else {
                result.to_stored.push(Step { size: list[i].size, stride: unit_stride(i) });
            }
        }
        Ok(result)
    }

    pub fn weights(&self) -> usize {
        self.weights
    }

    pub fn units(&self) -> usize {
        self.units
    }

    pub fn weights_per_unit(&self) -> usize {
        self.weights / self.units
    }

    /// The canonical number of a unit given by its stored number.
    pub fn canonical_unit(&self, stored: usize) -> usize {
        self.to_canonical.offset(stored)
    }

    /// The stored number of a unit given by its canonical number.
    pub fn stored_unit(&self, canonical: usize) -> usize {
        self.to_stored.offset(canonical)
    }

    /// Where the first weight of a unit lies in the tensor.
    pub(crate) fn first_weight(&self, unit: usize) -> usize {
        self.kept.offset(unit)
    }

    /// How many units lie side by side in memory, weight for weight; 1 where the last stored axis runs inside a unit.
    pub(crate) fn units_in_a_row(&self) -> usize {
        match self.kept.as_slice().last() {
            Some(last) if last.stride == 1 => last.size,
            _ => 1,
        }
    }

    /// How many weights of one unit lie side by side in memory and in canonical order.
    pub(crate) fn run_length(&self) -> usize {
        match self.reduced.as_slice().last() {
            Some(last) if last.stride == 1 => last.size,
            _ => 1,
        }
    }

    /// How many weights of one unit lie side by side in memory, in whatever order.
    pub(crate) fn same_unit_in_a_row(&self) -> usize {
        self.reduced.as_slice().iter().find(|step| step.stride == 1).map_or(1, |step| step.size)
    }

    /// The stored position of each weight of a unit relative to its first, from canonical index `start` on.
    pub(crate) fn walk(&self, start: usize) -> Walk<'_> {
        Walk::new(self.reduced.as_slice(), start)
    }

    /// The stored number of each unit, from canonical number `start` on.
    pub(crate) fn walk_units(&self, start: usize) -> Walk<'_> {
        Walk::new(self.to_stored.as_slice(), start)
    }

    /// The unit of the weight at a stored position.
    pub(crate) fn unit_of(&self, position: usize) -> usize {
        let mut unit = 0;
        for step in self.kept.as_slice() {
            unit = unit * step.size + position / step.stride % step.size;
        }
        unit
    }
}

/// Steps through nested axes, the last one fastest.
pub(crate) struct Walk<'a> {
    steps: &'a [Step],
    indices: [usize; MAX_AXES],
    offset: usize,
}

impl<'a> Walk<'a> {
    fn new(steps: &'a [Step], start: usize) -> Self {
        let mut walk = Walk { steps, indices: [0; MAX_AXES], offset: 0 };
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

    /// Axes of 1 to 6 dimensions in any stored order, any of them reduced.
    pub(crate) fn any_axes() -> impl Strategy<Value = Vec<Axis>> {
        (1usize..=6)
            .prop_flat_map(|rank| {
                (
                    proptest::collection::vec((1usize..6, any::<bool>()), rank),
                    Just((0..rank as u8).collect::<Vec<_>>()).prop_shuffle(),
                )
            })
            .prop_map(|(sizes, orders)| {
                sizes.into_iter().zip(orders).map(|((size, reduced), order)| Axis { size, reduced, order }).collect()
            })
    }

    /// For each stored position: (stored unit, canonical unit, canonical index inside the unit), by definition.
    pub(crate) fn naive_places(axes: &[Axis]) -> Vec<(usize, usize, usize)> {
        let weights: usize = axes.iter().map(|axis| axis.size).product();
        let number = |indices: &[usize], reduced: bool, canonical: bool| {
            let mut list: Vec<usize> = (0..axes.len()).filter(|&i| axes[i].reduced == reduced).collect();
            if canonical {
                list.sort_by_key(|&i| axes[i].order);
            }
            list.iter().fold(0, |number, &i| number * axes[i].size + indices[i])
        };
        (0..weights)
            .map(|position| {
                let mut indices = vec![0; axes.len()];
                let mut rest = position;
                for i in (0..axes.len()).rev() {
                    indices[i] = rest % axes[i].size;
                    rest /= axes[i].size;
                }
                (number(&indices, false, false), number(&indices, false, true), number(&indices, true, true))
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
                prop_assert_eq!(axes.first_weight(unit) + axes.walk(index).offset(), position);
                prop_assert_eq!(axes.walk_units(canonical).offset(), unit);
            }
        }

        #[test]
        fn a_walk_in_steps_arrives_where_a_walk_at_once_does(list in any_axes(), steps in proptest::collection::vec(0usize..9, 0..9)) {
            let axes = Axes::new(&list).unwrap();
            let mut walk = axes.walk(0);
            let mut at = 0;
            for step in steps {
                if at + step >= axes.weights_per_unit() { break; }
                walk.advance(step);
                at += step;
                prop_assert_eq!(walk.offset(), axes.walk(at).offset());
            }
        }
    }

    #[test]
    fn impossible_axes_are_refused() {
        let axis = |size, order| Axis { size, reduced: false, order };
        assert!(Axes::new(&[]).is_err());
        assert!(Axes::new(&[axis(0, 0)]).is_err());
        assert!(Axes::new(&[axis(2, 0), axis(2, 0)]).is_err());
        assert!(Axes::new(&[axis(usize::MAX, 0), axis(2, 1)]).is_err());
        assert!(Axes::new(&[axis(1, 0); 9]).is_err());
    }
}
