import { isObject } from '../../model/json.js';
import { SparsifyError } from '../../errors.js';
import type { Skipped } from '../../model/model.js';
import { checkLayout } from '../layout.js';
import { isFloat, skip, type Described, type Description, type WeightEntry, type Weights } from './description.js';
import { readGraph } from './graph.js';
import { readKeras } from './keras.js';
import { readNames } from './names.js';

/**
 * Finds the layers of a model in the Keras config of a LayersModel or the nodes of a GraphModel.
 * @param topology the `modelTopology` of a model.json. Without a topology, layers are inferred from the names and shapes of their weights.
 * @param outputs the names of nodes that are outputs of a GraphModel, even if others read them
 * @throws SparsifyError `format` if the topology is neither, or disagrees with the weights
 */
export function describe(
  topology: unknown,
  entries: readonly WeightEntry[],
  outputs: ReadonlySet<string> = new Set(),
): Description {
  const weights: Weights = new Map(entries.map((entry) => [entry.name, entry]));
  const { tensors, skipped, weights: total } = read(topology, weights, outputs);
  const usable: Described[] = [];
  const refused: Skipped[] = [];
  for (const tensor of tensors) {
    const entry = weights.get(tensor.weight)!;
    if (!isFloat(entry)) {
      refused.push(skip(entry, `its type is ${entry.dtype}; only float32 and float16 can be pruned`, tensor.name));
    } else if (tensor.shape.includes(0)) {
      refused.push(skip(entry, 'it is empty', tensor.name));
    } else {
      checkLayout(tensor.name, tensor);
      usable.push(tensor);
    }
  }
  return { tensors: usable, skipped: [...skipped, ...refused], weights: total };
}

/** Whether a topology is that of a GraphModel. */
export const isGraph = (topology: unknown): topology is Readonly<Record<string, unknown>> =>
  isObject(topology) && Array.isArray(topology.node);

function read(topology: unknown, weights: Weights, outputs: ReadonlySet<string>): Description {
  if (topology === undefined) return readNames(weights);
  if (isGraph(topology)) return readGraph(topology, weights, outputs);
  if (isObject(topology)) {
    const config = topology.model_config ?? topology;
    if (isObject(config) && typeof config.class_name === 'string') return readKeras(config, weights);
  }
  throw new SparsifyError('format', 'the modelTopology is neither that of a LayersModel nor that of a GraphModel', {
    found: isObject(topology) ? `the keys ${Object.keys(topology).slice(0, 8).join(', ') || 'none'}` : typeof topology,
    allowed: ['{ model_config: { class_name, config } }', '{ node: [...] }'],
    hint: 'Save the model with model.save, or convert it with tensorflowjs_converter',
  });
}
