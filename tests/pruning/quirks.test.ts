import { Granularity, Sparsifier, type GranularityName } from 'sparsifier';
import { fromArrays, type ArrayLayer } from 'sparsifier/formats/arrays';
import { beforeAll, expect, test } from 'vitest';
import { readBytes, safetensors } from '../support/files.js';
import {
  errorOf,
  expectSame,
  layerOf,
  layoutOf,
  layouts,
  line,
  product,
  refusal,
  sparsified,
  values,
  weightsOnly,
  weightwise,
  zerosOf,
  type Result,
} from '../support/layers.js';
import { bitsOf, copyOf, removal, spanned, unitsOf, without, type Layers } from '../support/oracle.js';

// Where fasterai's results are not what was asked for, and what they are here. The numbers of these quirks are those
// that set recorded cases apart in golden/quirk-tags.json.

let inputs: ReturnType<typeof safetensors>;

beforeAll(async () => {
  inputs = safetensors(await readBytes('golden/inputs.safetensors'));
});

/** A convolution that fasterai was run on. */
function recorded(name: string): ArrayLayer {
  const { shape, data } = inputs.get(name)!;
  return { kind: 'conv2d', roles: ['out', 'in', 'height', 'width'], shape, data: (data as Float32Array).slice() };
}

/** A convolution with one filter of two weights for each magnitude. */
function filters(magnitudes: readonly number[]): ArrayLayer {
  const data = Float32Array.from(magnitudes.flatMap((magnitude) => [magnitude, -magnitude]));
  return {
    kind: 'conv2d',
    roles: ['out', 'in', 'height', 'width'],
    shape: [magnitudes.length, 1, 1, 2],
    data,
    bias: values(magnitudes.length),
  };
}

const range = (length: number): number[] => Array.from({ length }, (_, index) => index);

/** The whole numbers from 1 to `length`, out of order; `step` has no divisor in common with `length`. */
const scattered = (length: number, step: number): number[] =>
  range(length).map((index) => ((index * step) % length) + 1);

/** Where the weights are that are not zero. */
const keptPlaces = ({ data }: ArrayLayer): number[] => [...data.keys()].filter((place) => data[place] !== 0);

const keptOf = (layers: Layers): Record<string, number> =>
  Object.fromEntries(Object.entries(zerosOf(layers)).map(([name, zeros]) => [name, layers[name]!.data.length - zeros]));

/** Expects that of layers of the weights 1 to n, for each size n, this percentage removes the nearest whole number. */
async function expectNearest(sizes: readonly number[], percentage: number): Promise<void> {
  const layers = Object.fromEntries(sizes.map((size) => [`of ${size}`, line(range(size).map((index) => index + 1))]));
  const { layers: after } = await sparsified(layers, percentage, { allowEmpty: true });
  const expected = sizes.map((size) => {
    const [whole, rest] = [Math.floor((percentage * size) / 100), (percentage * size) % 100];
    return whole + Number(rest > 50 || (rest === 50 && whole % 2 === 1));
  });
  expect(Object.values(zerosOf(after)), `${percentage} percent`).toEqual(expected);
  // The smallest ones went: the first.
  Object.values(after).forEach(({ data }, index) => expect(data.lastIndexOf(0)).toBe(expected[index]! - 1));
}

const percentages = range(99).map((index) => index + 1);

test.each([
  { units: 8, sparsity: 50, kept: 4, theirs: 5 },
  { units: 8, sparsity: 25, kept: 6, theirs: 7 },
  { units: 100, sparsity: 90, kept: 10, theirs: 11 },
  { units: 4, sparsity: 25, kept: 3, theirs: 4 },
])('Q1: Of $units filters at $sparsity %, $kept are kept, not $theirs', async ({ units, sparsity, kept }) => {
  const magnitudes = scattered(units, 3);
  const sparsifier = new Sparsifier(fromArrays({ layer: filters(magnitudes) }), {
    ...weightwise,
    granularity: 'filter',
  });
  const report = await sparsifier.sparsifyModel(sparsity);
  expect(report.layers[0]).toMatchObject({ units, keptUnits: kept, zeros: 2 * (units - kept) });
  expect([...sparsifier.mask('layer').data]).toEqual(magnitudes.map((magnitude) => Number(magnitude > units - kept)));
});

