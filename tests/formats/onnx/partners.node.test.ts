import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Sparsifier } from 'sparsifier';
import { sparsifyFile } from 'sparsifier/file';
import { readOnnx } from 'sparsifier/formats/onnx';
import { describe, expect, test } from 'vitest';
import { readBytes } from '../../support/files.js';
import { concat, integerAttribute, integersAttribute, list, model, node, tensor } from '../../support/onnx-builder.js';
import { numbers, outputsOf, pruned } from '../../support/filters.js';

describe('networks of a layer and what follows it', () => {
  // The shape of the input, and the axis of the channels in the output.
  test.each([
    ['bias_after_reshape', [2, 5, 8], 2],
    ['bias_after_transpose', [1, 3, 8, 8], 3],
    ['bias_reshaped', [1, 3, 8, 8], 1],
    ['bias_sub', [2, 8], 1],
    ['bn_muladd', [1, 3, 8, 8], 1],
    ['bn_scale', [1, 3, 8, 8], 1],
    ['pool_bn', [1, 3, 8, 8], 1],
    ['instancenorm', [1, 3, 8, 8], 1],
  ])('The channels of removed filters are exactly 0: %s', async (name, shape, axis) => {
    const { bytes, layers } = await pruned(await readBytes(`cases/${name}.onnx`));
    expect(layers).toMatchObject([{ leaks: [] }]);
    const size = shape.reduce((product, each) => product * each, 1);
    const { z } = await outputsOf(bytes, { x: { data: numbers(size, 1), shape } });
    const largest = largestAlong(z!.data, z!.shape, axis);
    expect(largest.filter((number) => number === 0)).toHaveLength(largest.length / 2);
  });

  test.each(['known', 'unknown'])('A normalisation along another axis is named if the rank is %s', async (rank) => {
    const { layers } = await pruned(await readBytes(`cases/bn_axis_${rank}.onnx`));
    expect(layers).toMatchObject([{ partners: [], leaks: [{ name: 'g' }, { name: 'be' }] }]);
  });
});

