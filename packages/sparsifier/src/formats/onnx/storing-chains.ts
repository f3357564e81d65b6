import type { Constant } from './graph.js';
import type { Layer } from './layers.js';
import type { Layout } from './operators.js';
import { typeNumber } from './tensor.js';
import { fields, text, WireType, type Field, type ModelFile, type Range } from './wire.js';
import type { ModelWriter, NewNode, NewTensor } from './writing.js';

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
  const { file } = edits;
  const graph = holder!.within!;
  const { firstNode, described } = entriesOf(file, graph);
  edits.drop(holder!);
  for (const entry of described.get(name) ?? []) edits.drop(entry);
  const at = holder!.number === nodeField ? holder!.tagStart : firstNode!.tagStart;
  return {
    store: (name, tensor) => writer.store(graph, at, name, tensor),
    add: (node) => writer.add(graph, at, node),
  };
}

/** The nodes, the inputs and the `value_info` of a `GraphProto`. */
const nodeField = 1;
const inputField = 11;
const valueField = 13;

/** The entries of a graph that matter here. */
interface Entries {
  readonly firstNode: Field | undefined;
  /** By name: an initializer may also be listed as an input, whose default it is then, and among the values. */
  readonly described: ReadonlyMap<string, readonly Field[]>;
}

/** What was read of the graphs of a file, by where they begin. */
const known = new WeakMap<ModelFile, Map<number, Entries>>();

function entriesOf(file: ModelFile, graph: Range): Entries {
  const graphs = known.get(file) ?? new Map<number, Entries>();
  known.set(file, graphs);
  const before = graphs.get(graph.start);
  if (before !== undefined) return before;
  let firstNode: Field | undefined;
  const described = new Map<string, Field[]>();
  for (const entry of fields(file, graph, 'graph')) {
    if (entry.number === nodeField) firstNode ??= entry;
    if (entry.number !== inputField && entry.number !== valueField) continue;
    const name = nameOf(file, entry);
    if (name === undefined) continue;
    const entries = described.get(name);
    if (entries) entries.push(entry);
    else described.set(name, [entry]);
  }
  const entries = { firstNode, described };
  graphs.set(graph.start, entries);
  return entries;
}

/** The name of an input or a value of a graph. */
function nameOf(file: ModelFile, value: Field): string | undefined {
  const names = [...fields(file, value, 'valueInfo')].filter(
    ({ number, type }) => number === 1 && type === WireType.LengthDelimited,
  );
  return names.length === 0 ? undefined : text(file, names.at(-1)!);
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