test('Q2: A percentage that is a whole number of units removes exactly that number', async () => {
  // 0.29 x 100 is 28.999... in binary, cut off to 28: fasterai keeps 73.
  const { layers } = await sparsified({ layer: line(scattered(100, 29)) }, 29);
  expect(keptPlaces(layers.layer!)).toEqual(keptPlaces(line(scattered(100, 29).map((each) => Math.max(0, each - 29)))));
  expect(keptOf(layers)).toEqual({ layer: 71 });
  // All 4200 pairs of up to 1000 units and a percentage that makes a whole number of them; 49 are cut off.
  let pairs = 0;
  let cutOff = 0;
  for (const percentage of percentages) {
    const sizes = range(1001).filter((size) => size > 0 && (percentage * size) % 100 === 0);
    pairs += sizes.length;
    cutOff += sizes.filter((size) => Math.trunc((percentage / 100) * size) < (percentage * size) / 100).length;
    await expectNearest(sizes, percentage);
  }
  expect([pairs, cutOff]).toEqual([4200, 49]);
});

test(
  'Q3: No extra unit is removed where a percentage in 32 bits is slightly too large',
  { timeout: 120_000 },
  async () => {
    // In 32 bits 0.3 is 0.30000001, 200 times that is a little more than 60, and fasterai 0.2.4 removes 61 of 201.
    const { layers } = await sparsified({ layer: line(scattered(201, 20)) }, 30);
    expect(keptPlaces(layers.layer!)).toEqual(
      keptPlaces(line(scattered(201, 20).map((each) => Math.max(0, each - 60)))),
    );
    expect(keptOf(layers)).toEqual({ layer: 141 });
    // All sizes below 400 where the place of the threshold among the sorted scores is a whole number.
    for (const percentage of percentages) {
      await expectNearest(
        range(400).filter((size) => size > 1 && (percentage * (size - 1)) % 100 === 0),
        percentage,
      );
    }
  },
);

test('Q5: The granularity layer removes whole layers, in the global context', async () => {
  const layers: Layers = {
    a: filters([3, 1, 2]),
    b: filters([1, 1, 1, 1]),
    c: filters([9]),
    d: { ...layerOf(layoutOf('conv1d of tfjs')), data: new Float32Array(60).fill(-1.5) },
  };
  const asked = { granularity: 'layer', context: 'global' } as const;
  // fasterai lowers the threshold to each layer's only score, so that all stay.
  const orders = { 25: 'b', 50: 'bd', 75: 'bda', 100: 'bda' };
  for (const [sparsity, gone] of Object.entries(orders)) {
    const { layers: after, report } = await sparsified(layers, Number(sparsity), asked);
    const removed = Object.fromEntries(Object.keys(layers).map((name) => [name, [gone.includes(name)]]));
    expectSame(after, without(layers, removed, 'layer'), sparsity);
    expect(report.total).toMatchObject({ units: 4, keptUnits: 4 - gone.length });
  }
  const error = await refusal(layers, 50, { ...asked, context: 'local' });
  expect([error.code, error.message]).toEqual(['granularity', expect.stringContaining('global')]);
});

test('Q6: Rounding one layer never changes another', async () => {
  const net = (name: string, order: string): Layers =>
    Object.fromEntries([...order].map((layer) => [layer, recorded(`${name}/${layer}.weight`)]));
  const asked = { ...weightwise, granularity: 'filter', context: 'global' } as const;
  const check = async (layers: Layers, roundTo: number, kept: Record<string, number>) => {
    const { layers: after, report } = await sparsified(layers, 50, asked, { roundTo });
    expect(Object.fromEntries(report.layers.map(({ name, keptUnits }) => [name, keptUnits]))).toEqual(kept);
    expectSame(after, without(layers, removal(layers, 50, { ...asked, roundTo }), 'filter'));
    return after;
  };
  // Layers of 16, 32 and 48 filters, of which 12, 2 and 34 stay where nothing is rounded.
  const table = [
    { roundTo: 1, kept: { a: 12, b: 2, c: 34 } },
    { roundTo: 2, kept: { a: 12, b: 2, c: 34 } }, // fasterai: 12, 2, 28
    { roundTo: 4, kept: { a: 12, b: 4, c: 36 } },
    { roundTo: 8, kept: { a: 16, b: 8, c: 40 } }, // fasterai: 16, 8, 48
    { roundTo: 16, kept: { a: 16, b: 16, c: 48 } },
  ];
  for (const { roundTo, kept } of table) {
    const first = await check(net('netR012', 'abc'), roundTo, kept);
    for (const order of ['cba', 'bca', 'bac'])
      expectSame(await check(net('netR012', order), roundTo, kept), first, order);
  }
  await check(net('netR210', 'cba'), 8, { c: 16, b: 24, a: 16 });
  await check(net('netR120', 'bca'), 8, { b: 16, c: 24, a: 16 }); // fasterai: 16, 48, 16
});

