use super::*;
use proptest::prelude::*;

/// Axes of 1 to 6 dimensions in any stored order, kept, reduced or in tiles.
pub(crate) fn any_axes() -> impl Strategy<Value = Vec<Axis>> {
    let axis = (1usize..7).prop_flat_map(|size| (Just(size), prop_oneof![Just(1), Just(size), 1..=size]));
    (1usize..=6)
        .prop_flat_map(move |rank| {
            (proptest::collection::vec(axis.clone(), rank), Just((0..rank as u8).collect::<Vec<_>>()).prop_shuffle())
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
            let unit = |unit: usize, i: usize| unit * axes[i].size.div_ceil(axes[i].block) + indices[i] / axes[i].block;
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
