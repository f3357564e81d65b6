//! Moments and fits: recorded cases (`tests/golden/repair`, made by numpy in `f64`), and naive definitions for any shape.

use std::collections::HashMap;

use proptest::prelude::*;
use serde_json::Value;
use sparsifier_kernels::{
    Axes, Axis, Fit, Fitting, Geometry, Inputs, Layout, Moments, Numbers, NumbersMut, Seen, diagonal, finish, fit,
    fit_layer, moments, sums_width, words_for,
};

const CASES: &str = include_str!("../../../tests/golden/repair/cases.json");
const BITS: &str = include_str!("../../../tests/golden/repair/bits.json");
const TENSORS: &[u8] = include_bytes!("../../../tests/golden/repair/cases.safetensors");

struct Tensor {
    shape: Vec<usize>,
    numbers: Vec<f64>,
}

impl Tensor {
    fn floats(&self) -> Vec<f32> {
        self.numbers.iter().map(|number| *number as f32).collect()
    }
}

fn tensors() -> HashMap<String, Tensor> {
    let length = u64::from_le_bytes(TENSORS[..8].try_into().unwrap()) as usize;
    let (header, data) = (&TENSORS[8..8 + length], &TENSORS[8 + length..]);
    let header: HashMap<String, Value> = serde_json::from_slice(header).unwrap();
    let tensor = |value: &Value| {
        let sizes = |key: &str| -> Vec<usize> {
            value[key].as_array().unwrap().iter().map(|size| size.as_u64().unwrap() as usize).collect()
        };
        let range = sizes("data_offsets");
        let bytes = &data[range[0]..range[1]];
        let numbers = match value["dtype"].as_str().unwrap() {
            "F32" => bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes).into()).collect(),
            "F64" => bytes.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect(),
            "U8" => bytes.iter().map(|byte| f64::from(*byte)).collect(),
            other => panic!("{other}"),
        };
        Tensor { shape: sizes("shape"), numbers }
    };
    header
        .iter()
        .filter(|(name, _)| *name != "__metadata__")
        .map(|(name, value)| (name.clone(), tensor(value)))
        .collect()
}

/// The sizes of an axis list of up to three, along depth, height and width.
fn space<T: Copy>(sizes: &[T], missing: T) -> [T; 3] {
    let mut all = [missing; 3];
    all[3 - sizes.len()..].copy_from_slice(sizes);
    all
}

/// Moments, means and the number of rows, as statistics have them.
struct Finished {
    second: Vec<f32>,
    means: [Vec<f32>; 2],
    rows: f64,
}

fn finished(sums: &[f64], groups: usize, columns: usize, width: usize, symmetric: bool) -> Finished {
    let rows = sums[columns * width + columns];
    let mut finished = Finished { second: vec![], means: [vec![], vec![]], rows };
    for sums in sums.chunks_exact(width * width).take(groups) {
        for i in 0..columns {
            for j in 0..columns {
                let (a, b) = if symmetric && i > j { (j, i) } else { (i, j) };
                let second = sums[a * width + b] / rows;
                finished.second.push(second as f32);
            }
            finished.means[0].push((sums[i * width + columns] / rows) as f32);
            let place = if symmetric { i * width + columns } else { columns * width + i };
            finished.means[1].push((sums[place] / rows) as f32);
        }
    }

    let (mut results, mut means) = (vec![f32::NAN; groups * columns * columns], vec![f32::NAN; groups * columns]);
    let mut second_means = (!symmetric).then(|| means.clone());
    finish(groups, columns, sums, &mut results, &mut means, second_means.as_deref_mut()).unwrap();
    assert_eq!(means, finished.means[0]);
    assert_eq!(second_means.unwrap_or(means), finished.means[1]);
    assert_eq!(results, finished.second);
    finished
}

fn largest(numbers: &[f64]) -> f64 {
    numbers.iter().fold(0.0, |most, number| most.max(number.abs()))
}

#[track_caller]
fn assert_near(found: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let bound = tolerance * largest(expected);
    for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
        let difference = (f64::from(*found) - expected).abs();
        assert!(difference <= bound, "{what}, {place}: {found} is not {expected}; {difference} is over {bound}");
    }
}

