import { inspect, loadEngine, Sparsifier } from 'sparsifier';
import { readSafetensors } from 'sparsifier/formats/safetensors';
import { expect, test } from 'vitest';
import {
  errorOf,
  expectNoMemoryInUse,
  expectSame,
  layerOf,
  layoutOf,
  sparsified,
  weightwise,
} from '../support/layers.js';
import { removal, without } from '../support/oracle.js';
import { safetensorsFile } from '../support/safetensors-builder.js';
import { setting } from '../support/setting.js';
import { trappingWasm } from '../support/trap.js';

// A page loads one engine: these tests follow each other. Where threads are to be had the kernel fails in one of the
// pool, while the engine's thread sleeps until the pool is done; in a bare page it fails in the engine's thread.

const layers = { conv: layerOf(layoutOf('conv2d')), dense: layerOf(layoutOf('dense')) };

async function addressOf(wasm: Uint8Array<ArrayBuffer>): Promise<string> {
  if (setting !== 'node') return URL.createObjectURL(new Blob([wasm], { type: 'application/wasm' }));
  const [{ mkdtemp, writeFile }, { tmpdir }, { join }] = await Promise.all([
    import('node:fs/promises'),
    import('node:os'),
    import('node:path'),
  ]);
  const path = join(await mkdtemp(join(tmpdir(), 'sparsifier-failure-')), 'traps.wasm');
  await writeFile(path, wasm);
  return path;
}

async function expectItWorks(): Promise<void> {
  const { layers: after } = await sparsified(layers, 50, weightwise);
  expectSame(after, without(layers, removal(layers, 50, weightwise), 'weight'));
  await expectNoMemoryInUse();
}

const fail = () => errorOf(() => sparsified(layers, 50, { ...weightwise, criteria: 'random' }));

test('A kernel that fails is an error of the call, and the next call gets a new engine', async () => {
  const first = await loadEngine({ wasm: await addressOf(await trappingWasm()), threads: 2 });
  expect(first.threads).toBe(setting === 'bare' ? 1 : 2);
  await expectItWorks();
  const error = await fail();
  expect(error.code).toBe('memory');
  expect(error.message).toContain('the engine stopped working');
  expect(error.message).toContain('unreachable');
  await expectItWorks();
  const second = await loadEngine();
  expect(second).not.toBe(first);
  expect(second.threads).toBe(first.threads);
  expect((await fail()).code, 'as often as it happens').toBe('memory');
  await expectItWorks();
});

test('Every caller that waits for the engine gets the error', async () => {
  const engine = await loadEngine();
  const block = await engine.allocate(16);
  const failing = fail();
  const waiting = errorOf(async () => {
    for (;;) await engine.allocate(16);
  });
  expect((await Promise.all([failing, waiting])).map(({ code }) => code)).toEqual(['memory', 'memory']);
  for (const use of [() => engine.allocate(16), () => block.write(Uint8Array.of(1)), () => block.address])
    expect((await errorOf(use)).message).toContain('the engine stopped working');
  block.free();
  await expectItWorks();
});

test('A model in the memory of an engine that stopped must be read again', async () => {
  const bytes = safetensorsFile({ 'layer.weight': [2, 2] });
  const options = { ...weightwise, granularity: 'weight' } as const;
  using read = await readSafetensors(bytes);
  await fail();
  const error = await errorOf(() => new Sparsifier(read, options).sparsifyModel(50));
  expect(error.code).toBe('memory');
  expect(error.message).toContain('must be read again');
  await expectItWorks();
  using again = await readSafetensors(bytes);
  expect((await new Sparsifier(again, options).sparsifyModel(50)).total).toMatchObject({ weights: 4, zeros: 2 });
});

test('Calls that wait for their turn end with the error as well, and the model can be closed', async () => {
  const read = await readSafetensors(safetensorsFile({ 'layer.weight': [2, 2] }));
  const sparsifier = new Sparsifier(read, { ...weightwise, granularity: 'weight', criteria: 'random' });
  const calls = [
    () => sparsifier.sparsifyModel(50),
    () => read.bytes(),
    () => sparsifier.sparsifyModel(50),
    () => inspect(read),
    () => read.toFiles(),
  ];
  const ended = Promise.all(calls.map(errorOf));
  read.close();
  expect((await ended).map(({ code }) => code)).toEqual(calls.map(() => 'memory'));
  expect((await errorOf(() => read.bytes())).code).toBe('usage');
  await expectItWorks();
});