test('Q8: sparsifyLayer removes the requested amount, whatever was removed before', async () => {
  const layers: Record<string, ArrayLayer> = {
    a: line([3, 1, 4, 2, 8, 6, 5, 7]),
    b: line([30, 10, 40, 20, 80, 60, 50, 70]),
    c: line([0.3, 0.1, 0.4, 0.2]),
  };
  const sparsifier = new Sparsifier(fromArrays(layers), { ...weightwise, context: 'global' });
  await sparsifier.sparsifyLayer('a', 25);
  expect([...layers.a!.data]).toEqual([3, 0, 4, 0, 8, 6, 5, 7]);
  // fasterai took its threshold from all layers and goes on with it: nothing of b goes.
  await sparsifier.sparsifyLayer('b', 75);
  expect([...layers.b!.data]).toEqual([0, 0, 0, 0, 80, 0, 0, 70]);
  // Twelve of all twenty: the eight that are gone, three of c, and the next of a.
  await sparsifier.sparsifyModel(60);
  expect(keptOf(layers)).toEqual({ a: 5, b: 2, c: 1 });
  // fasterai goes on with the threshold of the network: no more of a goes, and no less of c.
  await sparsifier.sparsifyLayer('a', 75);
  expect([...layers.a!.data]).toEqual([0, 0, 0, 0, 8, 0, 0, 7]);
  await sparsifier.sparsifyLayer('c', 50);
  expect(sparsifier.mask('c').data).toEqual(Uint8Array.of(0, 0, 1, 1));
});

test('Q9: Layers are compared by their own scores, including negative ones', async () => {
  const odd = range(100).map((index) => 2 * index + 1);
  const initial = { a: new Float32Array(100).fill(-5000), b: new Float32Array(100).fill(5000) };
  const tenfold = odd.map((each) => 10 * each);
  const cases = [
    { layers: { a: line(odd), b: line(tenfold) }, options: { criteria: 'smallFinal' } },
    {
      layers: { a: line(odd.map((each) => 5000 - each)), b: line(tenfold.map((each) => each - 5000)) },
      options: { criteria: 'magnitudeIncrease', initial },
    },
  ] as const;
  for (const { layers, options } of cases) {
    // Both have the scores -1 to -199 in a and -10 to -1990 in b. fasterai keeps 10 of a and 91 of b.
    const { layers: after } = await sparsified(layers, 50, { ...options, context: 'global' });
    expect(keptPlaces(after.a!)).toEqual(range(91));
    expect(keptPlaces(after.b!)).toEqual(range(9));
  }
  // fasterai 0.2.4 shifts positive scores as well, and keeps 35, 440 and 38 of this network.
  const net = Object.fromEntries(['conv1', 'conv2', 'conv3'].map((name) => [name, recorded(`net3/${name}.weight`)]));
  const { layers: after } = await sparsified(net, 50, { context: 'global' });
  expect(keptOf(after)).toEqual({ conv1: 35, conv2: 441, conv3: 37 });
  expectSame(after, without(net, removal(net, 50, { ...weightwise, context: 'global' }), 'weight'));
});

