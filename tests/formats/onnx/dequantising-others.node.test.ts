import { readdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import * as ort from 'onnxruntime-node';
import { readOnnx, type FileModel } from 'sparsifier/formats/onnx';
import { describe, expect, test } from 'vitest';
import { storageOf } from '../../support/internal.js';

const folder = fileURLToPath(new URL('../../cases/quantised/', import.meta.url));
const names = (await readdir(folder)).filter((name) => name.endsWith('.json')).map((name) => name.slice(0, -5));
const fileOf = async (name: string) => new Uint8Array(await readFile(`${folder}${name}.onnx`));

const dequantized = (read: FileModel) => {
  const { storage, current } = storageOf(read);
  return storage.dequantized(current);
};

/** The inputs of the networks in the folder. */
const image = Float32Array.from({ length: 72 }, (_, index) => Math.sin(index));
const inputs = (word: number) => ({
  image: new ort.Tensor('float32', image, [1, 2, 6, 6]),
  word: new ort.Tensor('int64', BigInt64Array.of(BigInt(word)), [1]),
});

const isDynamic = (name: string) => name.startsWith('dynamic');

/** Sums of two products of these codes overflow on x86 processors without VNNI, unless onnxruntime is to be precise. */
const optionsFor = (name: string): ort.InferenceSession.SessionOptions =>
  isDynamic(name)
    ? { graphOptimizationLevel: 'extended', extra: { session: { x64quantprecision: '1' } } }
    : { graphOptimizationLevel: 'disabled' };

async function outputsOf(name: string, bytes: Uint8Array): Promise<number[]> {
  const session = await ort.InferenceSession.create(bytes, optionsFor(name));
  const outputs: number[] = [];
  for (const word of [0, 3, 9]) outputs.push(...((await session.run(inputs(word))).y!.data as Float32Array));
  await session.release();
  return outputs;
}

const floats = (bytes: Uint8Array<ArrayBuffer>) => [
  ...new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4),
];

/** The largest difference of two lists, in parts of the largest number. */
const distance = (one: readonly number[], other: readonly number[]) =>
  Math.max(...one.map((value, index) => Math.abs(value - other[index]!))) / Math.max(...other.map(Math.abs));

/** How far outputs may be apart: rounded inputs are, and sums of products of blocks are added up in another order. */
const toleranceOf = (name: string) => (isDynamic(name) ? 0.01 : name.startsWith('blocks') ? 1e-6 : 0);

describe.each(names)('%s', (name) => {
  test('All codes become the floats that they stand for.', async () => {
    const expected = JSON.parse(await readFile(`${folder}${name}.json`, 'utf8')) as Record<
      string,
      { shape: number[]; numbers: string }
    >;
    using read = await readOnnx(await fileOf(name));
    const { files, changed, skipped } = await dequantized(read);
    expect(changed).toHaveLength(Object.keys(expected).length);
    expect(skipped.every(({ reason }) => /^QuantizeLinear .* rounds it while the model runs$/.test(reason))).toBe(true);
    expect(skipped.length > 0).toBe(name.startsWith('static'));
    using again = await readOnnx([...files.values()][0]!);
    const stored = await Promise.all(
      again.tensors.map(async ({ values }) => floats((await again.copy(values)).slice())),
    );
    for (const { shape, numbers } of Object.values(expected)) {
      if (shape.length < 2) continue;
      const wanted = floats(new Uint8Array(Buffer.from(numbers, 'base64')));
      expect(stored).toContainEqual(wanted);
    }
    expect(again.tensors).toHaveLength(4);
    expect(again.skipped).toEqual([]);
  });

  test('The floats give the outputs of the codes.', async () => {
    const bytes = await fileOf(name);
    using read = await readOnnx(bytes);
    const { files } = await dequantized(read);
    const [before, after] = [await outputsOf(name, bytes), await outputsOf(name, [...files.values()][0]!)];
    expect(distance(after, before)).toBeLessThanOrEqual(toleranceOf(name));
    // What was quantised gives others.
    expect(distance(before, await outputsOf(name, await fileOf('float')))).toBeGreaterThan(1e-3);
  });
});
