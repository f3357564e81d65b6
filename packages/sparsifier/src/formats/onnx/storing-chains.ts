import type { Constant } from './graph.js';
import type { Layer } from './layers.js';
import type { Layout } from './operators.js';
import { typeNumber } from './types.js';
import { nodeField, type ModelWriter, type NewNode, type NewTensor } from './writing.js';

// A constant in another form: nodes behind the stored numbers give a value with its name, so that what reads it stays.

/** The numbers of a tensor that takes the place of a constant. */
export type StoredNumbers = NewTensor['numbers'];

/** Stores a constant as 16-bit floats. */
export function addConverted(writer: ModelWriter, constant: Constant, numbers: StoredNumbers): void {
  const { names } = writer;
  const half = names.take(`${constant.name}_float16`);
  const place = removed(writer, constant);
  place.store(half, { type: 'float16', shape: constant.tensor.shape, numbers });
  place.add(castTo('float32', half, constant.name));
}

/**
 * Stores a constant as codes with a scale for each output channel. `DequantizeLinear` would be one node less, but
 * onnxruntime decodes it anew in every run, and rounds the inputs of a product with it to 8 bits.
 */
export function addDecoded(
  writer: ModelWriter,
  constant: Constant,
  layers: readonly Layer[],
  numbers: StoredNumbers,
  scales: Float32Array,
): void {
  const { names } = writer;
  const { name, tensor } = constant;
  const [codes, scale] = [names.take(`${name}_quantized`), names.take(`${name}_scale`)];
  const place = removed(writer, constant);
  place.store(codes, { type: 'int8', shape: tensor.shape, numbers });
  place.store(scale, {
    type: 'float32',
    shape: scaleShape(tensor.shape, layers[0]!.layout),
    numbers: new Uint8Array(scales.buffer, scales.byteOffset, scales.byteLength),
  });
  const isConverted = tensor.type !== 'float32';
  const integers = names.take(`${name}_codes`);
  const product = isConverted ? names.take(`${name}_float32`) : name;
  place.add(castTo('float32', codes, integers));
  place.add({ op: 'Mul', inputs: [integers, scale], outputs: [product] });
  if (isConverted) place.add(castTo(tensor.type, product, name));
}

export const castTo = (type: string, from: string, to: string): NewNode => ({
  op: 'Cast',
  inputs: [from],
  outputs: [to],
  integers: { to: typeNumber(type) },
});

/** A place between the nodes of a graph, before all that read a constant. */
export interface PlaceInGraph {
  store(name: string, tensor: NewTensor): void;
  add(node: NewNode): void;
}

/** Removes a constant, with what its graph says about its type. Returns its place in its graph, for what replaces it. */
export function removed(writer: ModelWriter, { holder, name }: Constant): PlaceInGraph {
  const { edits } = writer;
  const graph = holder!.within!;
  const { firstNode, described } = writer.entriesOf(graph);
  edits.drop(holder!);
  for (const entry of described.get(name) ?? []) edits.drop(entry);
  const at = holder!.number === nodeField ? holder!.tagStart : firstNode!.tagStart;
  return {
    store: (name, tensor) => writer.store(graph, at, name, tensor),
    add: (node) => writer.add(graph, at, node),
  };
}

/** The shape of scales that broadcast to a tensor: its sizes on the axes of the output channels, 1 on the others. */
function scaleShape(stored: readonly number[], { roles, shape }: Layout): number[] {
  const axes = [...shape.keys()].filter((axis) => shape[axis] !== 1).values();
  // An axis of the layer may be several neighbours in the file. Those of size 1 need no role.
  let [role, rest] = [roles[0], 1];
  return stored.map((size) => {
    if (size === 1) return 1;
    if (rest === 1) {
      const axis = axes.next().value!;
      [role, rest] = [roles[axis], shape[axis]!];
    }
    rest /= size;
    return role === 'out' || role === 'multiplier' ? size : 1;
  });
}
