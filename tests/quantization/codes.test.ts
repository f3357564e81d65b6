import fc from 'fast-check';
import type { WeightTensor } from 'sparsifier';
import { fromArrays, type ArrayLayer } from 'sparsifier/formats/arrays';
import { describe, expect, test } from 'vitest';
import { bfloat16, float16, int4Block, storedAs, type Form } from '../support/internal.js';
import { anyLayout, layouts, permuted, values, weightsOnly, xorshift } from '../support/layers.js';
import { placesOf, sizesOf } from '../support/naive-repair.js';

// The weights of one layer in each form, compared with the definitions of the forms, one weight after the other.

const tensorOf = (layer: ArrayLayer): WeightTensor => fromArrays({ layer }).tensors[0]!;
const weightsOf = ({ data }: ArrayLayer) => data as Float32Array<ArrayBuffer>;

async function stored(form: Form, layer: ArrayLayer, importance?: Float64Array) {
  return storedAs(form, tensorOf(layer), weightsOf(layer), importance);
}

/** The index of each axis of a weight, by role. */
function indicesOf({ roles, shape }: ArrayLayer, position: number): Readonly<Record<string, number>> {
  const indices: Record<string, number> = {};
  for (let axis = roles.length - 1, rest = position; axis >= 0; rest = Math.floor(rest / shape[axis--]!)) {
    indices[roles[axis]!] = rest % shape[axis]!;
  }
  return indices;
}

/** Which scale each weight has: the place on the axes of output channels, in stored order, and the block of inputs. */
function scaleOf(layer: ArrayLayer, position: number, block = Infinity): number {
  const { roles, shape } = layer;
  const indices = indicesOf(layer, position);
  let channel = 0;
  for (const [axis, role] of roles.entries()) {
    if (role === 'out' || role === 'multiplier') channel = channel * shape[axis]! + indices[role]!;
  }
  if (block === Infinity) return channel;
  return channel * Math.ceil(shape[roles.indexOf('in')]! / block) + Math.floor(indices.in! / block);
}

/** Codes and scales, one weight after the other. */
async function codesOf(form: 'int8' | 'int8-dynamic' | 'int4', layer: ArrayLayer, importance?: Float64Array) {
  const { numbers, values, loss } = await stored(form, layer, importance);
  if (!('scales' in numbers)) throw new Error(`${form} has scales`);
  const block = form === 'int4' ? int4Block : Infinity;
  const places = Array.from(layer.data, (_, position) => scaleOf(layer, position, block));
  return { ...numbers, values, loss, places };
}

/** The nearest whole number, of two the even one. */
function nearest(number: number): number {
  const below = Math.floor(number);
  const isUp = number - below > 0.5 || (number - below === 0.5 && below % 2 !== 0);
  return below + Number(isUp) + 0;
}

const random = (length: number, seed: number): Float32Array<ArrayBuffer> => {
  const next = xorshift(seed);
  // About normal: a sum of four uniform numbers.
  const uniform = () => next() / 2 ** 32 - 0.5;
  return Float32Array.from({ length }, () => uniform() + uniform() + uniform() + uniform());
};

/** Some of these weights are 0. */
const withZeros = (layer: ArrayLayer): ArrayLayer => ({
  ...layer,
  data: weightsOf(layer).map((weight, index) => (index % 3 === 1 ? 0 : weight)),
});

/** How much the error of each column counts, for the inputs of all groups. */
const importances = (layer: ArrayLayer, seed: number): Float64Array => {
  const { groups, columns } = sizesOf(layer);
  return Float64Array.from(random(groups * columns, seed), (each) => Math.abs(each));
};

/** The weighted squared error of each scale. */
function errorsOf(layer: ArrayLayer, decoded: Float32Array, places: readonly number[], importance: Float64Array) {
  const { columns } = sizesOf(layer);
  const errors = Array<number>(Math.max(...places) + 1).fill(0);
  for (const [position, { group, column }] of placesOf(layer).entries()) {
    const error = weightsOf(layer)[position]! - decoded[position]!;
    errors[places[position]!] = errors[places[position]!]! + importance[group * columns + column]! * error ** 2;
  }
  return errors;
}

