import type { Axis, Coupling } from '../../../structure/coupling.js';
import type { Flow, List, Tensor } from '../../../structure/network.js';
import type { Known } from '../../../structure/numbers.js';
import type { Place } from './masks/tracks.js';
import type { Constant, Node } from '../graph.js';
import { title } from '../titles.js';

/** The most numbers of a list. */
export const mostListed = 1024;

/** A node whose inputs have been looked at. */
export class Site {
  constructor(
    readonly node: Node,
    readonly inputs: readonly (Tensor | undefined)[],
    readonly flow: Flow,
    /** The version of ONNX's own operators. */
    readonly opset: number,
    /** The numbers of a tensor in an attribute. */
    readonly fill: List | undefined,
    /** Whether its inputs may have other sizes of space. */
    readonly varies = false,
  ) {}

  get title(): string {
    return title(this.node);
  }

  get coupling(): Coupling {
    return this.flow.coupling;
  }

  /** An input that the operator needs. */
  input(place: number): Tensor {
    const input = this.inputs[place];
    if (input === undefined) throw new Unknown(`input ${place} is unknown`);
    return input;
  }

  integer(name: string, otherwise: number): number {
    return this.node.attributes.get(name)?.integer ?? otherwise;
  }

  float(name: string, otherwise: number): number {
    return this.node.attributes.get(name)?.float ?? otherwise;
  }

  text(name: string, otherwise: string): string {
    return this.node.attributes.get(name)?.text ?? otherwise;
  }

  integers(name: string): readonly number[] | undefined {
    return this.node.attributes.get(name)?.integers;
  }

  /** The numbers of an input that is a list; undefined for an input that is not given. */
  list(place: number): readonly number[] | undefined {
    if (this.node.inputs[place] === undefined) return undefined;
    const input = this.input(place);
    const { list, view } = input;
    this.block(input);
    if (list !== undefined) return list.numbers;
    if (view === undefined) throw new Unknown(`input ${place} is computed while the model runs`);
    if (view.stored.length > mostListed) throw new Unknown(`input ${place} has ${view.stored.length} numbers`);
    return [...view.stored];
  }

  /** A list that is an attribute in early versions, and an input later. */
  listAt(name: string, place: number): readonly number[] | undefined {
    return this.integers(name) ?? this.list(place);
  }

  /** Whether an input is a constant that only this node and others that take it in the same place read, directly. */
  isOwn(place: number): boolean {
    const value = this.node.inputs[place]!;
    const view = value.view;
    return view !== undefined && usageOf(view.constant) === `${place} ${this.node.op}`;
  }

  /** An axis that may count from the end. */
  axis(axis: number, rank: number): number {
    const place = axis < 0 ? axis + rank : axis;
    if (!(place >= 0 && place < rank)) throw new Unknown(`there is no axis ${axis}`);
    return place;
  }

  /** Axes whose channels stay. */
  fixed(shape: readonly number[]): Axis[] {
    return shape.map((size) => this.coupling.fixed(size, this.title));
  }

  /** Makes the channels of axes stay. */
  block(tensor: Tensor | undefined, axes?: Iterable<number>, reason = this.title): void {
    if (tensor === undefined) return;
    for (const axis of axes ?? tensor.axes.keys()) this.coupling.block(tensor.axes[axis]!, reason);
  }
}

/** The place and the operator that read a constant, where all do in the same way. */
function usageOf(constant: Constant): string | undefined {
  if (!usages.has(constant)) {
    const found = new Set(constant.readers.map(({ node, input }) => `${input} ${node.op}`));
    usages.set(constant, found.size === 1 ? [...found][0] : undefined);
  }
  return usages.get(constant);
}

/** They are the same for all nodes that read a constant, which may be many. */
const usages = new WeakMap<Constant, string | undefined>();

/**
 * The number in the tensor of a ConstantOfShape.
 * @param constants by their places in the file
 */
