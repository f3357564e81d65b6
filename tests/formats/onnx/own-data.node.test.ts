import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as ort from 'onnxruntime-node';
import { loadEngine, Sparsifier } from 'sparsifier';
import { calibrate } from 'sparsifier/calibration';
import { compare, type Comparison, type CreateSession } from 'sparsifier/compare';
import { sparsifyFile } from 'sparsifier/file';
import { readModel } from 'sparsifier/formats';
import { readOnnx } from 'sparsifier/formats/onnx';
import { quantize } from 'sparsifier/quantize';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { foldersWith, printed } from '../../support/folder.js';
import { errorOf } from '../../support/layers.js';
import { bytesField, concat, integerField, model as onnxModel, node, tensor } from '../../support/onnx-builder.js';
import { floats } from '../../support/tfjs.js';

// External data may be in the model file itself, here in fields that onnx.proto does not know.

let folder: string;
const at = (...names: string[]) => join(folder, ...names);
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sparsifier-own-'));
});
afterEach(() => rm(folder, { recursive: true }));

const weights = { w: [1, -2, 3, -4, 5, -6], v: [1, 20, -3, -40] };

/** A model of two layers, whose weights come first and last in the file. */
function modelFile(location: string): Uint8Array<ArrayBuffer> {
  const first = concat(integerField(1, 8), bytesField(998, floats(...weights.w)));
  const last = bytesField(999, floats(...weights.v));
  const withOffsets = (w: number, v: number) =>
    concat(
      first,
      onnxModel({
        nodes: [node('MatMul', 'x w', 'h', { name: 'd' }), node('MatMul', 'h v', 'y', { name: 'e' })],
        initializers: [
          tensor('w', [3, 2], { external: { location, offset: w, length: 24 } }),
          tensor('v', [2, 2], { external: { location, offset: v, length: 16 } }),
        ],
        inputs: { x: { shape: [1, 3] } },
        outputs: { y: 2 },
      }),
      last,
    );
  const start = first.length - 24;
  // The offset has three digits.
  return withOffsets(start, withOffsets(start, 100).length - 16);
}

const input = [1, 10, 100];
/** What the model gives for the input with these weights. */
function outputOf({ w, v }: typeof weights): number[] {
  const product = (row: readonly number[], matrix: readonly number[]) =>
    [0, 1].map((column) => row.reduce((sum, number, index) => sum + number * matrix[2 * index + column]!, 0));
  return product(product(input, w), v);
}
const pruned = { w: [0, 0, 0, -4, 5, -6], v: [0, 20, 0, -40] };

async function run(path: string): Promise<number[]> {
  const session = await ort.InferenceSession.create(path);
  const { y } = await session.run({ x: new ort.Tensor('float32', Float32Array.from(input), [1, 3]) });
  return Array.from(y!.data as Float32Array);
}

const options = { granularity: 'weight', context: 'local', layerType: 'all' } as const;

test('ONNX Runtime reads such a file', async () => {
  await writeFile(at('model.onnx'), modelFile('model.onnx'));
  expect(await run(at('model.onnx'))).toEqual(outputOf(weights));
});

describe.each([
  ['a name of the same length', 'other.onnx'],
  ['a longer name', `${'long'.repeat(40)}.onnx`],
  ['a shorter name', 'o.onnx'],
  ['a folder', 'folder/'],
])('written to %s', (_title, name) => {
  const path = name.endsWith('/') ? `${name}model.onnx` : name;

  test('The model is one file, with pruned weights, in memory and streamed', async () => {
    await writeFile(at('model.onnx'), modelFile('model.onnx'));
    await mkdir(at('folder'));
    using model = await readModel(at('model.onnx'));
    expect(model.tensors.map((each) => each.name)).toEqual(['d', 'e']);
    await new Sparsifier(model, options).sparsifyModel(50);
    expect((await model.outputs(at(name))).map((output) => output.path)).toEqual([at(path)]);
    await model.write(at(name));
    expect(await run(at(path))).toEqual(outputOf(pruned));
    const written = await readFile(at(path));
    await sparsifyFile(at('model.onnx'), at(name), { ...options, sparsity: 50, force: true });
    expect(await readFile(at(path))).toEqual(written);
    using again = await readModel(at(path));
    expect(await again.bytes()).toEqual(new Uint8Array(written));
  });
});

