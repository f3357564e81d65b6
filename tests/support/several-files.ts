// A small model of each format, each of several files.
import { model, node, tensor } from './onnx-builder.js';
import { shardedFiles } from './safetensors-builder.js';
import { filesOf, floats, textOf } from './tfjs.js';

const numbers = floats(1, -2, 3, -4, 5, -6);
const { index, shards } = shardedFiles({
  'a.safetensors': { 'd.weight': [2, 3] },
  'parts/b.safetensors': { 'e.weight': [2, 3] },
});
const tfjs = filesOf(
  { class_name: 'Sequential', config: [{ class_name: 'Dense', config: { name: 'd', units: 2 } }] },
  [{ name: 'd/kernel', shape: [3, 2], dtype: 'float32', bytes: numbers }],
  8,
);

/** The files by name, the main one first. */
export const severalFiles = {
  onnx: {
    'model.onnx': model({
      nodes: [node('MatMul', 'x w', 'y', { name: 'd' })],
      initializers: [tensor('w', [3, 2], { external: { location: 'parts/w.bin' } })],
      inputs: { x: 2 },
    }),
    'parts/w.bin': numbers,
  },
  safetensors: { 'model.safetensors.index.json': index, ...shards },
  tfjs: { 'model.json': textOf(tfjs.json), ...Object.fromEntries(tfjs.shards) },
} satisfies Record<string, Record<string, Uint8Array>>;