export function fillOf(
  { op, attributes }: Node,
  constants: ReadonlyMap<number, Constant>,
  listOf: (constant: Constant) => List | undefined,
): List | undefined {
  const [range] = op === 'ConstantOfShape' ? (attributes.get('value')?.tensors ?? []) : [];
  const constant = range && constants.get(range.start);
  return constant && listOf(constant);
}

/** Why a rule does not apply to a node. */
export class Unknown extends Error {}

/** Why a rule does not apply to a node, which may be damaged: rules take for granted that it is not. */
export function whyNot(error: unknown): string {
  if (error instanceof Unknown) return error.message;
  if (error instanceof TypeError || error instanceof RangeError) return 'it is not valid';
  throw error;
}

/** The sizes of inputs do not go together. The model may be for inputs of other sizes. */
export class Misfit extends Unknown {}

/** What a node is, as far as its inputs say. */
export interface Operator {
  /** The attributes that the rule takes into account. Any other makes it not apply. */
  readonly attributes: readonly string[];
  /** How many inputs it takes into account. */
  readonly inputs: number;
  /** Whether channels of inputs that no output has are left out. All others that a rule does not name stay. */
  readonly leavesOut?: boolean;
  /** The shapes of the outputs. */
  readonly shape: (site: Site) => readonly (readonly number[])[];
  /** The numbers of an output that follows from lists alone. */
  readonly list?: (site: Site, shape: readonly number[]) => List | undefined;
  /** Couples the channels of inputs, and returns those along the axes of each output. */
  readonly couple: (site: Site, shapes: readonly (readonly number[])[]) => readonly (readonly Axis[])[];
  /** What is known of the first output, or of each. */
  readonly constant: (
    site: Site,
    outputs: readonly [Tensor, ...Tensor[]],
  ) => Known | undefined | readonly (Known | undefined)[];
  /**
   * What becomes of the channels of inputs, unless each number of an output follows from that of the first input with the
   * same indices, and others are its parameters:
   * - `combined`: it follows from those of all inputs
   * - `end`: outputs have channels of their own, as those of a layer
   * - `reduced`: axes that no output has are summarised, and their channels end
   * - `moved`: outputs have the numbers of inputs in other places
   * - `reshaped`: outputs have the numbers of the first input in the same order
   * - `ignored`: outputs do not depend on numbers
   */
  readonly channels?: 'combined' | 'end' | 'reduced' | 'moved' | 'reshaped' | 'ignored';
  /** The inputs that may have one number per channel of another input, which is removed with the channel. */
  readonly parameters?: (node: Node, input: number) => readonly Parameter[];
  /** Whether it convolves each channel by itself, with a weight of this shape. */
  readonly filtersEach?: (node: Node, weight: readonly number[] | undefined) => boolean;
  /** What has to change in a node when channels go; undefined if nothing does. */
  readonly rewrite?: (site: Site, outputs: readonly Tensor[], cut: Cut) => Rewrite;
}

/** An input that may have one number per channel. */
export interface Parameter {
  readonly input: number;
  /** A `factor` is a gamma that goes only where a channel is not 0 without it. What is `beside` does not go by itself. */
  readonly part: 'bias' | 'gamma' | 'beta' | 'factor' | 'beside';
  /** The axis of the channels that it belongs to; undefined if it aligns with the last axes. */
  readonly axis?: number;
  /** Where the channels are in it, if it is longer than their axis; undefined if that is not known. */
  readonly within?: (place: Place, size: number | undefined) => Place | undefined;
}

/** Which channels stay. */
export interface Cut {
  /** How many channels of an axis stay. */
  sizeOf(axis: Axis): number;
  /** How many channels before an index stay. */
  countBefore(axis: Axis, index: number): number;
}

/** The attributes and lists of a node after a cut. */
export interface Rewrite {
  /** By name; undefined for an attribute that goes. */
  readonly attributes?: Readonly<Record<string, number | readonly number[] | undefined>>;
  /** By input. */
  readonly lists?: ReadonlyMap<number, readonly number[]>;
}
