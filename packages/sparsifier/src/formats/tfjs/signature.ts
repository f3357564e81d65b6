import { aBoolean, aFunction } from '../../options/check.js';
import type { Signature } from '../format.js';
import { readingShape, type ReadOptions } from '../reading.js';
import type { GiveFile } from '../sources.js';

export interface ReadTfjsOptions extends ReadOptions {
  /** Returns a file with weights, given its path in the manifest, in place of a file in the folder of the model. */
  readonly shards?: GiveFile | undefined;
  /**
   * Keeps `scale` and `min` of quantised weights: removed weights get the code whose value is nearest to 0. By default,
   * `scale` and `min` are adjusted if needed, so that 0 is exact.
   */
  readonly keepScale?: boolean | undefined;
}

export const signature: Signature<ReadTfjsOptions> = {
  name: 'TensorFlow.js',
  options: { ...readingShape, shards: aFunction, keepScale: aBoolean },
  endings: ['.json'],
  matches: ({ json }) => json !== undefined && (Array.isArray(json) || 'weightsManifest' in json),
};
