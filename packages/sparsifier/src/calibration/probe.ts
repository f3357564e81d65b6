import type { Geometry, WeightTensor } from '../model/model.js';

/** A use of a layer. */
export interface Use {
  /** The name of the value that is the layer's input, in its model. */
  readonly value: string;
  readonly geometry: Geometry;
}

/** A value of a network, for one batch. */
export interface Activation {
  readonly shape: readonly number[];
  /** As the runtime calls it: `float32`. */
  readonly type: string;
  /** Row-major; undefined for types that are no floats. */
  numbers(): Float32Array | Promise<Float32Array> | undefined;
}

/** What a model computed for a batch, until it is released. */
export interface Activations {
  /** One of the values that were asked for; undefined if the runtime does not give it. */
  get(value: string): Activation | undefined;
  release(): void;
}

/** A model that is ready to compute some of its values. */
export interface OpenProbe<Batch> {
  run(batch: Batch): Promise<Activations>;
  release(): Promise<void> | void;
}

/** A way to look inside a model while it runs. */
export interface Probe<Batch> {
  /** The uses of a layer, in the order of the model, or why its inputs are not available. */
  usesOf(tensor: WeightTensor): readonly Use[] | string;
  /** Prepares to compute these values, of which no two are the same. */
  open(values: readonly string[]): Promise<OpenProbe<Batch>>;
}
