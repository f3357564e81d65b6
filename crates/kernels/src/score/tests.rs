use super::units::{AT_ONCE, ROW, RUN, WIDTH};
use super::*;
use crate::axes::{Axis, tests::any_axes, tests::naive_places};
use crate::elements::{ChannelStep, Other};
use crate::numbers::Numbers;
use crate::simd::SUMS;
use proptest::prelude::*;

fn bytes(weights: &[f32]) -> Vec<[u8; 4]> {
    weights.iter().map(|weight| weight.to_le_bytes()).collect()
}

fn scores_of(weights: &[f32], list: &[Axis], element: Element, reducer: Reducer) -> Vec<f32> {
    let axes = Axes::new(list).unwrap();
    let mut scores = vec![0.0; axes.units()];
    let bytes = bytes(weights);
    score(Elements::new(Numbers::Float32(&bytes), element, None).unwrap(), &axes, reducer, &mut scores).unwrap();
    scores
}

/// Magnitudes are summed up by SIMD, and those of 16 bits on their way through a buffer.
fn check_magnitudes(weights: &[f32], list: &[Axis], reducer: Reducer) {
    let axes = Axes::new(list).unwrap();
    let magnitudes: Vec<f32> = weights.iter().map(|weight| weight.abs()).collect();
    let scores = scores_of(weights, list, Element::Magnitude, reducer);
    assert_eq!(scores, scores_of(&magnitudes, list, Element::Itself, reducer), "{reducer:?} {list:?}");
    // Any bits but those of what is not finite.
    let halves: Vec<[u8; 2]> =
        weights.iter().map(|weight| ((weight.to_bits() >> 9) as u16 & 0xbbff).to_le_bytes()).collect();
    for numbers in [Numbers::Float16(&halves), Numbers::Bfloat16(&halves)] {
        let widened: Vec<f32> = (0..numbers.len()).map(|index| numbers.at(index)).collect();
        let mut scores = vec![0.0; axes.units()];
        score(Elements::new(numbers, Element::Magnitude, None).unwrap(), &axes, reducer, &mut scores).unwrap();
        assert_eq!(scores, scores_of(&widened, list, Element::Magnitude, reducer), "{reducer:?} {list:?}");
    }
}

/// Weights of many scales that nearly cancel out in each unit, so that sums tell in which order they were taken.
fn telling_weights(list: &[Axis]) -> Vec<f32> {
    let places = naive_places(list);
    let mut counts = vec![0; places.len()];
    places.iter().for_each(|(unit, ..)| counts[*unit] += 1);
    let weight = |unit: usize, index: usize| {
        let bits = ((unit * 31 + index) as u32).wrapping_mul(2_654_435_761);
        (1.0 + (bits >> 9) as f32 * 2f32.powi(-23)) * 2f32.powi((bits % 61) as i32)
    };
    let weights = places.into_iter().map(|(unit, _, index)| match counts[unit] - 1 - index {
        partner if partner < index => -weight(unit, partner),
        _ => weight(unit, index),
    });
    weights.collect()
}

/// The scores of each unit's weights, in canonical order.
fn in_order(scores: &[f32], list: &[Axis]) -> Vec<Vec<f64>> {
    let mut places: Vec<_> = naive_places(list).into_iter().zip(scores).collect();
    places.sort_by_key(|((unit, _, index), _)| (*unit, *index));
    places
        .chunk_by(|((a, ..), _), ((b, ..), _)| a == b)
        .map(|unit| unit.iter().map(|(_, score)| f64::from(**score)).collect())
        .collect()
}

/// Sums by definition: eight lanes, a tree of these, runs in order.
fn sum(scores: impl Iterator<Item = f64>) -> f64 {
    let runs: Vec<f64> = scores.collect();
    let lanes = |run: &[f64]| -> [f64; SUMS] {
        std::array::from_fn(|lane| run.iter().skip(lane).step_by(SUMS).fold(0.0, |sum, score| sum + score))
    };
    let tree = |[a, b, c, d, e, f, g, h]: [f64; SUMS]| ((a + e) + (c + g)) + ((b + f) + (d + h));
    runs.chunks(RUN).fold(0.0, |sum, run| sum + tree(lanes(run)))
}

fn naive(weights: &[f32], list: &[Axis], reducer: Reducer) -> Vec<f32> {
    let score = |unit: &Vec<f64>| match reducer {
        Reducer::Mean => sum(unit.iter().copied()) / unit.len() as f64,
        Reducer::Sum => sum(unit.iter().copied()),
        Reducer::L2 => sum(unit.iter().map(|x| x * x)).sqrt(),
        Reducer::Max => unit.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    };
    in_order(weights, list).iter().map(|unit| score(unit) as f32).collect()
}

const REDUCERS: [Reducer; 4] = [Reducer::Mean, Reducer::Sum, Reducer::L2, Reducer::Max];

fn check(list: &[Axis], reducer: Reducer) {
    let weights = telling_weights(list);
    let scores = scores_of(&weights, list, Element::Itself, reducer);
    assert_eq!(scores, naive(&weights, list, reducer), "{reducer:?} {list:?}");
    check_magnitudes(&weights, list, reducer);
}

proptest! {
    #[test]
    fn any_axes_agree_with_the_definition(list in any_axes(), reducer in proptest::sample::select(REDUCERS.to_vec())) {
        check(&list, reducer);
    }

    /// Units that are far apart, near, in tiles; lines longer than a piece; more than one run or buffer.
    #[test]
    fn large_axes_agree_with_the_definition(
        sizes in (1usize..20, 1usize..500, 1usize..4, 1usize..4),
        blocks in proptest::array::uniform4(prop_oneof![Just(1), Just(1000), 1usize..6]),
        orders in Just([0, 1, 2, 3]).prop_shuffle(),
        stored in Just([0, 1, 2, 3]).prop_shuffle(),
        reducer in proptest::sample::select(REDUCERS.to_vec()),
    ) {
        let sizes = [sizes.0, sizes.1, sizes.2, sizes.3];
        check(&stored.map(|i| Axis { size: sizes[i], block: blocks[i].min(sizes[i]), order: orders[i] }), reducer);
    }
}

