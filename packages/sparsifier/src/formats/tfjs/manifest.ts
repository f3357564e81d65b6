import { SparsifyError } from '../../errors.js';
import type { MainFile } from '../files.js';
import { recognise } from '../recognise.js';
import { pathInFolder } from '../sources.js';
import { isObject, type WeightEntry } from './description.js';
import type { Affine } from './quantization.js';

/** A weight of the manifest. */
export interface ManifestWeight extends WeightEntry {
  /** How its numbers are stored, where that is not its own type. */
  readonly quantization: Affine | { readonly dtype: 'float16' } | undefined;
}

/** Weights whose bytes follow each other, over the borders of the files that hold them. */
export interface Group {
  /** In the folder of the model. */
  readonly paths: readonly string[];
  readonly weights: readonly ManifestWeight[];
}

/** A model.json, or the bare manifest of old converters. */
export interface ModelJson {
  /** The whole file, of which all is kept but the manifest's paths and quantisation. */
  readonly content: unknown;
  /** Undefined for a bare manifest. */
  readonly topology: unknown;
  readonly groups: readonly Group[];
}

/** Bytes of one number by its type; strings have their length in front. */
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
 * Reads what a model.json says.
 * @throws SparsifyError `format` where the file is none, `file` where a path of its manifest leaves the model's folder
 */
export function parseModel(file: MainFile, subject: string): ModelJson {
  const content = file.json;
  if (content === undefined) {
    const { found, hint = 'Give the model.json that lies beside the weights' } = recognise(file);
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
  const seen = new Set<string>();
  const twice = names.find((name) => seen.size === seen.add(name).size);
  if (twice !== undefined) {
    throw new SparsifyError('format', 'two weights have one name', { subject, found: twice });
  }
  const topology = isObject(content) ? content.modelTopology : undefined;
  if (isObject(content) && (topology === undefined || topology === null)) {
    throw new SparsifyError('format', 'the model has no modelTopology', {
      subject,
      hint: 'It holds weights alone: save the whole model, with model.save',
    });
  }
  return { content, topology, groups };
}

function groupOf(group: unknown, subject: string): Group {
  if (!isObject(group) || !Array.isArray(group.paths) || !Array.isArray(group.weights)) {
    throw new SparsifyError('format', 'a group of the manifest has paths and weights', {
      subject,
      found: JSON.stringify(group)?.slice(0, 100),
    });
  }
  const paths = group.paths.map((path: unknown) => {
    if (typeof path === 'string') return pathInFolder(path, 'a file with weights');
    throw new SparsifyError('format', 'a path of the manifest is no text', { subject, found: path });
  });
  return { paths, weights: group.weights.map((weight) => weightOf(weight, subject)) };
}

function weightOf(weight: unknown, subject: string): ManifestWeight {
  const { name, shape, dtype, quantization } = isObject(weight) ? weight : {};
  const isShape =
    Array.isArray(shape) &&
    shape.every((size) => Number.isSafeInteger(size) && size >= 0) &&
    Number.isSafeInteger(8 * shape.reduce((product: number, size: number) => product * size, 1));
  if (typeof name !== 'string' || typeof dtype !== 'string' || !isShape) {
    throw new SparsifyError('format', 'a weight of the manifest has a name, a shape of whole numbers and a dtype', {
      subject,
      found: JSON.stringify(weight)?.slice(0, 200),
    });
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

/** How many numbers a weight has. */
export const lengthOf = ({ shape }: WeightEntry): number => shape.reduce((product, size) => product * size, 1);

/** How many bytes a weight takes; undefined for strings, which say so themselves. */
export const bytesOfWeight = (weight: ManifestWeight): number | undefined =>
  weight.dtype === 'string' ? undefined : lengthOf(weight) * sizes[weight.quantization?.dtype ?? weight.dtype]!;

/**
 * Where each weight of a group begins.
 * @param bytes the bytes of the group, which are looked at only where strings have to be counted
 * @throws SparsifyError `format` where the group's files hold more or fewer bytes than its weights take
 */
export function startsOf({ paths, weights }: Group, size: number, bytes: Uint8Array | undefined): number[] {
  const fail = (summary: string, asked: number) => {
    throw new SparsifyError('format', `the files with weights are ${summary}`, {
      subject: paths.join(', '),
      given: `${asked} bytes`,
      found: `${size} bytes`,
      hint: 'A file is cut off or belongs to another model: copy or download the model again',
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
