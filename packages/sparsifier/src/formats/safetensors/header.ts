import { SparsifyError, type ErrorDetails } from '../../errors.js';
import type { Source } from '../../host/host.js';
import { overLimit, usualReading, type Reading } from '../../host/reading.js';
import { isObject, parseJson } from '../../model/json.js';
import { checkTensors } from '../reading.js';

/** A tensor in a safetensors file: row-major, little-endian. */
export interface StoredTensor {
  readonly name: string;
  /** As the format spells it, such as `F32`. May be a type that is unknown here. */
  readonly dtype: string;
  readonly shape: readonly number[];
  /** The offset of the first byte in the file, with any alignment. */
  readonly start: number;
  /** The offset after the last byte. */
  readonly end: number;
}

export interface Header {
  /** In the order of their bytes. */
  readonly tensors: readonly StoredTensor[];
  readonly metadata: ReadonlyMap<string, string>;
}

/** The number of bytes before a header that hold its length. */
export const lengthBytes = 8;

/** The limit of the format, in bytes. */
export const longestHeader = 100_000_000;

/** The only key of a header that is not the name of a tensor. */
export const metadataKey = '__metadata__';

const bitsOf = new Map(
  Object.entries({
    4: ['F4'],
    6: ['F6_E2M3', 'F6_E3M2'],
    8: ['BOOL', 'U8', 'I8', 'F8_E5M2', 'F8_E4M3', 'F8_E8M0', 'F8_E4M3FNUZ', 'F8_E5M2FNUZ'],
    16: ['I16', 'U16', 'F16', 'BF16'],
    32: ['I32', 'U32', 'F32'],
    64: ['I64', 'U64', 'F64', 'C64'],
  }).flatMap(([bits, names]) => names.map((name) => [name, Number(bits)])),
);

/** Whether a tensor can have this number of bytes. Always true for an unknown dtype, whose size is unknown. */
export function agrees(dtype: string, shape: readonly number[], bytes: number): boolean {
  const bits = bitsOf.get(dtype);
  return bits === undefined || shape.reduce((product, size) => product * size, bits) === bytes * 8;
}

/**
 * Reads the header of a safetensors file. As strict as the format: each byte of data must belong to exactly one tensor.
 * @throws SparsifyError `format` if the file is not a complete safetensors file, or exceeds a limit
 */
export async function readHeader(source: Source, reading: Reading = usualReading): Promise<Header> {
  const subject = source.name ?? 'safetensors file';
  const failure: Failure = (summary, details) =>
    new SparsifyError('format', summary, {
      subject,
      hint: 'The file is damaged or is not a safetensors file. Save or download it again',
      ...details,
    });
  const text = await readText(source, subject, reading, failure);
  const { tensors, metadata } = parse(text.content, subject, reading, failure);
  checkTensors(reading, subject, tensors.length);
  checkLayout(tensors, source.size - text.end, failure);
  return {
    tensors: tensors.map((tensor) => ({ ...tensor, start: text.end + tensor.start, end: text.end + tensor.end })),
    metadata,
  };
}

type Failure = (summary: string, details: ErrorDetails) => SparsifyError;

/** The text of the header, and the offset of its end in the file. */
async function readText(
  source: Source,
  subject: string,
  { limits: { headerBytes } }: Reading,
  failure: Failure,
): Promise<{ content: string; end: number }> {
  if (source.size < lengthBytes)
    throw failure('the file is too short for a safetensors file', { found: `${source.size} bytes` });
  const start = new Uint8Array(lengthBytes);
  await source.read(start, 0);
  const length = new DataView(start.buffer).getBigUint64(0, true);
  if (length > longestHeader) {
    throw failure('the file does not begin with the length of a header', {
      found: `${length} bytes`,
      allowed: [`up to ${longestHeader} bytes`],
    });
  }
  if (length > headerBytes) throw overLimit('headerBytes', subject, headerBytes, Number(length));
  const end = lengthBytes + Number(length);
  if (end > source.size)
    throw failure('the file ends inside its header', { found: `${source.size} bytes`, allowed: [`${end} or more`] });
  const bytes = new Uint8Array(Number(length));
  await source.read(bytes, lengthBytes);
  if (bytes[0] !== '{'.charCodeAt(0))
    throw failure("the header does not begin with '{'", { found: length === 0n ? 'nothing' : `byte ${bytes[0]}` });
  try {
    return { content: new TextDecoder('utf-8', { fatal: true }).decode(bytes), end };
  } catch {
    throw failure('the header is not UTF-8', {});
  }
}