fn geometry_of(case: &Value, groups: usize, columns: usize, channels: usize) -> Geometry {
    let list = |key: &str| -> Vec<usize> {
        case[key]
            .as_array()
            .map(|list| list.iter().map(|size| size.as_u64().unwrap() as usize).collect())
            .unwrap_or_default()
    };
    let shape = list("shape");
    let kernel = if shape.is_empty() { vec![] } else { shape[2..].to_vec() };
    let inputs = if shape.is_empty() { columns } else { channels / groups };
    let pads: Vec<isize> = list("pads").iter().take(kernel.len()).map(|pad| *pad as isize).collect();
    Geometry {
        groups,
        inputs,
        kernel: space(&kernel, 1),
        strides: space(&list("strides"), 1),
        pads: space(&pads, 0),
        dilations: space(&list("dilations"), 1),
        transposed: case["kind"].as_str().unwrap().starts_with("convTranspose"),
    }
}

/// The output positions along an axis.
fn positions(geometry: &Geometry, axis: usize, size: usize, end: usize) -> usize {
    let Geometry { kernel, strides, pads, dilations, transposed, .. } = *geometry;
    let (pads, reach) = (pads[axis] as usize + end, (kernel[axis] - 1) * dilations[axis] + 1);
    if transposed { (size - 1) * strides[axis] + reach - pads } else { (size + pads - reach) / strides[axis] + 1 }
}

#[test]
fn recorded_cases_agree_within_their_tolerances() {
    let all = tensors();
    let cases: Value = serde_json::from_str(CASES).unwrap();
    let cases = cases["cases"].as_array().unwrap();
    let bits: HashMap<String, String> = serde_json::from_str(BITS).unwrap();
    assert_eq!(cases.len(), 16);
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let of = |key: &str| all.get(&format!("{name}/{key}"));
        let at = |key: &str| of(key).unwrap_or_else(|| panic!("{name}/{key}"));
        let groups = case["groups"].as_u64().unwrap() as usize;
        let (weights, input) = (at("weight"), at("input"));
        let (rows, columns) = (weights.shape[0], weights.shape[1]);
        let floats = input.floats();
        let dense = of("cross").is_some();

        // The inputs of the dense model come before those of the pruned one.
        let shape = if dense { &input.shape[1..] } else { &input.shape[..] };
        let geometry = geometry_of(case, groups, columns, shape[1]);
        let size: Vec<usize> = shape[2..].to_vec();
        let ends: Vec<usize> = case["pads"]
            .as_array()
            .map(|pads| pads[size.len()..].iter().map(|pad| pad.as_u64().unwrap() as usize).collect())
            .unwrap_or_default();
        let (size, ends): ([usize; 3], [usize; 3]) = (space(&size, 1), space::<usize>(&ends, 0));
        let spatial: usize = size.iter().product();
        let each = shape.iter().product::<usize>();
        let layout = Inputs {
            numbers: &[],
            samples: shape[0],
            space: size,
            positions: std::array::from_fn(|axis| positions(&geometry, axis, size[axis], ends[axis])),
            steps: [shape[1] * spatial, spatial, size[1] * size[2], size[2], 1],
        };
        let width = sums_width(geometry.columns());
        let add = |first: &[f32], second: Option<&[f32]>| {
            let mut sums = vec![0.0; groups * width * width];
            let second = second.map(|numbers| Inputs { numbers, ..layout });
            moments(&geometry, &Inputs { numbers: first, ..layout }, second.as_ref(), &mut sums).unwrap();
            finished(&sums, groups, columns, width, second.is_none())
        };
        let pruned = add(&floats[floats.len() - each..], None);
        assert_near(&pruned.second, &at("moment").numbers, 1e-6, &format!("{name}: moment"));
        assert_near(&pruned.means[0], &at("mean").numbers, 1e-6, &format!("{name}: mean"));
        let whole = dense.then(|| (add(&floats[..each], None), add(&floats[..each], Some(&floats[each..]))));
        if let Some((dense, cross)) = &whole {
            assert_near(&dense.second, &at("denseMoment").numbers, 1e-6, &format!("{name}: dense moment"));
            assert_near(&cross.second, &at("cross").numbers, 1e-6, &format!("{name}: cross moment"));
            assert_eq!(cross.means, [dense.means[0].clone(), pruned.means[0].clone()]);
            assert_eq!(cross.rows, pruned.rows);
        }

        let kept: Vec<u8> = at("mask").numbers.iter().map(|number| *number as u8).collect();
        let seen = Seen {
            pruned: Moments { moment: &pruned.second, mean: &pruned.means[0] },
            dense: whole.as_ref().map(|(dense, cross)| {
                (Moments { moment: &dense.second, mean: &dense.means[0] }, cross.second.as_slice())
            }),
        };
        let weights = weights.floats();
        let means = weights.chunks_exact(columns).enumerate().map(|(row, weights)| {
            let means =
                &seen.dense.map_or(seen.pruned.mean, |(dense, _)| dense.mean)[row / (rows / groups) * columns..];
            weights.iter().zip(means).map(|(weight, mean)| f64::from(*weight) * f64::from(*mean)).sum::<f64>()
        });
        let scale = largest(&means.collect::<Vec<f64>>());
        for (key, checks, has_bias, tolerance) in [
            ("cg3", vec![3], true, 1e-5),
            ("cg10", vec![10], true, 1e-5),
            ("rawCg3", vec![3], false, 1e-4),
            ("mask", vec![0], true, 0.0),
            ("best", vec![0, 1, 3, 10], true, 0.0),
        ] {
            let problem = Fit {
                groups,
                outputs: rows / groups,
                columns,
                weights: &weights,
                kept: &kept,
                seen,
                held_out: None,
                ridge: case["ridge"].as_f64().unwrap(),
                checks: &checks,
                has_bias,
                without_empty: false,
                round: |number| number,
            };
            let (mut solution, mut shift) = (vec![f32::NAN; weights.len()], vec![f32::NAN; rows]);
            let fitted = fit(&problem, &mut solution, &mut shift).unwrap();
            if key == "best" {
                let numbers = [&pruned.second, &pruned.means[0], &solution, &shift];
                let bytes = numbers.into_iter().flatten().flat_map(|number| number.to_le_bytes());
                let hash = bytes.fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
                assert_eq!(format!("{hash:08x}"), bits[name], "{name}");
                continue;
            }
            if key != "mask" {
                assert_near(&solution, &at(key).numbers, tolerance, &format!("{name}: {key}"));
            }
            for (place, kept) in kept.iter().enumerate() {
                assert!(*kept == 1 || solution[place].to_bits() == 0, "{name}: a removed weight is not +0.0");
            }
            let error = (fitted.solved / fitted.whole).sqrt();
            let expected = |key: &str| {
                let errors: Vec<f64> =
                    case["errors"][key].as_array().unwrap().iter().map(|error| error.as_f64().unwrap()).collect();
                (groups == 1).then(|| errors[0])
            };
            if let Some(expected) = expected(if key == "mask" { "maskWithBias" } else { key }) {
                assert!((error - expected).abs() <= 1e-4, "{name}: {key} has an error of {error}, not {expected}");
            }
            if let Some(expected) = expected("mask") {
                let error = (fitted.masked / fitted.whole).sqrt();
                assert!((error - expected).abs() <= 1e-4, "{name}: the mask has an error of {error}, not {expected}");
            }
            if has_bias {
                let expected = &at(&format!("{key}Bias")).numbers;
                for (found, expected) in shift.iter().zip(expected) {
                    assert!(
                        (f64::from(*found) - expected).abs() <= 1e-5 * scale,
                        "{name}: {key}Bias {found} {expected}"
                    );
                }
            }
        }
    }
}

