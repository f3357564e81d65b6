import { bytesOf, type DataType } from '../../model/model.js';
import type { CurrentFiles, NewBias, StoredValues } from '../format.js';
import { factorOf, outputOf, withoutChannels } from './bias.js';
import { textField, type Edits, type Piece } from './edits.js';
import { readGraph, type Node, type Value } from './graph.js';
import { title } from './titles.js';
import { findWeights, tieOf, type Layer } from './layers.js';
import { operators } from './operators.js';
import { fits } from './structure/masks/claims.js';
import { shapeOf, typeOf } from './views.js';
import { fields, text, WireType, type Field, type ModelFile } from './wire.js';
import { ModelWriter } from './writing.js';

/** How a layer is given a bias that it does not have, or shares with others. */
export interface Plan {
  readonly dtype: DataType;
  /** One number for each channel. */
  readonly channels: number;
  /** The bias that others also use, of which it gets a copy; undefined for zeros. */
  readonly copied: StoredValues | undefined;
  /** The nodes that read the weight, in the order of each graph. */
  readonly targets: readonly Target[];
}

interface Target {
  readonly node: Field;
  /** Whether the node takes the bias itself. If not, an Add behind it does. */
  readonly isInput: boolean;
  readonly shape: readonly number[];
}

/** The input for the bias, of all operators that have one. */
const biasInput = 2;

const takesBias = ({ op }: Node): boolean => operators.get(op)?.bias === biasInput;

/** How each layer can be given a bias, by its first name; or why it cannot. */
export function plansIn(file: ModelFile): Map<string, Plan | string> {
  const plans = new Map<string, Plan | string>();
  for (const { names, layers, reason } of findWeights(readGraph(file))) {
    plans.set(names[0]!, reason ?? planFor(layers));
  }
  return plans;
}

function planFor(layers: readonly Layer[]): Plan | string {
  const { view, layout } = layers[0]!;
  if (layout.channels === undefined) return withoutChannels;
  const tie = tieOf(layers);
  if (tie !== undefined) return tie;
  const dtype = typeOf(view);
  if (dtype !== 'float32' && dtype !== 'float16' && dtype !== 'bfloat16') return `it computes with ${dtype}`;
  const { count } = layout.channels;
  const targets: Target[] = [];
  let copied: StoredValues | undefined;
  for (const layer of layers) {
    const given = givenBias(layer);
    if (given !== undefined && layers.length > 1) return `several nodes share it, and ${title(layer.node)} has a bias`;
    const target = targetIn(layer, dtype);
    if (typeof target === 'string') return target;
    if (target.isInput) copied = given?.view?.constant.tensor.values;
    targets.push(target);
  }
  return { dtype, channels: count, copied, targets };
}

/** The bias that a node already takes. */
const givenBias = ({ node }: Layer): Value | undefined => (takesBias(node) ? node.inputs[biasInput] : undefined);

function targetIn(layer: Layer, dtype: DataType): Target | string {
  const { node, layout } = layer;
  const { op, field } = node;
  const { count, axis } = layout.channels!;
  if (field === undefined) return `${title(node)} is in a local function`;
  if (isQuantised(node)) return `${title(node)} computes with quantised inputs`;
  const along = (axis: number) => [count, ...Array<number>(axis - 1).fill(1)];
  if (takesBias(node) && factorOf(node, 'alpha') === 1 && factorOf(node, 'beta') === 1) {
    // That of a product aligns with the output. Others are lists, whatever axis the channels are on.
    const aligned = op.endsWith('Gemm') ? axis! : 1;
    const given = givenBias(layer);
    if (given === undefined) return { node: field, isInput: true, shape: along(aligned) };
    if (isCopied(given, dtype, count, aligned)) return { node: field, isInput: true, shape: shapeOf(given.view!) };
  }
  const output = outputOf(layer);
  if (typeof output === 'string') return output;
  return output.value.name === '' ? withoutChannels : { node: field, isInput: false, shape: along(output.axis) };
}

/** Whether a bias can be copied as it is stored: one number per channel, of the type of the layer. */
function isCopied(given: Value, dtype: DataType, count: number, axis: number): boolean {
  const { view } = given;
  const values = view?.constant.tensor.values;
  if (view === undefined || values?.length !== count) return false;
  const place = { axis, size: count, offset: 0, first: 0, count };
  return typeOf(view) === dtype && values.dtype === dtype && fits(view, place);
}

