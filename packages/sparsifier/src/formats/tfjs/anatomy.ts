import { isObject } from '../../model/json.js';
import type { Anatomy } from '../anatomy.js';
import { lengthOf } from './description.js';
import { isGraph } from './describe.js';
import { layersOf } from './keras-layers.js';
import { bytesOfWeight, type ModelJson } from './manifest.js';

/** What a TensorFlow.js model consists of. Functions of a graph count once, however often they are called. */
export function anatomyOf({ topology, groups }: ModelJson): Anatomy {
  const { nodes, names } = nodesOf(topology);
  const operators = new Map<string, number>();
  for (const name of names) operators.set(name, (operators.get(name) ?? 0) + 1);
  const constants = groups.flatMap(({ weights }) =>
    weights.map((weight) => ({
      type: weight.quantization?.dtype ?? weight.dtype,
      numbers: lengthOf(weight),
      bytes: bytesOfWeight(weight) ?? 0,
      readers: [],
      isSparse: false,
    })),
  );
  return { operators, nodes, constants, external: [] };
}

function nodesOf(topology: unknown): { readonly nodes: Anatomy['nodes']; readonly names: readonly string[] } {
  if (isGraph(topology)) {
    const { library } = topology;
    const functions = isObject(library) && Array.isArray(library.function) ? library.function : [];
    const inner = functions.flatMap((each) => (isObject(each) && Array.isArray(each.nodeDef) ? each.nodeDef : []));
    const all = [...(topology.node as readonly unknown[]), ...inner];
    return { nodes: 'TensorFlow', names: all.flatMap((node) => (isObject(node) ? String(node.op) : [])) };
  }
  const config = isObject(topology) ? (topology.model_config ?? topology) : undefined;
  if (!isObject(config)) return { nodes: undefined, names: [] };
  return { nodes: 'Keras', names: layersOf(config).map(({ type }) => type) };
}