/// A layer and a batch, of which everything is small.
#[derive(Clone, Debug)]
struct Small {
    geometry: Geometry,
    samples: usize,
    space: [usize; 3],
    ends: [usize; 3],
    /// The order of samples, channels and space in memory.
    order: [usize; 5],
}

prop_compose! {
    fn any_small()(
        (groups, inputs, samples) in (1usize..4, 1usize..4, 1usize..4),
        kernel in [1usize..3, 1usize..4, 1usize..4],
        strides in [1usize..3, 1usize..3, 1usize..3],
        pads in [0isize..2, 0isize..3, -1isize..3],
        dilations in [1usize..3, 1usize..3, 1usize..3],
        space in [1usize..3, 1usize..6, 1usize..6],
        ends in [0usize..2, 0usize..2, 0usize..3],
        transposed in any::<bool>(),
        order in Just([0, 1, 2, 3, 4]).prop_shuffle(),
    ) -> Small {
        Small { geometry: Geometry { groups, inputs, kernel, strides, pads, dilations, transposed }, samples, space, ends, order }
    }
}

impl Small {
    fn steps(&self) -> [usize; 5] {
        let sizes =
            [self.samples, self.geometry.groups * self.geometry.inputs, self.space[0], self.space[1], self.space[2]];
        let (mut steps, mut step) = ([0; 5], 1);
        for axis in self.order {
            steps[axis] = step;
            step *= sizes[axis];
        }
        steps
    }

