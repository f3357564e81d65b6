// Objects of the package whose methods are called, and models that are passed.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadEngine, Sparsifier } from 'sparsifier';
import { calibrate, type SessionFiles } from 'sparsifier/calibration';
import { compare } from 'sparsifier/compare';
import { fit, repeat } from 'sparsifier/fit';
import { readModel } from 'sparsifier/formats';
import { fromArrays } from 'sparsifier/formats/arrays';
import { fromTfjs } from 'sparsifier/formats/tfjs';
import { dequantize, quantize } from 'sparsifier/quantize';
import { planRemoval, removeChannels } from 'sparsifier/removal';
import { sensitivity } from 'sparsifier/sensitivity';
import { Schedule, sparsifyCallback } from 'sparsifier/training';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { mixedNumbers, model, node, tensor } from './onnx-builder.js';
import { safetensorsFile } from './safetensors-builder.js';
import { keeping } from './streams.js';
import { filesOf, floats as floatBytes, graphOf, textOf, tf } from './tfjs.js';

const floats = (length: number) => Float32Array.from({ length }, (_, index) => Math.sin(index + 1));
export const layers = () =>
  ({
    conv: {
      kind: 'conv2d',
      roles: ['out', 'in', 'height', 'width'],
      shape: [4, 2, 2, 2],
      data: floats(32),
      bias: floats(4),
    },
    head: { kind: 'dense', roles: ['out', 'in'], shape: [3, 4], data: floats(12) },
  }) as const;

export const network = model({
  nodes: [node('Conv', 'x w b', 'c', { name: 'conv' }), node('MatMul', 'c v', 'y', { name: 'head' })],
  initializers: [
    tensor('w', [4, 3, 2, 2], { data: mixedNumbers(48, 1) }),
    tensor('b', [4], { data: mixedNumbers(4, 2) }),
    tensor('v', [4, 3], { data: mixedNumbers(12, 3) }),
  ],
  inputs: { x: [1, 3, 5, 5] },
  outputs: { y: 4 },
});
export const checkpoint = safetensorsFile({ 'conv.weight': [4, 3, 2, 2], 'head.weight': [3, 4] });

export const sessions = {
  createSession: (bytes: Uint8Array, files: SessionFiles) =>
    InferenceSession.create(bytes, { ...files, logSeverityLevel: 3 }),
  batches: () => [1, 2, 3, 4].map(() => ({ x: new Tensor('float32', floats(75), [1, 3, 5, 5]) })),
};

export const live = tf.sequential({
  layers: [
    tf.layers.conv2d({ inputShape: [5, 5, 2], filters: 4, kernelSize: 2, name: 'conv' }),
    tf.layers.batchNormalization({ name: 'norm' }),
    tf.layers.flatten(),
    tf.layers.dense({ units: 3, name: 'head' }),
  ],
});
/** A network that needs no files with weights. */
export const weightless = tf.sequential({ layers: [tf.layers.flatten({ inputShape: [5, 5, 2] })] });
export const inputs = () => [tf.ones([2, 5, 5, 2])];

/** Objects whose methods are called, and models that are passed. */
export async function makeObjects() {
  await tf.setBackend('cpu');
  const read = await readModel(network);
  const statistics = await calibrate(read, sessions);
  const quantized = await quantize(read);
  const pruned = new Sparsifier(read, { layerType: 'all', statistics });
  const report = await pruned.sparsifyModel(50);
  const dense = await readModel(network);
  const engine = await loadEngine();
  const block = await engine.allocate(16);
  const array = fromArrays(layers());
  const analysed = await sensitivity(array, () => 1, { levels: [50], layers: 'conv' });
  const dequantized = await dequantize(quantized.model);
  const comparison = await compare(read, quantized.model);
  const repaired = await pruned.repair();
  const removalPlan = await planRemoval(read);
  const removed = await removeChannels(read, removalPlan);
  const fitted = await fit(dense, { target: 5000, allow: ['quantize'] });
  const refitted = await repeat(dense, fitted.recipe);
  const folder = await mkdtemp(join(tmpdir(), 'sparsifier-'));
  const masks = keeping();
  await pruned.saveMasks(masks.stream as WritableStream<Uint8Array<ArrayBuffer>>);
  const entries = [{ name: 'w', shape: [2, 2], dtype: 'float32', bytes: floatBytes(1, 2, 3, 4) }];
  const graph = graphOf(entries, [
    ['x', 'Placeholder', []],
    ['y', 'MatMul', ['x', 'w']],
  ]);
  const files = filesOf(graph, entries);
  return {
    ...{ read, statistics, quantized, pruned, report, dense, engine, block, array, analysed },
    ...{ dequantized, comparison, repaired, liveModel: fromTfjs(tf, live), schedule: Schedule.agp() },
    callback: sparsifyCallback(tf, { sparsity: 50, layerType: 'all', steps: 2 }),
    ...{ removalPlan, removed, fitted, refitted },
    ...{ out: join(folder, 'out.onnx'), masks: masks.bytes(), statisticsFile: await statistics.bytes() },
    tfjsFiles: { json: textOf(files.json), shards: (name: string) => files.shards.get(name)! },
    async close() {
      await rm(folder, { recursive: true });
      for (const each of [read, dense, quantized.model, dequantized.model, removed.model, fitted.model]) each.close();
      pruned.clear();
      block.free();
    },
  };
}
export type Objects = Awaited<ReturnType<typeof makeObjects>>;
