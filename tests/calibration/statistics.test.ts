import { fromArrays } from 'sparsifier/formats/arrays';
import { readStatistics, Statistics, type LayerStatistics } from 'sparsifier/calibration';
import { describe, expect, test } from 'vitest';
import { differsAt } from '../support/bytes.js';
import { safetensors } from '../support/files.js';
import { errorOf } from '../support/layers.js';
import { numbers } from '../support/onnx-builder.js';
import { safetensorsFile, type TensorToStore } from '../support/safetensors-builder.js';
import { keeping } from '../support/streams.js';

type Stored = Record<string, TensorToStore>;

const metadata = { format: 'sparsifier-statistics', version: '1' };
const floats = (shape: readonly number[], ...list: readonly number[]): TensorToStore => ({
  shape,
  data: numbers('float32', list),
});
const rows = (count: number, shape: readonly number[] = []): TensorToStore => ({
  dtype: 'I64',
  shape,
  data: numbers('int64', [count]),
});

/** Statistics of a dense layer with two inputs, and of a depthwise one with a kernel of one, two groups. */
const files = (): Stored => ({
  'enc/fc/rows': rows(10),
  'enc/fc/moment': floats([1, 2, 2], 2, 0.5, 0.5, 1),
  'enc/fc/mean': floats([1, 2], 0.5, -1),
  'enc/fc/norm': floats([2], 4, 3),
  'enc/fc/heldOut/rows': rows(2, [1]),
  'enc/fc/heldOut/moment': floats([1, 2, 2], 1, 0, 0, 1),
  'enc/fc/heldOut/mean': floats([1, 2], 0.25, 0),
  'depthwise/rows': rows(6),
  'depthwise/moment': floats([2, 1, 1], 4, 9),
  'depthwise/mean': floats([2, 1], 2, 3),
});

const read = (stored: Stored, more: Record<string, string> = {}) =>
  readStatistics(safetensorsFile(stored, { metadata: { ...metadata, ...more } }));

/** The layer with other numbers. */
const changed = ([name, layer]: readonly [string, LayerStatistics], change: Partial<LayerStatistics>) =>
  new Statistics(new Map([[name, { ...layer, ...change }]]));