    fn length(&self) -> usize {
        self.samples * self.geometry.groups * self.geometry.inputs * self.space.iter().product::<usize>()
    }

    /// By the definition of a convolution: which input meets which place of the kernel at which position of the output.
    fn meets(&self, axis: usize, position: usize, place: usize, at: usize) -> bool {
        let Geometry { strides, pads, dilations, transposed, .. } = self.geometry;
        let [position, place, at, stride, dilation] =
            [position, place, at, strides[axis], dilations[axis]].map(|number| number as isize);
        let (narrow, wide) = if transposed { (at, position) } else { (position, at) };
        wide == narrow * stride + place * dilation - pads[axis]
    }

    fn naive_rows(&self, numbers: &[f32], group: usize, positions: [usize; 3]) -> Vec<Vec<f64>> {
        let Geometry { inputs, kernel, .. } = self.geometry;
        let steps = self.steps();
        let triples = |sizes: [usize; 3]| {
            (0..sizes[0]).flat_map(move |d| (0..sizes[1]).flat_map(move |h| (0..sizes[2]).map(move |w| [d, h, w])))
        };
        let mut rows = vec![];
        for sample in 0..self.samples {
            for position in triples(positions) {
                let mut row = vec![];
                for channel in 0..inputs {
                    for place in triples(kernel) {
                        let found = triples(self.space)
                            .find(|at| (0..3).all(|axis| self.meets(axis, position[axis], place[axis], at[axis])));
                        let start = sample * steps[0] + (group * inputs + channel) * steps[1];
                        row.push(found.map_or(0.0, |at| {
                            f64::from(numbers[start + at[0] * steps[2] + at[1] * steps[3] + at[2] * steps[4]])
                        }));
                    }
                }
                rows.push(row);
            }
        }
        rows
    }
}

/// Numbers that look random, with a mean that is not 0.
fn floats(seed: u32, length: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as f32 / (1 << 24) as f32 - 0.4
    };
    (0..length).map(|_| next()).collect()
}

