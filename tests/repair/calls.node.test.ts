import { InferenceSession } from 'onnxruntime-node';
import { Sparsifier } from 'sparsifier';
import { calibrate, type SessionFiles } from 'sparsifier/calibration';
import { fromArrays } from 'sparsifier/formats/arrays';
import { readOnnx } from 'sparsifier/formats/onnx';
import { expect, test } from 'vitest';
import { differsAt } from '../support/bytes.js';
import { numbers } from '../support/filters.js';
import { errorOf, expectNoMemoryInUse, line } from '../support/layers.js';
import { layerStatistics, rowsFor, statisticsOf } from '../support/naive-repair.js';
import { rowBatches, twoProducts } from '../support/two-products.js';

// Repairs before, after and beside other calls.

const file = twoProducts(10);
const batches = rowBatches(8);
const createSession = (bytes: Uint8Array, files: SessionFiles) => InferenceSession.create(bytes, files);
const data = { createSession, batches: () => batches };
const pruned = { inputs: 'pruned', ...data } as const;

async function begin() {
  const read = await readOnnx(file);
  const statistics = await calibrate(read, data);
  return {
    read,
    sparsifier: new Sparsifier(read, { layerType: 'all', criteria: 'fluctuation', statistics }),
    statistics,
  };
}

test('Calls at once give the bits of calls one after the other', async () => {
  const [one, other] = [await begin(), await begin()];
  await one.sparsifier.sparsifyModel(40);
  await one.sparsifier.repair();
  await one.sparsifier.sparsifyModel(70);
  await one.sparsifier.repair(pruned);
  const { sparsifier } = other;
  await Promise.all([
    sparsifier.sparsifyModel(40),
    // It is about the masks that are there when its turn comes.
    sparsifier.repair(),
    sparsifier.sparsifyModel(70),
    sparsifier.repair(pruned),
  ]);
  expect(differsAt(await other.read.bytes(), await one.read.bytes())).toBe(-1);
  for (const { read } of [one, other]) read.close();
  await expectNoMemoryInUse();
});

test('After clear, statistics are compared with the weights that are there', async () => {
  const { read, statistics } = await begin();
  const sparsifier = new Sparsifier(read, { layerType: 'all', statistics });
  await sparsifier.sparsifyModel(50);
  await sparsifier.repair();
  await sparsifier.restore();
  sparsifier.clear();
  await sparsifier.sparsifyModel(50);
  expect((await sparsifier.repair()).layers).toHaveLength(2);
  const repaired = await read.bytes();
  sparsifier.clear();
  const { code, message } = await errorOf(() => sparsifier.sparsifyModel(70));
  expect([code, message]).toEqual(['criteria', expect.stringContaining('statistics are those of other weights')]);
  expect(differsAt(await read.bytes(), repaired)).toBe(-1);
  read.close();
  await expectNoMemoryInUse();
});

test('A model that is closed during a repair is repaired first, then refuses calls, and leaves no memory in use', async () => {
  for (const options of [{}, pruned]) {
    const { read, sparsifier } = await begin();
    await sparsifier.sparsifyModel(50);
    const onProgress = () => read.close();
    expect((await sparsifier.repair({ ...options, onProgress })).layers).toHaveLength(2);
    await expectNoMemoryInUse();
    for (const call of [() => sparsifier.repair(), () => read.bytes(), () => read.outputs()]) {
      const { code, message } = await errorOf(async () => call());
      expect([code, message]).toEqual(['usage', expect.stringContaining('the model is closed')]);
    }
  }
});

test('A function that a repair waits for cannot wait for the model, and is told so', async () => {
  const { read, sparsifier } = await begin();
  await sparsifier.sparsifyModel(50);
  const before = await read.bytes();
  const session = (bytes: Uint8Array, files: SessionFiles) => InferenceSession.create(bytes, files);
  const options: readonly (typeof pruned)[] = [
    { ...pruned, createSession: async (bytes, files) => (await read.bytes()) && session(bytes, files) },
    {
      ...pruned,
      createSession: async (bytes, files) => {
        const real = await session(bytes, files);
        const run: typeof real.run = async (...words: never[]) => {
          await read.toFiles();
          return (real.run as (...words: never[]) => ReturnType<typeof real.run>)(...words);
        };
        return { run, release: () => real.release() } as InferenceSession;
      },
    },
  ];
  for (const each of options) {
    const { code, message } = await errorOf(() => sparsifier.repair(each));
    expect([code, message]).toEqual(['usage', expect.stringContaining('in use by the call that waits')]);
    expect(differsAt(await read.bytes(), before)).toBe(-1);
  }
  expect((await sparsifier.repair(pruned)).layers).toHaveLength(2);
  read.close();
  await expectNoMemoryInUse();
});

test('A model that cannot be copied makes calls fail, and nothing beside them', async () => {
  const layer = line([1, 2, 3]);
  const arrays = fromArrays({ layer });
  const failing = new Proxy(arrays, {
    get: (target, name) => {
      if (name === 'keep') return undefined;
      if (name === 'copy') return () => Promise.reject(new Error('no copy'));
      const found = Reflect.get(target, name, target) as unknown;
      return typeof found === 'function' ? found.bind(target) : found;
    },
  });
  const own = layerStatistics(layer, rowsFor({ groups: 1, outputs: 1, columns: 3 }, 5));
  const statistics = statisticsOf({ layer: own });
  const sparsifier = new Sparsifier(failing, { layerType: 'all', statistics });
  // A rejection that nothing handles would fail this file.
  await new Promise((resolve) => setTimeout(resolve));
  await sparsifier.sparsifyModel(50);
  await expect(sparsifier.repair()).rejects.toThrow('no copy');
});

test('The report has the bytes of the repaired model, with the biases that were added, and their sizes', async () => {
  const { read, sparsifier } = await begin();
  const before = (await sparsifier.sparsifyModel(50)).bytes!;
  for (const inputs of ['dense', 'pruned'] as const) {
    const report = await sparsifier.repair(inputs === 'pruned' ? pruned : {});
    expect(report.bytes).toBe((await read.bytes()).length);
    expect(report.bytes).toBeGreaterThan(before);
    expect((await report.sizes()).raw).toBe(report.bytes);
  }
  read.close();
});

test('The report on a model that was not read from files has no bytes', async () => {
  const layer = { kind: 'dense', roles: ['out', 'in'], shape: [2, 3], data: numbers(6, 1) } as const;
  const rows = rowsFor({ groups: 1, outputs: 2, columns: 3 }, 8);
  const statistics = statisticsOf({ layer: layerStatistics(layer, rows) });
  const sparsifier = new Sparsifier(fromArrays({ layer }), { layerType: 'dense', statistics });
  await sparsifier.sparsifyModel(50);
  const report = await sparsifier.repair();
  expect(report.bytes).toBeUndefined();
  expect((await errorOf(() => report.sizes())).code).toBe('usage');
});
