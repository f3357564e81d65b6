//! Counts are exact and ties canonical, whatever the scores; layouts and threads change nothing.

mod support;

use proptest::prelude::*;
use sparsifier_kernels::{
    Axes, Axis, Element, Elements, Normalizer, Numbers, NumbersMut, Reducer, Segment, apply, mask, normalize, score,
    select, words_for,
};
use support::{Data, Layer, Recipe, gone, line, permuted, prune, scores_of, xorshift};

/// The places of the `remove` smallest values, the first of equal ones first.
fn smallest(values: &[f32], remove: usize) -> Vec<bool> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].partial_cmp(&values[b]).unwrap());
    let mut gone = vec![false; values.len()];
    order[..remove].iter().for_each(|&place| gone[place] = true);
    gone
}

fn count(gone: &[bool]) -> usize {
    gone.iter().filter(|gone| **gone).count()
}

#[test]
fn the_count_is_exact_for_every_size_and_every_number_removed() {
    let patterns: [fn(usize) -> f32; 5] = [
        |i| (i * 7919 % 1009) as f32,
        |i| (i % 3) as f32,
        |i| if i % 2 == 0 { 0.0 } else { -0.0 },
        |i| f32::from_bits((i * 7919 % 13) as u32),
        |i| -((i * 31 % 17) as f32),
    ];
    for units in 1..=130 {
        for pattern in patterns {
            let scores: Vec<f32> = (0..units).map(pattern).collect();
            for remove in 0..=units {
                assert_eq!(gone(&scores, &line(units), None, remove), smallest(&scores, remove), "{remove} of {units}");
            }
        }
    }
}

/// Every float that is a number and finite: zeros of both signs, denormals, the largest.
fn any_finite() -> impl Strategy<Value = f32> {
    let special = [0.0, -0.0, f32::from_bits(1), -f32::from_bits(1), f32::MIN_POSITIVE, f32::MAX, f32::MIN, 1.0, -1.0];
    prop_oneof![
        any::<u32>().prop_map(f32::from_bits).prop_filter("finite", |x| x.is_finite()),
        proptest::sample::select(special.to_vec()),
        (-2i8..=2).prop_map(|x| f32::from(x) * 0.5),
    ]
}

/// Axes in any stored order with values for each weight.
fn any_tensor(with_blocks: bool) -> impl Strategy<Value = (Vec<Axis>, Vec<f32>, Vec<usize>)> {
    (1usize..=6)
        .prop_flat_map(|rank| {
            let axes = proptest::collection::vec((1usize..6, 1usize..6), rank);
            let orders = Just((0..rank as u8).collect::<Vec<_>>()).prop_shuffle();
            (axes, orders, Just((0..rank).collect::<Vec<_>>()).prop_shuffle())
        })
        .prop_flat_map(move |(axes, orders, permutation)| {
            let list: Vec<Axis> = axes
                .into_iter()
                .zip(orders)
                .map(|((size, block), order)| Axis {
                    size,
                    block: if with_blocks { block.min(size) } else { 1 },
                    order,
                })
                .collect();
            let weights = list.iter().map(|axis| axis.size).product::<usize>();
            (Just(list), proptest::collection::vec(any_finite(), weights), Just(permutation))
        })
}

/// 1 to 6 axes, one of them about as long as a chunk, a task or a sample of the kernels.
fn any_long_axes() -> impl Strategy<Value = Vec<Axis>> {
    const LARGEST: usize = 300_000;
    let edge = proptest::sample::select(vec![8, 32, 128, 256, 512, 1024, 4096, 1 << 16, 1 << 17]);
    let long = (edge, 0usize..3).prop_map(|(edge, off)| edge + off - 1);
    let others = proptest::collection::vec(1usize..5, 0..6);
    (long, others)
        .prop_flat_map(|(long, others)| {
            let mut weights = long;
            let mut sizes = vec![long];
            for size in others {
                let fits = weights * size <= LARGEST;
                sizes.push(if fits { size } else { 1 });
                weights *= sizes[sizes.len() - 1];
            }
            let blocks = proptest::collection::vec(prop_oneof![Just(1), Just(usize::MAX), 1usize..40], sizes.len());
            let orders = Just((0..sizes.len() as u8).collect::<Vec<_>>()).prop_shuffle();
            (Just(sizes).prop_shuffle(), blocks, orders)
        })
        .prop_map(|(sizes, blocks, orders)| {
            let axes = sizes.into_iter().zip(blocks).zip(orders);
            axes.map(|((size, block), order)| Axis { size, block: block.min(size), order }).collect()
        })
}