/// Minimises `v H v' - 2 g v'` on the kept places, by Gaussian elimination.
fn naive_fit(h: &[Vec<f64>], g: &[f64], kept: &[u8]) -> Vec<f64> {
    let places: Vec<usize> = (0..g.len()).filter(|place| kept[*place] == 1).collect();
    let mut rows: Vec<Vec<f64>> =
        places.iter().map(|&i| places.iter().map(|&j| h[i][j]).chain([g[i]]).collect()).collect();
    for pivot in 0..rows.len() {
        let top = rows[pivot].clone();
        for (index, row) in rows.iter_mut().enumerate() {
            let factor = if index == pivot || top[pivot] == 0.0 { 0.0 } else { row[pivot] / top[pivot] };
            row.iter_mut().zip(&top).for_each(|(number, top)| *number -= factor * top);
        }
    }
    let mut solution = vec![0.0; g.len()];
    for (row, place) in places.iter().enumerate() {
        // Of an input that is always 0, any weight will do.
        solution[*place] = if rows[row][row] == 0.0 { 0.0 } else { rows[row][places.len()] / rows[row][row] };
    }
    solution
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..Default::default() })]

    #[test]
    fn any_layer_agrees_with_the_definition(
        small in any_small(),
        seed in any::<u32>(),
        outputs in 1usize..4,
        (share, has_bias, differs) in (0u32..11, any::<bool>(), any::<bool>()),
    ) {
        let Small { geometry, samples, space, .. } = small;
        // A position is one whose kernel may lie over the input, or beside it.
        let positions = std::array::from_fn(|axis| {
            let Geometry { kernel, strides, pads, dilations, transposed, .. } = geometry;
            let reach = ((kernel[axis] - 1) * dilations[axis] + 1) as isize;
            let (size, stride) = (space[axis] as isize, strides[axis] as isize);
            let padded = pads[axis] + small.ends[axis] as isize;
            let count = if transposed { (size - 1) * stride + reach - padded } else { (size + padded - reach) / stride + 1 };
            count.max(1) as usize
        });
        let (columns, width) = (geometry.columns(), sums_width(geometry.columns()));
        let batches = [floats(seed, small.length()), floats(seed ^ 0x55, small.length())];
        let inputs = batches.each_ref().map(|numbers| Inputs { numbers, samples, space, positions, steps: small.steps() });
        let add = |first: usize, second: Option<usize>| {
            let mut sums = vec![0.0; geometry.groups * width * width];
            moments(&geometry, &inputs[first], second.map(|second| &inputs[second]), &mut sums).unwrap();
            finished(&sums, geometry.groups, columns, width, second.is_none())
        };
        let (pruned, dense, cross) = (add(0, None), add(1, None), add(1, Some(0)));
        let rows: Vec<[Vec<Vec<f64>>; 2]> = (0..geometry.groups)
            .map(|group| batches.each_ref().map(|numbers| small.naive_rows(numbers, group, positions)))
            .collect();
        let mut expected = [vec![], vec![], vec![]];
        let mut means = [vec![], vec![]];
        for rows in &rows {
            let count = rows[0].len() as f64;
            for (list, (a, b)) in expected.iter_mut().zip([(0, 0), (1, 1), (1, 0)]) {
                for i in 0..columns {
                    for j in 0..columns {
                        list.push(rows[a].iter().zip(&rows[b]).map(|(a, b)| a[i] * b[j]).sum::<f64>() / count);
                    }
                }
            }
            for (list, rows) in means.iter_mut().zip(rows) {
                list.extend((0..columns).map(|column| rows.iter().map(|row| row[column]).sum::<f64>() / count));
            }
        }
        let mut sums = vec![0.0; geometry.groups * 2 * width];
        diagonal(&geometry, &inputs[0], &mut sums).unwrap();
        for (group, sums) in sums.chunks_exact(2 * width).enumerate() {
            prop_assert_eq!(sums[columns], pruned.rows);
            for column in 0..columns {
                let column_of = |row: &Vec<f64>| row[column];
                let squares: f64 = rows[group][0].iter().map(column_of).map(|number| number * number).sum();
                let total: f64 = rows[group][0].iter().map(column_of).sum();
                prop_assert!((sums[column] - squares).abs() <= 1e-9 && (sums[width + column] - total).abs() <= 1e-9);
            }
        }
        let scale = largest(&expected[0]).max(largest(&expected[1]));
        for (found, expected) in [&pruned, &dense, &cross].iter().zip(&expected) {
            for (found, expected) in found.second.iter().zip(expected) {
                // Sums of up to 64 products are rounded 64 times, each time by up to 2^-24.
                prop_assert!((f64::from(*found) - expected).abs() <= 4e-6 * scale, "{found} is not {expected}");
            }
        }
        for (found, expected) in pruned.means[0].iter().chain(&cross.means[0]).zip(means.iter().flatten()) {
            prop_assert!((f64::from(*found) - expected).abs() <= 1e-6 * scale.sqrt(), "{found} is not {expected}");
        }

        let length = geometry.groups * outputs * columns;
        let weights = floats(seed ^ 0xaa, length);
        let kept: Vec<u8> = floats(seed ^ 0xcc, length).iter().map(|number| (number + 0.4 >= share as f32 / 10.0).into()).collect();
        let checks = [columns + 2];
        let problem = Fit {
            groups: geometry.groups,
            outputs,
            columns,
            weights: &weights,
            kept: &kept,
            seen: Seen {
                pruned: Moments { moment: &pruned.second, mean: &pruned.means[0] },
                dense: differs.then_some((Moments { moment: &dense.second, mean: &dense.means[0] }, &cross.second)),
            },
            held_out: None,
            ridge: 0.05,
            checks: &checks,
            has_bias,
            without_empty: false,
            round: |number| number,
        };
        let (mut solution, mut shift) = (vec![f32::NAN; length], vec![f32::NAN; geometry.groups * outputs]);
        let fitted = fit(&problem, &mut solution, &mut shift).unwrap();
        let (mut masked, mut solved) = (0.0, 0.0);
        for (group, rows) in rows.iter().enumerate() {
            let each = columns * columns;
            let [seen, _, crossed] = [0, 1, 2].map(|which| &expected[which][group * each..][..each]);
            let [seen_mean, dense_mean] = [0, 1].map(|which| &means[which][group * columns..][..columns]);
            let dense_mean = if differs { dense_mean } else { seen_mean };
            let crossed = if differs { crossed } else { seen };
            let centred = |moments: &[f64], left: &[f64]| -> Vec<Vec<f64>> {
                (0..columns).map(|i| (0..columns).map(|j| {
                    moments[i * columns + j] - if has_bias { left[i] * seen_mean[j] } else { 0.0 }
                }).collect()).collect()
            };
            let mut h = centred(seen, seen_mean);
            let mut c = centred(crossed, dense_mean);
            let ridge = 0.05 * (0..columns).map(|i| h[i][i]).sum::<f64>() / columns as f64;
            for i in 0..columns {
                h[i][i] += ridge;
                c[i][i] += ridge;
            }
            for output in 0..outputs {
                let place = group * outputs + output;
                let row = &weights[place * columns..][..columns];
                let kept = &kept[place * columns..][..columns];
                let g: Vec<f64> = (0..columns).map(|j| (0..columns).map(|k| f64::from(row[k]) * c[k][j]).sum()).collect();
                let v = naive_fit(&h, &g, kept);
                let objective = |v: &[f64]| -> f64 {
                    (0..columns).map(|i| v[i] * ((0..columns).map(|j| v[j] * h[i][j]).sum::<f64>() - 2.0 * g[i])).sum()
                };
                let found: Vec<f64> = solution[place * columns..][..columns].iter().map(|number| (*number).into()).collect();
                let alone: Vec<f64> = row.iter().zip(kept).map(|(weight, kept)| f64::from(*weight * f32::from(*kept))).collect();
                let error = |v: &[f64], shift: f64| -> f64 {
                    let which = usize::from(differs);
                    let pairs = rows[which].iter().zip(&rows[0]);
                    pairs.map(|(dense, pruned)| {
                        let output = |v: &[f64], x: &[f64]| v.iter().zip(x).map(|(v, x)| v * x).sum::<f64>();
                        let dense_output: f64 = row.iter().zip(dense).map(|(w, x)| f64::from(*w) * x).sum();
                        (dense_output - output(v, pruned) - shift).powi(2)
                    }).sum::<f64>() / rows[0].len() as f64
                };
                masked += error(&alone, 0.0);
                solved += error(&found, shift[place].into());
                // A group whose solution is no better keeps its mask.
                let is_kept = shift[place] == 0.0 && found == alone;
                let (least, most) = (objective(&v), objective(&vec![0.0; columns]));
                let bound = 1e-5 * (least.abs() + most.abs() + 1e-3);
                prop_assert!(is_kept || objective(&found) <= least + bound, "{} is over {least}", objective(&found));
                for (found, kept) in solution[place * columns..][..columns].iter().zip(kept) {
                    prop_assert!(*kept == 1 || found.to_bits() == 0);
                }
            }
        }
        prop_assert!((masked - fitted.masked).abs() <= 1e-4 * (masked + 1e-3), "{masked} {}", fitted.masked);
        prop_assert!((solved - fitted.solved).abs() <= 1e-4 * (masked + 1e-3), "{solved} {}", fitted.solved);
        prop_assert!(fitted.solved <= fitted.masked);
    }
}

