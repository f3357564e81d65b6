import { isObject } from '../../model/json.js';
import { mostIntegers, type WeightEntry } from './description.js';

/** A node of a graph or of one of its functions. */
export interface Node {
  readonly name: string;
  /** The function that contains it; undefined for a node of the graph itself. */
  readonly inside: string | undefined;
  readonly op: string;
  readonly inputs: readonly Value[];
  readonly attributes: Attributes;
  /** Its output, if it only moves the axes of a weight. */
  readonly view: Constant | undefined;
  /** The nodes that read it, each once. */
  readonly readers: readonly Node[];
  /** How many other nodes it reads, without those that are constant. */
  readonly sources: number;
}

/** What an input of a node reads: the output of a node, a constant, or neither if it is the argument of a function. */
export interface Value {
  readonly name: string;
  /** The number of the node's output. */
  readonly output: number;
  readonly node: Node | undefined;
  readonly constant: Constant | undefined;
}

/** A weight as a node reads it. */
export interface Constant {
  readonly entry: WeightEntry;
  /** For each axis of the value, the axis of the stored weight; undefined for an axis of size 1 that was added. */
  readonly axes: readonly (number | undefined)[];
}

/** The name of a node, which is unique together with that of its function. */
export const titleOf = ({ name, inside }: Node): string => (inside === undefined ? name : `${inside}/${name}`);

/** The shape of a constant. */
export const shapeOf = ({ entry, axes }: Constant): number[] =>
  axes.map((axis) => (axis === undefined ? 1 : entry.shape[axis]!));

/** The integers that an input reads, if they are known. */
export const integersIn = (value: Value | undefined): readonly number[] | undefined => value?.constant?.entry.integers;

export type Attributes = Readonly<Record<string, unknown>>;

/** Whether an attribute is true. */
export const isTrue = (attribute: unknown): boolean => isObject(attribute) && attribute.b === true;

/** The integers of a list, which JSON has as strings. */
export function integersOf(attribute: unknown): number[] | undefined {
  if (!isObject(attribute) || !isObject(attribute.list)) return undefined;
  return Array.isArray(attribute.list.i) ? attribute.list.i.slice(0, mostIntegers).map(Number) : [];
}

/** Longer texts have no meaning here. */
const longestText = 64;

/** The text of a string. In JSON, strings of a GraphDef are base64, but some writers do not encode them. */
export function textOf(text: unknown): string {
  if (typeof text !== 'string' || text.length > longestText) return '';
  if (/^(BiasAdd|FusedBatchNorm|Relu6?|Elu|LeakyRelu|Prelu|Sigmoid|N[A-Z]+|SAME|VALID|EXPLICIT)$/.test(text))
    return text;
  try {
    return atob(text);
  } catch {
    return text;
  }
}

/** Whether the channels are the second axis. Operators without this attribute have them last. */
export const isChannelsFirst = ({ data_format: format }: Attributes): boolean =>
  isObject(format) && textOf(format.s).startsWith('NC');
