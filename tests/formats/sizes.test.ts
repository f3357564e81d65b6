import { inspect, Sparsifier } from 'sparsifier';
import { compare } from 'sparsifier/compare';
import { sparsifyFile } from 'sparsifier/file';
import { readModel, sizesOf, type SizesProgress } from 'sparsifier/formats';
import { fromArrays } from 'sparsifier/formats/arrays';
import { describe, expect, test } from 'vitest';
import { contents } from '../support/contents.js';
import { gzip } from '../support/internal.js';
import { errorOf } from '../support/layers.js';
import { model, node, tensor } from '../support/onnx-builder.js';
import { safetensorsFile } from '../support/safetensors-builder.js';

/**
 * What zlib 1.2.13 makes of 200,000 bytes with level 9 and memLevel 9. GNU gzip 1.12 makes 27,813 bytes of the floats with nine
 * of ten zero and 90,933 of all of them, since it ends blocks early where a file changes; the others are the same.
 */
const recorded: Readonly<Record<string, number>> = {
  nothing: 20,
  zeros: 229,
  'random bytes': 200_053,
  'few symbols': 86_520,
  'a short period': 332,
  floats: 185_511,
  'floats with half of them zero': 109_981,
  'floats with nine of ten zero': 27_545,
  text: 52_852,
  'all of them': 93_165,
};

/** @param atATime how many bytes are added at a time */
async function gzipOf(bytes: Uint8Array, atATime = bytes.length): Promise<number> {
  const counter = gzip();
  for (let from = 0; from < bytes.length; from += atATime) await counter.add(bytes.subarray(from, from + atATime));
  return counter.end();
}

describe('gzip', () => {
  test.each(Object.entries(contents))('The size of %s is the one that zlib gave', async (name, make) => {
    expect(await gzipOf(make(200_000))).toBe(recorded[name]);
  });

  test.each([1, 1000, 65_536, 99_999])(
    'The size does not depend on pieces, such as those of %d bytes',
    async (atATime) => {
      const bytes = contents['all of them']!(150_000);
      expect(await gzipOf(bytes, atATime)).toBe(await gzipOf(bytes));
    },
  );
});

