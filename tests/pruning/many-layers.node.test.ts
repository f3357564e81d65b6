// Models of many tiny layers. What takes time in proportion to the square of their number would take minutes.
import { inspect, loadEngine, Sparsifier, type SparsifierOptions, type Sparsity } from 'sparsifier';
import { sparsifyFile } from 'sparsifier/file';
import { fromArrays } from 'sparsifier/formats/arrays';
import { readSafetensors } from 'sparsifier/formats/safetensors';
import { describe, expect, test } from 'vitest';
import { errorOf } from '../support/layers.js';
import { safetensorsFile } from '../support/safetensors-builder.js';

const count = 10_000;
const names = Array.from({ length: count }, (_, index) => `layers.${index}`);
const nameAt = (index: number) => names[index]!;

/** Each layer has the weights 1, 2, 3 and 4, and if asked a bias of 1 and 2. */
const file = (hasBias = false) =>
  safetensorsFile(
    Object.fromEntries(
      names.flatMap((name) => [[`${name}.weight`, [2, 2]], ...(hasBias ? [[`${name}.bias`, [2]] as const] : [])]),
    ),
  );
const read = (hasBias?: boolean) => readSafetensors(file(hasBias));
const all = { layerType: 'all' } as const;

describe('a model of ten thousand layers', () => {
  const half = Object.fromEntries(names.map((name) => [name, 50]));
  test.each<[string, SparsifierOptions, Sparsity, removed: number]>([
    ['each by itself', {}, 50, 2 * count],
    ['all together', { context: 'global' }, 25, count],
    ['by a list of amounts', {}, names.map((_, index) => (index % 2) * 50), count],
    ['by amounts by name', {}, half, 2 * count],
    ['by amounts by name in a map', {}, new Map(Object.entries(half)), 2 * count],
    ['by names that are included', { include: names.slice(1) }, 50, 2 * (count - 1)],
    ['by names that are excluded', { exclude: names.slice(1) }, 50, 2],
    ['by limits by name', { minKeep: Object.fromEntries(names.map((name) => [name, 3])) }, 50, count],
    [
      'in rankings of their own',
      { context: 'global', rankTogether: Object.fromEntries(names.map((name) => [`ranking of ${name}`, [name]])) },
      50,
      2 * count,
    ],
    ['by a budget', { context: 'global', budget: 'erk' }, 50, 2 * count],
  ])('Many layers lose what is asked: %s', async (_title, options, sparsity, removed) => {
    using model = await read();
    const report = await new Sparsifier(model, { ...all, ...options }).sparsifyModel(sparsity);
    expect(report.total.removedUnits).toBe(removed);
    expect(report.total.zeros).toBe(removed);
  });

  test('Channels of many layers are removed with their biases, and restored', async () => {
    using model = await read(true);
    const before = await model.bytes();
    const sparsifier = new Sparsifier(model, { ...all, granularity: 'filter', restorable: true });
    const report = await sparsifier.sparsifyModel(50);
    expect(report.total.removedUnits).toBe(count);
    const { values, partners } = model.tensors[count - 1]!;
    expect(new Float32Array((await model.copy(values)).buffer)).toEqual(Float32Array.of(0, 0, 3, 4));
    expect(new Float32Array((await model.copy(partners[0]!.values)).buffer)).toEqual(Float32Array.of(0, 2));
    expect((await sparsifier.sparsifyModel(100)).total.removedUnits).toBe(count);
    await sparsifier.restore();
    expect(Buffer.compare(await model.bytes(), before)).toBe(0);
  });

  test('The masks of many layers are saved and loaded', async () => {
    using model = await read();
    const sparsifier = new Sparsifier(model, all);
    await sparsifier.sparsifyModel(50);
    const chunks: Uint8Array<ArrayBuffer>[] = [];
    await sparsifier.saveMasks(new WritableStream({ write: (chunk) => void chunks.push(chunk.slice()) }));
    using other = await read();
    const loaded = new Sparsifier(other, all);
    await loaded.loadMasks(new Blob(chunks));
    expect((await loaded.apply()).total.zeros).toBe(2 * count);
  });

  test('What happens to many layers is explained, in each ranking', async () => {
    using model = await read();
    for (const context of ['local', 'global'] as const) {
      const explained = await new Sparsifier(model, { ...all, context }).explain(50);
      expect(explained).toHaveLength(count);
      expect(explained.reduce((sum, { removedUnits }) => sum + removedUnits!, 0)).toBe(2 * count);
    }
  });

  test('The layers of another model with as many are compared with', async () => {
    using model = await read();
    using initial = await read();
    const report = await new Sparsifier(model, { ...all, criteria: 'largeInit', initial }).sparsifyModel(50);
    expect(report.total.zeros).toBe(2 * count);
  });

  test('The zeros of many layers are counted, and their table is written', async () => {
    using model = await read();
    const report = await inspect(model);
    expect([report.layers.length, report.total.zeros]).toEqual([count, 0]);
    expect(report.table({ layers: true }).split('\n').length).toBeGreaterThan(count);
  });

  test('A listener is called some hundred times, however many layers there are', async () => {
    using model = await read();
    const stages = new Map<string, number>();
    await new Sparsifier(model, all).sparsifyModel(50, {
      onProgress: ({ stage, done, total }) => {
        stages.set(stage, (stages.get(stage) ?? 0) + 1);
        if (stage === 'store' && done === total) stages.set('the end', 1);
      },
    });
    expect(Object.fromEntries(stages)).toMatchObject({ load: 100, store: 100, 'the end': 1 });
  });

  test('A name that no layer has is an error that is as short as for few layers, with the nearest name', async () => {
    using model = await read();
    const error = await errorOf(() => new Sparsifier(model, { ...all, include: 'layer.1234' }));
    expect(error.message).toMatch(/Did you mean layers\.1234\?$/);
    expect(error.message.length).toBeLessThan(1000);
    const other = await errorOf(() => new Sparsifier(model, { ...all, include: 'nothing of the kind' }));
    expect(other.message.length).toBeLessThan(1000);
    const layers = { context: 'local', granularity: 'layer' } as const;
    const whole = await errorOf(() => new Sparsifier(model, { ...all, ...layers }).sparsifyModel(50));
    expect([whole.code, whole.message.length < 1000]).toEqual(['granularity', true]);
  });
});

