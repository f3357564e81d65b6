import * as host from '#host';
import { SparsifyError } from '../errors.js';
import { readHeader, type StoredTensor } from '../formats/safetensors/header.js';
import { safetensorsChunks, type TensorToWrite } from '../formats/safetensors/write.js';
import type { ModelSource } from '../formats/sources.js';
import type { Reading } from '../host/reading.js';
import { inSlices, stepsAtATime } from '../host/slices.js';
import { productOf } from '../model/numbers.js';
import type { LayerMoments, LayerStatistics } from './layer-statistics.js';

/** The metadata of every file with statistics. */
const format = 'sparsifier-statistics';
const version = '1';
/** Before the name of a layer: the key of the SHA-256 of its weights. */
const sha256 = 'sha256:';

const parts = ['rows', 'moment', 'mean', 'norm'] as const;
type Part = (typeof parts)[number];
const heldOut = '/heldOut';

/**
 * The bytes of a safetensors file with these statistics.
 * @throws SparsifyError `usage` for names of layers that a file cannot tell apart
 */
export function chunksOf(layers: ReadonlyMap<string, LayerStatistics>): readonly Uint8Array[] {
  const tensors: TensorToWrite[] = [];
  const metadata = new Map([
    ['format', format],
    ['version', version],
  ]);
  for (const [name, layer] of layers) {
    if (layers.has(name + heldOut)) {
      const hint = 'Write them to files of their own';
      throw new SparsifyError('usage', 'a file cannot hold both of these layers', {
        given: [name, name + heldOut],
        hint,
      });
    }
    tensors.push(...tensorsOf(name, layer, layer));
    if (layer.heldOut) tensors.push(...tensorsOf(name + heldOut, layer, layer.heldOut));
    if (layer.sha256 !== undefined) metadata.set(sha256 + name, layer.sha256);
  }
  // Whole numbers, which have 64 bits, come first, so that all numbers are aligned.
  const ordered = [
    ...tensors.filter(({ dtype }) => dtype === 'I64'),
    ...tensors.filter(({ dtype }) => dtype !== 'I64'),
  ];
  return safetensorsChunks(ordered, metadata);
}

function tensorsOf(
  name: string,
  { groups, columns, isDiagonal }: LayerStatistics,
  { rows, moment, mean, norm }: LayerMoments,
): TensorToWrite[] {
  const floats = (part: Part, shape: readonly number[], { buffer, byteOffset, byteLength }: Float32Array) => ({
    name: `${name}/${part}`,
    dtype: 'F32',
    shape,
    bytes: new Uint8Array(buffer, byteOffset, byteLength),
  });
  return [
    { name: `${name}/rows`, dtype: 'I64', shape: [], bytes: new Uint8Array(BigInt64Array.of(BigInt(rows)).buffer) },
    floats('moment', isDiagonal ? [groups, columns] : [groups, columns, columns], moment),
    floats('mean', [groups, columns], mean),
    ...(norm ? [floats('norm', [norm.length], norm)] : []),
  ];
}

/** The tensors of a layer, or of its batches that were held out. */
type Stored = Partial<Record<Part, StoredTensor>>;

/**
 * Reads a file with statistics.
 * @throws SparsifyError `file` if it cannot be read; `format` if it is not a file of a known version, or if its tensors do
 *   not have the types, shapes and numbers that statistics have
 */