describe('files', () => {
  test('A file has the moments, means, norms and rows of each layer, and of held-out rows', async () => {
    const { layers, skipped, notes } = await read(files());
    expect([skipped, notes]).toEqual([[], []]);
    expect([...layers]).toEqual([
      [
        'enc/fc',
        {
          ...{ groups: 1, columns: 2, isDiagonal: false, rows: 10, sha256: undefined },
          moment: Float32Array.of(2, 0.5, 0.5, 1),
          mean: Float32Array.of(0.5, -1),
          norm: Float32Array.of(4, 3),
          heldOut: {
            rows: 2,
            moment: Float32Array.of(1, 0, 0, 1),
            mean: Float32Array.of(0.25, 0),
            norm: undefined,
          },
        },
      ],
      [
        'depthwise',
        {
          ...{ groups: 2, columns: 1, isDiagonal: false, rows: 6, sha256: undefined },
          moment: Float32Array.of(4, 9),
          mean: Float32Array.of(2, 3),
          ...{ norm: undefined, heldOut: undefined },
        },
      ],
    ]);
  });

  test('What is written is read again as it was, and written again with the same bytes', async () => {
    const digest = '0123456789abcdef'.repeat(4);
    const { layers } = await read(files(), { 'sha256:enc/fc': digest });
    const diagonal = { ...layers.get('enc/fc')!, isDiagonal: true, moment: Float32Array.of(2, 1), heldOut: undefined };
    const statistics = new Statistics(new Map([...layers, ['diagonal', diagonal]]));
    const bytes = await statistics.bytes();
    const again = await readStatistics(bytes);
    expect(again.layers).toEqual(statistics.layers);
    expect(again.layers.get('enc/fc')!.sha256).toBe(digest);
    expect(differsAt(await again.bytes(), bytes)).toBe(-1);
    const kept = keeping();
    await statistics.write(kept.stream as WritableStream<Uint8Array<ArrayBuffer>>);
    expect(kept.isClosed).toBe(true);
    expect(differsAt(kept.bytes(), bytes)).toBe(-1);
    // Numbers that other readers find, too.
    const arrays = safetensors(bytes);
    expect(arrays.get('diagonal/moment')).toEqual({ shape: [1, 2], data: Float32Array.of(2, 1) });
    expect(arrays.get('depthwise/moment')).toEqual({ shape: [2, 1, 1], data: Float32Array.of(4, 9) });
    expect(arrays.get('enc/fc/heldOut/mean')).toEqual({ shape: [1, 2], data: Float32Array.of(0.25, 0) });
  });

  test('Numbers of 64 bits are rounded', async () => {
    const moment = { dtype: 'F64', shape: [2, 1, 1], data: new Uint8Array(Float64Array.of(0.1, 9).buffer) };
    const mean = { dtype: 'F64', shape: [2, 1], data: new Uint8Array(Float64Array.of(0.2, 3).buffer) };
    const { layers } = await read({ ...files(), 'depthwise/moment': moment, 'depthwise/mean': mean });
    expect(layers.get('depthwise')).toMatchObject({
      moment: Float32Array.of(0.1, 9),
      mean: Float32Array.of(0.2, 3),
    });
  });

  test('Inputs that are so small that their squares are rounded to 0 have statistics', async () => {
    const tiny = { 'enc/fc/moment': floats([1, 2, 2], 4, 2e-24, 2e-24, 0), 'enc/fc/mean': floats([1, 2], 2, 1e-24) };
    const { layers } = await read({ ...files(), ...tiny });
    expect(layers.get('enc/fc')!.mean).toEqual(Float32Array.of(2, 1e-24));
  });

  test('A layer may have the name of held-out statistics, but not beside the layer that they belong to', async () => {
    const [first] = (await read(files())).layers;
    const only = changed(['fc/heldOut', first![1]], {});
    expect((await readStatistics(await only.bytes())).layers).toEqual(only.layers);
    const both = new Statistics(new Map([['fc', first![1]], ...only.layers]));
    const error = await errorOf(() => both.bytes());
    expect([error.code, error.message]).toEqual(['usage', expect.stringMatching(/cannot hold both.*fc\/heldOut/)]);
  });

  test.each<[title: string, change: Stored, subject: string, message: RegExp]>([
    ['moments that are missing', { 'fc/rows': rows(1) }, 'fc/moment', /is missing/],
    ['a mean that is missing', { 'fc/rows': rows(1), 'fc/moment': floats([1, 1, 1], 1) }, 'fc/mean', /is missing/],
    [
      'rows that are missing',
      { 'fc/mean': floats([1, 1], 1), 'fc/moment': floats([1, 1, 1], 1) },
      'fc/rows',
      /is missing/,
    ],
    ['no rows', { 'depthwise/rows': rows(0) }, 'depthwise/rows', /at least 1.*found: 0/],
    ['fewer rows than none', { 'enc/fc/heldOut/rows': rows(-3) }, 'enc/fc/heldOut/rows', /at least 1.*found: -3/],
    ['a list of rows', { 'depthwise/rows': { dtype: 'I64', shape: [2] } }, 'depthwise/rows', /shape.*\[2\].*\[1\]/],
    ['rows of another type', { 'depthwise/rows': floats([], 6) }, 'depthwise/rows', /type.*found: F32.*allowed: I64/],
    [
      'moments of another type',
      { 'depthwise/moment': { dtype: 'F16', shape: [2, 1, 1] } },
      'depthwise/moment',
      /F16.*F32/,
    ],
    ['a mean of another type', { 'depthwise/mean': { dtype: 'BF16', shape: [2, 1] } }, 'depthwise/mean', /BF16.*F32/],
    ['moments that are not square', { 'depthwise/moment': floats([1, 1, 2], 1, 2) }, 'depthwise/moment', /\[1, 1, 2\]/],
    [
      'moments without groups',
      { 'depthwise/moment': floats([2], 1, 2) },
      'depthwise/moment',
      /\[2\].*\[groups, columns\]/,
    ],
    ['moments of no columns', { 'depthwise/moment': floats([2, 0]) }, 'depthwise/moment', /\[2, 0\]/],
    ['means of other columns', { 'depthwise/mean': floats([2], 1, 2) }, 'depthwise/mean', /\[2\].*allowed: \[2, 1\]/],
    [
      'held-out rows of other columns',
      { 'enc/fc/heldOut/moment': floats([1, 1, 1], 1) },
      'enc/fc/heldOut/moment',
      /\[1, 2, 2\]/,
    ],
    ['norms of other channels', { 'enc/fc/norm': floats([3], 1, 2, 3) }, 'enc/fc/norm', /\[3\].*input channels/],
    [
      'a moment that is not a number',
      { 'enc/fc/moment': floats([1, 2, 2], 2, NaN, 0, 1) },
      'enc/fc/moment',
      /NaN at index 1/,
    ],
    ['a mean that is infinite', { 'enc/fc/mean': floats([1, 2], 0, -Infinity) }, 'enc/fc/mean', /-Infinity at index 1/],
    [
      'a moment that is too large once it is rounded',
      { 'depthwise/moment': { dtype: 'F64', shape: [2, 1, 1], data: new Uint8Array(Float64Array.of(1, 1e39).buffer) } },
      'depthwise/moment',
      /1e\+39 at index 1/,
    ],
    ['a negative square', { 'enc/fc/moment': floats([1, 2, 2], 2, -1, -1, -1) }, 'enc/fc/moment', /-1 at index 3/],
    ['a negative norm', { 'enc/fc/norm': floats([2], 2, -3) }, 'enc/fc/norm', /-3 at index 1/],
    ['a tensor that is not known', { 'enc/fc/variance': floats([1], 2) }, 'enc/fc/variance', /allowed: <layer>\/rows/],
    [
      'sums in place of means',
      { 'enc/fc/mean': floats([1, 2], 0.5, 5) },
      'enc/fc/mean',
      /mean of squares.*5 at index 1/,
    ],
    [
      'a mean that is too large for the diagonal',
      { 'depthwise/moment': floats([2, 1], 4, 9), 'depthwise/mean': floats([2, 1], -2.1, 3) },
      'depthwise/mean',
      /-2.09\d* at index 0/,
    ],
    [
      'products that are larger than squares allow',
      { 'enc/fc/heldOut/moment': floats([1, 2, 2], 1, 50, 50, 1) },
      'enc/fc/heldOut/moment',
      /mean of products.*50 at index 1/,
    ],
    [
      'moments that are not symmetric',
      { 'enc/fc/moment': floats([1, 2, 2], 2, 0.5, -0.5, 1) },
      'enc/fc/moment',
      /symmetric.*0.5 at index 1/,
    ],
    ['a tensor without a layer', { moment: floats([1], 2) }, 'moment', /not a part of statistics/],
  ])('A file with %s is refused', async (_, change, subject, message) => {
    const error = await errorOf(() => read({ ...files(), ...change }));
    expect([error.code, error.details.subject]).toEqual(['format', subject]);
    expect(error.message).toMatch(message);
  });

  test('A file of another version, and any other safetensors file, is refused', async () => {
    const versions: Record<string, string>[] = [{ version: '2' }, { version: '' }, { format: 'sparsifier masks' }];
    for (const more of versions) {
      const error = await errorOf(() => read(files(), more));
      expect([error.code, error.message]).toEqual(['format', expect.stringMatching(/known version.*found: format/)]);
    }
    expect((await errorOf(() => readStatistics(safetensorsFile(files())))).message).toMatch(/format unknown/);
    expect((await errorOf(() => readStatistics(new Uint8Array(3)))).code).toBe('format');
    const digest = await errorOf(() => read(files(), { 'sha256:enc/fc': 'abc' }));
    expect(digest.message).toMatch(/^sha256:enc\/fc: this is no SHA-256.*abc/);
  });
});

