//! A reducer of one's own, from outside of the crate: the smallest score of a unit's weights, beside its naive oracle.

use proptest::prelude::*;
use sparsifier_kernels::{Axes, Axis, Element, Elements, Fold, Numbers, reduce};

/// In stored order of the units.
fn smallest(weights: &[f32], axes: &Axes) -> Vec<f32> {
    let smaller = |a: f64, b: f64| if b < a { b } else { a };
    let fold = Fold { start: f64::INFINITY, step: smaller, merge: smaller, finish: |smallest, _| smallest };
    let bytes: Vec<[u8; 4]> = weights.iter().map(|weight| weight.to_le_bytes()).collect();
    let elements = Elements::new(Numbers::Float32(&bytes), Element::Magnitude, None).unwrap();
    let mut scores = vec![0.0; axes.units()];
    reduce(elements, axes, &fold, &mut scores).unwrap();
    scores
}

fn naive(weights: &[f32], rows: usize) -> Vec<f32> {
    let columns = weights.len() / rows;
    let row = |row: usize| weights[row * columns..][..columns].iter().fold(f32::INFINITY, |a, b| a.min(b.abs()));
    (0..rows).map(row).collect()
}

proptest! {
    #[test]
    fn the_smallest_of_each_row_and_column(
        (rows, columns) in prop_oneof![(1usize..40, 1usize..40), (1usize..4, 4000usize..9000), (4000usize..9000, 1usize..4)],
        seed in any::<u32>(),
    ) {
        let number = |i: usize| (i as u32 ^ seed).wrapping_mul(2_654_435_761) as i32 as f32;
        let weights: Vec<f32> = (0..rows * columns).map(number).collect();
        let transposed: Vec<f32> = (0..rows * columns).map(|i| weights[i % rows * columns + i / rows]).collect();
        let axes = |list: [Axis; 2]| Axes::new(&list).unwrap();
        let by_row = axes([Axis::kept(rows, 0), Axis::reduced(columns, 1)]);
        let by_column = axes([Axis::reduced(rows, 0), Axis::kept(columns, 1)]);
        prop_assert_eq!(smallest(&weights, &by_row), naive(&weights, rows));
        prop_assert_eq!(smallest(&weights, &by_column), naive(&transposed, columns));
    }
}
