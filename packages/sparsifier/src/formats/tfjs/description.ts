import type { Partner, Skipped, WeightTensor } from '../../model/model.js';

/** What a manifest says of a weight. */
export interface WeightEntry {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: string;
  /** In a model in use: the layers that hold it. In a file they are found by names. */
  readonly holders?: Holders;
}

/** The layers that hold a weight of a model in use, and what they call it. */
export interface Holders {
  readonly name: string;
  /** The names of the models and wrappers around a layer and its own; several where models share it. */
  readonly paths: readonly (readonly string[])[];
}

/** A bias or batch normalisation entry by the name of its weight. */
export interface PartnerWeight {
  readonly part: Partner['part'];
  readonly weight: string;
}

/** A weight tensor by the name of its weight, apart from its numbers. */
export interface Described extends Omit<WeightTensor, 'values' | 'partners'> {
  readonly weight: string;
  readonly partners: readonly PartnerWeight[];
}

/** What a topology says of weights. */
export interface Description {
  readonly tensors: readonly Described[];
  readonly skipped: readonly Skipped[];
}

/** Weights by their names. */
export type Weights = ReadonlyMap<string, WeightEntry>;

/** The name, or the name with a number if it is in use. */
export function unusedName(wanted: string, names: ReadonlySet<string>): string {
  let name = wanted;
  for (let number = 2; names.has(name); number++) name = `${wanted}#${number}`;
  return name;
}

export const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
