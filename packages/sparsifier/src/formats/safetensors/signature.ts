import { aFunction } from '../../options/check.js';
import type { Signature } from '../format.js';
import { readingShape, type ReadOptions } from '../reading.js';
import type { GiveFile } from '../sources.js';
import { someDescriptions, type LayerDescriptions } from './descriptions.js';

export interface ReadSafetensorsOptions extends ReadOptions {
  /**
   * Describes tensors, by name or glob, whose names and shapes are not enough: transposed convolutions, dense layers
   * stored as (in, out), grouped convolutions. `false` excludes a tensor.
   */
  readonly layers?: LayerDescriptions | undefined;
  /** Returns a shard, given its name in the index, in place of a file in the folder of the index. */
  readonly shards?: GiveFile | undefined;
}

export const signature: Signature<ReadSafetensorsOptions> = {
  name: 'safetensors',
  options: { ...readingShape, layers: someDescriptions, shards: aFunction },
  endings: ['.safetensors', '.safetensors.index.json', '.index.json'],
  // A file begins with the length of its header, far below 2^32, and JSON. An index is JSON.
  matches: ({ head, json }) =>
    json === undefined ? /^.{4}\0{4}\{/s.test(String.fromCharCode(...head)) : 'weight_map' in json,
};
