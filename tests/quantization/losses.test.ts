import fc from 'fast-check';
import { fromArrays, type ArrayLayer } from 'sparsifier/formats/arrays';
import { readOnnx } from 'sparsifier/formats/onnx';
import { readSafetensors } from 'sparsifier/formats/safetensors';
import { readTfjs } from 'sparsifier/formats/tfjs';
import { dequantize, quantize, type Form, type QuantizeReport } from 'sparsifier/quantize';
import { describe, expect, test } from 'vitest';
import { bfloat16, channelLossOf, float16, importanceOf, narrowed, storedAs, widened } from '../support/internal.js';
import { anyLayout, weightsOnly, xorshift } from '../support/layers.js';
import { placesOf, sizesOf } from '../support/naive-repair.js';
import { model, node, tensor } from '../support/onnx-builder.js';
import { safetensorsFile } from '../support/safetensors-builder.js';
import { filesOf, floats, textOf } from '../support/tfjs.js';

// What rounding can lose at the ends of a form: numbers that are too small or too large for it, and whole channels.

const tensorOf = (layer: ArrayLayer) => fromArrays({ layer }).tensors[0]!;
const bytesOf = (numbers: ArrayLike<number>) => new Uint8Array(Float32Array.from(numbers).buffer);
const largest = 2 ** 128 - 2 ** 104;

/** A convolution, and a product with as many other numbers as it has channels. */
const convolution = (weights: ArrayLike<number>, others: ArrayLike<number> = new Float32Array(64).fill(1)) =>
  model({
    nodes: [node('Conv', 'x w', 'h', { name: 'conv' }), node('Mul', 'h s', 'y')],
    initializers: [
      tensor('w', [64, 4, 3, 3], { data: bytesOf(weights) }),
      tensor('s', [64, 1, 1], { data: bytesOf(others) }),
    ],
    inputs: { x: 4 },
    outputs: { y: 4 },
  });
/** Numbers of both signs of which few are small. */
const random = (length: number, seed = 1): Float32Array<ArrayBuffer> => {
  const next = xorshift(seed);
  return Float32Array.from({ length }, () => next() / 2 ** 31 - 1);
};
const weights = random(64 * 36);

async function reportOf(
  file: Uint8Array<ArrayBuffer>,
  options: Parameters<typeof quantize>[1],
): Promise<QuantizeReport> {
  using read = await readOnnx(file);
  const { model: quantised, report } = await quantize(read, options);
  quantised.close();
  return report;
}

