import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { sparsifyFile } from 'sparsifier/file';
import { readTfjs } from 'sparsifier/formats/tfjs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { command, run } from '../../support/command.js';
import { errorOf } from '../../support/layers.js';
import { filesOf, floats, jsonOf, textOf, type Files } from '../../support/tfjs.js';

let folder: string;
const at = (...names: string[]) => join(folder, ...names);
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sparsifier-'));
  await put(plain, 'model');
});
afterEach(() => rm(folder, { recursive: true }));

const dense = { class_name: 'Sequential', config: [{ class_name: 'Dense', config: { name: 'd', units: 2 } }] };
const plain = filesOf(dense, [
  { name: 'd/kernel', shape: [3, 2], dtype: 'float32', bytes: floats(1, -2, 3, -4, 5, -6) },
  { name: 'd/bias', shape: [2], dtype: 'float32', bytes: floats(7, 8) },
]);
const quantised = filesOf(dense, [
  {
    name: 'd/kernel',
    shape: [3, 2],
    dtype: 'float32',
    quantization: { dtype: 'uint8', scale: 1, min: -2.25 },
    bytes: Uint8Array.from([0, 1, 2, 3, 4, 5]),
  },
]);

async function put({ json, shards }: Files, ...path: string[]): Promise<void> {
  await mkdir(at(...path), { recursive: true });
  await writeFile(at(...path, 'model.json'), textOf(json));
  for (const [name, bytes] of shards) await writeFile(at(...path, name), bytes);
}

const sparsifier = (...words: string[]) => run(process.execPath, [command, ...words], { cwd: folder });
const prune = ['prune', 'model/model.json', '-s', '50', '--layer-type', 'all'];
const numbersIn = async (...path: string[]) => {
  const bytes = await readFile(at(...path));
  return [...new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength))];
};

describe('the command line', () => {
  test.each([
    ['into a folder', 'sparse/', 'sparse/model.json'],
    ['to a path, with its weights in the same folder', 'there/out.json', 'there/out.json'],
  ])('The command line prunes a TensorFlow.js model, written %s', async (_, out, json) => {
    const { code, stdout, stderr } = await sparsifier(...prune, '-o', out);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/^d +dense +3 x 2 +6 +3 +50\.00 %/m);
    expect(stdout).toContain(`written: ${out}`);
    expect(await numbersIn(dirname(json), 'group1-shard1of1.bin')).toEqual([0, 0, 0, -4, 5, -6, 7, 8]);
    expect(jsonOf(await readFile(at(json))).modelTopology).toEqual(dense);
    // What is there is not replaced, nor what was read.
    expect((await sparsifier(...prune, '-o', out)).code).toBe(1);
    expect((await sparsifier(...prune, '-o', out, '--force')).code).toBe(0);
    expect((await sparsifier(...prune, '-o', 'model/', '--force')).stderr).toMatch(/input file cannot be overwritten/);
    expect(await numbersIn('model', 'group1-shard1of1.bin')).toEqual([1, -2, 3, -4, 5, -6, 7, 8]);
  });

  test('The command line inspects and explains a model, and compares it with initial weights', async () => {
    expect((await sparsifier('inspect', 'model/model.json')).stdout).toMatch(/^d +dense +3 x 2 +6 +0/m);
    expect((await sparsifier(...prune, '--explain')).stdout).toMatch(/^d +dense +yes +6 +3/m);
    await sparsifier(...prune, '-o', 'sparse/');
    const words = ['prune', 'sparse/model.json', '-s', '50', '--layer-type', 'all', '-o', 'again/'];
    const moved = await sparsifier(...words, '--criteria', 'movement', '--initial', 'model/model.json');
    expect(moved.stderr).toBe('');
    // What moved least goes: the weights that stayed as they were.
    expect(await numbersIn('again', 'group1-shard1of1.bin')).toEqual([0, 0, 0, 0, 0, 0, 7, 8]);
  });

  test('The option --keep-scale keeps scale and min, and the report distinguishes zeros and removed weights', async () => {
    await put(quantised, 'model');
    const report = async (...more: string[]) => {
      const { stdout } = await sparsifier(...prune, '--json', '--force', '-o', 'out/', ...more);
      return JSON.parse(stdout) as { total: object; notes: string[] };
    };
    expect((await report()).total).toMatchObject({ zeros: 3, removedWeights: 3 });
    const kept = await report('--keep-scale');
    expect(kept.total).toMatchObject({ zeros: 0, removedWeights: 3 });
    expect(kept.notes).toEqual(['d: its uint8 codes have no exact zero: removed weights become -0.25']);
    expect(await readFile(at('out', 'group1-shard1of1.bin'))).toEqual(Buffer.from([0, 2, 2, 2, 4, 5]));
  });
});

describe('a path', () => {
  test('An output path of another format is refused, and nothing is written', async () => {
    using model = await readTfjs(at('model', 'model.json'));
    expect((await errorOf(() => model.write(at('out.bin')))).code).toBe('usage');
    expect(await readdir(folder)).toEqual(['model']);
  });

  test.each(['gone.json', 'model/gone.bin'])('A missing file is an error: %s', async (missing) => {
    await rm(at('model', 'group1-shard1of1.bin'));
    const error = await errorOf(() => readTfjs(at(missing.endsWith('.bin') ? 'model/model.json' : missing)));
    expect(error.code).toBe('file');
  });
});

describe('sparsifyFile', () => {
  const options = {
    granularity: 'weight',
    context: 'local',
    criteria: 'magnitude',
    layerType: 'all',
    sparsity: 50,
  } as const;

  test('sparsifyFile writes a model to a folder, or to streams by name', async () => {
    const { total } = await sparsifyFile(at('model', 'model.json'), at('sparse/'), options);
    expect(total.removedWeights).toBe(3);
    expect(await numbersIn('sparse', 'group1-shard1of1.bin')).toEqual([0, 0, 0, -4, 5, -6, 7, 8]);
    const written = new Map<string, number>();
    const stream = (name: string) =>
      new WritableStream<Uint8Array>({
        write: (chunk) => void written.set(name, (written.get(name) ?? 0) + chunk.length),
      });
    const shards = (name: string) => plain.shards.get(name)! as Uint8Array<ArrayBuffer>;
    await sparsifyFile(textOf(plain.json) as Uint8Array<ArrayBuffer>, stream, { ...options, shards });
    expect([...written.keys()]).toEqual(['group1-shard1of1.bin', 'model.json']);
    expect(written.get('group1-shard1of1.bin')).toBe(32);
  });

  test('sparsifyFile refuses one stream for several files', async () => {
    const error = await errorOf(() => sparsifyFile(at('model', 'model.json'), new WritableStream(), options));
    expect([error.code, error.message]).toEqual(['usage', expect.stringMatching(/several files/)]);
  });
});
