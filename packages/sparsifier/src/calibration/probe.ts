import type { Geometry, WeightTensor } from '../model/model.js';

/** Batches, one after the other. */
export type Batches<Batch> = Iterable<Batch> | AsyncIterable<Batch>;

/** A use of a layer. */
export interface Use {
  /** The name of the value that is the layer's input, in its model. */
  readonly value: string;
  readonly geometry: Geometry;
}

/** What a model computes for a batch, until it is released. */
export interface Values {
  /** The numbers of a value that was asked for, and its shape. */
  read(value: string): Promise<{ readonly shape: readonly number[]; readonly numbers: Float32Array }>;
  release(): void;
}

/** A model that is ready to compute some of its values. */
export interface Session<Batch> {
  run(batch: Batch): Promise<Values>;
  release(): Promise<void> | void;
}

/** A way to look inside a model while it runs. */
export interface Probe<Batch> {
  /** The uses of a layer, in the order of the model, or why its inputs are not available. */
  usesOf(tensor: WeightTensor): readonly Use[] | string;
  /** Prepares to compute these values, of which no two are the same. */
  open(values: readonly string[]): Promise<Session<Batch>>;
}
