// All that is fuzzed by `npm run fuzz -- <name> --minutes <n>`.
import { kernels } from './kernels.js';
import { onnx } from './onnx.js';
import { options } from './options.js';
import { safetensors } from './safetensors.js';
import { masks, statistics } from './sidecars.js';
import { tensors } from './tensors.js';
import { tfjsGraph, tfjsLayers } from './tfjs.js';
import type { Target } from './target.js';

export const targets: Readonly<Record<string, Target>> = {
  onnx,
  safetensors,
  'tfjs-layers': tfjsLayers,
  'tfjs-graph': tfjsGraph,
  tensors,
  statistics,
  masks,
  options,
  kernels,
};
