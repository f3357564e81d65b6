//! Weights that are not finite show in the highest key wherever their scores do, whatever their bits are.

mod support;

use proptest::prelude::*;
use sparsifier_kernels::{
    Axes, Axis, Element, Elements, INFINITY_KEY, Numbers, Other, Pattern, Reducer, Segment, Survey, nm, score, select,
    survey, words_for,
};
use support::{Data, line};

type Formula = fn(f32, f32) -> f32;

/// The elements by definition, and whether they compare weights with other numbers.
const ELEMENTS: [(Element, bool, Formula); 14] = [
    (Element::Itself, false, |w, _| w),
    (Element::Magnitude, false, |w, _| w.abs()),
    (Element::Square, false, |w, _| w * w),
    (Element::NegativeMagnitude, false, |w, _| -w.abs()),
    (Element::Other, true, |_, v| v),
    (Element::OtherMagnitude, true, |_, v| v.abs()),
    (Element::NegativeOtherMagnitude, true, |_, v| -v.abs()),
    (Element::SmallerMagnitude, true, |w, v| if v.abs() < w.abs() { v.abs() } else { w.abs() }),
    (Element::NegativeLargerMagnitude, true, |w, v| if v.abs() > w.abs() { -v.abs() } else { -w.abs() }),
    (Element::MagnitudeIncrease, true, |w, v| w.abs() - v.abs()),
    (Element::Distance, true, |w, v| (w - v).abs()),
    (Element::WeightedDistance, true, |w, v| (w * (w - v)).abs()),
    (Element::SquaredProduct, true, |w, v| (w * v) * (w * v)),
    (Element::ScaledMagnitude, true, |w, v| w.abs() * v),
];

#[derive(Clone, Copy, Debug)]
enum Type {
    Float32,
    Float16,
    Bfloat16,
}

impl Type {
    /// How many bits the fraction has, and how many the exponent.
    fn bits(self) -> (u32, u32) {
        match self {
            Type::Float32 => (23, 8),
            Type::Float16 => (10, 5),
            Type::Bfloat16 => (7, 8),
        }
    }

    /// The bits of a number that is infinite or none: quiet where the highest bit of the payload is set, else signalling.
    fn not_finite(self, payload: u32, is_negative: bool) -> u32 {
        let (fraction, exponent) = self.bits();
        u32::from(is_negative) << (fraction + exponent) | ((1 << exponent) - 1) << fraction | payload >> (32 - fraction)
    }

    /// The bits of a number that is finite.
    fn finite(self, bits: u32) -> u32 {
        let (fraction, exponent) = self.bits();
        bits >> (31 - fraction - exponent) & !(1 << fraction)
    }

    fn data(self, bits: &[u32]) -> Data {
        let halves = || bits.iter().map(|&bits| (bits as u16).to_le_bytes()).collect();
        match self {
            Type::Float32 => Data::Float32(bits.iter().map(|bits| bits.to_le_bytes()).collect()),
            Type::Float16 => Data::Float16(halves()),
            Type::Bfloat16 => Data::Bfloat16(halves()),
        }
    }
}

fn any_type() -> impl Strategy<Value = Type> {
    proptest::sample::select(vec![Type::Float32, Type::Float16, Type::Bfloat16])
}

/// A payload: none, so that the number is infinite, a single bit, or any.
fn any_payload() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), Just(1 << 31), Just(1 << 25), any::<u32>()]
}

/// Bits of finite numbers, one of which is not finite unless its place is beyond the end.
fn any_bits() -> impl Strategy<Value = (Type, Vec<u32>)> {
    let bits = (proptest::collection::vec(any::<u32>(), 1..200), any::<prop::sample::Index>());
    (any_type(), bits, any_payload(), any::<bool>()).prop_map(|(kind, (bits, place), payload, is_negative)| {
        let mut bits: Vec<u32> = bits.into_iter().map(|bits| kind.finite(bits)).collect();
        let place = place.index(bits.len() + 1);
        bits[place..].iter_mut().take(1).for_each(|bits| *bits = kind.not_finite(payload, is_negative));
        (kind, bits)
    })
}

fn highest_of_survey(segment: &Segment) -> i32 {
    let mut counts = Survey::EMPTY;
    survey(segment, i32::MIN, i32::MAX, &mut counts, &mut []).unwrap();
    counts.highest
}

