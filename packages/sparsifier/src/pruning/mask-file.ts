import * as host from '#host';
import { maskBytes, unitsOf } from '../engine/record.js';
import { SparsifyError } from '../errors.js';
import { readingOf, readingShape, type ReadOptions } from '../formats/reading.js';
import { readHeader, type Header, type StoredTensor } from '../formats/safetensors/header.js';
import { safetensorsChunks, type TensorToWrite } from '../formats/safetensors/write.js';
import { newBytes, type Reading } from '../host/reading.js';
import { inSlices, stepsAtATime } from '../host/slices.js';
import { parseJson } from '../model/json.js';
import type { Model, WeightTensor } from '../model/model.js';
import { optionsOf } from '../options/check.js';
import { inWords, type Granularity } from '../options/granularity.js';
import { unitsOfTensor } from '../options/units.js';
import { unpack } from './bits.js';
import type { Masks } from './masks.js';

export interface WriteMasksOptions {
  /**
   * Replace a file that exists. The files that the model, models to compare with, statistics and masks were read from are
   * never replaced.
   */
  readonly force?: boolean;
}

/** The metadata of every mask file. */
const format = 'sparsifier masks';
const version = '1';

/** How layers are divided into units. */
interface Divided {
  readonly granularity: Granularity;
  /** That of one layer. */
  readonly granularityOf: (tensor: WeightTensor) => Granularity;
}

/** A safetensors file with a tensor of U8 for each mask: 1 is kept, 0 removed. */
export async function maskFile(masks: Masks, { granularity, granularityOf }: Divided): Promise<readonly Uint8Array[]> {
  const tensors: TensorToWrite[] = [];
  for (const [tensor, bits] of masks) {
    const { axes, shape } = unitsOfTensor(tensor, granularityOf(tensor));
    const bytes = new Uint8Array(unitsOf(axes));
    await inSlices(bytes.length, (from, to) => unpack(bits, bytes, from, to), stepsAtATime);
    tensors.push({ name: tensor.name, dtype: 'U8', shape, bytes });
  }
  const roles = Object.fromEntries([...masks.keys()].map((tensor) => [tensor.name, tensor.roles]));
  const metadata = { format, version, granularity: JSON.stringify(granularity), roles: JSON.stringify(roles) };
  return safetensorsChunks(tensors, new Map(Object.entries(metadata)));
}

/**
 * Reads what {@link maskFile} wrote for a model with the same layers.
 * @throws SparsifyError `file` or `format` if it is not a complete mask file, or has masks of a different shape or
 *   layout; `granularity` if theirs is different; `layer` for a layer that the model does not have
 */
export async function readMasks(
  source: string | URL | Blob | Uint8Array | ArrayBuffer,
  { tensors }: Model,
  { granularity, granularityOf }: Divided,
  options: ReadOptions = {},
): Promise<{ readonly masks: Map<WeightTensor, Uint8Array>; readonly path: string | undefined }> {
  const reading = readingOf(optionsOf(options, readingShape));
  const file = await host.open(source, reading);
  try {
    const subject = file.name ?? 'mask file';
    const header = await readHeader(file, reading);
    const roles = checkMetadata(header, subject, granularity, reading);
    const masks = new Map<WeightTensor, Uint8Array>();
    const named = new Map(tensors.map((tensor) => [tensor.name, tensor]));
    for (const stored of header.tensors) {
      const tensor = named.get(stored.name);
      if (!tensor) {
        const allowed = tensors.map(({ name }) => name);
        throw new SparsifyError('layer', 'the file has a mask of a layer that the model does not have', {
          given: stored.name,
          allowed,
        });
      }
      checkShape(stored, roles[stored.name], tensor, granularityOf(tensor));
      masks.set(tensor, await bitsOf(file, stored));
    }
    return { masks, path: file.path };
  } finally {
    await file.close();
  }
}

/** The roles by layer. */
function checkMetadata(
  { metadata }: Header,
  subject: string,
  granularity: Granularity,
  reading: Reading,
): Record<string, unknown> {
  if (metadata.get('format') !== format || metadata.get('version') !== version) {
    throw new SparsifyError('format', 'this is not a mask file of a known version', {
      subject,
      found: `format ${metadata.get('format') ?? 'unknown'}, version ${metadata.get('version') ?? 'unknown'}`,
      hint: `A file that saveMasks wrote has format '${format}' and version ${version}`,
    });
  }
  const parsed = (key: string): unknown => {
    try {
      return parseJson(metadata.get(key) ?? '', subject, reading);
    } catch (cause) {
      if (cause instanceof SparsifyError) throw cause;
      throw new SparsifyError('format', `the file does not give the ${key} of its masks`, { subject }, { cause });
    }
  };
  if (JSON.stringify(parsed('granularity')) !== JSON.stringify(granularity)) {
    throw new SparsifyError('granularity', 'the masks have a different granularity', {
      subject,
      given: inWords(granularity),
      found: inWords(parsed('granularity') as Granularity),
    });
  }
  const roles = parsed('roles');
  return typeof roles === 'object' && roles !== null ? (roles as Record<string, unknown>) : {};
}

function checkShape(stored: StoredTensor, roles: unknown, tensor: WeightTensor, granularity: Granularity): void {
  const { shape } = unitsOfTensor(tensor, granularity);
  const asked = { roles: tensor.roles, shape, dtype: 'U8' };
  const found = { roles, shape: stored.shape, dtype: stored.dtype };
  if (JSON.stringify(found) === JSON.stringify(asked)) return;
  throw new SparsifyError('format', 'the mask has a different shape or layout than the layer', {
    subject: tensor.name,
    given: asked,
    found,
  });
}

/** One bit per unit in whole words; bits beyond the last unit are 1. */
async function bitsOf(file: host.Source, { name, start, end }: StoredTensor): Promise<Uint8Array> {
  const bits = new Uint8Array(maskBytes(end - start)).fill(255);
  const units = newBytes(end - start, name);
  await file.read(units, start);
  const pack = (from: number, to: number) => {
    for (let index = from; index < to; index++) {
      const unit = units[index]!;
      if (unit > 1) {
        const found = `${unit} at index ${index}`;
        throw new SparsifyError('format', 'a mask must consist of 0 and 1', { subject: name, found });
      }
      if (unit === 0) bits[index >> 3]! &= ~(1 << (index & 7));
    }
  };
  await inSlices(units.length, pack, stepsAtATime);
  return bits;
}
