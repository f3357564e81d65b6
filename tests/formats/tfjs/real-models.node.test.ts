import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { Sparsifier, type GranularityName, type SparsifierOptions } from 'sparsifier';
import { readOnnx } from 'sparsifier/formats/onnx';
import { readTfjs, type FileModel } from 'sparsifier/formats/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import {
  filesIn,
  handlerOf,
  languages,
  pitch,
  tf,
  upscaler,
  type ModelFiles,
  type RealModel,
} from '../../../examples/support/models.mjs';
import { differsAt } from '../../support/bytes.js';
import { furtherFiles } from '../../support/model-files.js';
import { countedIn } from '../../support/tfjs-count.js';

beforeAll(async () => {
  await tf.setBackend('wasm');
  await tf.ready();
});

const words: SparsifierOptions = { granularity: 'weight', context: 'local', criteria: 'magnitude' };
const numbersOf = async (model: FileModel, values: FileModel['tensors'][number]['values']) =>
  new Float32Array((await model.copy(values)).slice().buffer);

/** Where each weight stands in canonical order: by out, in, height, width. */
function canonical(shape: readonly number[], roles: readonly string[]): number[] {
  const order = ['out', 'multiplier', 'in', 'depth', 'height', 'width'].filter((role) => roles.includes(role));
  const length = shape.reduce((a, b) => a * b, 1);
  return Array.from({ length }, (_, index) => {
    const at = new Map<string, number>();
    for (let axis = shape.length - 1, rest = index; axis >= 0; axis--) {
      at.set(roles[axis]!, rest % shape[axis]!);
      rest = Math.floor(rest / shape[axis]!);
    }
    return order.reduce((place, role) => place * shape[roles.indexOf(role)]! + at.get(role)!, 0);
  });
}

/** Zeroes the smallest weights of a model's files by sorting, and stores them as 32-bit floats. */
async function prunedNaively(files: ModelFiles, layers: FileModel['tensors'], percent: number): Promise<ModelFiles> {
  const { weightSpecs, weightData, ...rest } = await handlerOf(files).load!();
  const decoded = tf.io.decodeWeights(weightData as ArrayBuffer, weightSpecs!);
  const wanted = new Map(layers.map(({ shape, roles }) => [shape.join(), { shape, roles }]));
  const json = JSON.parse(new TextDecoder().decode(files.json)) as {
    weightsManifest: {
      weights: { name: string; shape: number[]; dtype: string; quantization?: object }[];
      paths: string[];
    }[];
  };
  const parts: Uint8Array[] = [];
  let start = 0;
  const all = new Uint8Array(weightData as ArrayBuffer);
  const weights = [];
  for (const spec of json.weightsManifest.flatMap(({ weights }) => weights)) {
    const count = spec.shape.reduce((a, b) => a * b, 1);
    let bytes =
      count * ({ uint8: 1, uint16: 2, float16: 2 }[(spec.quantization as { dtype?: string })?.dtype ?? ''] ?? 4);
    if (spec.dtype === 'bool') bytes = count;
    if (spec.dtype === 'string') {
      bytes = 0;
      const view = new DataView(all.buffer);
      for (let index = 0; index < count; index++) bytes += 4 + view.getUint32(start + bytes, true);
    }
    const layer = layers.length > 0 && spec.dtype === 'float32' ? layerOf(spec.name, layers) : undefined;
    if (layer === undefined || !wanted.has(spec.shape.join())) {
      parts.push(all.slice(start, start + bytes));
      weights.push(spec);
    } else {
      const numbers = Float32Array.from(await decoded[spec.name]!.data());
      const exact = (percent * count) / 100;
      const remove = exact % 1 === 0.5 ? 2 * Math.round(exact / 2) : Math.round(exact);
      const places = canonical(layer.shape, layer.roles);
      const order = [...numbers.keys()].sort(
        (a, b) => Math.abs(numbers[a]!) - Math.abs(numbers[b]!) || places[a]! - places[b]!,
      );
      for (const index of order.slice(0, remove)) numbers[index] = 0;
      parts.push(new Uint8Array(numbers.buffer));
      weights.push({ name: spec.name, shape: spec.shape, dtype: 'float32' });
    }
    start += bytes;
  }
  tf.dispose(decoded);
  const manifest = [{ paths: ['all.bin'], weights }];
  return {
    json: new TextEncoder().encode(JSON.stringify({ ...json, ...rest, weightsManifest: manifest })),
    shards: new Map([['all.bin', new Uint8Array(Buffer.concat(parts))]]),
  };
}