#[test]
#[cfg_attr(target_family = "wasm", ignore = "wasm32-wasip1 has no threads")]
fn any_number_of_threads_gives_the_same_bits() {
    let geometry = Geometry {
        groups: 2,
        inputs: 5,
        kernel: [1, 3, 3],
        strides: [1, 1, 1],
        pads: [0, 1, 1],
        dilations: [1, 1, 1],
        transposed: false,
    };
    let numbers = floats(7, 3 * 10 * 17 * 13);
    let space = [1, 17, 13];
    let inputs = Inputs { numbers: &numbers, samples: 3, space, positions: space, steps: [2210, 221, 221, 13, 1] };
    let (columns, width) = (geometry.columns(), sums_width(geometry.columns()));
    let weights = floats(9, 2 * 11 * columns);
    let kept: Vec<u8> = weights.iter().map(|weight| (*weight > 0.1).into()).collect();
    let work = || {
        let mut sums = vec![0.0; 2 * width * width];
        moments(&geometry, &inputs, None, &mut sums).unwrap();
        let finished = finished(&sums, 2, columns, width, true);
        let pruned = Moments { moment: &finished.second, mean: &finished.means[0] };
        let problem = Fit {
            groups: 2,
            outputs: 11,
            columns,
            weights: &weights,
            kept: &kept,
            seen: Seen { pruned, dense: None },
            held_out: None,
            ridge: 0.01,
            checks: &[0, 1, 3, 10],
            has_bias: true,
            without_empty: false,
            round: |number| number,
        };
        let (mut solution, mut shift) = (vec![0.0; weights.len()], vec![0.0; 22]);
        let fitted = fit(&problem, &mut solution, &mut shift).unwrap();
        let bits = |numbers: &[f32]| numbers.iter().map(|number| number.to_bits()).collect::<Vec<u32>>();
        let sums: Vec<u64> = sums.iter().map(|sum| sum.to_bits()).collect();
        (sums, bits(&solution), bits(&shift), fitted.solved.to_bits())
    };
    let with = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work);
    let one = with(1);
    assert!(one.1.iter().zip(&kept).any(|(bits, kept)| *kept == 1 && *bits != 0));
    for threads in [2, 3, 4] {
        assert_eq!(with(threads), one, "{threads} threads");
    }
}

