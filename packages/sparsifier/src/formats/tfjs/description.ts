import { isObject } from '../../model/json.js';
import type { Bias, Partner, Skipped, WeightTensor } from '../../model/model.js';
import { productOf } from '../../model/numbers.js';

/** A weight as described by a manifest. */
export interface WeightEntry {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: string;
  /** For a live model, the layers that have this weight. In a file they are found by name. */
  readonly holders?: Holders;
  /** The numbers of a short list of integers, such as the shape that a Reshape reads, if they are known. */
  readonly integers?: readonly number[];
  /** Whether a part of its numbers can be changed by itself; false if they are stored as integers with one scale. */
  readonly isDivisible?: boolean;
}

/** The layers that have a weight of a live model, and its name in these layers. */
export interface Holders {
  readonly name: string;
  /**
   * The path of each layer: the names of the models and wrappers that contain it, and its own. Several if models share
   * a layer.
   */
  readonly paths: readonly (readonly string[])[];
}

/** A bias, or the gamma or beta of a batch normalisation, by the name of its weight. */
export interface PartnerWeight {
  readonly part: Partner['part'];
  readonly weight: string;
  /** The entry of the first channel, and how many entries the layer's channels have. By default all. */
  readonly range?: { readonly start: number; readonly count: number };
}

/** Numbers that are added to the output channels of one layer alone, by the name of their weight. */
export interface BiasWeight extends Pick<Bias, 'sign'> {
  readonly weight: string;
}

/** A weight tensor without its numbers, by the name of its weight. */
export interface Described extends Omit<WeightTensor, 'values' | 'partners' | 'bias'> {
  readonly weight: string;
  readonly partners: readonly PartnerWeight[];
  readonly bias?: BiasWeight;
}

/** The layers of a model as described by its topology. */
export interface Description {
  readonly tensors: readonly Described[];
  readonly skipped: readonly Skipped[];
  /** How many numbers weights of two or more axes have, which the layers and skipped tensors account for. */
  readonly weights: number;
}

/** Of longer lists of integers, no more are read. */
export const mostIntegers = 64;

/** Weights by their names. */
export type Weights = ReadonlyMap<string, WeightEntry>;

/** How many numbers a weight has. */
export const lengthOf = ({ shape }: Pick<WeightEntry, 'shape'>): number => productOf(shape);

/** Whether the numbers of a weight can be changed. */
export const isFloat = ({ dtype }: WeightEntry): boolean => dtype === 'float32' || dtype === 'float16';

/** Whether a weight has one number for each of these channels, and any number can be written there. */
export const isBias = (entry: WeightEntry, channels: number): boolean =>
  isFloat(entry) && entry.isDivisible !== false && lengthOf(entry) === channels;

/** The names of the nodes that the signature of a model.json declares as outputs. */
export function outputsIn({ signature, userDefinedMetadata }: Readonly<Record<string, unknown>>): ReadonlySet<string> {
  const declared = isObject(userDefinedMetadata) ? userDefinedMetadata.signature : undefined;
  const { outputs } = [declared, signature].find(isObject) ?? {};
  const names = Object.values(isObject(outputs) ? outputs : {}).map((output) => (isObject(output) ? output.name : ''));
  return new Set(names.filter((name) => typeof name === 'string').map((name) => name.split(':')[0]!));
}

/** Whether a weight counts among those that are layers or skipped. */
export const isCounted = ({ shape, dtype }: WeightEntry): boolean => shape.length > 1 && dtype.startsWith('float');

/**
 * A weight that is not pruned, and why.
 * @param name by default its own
 * @param operator what reads it
 */
export const skip = (entry: WeightEntry, reason: string, name = entry.name, operator?: string): Skipped => ({
  name,
  reason,
  ...(operator !== undefined && { operator }),
  shape: entry.shape,
  weights: isCounted(entry) ? lengthOf(entry) : 0,
});

/** The numbers of all weights that are layers or skipped. */
export const countOf = (entries: Iterable<WeightEntry>): number => {
  let count = 0;
  for (const entry of entries) if (isCounted(entry)) count += lengthOf(entry);
  return count;
};

/** Gives names that are not taken yet. */
export class UnusedNames {
  readonly #taken: Set<string>;
  /** For names that were wanted again, the last number that was appended. */
  readonly #numbers = new Map<string, number>();

  constructor(taken: Iterable<string> = []) {
    this.#taken = new Set(taken);
  }

  /** Takes this name, with a number appended if it is already taken. */
  take(wanted: string): string {
    let name = wanted;
    let number = this.#numbers.get(wanted) ?? 1;
    while (this.#taken.has(name)) name = `${wanted}#${++number}`;
    if (number > 1) this.#numbers.set(wanted, number);
    this.#taken.add(name);
    return name;
  }
}

/** Adds a value to the list of a key. */
export function addTo<Key, Item>(lists: Map<Key, Item[]>, key: Key, item: Item): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [item]);
  else list.push(item);
}