/// The canonical number of each weight's unit.
fn canonical_units(axes: &[Axis]) -> Vec<usize> {
    let mut by_order: Vec<usize> = (0..axes.len()).collect();
    by_order.sort_by_key(|&i| axes[i].order);
    let stride = |i: usize| axes[i + 1..].iter().map(|axis| axis.size).product::<usize>();
    let unit_of = |position: usize| {
        by_order.iter().fold(0, |unit, &i| {
            let Axis { size, block, .. } = axes[i];
            unit * size.div_ceil(block) + position / stride(i) % size / block
        })
    };
    (0..axes.iter().map(|axis| axis.size).product()).map(unit_of).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_axes_of_any_length_agree_with_sorting_by_means(
        list in any_long_axes(),
        few in any::<bool>(),
        share in 0f64..=1.0,
    ) {
        let units = canonical_units(&list);
        // Whole numbers, so that all sums are exact.
        let mut next = xorshift(7);
        let weights: Vec<f32> = units.iter().map(|_| (next() % if few { 3 } else { 4001 }) as f32 - 1.0).collect();
        let axes = Axes::new(&list).unwrap();
        let mut sums = vec![(0.0, 0.0); axes.units()];
        for (unit, weight) in units.iter().zip(&weights) {
            sums[*unit] = (sums[*unit].0 + f64::from(weight.abs()), sums[*unit].1 + 1.0);
        }
        let means: Vec<f32> = sums.iter().map(|(sum, count)| (sum / count) as f32).collect();
        let mut layers = [Layer { data: Data::of(&weights), axes, position: 0, limit: axes.units() }];
        let recipe = Recipe::Weights { element: Element::Magnitude, reducer: Reducer::Mean, normalizer: None };
        let scores = scores_of(&layers[0], recipe);
        let canonical_scores: Vec<f32> = (0..scores.len()).map(|unit| scores[axes.stored_unit(unit)]).collect();
        prop_assert!(canonical_scores == means, "scores of {} units", means.len());
        let remove = (share * means.len() as f64) as usize;
        let gone = smallest(&means, remove);
        let expected: Vec<f32> =
            units.iter().zip(&weights).map(|(unit, weight)| if gone[*unit] { 0.0 } else { *weight }).collect();
        prune(&mut layers, recipe, &[0], &[remove]);
        prop_assert!(layers[0].data == Data::of(&expected), "{remove} of {} units", means.len());
    }
}