test('Q10: Small weights are distinguished, however small they are', async () => {
  // At 1e-16 fasterai drops none of 180.
  for (const scale of ['0.0001', '1e-08', '1e-12', '1e-16']) {
    const layers = { layer: recorded(`tiny${scale}/layer.weight`) };
    const { layers: after } = await sparsified(layers, 50);
    expectSame(after, without(layers, removal(layers, 50, weightwise), 'weight'), scale);
    expect(keptOf(after)).toEqual({ layer: 90 });
  }
  const denormal = 2 ** -149;
  const { layers } = await sparsified({ layer: line([5, 3, 4, 1, 2].map((each) => each * denormal)) }, { keep: 2 });
  expect([...bitsOf(layers.layer!.data)]).toEqual([5, 0, 4, 0, 0]);
  // Beside 1000, fasterai's smallFinal takes the others for equal.
  const { layers: beside } = await sparsified(
    { layer: line([1000, 1e-6, 3e-6, 2e-6, 4e-6]) },
    { keep: 2 },
    { criteria: 'smallFinal' },
  );
  expect(keptPlaces(beside.layer!)).toEqual([1, 3]);
  // As many scores as there are magnitudes: of 20000, any number can go.
  const many = scattered(20_000, 7919).map((each) => each * 2 ** -26);
  for (const remove of [1, 9_999, 10_000, 19_999]) {
    const { layers: some } = await sparsified(
      { layer: line([2 ** 10, ...many]) },
      { remove },
      { criteria: 'smallFinal' },
    );
    const largest = [
      0,
      ...range(20_000)
        .filter((index) => many[index]! > (20_001 - remove) * 2 ** -26)
        .map((index) => index + 1),
    ];
    expect([...some.layer!.data.keys()].filter((place) => some.layer!.data[place] === 0)).toEqual(largest);
  }
});