fn is_shown(scores: impl IntoIterator<Item = f32>) -> bool {
    scores.into_iter().any(|score| score.is_nan() || score == f32::INFINITY)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn weights_that_are_not_finite_show_where_their_scores_do(
        (kind, bits) in any_bits(),
        (other_kind, mut others) in any_bits(),
        (element, compares, formula) in proptest::sample::select(ELEMENTS.to_vec()),
        remove in any::<prop::sample::Index>(),
    ) {
        let units = bits.len();
        others.resize(units, 0);
        let (data, others) = (kind.data(&bits), other_kind.data(&others));
        let (numbers, others) = (data.numbers(), others.numbers());
        let scores = Elements::new(numbers, element, compares.then_some(Other::Each(others))).unwrap();
        let expected = is_shown((0..units).map(|unit| formula(numbers.at(unit), others.at(unit))));

        let axes = line(units);
        let segment = Segment { scores, axes: &axes, earlier: None, group: 0, limit: units };
        let cut = select(&[segment], &[1 + remove.index(units)]).unwrap()[0];
        prop_assert_eq!(cut.highest >= INFINITY_KEY, expected);
        prop_assert_eq!(highest_of_survey(&segment) >= INFINITY_KEY, expected);
        let pattern = Pattern { keep: 2, of: 4, size: units, stride: 1 };
        let highest = nm(&segment, pattern, &mut vec![0; words_for(units)]).unwrap();
        prop_assert_eq!(highest >= INFINITY_KEY, expected);
    }

    #[test]
    fn units_with_a_weight_that_is_not_finite_show_by_magnitudes_and_by_squares(
        (kind, bits) in any_bits(),
        is_square in any::<bool>(),
        reducer in proptest::sample::select(vec![Reducer::Mean, Reducer::Sum, Reducer::L2]),
        width in 1usize..20,
        is_transposed in any::<bool>(),
    ) {
        let rows = bits.len().div_ceil(width);
        let bits: Vec<u32> = bits.iter().copied().chain(std::iter::repeat(0)).take(rows * width).collect();
        let data = kind.data(&bits);
        let numbers = data.numbers();
        let list = if is_transposed {
            [Axis::reduced(rows, 1), Axis::kept(width, 0)]
        } else {
            [Axis::kept(rows, 0), Axis::reduced(width, 1)]
        };
        let axes = Axes::new(&list).unwrap();
        let mut scores = vec![0.0; axes.units()];
        let element = if is_square { Element::Square } else { Element::Magnitude };
        score(Elements::new(numbers, element, None).unwrap(), &axes, reducer, &mut scores).unwrap();
        // Squares of finite weights may be infinite, too.
        let all: Vec<f32> = (0..numbers.len()).map(|index| numbers.at(index)).collect();
        if is_shown(all.iter().map(|weight| weight.abs())) {
            prop_assert!(is_shown(scores.iter().copied()));
        }

        let written = Data::of(&scores);
        let own = line(scores.len());
        let scores_again = Elements::new(written.numbers(), Element::Itself, None).unwrap();
        let segment = Segment { scores: scores_again, axes: &own, earlier: None, group: 0, limit: scores.len() };
        let cut = select(&[segment], &[1]).unwrap()[0];
        prop_assert_eq!(cut.highest >= INFINITY_KEY, is_shown(scores));
    }
}

#[test]
fn one_negative_nan_among_many_weights_shows_in_every_type() {
    for kind in [Type::Float32, Type::Float16, Type::Bfloat16] {
        // As many as make a sample, a bracket and several tasks.
        let mut bits: Vec<u32> = (0..1u32 << 18).map(|unit| kind.finite(unit.wrapping_mul(2_654_435_761))).collect();
        bits[77_777] = kind.not_finite(1 << 31, true);
        let data = kind.data(&bits);
        let axes = line(bits.len());
        let elements: [Element; 3] = [Element::Itself, Element::Magnitude, Element::Square];
        for element in elements {
            let numbers: Numbers = data.numbers();
            let scores = Elements::new(numbers, element, None).unwrap();
            let segment = Segment { scores, axes: &axes, earlier: None, group: 0, limit: bits.len() };
            for remove in [1, bits.len() / 2, bits.len()] {
                assert!(
                    select(&[segment], &[remove]).unwrap()[0].highest >= INFINITY_KEY,
                    "{kind:?} {element:?} {remove}"
                );
            }
            assert!(highest_of_survey(&segment) >= INFINITY_KEY, "{kind:?} {element:?}");
        }
    }
}