/** Whether a node multiplies decoded codes with each other, so that runtimes compute with the codes instead. */
const isQuantised = ({ inputs }: Node): boolean =>
  inputs.slice(0, biasInput).every((value) => value?.producer?.op.endsWith('DequantizeLinear'));

/** The numbers that a bias begins with. */
export async function newBias({ dtype, channels, copied }: Plan, current: CurrentFiles): Promise<NewBias> {
  const numbers = copied === undefined ? new Uint8Array(channels * bytesOf[dtype]) : await numbersIn(copied, current);
  return { dtype, numbers };
}

async function numbersIn(values: StoredValues, current: CurrentFiles): Promise<Uint8Array<ArrayBuffer>> {
  const { file, start, bytes, coding } = values;
  const stored = new Uint8Array(bytes);
  let at = 0;
  for await (const chunk of current.chunks(file, start, start + bytes)) {
    stored.set(chunk, at);
    at += chunk.length;
  }
  return coding === undefined ? stored : coding.decode(stored, current.meaning(values));
}

/** Writes the biases that were added to a model, except those that are still as they began. */
export async function addBiases(
  edits: Edits,
  plans: ReadonlyMap<string, Plan | string>,
  current: CurrentFiles,
): Promise<void> {
  let writer: BiasWriter | undefined;
  for (const [layer, values] of current.biases ?? []) {
    const plan = plans.get(layer) as Plan;
    const [before, now] = [(await newBias(plan, current)).numbers, await numbersIn(values, current)];
    if (now.every((byte, at) => byte === before[at])) continue;
    const { file, bytes } = values;
    writer ??= new BiasWriter(edits);
    writer.write(layer, plan, { length: bytes, chunks: () => current.chunks(file) });
  }
}

class BiasWriter {
  readonly #edits: Edits;
  readonly #writer: ModelWriter;

  constructor(edits: Edits) {
    this.#edits = edits;
    this.#writer = new ModelWriter(edits);
  }

  write(layer: string, { dtype, targets }: Plan, numbers: Piece): void {
    const shapes = new Map(targets.map(({ shape }) => [shape.join(), shape]));
    for (const [key, shape] of shapes) {
      const readers = targets.filter((target) => target.shape.join() === key);
      const name = this.#writer.names.take(`${layer}.bias`);
      const first = commonPlace(readers.map(({ node }) => node));
      this.#writer.store(first.within!, first.tagStart, name, { type: dtype, shape, numbers });
      for (const { node, isInput } of readers) {
        if (isInput) this.#setInput(node, name);
        else this.#addBehind(node, layer, name);
      }
    }
  }

  #setInput(node: Field, name: string): void {
    const inputs = this.#namesOf(node, 1);
    const given = inputs[biasInput];
    if (given === undefined) this.#edits.insert(node, inputs.at(-1)!.end, textField(1, name));
    else this.#edits.replace(given, given, new TextEncoder().encode(name));
  }

  /** The node's output gets another name, and the sum its old one. */
  #addBehind(node: Field, layer: string, name: string): void {
    const output = this.#namesOf(node, 2)[0]!;
    const before = text(this.#edits.file, output);
    const product = this.#writer.names.take(`${before}.withoutBias`);
    this.#edits.replace(output, output, new TextEncoder().encode(product));
    this.#writer.add(node.within!, node.end, {
      op: 'Add',
      name: this.#writer.names.take(`${layer}.addBias`),
      inputs: [product, name],
      outputs: [before],
    });
  }

  /** The inputs (1) or outputs (2) of a node. */
  #namesOf(node: Field, number: 1 | 2): Field[] {
    const all = [...fields(this.#edits.file, node, 'node')];
    return all.filter((field) => field.number === number && field.type === WireType.LengthDelimited);
  }
}

/**
 * The node in front of which a constant can be stored that all of these nodes read: the first of them, or the next one
 * around it in whose graph all of them are. Those inside can read its values.
 */
function commonPlace(nodes: readonly Field[]): Field {
  let first = nodes[0]!;
  const contains = ({ start, end }: Field) => nodes.every((node) => start <= node.start && node.end <= end);
  while (!contains(first.within!)) first = nodeAround(first.within!);
  return first;
}

/** The node that has a subgraph in an attribute. */
const nodeAround = (subgraph: Field): Field => subgraph.within!.within!;
