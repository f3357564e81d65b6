import { aFunction } from '../../options/check.js';
import type { Signature } from '../format.js';
import { readingShape, type ReadOptions } from '../reading.js';
import type { GiveFile } from '../sources.js';

export interface ReadOnnxOptions extends ReadOptions {
  /** Returns an external data file, given its location in the model, in place of a file in the folder of the model. */
  readonly external?: GiveFile | undefined;
}

/** The fields of a `ModelProto` that a file may begin with: their numbers and wire types, as protobuf encodes them. */
const firstBytes = new Set([
  ...[0x08, 0x12, 0x1a, 0x22, 0x28, 0x32, 0x3a, 0x42, 0x72],
  // Field numbers above 15 take a second byte: training_info, functions, configuration.
  ...[0xa2, 0xca, 0xd2],
]);

export const signature: Signature<ReadOnnxOptions> = {
  name: 'ONNX',
  options: { ...readingShape, external: aFunction },
  endings: ['.onnx'],
  matches: ({ head, json }) => json === undefined && head.length > 0 && firstBytes.has(head[0]!),
};
