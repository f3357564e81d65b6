import { SparsifyError } from '../../errors.js';
import { productOf, widened } from '../../model/numbers.js';
import { StoredValues } from '../format.js';
import { externalFlag, plainLocation, readEntry } from './external.js';
import { eachNumber, floatData, Scattered, widths, type NumberType } from './scattered.js';
import { bitsOf, typeName } from './types.js';
import { fields, integer, integers, text, WireType, type Field, type ModelFile, type Range } from './wire.js';

/** A constant of the model: its shape, and where its numbers are, if it has a type that can be pruned. */
export interface Tensor {
  readonly name: string;
  readonly shape: readonly number[];
  /** The name in onnx.proto, in lower case and with its number of bits. */
  readonly type: string;
  /** How many numbers are stored: for a sparse tensor those that are listed. */
  readonly length: number;
  readonly isSparse: boolean;
  /** The numbers, if they are floats of 32 or 16 bits. */
  readonly values: StoredValues | undefined;
  /** The numbers, if they are integers of 8 to 32 bits. */
  readonly codes: StoredCodes | undefined;
  /** The numbers, if they are integers of 2 or 4 bits, of which a byte holds several. */
  readonly packedCodes?: Pick<StoredCodes, 'file' | 'start' | 'bytes'> | undefined;
  /** A short list of integers, such as a shape. */
  readonly integers: readonly number[] | undefined;
  /** The floats, unless they are in another file or so many that they are no parameters. */
  readonly floats?: () => readonly number[] | undefined;
}

/** Integers of a model, and where they are in its files. */
export interface StoredCodes {
  readonly type: NumberType;
  readonly length: number;
  readonly file: string;
  readonly start: number;
  readonly bytes: number;
  /** How they are stored if they are not a plain array. */
  readonly scattered: Scattered | undefined;
}

/** The most integers that a list such as a shape has. */
const longestList = 64;

/** The most floats that a parameter of an operator has: one for each channel. */
const mostParameters = 1 << 16;

/** The fields of a `TensorProto`. */
interface TensorFields {
  readonly file: ModelFile;
  readonly range: Range;
  name: string;
  readonly shape: number[];
  type: number;
  isExternal: boolean;
  raw: Field | undefined;
  /** The first `float_data` field, and how many there are. A single packed field contains all numbers. */
  floats: Field | undefined;
  floatFields: number;
  readonly entries: Map<string, string>;
}

/** Reads the `TensorProto` in `range`. @throws SparsifyError `format` if its data do not match its shape */
export function readTensor(file: ModelFile, range: Range): Tensor {
  const found: TensorFields = {
    file,
    range,
    name: '',
    shape: [],
    type: 0,
    isExternal: false,
    raw: undefined,
    floats: undefined,
    floatFields: 0,
    entries: new Map(),
  };
  for (const field of fields(file, range, 'tensor')) readField(found, field);
  const { name, shape } = found;
  const type = typeName(found.type);
  const length = lengthOf(found);
  const tensor = { name, shape, type, length, isSparse: false, values: undefined, codes: undefined };
  if (!Object.hasOwn(widths, type))
    return { ...tensor, packedCodes: packedPlace(found, length), integers: shortList(found) };
  const place = placeOf(found, type as NumberType, length);
  if (type === 'float32' || type === 'float16' || type === 'bfloat16') {
    const values = new StoredValues(type, length, place.file, place.start, place.bytes, place.scattered);
    return { ...tensor, values, integers: undefined, floats: floatsOf(found.file, values) };
  }
  const codes = { type: type as NumberType, length, ...place };
  return { ...tensor, codes, integers: shortList(found) };
}

/** Reads a `SparseTensorProto`, whose name is that of its values. */
export function readSparseTensor(file: ModelFile, range: Range): Tensor {
  let values: Tensor | undefined;
  const shape: number[] = [];
  for (const field of fields(file, range, 'sparseTensor')) {
    const isBytes = field.type === WireType.LengthDelimited;
    if (field.number === 1 && isBytes) values = readTensor(file, field);
    else if (field.number === 3 && (isBytes || field.type === WireType.Varint)) {
      for (const size of integers(file, field, 'sparseTensor')) shape.push(size);
    }
  }
  const { name = '', type = typeName(0), length = 0 } = values ?? {};
  return { name, shape, type, length, isSparse: true, values: undefined, codes: undefined, integers: undefined };
}

/** A number or a list that is stored in an attribute. */
export function listOf(
  { integers, floats }: Partial<Record<'integers' | 'floats', readonly number[]>>,
  isScalar: boolean,
): Tensor {
  const { length } = (integers ?? floats)!;
  const nothing = { isSparse: false, values: undefined, codes: undefined };
  const type = floats === undefined ? 'int64' : 'float32';
  return {
    name: '',
    shape: isScalar ? [] : [length],
    type,
    length,
    ...nothing,
    integers: length > longestList ? undefined : integers,
    floats: () => (length > mostParameters ? undefined : floats),
  };
}