describe('small numbers', () => {
  test('Weights that are too small for float16 are warned of, channel by channel', async () => {
    const tiny = weights.map((weight, index) => (index < 10 * 36 ? 1e-9 * weight : weight));
    const report = await reportOf(convolution(tiny), { weights: 'float16' });
    expect(report.layers).toMatchObject([{ name: 'conv', channels: 64, lostChannels: 10 }]);
    expect(report.warnings).toEqual([
      {
        code: 'lost-channels',
        layer: 'conv',
        details: { layers: [{ name: 'conv', kind: 'conv2d', form: 'float16', lostChannels: 10, channels: 64 }] },
        message:
          'output channels lost all of their weights, which are too small for the form: 10 of 64 in conv (float16); ' +
          'leave layers out with `exclude`',
      },
    ]);
    expect(report.table()).toContain('warning: output channels lost all of their weights');
    // A form with a scale for each channel keeps them.
    const codes = await reportOf(convolution(tiny), { weights: 'int8' });
    expect(codes.layers).toMatchObject([{ lostChannels: 0 }]);
    expect(codes.warnings).toEqual([]);
  });

  test('Weights that float16 rounds by more than 1 % are warned of', async () => {
    const report = await reportOf(convolution(weights.map((weight) => weight * 1e-7)), { weights: 'float16' });
    expect(report.layers[0]).toMatchObject({ lostChannels: 0 });
    expect(report.layers[0]!.error).toBeGreaterThan(0.01);
    expect(report.warnings.map(({ code }) => code)).toEqual(['high-error']);
    expect((await reportOf(convolution(weights), { weights: 'float16' })).warnings).toEqual([]);
  });

  test('Channels that were 0 before are not lost', async () => {
    const report = await reportOf(
      convolution(weights.map((weight, index) => (index < 36 ? 0 : index < 72 ? 1e-40 : weight))),
      { weights: 'float16' },
    );
    expect(report.layers).toMatchObject([{ lostChannels: 0 }]);
    expect(report.warnings).toEqual([]);
  });

  test.each([
    [1e-9, 'it has the number 1e-9, which float16 rounds to 0'],
    [-1e-7, 'it has the number -1e-7, which float16 rounds to -1.19e-7'],
    [1e-5, undefined],
    [0, undefined],
    // Some hardware takes it for 0.
    [1e-40, undefined],
  ])('Other numbers with one of %d keep 32 bits if it would lose more than 1 %%', async (number, reason) => {
    const others = random(64, 2);
    others[7] = number;
    const report = await reportOf(convolution(weights, others), { weights: 'int8', others: 'float16' });
    expect(report.others).toEqual([{ name: 's', length: 64, ...(reason ? { reason } : { form: 'float16' }) }]);
  });

  test.each(['float16', 'bfloat16'] as const)(
    'Others stored as %s are within 1 %, and those that stay are not',
    async (form) => {
      const round = form === 'float16' ? float16 : bfloat16;
      await fc.assert(
        fc.asyncProperty(fc.array(fc.float({ noNaN: true }), { minLength: 64, maxLength: 64 }), async (numbers) => {
          using read = await readSafetensors(
            safetensorsFile({
              'h.weight': { shape: [16, 16], data: bytesOf(random(256)) },
              n: { shape: [64], data: bytesOf(numbers) },
            }),
          );
          const { model: quantised, report } = await quantize(read, { others: form });
          quantised.close();
          const isNear = numbers.every((number) => {
            const off = Math.abs(number - round(narrowed(number, form)));
            return !Number.isFinite(number) || Math.abs(number) < 2 ** -126 || off <= 0.01 * Math.abs(number);
          });
          const most = form === 'float16' ? 65504 : 2 ** 128 - 2 ** 120;
          const isSmall = numbers.every((number) => !Number.isFinite(number) || Math.abs(number) <= most);
          expect(report.others).toMatchObject([{ name: 'n' }]);
          const { form: own, reason } = report.others[0]!;
          if (reason?.startsWith('it is a table')) return;
          expect(own === form).toBe(isNear && isSmall);
        }),
        { numRuns: 40 },
      );
    },
  );

  test('Channels that are much smaller than others are lost with one scale, and 16 bits are suggested', async () => {
    // In the layout of TensorFlow.js, channels vary fastest.
    const numbers = random(40 * 30).map((weight, index) => (index % 30 < 3 ? 1e-4 * weight : weight));
    const files = filesOf(null, [
      { name: 'dense/kernel', shape: [40, 30], dtype: 'float32', bytes: floats(...numbers) },
    ]);
    using read = await readTfjs(textOf(files.json.weightsManifest), {
      shards: (name) => files.shards.get(name)! as Uint8Array<ArrayBuffer>,
    });
    const { model: quantised, report } = await quantize(read, { weights: 'uint8' });
    quantised.close();
    expect(report.layers).toMatchObject([{ channels: 30, lostChannels: 3 }]);
    expect(report.warnings.map(({ code }) => code)).toEqual(['lost-channels', 'one-scale']);
    expect(report.warnings[0]!.message).toContain(
      "3 of 30 in dense/kernel (uint8); use `weights: 'float16'`, or leave layers out with `exclude`",
    );
    const { model: half, report: kept } = await quantize(read, { weights: 'float16' });
    half.close();
    expect(kept.warnings).toEqual([]);
  });
});

/** The output channel of each weight, and how much its error counts. */
function naiveLoss(layer: ArrayLayer, after: Float32Array, importance: Float64Array) {
  const { roles, shape } = layer;
  const { columns } = sizesOf(layer);
  const [had, has, all] = [new Set<string>(), new Set<string>(), new Set<string>()];
  let [difference, whole] = [0, 0];
  for (const [position, { group, column }] of placesOf(layer).entries()) {
    const indices: number[] = [];
    for (let axis = shape.length - 1, rest = position; axis >= 0; rest = Math.floor(rest / shape[axis--]!))
      if (roles[axis] === 'out' || roles[axis] === 'multiplier') indices.push(rest % shape[axis]!);
    const [channel, before] = [indices.join(), layer.data[position] as number];
    all.add(channel);
    if (before !== 0) had.add(channel);
    if (after[position] !== 0) has.add(channel);
    difference += importance[group * columns + column]! * (before - after[position]!) ** 2;
    whole += importance[group * columns + column]! * before ** 2;
  }
  const lostChannels = [...had].filter((channel) => !has.has(channel)).length;
  return { channels: all.size, lostChannels, outputError: whole > 0 ? Math.sqrt(difference / whole) : 0 };
}

describe('channels', () => {
  test('Lost channels and the error of the outputs are counted in all layouts', async () => {
    let lost = 0;
    await fc.assert(
      fc.asyncProperty(
        anyLayout(6).filter(({ kind }) => kind !== 'embedding'),
        fc.nat(),
        fc.constantFrom<Form>('int8', 'uint8', 'uint16', 'float16'),
        async (layout, seed, form) => {
          const next = xorshift(seed + 1);
          const plain = weightsOnly(layout);
          const data = random(plain.data.length, seed + 2).map((each) => each * 10 ** -(next() % 12));
          const layer = { ...plain, data: Float32Array.from(data) };
          const { groups, columns } = sizesOf(layer);
          const importance = Float64Array.from({ length: groups * columns }, () => next() / 2 ** 32);
          const tensor = tensorOf(layer);
          const { values: after } = await storedAs(form, tensor, layer.data, importance);
          const expected = naiveLoss(layer, after, importance);
          const found = await channelLossOf(tensor, layer.data, after, importance);
          expect(found).toEqual({ ...expected, outputError: expect.closeTo(expected.outputError, 9) as number });
          expect(await channelLossOf(tensor, layer.data, after, undefined)).not.toHaveProperty('outputError');
          lost += found.lostChannels;
        },
      ),
      { numRuns: 100 },
    );
    expect(lost).toBeGreaterThan(0);
  });
});