/** The tensors in the order of the header, with offsets from the end of the header, and the metadata. */
function parse(
  content: string,
  subject: string,
  reading: Reading,
  failure: Failure,
): { tensors: StoredTensor[]; metadata: Map<string, string> } {
  let entries: [string, unknown][];
  try {
    // Of two entries with the same name only one remains, so the bytes of the other belong to no tensor.
    entries = Object.entries(parseJson(content, subject, reading) as object);
  } catch (cause) {
    if (cause instanceof SparsifyError) throw cause;
    throw failure('the header is not JSON', { found: (cause as Error).message.slice(0, 100) });
  }
  const tensors: StoredTensor[] = [];
  let metadata = new Map<string, string>();
  for (const [name, entry] of entries) {
    if (name === metadataKey) metadata = parseMetadata(entry, failure);
    else tensors.push(parseTensor(name, entry, failure));
  }
  return { tensors, metadata };
}

/** As in the reference implementation, they may be null. */
function parseMetadata(entry: unknown, failure: Failure): Map<string, string> {
  if (entry === null) return new Map();
  const isStrings = isObject(entry) && Object.values(entry).every((value) => typeof value === 'string');
  if (!isStrings)
    throw failure('the metadata are not an object of strings', { found: shortened(JSON.stringify(entry)) });
  return new Map(Object.entries(entry as Record<string, string>));
}

function parseTensor(name: string, entry: unknown, failure: Failure): StoredTensor {
  const wrong = () =>
    failure(`the description of tensor ${quoted(name)} is not valid`, {
      found: shortened(JSON.stringify(entry)),
      allowed: ['{ dtype, shape, data_offsets }: a string, whole numbers, and the first and last byte'],
    });
  if (!isObject(entry)) throw wrong();
  const { dtype, shape, data_offsets: offsets } = entry;
  if (typeof dtype !== 'string' || !isCounts(shape) || !isCounts(offsets) || offsets.length !== 2) throw wrong();
  const [start = 0, end = 0] = offsets;
  if (start > end) throw wrong();
  return { name, dtype, shape, start, end };
}

const isCounts = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((count) => Number.isSafeInteger(count) && (count as number) >= 0);

/** Sorts the tensors by their bytes. Fails unless they cover the data without gaps or overlaps. */
function checkLayout(tensors: StoredTensor[], dataBytes: number, failure: Failure): void {
  // Empty tensors come before the one that begins at the same offset.
  tensors.sort((first, second) => first.start - second.start || first.end - second.end);
  let end = 0;
  for (const tensor of tensors) {
    if (tensor.start > end) throw hole(end, tensor.start, failure);
    if (tensor.start < end) {
      throw failure(`tensor ${quoted(tensor.name)} overlaps the previous one`, {
        found: `bytes ${tensor.start} to ${tensor.end} of the data, after one that ends at ${end}`,
      });
    }
    if (tensor.end > dataBytes) {
      throw failure(`the file ends inside tensor ${quoted(tensor.name)}`, {
        found: `${dataBytes} bytes of data`,
        allowed: [`${tensor.end} or more`],
      });
    }
    if (!agrees(tensor.dtype, tensor.shape, tensor.end - tensor.start)) {
      throw failure(`the shape and the data of tensor ${quoted(tensor.name)} disagree`, {
        found: `shape [${briefly(tensor.shape)}] of ${tensor.dtype} and ${tensor.end - tensor.start} bytes`,
      });
    }
    end = tensor.end;
  }
  if (end < dataBytes) throw hole(end, dataBytes, failure);
}

const hole = (start: number, end: number, failure: Failure): SparsifyError =>
  failure('part of the data belongs to no tensor', { found: `bytes ${start} to ${end}` });

const shortened = (text: string): string => (text.length > 100 ? `${text.slice(0, 100)}…` : text);

/** A name of any length, shortened for an error. */
export const quoted = (name: string): string => `'${shortened(name)}'`;

/** A list of any length, shortened for an error. */
export const briefly = (numbers: readonly number[]): string =>
  numbers.length > 8 ? `${numbers.slice(0, 8).join(', ')}, …` : numbers.join(', ');