function readField(found: TensorFields, field: Field): void {
  const { file } = found;
  const isBytes = field.type === WireType.LengthDelimited;
  const isInteger = field.type === WireType.Varint;
  if (field.number === 1 && (isInteger || isBytes)) {
    for (const size of integers(file, field, 'tensor')) found.shape.push(size);
  } else if (field.number === 2 && isInteger) {
    found.type = integer(file, field, 'tensor');
  } else if (field.number === floatData.number) {
    found.floats ??= field;
    found.floatFields++;
  } else if (field.number === 8 && isBytes) {
    found.name = text(file, field);
  } else if (field.number === 9 && isBytes) {
    found.raw = field;
  } else if (field.number === 13 && isBytes) {
    const { key, value } = readEntry(file, field);
    if (value !== undefined) found.entries.set(key, text(file, value));
  } else if (field.number === 14 && isInteger) {
    found.isExternal = integer(file, field, 'tensor') === externalFlag;
  }
}

function lengthOf(found: TensorFields): number {
  const length = productOf(found.shape);
  if (!Number.isSafeInteger(length) || found.shape.some((size) => size < 0)) throw disagreement(found);
  return length;
}

type Place = Pick<StoredCodes, 'file' | 'start' | 'bytes' | 'scattered'>;

function placeOf(found: TensorFields, type: NumberType, length: number): Place {
  const bytes = length * widths[type];
  const scattered = undefined;
  if (found.isExternal) return { ...externalPlace(found, bytes), bytes, scattered };
  const file = found.file.name;
  if (found.raw !== undefined && found.raw.end > found.raw.start) {
    if (found.raw.end - found.raw.start !== bytes) {
      throw disagreement(found, `${found.raw.end - found.raw.start} bytes`);
    }
    return { file, start: found.raw.start, bytes, scattered };
  }
  let count = 0;
  eachNumber(found.file, found.range, type, () => count++);
  if (count !== length) throw disagreement(found, `${count} numbers`);
  const { floats, floatFields } = found;
  const isOneArray = type === 'float32' && floatFields === 1 && floats?.type === WireType.LengthDelimited;
  if (isOneArray) return { file, start: floats.start, bytes, scattered };
  const { start, end } = found.range;
  return { file, start, bytes: end - start, scattered: new Scattered(type, length) };
}

/** Where integers of 2 or 4 bits are; undefined for others, and those that are not in `raw_data` or external data. */
function packedPlace(found: TensorFields, length: number): Tensor['packedCodes'] {
  const type = typeName(found.type);
  if (!/^u?int[24]$/.test(type)) return undefined;
  const bytes = Math.ceil((length * bitsOf(type)) / 8);
  if (found.isExternal) return { ...externalPlace(found, bytes), bytes };
  const { raw, file } = found;
  return raw !== undefined && raw.end - raw.start === bytes ? { file: file.name, start: raw.start, bytes } : undefined;
}

function externalPlace(found: TensorFields, bytes: number): Pick<Place, 'file' | 'start'> {
  const start = Number(found.entries.get('offset') ?? 0);
  const stated = Number(found.entries.get('length') ?? bytes);
  if (!Number.isSafeInteger(start) || start < 0 || stated !== bytes) {
    throw disagreement(found, `${found.entries.get('length')} bytes at ${found.entries.get('offset')}`);
  }
  return { file: plainLocation(found.entries.get('location') ?? ''), start };
}

/** The numbers of a short list of integers of 64 or 32 bits, or of booleans, that is in the file itself. */
function shortList({ file, range, type, shape, raw, isExternal }: TensorFields): number[] | undefined {
  const length = shape[0] ?? 1;
  const lists = {
    int64: { width: 8, number: 7 },
    int32: { width: 4, number: 5 },
    bool: { width: 1, number: 5 },
  } as const;
  const stored = lists[typeName(type) as keyof typeof lists] as (typeof lists)[keyof typeof lists] | undefined;
  if (stored === undefined || isExternal || shape.length > 1 || length > longestList) return undefined;
  const { width, number } = stored;
  const list: number[] = [];
  if (raw !== undefined && raw.end > raw.start) {
    const view = new DataView(file.bytes.buffer, file.bytes.byteOffset + raw.start, raw.end - raw.start);
    for (let at = 0; at + width <= view.byteLength; at += width) {
      if (width === 1) list.push(view.getUint8(at));
      else list.push(width === 8 ? Number(view.getBigInt64(at, true)) : view.getInt32(at, true));
    }
  } else {
    for (const field of fields(file, range, 'tensor')) {
      const isList = field.type === WireType.LengthDelimited || field.type === WireType.Varint;
      if (field.number === number && isList) for (const each of integers(file, field, 'tensor')) list.push(each);
    }
  }
  return list.length === length ? list : undefined;
}

/** Reads the floats once, when they are first asked for. */
function floatsOf({ name, bytes }: ModelFile, values: StoredValues): () => readonly number[] | undefined {
  const { file, start, bytes: size, length, dtype, coding } = values;
  if (file !== name || length > mostParameters) return () => undefined;
  const read = () => {
    const stored = bytes.slice(start, start + size);
    // A scattered tensor decodes without waiting.
    return [...widened(coding ? (coding.decode(stored, undefined) as Uint8Array) : stored, dtype)];
  };
  let floats: readonly number[] | undefined;
  return () => (floats ??= read());
}

function disagreement({ file, name, shape, type }: TensorFields, data?: string): SparsifyError {
  return new SparsifyError('format', `the shape and the data of tensor '${name}' disagree`, {
    subject: file.name,
    found: `shape [${shape.slice(0, 8).join(', ')}] of ${typeName(type)}${data === undefined ? '' : ` and ${data}`}`,
    hint: 'The file is damaged, or its weights were removed. Export or download it again',
  });
}