proptest! {
    #[test]
    fn any_numbers_lose_the_smallest_magnitudes_and_no_others_change(
        weights in proptest::collection::vec(any_finite(), 1..3000),
        share in 0f64..=1.0,
    ) {
        let remove = (share * weights.len() as f64) as usize;
        let axes = line(weights.len());
        let magnitudes: Vec<f32> = weights.iter().map(|weight| weight.abs()).collect();
        let mut layers = [Layer { data: Data::of(&weights), axes, position: 0, limit: weights.len() }];
        let recipe = Recipe::Weights { element: Element::Magnitude, reducer: Reducer::Mean, normalizer: None };
        prune(&mut layers, recipe, &[0], &[remove]);
        let expected: Vec<f32> = weights
            .iter()
            .zip(smallest(&magnitudes, remove))
            .map(|(&weight, gone)| if gone { 0.0 } else { weight })
            .collect();
        prop_assert_eq!(&layers[0].data, &Data::of(&expected));
    }

    #[test]
    fn scoring_on_the_fly_cuts_where_written_scores_do(
        weights in proptest::collection::vec(any_finite(), 1..3000),
        share in 0f64..=1.0,
    ) {
        let remove = (share * weights.len() as f64) as usize;
        let axes = line(weights.len());
        let data = Data::of(&weights);
        for element in [Element::Magnitude, Element::Square] {
            let scores = Elements::new(data.numbers(), element, None).unwrap();
            let segment = Segment { scores, axes: &axes, earlier: None, group: 0, limit: weights.len() };
            let cut = select(&[segment], &[remove]).unwrap()[0];
            let mut bits = vec![0; words_for(weights.len())];
            mask(&segment, cut, &mut bits).unwrap();
            let recipe = Recipe::Weights { element, reducer: Reducer::Mean, normalizer: None };
            let written = scores_of(&Layer { data: data.clone(), axes, position: 0, limit: 0 }, recipe);
            let gone = gone(&written, &axes, None, remove);
            prop_assert!((0..weights.len()).all(|unit| (bits[unit / 32] >> (unit % 32) & 1 == 0) == gone[unit]));
        }
    }

    #[test]
    fn a_growing_count_nests_and_a_falling_one_gives_back_the_last(
        (list, scores, _) in any_tensor(false),
        first in 0f64..=1.0,
        second in 0f64..=1.0,
    ) {
        let axes = Axes::new(&list).unwrap();
        let units = axes.units();
        let (first, second) = ((first * units as f64) as usize, (second * units as f64) as usize);
        let before = gone(&scores, &axes, None, first);
        let mut earlier = vec![u32::MAX; words_for(units)];
        for unit in (0..units).filter(|&unit| before[unit]) {
            earlier[unit / 32] &= !(1 << (unit % 32));
        }
        let after = gone(&scores, &axes, Some(&earlier), second);
        prop_assert_eq!(count(&after), second);
        if second >= first {
            prop_assert!(before.iter().zip(&after).all(|(before, after)| *after || !before));
        } else {
            let removed = (0..units).filter(|&unit| before[unit]);
            let mut canonical: Vec<usize> = removed.map(|unit| axes.canonical_unit(unit)).collect();
            canonical.sort_unstable();
            for (rank, canonical) in canonical.into_iter().enumerate() {
                prop_assert_eq!(after[axes.stored_unit(canonical)], rank < second);
            }
        }
    }

    #[test]
    fn permuted_axes_give_permuted_scores_bit_for_bit((list, weights, order) in any_tensor(true), dtype in 0u8..3) {
        let (moved, moved_list) = permuted(&weights, &list, &order);
        let data = |weights: &[f32]| match dtype {
            0 => Data::of(weights),
            // Any 16 bits that are finite in both types.
            _ => {
                let half = |weight: &f32| ((weight.to_bits() >> 16) as u16 & 0xbfff).to_le_bytes();
                let halves = weights.iter().map(half).collect();
                if dtype == 1 { Data::Float16(halves) } else { Data::Bfloat16(halves) }
            }
        };
        let layer = |weights: &[f32], list: &[Axis]| {
            Layer { data: data(weights), axes: Axes::new(list).unwrap(), position: 0, limit: 0 }
        };
        let (stored, moved) = (layer(&weights, &list), layer(&moved, &moved_list));
        for reducer in [Reducer::Mean, Reducer::Sum, Reducer::L2, Reducer::Max] {
            for normalizer in [None, Some(Normalizer::Mean), Some(Normalizer::L2), Some(Normalizer::Standard)] {
                let recipe = Recipe::Weights { element: Element::Magnitude, reducer, normalizer };
                let (a, b) = (scores_of(&stored, recipe), scores_of(&moved, recipe));
                for (unit, score) in a.iter().enumerate() {
                    let other = b[moved.axes.stored_unit(stored.axes.canonical_unit(unit))];
                    prop_assert_eq!(score.to_bits(), other.to_bits());
                }
            }
        }
    }

    #[test]
    fn permuted_axes_lose_the_same_weights((list, weights, order) in any_tensor(true), share in 0f64..=1.0) {
        let (moved, moved_list) = permuted(&weights, &list, &order);
        let recipe = Recipe::Weights { element: Element::Square, reducer: Reducer::Mean, normalizer: None };
        let pruned = |weights: &[f32], list: &[Axis]| {
            let axes = Axes::new(list).unwrap();
            let mut layers = [Layer { data: Data::of(weights), axes, position: 0, limit: axes.units() }];
            prune(&mut layers, recipe, &[0], &[(share * axes.units() as f64) as usize]);
            let [Layer { data: Data::Float32(numbers), .. }] = layers else { unreachable!() };
            numbers
        };
        prop_assert_eq!(permuted(&pruned(&weights, &list), &list, &order).0, pruned(&moved, &moved_list));
    }

    #[test]
    fn weights_multiplied_by_a_power_of_two_lose_the_same_units(
        tensors in proptest::collection::vec(any_tensor(true), 1..4),
        exponent in -40i32..=40,
        share in 0f64..=1.0,
        element in proptest::sample::select(vec![Element::Magnitude, Element::Square, Element::NegativeMagnitude]),
        reducer in proptest::sample::select(vec![Reducer::Mean, Reducer::Sum, Reducer::L2, Reducer::Max]),
        normalizer in proptest::sample::select(vec![
            None,
            Some(Normalizer::Sum),
            Some(Normalizer::Mean),
            Some(Normalizer::Max),
            Some(Normalizer::L2),
            Some(Normalizer::MinMax),
            Some(Normalizer::Standard),
        ]),
    ) {
        // Magnitudes from 1/2 to 2^11: neither weights nor squares nor their sums leave the range of f32.
        let multiplied = |numbers: &[f32], factor: f32| -> Vec<f32> {
            numbers.iter().map(|number| ((number.to_bits() % 4096) as f32 - 2047.5) * factor).collect()
        };
        let recipe = Recipe::Weights { element, reducer, normalizer };
        let pruned = |factor: f32| {
            let mut layers: Vec<Layer> = tensors
                .iter()
                .map(|(list, numbers, _)| {
                    let axes = Axes::new(list).unwrap();
                    Layer { data: Data::of(&multiplied(numbers, factor)), axes, position: 0, limit: axes.units() }
                })
                .collect();
            let units: usize = layers.iter().map(|layer| layer.axes.units()).sum();
            prune(&mut layers, recipe, &vec![0; tensors.len()], &[(share * units as f64) as usize]);
            layers.into_iter().map(|layer| layer.data).collect::<Vec<_>>()
        };
        let factor = 2f32.powi(exponent);
        for (plain, multiplied) in pruned(1.0).into_iter().zip(pruned(factor)) {
            let Data::Float32(plain) = plain else { unreachable!() };
            let plain: Vec<f32> = plain.into_iter().map(|bytes| f32::from_le_bytes(bytes) * factor).collect();
            prop_assert_eq!(Data::of(&plain), multiplied);
        }
    }

    #[test]
    fn layers_of_one_unit_are_ranked_like_one_layer(
        scores in proptest::collection::vec(any_finite(), 1..200),
        share in 0f64..=1.0,
    ) {
        let remove = (share * scores.len() as f64) as usize;
        let mut layers: Vec<Layer> = scores
            .iter()
            .map(|&score| Layer { data: Data::of(&[score]), axes: line(1), position: 0, limit: 1 })
            .collect();
        let recipe = Recipe::Weights { element: Element::Itself, reducer: Reducer::Mean, normalizer: None };
        prune(&mut layers, recipe, &vec![0; scores.len()], &[remove]);
        for (layer, (gone, score)) in layers.iter().zip(smallest(&scores, remove).into_iter().zip(&scores)) {
            prop_assert_eq!(&layer.data, &Data::of(&[if gone { 0.0 } else { *score }]));
        }
    }
}