export async function readLayers(
  source: ModelSource,
  reading: Reading,
): Promise<{ readonly layers: Map<string, LayerStatistics>; readonly path: string | undefined }> {
  const file = await host.open(source, reading);
  try {
    const { tensors, metadata } = await readHeader(file, reading);
    if (metadata.get('format') !== format || metadata.get('version') !== version) {
      throw new SparsifyError('format', 'this is not a file with statistics of a known version', {
        subject: file.name ?? 'statistics',
        found: `format ${metadata.get('format') ?? 'unknown'}, version ${metadata.get('version') ?? 'unknown'}`,
        hint: `The metadata of such a file have the format '${format}' and the version '${version}'`,
      });
    }
    const found = new Map<string, Stored>();
    for (const tensor of tensors) {
      const { name, part } = splitName(tensor.name);
      found.set(name, { ...found.get(name), [part]: tensor });
    }
    const layers = new Map<string, LayerStatistics>();
    for (const [name, stored] of found) {
      if (name.endsWith(heldOut) && found.has(name.slice(0, -heldOut.length))) continue;
      const sizes = sizesOf(name, stored);
      const held = found.get(name + heldOut);
      layers.set(name, {
        ...sizes,
        ...(await read(file, name, stored, sizes)),
        heldOut: held && (await read(file, name + heldOut, held, sizes)),
        sha256: digestIn(metadata, sha256 + name),
      });
    }
    return { layers, path: file.path };
  } finally {
    await file.close();
  }
}

function digestIn(metadata: ReadonlyMap<string, string>, key: string): string | undefined {
  const digest = metadata.get(key)?.toLowerCase();
  if (digest === undefined || /^[0-9a-f]{64}$/.test(digest)) return digest;
  const allowed = ['64 hexadecimal digits'];
  throw new SparsifyError('format', 'this is no SHA-256', { subject: key, found: digest.slice(0, 100), allowed });
}

function splitName(given: string): { name: string; part: Part } {
  const end = given.lastIndexOf('/');
  const part = parts.find((each) => each === given.slice(end + 1));
  if (end >= 0 && part) return { name: given.slice(0, end), part };
  throw new SparsifyError('format', 'a tensor is not a part of statistics', {
    subject: given,
    allowed: [...parts, ...parts.map((each) => `heldOut/${each}`)].map((each) => `<layer>/${each}`),
  });
}

type Sizes = Pick<LayerStatistics, 'groups' | 'columns' | 'isDiagonal'>;

/** The sizes that the shape of the moments gives. */
function sizesOf(name: string, { moment }: Stored): Sizes {
  const [groups = 0, columns = 0, others = columns, ...rest] = moment?.shape ?? [];
  if (moment && groups > 0 && columns > 0 && columns === others && rest.length === 0) {
    return { groups, columns, isDiagonal: moment.shape.length === 2 };
  }
  throw wrongShape(`${name}/moment`, moment, [
    '[groups, columns, columns]',
    '[groups, columns] for the diagonal alone',
  ]);
}

function wrongShape(subject: string, stored: StoredTensor | undefined, allowed: readonly string[]): SparsifyError {
  if (!stored) return new SparsifyError('format', 'this tensor is missing', { subject, allowed });
  const found = `[${stored.shape.join(', ')}]`;
  return new SparsifyError('format', 'the shape of this tensor does not fit', { subject, found, allowed });
}

async function read(file: host.Source, name: string, stored: Stored, sizes: Sizes): Promise<LayerMoments> {
  const { groups, columns, isDiagonal } = sizes;
  const floats = (part: Part, shape: readonly number[]) => {
    const tensor = stored[part];
    if (String(tensor?.shape) === String(shape)) return floatsOf(file, tensor!);
    throw wrongShape(`${name}/${part}`, tensor, [`[${shape.join(', ')}]`]);
  };
  const rows = await rowsOf(file, `${name}/rows`, stored.rows);
  const moment = await floats('moment', isDiagonal ? [groups, columns] : [groups, columns, columns]);
  for (let index = 0; index < groups * columns; index++) {
    const at = isDiagonal ? index : index * columns + (index % columns);
    if (moment[at]! < 0) throw wrongNumber(`${name}/moment`, 'a mean of squares is not negative', moment[at]!, at);
  }
  const mean = await floats('mean', [groups, columns]);
  await checkPossible(name, sizes, moment, mean);
  return { rows, moment, mean, norm: stored.norm && (await normOf(file, stored.norm, sizes)) };
}

/** How far numbers of little precision may be from possible ones, as a share of the squares that they are compared with. */
const slack = 0.01;
/** Squares below the smallest normal number are rounded to anything from 0 to it. */
const leastSquare = 2 ** -126;

