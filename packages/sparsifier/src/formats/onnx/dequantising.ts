import { BinaryWriter } from '@bufbuild/protobuf/wire';
import { narrowedInSlices } from '../../model/numbers.js';
import { joinedOutput } from '../joined.js';
import type { Dequantized, ModelOutput } from '../format.js';
import { chainOf, halvesIn } from './dequantising-chains.js';
import { productsOf } from './dequantising-products.js';
import { Edits, edited, textField } from './edits.js';
import { readGraph, type Constant, type Graph, type Node, type Value } from './graph.js';
import { title } from './titles.js';
import { findWeights } from './layers.js';
import type { Names } from './names.js';
import { decodeConstants, type ReadBytes } from './quantised.js';
import { removed } from './storing-chains.js';
import { ExternalData } from './storing-data.js';
import { fields, valueName, WireType, type Field, type ModelFile } from './wire.js';
import { ModelWriter, type NewNode } from './writing.js';

/** The floats that take the place of a constant, and what becomes of the nodes that decode it. */
export interface Plan {
  /** The type that the constant was stored in. */
  readonly from: string;
  readonly type: 'float32' | 'float16' | 'bfloat16';
  readonly shape: readonly number[];
  /** The name of the floats. */
  name(names: Names): string;
  /** The numbers as floats of 32 bits, little-endian. */
  numbers(read: ReadBytes): Promise<Uint8Array<ArrayBuffer> | string>;
  /** Nodes that are not needed any more. */
  readonly dropped: readonly Node[];
  readonly replaced: readonly Replaced[];
  /** Values that were integers and become floats. */
  readonly retyped: readonly Value[];
}

/** A node in the place of another one, whose name it has. */
export interface Replaced {
  readonly node: Node;
  readonly op: string;
  /** What it reads. The floats themselves are undefined. */
  readonly inputs: readonly (Value | undefined)[];
  readonly output: Value;
  /** Whether it has the attributes of the node before. */
  readonly keepsAttributes?: boolean;
  /** What is added to its output. */
  readonly bias?: Value | undefined;
}

/**
 * The files of a model with its codes and 16-bit constants as floats of 32 bits, as runtimes decode them. Products of
 * integers become products of floats. Codes of activations, and operators that compute with integers otherwise, stay.
 * @param outputs the files that the model is written to, as it is now
 */
export async function dequantized([main, ...data]: readonly ModelOutput[]): Promise<Dequantized> {
  const file: ModelFile = { name: main!.path, bytes: await joinedOutput(main!) };
  const graph = readGraph(file);
  const read = readerOf(file, data);
  await decodeConstants(graph.nodes, read);
  const names = namesOf(graph);
  const changed: { readonly name: string; readonly from: string }[] = [];
  const skipped: { readonly name: string; readonly reason: string }[] = [];
  const edits = new Edits(file);
  const external = new ExternalData(edits);
  const plans = new Map<Constant, Plan>();
  for (const constant of graph.constants) {
    const plan = planFor(constant);
    if (plan === undefined) continue;
    const name = names.get(constant) ?? constant.name;
    const numbers = typeof plan === 'string' ? plan : await plan.numbers(read);
    if (typeof plan === 'string' || typeof numbers === 'string') {
      skipped.push({ name, reason: numbers as string });
      continue;
    }
    plans.set(constant, plan);
    changed.push({ name, from: plan.from });
    external.replace(constant, await inType(numbers, plan.type));
  }
  const changes = new Changes(graph, [...plans.values()]);
  for (const node of graph.nodes) {
    const [value] = node.inputs;
    if (!rounding.test(node.op) || changes.dropped.has(node) || value?.isConstant !== false) continue;
    skipped.push({ name: value.name, reason: `${title(node)} rounds it while the model runs` });
  }
  const unused = graph.constants.filter((constant) => !plans.has(constant) && changes.isUnused(constant));
  for (const constant of unused) external.replace(constant, new Uint8Array(0));
  external.place();
  const writer = new ModelWriter(edits);
  for (const constant of unused) removed(writer, constant);
  for (const node of changes.dropped) edits.drop(node.field!);
  for (const [constant, plan] of plans) write(writer, constant, plan, external);
  dropTypes(edits, graph, plans);
  const files = new Map([[main!.path, edited(edits)]]);
  for (const output of data) files.set(output.path, await external.file(output));
  return { files, changed, skipped };
}

/** Operators that make codes of floats. */
const rounding = /^(com\.microsoft\.|Dynamic)?QuantizeLinear$/;

/** The floats in the place of a constant, or why it stays; undefined if it is stored as floats. */
function planFor(constant: Constant): Plan | string | undefined {
  const { tensor, decoded, isCode, holder, uses } = constant;
  const isCoded = isCode && tensor.values === undefined;
  if (!isCoded && !halvesIn(constant)) return undefined;
  if (holder === undefined) return 'it is in a local function';
  if (typeof decoded === 'string' && tensor.packedCodes === undefined) return decoded;
  if (decoded !== undefined || !isCoded) return chainOf(constant);
  const plan = productsOf(constant);
  if (typeof plan === 'object') return plan;
  return (
    plan ?? `${[...new Set(uses.map(({ node }) => title(node)))].slice(0, 3).join(', ')} computes with its integers`
  );
}