test('Many layers of arrays are pruned, some of which share arrays', async () => {
  const shared = Float32Array.of(1, 2);
  const layer = (data: Float32Array) =>
    ({ kind: 'dense', roles: ['out', 'in'], shape: [2, 2], data, bias: shared }) as const;
  const own = names.map((name) => [name, layer(Float32Array.of(1, 2, 3, 4))] as const);
  const twins = own.map(([name, { data }]) => [`twin of ${name}`, layer(data)] as const);
  const model = fromArrays(Object.fromEntries([...own, ...twins]));
  expect(model.tensors).toHaveLength(count);
  expect(model.tensors[0]).toMatchObject({ aliases: ['twin of layers.0'], partners: [] });
  const { blocks } = (await loadEngine()).memory;
  const report = await new Sparsifier(model, { ...all, granularity: 'filter' }).sparsifyModel(50);
  expect(report.total.zeros).toBe(2 * count);
  expect(own[count - 1]![1].data).toEqual(Float32Array.of(0, 0, 3, 4));
  expect((await loadEngine()).memory.blocks).toBe(blocks);
});

test('Many layers are pruned while their file is streamed, as in memory', async () => {
  const some = safetensorsFile(Object.fromEntries(names.slice(0, 2000).map((name) => [`${name}.weight`, [2, 2]])));
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  const output = new WritableStream<Uint8Array<ArrayBuffer>>({ write: (chunk) => void chunks.push(chunk.slice()) });
  const report = await sparsifyFile(some, output, { ...all, sparsity: 50 });
  expect(report.total.zeros).toBe(4000);
  using model = await readSafetensors(some);
  await new Sparsifier(model, all).sparsifyModel(50);
  expect(Buffer.compare(await new Blob(chunks).bytes(), await model.bytes())).toBe(0);
});

test('A misspelt name is compared with long names in time', async () => {
  const long = Array.from({ length: 2000 }, (_, index) => `${'block.layer.'.repeat(20)}${nameAt(index)}`);
  using model = await readSafetensors(
    safetensorsFile(Object.fromEntries(long.map((name) => [`${name}.weight`, [1, 2]]))),
  );
  const wanted = long[1234]!;
  const error = await errorOf(() => new Sparsifier(model, { ...all, include: wanted.replace('layers', 'layer') }));
  expect(error.message).toMatch(/Did you mean .*layers\.1234\?/);
});
