use super::pass::TASK;
use super::sample::{SAMPLE_RUN, sampled_place};
use super::*;
use crate::axes::{Axes, Axis, tests::any_axes};
use crate::bits::{is_kept, words_for};
use crate::elements::{Element, Elements};
use crate::keys::PIECE;
use crate::mask::mask;
use crate::numbers::Numbers;
use crate::scalar::key_of;
use proptest::prelude::*;

#[derive(Debug)]
struct Layer {
    scores: Vec<[u8; 4]>,
    axes: Axes,
    earlier: Option<Vec<u32>>,
    limit: usize,
}

fn layer(scores: &[f32], list: &[Axis]) -> Layer {
    let axes = Axes::new(list).unwrap();
    let scores = scores.iter().map(|score| score.to_le_bytes()).collect();
    Layer { scores, axes, earlier: None, limit: axes.units() }
}

fn flat(scores: &[f32]) -> Layer {
    layer(scores, &[Axis::kept(scores.len(), 0)])
}

fn segments(layers: &[Layer], group: impl Fn(usize) -> usize) -> Vec<Segment<'_>> {
    layers
        .iter()
        .enumerate()
        .map(|(i, layer)| Segment {
            scores: Elements::new(Numbers::Float32(&layer.scores), Element::Itself, None).unwrap(),
            axes: &layer.axes,
            earlier: layer.earlier.as_deref(),
            group: group(i),
            limit: layer.limit,
        })
        .collect()
}

/// Which units go, by sorting all of one group: (removed earlier first, score, layer, canonical number).
fn naive(layers: &[Layer], remove: usize) -> Vec<Vec<bool>> {
    let score = |layer: &Layer, unit: usize| f32::from_le_bytes(layer.scores[unit]);
    let mut all: Vec<(bool, f32, usize, usize, usize)> = vec![];
    for (i, layer) in layers.iter().enumerate() {
        for unit in 0..layer.axes.units() {
            let alive = layer.earlier.as_ref().is_none_or(|mask| is_kept(mask, unit));
            let score = if alive { score(layer, unit) } else { 0.0 };
            all.push((alive, score, i, layer.axes.canonical_unit(unit), unit));
        }
    }
    all.sort_by(|a, b| (a.0.cmp(&b.0)).then(a.1.partial_cmp(&b.1).unwrap()).then((a.2, a.3).cmp(&(b.2, b.3))));
    let mut gone: Vec<Vec<bool>> = layers.iter().map(|layer| vec![false; layer.axes.units()]).collect();
    let mut counts = vec![0; layers.len()];
    let mut left = remove;
    for (_, _, i, _, unit) in all {
        if left > 0 && counts[i] < layers[i].limit {
            gone[i][unit] = true;
            counts[i] += 1;
            left -= 1;
        }
    }
    gone
}

/// Which units go, by the kernels.
fn fast(layers: &[Layer], remove: usize) -> Vec<Vec<bool>> {
    let all = segments(layers, |_| 0);
    let cuts = select(&all, &[remove]).unwrap();
    all.iter()
        .zip(cuts)
        .map(|(segment, cut)| {
            let cut = if cut.settled { cut } else { select(&[*segment], &[cut.removed]).unwrap()[0] };
            let mut bits = vec![0; words_for(segment.axes.units())];
            mask(segment, cut, &mut bits).unwrap();
            let gone: Vec<bool> = (0..segment.axes.units()).map(|unit| !is_kept(&bits, unit)).collect();
            assert_eq!(gone.iter().filter(|gone| **gone).count(), cut.removed);
            gone
        })
        .collect()
}

fn any_layer() -> impl Strategy<Value = Layer> {
    any_axes().prop_flat_map(|list| {
        let list: Vec<Axis> = list.into_iter().map(|axis| Axis { block: 1, ..axis }).collect();
        let units: usize = list.iter().map(|axis| axis.size).product();
        let scores = proptest::collection::vec(
            prop_oneof![Just(0.0f32), Just(-0.0), (-3i8..3).prop_map(f32::from), -1f32..1.0, Just(1e-42)],
            units,
        );
        let earlier = proptest::option::of(proptest::collection::vec(any::<u32>(), words_for(units)));
        (Just(list), scores, earlier, 0..=units).prop_map(|(list, scores, earlier, limit)| Layer {
            earlier,
            limit,
            ..layer(&scores, &list)
        })
    })
}

