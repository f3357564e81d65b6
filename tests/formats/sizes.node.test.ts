import { spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect, loadEngine, Sparsifier } from 'sparsifier';
import { sparsifyFile } from 'sparsifier/file';
import { readModel, sizesOf } from 'sparsifier/formats';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { namesIn } from '../support/command.js';
import { contents } from '../support/contents.js';
import { root } from '../support/install.js';
import { gzip as counting } from '../support/internal.js';
import { errorOf } from '../support/layers.js';
import { model, node, tensor } from '../support/onnx-builder.js';

/** How many bytes a command writes to stdout. */
function sizeBy(command: string, words: readonly string[], input: Uint8Array): number {
  const { status, stdout } = spawnSync(command, words, { input, maxBuffer: 2 ** 30 });
  expect(status).toBe(0);
  return stdout.length;
}
const gzip = (bytes: Uint8Array) => sizeBy('gzip', ['-9', '-n', '-c'], bytes);

/** Whether a command is the one that is meant: on other systems `gzip` is another program. */
const isInstalled = (command: string, sign: RegExp) =>
  sign.test(spawnSync(command, ['--version'], { encoding: 'utf8' }).stdout ?? '');
const hasGzip = isInstalled('gzip', /Free Software Foundation/);
const hasBrotli = isInstalled('brotli', /^brotli 1\./);

const inPackages = (...names: string[]) => join(root, 'node_modules', ...names);
const real = {
  orientation: inPackages('@gutenye', 'ocr-models', 'assets', 'ch_ppocr_mobile_v2.0_cls_infer.onnx'),
  languages: inPackages('@vscode', 'vscode-languagedetection', 'model', 'model.json'),
  pitches: inPackages('@spotify', 'basic-pitch', 'model', 'model.json'),
  upscaler: inPackages('@upscalerjs', 'default-model', 'models', 'model.json'),
};

describe('commands', () => {
  test
    .runIf(hasGzip)
    .each(Object.entries(real).flatMap(([name, path]) => [0, 30, 50].map((sparsity) => ({ name, sparsity, path }))))(
    'The files of the model of $name with $sparsity % of zeros have the size that gzip -9 gives them, within 0.1 %',
    async ({ name, sparsity, path }) => {
      using read = await readModel(path);
      if (sparsity > 0) await new Sparsifier(read, { layerType: 'all' }).sparsifyModel(sparsity);
      for (const [, bytes] of await read.toFiles()) {
        const counter = counting();
        await counter.add(bytes);
        // GNU gzip ends blocks early where a file changes, as this one does.
        const most = name === 'pitches' ? 0.005 : 0.001;
        expect(Math.abs((await counter.end()) / gzip(bytes) - 1)).toBeLessThan(most);
      }
    },
  );

  // Both commands at once, since this compresses slowly.
  test
    .runIf(hasGzip && hasBrotli)
    .each(Object.entries(real).filter(([name]) => name === 'orientation' || name === 'languages'))(
    'The sizes of the model of %s are those of gzip -9 and brotli -q 11, within 0.1 %%',
    async (_, path) => {
      using read = await readModel(path);
      await new Sparsifier(read, { layerType: 'all' }).sparsifyModel(50);
      const { files } = await sizesOf(read);
      const written = [...(await read.toFiles()).values()];
      expect(files.map(({ raw }) => raw)).toEqual(written.map(({ length }) => length));
      for (const [place, bytes] of written.entries()) {
        expect(Math.abs(files[place]!.gzip / gzip(bytes) - 1)).toBeLessThan(0.001);
        // The command chooses its window by the size of a file, which it does not know of a pipe.
        const folder = await mkdtemp(join(tmpdir(), 'sparsifier-brotli-'));
        try {
          await writeFile(join(folder, 'file'), bytes);
          const size = sizeBy('brotli', ['-q', '11', '-c', join(folder, 'file')], new Uint8Array());
          expect(Math.abs(files[place]!.brotli / size - 1)).toBeLessThan(0.001);
        } finally {
          await rm(folder, { recursive: true });
        }
      }
    },
  );
});

describe('files that were written', () => {
  let folder: string;
  const at = (...names: string[]) => join(folder, ...names);
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sparsifier-sizes-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  test('The sizes of what sparsifyFile wrote are those of the files, with all their names', async () => {
    const bytes = model({
      nodes: [node('MatMul', 'x w', 'y', { name: 'head' })],
      initializers: [tensor('w', [50, 100], { external: { location: 'w.bin' } })],
    });
    const external = () => contents.floats!(20_000);
    const options = { layerType: 'all', sparsity: 50, external } as const;
    const report = await sparsifyFile(new Blob([bytes]), at('sparse.onnx'), options);
    const names = await namesIn(folder);
    expect(names).toEqual(['sparse.onnx', 'sparse.onnx.data']);
    const written = await Promise.all(names.map((name) => readFile(at(name))));
    expect(report.bytes).toBe(written.reduce((sum, { length }) => sum + length, 0));
    const { files, layers } = await report.sizes({ layers: true });
    expect(files.map(({ name, raw }) => ({ name, raw }))).toEqual(
      names.map((name, place) => ({ name, raw: written[place]!.length })),
    );
    expect(layers).toEqual([{ name: 'head', raw: 20_000, estimate: expect.any(Number) }]);
    using again = await readModel(at('sparse.onnx'));
    expect(await sizesOf(again)).toMatchObject({ files });
    await rm(at('sparse.onnx'));
    expect(await errorOf(() => report.sizes())).toMatchObject({ code: 'file' });
  });

  test('The bytes of a report are those that are written, also with a bias that was added', async () => {
    using read = await readModel(
      model({
        nodes: [node('Conv', 'x w', 'y', { name: 'conv' })],
        initializers: [tensor('w', [2, 1, 1, 1])],
        inputs: { x: 4 },
        outputs: { y: 4 },
      }),
    );
    const [layer] = read.tensors;
    const bias = await read.addBias(layer!);
    if (typeof bias === 'string') throw new Error(bias);
    const engine = await loadEngine();
    const region = await read.load(engine, bias.values);
    await region.block.write(new Uint8Array(Float32Array.of(1, 2).buffer), region.offset);
    await read.store(engine, bias.values, region);
    region.release();
    const { bytes } = await inspect(read);
    await read.write(at('biased.onnx'));
    expect(bytes).toBe((await readFile(at('biased.onnx'))).length);
    expect(bytes).toBe((await read.bytes()).length);
  });
});
