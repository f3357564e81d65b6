import { Stored } from '../../../structure/stored.js';
import type { Constant, Graph, Node, Value } from '../../onnx/graph.js';
import { unknownSize, type Shape } from '../../onnx/shapes.js';
import { passedOn, wholeView } from '../../onnx/views.js';
import type { Operator } from '../../onnx/structure/site.js';
import { isFloat, type WeightEntry } from '../description.js';
import { attributeOf, newConstant, newValue, nowhere, type Attributes } from './making.js';
import { opaque, opaqueOfAnyShape, operators, staying } from './operators.js';

/** The version of ONNX's operators that networks are translated to. */
export const opset = 20;

/** Why a layer or a node has no translation. Channels that it touches stay. */
export class Untranslated extends Error {}

/** A layer or a node that is not followed. */
export interface Failure {
  /** What it is, and its name. */
  readonly title: string;
  readonly reason: string;
}

/** An input of a node to which what a reader no longer gets is added, or subtracted from. */
export interface BiasInput {
  readonly node: Node;
  readonly input: number;
  readonly sign: 1 | -1;
}

/** What a layer without a rule has. */
interface OwnWeights {
  readonly weights?: readonly Value[];
  readonly isDepthwise?: boolean;
  readonly rank?: number | undefined;
}

/** Some entries of a list. */
export interface ListPart {
  readonly of: Value;
  readonly entries: readonly number[];
}

/**
 * A network of another format as a graph of ONNX's operators, whose rules say how its channels flow. It is never written: what
 * goes is taken out of the weights that its constants stand for.
 */
export class Translation {
  #nodes: Node[] = [];
  readonly #constants = new Map<WeightEntry, Constant>();
  readonly #inputs: Value[] = [];
  /** Constants that are no weights. */
  readonly #made: Constant[] = [];
  readonly #numbers = new Map<Constant, Stored>();
  /** The numbers of axes, where they are known. */
  readonly #ranks = new Map<Value, number>();
  /** The nodes that compute values. */
  readonly #makers = new Map<Value, Node>();
  /** The weight that each constant stands for. */
  readonly weights = new Map<Constant, WeightEntry>();
  /** Where numbers can be added to what a node adds up. */
  readonly biases = new Map<Node, BiasInput>();
  /** How many numbers lists have, where that is known. */
  readonly #lengths = new Map<Value, number>();
  /** Values whose sizes are taken to be those of others, without a weight that they have to fit since. */
  readonly #guessed = new Set<Value>();
  /** Constants that follow from the sizes of others. */
  readonly #derived = new Set<Constant>();
  /** The entries of another list that a list consists of. */
  readonly #parts = new Map<Constant, ListPart>();
  /** What is not followed, and why. */
  readonly failures: Failure[] = [];
  /** The rules of operators that stand for what is not followed. */
  readonly #others = new Map<string, Operator>();

  /**
   * @param isForMasks whether nothing is taken out of the network. Then no channels have to stay, and what follows a layer
   *   without a rule has an unknown shape: that of its input would be a guess, which is wrong where a weight does not fit.
   */
  constructor(readonly isForMasks = false) {}

