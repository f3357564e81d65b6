import type { Anatomy } from '../anatomy.js';
import type { Constant, Graph } from './graph.js';
import { bitsOf } from './types.js';
import type { Versions } from './versions.js';

/**
 * What an ONNX model consists of. Each call of a local function counts as the nodes of its body.
 * @param external the files with its external data
 */
export function anatomyOf({ nodes, constants }: Graph, { ir, opset }: Versions, external: readonly string[]): Anatomy {
  const operators = new Map<string, number>();
  const readers = new Map<Constant, Set<string>>(constants.map((constant) => [constant, new Set()]));
  for (const { op, inputs } of nodes) {
    operators.set(op, (operators.get(op) ?? 0) + 1);
    for (const value of inputs) if (value?.view !== undefined) readers.get(value.view.constant)?.add(op);
  }
  for (const constant of constants) for (const { node } of constant.readers) readers.get(constant)!.add(node.op);
  return {
    versions: { ir, opset },
    operators,
    nodes: 'ONNX',
    constants: constants.map((constant) => {
      const { type, length, isSparse } = constant.tensor;
      return {
        type,
        numbers: length,
        bytes: Math.ceil((length * bitsOf(type)) / 8),
        readers: [...readers.get(constant)!],
        isSparse,
      };
    }),
    external,
  };
}
