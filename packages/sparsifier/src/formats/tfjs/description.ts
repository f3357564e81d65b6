import type { Partner, Skipped, WeightTensor } from '../../model/model.js';

/** A weight as described by a manifest. */
export interface WeightEntry {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: string;
  /** For a live model, the layers that have this weight. In a file they are found by name. */
  readonly holders?: Holders;
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
}

/** A weight tensor without its numbers, by the name of its weight. */
export interface Described extends Omit<WeightTensor, 'values' | 'partners'> {
  readonly weight: string;
  readonly partners: readonly PartnerWeight[];
}

/** The layers of a model as described by its topology. */
export interface Description {
  readonly tensors: readonly Described[];
  readonly skipped: readonly Skipped[];
  /** How many numbers weights of two or more axes have, which the layers and skipped tensors account for. */
  readonly weights: number;
}

/** Weights by their names. */
export type Weights = ReadonlyMap<string, WeightEntry>;

/** How many numbers a weight has. */
export const lengthOf = ({ shape }: Pick<WeightEntry, 'shape'>): number => shape.reduce((a, b) => a * b, 1);

/** Whether a weight counts among those that are layers or skipped. */
export const isCounted = ({ shape, dtype }: WeightEntry): boolean => shape.length > 1 && dtype.startsWith('float');

/** A weight that is not pruned, and why. @param name by default its own */
export const skip = (entry: WeightEntry, reason: string, name: string = entry.name): Skipped => ({
  name,
  reason,
  shape: entry.shape,
  weights: lengthOf(entry),
});

/** The name, with a number appended if it is already taken. */
export function unusedName(wanted: string, names: ReadonlySet<string>): string {
  let name = wanted;
  for (let number = 2; names.has(name); number++) name = `${wanted}#${number}`;
  return name;
}
