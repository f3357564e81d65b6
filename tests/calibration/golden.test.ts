import { fromArrays } from 'sparsifier/formats/arrays';
import { calibrate } from 'sparsifier/calibration';
import { readOnnx } from 'sparsifier/formats/onnx';
import type { WeightTensor } from 'sparsifier';
import { expect, test } from 'vitest';
import { measure, type Probe } from '../support/internal.js';
import { product } from '../support/layers.js';
import { apart } from '../support/naive-moments.js';
import { integerAttribute, integersAttribute, model, node, tensor } from '../support/onnx-builder.js';
import { repairCases, type RepairCase } from '../support/repair-cases.js';

// The recorded moments and means (golden/repair) through the API: layers of ONNX models that read the model's input.

const { cases, arrays } = await repairCases();

/** A model of the layer of a case, with any weights. */
function modelOf({ name, kind, groups, shape, strides = [], pads = [], dilations = [] }: RepairCase) {
  if (shape === undefined) {
    const [outputs, columns] = arrays.get(`${name}/weight`)!.shape as [number, number];
    return model({
      nodes: [node('MatMul', 'x w', 'y', { name: 'layer' })],
      initializers: [tensor('w', [columns, outputs])],
      inputs: { x: 2 },
      outputs: { y: 2 },
    });
  }
  const [outputs, inputs, ...kernel] = shape as [number, number, ...number[]];
  const isTransposed = kind.startsWith('convTranspose');
  const stored = isTransposed ? [inputs * groups, outputs / groups, ...kernel] : shape;
  const attributes = [
    integerAttribute('group', groups),
    integersAttribute('strides', strides),
    integersAttribute('pads', pads),
    integersAttribute('dilations', dilations),
  ];
  return model({
    nodes: [node(isTransposed ? 'ConvTranspose' : 'Conv', 'x w', 'y', { name: 'layer', attributes })],
    initializers: [tensor('w', stored)],
    inputs: { x: shape.length },
    outputs: { y: shape.length },
  });
}

const numbersOf = (name: string): number[] => [...arrays.get(name)!.data];

test.each(cases.filter(({ name }) => !arrays.has(`${name}/cross`)))(
  'Moments and means of $name are those that are recorded',
  async (each) => {
    const { name } = each;
    using read = await readOnnx(modelOf(each));
    const { shape, data } = arrays.get(`${name}/input`)!;
    // In two batches, where there are several samples.
    const size = product(shape.slice(1));
    const parts = [
      [0, 1],
      [1, shape[0]!],
    ].map(([from, to]) => ({ dims: [to! - from!, ...shape.slice(1)], data: data.slice(from! * size, to! * size) }));
    const { layers } = await calibrate(read, {
      createSession: () => Promise.resolve({ run: () => Promise.reject(new Error('its inputs are known')) }),
      batches: () => parts.map((part) => ({ x: { type: 'float32', ...part } })),
      holdOut: 0,
    });
    const found = layers.get('layer')!;
    expect(apart(found.moment, numbersOf(`${name}/moment`))).toBeLessThan(1e-6);
    expect(apart(found.mean, numbersOf(`${name}/mean`))).toBeLessThan(1e-6);
  },
);

test('Moments of the inputs of two models, and of both together, are those that are recorded', async () => {
  const { name } = cases.find((each) => arrays.has(`${each.name}/cross`))!;
  const input = arrays.get(`${name}/input`)!;
  const [, rows, columns] = input.shape as [number, number, number];
  const data = new Float32Array(columns);
  const { tensors } = fromArrays({ layer: { kind: 'dense', roles: ['out', 'in'], shape: [1, columns], data } });
  const geometry = { channelAxis: -1, strides: [], dilations: [], pads: [], outputPadding: [] };
  /** @param model 0 for the dense one, 1 for the pruned one, whose values have other names */
  const probeOf = (model: 0 | 1): Probe<readonly [from: number, to: number]> => ({
    usesOf: () => [{ value: `value of ${model}`, geometry }],
    open: async (values) => {
      expect(values).toEqual([`value of ${model}`]);
      const run = async ([from, to]: readonly [number, number]) => ({
        get: () => ({
          type: 'float32',
          shape: [to - from, columns],
          numbers: () =>
            (input.data as Float32Array).slice((model * rows + from) * columns, (model * rows + to) * columns),
        }),
        release: () => {},
      });
      return { run, release: () => {} };
    },
  });
  const batches = () => [0, 1, 2, 3].map((part) => [(part * rows) / 4, ((part + 1) * rows) / 4] as const);
  const probes = { pruned: probeOf(1), dense: probeOf(0) };
  const tensor: WeightTensor = tensors[0]!;
  const measured = await measure([tensor], batches, probes, { holdOut: 0 });
  const { isDiagonal, seen, heldOut } = measured.get(tensor)!;
  expect({ isDiagonal, rows: seen.rows, heldOut }).toEqual({ isDiagonal: false, rows, heldOut: undefined });
  for (const [numbers, recorded] of [
    [seen.pruned.moment, 'moment'],
    [seen.pruned.mean, 'mean'],
    [seen.dense!.own.moment, 'denseMoment'],
    [seen.dense!.own.mean, 'denseMean'],
    [seen.dense!.cross, 'cross'],
  ] as const) {
    expect(apart(numbers, numbersOf(`${name}/${recorded}`))).toBeLessThan(1e-6);
  }
  // Three sums of a layer do not fit where one does.
  const small = await measure([tensor], batches, probes, { holdOut: 0, memory: 2 * 8 * 40 ** 2 });
  expect(small.get(tensor)).toMatchObject({ isDiagonal: true, seen: { dense: { cross: new Float32Array(0) } } });
});