#[test]
fn rows_that_would_take_more_time_than_their_inputs_are_worth_are_refused() {
    let geometry = Geometry {
        groups: 1,
        inputs: 1,
        kernel: [1, 1, 3],
        strides: [1; 3],
        pads: [0; 3],
        dilations: [1; 3],
        transposed: false,
    };
    let numbers = [1.0; 6];
    let inputs = Inputs { numbers: &numbers, samples: 2, space: [1, 1, 3], positions: [1; 3], steps: [3, 3, 3, 3, 1] };
    let added = |geometry: &Geometry, inputs: &Inputs| {
        let mut sums = vec![0.0; 64];
        let mut diagonals = vec![0.0; 16];
        let results = [moments(geometry, inputs, None, &mut sums), diagonal(geometry, inputs, &mut diagonals)];
        assert_eq!(results[0].is_ok(), results[1].is_ok());
        results[0].is_ok()
    };
    assert!(added(&geometry, &inputs));
    // Positions far from the input are allowed, but not any number of them.
    assert!(added(&geometry, &Inputs { positions: [1, 100, 1000], ..inputs }));
    assert!(!added(&geometry, &Inputs { positions: [1, 10_000, 10_000], ..inputs }));
    assert!(!added(&geometry, &Inputs { positions: [usize::MAX; 3], ..inputs }));
    assert!(!added(&geometry, &Inputs { positions: [0, 1, usize::MAX], ..inputs }));
    // Samples that share their numbers.
    assert!(!added(&geometry, &Inputs { samples: 1 << 31, steps: [0; 5], ..inputs }));
    assert!(!added(&geometry, &Inputs { samples: usize::MAX, space: [0; 3], steps: [0; 5], ..inputs }));
    // Sizes whose product is 0, or what the sums have room for, in 32 or 64 bits.
    assert!(!added(&Geometry { kernel: [1, 1 << 16, 1 << 16], ..geometry }, &inputs));
    assert!(!added(&Geometry { groups: 1 << 31, inputs: 2, kernel: [1; 3], ..geometry }, &inputs));
}

