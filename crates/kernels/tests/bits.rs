//! The same bits without JavaScript and wasm: the model and some of the calls of `tests/support/bits.ts`, made from
//! whole numbers likewise, against the digests that the other side is compared with, too.

mod support;

use sparsifier_kernels::{Axes, Axis, Element, Normalizer, Reducer};
use support::{Data, Layer, Recipe, prune, xorshift};

const RECORDED: &str = include_str!("../../../tests/golden/bits.json");

#[derive(Clone, Copy)]
enum Kind {
    Spread,
    Few,
    Halfway,
    Float16,
    Bfloat16,
}

struct Made {
    name: &'static str,
    /// Role and size of each stored axis. A transposed convolution's `in` is stored as `group` and `in`.
    axes: &'static [(&'static str, usize)],
    kind: Kind,
}

const MODEL: [Made; 10] = [
    Made { name: "conv", axes: &[("out", 24), ("in", 64), ("height", 9), ("width", 9)], kind: Kind::Spread },
    Made { name: "conv of tfjs", axes: &[("height", 3), ("width", 3), ("in", 48), ("out", 130)], kind: Kind::Spread },
    Made {
        name: "transposed",
        axes: &[("group", 3), ("in", 8), ("out", 16), ("height", 3), ("width", 3)],
        kind: Kind::Spread,
    },
    Made {
        name: "depthwise",
        axes: &[("height", 5), ("width", 5), ("out", 32), ("multiplier", 2)],
        kind: Kind::Spread,
    },
    Made { name: "conv1d", axes: &[("out", 40), ("in", 33), ("width", 7)], kind: Kind::Float16 },
    Made { name: "large", axes: &[("in", 601), ("out", 512)], kind: Kind::Spread },
    Made { name: "few", axes: &[("out", 500), ("in", 64)], kind: Kind::Few },
    Made { name: "lstm", axes: &[("out", 256), ("in", 100)], kind: Kind::Bfloat16 },
    Made { name: "gru", axes: &[("in", 4500), ("out", 48)], kind: Kind::Halfway },
    Made { name: "dense, halfway", axes: &[("in", 600), ("out", 400)], kind: Kind::Halfway },
];

/// In canonical order.
const ROLES: [&str; 6] = ["group", "out", "multiplier", "in", "height", "width"];
const CONVOLUTIONS: usize = 5;
const FILTER: &[&str] = &["in", "height", "width"];
const KERNEL: &[&str] = &["height", "width"];

fn layer(index: usize, spanned: &[&str]) -> Layer {
    let Made { axes, kind, .. } = MODEL[index];
    let mut next = xorshift(index as u32 + 1);
    let length = axes.iter().map(|(_, size)| size).product();
    let power = |exponent: u32| f32::from_bits((127 - exponent) << 23);
    let mut float = |place: usize| {
        let word = next();
        match kind {
            Kind::Spread => ((word >> 8) as i32 - (1 << 23)) as f32 * power(20 + (word & 7)),
            Kind::Few => [-1.0, -0.5, 0.5, 1.0][(word >> 30) as usize],
            _ => {
                let (rows, columns) = (axes[0].1, axes[1].1);
                let (row, column) = (place / columns, place % columns);
                match () {
                    () if row == (column * 7919 + 13) % rows => 1.0,
                    () if row == (column * 3571 + 977) % rows => power(24),
                    () if (word as usize) % rows < 6 => power(54),
                    () => 0.0,
                }
            }
        }
    };
    let data = match kind {
        Kind::Float16 | Kind::Bfloat16 => {
            let mut next = xorshift(index as u32 + 1);
            let halves = (0..length).map(|_| ((next() >> 16) as u16 & 0xbfff).to_le_bytes()).collect();
            if matches!(kind, Kind::Float16) { Data::Float16(halves) } else { Data::Bfloat16(halves) }
        }
        _ => Data::of(&(0..length).map(&mut float).collect::<Vec<_>>()),
    };
    let list: Vec<Axis> = axes
        .iter()
        .map(|&(role, size)| Axis {
            size,
            block: if spanned.contains(&role) { size } else { 1 },
            order: ROLES.iter().position(|&each| each == role).unwrap() as u8,
        })
        .collect();
    let axes = Axes::new(&list).unwrap();
    Layer { data, axes, position: index as u32, limit: axes.units() - 1 }
}

