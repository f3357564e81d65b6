import { isObject, parseJson } from '../../model/json.js';
import { SparsifyError } from '../../errors.js';
import type { Reading } from '../../host/reading.js';
import type { MainFile } from '../files.js';
import { checkTensors } from '../reading.js';
import { recognise } from '../recognise.js';
import { pathInFolder } from '../sources.js';
import { lengthOf, type WeightEntry } from './description.js';
import type { Affine } from './quantization.js';
import { productOf } from '../../model/numbers.js';

/** A weight of the manifest. */
export interface ManifestWeight extends WeightEntry {
  /** How its numbers are stored, if not in their own type. */
  readonly quantization: Affine | { readonly dtype: 'float16' } | undefined;
}

/** Weights whose bytes are concatenated and then split into files. */
export interface Group {
  /** Relative to the folder of the model. */
  readonly paths: readonly string[];
  readonly weights: readonly ManifestWeight[];
}

/** A model.json, or the bare manifest of old converters. */
export interface ModelJson {
  /** The whole content. All of it is kept, except the paths and the quantisation in the manifest. */
  readonly content: unknown;
  /** Undefined for a bare manifest. */
  readonly topology: unknown;
  readonly groups: readonly Group[];
}

/** The number of bytes of one number by type. Strings are preceded by their length. */
const sizes: Readonly<Record<string, number>> = {
  float32: 4,
  float16: 2,
  int32: 4,
  uint16: 2,
  uint8: 1,
  bool: 1,
  complex64: 8,
};

/**
 * Parses a model.json.
 * @throws SparsifyError `format` if the file is not a model.json, `file` if a path in its manifest leaves the folder of
 *   the model
 */
export function parseModel(file: MainFile, subject: string, reading: Reading): ModelJson {
  const content = file.json;
  if (content === undefined) {
    const { found, hint = 'Pass the model.json in the folder of the weights' } = recognise(file);
    throw new SparsifyError('format', 'the file is not a model.json', { subject, found, hint });
  }
  const manifest = isObject(content) ? content.weightsManifest : content;
  if (!Array.isArray(manifest)) {
    throw new SparsifyError('format', 'the JSON has no weights', {
      subject,
      found: isObject(content) ? `the keys ${Object.keys(content).slice(0, 8).join(', ') || 'none'}` : typeof content,
      allowed: ['{ modelTopology, weightsManifest }, as in model.json'],
    });
  }
  const groups = manifest.map((group, place) => groupOf(group, `${subject}, group ${place + 1}`));
  const names = groups.flatMap(({ weights }) => weights.map(({ name }) => name));
  checkTensors(reading, subject, names.length);
  const seen = new Set<string>();
  const twice = names.find((name) => seen.size === seen.add(name).size);
  if (twice !== undefined) {
    throw new SparsifyError('format', 'two weights have the same name', { subject, found: twice });
  }
  const paths = groups.flatMap(({ paths }) => paths);
  const own = new Set<string>();
  const again = paths.find((path) => own.size === own.add(path).size);
  if (again !== undefined) {
    throw new SparsifyError('format', 'the manifest names a file with weights twice', {
      subject,
      found: again,
      hint: 'Each file belongs to one place. Save or convert the model again',
    });
  }
  const topology = isObject(content) ? content.modelTopology : undefined;
  if (isObject(content) && (topology === undefined || topology === null)) {
    throw new SparsifyError('format', 'the model has no modelTopology', {
      subject,
      hint: 'The file contains only weights. Save the whole model with model.save',
    });
  }
  return { content, topology: typeof topology === 'string' ? parsed(topology, subject, reading) : topology, groups };
}

/** A topology that is a string, as some old files have it. */
function parsed(topology: string, subject: string, reading: Reading): unknown {
  try {
    return parseJson(topology, subject, reading);
  } catch (cause) {
    if (cause instanceof SparsifyError) throw cause;
    const found = (cause as Error).message.slice(0, 100);
    throw new SparsifyError('format', 'the modelTopology is a string that is not JSON', { subject, found }, { cause });
  }
}

