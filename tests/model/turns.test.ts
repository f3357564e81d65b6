import fc from 'fast-check';
import { inspect, loadEngine, Sparsifier, SparsifyError } from 'sparsifier';
import { compare } from 'sparsifier/compare';
import { readModel, sizesOf, type FileModel } from 'sparsifier/formats';
import { fromArrays } from 'sparsifier/formats/arrays';
import { fromTfjs } from 'sparsifier/formats/tfjs';
import { dequantize, quantize } from 'sparsifier/quantize';
import { sensitivity } from 'sparsifier/sensitivity';
import { expect, test } from 'vitest';
import { differsAt, digestOf } from '../support/bytes.js';
import { errorOf, expectNoMemoryInUse, line } from '../support/layers.js';
import { safetensorsFile } from '../support/safetensors-builder.js';
import { openSmall, smallModelNames } from '../support/small-models.js';
import { keeping } from '../support/streams.js';
import { tf } from '../support/tfjs.js';

/** A model, and a Sparsifier whose masks calls share. */
interface Subject {
  readonly model: FileModel;
  readonly sparsifier: Sparsifier;
}

const filesOf = async (model: FileModel) =>
  [...(await model.toFiles())].map(([name, bytes]) => [name, digestOf(bytes)] as const);

async function closing({ model, report }: { readonly model: FileModel; readonly report: unknown }) {
  const files = await filesOf(model);
  model.close();
  return { files, report };
}

/** Calls, each with a result that shows the model's numbers. */
const calls: Readonly<Record<string, (subject: Subject) => Promise<unknown>>> = {
  'sparsifyModel 30': ({ sparsifier }) => sparsifier.sparsifyModel(30),
  'sparsifyModel 60': ({ sparsifier }) => sparsifier.sparsifyModel(60),
  'sparsifyLayer 80': ({ model, sparsifier }) => sparsifier.sparsifyLayer(model.tensors[0]!.name, 80),
  apply: ({ sparsifier }) => sparsifier.apply(),
  restore: ({ sparsifier }) => sparsifier.restore(),
  explain: ({ sparsifier }) => sparsifier.explain(40),
  saveMasks: async ({ sparsifier }) => {
    const kept = keeping();
    await sparsifier.saveMasks(kept.stream);
    return digestOf(kept.bytes());
  },
  inspect: ({ model }) => inspect(model),
  bytes: async ({ model }) => digestOf(await model.bytes()),
  toFiles: ({ model }) => filesOf(model),
  quantize: async ({ model }) => closing(await quantize(model)),
  dequantize: async ({ model }) => closing(await dequantize(model)),
  'compare with itself': ({ model }) => compare(model, model),
};

/** What a call ends with, as text. */
const ending = async (call: Promise<unknown>): Promise<string> => {
  try {
    return JSON.stringify(await call);
  } catch (error) {
    expect(error).toBeInstanceOf(SparsifyError);
    return String(error);
  }
};

const tasks = async (count: number): Promise<void> => {
  for (let task = 0; task < count; task++) await new Promise((resolve) => setTimeout(resolve));
};

test('Calls at any time on one model give the results of the same calls one after the other', async () => {
  const begin = async (name: (typeof smallModelNames)[number]): Promise<Subject> => {
    const model = await openSmall(name);
    return { model, sparsifier: new Sparsifier(model, { layerType: 'all', granularity: 'filter', restorable: true }) };
  };
  const step = fc.record({ call: fc.constantFrom(...Object.keys(calls)), pause: fc.constantFrom(0, 0, 0, 1, 3) });
  const property = fc.asyncProperty(
    fc.constantFrom(...smallModelNames),
    fc.array(step, { minLength: 2, maxLength: 8 }),
    async (name, steps) => {
      const [alone, together] = [await begin(name), await begin(name)];
      const expected: string[] = [];
      for (const { call } of steps) expected.push(await ending(calls[call]!(alone)));
      const last = await filesOf(alone.model);
      alone.model.close();

      const endings: Promise<string>[] = [];
      for (const { call, pause } of steps) {
        endings.push(ending(calls[call]!(together)));
        await tasks(pause);
      }
      const files = filesOf(together.model);
      together.model.close();
      expect(await Promise.all(endings)).toEqual(expected);
      expect(await files).toEqual(last);
      await expectNoMemoryInUse();
    },
  );
  await fc.assert(property, { numRuns: 40 });
});

test.each(smallModelNames)(
  '%s: A model that is closed carries out the calls before, refuses those after, and is freed with the last',
  async (name) => {
    using twin = await openSmall(name);
    const model = await openSmall(name);
    const sparsifier = new Sparsifier(model, { layerType: 'all' });
    await new Sparsifier(twin, { layerType: 'all' }).sparsifyModel(50);
    const before = [sparsifier.sparsifyModel(50), model.toFiles(), inspect(model)] as const;
    model.close();
    model.close();
    const after = [
      () => sparsifier.sparsifyModel(60),
      () => sparsifier.apply(),
      () => model.bytes(),
      () => model.toFiles(),
      () => inspect(model),
      () => sizesOf(model),
      () => quantize(model),
      () => dequantize(model),
      () => compare(twin, model),
    ];
    for (const call of after) {
      const { code, message } = await errorOf(call);
      expect([code, message]).toEqual(['usage', expect.stringContaining('the model is closed')]);
    }
    const [report, files] = await Promise.all(before);
    expect(report.total.sparsity).toBeGreaterThan(0);
    expect(files).toEqual(await twin.toFiles());
    const { code, message } = await errorOf(async () => model.outputs());
    expect([code, message]).toEqual(['usage', expect.stringContaining('the model is closed')]);
    twin.close();
    await expectNoMemoryInUse();
  },
);

