import type * as Tf from '@tensorflow/tfjs';

export const tf: typeof Tf;

/** The bytes of a model's JSON, and of its files with weights by their names. */
export interface ModelFiles {
  readonly json: Uint8Array;
  readonly shards: ReadonlyMap<string, Uint8Array>;
}
export function filesIn(folder: string): ModelFiles;
export function handlerOf(files: ModelFiles): Tf.io.IOHandler;

export interface RealModel {
  readonly title: string;
  readonly folder: string;
  /** Which layers are made sparse. */
  readonly options: { readonly layerType?: 'all'; readonly exclude?: string };
  samples(count?: number): readonly object[];
  /** Loads it for single runs. */
  open(files: ModelFiles): Promise<{ run(sample: object): Promise<unknown>; dispose(): void }>;
  /** In the unit of the title. */
  measure(files: ModelFiles, samples: readonly object[]): Promise<number>;
}
/** A model that TensorFlow.js itself can run. */
export interface LiveModel<Network> extends RealModel {
  load(files: ModelFiles): Promise<Network>;
  /** What the network takes as its input. */
  inputOf(sample: object): Tf.Tensor;
}
export const languages: RealModel;
export const upscaler: LiveModel<Tf.LayersModel>;
export const pitch: LiveModel<Tf.GraphModel> & {
  score(listen: (sound: Float32Array) => Promise<Float32Array>, samples: readonly object[]): Promise<number>;
};