#[test]
fn units_at_the_edges_of_lanes_runs_and_widths_agree_with_the_definition() {
    for count in [1, 2, 7, 8, 9, 255, 256, 257, RUN - 1, RUN, RUN + 1, 2 * RUN + 3] {
        let most = if count >= RUN - 1 { 3 } else { WIDTH + 1 };
        for units in [1, 3, WIDTH - 1, WIDTH, WIDTH + 1].into_iter().filter(|&units| units <= most) {
            check(&[Axis::kept(units, 0), Axis::reduced(count, 1)], Reducer::Sum);
            check(&[Axis::reduced(count, 1), Axis::kept(units, 0)], Reducer::Sum);
            check(&[Axis::reduced(3, 2), Axis::kept(units, 0), Axis::reduced(count, 1)], Reducer::Sum);
        }
    }
    check(&[Axis::reduced(RUN, 1), Axis::kept(WIDTH + 1, 0)], Reducer::Sum);
    // A last run that leaves lanes unused, of rows beside each other.
    for rest in [1, 3, 7, 8, SUMS * AT_ONCE - 1, SUMS * AT_ONCE + 1] {
        check(&[Axis::reduced(RUN + rest, 1), Axis::kept(ROW + 3, 0)], Reducer::Sum);
    }
}

#[test]
fn tiles_at_the_edges_of_runs_agree_with_the_definition() {
    for block in [RUN - 1, RUN, RUN + 1, 5000] {
        for size in [block, block + 1, 2 * block - 1, 2 * block, 2 * block + 1] {
            check(&[Axis { size, block, order: 1 }], Reducer::Sum);
            check(&[Axis::kept(2, 0), Axis { size, block, order: 1 }], Reducer::Mean);
            check(&[Axis { size, block, order: 1 }, Axis::kept(2, 0)], Reducer::Sum);
            check(&[Axis { size: 3, block: 2, order: 2 }, Axis { size, block, order: 1 }], Reducer::Sum);
        }
    }
}

#[test]
fn a_transposed_tensor_has_the_same_scores_bit_for_bit() {
    let (out, rest) = (37, 5000);
    let weights = telling_weights(&[Axis::kept(out, 0), Axis::reduced(rest, 1)]);
    let transposed: Vec<f32> = (0..out * rest).map(|i| weights[i % out * rest + i / out]).collect();
    let out_axis = Axis::kept(out, 0);
    let rest_axis = Axis::reduced(rest, 1);
    for reducer in REDUCERS {
        assert_eq!(
            scores_of(&weights, &[out_axis, rest_axis], Element::Itself, reducer),
            scores_of(&transposed, &[rest_axis, out_axis], Element::Itself, reducer)
        );
    }
}

#[test]
fn each_element_follows_its_formula() {
    let (w, v) = ([-3.0f32, 0.5, 2.0, -0.0], [1.0f32, -0.75, -2.0, 4.0]);
    let (weights, others) = (bytes(&w), bytes(&v));
    let scored = |element, other| {
        let axes = Axes::new(&[Axis::kept(4, 0)]).unwrap();
        let mut scores = [0.0; 4];
        let elements = Elements::new(Numbers::Float32(&weights), element, other).unwrap();
        score(elements, &axes, Reducer::Mean, &mut scores).unwrap();
        let mut read = [0.0; 4];
        elements.read(0, &mut read);
        assert_eq!(read, scores);
        scores
    };
    type Formula = fn(f32, f32) -> f32;
    let table: [(Element, Formula); 10] = [
        (Element::Other, |_, v| v),
        (Element::OtherMagnitude, |_, v| v.abs()),
        (Element::NegativeOtherMagnitude, |_, v| -v.abs()),
        (Element::SmallerMagnitude, |w, v| w.abs().min(v.abs())),
        (Element::NegativeLargerMagnitude, |w, v| -w.abs().max(v.abs())),
        (Element::MagnitudeIncrease, |w, v| w.abs() - v.abs()),
        (Element::Distance, |w, v| (w - v).abs()),
        (Element::WeightedDistance, |w, v| (w * (w - v)).abs()),
        (Element::SquaredProduct, |w, v| (w * v) * (w * v)),
        (Element::ScaledMagnitude, |w, v| w.abs() * v),
    ];
    for (element, formula) in table {
        let expected = std::array::from_fn(|i| formula(w[i], v[i]));
        assert_eq!(scored(element, Some(Other::Each(Numbers::Float32(&others)))), expected, "{element:?}");
    }
    assert_eq!(scored(Element::NegativeMagnitude, None), w.map(|w| -w.abs()));
    let steps = [ChannelStep { stride: 1, size: 2, factor: 1 }, ChannelStep { stride: 2, size: 2, factor: 2 }];
    let channels = Other::Channels { numbers: Numbers::Float32(&others), steps };
    assert_eq!(scored(Element::ScaledMagnitude, Some(channels)), std::array::from_fn(|i| w[i].abs() * v[i]));
}

#[test]
fn lengths_that_disagree_are_refused() {
    let axes = Axes::new(&[Axis::kept(4, 0)]).unwrap();
    let elements = Elements::new(Numbers::Float32(&[[0; 4]; 3]), Element::Magnitude, None).unwrap();
    assert!(score(elements, &axes, Reducer::Mean, &mut [0.0; 4]).is_err());
}