/** A LayersModel's weight is called after its layer; a GraphModel's node reads it by its name. */
let readers = new Map<string, string>();
function layerOf(weight: string, layers: FileModel['tensors']) {
  const name = readers.get(weight) ?? weight.replace(/\/kernel$/, '');
  return layers.find((layer) => layer.name === name);
}
function readersOf({ json }: ModelFiles): Map<string, string> {
  const { modelTopology } = JSON.parse(new TextDecoder().decode(json)) as {
    modelTopology: { node?: { name: string; op: string; input?: string[] }[] };
  };
  const ops = /^(_Fused)?(Conv2D|MatMul)$|^SparseSegment/;
  return new Map(
    (modelTopology.node ?? [])
      .filter(({ op }) => ops.test(op))
      .flatMap(({ name, op, input = [] }) =>
        input.slice(0, 2).map((weight, at) => [weight, at === (op.startsWith('Sparse') ? 0 : 1) ? name : '']),
      ),
  );
}

describe.each<[string, RealModel, number, number]>([
  ['languages', languages, 5, 8],
  ['upscaler', upscaler, 12, 2],
  ['notes', pitch, 6, 1],
])('%s', (_, model, layers, count) => {
  test('Layers and skipped tensors have all numbers of the model', async () => {
    const path = join(model.folder, 'model.json');
    using read = await readTfjs(path);
    const inLayers = read.tensors.reduce((count, { values }) => count + values.length, 0);
    const left = read.skipped.reduce((count, { weights }) => count + weights, 0);
    const count = countedIn(JSON.parse(readFileSync(path, 'utf8')));
    expect([inLayers + left, read.weights]).toEqual([count, count]);
    // One constant of a transform is multiplied with, number by number.
    expect(left).toBe(model === pitch ? 309 : 0);
  });

  // Takes more than 5 s: the network runs on real samples eight times.
  test('A pruned model is as accurate as after independent code zeroed the same share, within half a point', async () => {
    const samples = model.samples(count);
    const files = filesIn(model.folder);
    readers = readersOf(files);
    const dense = await model.measure(files, samples);
    for (const percent of [0, 50, 80, 90]) {
      using read = await readTfjs(join(model.folder, 'model.json'));
      const { total, layers: reported } = await new Sparsifier(read, { ...words, ...model.options }).sparsifyModel(
        percent,
      );
      expect(reported).toHaveLength(layers);
      expect(total.zeros).toBeGreaterThanOrEqual(total.removedWeights);
      const ours = await model.measure({ json: await read.bytes(), shards: await furtherFiles(read) }, samples);
      if (percent === 0) {
        expect(ours).toBe(dense);
        continue;
      }
      const chosen = read.tensors.filter(({ name }) => reported.some((layer) => layer.name === name));
      const naive = await prunedNaively(files, chosen, percent);
      const theirs = await model.measure(naive, samples);
      expect(Math.abs(ours - theirs), `${percent} %: ${ours} and ${theirs}`).toBeLessThanOrEqual(0.5);
      // Not only as good, but the same numbers.
      using again = await readTfjs(naive.json as Uint8Array<ArrayBuffer>, {
        shards: (name) => naive.shards.get(name)! as Uint8Array<ArrayBuffer>,
      });
      for (const tensor of chosen) {
        const twin = again.tensors.find(({ name }) => name === tensor.name)!;
        expect((await numbersOf(read, tensor.values)).every((value) => !Object.is(value, -0))).toBe(true);
        expect(await numbersOf(again, twin.values), tensor.name).toEqual(await numbersOf(read, tensor.values));
      }
    }
  }, 300_000);
});