proptest! {
    #[test]
    fn any_layers_lose_the_units_that_sorting_puts_first(layers in proptest::collection::vec(any_layer(), 1..5), share in 0f64..1.1) {
        let units: usize = layers.iter().map(|layer| layer.axes.units()).sum();
        let remove = (share * units as f64) as usize;
        prop_assert_eq!(fast(&layers, remove), naive(&layers, remove));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn limits_hold_in_sampled_rankings_of_any_values(
        seed in any::<u32>(),
        values in prop_oneof![Just(2u32), Just(50), Just(u32::MAX)],
        limits in proptest::array::uniform3(0f64..=1.0),
        share in 0f64..1.1,
    ) {
        let sizes = [SAMPLED, 5000, 31];
        let layers: Vec<Layer> = std::iter::zip(sizes, limits)
            .map(|(units, limit)| {
                let score = |unit: u32| ((unit ^ seed).wrapping_mul(2_654_435_761) % values) as f32;
                let scores: Vec<f32> = (0..units as u32).map(score).collect();
                Layer { limit: (limit * units as f64) as usize, ..flat(&scores) }
            })
            .collect();
        let remove = (share * sizes.iter().sum::<usize>() as f64) as usize;
        prop_assert!(fast(&layers, remove) == naive(&layers, remove));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn limits_hold_in_rankings_of_many_small_layers(
        seed in any::<u32>(),
        values in prop_oneof![Just(1u32), Just(20), Just(u32::MAX)],
        limits in proptest::collection::vec(0usize..12, 1..40),
        share in 0f64..1.1,
    ) {
        let layers: Vec<Layer> = (0..900u32)
            .map(|layer| {
                let score = |unit: u32| ((layer << 8 ^ unit ^ seed).wrapping_mul(2_654_435_761) % values) as f32;
                let scores: Vec<f32> = (0..1 + layer % 11).map(score).collect();
                Layer { limit: limits[layer as usize % limits.len()].min(scores.len()), ..flat(&scores) }
            })
            .collect();
        let units: usize = layers.iter().map(|layer| layer.axes.units()).sum();
        prop_assert!(units >= SAMPLED);
        let remove = (share * units as f64) as usize;
        prop_assert!(fast(&layers, remove) == naive(&layers, remove));
    }
}

#[test]
fn groups_are_ranked_by_themselves() {
    let layers = [flat(&[5.0, 1.0, 3.0]), flat(&[0.5, 0.1]), flat(&[2.0, 9.0])];
    let cuts = select(&segments(&layers, |i| [0, 1, 0][i]), &[2, 1]).unwrap();
    assert_eq!(cuts.iter().map(|cut| cut.removed).collect::<Vec<_>>(), [1, 1, 1]);
}

#[test]
fn each_of_many_groups_loses_its_own_number_of_units() {
    let groups = 30_000;
    let layers: Vec<_> = (0..2 * groups).map(|i| flat(if i < groups { &[0.0, 2.0] } else { &[1.0, 3.0] })).collect();
    let removes: Vec<_> = (0..groups).map(|group| group % 5).collect();
    let cuts = select(&segments(&layers, |i| i % groups), &removes).unwrap();
    for (group, &remove) in removes.iter().enumerate() {
        assert_eq!([cuts[group].removed, cuts[groups + group].removed], [remove.div_ceil(2), remove / 2], "{group}");
    }
}

#[test]
fn counts_are_exact_around_every_edge_of_buffers_and_tasks() {
    for units in [1, 31, 32, 33, PIECE - 1, PIECE, PIECE + 1, TASK - 1, TASK, TASK + 1, 2 * TASK + 5] {
        let equal = [flat(&vec![1.5; units])];
        let spread = [flat(&(0..units).map(|i| (i * 7919 % units) as f32).collect::<Vec<_>>())];
        for remove in [0, 1, units / 2, units - 1, units] {
            let gone = fast(&equal, remove);
            assert!(gone[0].iter().enumerate().all(|(unit, &gone)| gone == (unit < remove)));
            let gone = fast(&spread, remove);
            assert!(
                gone[0].iter().enumerate().all(|(unit, &gone)| gone == (unit * 7919 % units < remove)),
                "{units} {remove}"
            );
        }
    }
}

#[test]
fn brackets_that_hold_and_brackets_that_miss_give_the_same_cut() {
    let units = (1 << 18) + 4321;
    let runs = sample_size(units) / SAMPLE_RUN;
    let picked_by = |first: usize| -> Vec<usize> {
        let places = (0..runs).map(|run| sampled_place(run, runs, units, first));
        places.flat_map(|place| place..place + SAMPLE_RUN).collect()
    };
    let spread: Vec<f32> = (0..units).map(|i| ((i as u32).wrapping_mul(2_246_822_519) >> 8) as f32).collect();
    // Made against the samples: whatever they see is larger than all the rest.
    let mut misleading = spread.clone();
    picked_by(0).iter().for_each(|&unit| misleading[unit] += 1e9);
    let mut misleading_twice = misleading.clone();
    picked_by(runs).iter().for_each(|&unit| misleading_twice[unit] += 1e8);
    let two_valued: Vec<f32> = (0..units).map(|i| (i % 3 % 2) as f32).collect();
    let sorted: Vec<f32> = (0..units).map(|i| i as f32).collect();
    for scores in [spread, misleading, misleading_twice, two_valued, sorted, vec![0.0; units]] {
        for remove in [1, 100, units / 3, units / 2, units - 1] {
            let layers = [flat(&scores)];
            let cut = select(&segments(&layers, |_| 0), &[remove]).unwrap()[0];
            let mut keys: Vec<i32> = scores.iter().map(|&score| key_of(score)).collect();
            let key = *keys.select_nth_unstable(remove - 1).1;
            let ties = remove - keys.iter().filter(|&&each| each < key).count();
            let bound =
                scores.iter().enumerate().filter(|(_, score)| key_of(**score) == key).nth(ties - 1).unwrap().0 + 1;
            assert_eq!((cut.removed, cut.key), (remove, key));
            let all_ties = keys.iter().filter(|&&each| each == key).count() == ties;
            assert_eq!(cut.bound, if all_ties { units } else { bound });
        }
    }
}

#[test]
fn disagreeing_requests_are_refused() {
    let layers = [flat(&[1.0, 2.0])];
    let mut list = segments(&layers, |_| 0);
    assert!(select(&list, &[]).is_err());
    list[0].limit = 3;
    assert!(select(&list, &[1]).is_err());
    list[0].limit = 2;
    list[0].earlier = Some(&[]);
    assert!(select(&list, &[1]).is_err());
}