describe('merging', () => {
  test('Moments and means are weighted by rows, squares of norms are added, and other layers are kept', async () => {
    const first = await read(files());
    const [[name, layer], depthwise] = [...first.layers] as [[string, LayerStatistics], [string, LayerStatistics]];
    const other = changed([name, layer], {
      ...{ rows: 30, moment: Float32Array.of(4, 1, 1, 2), mean: Float32Array.of(1, 1), norm: Float32Array.of(3, 4) },
      heldOut: undefined,
    });
    const merged = first.merge(other);
    expect(merged.layers.get(name)).toEqual({
      ...layer,
      rows: 40,
      moment: Float32Array.of((10 * 2 + 30 * 4) / 40, (10 * 0.5 + 30) / 40, (10 * 0.5 + 30) / 40, (10 + 60) / 40),
      mean: Float32Array.of((10 * 0.5 + 30) / 40, (-10 + 30) / 40),
      norm: Float32Array.of(5, 5),
    });
    expect(merged.layers.get('depthwise')).toEqual(depthwise[1]);
    expect(other.merge(first).layers.get(name)).toEqual(merged.layers.get(name));
    expect(first.merge(first).layers.get(name)!.heldOut).toEqual({ ...layer.heldOut, rows: 4 });
    // Without the norms of one part there are none of the whole.
    expect(first.merge(changed([name, layer], { norm: undefined })).layers.get(name)!.norm).toBeUndefined();
  });

  test('With a diagonal only, the diagonal is merged', async () => {
    const first = await read(files());
    const layer = first.layers.get('enc/fc')!;
    const diagonal = { isDiagonal: true, moment: Float32Array.of(4, 3), heldOut: undefined };
    const other = changed(['enc/fc', layer], diagonal);
    for (const merged of [first.merge(other), other.merge(first)]) {
      expect(merged.layers.get('enc/fc')).toMatchObject({ isDiagonal: true, rows: 20, moment: Float32Array.of(3, 2) });
      expect(merged.layers.get('enc/fc')!.heldOut!.moment).toEqual(Float32Array.of(1, 1));
    }
  });

  test('Reasons and notes are those of both, without layers that one of them has', async () => {
    const { layers } = await read(files());
    const one = new Statistics(
      new Map(),
      [
        { name: 'depthwise', reason: 'a' },
        { name: 'x', reason: 'b' },
      ],
      ['note'],
    );
    const other = new Statistics(layers, [{ name: 'x', reason: 'b' }], ['note', 'another']);
    expect(one.merge(other)).toMatchObject({ skipped: [{ name: 'x', reason: 'b' }], notes: ['note', 'another'] });
  });

  test('Statistics of other shapes and of other weights cannot be merged', async () => {
    const first = await read(files(), { 'sha256:enc/fc': 'a'.repeat(64) });
    const layer = first.layers.get('enc/fc')!;
    for (const [change, message] of [
      [{ sha256: 'b'.repeat(64) }, /^enc\/fc: .*different weights/],
      [{ groups: 2, columns: 1, moment: Float32Array.of(1, 2) }, /^enc\/fc: .*2 columns.*2 groups of 1 column/],
      [{ norm: Float32Array.of(1) }, /^enc\/fc: .*shapes/],
    ] as const) {
      const error = await errorOf(() => first.merge(changed(['enc/fc', layer], change)));
      expect([error.code, error.message]).toEqual(['criteria', expect.stringMatching(message)]);
    }
    expect(first.merge(changed(['enc/fc', layer], { sha256: undefined })).layers.get('enc/fc')!.sha256).toBe(
      layer.sha256,
    );
  });
});