test('Q12: A lower sparsity than before brings back only as many units as requested', async () => {
  const weights = [10, 1, 9, 2, 8, 3, 7, 4, 6, 5];
  const layers = { layer: line(weights) };
  const { data } = layers.layer as { data: Float32Array };
  const sparsifier = new Sparsifier(fromArrays(layers), weightwise);
  const masks = { 80: [1, 0, 1, 0, 0, 0, 0, 0, 0, 0], 50: [1, 0, 1, 0, 0, 0, 0, 1, 1, 1] };
  // fasterai's mask is all ones from the second call on, and again at each second step of dsd.
  for (const sparsity of [80, 50, 50, 50] as const) {
    const report = await sparsifier.sparsifyModel(sparsity);
    expect([...sparsifier.mask('layer').data]).toEqual(masks[sparsity]);
    expect(report.layers[0]).toMatchObject({ units: 10, keptUnits: 10 - sparsity / 10 });
    expect([...data]).toEqual([10, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
  }
  // Training moves all weights; those that came back stay with what they became.
  data.fill(-7);
  await sparsifier.sparsifyModel(50);
  expect([...data]).toEqual([-7, 0, -7, 0, 0, 0, 0, -7, -7, -7]);
  data.fill(-8);
  await sparsifier.apply();
  expect([...data]).toEqual([-8, 0, -8, 0, 0, 0, 0, -8, -8, -8]);
});

test('Q13: Removed weights are +0, bit for bit', async () => {
  // fasterai multiplies by a mask of zeros and ones: of a negative weight -0 is left.
  const negative = (array: Float32Array) => array.map((each) => -Math.abs(each));
  for (const title of ['conv2d', 'conv2d of tfjs', 'dense', 'convTranspose1d']) {
    const layout = layoutOf(title);
    const channels = layout.shape[layout.roles.indexOf('out')]!;
    const layer: ArrayLayer = {
      ...layerOf(layout),
      data: negative(values(product(layout.shape))),
      bias: negative(values(channels)),
      batchNorm: { gamma: negative(values(channels, 2)), beta: negative(values(channels, 3)) },
    };
    for (const granularity of ['weight', 'row', 'kernel', 'filter'] satisfies GranularityName[]) {
      if (!spanned(layout.kind, granularity)) continue;
      for (const criteria of ['largeFinal', 'smallFinal', 'random'] as const) {
        const { layers, report } = await sparsified({ layer }, 50, { granularity, criteria });
        const { data, bias, batchNorm } = layers.layer!;
        const perUnit = data.length / report.layers[0]!.units;
        expect(zerosOf(layers)).toEqual({ layer: perUnit * (report.layers[0]!.units - report.layers[0]!.keptUnits) });
        for (const array of [data, bias!, batchNorm!.gamma!, batchNorm!.beta!])
          expect([...bitsOf(array)].filter((bits) => bits === 0x8000_0000)).toEqual([]);
      }
    }
  }
  const { layers } = await sparsified({ layer: line([-1, -0, 0, -2, -1e-45, -3]) }, { keep: 2 });
  expect([...bitsOf(layers.layer!.data)]).toEqual([0, 0, 0, 0xc000_0000, 0, 0xc040_0000]);
  for (const dtype of ['float16', 'bfloat16'] as const) {
    const half: ArrayLayer = {
      ...line([]),
      shape: [1, 4],
      dtype,
      data: Uint16Array.of(0xbc00, 0x8000, 0xc000, 0x8001),
    };
    expect([...(await sparsified({ half }, { keep: 1 })).layers.half!.data]).toEqual([0, 0, 0xc000, 0]);
  }
});

test.each(['nan', 'inf', 'ninf'])('Q14: A weight that is %s is an error that changes nothing', async (bad) => {
  // fasterai zeroes the layer or the network (0.2.4), leaves the NaN in the result, or turns infinity into it.
  const layers: Layers = { good: recorded('net3/conv1.weight'), bad: recorded(`bad-${bad}/layer.weight`) };
  const index = layers.bad!.data.findIndex((weight) => !Number.isFinite(weight));
  expect(index).toBeGreaterThanOrEqual(0);
  for (const context of ['local', 'global'] as const) {
    for (const criteria of ['largeFinal', 'smallFinal', 'random'] as const) {
      for (const granularity of ['weight', 'filter'] as const) {
        const error = await refusal(layers, 50, { context, criteria, granularity });
        expect([error.code, error.details.subject]).toEqual(['weights', 'bad']);
        expect(error.message).toMatch(new RegExp(`index ${index}\\b`));
      }
    }
  }
});

test('Q18: Random numbers are drawn once, so that the sparsity of a network is exact', async () => {
  const net = Object.fromEntries(['conv1', 'conv2', 'conv3'].map((name) => [name, recorded(`net3/${name}.weight`)]));
  const units = { weight: 1026, kernel: 194, filter: 27 };
  // fasterai draws again after it has its threshold: 54.4 % of the weights go.
  const removed = { weight: 513, kernel: 97, filter: 14 };
  for (const seed of range(5)) {
    for (const granularity of ['weight', 'kernel', 'filter'] as const) {
      const asked = { ...weightwise, criteria: 'random', context: 'global', granularity, seed } as const;
      const { layers, report } = await sparsified(net, 50, asked);
      const kept = units[granularity] - removed[granularity];
      expect(report.total).toMatchObject({ units: units[granularity], keptUnits: kept });
      expectSame(layers, without(net, removal(net, 50, asked), granularity), `${granularity}, seed ${seed}`);
    }
  }
});

test.each<{ title: string; units: Partial<Record<GranularityName, number>> }>([
  { title: 'conv1d', units: { weight: 60, row: 12, kernel: 12, filter: 4, channel: 20, sharedKernel: 3 } },
  { title: 'conv1d of tfjs', units: { weight: 60, row: 12, kernel: 12, filter: 4, channel: 20, sharedKernel: 3 } },
  { title: 'conv3d', units: { weight: 72, row: 36, column: 24, kernel: 6, filter: 3, sharedKernel: 2 } },
  { title: 'conv3d of tfjs', units: { weight: 72, row: 36, column: 24, kernel: 6, filter: 3, sharedKernel: 2 } },
  { title: 'convTranspose1d', units: { weight: 36, row: 12, kernel: 12, filter: 4, sharedKernel: 3 } },
  { title: 'convTranspose3d', units: { weight: 48, row: 24, column: 24, kernel: 6, filter: 3, sharedKernel: 2 } },
  { title: 'embedding', units: { weight: 36, row: 9, column: 4, filter: 9 } },
])('Q20: A $title layer has its own granularities', async ({ title, units }) => {
  // fasterai reads a Conv1d as a Linear, which has neither kernels nor filters, and has none of the other layers.
  const layers = { layer: layerOf(layoutOf(title)) };
  for (const granularity of Object.keys(units) as GranularityName[]) {
    const { layers: after, report } = await sparsified(layers, 50, { granularity });
    const { units: found, keptUnits } = report.layers[0]!;
    expect([granularity, found]).toEqual([granularity, units[granularity]]);
    // Of 9 units 4.5 are to go: the even number.
    expect(keptUnits).toBe(found === 9 ? 5 : found === 3 ? 1 : found / 2);
    expectSame(after, without(layers, removal(layers, 50, { ...weightwise, granularity }), granularity), granularity);
  }
});

test('Q20: A conv1d has the granularity layer, and no columns', async () => {
  // fasterai leaves its last axis out of `layer`, and takes the output channels for a column.
  const layers = Object.fromEntries([3, 1, 2].map((scale) => [`x${scale}`, filtersOf1d(scale)]));
  const { layers: after, report } = await sparsified(layers, 34, { granularity: 'layer', context: 'global' });
  expect(report.total).toMatchObject({ units: 3, keptUnits: 2 });
  expect(zerosOf(after)).toEqual({ x3: 0, x1: 24, x2: 0 });
  for (const granularity of ['column', 'verticalSlice', 'sharedColumn'] as const) {
    const error = await refusal(layers, 50, { granularity });
    expect([error.code, error.details.allowed]).toEqual(['granularity', expect.arrayContaining(['row', 'layer'])]);
  }
});

const filtersOf1d = (scale: number): ArrayLayer => ({
  kind: 'conv1d',
  roles: ['out', 'in', 'width'],
  shape: [2, 3, 4],
  data: new Float32Array(24).fill(-scale),
});

test('Q21: The biases of removed outputs of a dense layer are removed with them', async () => {
  // fasterai keeps these biases, and has no filters of a Linear.
  const onnx = { roles: ['out', 'in'], shape: [4, 2], data: Float32Array.of(5, -5, 1, 2, -7, 7, 2, 2) } as const;
  const tfjs = { roles: ['in', 'out'], shape: [2, 4], data: Float32Array.of(5, 1, -7, 2, -5, 2, 7, 2) } as const;
  const left = [
    [5, -5, 0, 0, -7, 7, 0, 0],
    [5, 0, -7, 0, -5, 0, 7, 0],
  ];
  for (const granularity of ['row', 'filter'] as const) {
    for (const [index, stored] of [onnx, tfjs].entries()) {
      const layer: ArrayLayer = {
        kind: 'dense',
        ...stored,
        bias: Float32Array.of(0.5, -100, 0.25, 200),
        batchNorm: { gamma: Float32Array.of(1, 2, 3, 4), beta: Float32Array.of(-1, -2, -3, -4) },
      };
      const { layers } = await sparsified({ layer }, 50, { granularity });
      const expected: ArrayLayer = {
        ...layer,
        data: Float32Array.from(left[index]!),
        bias: Float32Array.of(0.5, 0, 0.25, 0),
        batchNorm: { gamma: Float32Array.of(1, 0, 3, 0), beta: Float32Array.of(-1, 0, -3, 0) },
      };
      expectSame(layers, { layer: expected }, granularity);
    }
  }
});

test('Q22: Biases are removed with the filters of a grouped transposed convolution', async () => {
  // Two groups of two inputs and three outputs each. fasterai fails: its mask has 3 filters, the bias 6 entries.
  const magnitudes = [6, 1, 5, 2, 4, 3];
  const channels = range(12).map((place) => Math.floor(place / 6) * 3 + (place % 3));
  const layerWith = (keep: (channel: number) => boolean): ArrayLayer => ({
    kind: 'convTranspose2d',
    roles: ['in', 'out', 'height', 'width'],
    shape: [4, 3, 1, 1],
    groups: 2,
    data: Float32Array.from(channels, (channel) => (keep(channel) ? -magnitudes[channel]! : 0)),
    bias: Float32Array.from(range(6), (channel) => (keep(channel) ? channel - 10 : 0)),
  });
  const { layers, report } = await sparsified({ layer: layerWith(() => true) }, 50, { granularity: 'filter' });
  expect(report.layers[0]).toMatchObject({ units: 6, keptUnits: 3, zeros: 6 });
  expectSame(layers, { layer: layerWith((channel) => [0, 2, 4].includes(channel)) });
});

const pattern = { ...weightwise, granularity: Granularity.nm(2, 4) };

/** The same layer where of each whole four weights along the input the two smallest are 0, the first of equal ones. */
function twoOfFour(layer: ArrayLayer): ArrayLayer {
  const data = layer.data.slice();
  for (const { positions } of unitsOf(layer, Granularity.spanning('in'))) {
    for (let first = 0; first + 4 <= positions.length; first += 4) {
      const four = positions.slice(first, first + 4).sort((a, b) => Math.abs(data[a]!) - Math.abs(data[b]!));
      data[four[0]!] = data[four[1]!] = 0;
    }
  }
  return { ...layer, data };
}

async function patterned(layer: ArrayLayer): Promise<Result> {
  const layers = copyOf({ layer });
  const report = await new Sparsifier(fromArrays(layers), pattern).sparsifyModel();
  return { layers, report };
}

test.each([
  { name: 'nm0', zeros: 432 },
  { name: 'nm1', zeros: 40 },
  { name: 'nm2', zeros: 64 },
  // fasterai leaves 4 inputs of 3 x 3 and 8 inputs of 1 x 1 dense, and keeps all 864 weights where they are equal.
  { name: 'nm3', zeros: 144 },
  { name: 'nm5', zeros: 32 },
  { name: 'nmEq', zeros: 432 },
  // Two inputs make no four.
  { name: 'nm4', zeros: 0 },
])(
  'Q23: Of every four weights along the input exactly two are kept ($name: $zeros are removed)',
  async ({ name, zeros }) => {
    const layer = recorded(`${name}/layer.weight`);
    const { layers, report } = await patterned(layer);
    expectSame(layers, { layer: twoOfFour(layer) });
    expect(report.total.zeros).toBe(zeros);
    expect(report.notes).toHaveLength(zeros > 0 ? 0 : 1);
  },
);

test.each(layouts.filter(({ roles }) => roles.includes('in')))(
  'Q23: exactly two of four stay along the input of $title, ties or none',
  async ({ kind, roles, shape, groups = 1 }) => {
    // fasterai fails for Linear and Conv1d, and groups transposed convolutions along their output.
    const inputs = kind.startsWith('convTranspose') ? 8 * groups : 8;
    const wider = shape.map((size, axis) => (roles[axis] === 'in' ? inputs : size));
    for (const magnitudes of [1, 3, 2000]) {
      const layer = weightsOnly({ kind, roles, shape: wider, groups }, 5, magnitudes);
      const { layers, report } = await patterned(layer);
      expectSame(layers, { layer: twoOfFour(layer) });
      expect(report.layers[0]).toMatchObject({ units: product(wider), keptUnits: product(wider) / 2 });
    }
  },
);

test('Q23: An N:M pattern takes no amount', async () => {
  // fasterai ignores it, and leaves the layer dense at any other granularity than weight.
  const layers = { layer: recorded('nm0/layer.weight') };
  for (const sparsity of [0, 50, { keep: 8 }]) {
    expect((await refusal(layers, sparsity, pattern)).code).toBe('sparsity');
  }
});

test('Q30: A list whose length is not the number of layers is an error before any of them is changed', async () => {
  // fasterai changes the first layers of a list that is too short, then fails; it ignores the end of one too long.
  const layers: Layers = { a: line(values(8, 1)), b: line(values(8, 2)), c: line(values(8, 3)) };
  for (const list of [[], [50], [50, 50], [50, 50, 50, 50], new Array<number>(3), [50, 50, undefined]]) {
    const error = await refusal(layers, list);
    expect(error.code).toBe('sparsity');
    if (list.length !== 3) for (const name of Object.keys(layers)) expect(error.message).toContain(name);
  }
  const copies = copyOf(layers);
  const sparsifier = new Sparsifier(fromArrays(copies), weightwise);
  await errorOf(() => sparsifier.sparsifyModel([50, 50]));
  expect(sparsifier.masks().size).toBe(0);
  const report = await sparsifier.sparsifyModel([25, 50, 75]);
  expect(report.layers.map(({ keptUnits }) => keptUnits)).toEqual([6, 4, 2]);
});
