//! Kernels on 25 million weights, natively and on all cores, beside one pass over the same memory:
//! `cargo bench -p sparsifier-kernels --features yardstick`.

use std::hint::black_box;
use std::sync::Mutex;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sparsifier_kernels::{
    Axes, Axis, Cut, Element, Elements, Numbers, NumbersMut, Pattern, Reducer, Removal, Segment, apply, inspect, mask,
    nm, pass, remove, score, select, words_for,
};

const OUT: usize = 1668;
const IN: usize = 1664;
const SIDE: usize = 3;
const WEIGHTS: usize = OUT * IN * SIDE * SIDE;

/// The axes of a convolution whose units span the last `reduced` of them.
fn axes(reduced: usize) -> Axes {
    let sizes = [OUT, IN, SIDE, SIDE];
    let axes: Vec<Axis> = (0u8..)
        .zip(sizes)
        .map(|(order, size)| {
            if usize::from(order) < sizes.len() - reduced {
                Axis::kept(size, order)
            } else {
                Axis::reduced(size, order)
            }
        })
        .collect();
    Axes::new(&axes).unwrap()
}

/// Spread about evenly between -1 and 1, by a linear congruential generator (Knuth 1981).
fn weights() -> Vec<[u8; 4]> {
    let mut state = 12345u32;
    (0..WEIGHTS)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state.cast_signed() as f32 / 2f32.powi(31)).to_le_bytes()
        })
        .collect()
}

fn segment<'a>(weights: &'a [[u8; 4]], axes: &'a Axes) -> Segment<'a> {
    let scores = Elements::new(Numbers::Float32(weights), Element::Magnitude, None).unwrap();
    Segment { scores, axes, earlier: None, group: 0, limit: WEIGHTS }
}

fn cut_of(weights: &[[u8; 4]], axes: &Axes) -> Cut {
    select(&[segment(weights, axes)], &[WEIGHTS / 2]).unwrap()[0]
}

fn kernels(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("25 million weights");
    group.sample_size(10).throughput(Throughput::Elements(WEIGHTS as u64));
    let [each, kernel, filter] = [0, 2, 3].map(axes);
    let mut weights = weights();
    let mut bits = vec![0; words_for(WEIGHTS)];

    group.bench_function("pass", |bencher| bencher.iter(|| pass(&mut weights, -1.0)));
    group.bench_function("inspect", |bencher| bencher.iter(|| inspect(black_box(Numbers::Float32(&weights)))));
    for (name, axes) in [("score, kernel", &kernel), ("score, filter", &filter)] {
        let elements = Elements::new(Numbers::Float32(&weights), Element::Magnitude, None).unwrap();
        let mut scores = vec![0.0; axes.units()];
        group.bench_function(name, |bencher| {
            bencher.iter(|| score(elements, axes, Reducer::Mean, black_box(&mut scores)).unwrap())
        });
    }
    group.bench_function("select, weight", |bencher| bencher.iter(|| cut_of(black_box(&weights), &each)));
    let cut = cut_of(&weights, &each);
    group.bench_function("mask, weight", |bencher| {
        bencher.iter(|| mask(&segment(&weights, &each), cut, black_box(&mut bits)).unwrap())
    });
    let pattern = Pattern { keep: 2, of: 4, size: IN, stride: SIDE * SIDE };
    group.bench_function("nm, 2:4", |bencher| {
        bencher.iter(|| nm(&segment(&weights, &each), pattern, black_box(&mut bits)).unwrap())
    });

    // From here on half of the weights are zero; the same ones become so again.
    mask(&segment(&weights, &each), cut, &mut bits).unwrap();
    group.bench_function("apply, weight", |bencher| {
        bencher.iter(|| apply(NumbersMut::Float32(&mut weights), &each, &bits).unwrap())
    });
    group.bench_function("remove, weight", |bencher| {
        bencher.iter(|| {
            let numbers = NumbersMut::Float32(&mut weights);
            let (element, zeroed) = (Element::Magnitude, Mutex::default());
            remove(&mut [Removal { numbers, element, axes: each, earlier: None, cut, bits: &mut bits, zeroed }])
                .unwrap();
        })
    });
    group.finish();
}

criterion_group!(benches, kernels);
criterion_main!(benches);