/// FNV-1a, 32 bits.
fn digest(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0x811c_9dc5, |hash: u32, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{hash:08x}")
}

/// What the file has for a layer after a call.
fn recorded(call: &str, layer: &str) -> &'static str {
    let text = &RECORDED[RECORDED.find(&format!("\"{call}\": {{")).expect(call)..];
    let text = &text[text.find(&format!("\"{layer}\": \"")).expect(layer) + layer.len() + 5..];
    &text[..8]
}

/// Removes 55 percent of the units of the first `count` layers, and compares all of them.
fn check(call: &str, spanned: &[&str], recipe: Recipe, count: usize) {
    let mut layers: Vec<Layer> = (0..count).map(|index| layer(index, spanned)).collect();
    let units: Vec<usize> = layers.iter().map(|layer| layer.axes.units()).collect();
    let share = |units: usize| (55.0 * units as f64 / 100.0).round_ties_even() as usize;
    if call.contains("global") {
        prune(&mut layers, recipe, &vec![0; count], &[share(units.iter().sum())]);
    } else {
        let removes: Vec<usize> = units.iter().map(|&units| share(units)).collect();
        prune(&mut layers, recipe, &(0..count).collect::<Vec<_>>(), &removes);
    }
    for (layer, Made { name, .. }) in layers.iter().zip(MODEL) {
        assert_eq!(digest(layer.data.bytes()), recorded(call, name), "{name} after {call}");
    }
}

fn magnitudes(reducer: Reducer, normalizer: Option<Normalizer>) -> Recipe {
    Recipe::Weights { element: Element::Magnitude, reducer, normalizer }
}

#[test]
fn weights() {
    check("weight local", &[], magnitudes(Reducer::Mean, None), MODEL.len());
    check("weight global", &[], magnitudes(Reducer::Mean, None), MODEL.len());
    check("weight global by l2", &[], magnitudes(Reducer::Mean, Some(Normalizer::L2)), MODEL.len());
    check("random weights", &[], Recipe::Random { seed: 12345 }, MODEL.len());
}

#[test]
fn kernels() {
    check("kernel local", KERNEL, magnitudes(Reducer::Mean, None), CONVOLUTIONS);
    check("kernel global sum", KERNEL, magnitudes(Reducer::Sum, None), CONVOLUTIONS);
}

#[test]
fn filters_by_each_reducer() {
    let reducers = [Reducer::Mean, Reducer::Sum, Reducer::L2, Reducer::Max];
    for (name, reducer) in ["mean", "sum", "l2", "max"].into_iter().zip(reducers) {
        check(&format!("filter local {name}"), FILTER, magnitudes(reducer, None), MODEL.len());
    }
    let squares = Recipe::Weights { element: Element::Square, reducer: Reducer::Mean, normalizer: None };
    check("squares of filters", FILTER, squares, MODEL.len());
}

#[test]
fn filters_by_each_normalizer() {
    check("filter global", FILTER, magnitudes(Reducer::Mean, None), MODEL.len());
    let normalizers = [
        ("sum", Normalizer::Sum),
        ("mean", Normalizer::Mean),
        ("max", Normalizer::Max),
        ("l2", Normalizer::L2),
        ("minmax", Normalizer::MinMax),
        ("standard", Normalizer::Standard),
    ];
    for (name, normalizer) in normalizers {
        let recipe = magnitudes(Reducer::Mean, Some(normalizer));
        check(&format!("filter global by {name}"), FILTER, recipe, MODEL.len());
    }
}