test('Nothing of the file changes unless weights do', async () => {
  const bytes = modelFile('model.onnx');
  for (const source of [new File([bytes], 'model.onnx'), bytes]) {
    using model = await readOnnx(source);
    expect(await model.toFiles()).toEqual(new Map([['model.onnx', bytes]]));
  }
});

test('Biases that are added, and weights that become codes, move the other data', async () => {
  const bytes = modelFile('model.onnx');
  using model = await readOnnx(new File([bytes], 'model.onnx'));
  const bias = await model.addBias(model.tensors[1]!);
  if (typeof bias === 'string') throw new Error(bias);
  const engine = await loadEngine();
  const region = await model.load(engine, bias.values);
  await region.block.write(floats(1000, 2000) as Uint8Array<ArrayBuffer>, region.offset);
  await model.store(engine, bias.values, region);
  region.release();
  const raised = outputOf(weights).map((number, index) => number + 1000 * (index + 1));
  await model.write(at('biased.onnx'));
  expect(await run(at('biased.onnx'))).toEqual(raised);
  await mkdir(at('folder'));
  await model.write(at('folder/'));
  expect(await run(at('folder/model.onnx'))).toEqual(raised);

  using plain = await readOnnx(new File([bytes], 'model.onnx'));
  const { model: quantized } = await quantize(plain, { weights: 'float16', rules: { exclude: ['e'] } });
  await quantized.write(at('small.onnx'));
  expect(await run(at('small.onnx'))).toEqual(outputOf(weights));
  quantized.close();
});

test.each([
  ['the graph', 60],
  ['the beginning of the file', 0],
  ['bytes beyond the end', 2 ** 20],
])('Data that are %s are an error of the format', async (_title, offset) => {
  const bytes = onnxModel({
    nodes: [node('MatMul', 'x w', 'y', { name: 'd' })],
    initializers: [tensor('w', [3, 2], { external: { location: 'model.onnx', offset, length: 24 } })],
    inputs: { x: 2 },
  });
  const error = await errorOf(() => readOnnx(new File([bytes], 'model.onnx')));
  expect(error).toMatchObject({
    code: 'format',
    message: expect.stringMatching(/external data of tensor 'w' are not data/),
  });
});

test('Sessions get the model file as its own external data, also with further outputs', async () => {
  const bytes = modelFile('model.onnx');
  using dense = await readOnnx(new File([bytes], 'model.onnx'));
  using sparse = await readOnnx(new File([bytes], 'model.onnx'));
  await new Sparsifier(sparse, options).sparsifyModel(50);
  const x = new ort.Tensor('float32', Float32Array.from(input), [1, 3]);
  const createSession = (model: Uint8Array, files: object) => ort.InferenceSession.create(model, files);
  const runnable = createSession as CreateSession;
  const [output] = (await compare(dense, sparse, { createSession: runnable, inputs: { x } })).outputs;
  const sparseOutput = outputOf(pruned);
  expect(output!.maxDifference).toBe(
    Math.max(...outputOf(weights).map((number, index) => Math.abs(number - sparseOutput[index]!))),
  );
  const batches = () => [{ x }];
  const { layers } = await calibrate(dense, { createSession, batches, holdOut: 0 });
  expect(Array.from(layers.get('d')!.mean)).toEqual(input);
  // What the first layer gives: x w.
  const hidden = [0, 1].map((column) =>
    input.reduce((sum, number, row) => sum + number * weights.w[2 * row + column]!, 0),
  );
  expect(Array.from(layers.get('e')!.mean)).toEqual(hidden);
});

test(
  'The command line runs such models',
  foldersWith({ 'model.onnx': modelFile('model.onnx') })(async () => {
    const words = ['-s', '50', '--layer-type', 'all', '-o', 'sparse.onnx', '--verify', '--json'];
    const { verify } = JSON.parse(await printed('prune', 'model.onnx', ...words)) as { verify: Comparison };
    expect(verify.notes).toEqual([]);
    expect(verify.outputs).toMatchObject([{ name: 'y' }]);
  }),
);