#[test]
fn nothing_and_everything() {
    let weights = [1.0f32, -0.0, f32::MAX, -f32::from_bits(1), 0.0, -5.0];
    let recipe = Recipe::Weights { element: Element::Magnitude, reducer: Reducer::Mean, normalizer: None };
    for (remove, expected) in [(0, weights), (6, [0.0; 6])] {
        let mut layers = [Layer { data: Data::of(&weights), axes: line(6), position: 0, limit: 6 }];
        prune(&mut layers, recipe, &[0], &[remove]);
        assert_eq!(layers[0].data, Data::of(&expected));
    }
    // A group that has no such number of units loses all that it may.
    let mut layers = [Layer { data: Data::of(&weights), axes: line(6), position: 0, limit: 5 }];
    prune(&mut layers, recipe, &[0], &[1000]);
    assert_eq!(layers[0].data, Data::of(&[0.0, 0.0, f32::MAX, 0.0, 0.0, 0.0]));
}

#[test]
fn ten_million_equal_weights_go_in_canonical_order_in_either_layout() {
    let (out, inside) = (2500usize, 4000usize);
    let units = out * inside;
    let axis = |size, order| Axis::kept(size, order);
    for remove in [1, 3_333_333, units - 1] {
        for is_transposed in [false, true] {
            let list = if is_transposed { [axis(inside, 1), axis(out, 0)] } else { [axis(out, 0), axis(inside, 1)] };
            let axes = Axes::new(&list).unwrap();
            let mut numbers = vec![(-0.5f32).to_le_bytes(); units];
            let scores = Elements::new(Numbers::Float32(&numbers), Element::Magnitude, None).unwrap();
            let segment = Segment { scores, axes: &axes, earlier: None, group: 0, limit: units };
            let cut = select(&[segment], &[remove]).unwrap()[0];
            assert_eq!(cut.removed, remove);
            let mut bits = vec![0; words_for(units)];
            mask(&segment, cut, &mut bits).unwrap();
            apply(NumbersMut::Float32(&mut numbers), &axes, &bits).unwrap();
            for (position, number) in numbers.iter().enumerate() {
                let canonical = if is_transposed { position % out * inside + position / out } else { position };
                let expected = if canonical < remove { 0.0 } else { -0.5f32 };
                assert_eq!(*number, expected.to_le_bytes(), "{remove}, transposed: {is_transposed}, at {position}");
            }
        }
    }
}