describe('inputs', () => {
  test('An input that never changes does not count where a bias makes up for it', () => {
    const mean = Float64Array.from([5, 0.1, -3, 1], Math.fround);
    const moment = Float64Array.from([25, 0.1 ** 2, 9 + 1e-3, 2], Math.fround);
    expect(Array.from(importanceOf({ mean, moment }, true))).toEqual([
      0,
      0,
      expect.closeTo(1e-3, 5),
      expect.closeTo(1, 6),
    ]);
    expect(importanceOf({ mean, moment }, false)).toBe(moment);
  });

  test('Without an input that changes, scales are those by range', async () => {
    const layer: ArrayLayer = { kind: 'dense', roles: ['out', 'in'], shape: [3, 40], data: random(120, 5) };
    const tensor = tensorOf(layer);
    const data = layer.data as Float32Array;
    const range = await storedAs('int8', tensor, data, undefined);
    const constant = await storedAs('int8', tensor, data, new Float64Array(40));
    expect(constant).toEqual(range);
    const found = await channelLossOf(tensor, data, constant.values, new Float64Array(40));
    expect(found).toEqual({ channels: 3, lostChannels: 0, outputError: 0 });
  });
});

describe('large numbers', () => {
  const forms = ['int8', 'int4', 'uint8', 'uint16'] as const;

  test.each(forms)('Weights near the largest float stay finite as %s', async (form) => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.double({ min: -1, max: 1, noNaN: true }), { minLength: 2, maxLength: 40 }),
        fc.constantFrom(1, 1 - 2 ** -23, 0.999, 0.97),
        fc.boolean(),
        async (shares, peak, isFitted) => {
          const data = Float32Array.from([peak * largest, ...shares.map((share) => share * largest)]);
          const layer: ArrayLayer = { kind: 'dense', roles: ['out', 'in'], shape: [1, data.length], data };
          const importance = isFitted ? Float64Array.from(data, (_, index) => (index % 3) + 0.5) : undefined;
          const { numbers, values: after, loss } = await storedAs(form, tensorOf(layer), data, importance);
          expect(after.every(Number.isFinite)).toBe(true);
          let off = 0;
          for (const [index, value] of after.entries()) {
            const scale = 'scales' in numbers ? numbers.scales[form === 'int4' ? Math.floor(index / 32) : 0]! : 0;
            const step = 'scale' in numbers ? numbers.scale : Math.abs(scale);
            // The value of a code is rounded to the nearest float32, by at most half an ulp.
            const rounding = Math.abs(value) * 2 ** -24;
            if (Math.abs(value - data[index]!) > (step / 2) * (1 + 1e-6) + rounding) off++;
            if ('scales' in numbers) expect(value).toBe(Math.fround(numbers.codes[index]! * scale));
          }
          expect(off).toBeLessThanOrEqual(loss.clipped);
        },
      ),
      { numRuns: 200 },
    );
  });

  test.each<[Form, number]>([
    ['float16', NaN],
    ['float16', Infinity],
    ['int8', -Infinity],
  ])('A layer is refused as %s with a weight of %d', async (form, number) => {
    const infinite = weights.slice();
    infinite[5] = number;
    using read = await readOnnx(convolution(infinite));
    await expect(quantize(read, { weights: form })).rejects.toMatchObject({
      code: 'weights',
      message:
        'conv: a weight is infinite or not a number. found: at index 5 of shape [64, 4, 3, 3]. ' +
        'Correct the weights, or `exclude` this layer.',
    });
    const { model: excluded, report } = await quantize(read, {
      ...{ weights: form, rules: { exclude: 'conv' }, others: 'float16' },
    });
    excluded.close();
    // Layers that rules leave out are no other numbers.
    expect(report.others).toMatchObject([{ name: 's' }]);
    expect(report.skipped).toMatchObject([{ name: 'conv' }]);
  });

  test('The largest weights decode to finite numbers in the file', async () => {
    const large = weights.map((weight, index) => (index % 36 === 0 ? largest : weight));
    using read = await readOnnx(convolution(large));
    const { model: quantised } = await quantize(read, { weights: 'int8' });
    const { model: floating } = await dequantize(quantised);
    quantised.close();
    using closing = floating;
    const { values: numbers } = closing.tensors[0]!;
    const after = widened(await closing.copy(numbers), numbers.dtype);
    expect(after.every(Number.isFinite)).toBe(true);
    expect(after[0]! / largest).toBeCloseTo(1, 5);
  });
});