test('Memory is freed at once where no call is in progress, also right after one', async () => {
  const model = await openSmall('safetensors');
  await new Sparsifier(model, { layerType: 'all' }).sparsifyModel(50);
  model.close();
  await expectNoMemoryInUse();
});

test('Chunks stay as they are when the model is closed, which then gives no more of them', async () => {
  const file = safetensorsFile({ 'd.weight': { shape: [2100, 2100], data: new Uint8Array(2100 * 2100 * 4).fill(64) } });
  const engine = await loadEngine();
  const expected: Uint8Array[] = [];
  {
    using model = await readModel(file);
    const [output] = await model.outputs();
    for await (const chunk of output!.chunks()) expected.push(chunk.slice());
  }
  expect(expected.length).toBeGreaterThan(1);
  await expectNoMemoryInUse();

  const model = await readModel(file);
  const [output] = await model.outputs();
  const iteration = (output!.chunks() as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]();
  const { value: first } = (await iteration.next()) as { readonly value: Uint8Array };
  model.close();
  const other = await engine.allocate(file.length);
  await other.write(new Uint8Array(file.length).fill(255));
  expect(differsAt(first, expected[0]!)).toBe(-1);
  const { code, message } = await errorOf(() => iteration.next());
  expect([code, message]).toEqual(['usage', expect.stringContaining('The model was closed')]);
  other.free();
  await expectNoMemoryInUse();
});

test('Two models take turns in comparisons of either with the other', async () => {
  using one = await openSmall('safetensors');
  using other = await openSmall('safetensors');
  const sparsifier = new Sparsifier(other, { layerType: 'all' });
  const [first, , second, third] = await Promise.all([
    compare(one, other),
    sparsifier.sparsifyModel(50),
    compare(other, one),
    compare(one, other),
  ]);
  expect(first!.notes).toEqual(['All bytes of the files are the same.']);
  for (const { layers } of [second!, third!]) expect(layers.every(({ changed }) => changed > 0)).toBe(true);
});

test('Wrappers of one live model take turns with each other', async () => {
  const made = () =>
    tf.sequential({ layers: [tf.layers.dense({ units: 20, inputShape: [30], useBias: false, name: 'd' })] });
  const [alone, together] = [made(), made()];
  together.setWeights(alone.getWeights());
  const prune = (model: tf.LayersModel, amount: number) =>
    new Sparsifier(fromTfjs(tf, model), {
      layerType: 'all',
      criteria: 'movement',
      initial: {
        d: new Float32Array(600).fill(0.1),
      },
    }).sparsifyModel(amount);
  const expected: unknown[] = [];
  for (const amount of [20, 50, 70]) expected.push(await prune(alone, amount));
  const found = await Promise.all([20, 50, 70].map((amount) => prune(together, amount)));
  expect(JSON.stringify(found)).toBe(JSON.stringify(expected));
  expect(await together.getWeights()[0]!.data()).toEqual(await alone.getWeights()[0]!.data());
  alone.dispose();
  together.dispose();
});

test('A call that fails lets the next one through', async () => {
  const layer = line([1, 2, 3, 4]);
  const arrays = fromArrays({ layer });
  let fails = 1;
  const failing = {
    ...arrays,
    load: (...words: Parameters<typeof arrays.load>) =>
      fails-- > 0 ? Promise.reject(new Error('no')) : arrays.load(...words),
  };
  const sparsifier = new Sparsifier(failing, { layerType: 'all' });
  const [first, second] = await Promise.allSettled([sparsifier.sparsifyModel(50), sparsifier.sparsifyModel(50)]);
  expect([first!.status, second!.status]).toEqual(['rejected', 'fulfilled']);
  expect([...layer.data].filter((each) => each === 0)).toHaveLength(2);
});

test('Functions that a call does not wait for may call the model, and are served after it', async () => {
  using model = await openSmall('onnx');
  const sparsifier = new Sparsifier(model, { layerType: 'all' });
  const dense = await model.bytes();
  const inside: Promise<Uint8Array>[] = [];
  await sparsifier.sparsifyModel(50, { onProgress: () => void inside.push(model.bytes()) });
  expect(inside.length).toBeGreaterThan(0);
  const sparse = await model.bytes();
  for (const bytes of inside) expect(await bytes).toEqual(sparse);
  expect(sparse).not.toEqual(dense);
});

test('The function that sensitivity evaluates with may read the model', async () => {
  using model = await openSmall('onnx');
  const dense = await model.toFiles();
  const seen = new Set<number>();
  const evaluate = async () => {
    seen.add(digestOf((await model.toFiles()).get('v.bin')!));
    return 1;
  };
  await sensitivity(model, evaluate, { layers: ['second'], levels: [50, 80] });
  expect(seen.size).toBe(3);
  expect(await model.toFiles()).toEqual(dense);
});