/** Refuses what no inputs can have: sums in place of means, for example. */
async function checkPossible(
  name: string,
  { groups, columns, isDiagonal }: Sizes,
  moment: Float32Array,
  mean: Float32Array,
): Promise<void> {
  const squareOf = (index: number) =>
    Math.max(leastSquare, moment[isDiagonal ? index : index * columns + (index % columns)]!);
  for (let index = 0; index < groups * columns; index++) {
    if (mean[index]! ** 2 <= (1 + slack) * squareOf(index)) continue;
    throw wrongNumber(`${name}/mean`, 'the square of a mean is not above the mean of squares', mean[index]!, index);
  }
  if (isDiagonal) return;
  const roots = Float64Array.from(mean, (_, index) => Math.sqrt(squareOf(index)));
  const check = (from: number, to: number) => {
    for (let at = from; at < to; at++) {
      const [row, column] = [Math.floor(at / columns), at % columns];
      const first = row - (row % columns);
      const most = roots[row]! * roots[first + column]!;
      if (Math.abs(moment[at]!) > (1 + slack) * most) {
        throw wrongNumber(
          `${name}/moment`,
          'a mean of products is not above the root of the product of the means of squares',
          moment[at]!,
          at,
        );
      }
      const mirrored = moment[(first + column) * columns + (row % columns)]!;
      if (Math.abs(moment[at]! - mirrored) <= slack * most) continue;
      throw wrongNumber(`${name}/moment`, 'moments are symmetric', moment[at]!, at);
    }
  };
  await inSlices(moment.length, check, stepsAtATime);
}

async function normOf(file: host.Source, stored: StoredTensor, { groups, columns }: Sizes): Promise<Float32Array> {
  // How many channels there are is not known from moments alone.
  const inputs = productOf(stored.shape) / groups;
  if (stored.shape.length !== 1 || !Number.isInteger(columns / inputs) || !Number.isInteger(inputs)) {
    throw wrongShape(stored.name, stored, ['[channels]: the input channels of all groups']);
  }
  const norm = await floatsOf(file, stored);
  const at = norm.findIndex((number) => number < 0);
  if (at >= 0) throw wrongNumber(stored.name, 'a norm is not negative', norm[at]!, at);
  return norm;
}

async function rowsOf(file: host.Source, subject: string, stored: StoredTensor | undefined): Promise<number> {
  if (!stored || productOf(stored.shape) !== 1) throw wrongShape(subject, stored, ['[]', '[1]']);
  checkType(stored, ['I64']);
  const bytes = new Uint8Array(8);
  await file.read(bytes, stored.start);
  const rows = new DataView(bytes.buffer).getBigInt64(0, true);
  if (rows > 0n && rows <= Number.MAX_SAFE_INTEGER) return Number(rows);
  throw new SparsifyError('format', 'the number of rows is at least 1', { subject, found: String(rows) });
}

/** The numbers of a tensor; those of 64 bits are rounded. */
async function floatsOf(file: host.Source, stored: StoredTensor): Promise<Float32Array> {
  checkType(stored, ['F32', 'F64']);
  const { name, dtype, shape, start } = stored;
  const numbers = dtype === 'F32' ? new Float32Array(productOf(shape)) : new Float64Array(productOf(shape));
  await file.read(new Uint8Array(numbers.buffer), start);
  const rounded = Float32Array.from(numbers);
  const check = (from: number, to: number) => {
    for (let at = from; at < to; at++) {
      if (!Number.isFinite(rounded[at]!)) throw wrongNumber(name, 'this is infinite or not a number', numbers[at]!, at);
    }
  };
  await inSlices(rounded.length, check, stepsAtATime);
  return rounded;
}

function checkType({ name, dtype }: StoredTensor, allowed: readonly string[]): void {
  if (allowed.includes(dtype)) return;
  throw new SparsifyError('format', 'this tensor has another type', { subject: name, found: dtype, allowed });
}

const wrongNumber = (subject: string, summary: string, number: number, index: number): SparsifyError =>
  new SparsifyError('format', summary, { subject, found: `${number} at index ${index}` });