const onnx = fileURLToPath(new URL('../../.fixtures/nmp.onnx', import.meta.url));
describe.skipIf(!existsSync(onnx))('one network as TensorFlow.js and as ONNX', () => {
  const [{ sound: input }] = pitch.samples(1) as [{ readonly sound: Float32Array }];
  test.each(['weight', 'vector', 'kernel', 'filter'] as const)(
    'TensorFlow.js and ONNX versions of a network have the same masks (%s), and outputs as close as rounding allows',
    async (granularity) => {
      const folder = await mkdtemp(join(tmpdir(), 'sparsifier-'));
      try {
        const distances: number[] = [];
        for (const percent of [0, 50]) distances.push(await compared(granularity, percent, folder));
        expect(distances[0]).toBeLessThan(2e-3);
        // Two engines round in ways of their own; a bias or a mask that differed would move outputs by whole numbers.
        expect(distances[1]).toBeLessThan(4 * distances[0]!);
      } finally {
        await rm(folder, { recursive: true });
      }
    },
    120_000,
  );

  /** What comes before the sigmoid, which flattens differences where outputs are near 0 or 1. */
  const logit = (probability: number) => Math.log(probability / (1 - probability));

  async function compared(granularity: GranularityName, percent: number, folder: string): Promise<number> {
    using left = await readTfjs(join(pitch.folder, 'model.json'));
    using right = await readOnnx(onnx);
    const pairs: [string, string][] = [];
    for (const tensor of left.tensors.filter(({ name }) => !name.includes('cq_t2010v2'))) {
      const places = canonical(tensor.shape, tensor.roles);
      const numbers = await numbersOf(left, tensor.values);
      const moved = new Float32Array(numbers.length);
      places.forEach((place, index) => (moved[place] = numbers[index]!));
      for (const twin of right.tensors.filter(({ values }) => values.length === moved.length)) {
        const others = new Float32Array((await right.copy(twin.values)).slice().buffer);
        // The converters folded normalisations in with roundings of their own.
        if (moved.every((value, index) => Math.abs(value - others[index]!) < 1e-5))
          pairs.push([tensor.name, twin.name]);
      }
    }
    expect(pairs).toHaveLength(6);
    const options = { ...words, granularity };
    const [first, second] = [new Sparsifier(left, options), new Sparsifier(right, options)];
    await first.sparsifyModel(Object.fromEntries(pairs.map(([name]) => [name, percent])));
    await second.sparsifyModel(Object.fromEntries(pairs.map(([, name]) => [name, percent])));
    for (const [name, twin] of pairs) {
      const { shape, data } = first.mask(name);
      const { roles } = left.tensors.find((tensor) => tensor.name === name)!;
      const moved = new Uint8Array(data.length);
      canonical(shape, roles).forEach((place, index) => (moved[place] = data[index]!));
      expect(differsAt(moved, second.mask(twin).data), name).toBe(-1);
      expect(data.filter((unit) => unit === 0).length, name).toBeGreaterThanOrEqual(
        percent === 0 ? 0 : Math.floor(data.length / 2) - 1,
      );
    }
    await right.write(join(folder, 'sparse.onnx'), { force: true });
    const session = await InferenceSession.create(join(folder, 'sparse.onnx'));
    const theirs = await session.run({ [session.inputNames[0]!]: new Tensor('float32', input, [1, 43_844, 1]) });
    await session.release();
    const model = await tf.loadGraphModel(handlerOf({ json: await left.bytes(), shards: await furtherFiles(left) }));
    const ours = tf.tidy(() => {
      const outputs = model.execute(tf.tensor3d(input, [1, 43_844, 1]), ['Identity', 'Identity_1', 'Identity_2']);
      return (outputs as { dataSync(): Float32Array }[]).map((output) => output.dataSync());
    });
    model.dispose();
    return Math.max(
      ...session.outputNames.map((name) => {
        const numbers = theirs[name]!.data as Float32Array;
        const distances = ours
          .filter((output) => output.length === numbers.length)
          .map((output) =>
            output.reduce((most, value, at) => Math.max(most, Math.abs(logit(value) - logit(numbers[at]!))), 0),
          );
        return Math.min(...distances);
      }),
    );
  }
});