#[test]
fn millions_of_few_values_are_cut_exactly_between_them() {
    let mut next = xorshift(5);
    let units = 3_000_001;
    let scores: Vec<f32> = (0..units).map(|_| [0.0, -0.0, 1e-42, 0.25][(next() >> 30) as usize]).collect();
    let zeros = scores.iter().filter(|score| **score == 0.0).count();
    for remove in [1, zeros - 1, zeros, zeros + 1, units / 3 * 2, units - 1, units] {
        assert_eq!(gone(&scores, &line(units), None, remove), smallest(&scores, remove));
    }
}

#[test]
fn normalized_scores_of_transposed_axes_are_the_same_bits() {
    let (out, inside) = (173, 211);
    let mut next = xorshift(9);
    let scores: Vec<f32> =
        (0..out * inside).map(|_| (next() >> 8) as f32 / 3.0 * 1.5f32.powi((next() % 40) as i32)).collect();
    let axis = |size, order| Axis::kept(size, order);
    let list = [axis(out, 0), axis(inside, 1)];
    let (moved, moved_list) = permuted(&scores, &list, &[1, 0]);
    let removed: Vec<bool> = (0..scores.len()).map(|_| next() < u32::MAX / 3).collect();
    let (moved_removed, _) = permuted(&removed, &list, &[1, 0]);
    let bits = |removed: &[bool]| {
        let mut bits = vec![u32::MAX; words_for(removed.len())];
        for unit in (0..removed.len()).filter(|&unit| removed[unit]) {
            bits[unit / 32] &= !(1 << (unit % 32));
        }
        bits
    };
    let all =
        [Normalizer::Sum, Normalizer::Mean, Normalizer::Max, Normalizer::L2, Normalizer::MinMax, Normalizer::Standard];
    for normalizer in all {
        for is_masked in [false, true] {
            let run = |scores: &[f32], list: &[Axis], removed: &[bool]| {
                let mut scores = scores.to_vec();
                let earlier = is_masked.then(|| bits(removed));
                normalize(&mut scores, &Axes::new(list).unwrap(), earlier.as_deref(), normalizer).unwrap();
                scores
            };
            let stored = run(&scores, &list, &removed);
            let transposed = run(&moved, &moved_list, &moved_removed);
            assert_eq!(Data::of(&permuted(&stored, &list, &[1, 0]).0), Data::of(&transposed), "{normalizer:?}");
        }
    }
}

#[test]
#[cfg_attr(target_family = "wasm", ignore = "there is one thread")]
fn any_number_of_threads_gives_the_same_bits() {
    let list = [Axis::reduced(7, 2), Axis::kept(131, 0), Axis::reduced(601, 1)];
    let axes = Axes::new(&list).unwrap();
    let mut next = xorshift(3);
    let weights: Vec<f32> =
        (0..axes.weights()).map(|_| (next() as i32) as f32 * 1.1f32.powi((next() % 90) as i32 - 45)).collect();
    let data = Data::of(&weights);
    let flat = line(axes.weights());
    let work = || {
        let mut results: Vec<Vec<f32>> = vec![];
        for reducer in [Reducer::Mean, Reducer::L2, Reducer::Max] {
            for axes in [&axes, &flat] {
                let mut scores = vec![0.0; axes.units()];
                let elements = Elements::new(data.numbers(), Element::Square, None).unwrap();
                score(elements, axes, reducer, &mut scores).unwrap();
                results.push(scores.clone());
                normalize(&mut scores, axes, None, Normalizer::Standard).unwrap();
                let gone = gone(&scores, axes, None, axes.units() / 3);
                results.push(scores);
                results.push(gone.into_iter().map(f32::from).collect());
            }
        }
        results.iter().map(|scores| Data::of(scores)).collect::<Vec<_>>()
    };
    let with = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work);
    let one = with(1);
    for threads in [2, 3, 8] {
        assert_eq!(with(threads), one, "{threads} threads");
    }
}