describe('the model', () => {
  const weights = Float32Array.of(1, 2, 3, 4, 5, 6);
  const modelOf = (shape: readonly [number, number] = [3, 2], data = weights) =>
    fromArrays({ 'enc/fc': { kind: 'dense', roles: ['out', 'in'], shape, data } });
  // Of the 24 bytes of these numbers, by hashlib of Python.
  const digest = '24ae2dfe8df57c1b80e54cef3d90ac3b417fd98973345a5f616bbc9a75dcc202';

  test('Statistics of these weights are taken, in any spelling of their digest', async () => {
    const statistics = await read(files(), { 'sha256:enc/fc': digest.toUpperCase() });
    expect(await statistics.check(modelOf())).toEqual([
      'the statistics have layers that the model does not have: depthwise',
    ]);
  });

  test('Without a digest a note says that weights were not compared', async () => {
    expect((await (await read(files())).check(modelOf()))[0]).toBe(
      'whether the statistics belong to these weights could not be checked: enc/fc',
    );
  });

  test('Statistics of other weights, other shapes and other layers are errors', async () => {
    const statistics = await read(files(), { 'sha256:enc/fc': digest });
    const other = fromArrays({ fc: { kind: 'dense', roles: ['out', 'in'], shape: [3, 2], data: weights } });
    for (const [model, message] of [
      [
        modelOf(
          [3, 2],
          weights.map((weight) => -weight),
        ),
        /^enc\/fc: .*other weights/,
      ],
      [modelOf([2, 3]), /^enc\/fc: .*another shape.*given: 3 columns.*found: 2 columns/],
      [other, /another model.*enc\/fc.*allowed: fc/],
    ] as const) {
      const error = await errorOf(() => statistics.check(model));
      expect([error.code, error.message]).toEqual(['criteria', expect.stringMatching(message)]);
    }
  });

  test('Statistics without layers are not said to be of another model', async () => {
    const skipped = new Statistics(new Map(), [{ name: 'enc/fc', reason: 'its input is not an activation' }]);
    for (const [statistics, message] of [
      [new Statistics(new Map()), /have no layers.*`calibrate`/],
      [skipped, /have no layers.*`skipped` says why/],
    ] as const) {
      const error = await errorOf(() => statistics.check(modelOf()));
      expect([error.code, error.message]).toEqual(['criteria', expect.stringMatching(message)]);
    }
  });
});