proptest! {
    #[test]
    fn stored_weights_are_fitted_as_canonical_ones(
        sizes in [1usize..3, 1usize..4, 1usize..4, 1usize..3, 1usize..3, 1usize..3],
        order in Just([0usize, 1, 2, 3, 4, 5]).prop_shuffle(),
        (data_type, has_bias, seed) in (0usize..3, any::<bool>(), any::<u32>()),
    ) {
        let [groups, outputs, inputs, kernel @ ..] = sizes;
        let columns = inputs * kernel.iter().product::<usize>();
        let count = groups * outputs * columns;
        let (mut steps, mut step) = ([0; 6], 1);
        for axis in order {
            steps[axis] = step;
            step *= sizes[axis];
        }
        // Rows with a covariance that is positive: a few random ones.
        let rows = floats(seed, 40 * columns);
        let geometry = Geometry {
            groups: 1, inputs: columns, kernel: [1; 3], strides: [1; 3], pads: [0; 3], dilations: [1; 3], transposed: false,
        };
        let width = sums_width(geometry.columns());
        let mut sums = vec![0.0; width * width];
        let batch = Inputs { numbers: &rows, samples: 40, space: [1; 3], positions: [1; 3], steps: [columns, 1, 1, 1, 1] };
        moments(&geometry, &batch, None, &mut sums).unwrap();
        let one = finished(&sums, 1, columns, width, true);
        let (moment, mean) = (one.second.repeat(groups), one.means[0].repeat(groups));
        let seen = Seen { pruned: Moments { moment: &moment, mean: &mean }, dense: None };

        // What both types of 16 bits have exactly.
        let stored: Vec<f32> = floats(seed ^ 1, count).iter().map(|number| (number * 64.0).round() / 64.0 + 1.0).collect();
        let axes = Axes::new(&[Axis::kept(count, 0)]).unwrap();
        let mask: Vec<u32> = (0..words_for(count) as u32).map(|word| seed.rotate_left(word) | 1).collect();
        let is_kept = |place: usize| mask[place / 32] >> (place % 32) & 1 == 1;
        let places: Vec<usize> = (0..count).map(|index| {
            let mut rest = index;
            (0..6).rev().map(|axis| {
                let at = rest % sizes[axis];
                rest /= sizes[axis];
                at * steps[axis]
            }).sum()
        }).collect();
        let weights: Vec<f32> = places.iter().map(|place| stored[*place]).collect();
        let kept: Vec<u8> = places.iter().map(|place| is_kept(*place).into()).collect();
        let checks = [0, 2];
        let bfloat: fn(f32) -> f32 = |number| {
            let bits = number.to_bits();
            f32::from_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000)
        };
        // Between 2^-14 and 2^16, where these weights lie, all but those near 0.
        let float16: fn(f32) -> f32 = |number| {
            let bits = number.to_bits();
            if number.abs() < 6.103_515_6e-5 { (number * 16_777_216.0).round_ties_even() / 16_777_216.0 } else { f32::from_bits((bits + 0xfff + (bits >> 13 & 1)) & 0xffff_e000) }
        };
        let round: fn(f32) -> f32 = [|number| number, float16, bfloat][data_type];
        let problem = Fit {
            groups, outputs, columns, weights: &weights, kept: &kept, seen, held_out: None, ridge: 0.01, checks: &checks, has_bias, without_empty: false, round,
        };
        let (mut solution, mut shift) = (vec![0.0; count], vec![0.0; groups * outputs]);
        let expected = fit(&problem, &mut solution, &mut shift).unwrap();

        let fitting = Fitting { layout: Layout { sizes, steps }, seen, held_out: None, ridge: 0.01, checks: &checks, has_bias, without_empty: false };
        let mut found_shift = vec![f32::NAN; groups * outputs];
        let marked = (&axes, mask.as_slice());
        let (found, result): (Vec<f32>, _) = if data_type == 0 {
            let dense: Vec<[u8; 4]> = stored.iter().map(|number| number.to_le_bytes()).collect();
            let mut target = dense.clone();
            let result = fit_layer(&fitting, Numbers::Float32(&dense), NumbersMut::Float32(&mut target), marked, &mut found_shift);
            (target.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(), result)
        } else {
            let narrow = |number: &f32| if data_type == 2 { (number.to_bits() >> 16) as u16 } else { half(*number) }.to_le_bytes();
            let dense: Vec<[u8; 2]> = stored.iter().map(narrow).collect();
            let mut target = dense.clone();
            let (from, to) = if data_type == 1 {
                (Numbers::Float16(&dense), NumbersMut::Float16(&mut target))
            } else {
                (Numbers::Bfloat16(&dense), NumbersMut::Bfloat16(&mut target))
            };
            let result = fit_layer(&fitting, from, to, marked, &mut found_shift);
            let numbers = if data_type == 1 { Numbers::Float16(&target) } else { Numbers::Bfloat16(&target) };
            ((0..count).map(|place| numbers.at(place)).collect(), result)
        };
        prop_assert_eq!(result.unwrap(), expected);
        prop_assert_eq!(found_shift, shift);
        for (place, expected) in places.into_iter().zip(solution) {
            prop_assert_eq!(found[place].to_bits(), expected.to_bits());
        }
    }
}

/// The bits of a number that float16 has exactly.
fn half(number: f32) -> u16 {
    let all: Vec<[u8; 2]> = (0..=u16::MAX).map(u16::to_le_bytes).collect();
    (0..=u16::MAX).find(|bits| Numbers::Float16(&all).at((*bits).into()) == number).unwrap()
}

#[test]
fn an_output_that_lost_its_bias_gets_none() {
    let (moment, mean) = ([2.0f32, 0.5, 0.5, 1.0], [1.0f32, 0.5]);
    let seen = Seen { pruned: Moments { moment: &moment, mean: &mean }, dense: None };
    let problem = Fit {
        groups: 1,
        outputs: 2,
        columns: 2,
        weights: &[1.0, 2.0, 3.0, 4.0],
        kept: &[0, 0, 1, 0],
        seen,
        held_out: None,
        ridge: 0.01,
        checks: &[0],
        has_bias: true,
        without_empty: false,
        round: |number| number,
    };
    let (mut solution, mut shift) = ([0.0; 4], [f32::NAN; 2]);
    fit(&problem, &mut solution, &mut shift).unwrap();
    assert_eq!(shift, [2.0, 2.0]);
    fit(&Fit { without_empty: true, ..problem }, &mut solution, &mut shift).unwrap();
    assert_eq!(shift, [0.0, 2.0]);
}
