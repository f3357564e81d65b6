import { SparsifyError } from '../../errors.js';
import { bytesOf, type DataType } from '../../model/model.js';
import { StoredValues } from '../format.js';
import { externalFlag, plainLocation, readEntry } from './external.js';
import { eachNumber, floatData, Scattered } from './scattered.js';
import { fields, integer, integers, text, WireType, type Field, type ModelFile, type Range } from './wire.js';

/** A constant of the model: its shape, and where its numbers are, if it has a type that can be pruned. */
export interface Tensor {
  readonly name: string;
  readonly shape: readonly number[];
  /** The name in onnx.proto, in lower case and with its number of bits. */
  readonly type: string;
  readonly values: StoredValues | undefined;
}

/** `TensorProto.DataType`, by number. */
const typeNames = [
  ...['undefined', 'float32', 'uint8', 'int8', 'uint16', 'int16', 'int32', 'int64', 'string', 'bool', 'float16'],
  ...['float64', 'uint32', 'uint64', 'complex64', 'complex128', 'bfloat16', 'float8e4m3fn', 'float8e4m3fnuz'],
  ...['float8e5m2', 'float8e5m2fnuz', 'uint4', 'int4', 'float4e2m1', 'float8e8m0', 'uint2', 'int2'],
];

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
  const { name, shape, type } = found;
  return { name, shape, type: typeNames[type] ?? `type ${type}`, values: valuesOf(found) };
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

function valuesOf(found: TensorFields): StoredValues | undefined {
  const dtype = typeNames[found.type];
  if (dtype !== 'float32' && dtype !== 'float16' && dtype !== 'bfloat16') return undefined;
  const length = found.shape.reduce((product, size) => product * size, 1);
  if (!Number.isSafeInteger(length) || found.shape.some((size) => size < 0)) throw disagreement(found, dtype);

  const bytes = length * bytesOf[dtype];
  if (found.isExternal) return externalValues(found, dtype, length);
  if (found.raw !== undefined && found.raw.end > found.raw.start) {
    if (found.raw.end - found.raw.start !== bytes) {
      throw disagreement(found, dtype, `${found.raw.end - found.raw.start} bytes`);
    }
    return new StoredValues(dtype, length, found.file.name, found.raw.start);
  }
  let count = 0;
  eachNumber(found.file, found.range, dtype, () => count++);
  if (count !== length) throw disagreement(found, dtype, `${count} numbers`);
  const { floats, floatFields } = found;
  const isOneArray = dtype === 'float32' && floatFields === 1 && floats?.type === WireType.LengthDelimited;
  if (isOneArray) return new StoredValues(dtype, length, found.file.name, floats.start);
  const { start, end } = found.range;
  return new StoredValues(dtype, length, found.file.name, start, end - start, new Scattered(dtype, length));
}

function externalValues(found: TensorFields, dtype: DataType, length: number): StoredValues {
  const bytes = length * bytesOf[dtype];
  const start = Number(found.entries.get('offset') ?? 0);
  const stated = Number(found.entries.get('length') ?? bytes);
  if (!Number.isSafeInteger(start) || start < 0 || stated !== bytes) {
    throw disagreement(found, dtype, `${found.entries.get('length')} bytes at ${found.entries.get('offset')}`);
  }
  const location = plainLocation(found.entries.get('location') ?? '');
  return new StoredValues(dtype, length, location, start);
}

function disagreement({ file, name, shape }: TensorFields, dtype: DataType, data?: string): SparsifyError {
  return new SparsifyError('format', `the shape and the data of tensor '${name}' disagree`, {
    subject: file.name,
    found: `shape [${shape.slice(0, 8).join(', ')}] of ${dtype}${data === undefined ? '' : ` and ${data}`}`,
    hint: 'The file is damaged, or its weights were removed. Export or download it again',
  });
}