describe('a dense block', () => {
  // Each convolution reads all channels before it, through a normalisation of its own.
  const sizes = [4, 6, 8];
  const image = [1, 3, 6, 6];

  /** @param store gives a tensor, in the file or beside it */
  function block(store: (name: string, shape: readonly number[], data: Float32Array) => Uint8Array) {
    const nodes: Uint8Array[] = [];
    const initializers: Uint8Array[] = [];
    const keep = (name: string, shape: readonly number[], from: (number: number) => number = (number) => number) => {
      const count = shape.reduce((product, size) => product * size, 1);
      initializers.push(store(name, shape, numbers(count, initializers.length).map(from)));
      return name;
    };
    let [data, channels] = ['x', 3];
    let whole: string | undefined;
    let width = 0;
    for (const [layer, size] of sizes.entries()) {
      const weight = keep(`w${layer}`, [size, channels, 3, 3]);
      const attributes = [integersAttribute('pads', [1, 1, 1, 1])];
      nodes.push(node('Conv', `${data} ${weight}`, `y${layer}`, { name: `conv${layer}`, attributes }));
      if (whole === undefined) whole = `y${layer}`;
      else {
        nodes.push(node('Concat', `${whole} y${layer}`, `c${layer}`, { attributes: [integerAttribute('axis', 1)] }));
        whole = `c${layer}`;
      }
      width += size;
      const lists = ['gamma', 'beta', 'mean'].map((part) => keep(`${part}${layer}`, [width]));
      const variance = keep(`variance${layer}`, [width], Math.abs);
      nodes.push(node('BatchNormalization', `${whole} ${lists.join(' ')} ${variance}`, `n${layer}`));
      nodes.push(node('Relu', `n${layer}`, `r${layer}`));
      [data, channels] = [`r${layer}`, width];
    }
    nodes.push(node('GlobalAveragePool', data, 'pooled'));
    nodes.push(node('Reshape', 'pooled shape', 'features'), node('MatMul', 'features head', 'z', { name: 'head' }));
    initializers.push(list('shape', 1, -1), store('head', [width, 2], numbers(2 * width, 99)));
    const outputs = { z: undefined, r0: undefined, r1: undefined, r2: undefined };
    return model({ nodes, initializers, inputs: { x: image }, outputs });
  }

  const inside = block((name, shape, data) => tensor(name, shape, { data: new Uint8Array(data.buffer) }));

  test('Removed channels are 0 behind all normalisations, of which each layer has its own entries', async () => {
    const { bytes, layers } = await pruned(inside);
    expect(
      layers.map(({ name, partners, leaks }) => [name, partners.map(({ values }) => values.length), leaks]),
    ).toEqual([
      ['conv0', [4, 4, 4, 4, 4, 4], []],
      ['conv1', [6, 6, 6, 6], []],
      ['conv2', [8, 8], []],
      ['head', [], []],
    ]);
    const outputs = await outputsOf(bytes, { x: { data: numbers(108, 1), shape: image } });
    using read = await readOnnx(bytes);
    const isRemoved: boolean[] = [];
    for (const { values, shape } of read.tensors.slice(0, 3)) {
      const weights = new Float32Array((await read.copy(values)).buffer);
      isRemoved.push(...largestAlong(weights, shape, 0).map((number) => number === 0));
      const { data, shape: wide } = outputs[`r${read.tensors.findIndex((each) => each.values === values)}`]!;
      const isZero = largestAlong(data, wide, 1).map((number) => number === 0);
      expect(isZero).toHaveLength(isRemoved.length);
      expect(isRemoved.filter((removed) => removed)).toHaveLength(isRemoved.length / 2);
      expect(isRemoved.filter((removed, channel) => removed && !isZero[channel])).toEqual([]);
      expect(isZero.filter((each) => !each).length).toBeGreaterThan(isZero.length / 4);
    }
  });

  test('Entries of one list that belong to several layers are the same in streamed files', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'sparsifier-'));
    try {
      const stored: Uint8Array[] = [];
      let offset = 0;
      const outside = block((name, shape, data) => {
        const bytes = new Uint8Array(data.buffer as ArrayBuffer);
        stored.push(bytes);
        const external = { location: 'numbers', offset, length: bytes.length };
        offset += bytes.length;
        return tensor(name, shape, { external });
      });
      const path = join(folder, 'model.onnx');
      await writeFile(path, outside);
      await writeFile(join(folder, 'numbers'), concat(...stored));
      const options = { granularity: 'filter', context: 'local', criteria: 'largeFinal', layerType: 'all' } as const;
      await sparsifyFile(path, join(folder, 'streamed.onnx'), { ...options, sparsity: 50 });
      using read = await readOnnx(path);
      await new Sparsifier(read, options).sparsifyModel(50);
      await read.write(join(folder, 'held.onnx'));
      const [streamed, held] = await Promise.all(
        ['streamed', 'held'].map((name) => readFile(join(folder, `${name}.onnx.data`))),
      );
      expect(streamed!.equals(held!)).toBe(true);
      const { bytes } = await pruned(inside);
      using other = await readOnnx(bytes);
      const norms = (each: typeof read) =>
        Promise.all(each.tensors.flatMap(({ partners }) => partners.map(({ values }) => each.copy(values))));
      expect(await norms(read)).toEqual(await norms(other));
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

test('Channels of an Inception block are 0 behind a normalisation that is stored as four constants', async () => {
  const nodes: Uint8Array[] = [];
  const initializers: Uint8Array[] = [list('axes', 1, 2)];
  const keep = (shape: readonly number[], from: (number: number) => number = (number) => number) => {
    const name = `c${initializers.length}`;
    const data = numbers(
      shape.reduce((product, size) => product * size, 1),
      initializers.length,
    ).map(from);
    initializers.push(tensor(name, shape, { data: new Uint8Array(data.buffer) }));
    return name;
  };
  const branch = (data: string, name: string, size: number) => {
    const add = (op: string, inputs: string) => {
      const output = `${name}${nodes.length}`;
      nodes.push(node(op, inputs, output, { name: output }));
      return output;
    };
    const convolved = add('Conv', `${data} ${keep([size, 3, 1, 1])}`);
    const ones = keep([size], () => 1);
    const normal = `${convolved} ${ones} ${keep([size])} ${keep([size])} ${keep([size], Math.abs)}`;
    const scaled = add('Mul', `${add('BatchNormalization', normal)} ${add('Unsqueeze', `${keep([size])} axes`)}`);
    return add('LeakyRelu', add('Add', `${scaled} ${add('Unsqueeze', `${keep([size])} axes`)}`));
  };
  const pool = [integersAttribute('kernel_shape', [2, 2])];
  nodes.push(node('MaxPool', 'x', 'pooled', { attributes: pool }));
  const small = branch('pooled', 'a', 4);
  nodes.push(node('AveragePool', branch('x', 'b', 6), 'averaged', { attributes: pool }));
  nodes.push(node('Concat', `${small} averaged`, 'z', { attributes: [integerAttribute('axis', 1)] }));
  const dense = model({ nodes, initializers, inputs: { x: [1, 3, 5, 5] }, outputs: { z: undefined } });
  const { bytes, layers } = await pruned(dense);
  expect(layers.map(({ partners, leaks }) => [partners.map(({ part }) => part).join(' '), leaks])).toEqual([
    ['gamma beta bias', []],
    ['gamma beta bias', []],
  ]);
  const { z } = await outputsOf(bytes, { x: { data: numbers(75, 1), shape: [1, 3, 5, 5] } });
  const largest = largestAlong(z!.data, z!.shape, 1);
  expect([largest.slice(0, 4), largest.slice(4)].map((each) => each.filter((number) => number === 0).length)).toEqual([
    2, 3,
  ]);
});

describe('time', () => {
  const weight = tensor('w', [4, 4, 1, 1]);
  const many = (count: number, each: (index: number) => Uint8Array) =>
    Array.from({ length: count }, (_, at) => each(at));
  const shapes: [title: string, graph: (count: number) => Uint8Array][] = [
    [
      'convolutions that share weight and bias',
      (count) =>
        model({
          nodes: many(count, (index) => node('Conv', 'x w b', `y${index}`)),
          initializers: [weight, tensor('b', [4])],
        }),
    ],
    [
      'convolutions with one output, and as many readers',
      (count) =>
        model({
          nodes: [
            ...many(count, () => node('Conv', 'x w', 'y')),
            ...many(count, (index) => node('Identity', 'y', `z${index}`)),
          ],
          initializers: [weight],
        }),
    ],
    [
      'concatenations of a value with itself',
      (count) =>
        model({
          nodes: [
            node('Conv', 'x w', 'y0'),
            ...many(count, (index) =>
              node('Concat', `y${index} y${index}`, `y${index + 1}`, { attributes: [integerAttribute('axis', 1)] }),
            ),
          ],
          initializers: [weight],
        }),
    ],
  ];
  // Cubic time would be 512 times as long, quadratic time 64 times: far above the limit, which leaves room for noise.
  test.each(shapes)(
    'Eight times as many nodes do not take much more than eight times as long: %s',
    async (_, graph) => {
      const least = async (bytes: Uint8Array) => {
        const times: number[] = [];
        for (let run = 0; run < 3; run++) {
          // The time of the processor, which other programs do not prolong.
          const start = process.cpuUsage();
          (await readOnnx(bytes)).close();
          times.push(process.cpuUsage(start).user);
        }
        return Math.min(...times);
      };
      const [few, more] = [graph(500), graph(4000)];
      await least(few);
      // At least 10 ms, so that what does not depend on the nodes does not count.
      expect((await least(more)) / Math.max(10_000, await least(few))).toBeLessThan(40);
    },
  );
});

/** The largest magnitude at each index of an axis. */
function largestAlong(data: Float32Array, shape: readonly number[], axis: number): number[] {
  const inner = shape.slice(axis + 1).reduce((product, size) => product * size, 1);
  const largest = new Array<number>(shape[axis]!).fill(0);
  for (const [index, number] of data.entries()) {
    const at = Math.floor(index / inner) % shape[axis]!;
    largest[at] = Math.max(largest[at]!, Math.abs(number));
  }
  return largest;
}