function groupOf(group: unknown, subject: string): Group {
  if (!isObject(group) || !Array.isArray(group.paths) || !Array.isArray(group.weights)) {
    throw new SparsifyError('format', 'a group in the manifest must have paths and weights', {
      subject,
      found: JSON.stringify(group)?.slice(0, 100),
    });
  }
  const paths = group.paths.map((path: unknown) => {
    if (typeof path === 'string') return pathInFolder(path, 'a file with weights');
    throw new SparsifyError('format', 'a path in the manifest is not a string', { subject, found: path });
  });
  return { paths, weights: group.weights.map((weight) => weightOf(weight, subject)) };
}

function weightOf(weight: unknown, subject: string): ManifestWeight {
  const { name, shape, dtype, quantization } = isObject(weight) ? weight : {};
  const isShape =
    Array.isArray(shape) &&
    shape.every((size) => Number.isSafeInteger(size) && size >= 0) &&
    Number.isSafeInteger(8 * productOf(shape));
  if (typeof name !== 'string' || typeof dtype !== 'string' || !isShape) {
    throw new SparsifyError(
      'format',
      'a weight in the manifest must have a name, a shape of whole numbers and a dtype',
      {
        subject,
        found: JSON.stringify(weight)?.slice(0, 200),
      },
    );
  }
  if (dtype !== 'string' && !Object.hasOwn(sizes, dtype)) {
    throw new SparsifyError('format', 'unknown dtype', {
      subject: name,
      found: dtype,
      allowed: [...Object.keys(sizes), 'string'],
    });
  }
  return { name, shape, dtype, quantization: quantizationOf(quantization, name) };
}

function quantizationOf(quantization: unknown, subject: string): ManifestWeight['quantization'] {
  if (quantization === undefined || quantization === null) return undefined;
  const { dtype, scale, min } = isObject(quantization) ? quantization : {};
  if (dtype === 'float16') return { dtype };
  const isAffine =
    (dtype === 'uint8' || dtype === 'uint16') &&
    typeof scale === 'number' &&
    typeof min === 'number' &&
    Number.isFinite(scale) &&
    Number.isFinite(min) &&
    scale > 0;
  if (isAffine) return { dtype, scale, min };
  throw new SparsifyError('format', 'unknown quantization', {
    subject,
    found: JSON.stringify(quantization).slice(0, 100),
    allowed: ['uint8 or uint16 with a scale above 0 and a min', 'float16'],
  });
}

/** The number of bytes of a weight; undefined for strings, whose lengths are stored in the data. */
export const bytesOfWeight = (weight: ManifestWeight): number | undefined =>
  weight.dtype === 'string' ? undefined : lengthOf(weight) * sizes[weight.quantization?.dtype ?? weight.dtype]!;

/**
 * The offset of each weight of a group.
 * @param bytes the bytes of the group; needed only if it contains strings
 * @throws SparsifyError `format` if the files of the group have more or fewer bytes than its weights
 */
export function startsOf({ paths, weights }: Group, size: number, bytes: Uint8Array | undefined): number[] {
  const fail = (summary: string, asked: number) => {
    throw new SparsifyError('format', `the files with weights are ${summary}`, {
      subject: paths.join(', ') || 'a group without files',
      given: `${asked} bytes`,
      found: `${size} bytes`,
      hint: 'A file is truncated or belongs to another model. Copy or download the model again',
    });
  };
  let at = 0;
  const starts = weights.map((weight) => {
    const start = at;
    const own = bytesOfWeight(weight);
    if (own !== undefined) at += own;
    else if (bytes !== undefined) {
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      for (let count = lengthOf(weight); count > 0; count--) {
        if (at + 4 > size) fail('too short', at + 4);
        at += 4 + view.getUint32(at, true);
      }
    }
    if (at > size) fail('too short', at);
    return start;
  });
  if (at < size) fail('too long', at);
  return starts;
}