const floats = contents.floats!(60_000);
const zeros = contents['floats with nine of ten zero']!(60_000);
const two = safetensorsFile({
  'dense.weight': { shape: [120, 125], data: floats },
  'sparse.weight': { shape: [120, 125], data: zeros },
});
/** What `gzip -9 -n` and `brotli -q 11`, version 1.0.9, make of it. */
const sizesOfTwo = { raw: two.length, gzip: 64_613, brotli: 61_493 };
describe('sizes of files', () => {
  test('The sizes of a file are those of the commands, also with an estimate for each layer', async () => {
    using read = await readModel(two);
    const plain = await sizesOf(read);
    expect(plain.raw).toBe(sizesOfTwo.raw);
    expect(plain.gzip).toBe(sizesOfTwo.gzip);
    expect(Math.abs(plain.brotli / sizesOfTwo.brotli - 1)).toBeLessThan(0.001);
    const { raw, gzip, brotli } = plain;
    expect(plain).toEqual({ raw, gzip, brotli, files: [{ name: expect.any(String), raw, gzip, brotli }] });
    const { layers, ...rest } = await sizesOf(read, { layers: true });
    expect(rest).toEqual(plain);
    expect(layers!.map(({ name, raw }) => ({ name, raw }))).toEqual([
      { name: 'dense', raw: floats.length },
      { name: 'sparse', raw: zeros.length },
    ]);
    const [dense, sparse] = layers!.map(({ estimate }) => estimate);
    expect(sparse).toBeLessThan(dense! / 4);
    expect((dense! + sparse!) / brotli).toBeGreaterThan(0.95);
    expect((dense! + sparse!) / brotli).toBeLessThan(1.2);
  });

  test('Of several files, each is compressed by itself', async () => {
    const external = (location: string) => ({ external: { location } });
    const bytes = model({
      nodes: [node('MatMul', 'x v', 'y', { name: 'a' }), node('MatMul', 'y w', 'z', { name: 'b' })],
      initializers: [tensor('v', [120, 125], external('v.bin')), tensor('w', [125, 120], external('w.bin'))],
    });
    const data: Readonly<Record<string, Uint8Array<ArrayBuffer>>> = { 'v.bin': floats, 'w.bin': zeros };
    using read = await readModel(bytes, { external: (name) => data[name]! });
    const { files, ...sums } = await sizesOf(read);
    const written = await read.toFiles();
    expect(files.map(({ name, raw }) => ({ name, raw }))).toEqual(
      Array.from(written, ([name, { length }]) => ({ name, raw: length })),
    );
    expect(files.slice(1)).toMatchObject([
      { name: 'v.bin', gzip: gzipOf(floats) },
      { name: 'w.bin', gzip: gzipOf(zeros) },
    ]);
    for (const key of ['raw', 'gzip', 'brotli'] as const)
      expect(sums[key]).toBe(files.reduce((sum, file) => sum + file[key], 0));
    expect((await inspect(read)).bytes).toBe(sums.raw);
  });

  test('Progress is told in bytes, up to all of each stage', async () => {
    using read = await readModel(two);
    const told: SizesProgress[] = [];
    await sizesOf(read, { layers: true, onProgress: (progress) => void told.push(progress) });
    const totals = { gzip: two.length, brotli: two.length, layers: 120_000 };
    expect([...new Set(told.map(({ stage }) => stage))]).toEqual(['gzip', 'brotli', 'layers']);
    for (const [stage, total] of Object.entries(totals)) {
      const done = told.filter((each) => each.stage === stage);
      expect(done.map((each) => each.total)).toEqual(done.map(() => total));
      const counts = done.map((each) => each.done);
      expect(counts).toEqual([...new Set(counts)].sort((one, other) => one - other));
      expect(counts.length).toBeGreaterThan(1);
      expect(counts.at(-1)).toBe(total);
    }
  });

  test('The thread of the caller stays free', async () => {
    using read = await readModel(two);
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    await sizesOf(read).finally(() => clearInterval(timer));
    // The work takes hundreds of milliseconds in all, in a few pieces.
    expect(turns).toBeGreaterThan(5);
  });

  test('A signal ends the call with its reason, before it and while it works, and the next call works', async () => {
    using read = await readModel(two);
    const reason = new Error('enough');
    await expect(sizesOf(read, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    for (const stage of ['gzip', 'brotli']) {
      const controller = new AbortController();
      const stages: string[] = [];
      const onProgress = (progress: SizesProgress) => {
        stages.push(progress.stage);
        if (progress.stage === stage) controller.abort(reason);
      };
      await expect(sizesOf(read, { signal: controller.signal, onProgress })).rejects.toBe(reason);
      expect(stages.at(-1)).toBe(stage);
    }
    expect((await sizesOf(read)).gzip).toBe(sizesOfTwo.gzip);
  });

  test('What has no files, closed models and unknown options are refused', async () => {
    const arrays = fromArrays({
      a: { kind: 'dense', roles: ['out', 'in'], shape: [1, 2], data: Float32Array.of(1, 2) },
    });
    const report = await inspect(arrays);
    expect(report.bytes).toBeUndefined();
    expect(await errorOf(() => report.sizes())).toMatchObject({ code: 'usage' });
    expect(await errorOf(() => sizesOf(arrays as never))).toMatchObject({ code: 'usage' });
    const read = await readModel(two);
    expect(await errorOf(() => sizesOf(read, { layer: true } as never))).toMatchObject({ code: 'usage' });
    expect(await errorOf(() => sizesOf(read, { onProgress: 1 } as never))).toMatchObject({ code: 'usage' });
    const closed = await inspect(read);
    read.close();
    expect(await errorOf(() => closed.sizes())).toMatchObject({ code: 'usage', message: /closed/ });
  });
});

describe('sizes of reports', () => {
  test('The sizes of a report are those of the pruned model, and print with its table', async () => {
    using read = await readModel(two);
    const dense = await inspect(read);
    const before = await dense.sizes();
    expect(dense.bytes).toBe(two.length);
    const sparse = await new Sparsifier(read, { layerType: 'all' }).sparsifyModel(90);
    expect(sparse.bytes).toBe(two.length);
    const sizes = await sparse.sizes({ layers: true });
    expect(sizes).toEqual(await sizesOf(read, { layers: true }));
    expect(sizes.gzip).toBeLessThan(before.gzip / 2);
    const number = (value: number) => new Intl.NumberFormat('en').format(value);
    const totals = `, ${number(two.length)} bytes, gzip -9: ${number(sizes.gzip)}, brotli -q 11: ${number(sizes.brotli)}\n`;
    expect(sparse.table({ sizes })).toContain(totals);
    const [, , head, , first] = sparse.table({ sizes, layers: true }).split('\n');
    expect(head).toMatch(/ bytes +about, in brotli$/);
    expect(first).toMatch(new RegExp(`^dense .* 60,000 +${number(sizes.layers![0]!.estimate)}$`));
  });

  test('Of a model that was written to streams, the bytes were counted', async () => {
    let written = 0;
    const stream = new WritableStream<Uint8Array>({ write: ({ length }) => void (written += length) });
    const report = await sparsifyFile(new Blob([two]), stream, { sparsity: 50, layerType: 'all' });
    expect(report.bytes).toBe(written);
    expect(await errorOf(() => report.sizes())).toMatchObject({ code: 'usage', message: /streams/ });
  });

  test('A comparison has the bytes and sizes of both models', async () => {
    using a = await readModel(two);
    using b = await readModel(safetensorsFile({ 'dense.weight': { shape: [120, 125], data: zeros } }));
    const comparison = await compare(a, b);
    const models = new Set<string>();
    const sizes = await comparison.sizes({ onProgress: (progress) => void models.add(progress.model) });
    expect(sizes).toEqual({ a: await sizesOf(a), b: await sizesOf(b) });
    expect(comparison.bytes).toEqual({ a: sizes.a.raw, b: sizes.b.raw });
    expect([...models].sort()).toEqual(['a', 'b']);
    expect(Object.keys(comparison)).toEqual(['layers', 'outputs', 'skipped', 'notes', 'bytes']);
    const controller = new AbortController();
    controller.abort(new Error('enough'));
    await expect(comparison.sizes({ signal: controller.signal })).rejects.toThrow('enough');
  });
});