  get graph(): Graph {
    return {
      nodes: this.#nodes,
      constants: [...this.#constants.values(), ...this.#made],
      inputs: this.#inputs,
    };
  }

  /** The numbers of constants that are no weights. */
  numbersOf(constant: Constant): Stored | undefined {
    return this.#numbers.get(constant);
  }

  constantOf(entry: WeightEntry): Constant | undefined {
    return this.#constants.get(entry);
  }

  input(name: string, shape: Shape | undefined): Value {
    const value = newValue(name, shape);
    this.#inputs.push(value);
    return this.#known(value, shape?.length);
  }

  /** A weight as an input of nodes. */
  weight(entry: WeightEntry): Value {
    const known = this.#constants.get(entry);
    const { name, shape, dtype, integers } = entry;
    const constant = known ?? newConstant(name, this.#places(), shape, isFloat(entry) ? 'float32' : dtype, integers);
    this.#constants.set(entry, constant);
    this.weights.set(constant, entry);
    return this.#reading(constant);
  }

  /** A list of integers that stays as it is, such as the shape of a Reshape. */
  integers(numbers: readonly number[]): Value {
    return this.#make(newConstant('', this.#places(), [numbers.length], 'int64', numbers), undefined);
  }

  /** A list of integers that follows from the shapes of weights. */
  derived(numbers: readonly number[]): Value {
    const value = this.integers(numbers);
    this.#derived.add(value.view!.constant);
    return value;
  }

  /** Some entries of a list, of which some may have a meaning of their own, as `numbers`. */
  part(of: Value, entries: readonly number[], numbers: readonly number[]): Value {
    const value = this.integers(numbers);
    this.#parts.set(value.view!.constant, { of, entries });
    return value;
  }

  /** The list that has to change where an input of a node gets other numbers; undefined if it cannot. */
  changeable({ node, input }: { readonly node: Node; readonly input: number }): ListPart | 'derived' | undefined {
    // Attributes that follow from the shapes of weights.
    if (input < 0) return node.op === 'Conv' || node.op === 'ConvTranspose' ? 'derived' : undefined;
    const value = node.inputs[input];
    const constant = value?.producer === undefined ? value?.view?.constant : undefined;
    if (constant === undefined) return undefined;
    if (this.#derived.has(constant)) return 'derived';
    if (this.weights.has(constant)) return { of: value!, entries: [...constant.tensor.integers!.keys()] };
    return this.#parts.get(constant);
  }

  /** How many numbers a list has. */
  lengthOf(list: Value): number | undefined {
    const shape = list.producer === undefined ? list.view?.constant.tensor.shape : undefined;
    return shape?.length === 1 ? shape[0] : this.#lengths.get(list);
  }

  setLength(list: Value, length: number): void {
    this.#lengths.set(list, length);
  }

  /** Numbers that are no weight of the model. @param name of the layer that they are a part of */
  floats(name: string, numbers: readonly number[], shape: readonly number[] = [numbers.length]): Value {
    const constant = newConstant(name, this.#places(), shape, 'float32', undefined, () => numbers);
    return this.#make(constant, Stored.of(Float32Array.from(numbers)));
  }

  /**
   * Adds a node with one output.
   * @param name that of its layer
   * @param rank the number of axes of the output, if it is known; by default that of the first input
   */
  node(
    op: string,
    name: string,
    inputs: readonly (Value | undefined)[],
    attributes: Attributes = {},
    rank: number | undefined = this.rankOf(inputs[0]),
  ): Value {
    return this.nodes(op, name, inputs, attributes, [rank])[0]!;
  }

  /** Adds a node with several outputs, of these numbers of axes. */
  nodes(
    op: string,
    name: string,
    inputs: readonly (Value | undefined)[],
    attributes: Attributes,
    ranks: readonly (number | undefined)[],
  ): Value[] {
    const outputs = ranks.map((rank) => this.#known(newValue(name, undefined, rank), rank));
    const own = new Map(Object.entries(attributes).map(([key, value]) => [key, attributeOf(value)]));
    const node: Node = { op, name, inputs, outputs, attributes: own, field: nowhere };
    for (const output of outputs) {
      output.producer = node;
      this.#makers.set(output, node);
    }
    const guessed = inputs.filter((value) => value !== undefined && this.#guessed.has(value)).length;
    // A wrong size makes the sum of all wrong, which the next weight reveals. Two of them may make up for each other.
    if (op === 'Concat' && guessed > 1) throw new Untranslated('the sizes of several of its inputs are unknown');
    if (guessed > 0 && !fitting.has(op)) for (const output of outputs) this.#guessed.add(output);
    const [first] = inputs;
    const length = first && ['Cast', 'Identity'].includes(op) ? this.lengthOf(first) : undefined;
    if (length !== undefined) this.setLength(outputs[0]!, length);
    const passed = passedOn(node);
    for (const output of outputs) {
      if (passed !== undefined) [output.view, output.parts] = [passed.view, passed.parts];
      output.isConstant = inputs.length > 0 && inputs.every((value) => value?.isConstant ?? true);
    }
    this.#nodes.push(node);
    return outputs;
  }

  /**
   * Adds the nodes of a layer, or none of them if it turns out that it has no translation.
   * @returns why it has none
   */
  attempt(translate: () => readonly Value[]): readonly Value[] | string {
    const before = this.#nodes;
    this.#nodes = [];
    try {
      const outputs = translate();
      for (const node of this.#nodes) {
        read(node);
        before.push(node);
      }
      return outputs;
    } catch (error) {
      if (!(error instanceof Untranslated)) throw error;
      return error.message;
    } finally {
      this.#nodes = before;
    }
  }

  /**
   * Passes on values whose channels stay.
   * @param title what keeps them
   * @param axes by default all
   */
  staying(title: string, name: string, values: readonly Value[], axes?: readonly number[]): Value[] {
    const attributes = axes && { stays: axes };
    if (this.isForMasks) return [...values];
    return this.#other(title, staying, () => values.map((value) => this.node(title, name, [value], attributes)));
  }

  /**
   * A layer or a node that is not followed: all that it touches stays.
   * @param own the weight and the bias that it has, whether it is a depthwise convolution, and the number of axes of its
   *   output, if that is known
   */
  opaque(
    title: string,
    name: string,
    inputs: readonly Value[],
    reason: string,
    { weights = [], isDepthwise = false, rank }: OwnWeights = {},
  ): Value[] {
    this.failures.push({ title: name === '' ? title : `${title} ${name}`, reason });
    const all = [...inputs, ...weights];
    const attributes = { values: inputs.length, ...(isDepthwise && { depthwise: 1 }) };
    const after = rank ?? (this.isForMasks ? undefined : this.rankOf(inputs[0]));
    const outputs = this.#other(title, this.isForMasks ? opaqueOfAnyShape : opaque, () =>
      this.nodes(title, name, all, attributes, [after]),
    );
    for (const output of outputs) this.#guessed.add(output);
    return outputs;
  }

  #other(title: string, operator: Operator, add: () => Value[]): Value[] {
    this.#others.set(title, operator);
    return this.attempt(add) as Value[];
  }

  /** The rules of all operators. */
  get operators(): ReadonlyMap<string, Operator> {
    return new Map([...operators, ...this.#others]);
  }

  /** The node that computes a value. */
  makerOf(value: Value): Node | undefined {
    return this.#makers.get(value);
  }

  rankOf(value: Value | undefined): number | undefined {
    return value && this.#ranks.get(value);
  }

  /** Says how many axes a value has that an operator takes, unless that is known. */
  assumeRank(value: Value, rank: number): void {
    if (this.#ranks.has(value)) return;
    this.#ranks.set(value, rank);
    if (this.isForMasks) value.shape ??= Array.from({ length: rank }, () => unknownSize());
  }

  /** Says how long an axis of a value is that an operator takes, unless that is known. */
  assumeSize(value: Value, axis: number, size: number | undefined): void {
    const { shape } = value;
    if (!this.isForMasks || size === undefined || typeof shape?.at(axis) !== 'symbol') return;
    value.shape = shape.map((each, place) => (place === axis || place === axis + shape.length ? size : each));
  }

  markOutput(value: Value): void {
    value.isOutput = true;
    if (value.view !== undefined) value.view.constant.isOutput = true;
  }

  #known(value: Value, rank: number | undefined): Value {
    if (rank !== undefined) this.#ranks.set(value, rank);
    return value;
  }

  #places(): number {
    return this.#constants.size + this.#made.length;
  }

  #make(constant: Constant, numbers: Stored | undefined): Value {
    this.#made.push(constant);
    if (numbers !== undefined) this.#numbers.set(constant, numbers);
    return this.#reading(constant);
  }

  #reading(constant: Constant): Value {
    const value = newValue(constant.name, constant.tensor.shape);
    value.isConstant = true;
    value.view = wholeView(constant);
    return this.#known(value, constant.tensor.shape.length);
  }
}

/** The operators with weights that their inputs have to fit. */
const fitting: ReadonlySet<string> = new Set([
  ...['Conv', 'ConvTranspose', 'MatMul', 'BatchNormalization', 'LSTM', 'GRU', 'SimpleRNN'],
]);

function read(node: Node): void {
  const passed = passedOn(node);
  for (const [input, value] of node.inputs.entries()) {
    if (value === undefined) continue;
    value.readers.push({ node, input });
    // What only moves the axes of a constant is not what reads it.
    if (passed?.inputs.has(input)) continue;
    for (const { constant, axes } of value.view ? [value.view] : value.parts) {
      constant.readers.push({ node, input });
      constant.uses.push({ node, input, axes });
    }
  }
}
