import { isObject } from '../../../model/json.js';
import type { Node, Value } from '../../onnx/graph.js';
import type { Config } from '../keras-types.js';
import { integersOf, isChannelsFirst, isTrue, textOf } from '../graph-node.js';
import { type Attributes } from './making.js';
import { Untranslated, type Translation } from './translation.js';

/** A node as the JSON has it. */
export interface NodeJson {
  readonly name: string;
  readonly op: string;
  readonly input?: readonly string[];
  readonly attr?: Config;
}

/** An input of a node of the JSON. */
export interface NodeInput {
  readonly node: NodeJson;
  readonly input: number;
}

/** How an operator of TensorFlow is translated. */
export interface NodeRule {
  /** The attributes that the rule takes into account. Any other that is set makes it not apply. */
  readonly attributes: readonly string[];
  /**
   * Adds the nodes that compute what a node does.
   * @returns its outputs
   * @throws Untranslated if it is not known what the node does
   */
  readonly translate: (node: NodeSite) => Value | readonly Value[];
}

/** Types and counts of inputs, and what converters and runtimes note down for themselves. */
const ignored = /^(_.*|[A-Z].*|dtype|use_cudnn_on_gpu|device|num_args|epsilon|out_type|container|shared_name)$/;

/** A node of a graph. */
export class NodeSite {
  readonly name: string;
  readonly op: string;
  readonly #attributes: Config;

  constructor(
    readonly translation: Translation,
    readonly json: NodeJson,
    readonly inputs: readonly Value[],
    /** The integers of an input that is a constant. */
    readonly integersAt: (input: number) => readonly number[] | undefined,
  ) {
    this.name = json.name;
    this.op = json.op;
    this.#attributes = json.attr ?? {};
  }

  /** @throws Untranslated if an attribute is set that the rule does not take into account */
  check(attributes: readonly string[]): void {
    const isEmpty = (value: unknown): boolean =>
      !isObject(value) ||
      Object.values(value).every(
        (each) => each === false || (isObject(each) && isEmpty(each)) || (Array.isArray(each) && each.length === 0),
      );
    const other = Object.entries(this.#attributes).find(
      ([key, value]) => !attributes.includes(key) && !ignored.test(key) && !isEmpty(value),
    );
    if (other !== undefined) throw new Untranslated(`its attribute ${other[0]}`);
  }

  /** An input that the operator needs. */
  input(place: number): Value {
    const input = this.inputs[place];
    if (input === undefined) throw new Untranslated(`its input ${place} is missing`);
    return input;
  }

  /** The integers of an input that has to be a constant. */
  constant(place: number): readonly number[] {
    const found = this.integersAt(place);
    if (found === undefined) throw new Untranslated(`its input ${place} is computed while the model runs`);
    return found;
  }

  /** The number of axes of an input. */
  rank(place = 0): number {
    const rank = this.translation.rankOf(this.input(place));
    if (rank === undefined) throw new Untranslated('the number of axes of its input is unknown');
    return rank;
  }

  /** @throws Untranslated if the first input has another number of axes */
  needsRank(rank: number): void {
    this.translation.assumeRank(this.input(0), rank);
    if (this.rank() !== rank) throw new Untranslated(`its input has ${this.rank()} axes`);
  }

  /** Says how long an axis of an input is, unless that is known. */
  assumeSize(place: number, axis: number, size: number | undefined): void {
    this.translation.assumeSize(this.input(place), axis, size);
  }

  isTrue(attribute: string): boolean {
    return isTrue(this.#attributes[attribute]);
  }

  text(attribute: string): string {
    const value = this.#attributes[attribute];
    return isObject(value) ? textOf(value.s) : '';
  }

  texts(attribute: string): string[] {
    const value = this.#attributes[attribute];
    const list = isObject(value) && isObject(value.list) && Array.isArray(value.list.s) ? value.list.s : [];
    return list.map(textOf);
  }

  integer(attribute: string, otherwise: number): number {
    const value = this.#attributes[attribute];
    const number = isObject(value) && value.i !== undefined ? Number(value.i) : otherwise;
    if (!Number.isSafeInteger(number)) throw new Untranslated(`its attribute ${attribute}`);
    return number;
  }

  float(attribute: string, otherwise: number): number {
    const value = this.#attributes[attribute];
    return isObject(value) && typeof value.f === 'number' ? value.f : otherwise;
  }

  type(attribute: string): string {
    const value = this.#attributes[attribute];
    return isObject(value) ? String(value.type) : '';
  }

  integers(attribute: string): number[] {
    return integersOf(this.#attributes[attribute]) ?? [];
  }

  get isChannelsFirst(): boolean {
    return isChannelsFirst(this.#attributes);
  }

  node(op: string, inputs: readonly (Value | undefined)[], attributes?: Attributes, rank?: number | undefined): Value {
    return this.translation.node(op, this.name, inputs, attributes, rank);
  }

  /** A value of four axes with its channels on the second one, and the way back. */
  channelsFirst(value: Value): Value {
    return this.isChannelsFirst ? value : this.node('Transpose', [value], { perm: [0, 3, 1, 2] });
  }

  channelsLast(value: Value): Value {
    return this.isChannelsFirst ? value : this.node('Transpose', [value], { perm: [0, 2, 3, 1] });
  }

  /** Says that numbers can be added to an input of a node in place of what the node that computes `value` adds up. */
  foldsInto(value: Value, node: Node, input: number): void {
    this.translation.biases.set(this.translation.makerOf(value)!, { node, input, sign: 1 });
  }

  /** An axis that may count from the end. */
  axis(given: number | undefined, rank = this.rank()): number {
    const axis = given !== undefined && given < 0 ? given + rank : given;
    if (axis === undefined || !(axis >= 0 && axis < rank)) throw new Untranslated(`there is no axis ${given}`);
    return axis;
  }
}