describe('int8', () => {
  test.each(layouts)(
    'Each output channel of a $title has the scale of its largest weight, or of its table',
    async (layout) => {
      const layer = withZeros(weightsOnly(layout));
      const { codes, scales, values: decoded, loss, places } = await codesOf('int8', layer);
      const largest = Array<number>(scales.length).fill(0);
      for (const [position, weight] of weightsOf(layer).entries())
        largest[places[position]!] = Math.max(largest[places[position]!]!, Math.abs(weight));
      expect(Math.max(...places)).toBe(scales.length - 1);
      const byRange = largest.map((each) => Math.max(Math.fround(each / 127), 2 ** -126));
      // The rows of a table share a step, which costs 4 % of its norm, unless one needs a coarser or much finer one.
      const squares = weightsOf(layer).reduce((sum, weight) => sum + weight * weight, 0);
      const step = layer.kind === 'embedding' ? 0.04 * Math.sqrt((12 * squares) / layer.data.length) : 0;
      expect(Array.from(scales)).toEqual(byRange.map((each) => Math.fround(Math.min(Math.max(each, step), 16 * each))));
      expect(Array.from(codes)).toEqual(
        Array.from(weightsOf(layer), (weight, position) => nearest(weight / scales[places[position]!]!)),
      );
      expect(Array.from(decoded)).toEqual(
        Array.from(codes, (code, position) => Math.fround(code * scales[places[position]!]!)),
      );
      expect(loss.clipped).toBe(0);
      expect(loss.zeros).toBe(codes.filter((code) => code === 0).length);
      const norm = (numbers: ArrayLike<number>) => Math.hypot(...Array.from(numbers));
      const difference = norm(weightsOf(layer).map((weight, position) => weight - decoded[position]!));
      expect(loss.error).toBeCloseTo(difference / norm(weightsOf(layer)), 6);
    },
  );

  test('The codes of a table have a relative error of 4 %, and those of its smallest rows keep it at most 16 times as coarse', async () => {
    const [rows, columns] = [400, 64];
    const data = random(rows * columns, 5);
    // A row that is far smaller, and one that is far larger than the others.
    for (let column = 0; column < columns; column++) {
      data[column]! /= 1000;
      data[columns + column]! *= 3;
    }
    const layer: ArrayLayer = { kind: 'embedding', roles: ['out', 'in'], shape: [rows, columns], data };
    const { codes, loss } = await codesOf('int8', layer);
    expect(loss.error).toBeGreaterThan(0.03);
    expect(loss.error).toBeLessThan(0.045);
    const largest = (row: number) => Math.max(...codes.subarray(row * columns, (row + 1) * columns).map(Math.abs));
    expect(largest(0)).toBe(8);
    expect(largest(1)).toBeGreaterThan(largest(2));
    expect(largest(2)).toBeLessThan(40);
  });

  test('Kept weights are within half a step, clipped ones are counted, and zeros stay zero', async () => {
    await fc.assert(
      fc.asyncProperty(anyLayout(6), fc.nat(), fc.boolean(), async (layout, seed, isFitted) => {
        const plain = weightsOnly(layout, 1, 2000);
        const layer = withZeros({ ...plain, data: random(plain.data.length, seed + 1) });
        const given = isFitted ? importances(layer, seed + 2) : undefined;
        const { codes, scales, values: decoded, loss, places } = await codesOf('int8', layer, given);
        let clipped = 0;
        for (const [position, weight] of weightsOf(layer).entries()) {
          const [code, scale] = [codes[position]!, scales[places[position]!]!];
          expect(Math.abs(code)).toBeLessThanOrEqual(127);
          if (weight === 0) expect([code, decoded[position]]).toEqual([0, 0]);
          if (Math.abs(weight / scale) > 127.5) {
            clipped++;
            expect(Math.abs(code)).toBe(127);
          } else expect(Math.abs(weight - code * scale)).toBeLessThanOrEqual((scale / 2) * (1 + 1e-12));
        }
        expect(loss.clipped).toBe(clipped);
      }),
      { numRuns: 100 },
    );
  });

  test('Scales by least squares are never worse in the weighted error than those by range', async () => {
    let better = 0;
    await fc.assert(
      fc.asyncProperty(anyLayout(6, 20), fc.nat(), async (layout, seed) => {
        const layer = { ...weightsOnly(layout), data: random(weightsOnly(layout).data.length, seed + 1) };
        const importance = importances(layer, seed + 2);
        // Those of a table are not by range.
        const plain = layer.kind === 'embedding' ? { ...layer, kind: 'dense' as const } : layer;
        const [range, fitted] = [await codesOf('int8', plain), await codesOf('int8', layer, importance)];
        const before = errorsOf(layer, range.values, range.places, importance);
        const after = errorsOf(layer, fitted.values, fitted.places, importance);
        for (const [place, error] of after.entries()) {
          expect(error).toBeLessThanOrEqual(before[place]! * (1 + 1e-12));
          if (error < before[place]! * 0.99) better++;
        }
      }),
      { numRuns: 60 },
    );
    expect(better).toBeGreaterThan(100);
  });

  test('The codes of a transposed tensor are the transposed codes, bit for bit', async () => {
    await fc.assert(
      fc.asyncProperty(anyLayout(5), fc.nat(), fc.boolean(), async (layout, seed, isReversed) => {
        const layer = { ...weightsOnly(layout), data: random(weightsOnly(layout).data.length, seed + 1) };
        const axes = [...layer.shape.keys()];
        const order = isReversed ? axes.reverse() : [...axes.slice(1), axes[0]!];
        const other = permuted(layer, order);
        const [own, moved] = [
          await codesOf('int8', layer, importances(layer, seed + 2)),
          await codesOf('int8', other, importances(other, seed + 2)),
        ];
        const asTensor = (codes: Int8Array) => ({ ...layer, data: Float32Array.from(codes) });
        expect(permuted(asTensor(own.codes), order).data).toEqual(Float32Array.from(moved.codes));
        expect(moved.loss).toEqual({ ...own.loss, error: expect.closeTo(own.loss.error, 12) as number });
      }),
      { numRuns: 60 },
    );
  });

  test.each([
    ['all weights are 0', [0, -0, 0]],
    ['weights are subnormal', [1e-45, -3e-42, 2e-40]],
    ['weights are large', [3e38, -3e38, 1e38]],
    ['one weight is much larger than the others', [1e30, 1, -1]],
  ])('Scales are normal numbers if %s', async (_, weights) => {
    const layer: ArrayLayer = { kind: 'dense', roles: ['out', 'in'], shape: [1, 3], data: Float32Array.from(weights) };
    for (const importance of [undefined, Float64Array.of(1, 0, 2), new Float64Array(3)]) {
      const { scales, values: decoded, loss } = await codesOf('int8', layer, importance);
      expect(scales[0]).toBeGreaterThanOrEqual(2 ** -126);
      const off = weights.filter(
        (weight, index) => !(Math.abs(Math.fround(weight) - decoded[index]!) <= scales[0]! * 0.5000001),
      );
      expect(off).toHaveLength(loss.clipped);
      expect(decoded.every(Number.isFinite)).toBe(true);
    }
  });
});