/** The names of layers, by their weights. */
function namesOf(graph: Graph): Map<Constant, string> {
  const names = new Map<Constant, string>();
  for (const weight of findWeights(graph)) if (weight.constant) names.set(weight.constant, weight.names[0]!);
  return names;
}

/** Reads bytes of the files of a model, of which those with external data are only read once they are needed. */
function readerOf(main: ModelFile, data: readonly ModelOutput[]): ReadBytes {
  const read = new Map<string, Promise<Uint8Array>>([[main.name, Promise.resolve(main.bytes)]]);
  return async ({ file, start, bytes }) => {
    if (!read.has(file)) read.set(file, joinedOutput(data.find(({ path }) => path === file)!));
    return (await read.get(file)!).slice(start, start + bytes);
  };
}

/** Floats of 32 bits as those of another type. */
const inType = async (bytes: Uint8Array<ArrayBuffer>, type: Plan['type']): Promise<Uint8Array<ArrayBuffer>> =>
  type === 'float32'
    ? bytes
    : narrowedInSlices(new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4), type);

/** What all plans leave unused. */
class Changes {
  readonly dropped: ReadonlySet<Node>;
  readonly #changed = new Set<Node>();
  /** How many inputs of other nodes read a value. */
  readonly #readers = new Map<Value, number>();
  /** What the new nodes read. */
  readonly #read = new Set<Value>();
  /** The constants that those values have. */
  readonly #kept = new Set<Constant>();

  constructor({ nodes }: Graph, plans: readonly Plan[]) {
    const dropped = new Set(plans.flatMap((plan) => plan.dropped));
    for (const node of dropped) this.#change(node);
    for (const { node, inputs, bias } of plans.flatMap(({ replaced }) => replaced)) {
      this.#change(node);
      for (const value of [...inputs, bias]) {
        if (value === undefined) continue;
        this.#read.add(value);
        for (const { constant } of value.view ? [value.view] : value.parts) this.#kept.add(constant);
      }
    }
    // A node comes before those that read its outputs.
    for (const node of [...nodes].reverse()) {
      if (node.field === undefined || node.op === 'Constant' || this.#changed.has(node)) continue;
      const wasRead = node.outputs.some(({ readers }) => readers.length > 0);
      if (!wasRead || !node.outputs.every((value) => !value.isOutput && this.#isUnread(value))) continue;
      dropped.add(node);
      this.#change(node);
    }
    this.dropped = dropped;
  }

  #change(node: Node): void {
    if (this.#changed.has(node)) return;
    this.#changed.add(node);
    for (const value of node.inputs) if (value) this.#readers.set(value, this.#readersOf(value) - 1);
  }

  #readersOf(value: Value): number {
    return this.#readers.get(value) ?? value.readers.length;
  }

  #isUnread(value: Value): boolean {
    return !this.#read.has(value) && this.#readersOf(value) === 0;
  }

  /** Whether only the nodes before read a constant. */
  isUnused(constant: Constant): boolean {
    const { holder, readers, isOutput } = constant;
    if (holder === undefined || isOutput || readers.length === 0) return false;
    return !this.#kept.has(constant) && readers.every(({ node }) => this.#changed.has(node));
  }
}

function write(writer: ModelWriter, constant: Constant, plan: Plan, external: ExternalData): void {
  const { edits, names } = writer;
  const { type, shape } = plan;
  const name = plan.name(names);
  const place = removed(writer, constant);
  place.store(name, { type, shape, numbers: external.numbersOf(constant) });
  for (const { node, op, inputs, output, keepsAttributes = false, bias } of plan.replaced) {
    const field = node.field!;
    const product = bias === undefined ? output.name : names.take(`${output.name}.withoutBias`);
    const kept = new BinaryWriter();
    for (const { number, tagStart, end } of fields(edits.file, field, 'node')) {
      if (number === 3 || (keepsAttributes && number === 5)) kept.raw(edits.file.bytes.slice(tagStart, end));
    }
    const read = inputs.map((value) => textField(1, value?.name ?? name));
    edits.replace(field, field, ...read, textField(2, product), textField(4, op), kept.finish());
    if (bias === undefined) continue;
    const add: NewNode = { op: 'Add', inputs: [product, bias.name], outputs: [output.name] };
    writer.add(field.within!, field.end, add);
  }
}

/** Drops the types that a file states of integers that are floats now. */
function dropTypes(edits: Edits, { nodes }: Graph, plans: ReadonlyMap<Constant, Plan>): void {
  const retyped = new Set<string>();
  const graphs = new Map<number, Field>();
  for (const [{ name, holder }, plan] of plans) {
    graphs.set(holder!.within!.start, holder!.within!);
    for (const value of plan.retyped) retyped.add(value.name);
    retyped.add(name);
  }
  for (const { field } of nodes) if (field) graphs.set(field.within!.start, field.within!);
  if (retyped.size === 0) return;
  for (const graph of graphs.values()) {
    for (const entry of fields(edits.file, graph, 'graph')) {
      if (entry.number !== 13 || entry.type !== WireType.LengthDelimited) continue;
      if (retyped.has(valueName(edits.file, entry))) edits.drop(entry);
    }
  }
}
