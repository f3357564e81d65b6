//! The four verbs one after another, as a caller strings them together.
#![allow(dead_code, reason = "each test file has a copy of this module and uses a part of it")]

use sparsifier_kernels::{
    Axes, Axis, Element, Elements, Normalizer, Numbers, NumbersMut, Reducer, Segment, apply, mask, normalize, random,
    score, select, words_for,
};

/// Numbers as a file holds them.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    Float32(Vec<[u8; 4]>),
    Float16(Vec<[u8; 2]>),
    Bfloat16(Vec<[u8; 2]>),
}

impl Data {
    pub fn of(weights: &[f32]) -> Data {
        Data::Float32(weights.iter().map(|weight| weight.to_le_bytes()).collect())
    }

    pub fn numbers(&self) -> Numbers<'_> {
        match self {
            Data::Float32(numbers) => Numbers::Float32(numbers),
            Data::Float16(numbers) => Numbers::Float16(numbers),
            Data::Bfloat16(numbers) => Numbers::Bfloat16(numbers),
        }
    }

    pub fn numbers_mut(&mut self) -> NumbersMut<'_> {
        match self {
            Data::Float32(numbers) => NumbersMut::Float32(numbers),
            Data::Float16(numbers) => NumbersMut::Float16(numbers),
            Data::Bfloat16(numbers) => NumbersMut::Bfloat16(numbers),
        }
    }

    pub fn bytes(&self) -> &[u8] {
        match self {
            Data::Float32(numbers) => numbers.as_flattened(),
            Data::Float16(numbers) | Data::Bfloat16(numbers) => numbers.as_flattened(),
        }
    }
}

/// What a unit is worth.
#[derive(Clone, Copy, Debug)]
pub enum Recipe {
    Random { seed: u32 },
    Weights { element: Element, reducer: Reducer, normalizer: Option<Normalizer> },
}

pub struct Layer {
    pub data: Data,
    pub axes: Axes,
    /// The layer's position in the model.
    pub position: u32,
    /// The largest number of units that may go.
    pub limit: usize,
}

pub fn scores_of(layer: &Layer, recipe: Recipe) -> Vec<f32> {
    let mut scores = vec![0.0; layer.axes.units()];
    match recipe {
        Recipe::Random { seed } => random(seed, layer.position, &layer.axes, &mut scores).unwrap(),
        Recipe::Weights { element, reducer, normalizer } => {
            let elements = Elements::new(layer.data.numbers(), element, None).unwrap();
            score(elements, &layer.axes, reducer, &mut scores).unwrap();
            if let Some(normalizer) = normalizer {
                normalize(&mut scores, &layer.axes, None, normalizer).unwrap();
            }
        }
    }
    scores
}

/// Removes from each group of layers as many units as `removes` says. Layer `i` is in group `groups[i]`.
pub fn prune(layers: &mut [Layer], recipe: Recipe, groups: &[usize], removes: &[usize]) {
    let scores: Vec<Data> = layers.iter().map(|layer| Data::of(&scores_of(layer, recipe))).collect();
    let masks: Vec<Vec<u32>> = {
        let segments: Vec<Segment> = layers
            .iter()
            .zip(&scores)
            .zip(groups)
            .map(|((layer, scores), &group)| Segment {
                scores: Elements::new(scores.numbers(), Element::Itself, None).unwrap(),
                axes: &layer.axes,
                earlier: None,
                group,
                limit: layer.limit,
            })
            .collect();
        let cuts = select(&segments, removes).unwrap();
        segments
            .iter()
            .zip(cuts)
            .map(|(segment, cut)| {
                let alone = Segment { group: 0, limit: cut.removed, ..*segment };
                let cut = if cut.settled { cut } else { select(&[alone], &[cut.removed]).unwrap()[0] };
                let mut bits = vec![0; words_for(segment.axes.units())];
                mask(segment, cut, &mut bits).unwrap();
                bits
            })
            .collect()
    };
    for (layer, mask) in layers.iter_mut().zip(&masks) {
        apply(layer.data.numbers_mut(), &layer.axes, mask).unwrap();
    }
}

/// Which units a selection of `remove` of the scores takes away, by their stored number.
pub fn gone(scores: &[f32], axes: &Axes, earlier: Option<&[u32]>, remove: usize) -> Vec<bool> {
    let data = Data::of(scores);
    let numbers = Elements::new(data.numbers(), Element::Itself, None).unwrap();
    let segment = Segment { scores: numbers, axes, earlier, group: 0, limit: axes.units() };
    let cut = select(&[segment], &[remove]).unwrap()[0];
    assert!(cut.settled && cut.removed == remove);
    let mut bits = vec![0; words_for(axes.units())];
    mask(&segment, cut, &mut bits).unwrap();
    (0..axes.units()).map(|unit| bits[unit / 32] >> (unit % 32) & 1 == 0).collect()
}

/// One axis that counts units.
pub fn line(units: usize) -> Axes {
    Axes::new(&[Axis::kept(units, 0)]).unwrap()
}

/// Whole numbers that look random, the same for the same seed (xorshift32, Marsaglia 2003).
pub fn xorshift(seed: u32) -> impl FnMut() -> u32 {
    let mut state = seed;
    move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    }
}

/// A tensor with its axes in the stored order `order`.
pub fn permuted<T: Copy>(numbers: &[T], axes: &[Axis], order: &[usize]) -> (Vec<T>, Vec<Axis>) {
    let stride = |axis: usize| axes[axis + 1..].iter().map(|axis| axis.size).product::<usize>();
    let moved: Vec<Axis> = order.iter().map(|&axis| axes[axis]).collect();
    let numbers = (0..numbers.len())
        .map(|position| {
            let mut rest = position;
            let mut from = 0;
            for (axis, &old) in moved.iter().zip(order).rev() {
                from += rest % axis.size * stride(old);
                rest /= axis.size;
            }
            numbers[from]
        })
        .collect();
    (numbers, moved)
}