describe('int8-dynamic', () => {
  /** Inputs of 8 bits without a sign, and sums of 16 bits with one. */
  const [largestInput, largestSum] = [255, 2 ** 15];
  /** 127 times it is a float. Weights of half of the largest float need more, and are clipped. */
  const largestScale = Math.fround(((2 - 2 ** -23) * 2 ** 127 * (1 - 2 ** -23)) / 127);

  const anyWeights = fc.oneof(
    fc.nat().map((seed) => (count: number) => random(count, seed + 1)),
    fc.float({ min: -4, max: 4, noNaN: true }).map((weight) => (count: number) => new Float32Array(count).fill(weight)),
    fc
      .array(fc.float({ noNaN: true, noDefaultInfinity: true }), { minLength: 1 })
      .map((some) => (count: number) => Float32Array.from({ length: count }, (_, index) => some[index % some.length]!)),
  );

  test('Two products never need more than 16 bits, with the smallest scales of which that is true, by which no weight is clipped', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 70 }),
        fc.boolean(),
        fc.boolean(),
        anyWeights,
        async (inputs, isFirst, isMeasured, weights) => {
          const layer: ArrayLayer = {
            ...{ kind: 'dense', roles: isFirst ? ['in', 'out'] : ['out', 'in'] },
            ...{ shape: isFirst ? [inputs, 3] : [3, inputs], data: weights(3 * inputs) },
          };
          const importance = isMeasured ? importances(layer, inputs) : undefined;
          const { codes, scales, values: decoded, loss } = await codesOf('int8-dynamic', layer, importance);
          expect(decoded.every(Number.isFinite)).toBe(true);
          if (scales.every((scale) => scale < largestScale)) expect(loss.clipped).toBe(0);
          for (let output = 0; output < 3; output++) {
            const placeOf = (input: number) => (isFirst ? input * 3 + output : output * inputs + input);
            let peak = 0;
            for (let input = 0; input < inputs; input += 2) {
              const pair = [input, input + 1].filter((each) => each < inputs).map(placeOf);
              const [one, other = 0] = pair.map((place) => codes[place]!);
              const sums = [0, largestInput].flatMap((x) => [0, largestInput].map((y) => x * one! + y * other));
              expect(Math.min(...sums)).toBeGreaterThanOrEqual(-largestSum);
              expect(Math.max(...sums)).toBeLessThan(largestSum);
              const [first, second = 0] = pair.map((place) => weightsOf(layer)[place]!);
              peak = Math.max(peak, Math.abs(first!), Math.abs(second), Math.abs(first! + second));
            }
            const byRange = Math.fround(Math.fround(peak) / 127);
            expect(scales[output]).toBe(Math.min(Math.max(byRange, 2 ** -126), largestScale));
          }
        },
      ),
      { numRuns: 300 },
    );
  });
});

describe('int4', () => {
  const dense = (inputs: number, seed: number): ArrayLayer => ({
    ...{ kind: 'dense', roles: ['in', 'out'], shape: [inputs, 3] },
    data: random(inputs * 3, seed),
  });

  test.each([1, 31, 32, 33, 64, 100])('%i inputs have a scale for each 32 of one output', async (inputs) => {
    const layer = withZeros(dense(inputs, inputs));
    const { codes, scales, loss, places } = await codesOf('int4', layer);
    expect(scales).toHaveLength(3 * Math.ceil(inputs / 32));
    let clipped = 0;
    for (const [position, weight] of weightsOf(layer).entries()) {
      const [code, scale] = [codes[position]!, scales[places[position]!]!];
      expect(code).toBe(nearest(Math.min(Math.max(weight / scale, -8), 7)));
      if (Math.abs(weight / scale - code) > 0.5) clipped++;
      if (weight === 0) expect(code).toBe(0);
    }
    expect(loss.clipped).toBe(clipped);
  });

  test('The error is lower than that of scales for the largest weight', async () => {
    const layer = dense(320, 5);
    const { values: decoded, places } = await codesOf('int4', layer);
    const largest: number[] = [];
    for (const [position, weight] of weightsOf(layer).entries())
      largest[places[position]!] = Math.max(largest[places[position]!] ?? 0, Math.abs(weight));
    const byRange = weightsOf(layer).map((weight, position) => {
      const scale = Math.fround(largest[places[position]!]! / 7);
      return Math.round(weight / scale) * scale;
    });
    const sum = (list: readonly number[]) => list.reduce((total, each) => total + each, 0);
    const even = new Float64Array(320).fill(1);
    const [fitted, range] = [decoded, byRange].map((each) => sum(errorsOf(layer, each, places, even)));
    expect(fitted).toBeLessThan(0.9 * range!);
  });
});

describe.each([
  ['uint8', 255],
  ['uint16', 65535],
] as const)('%s', (form, most) => {
  test.each([
    ['of both signs', [-3, 0, 1, 2.5, -0.01]],
    ['above 0', [3, 1, 0, 2.5]],
    ['below 0', [-3, -1, 0, -2.5]],
    ['all 0', [0, 0]],
    ['almost all on one side', [1000, 0, -1e-6]],
    ['that are large', [3e38, -3e38, 0]],
  ])('A code is exactly zero, and no weight %s is clipped', async (_, weights) => {
    const data = Float32Array.from(weights);
    const layer: ArrayLayer = { kind: 'dense', roles: ['out', 'in'], shape: [1, data.length], data };
    const { numbers, values: decoded, loss } = await stored(form, layer);
    if (!('min' in numbers)) throw new Error(`${form} has an offset`);
    const { codes, scale, min } = numbers;
    for (const [index, weight] of data.entries()) {
      expect(codes[index]).toBeLessThanOrEqual(most);
      const value = codes[index]! * scale + min;
      expect(decoded[index]).toBe(Math.fround(value));
      if (weight === 0) expect(value + 0).toBe(0);
      expect(Math.abs(weight - value)).toBeLessThanOrEqual((scale / 2) * (1 + 1e-9));
    }
    expect(loss).toMatchObject({ clipped: 0, zeros: decoded.filter((each) => each === 0).length });
    expect(scale * most).toBeLessThanOrEqual(1.01 * (Math.max(0, ...data) - Math.min(0, ...data)) || 2 * most);
  });
});

test.each([
  ['float16', float16],
  ['bfloat16', bfloat16],
] as const)('%s weights are the nearest numbers of 16 bits', async (form, widened) => {
  const data = values(100, 3).map((each, index) => each * 2 ** ((index % 30) - 26));
  const layer: ArrayLayer = { kind: 'dense', roles: ['out', 'in'], shape: [5, 20], data };
  const { numbers, values: decoded, loss } = await stored(form, layer);
  if (!('numbers' in numbers)) throw new Error(`${form} has numbers`);
  const bits = new Uint16Array(numbers.numbers.buffer);
  const all = Array.from({ length: 0x8000 }, (_, each) => widened(each)).filter(Number.isFinite);
  for (const [index, weight] of data.entries()) {
    expect(decoded[index]).toBe(widened(bits[index]!));
    const distance = Math.min(...all.map((each) => Math.abs(Math.abs(weight) - each)));
    expect(Math.abs(weight - decoded[index]!)).toBe(distance);
  }
  expect(loss.clipped).toBe(0);
});
