// Writes ONNX files for tests, independently of the library under test: each function gives the bytes of one message.

type Bytes = Uint8Array<ArrayBuffer>;

export function concat(...parts: readonly Uint8Array[]): Bytes {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** Negative numbers take ten bytes, as in protobuf. */
export function varint(number: number): Bytes {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(number));
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  bytes.push(Number(rest));
  return Uint8Array.from(bytes);
}

/** A length-delimited field. */
export const bytesField = (number: number, value: Uint8Array): Bytes =>
  concat(varint((number << 3) | 2), varint(value.length), value);
export const textField = (number: number, value: string): Bytes => bytesField(number, new TextEncoder().encode(value));
export const integerField = (number: number, value: number): Bytes => concat(varint(number << 3), varint(value));

const types = {
  ...{ float32: 1, float16: 10, bfloat16: 16, float64: 11, float8e4m3fn: 17 },
  ...{ int8: 3, uint8: 2, int16: 5, uint16: 4, int32: 6, int64: 7, bool: 9 },
} as const;
export type DataType = keyof typeof types;
const sizes: Record<DataType, number> = {
  ...{ float32: 4, float16: 2, bfloat16: 2, float64: 8, float8e4m3fn: 1 },
  ...{ int8: 1, uint8: 1, int16: 2, uint16: 2, int32: 4, int64: 8, bool: 1 },
};

/** The numbers 1, 2, 3, ... as they are stored in `raw_data`; half-precision ones as bits. */
export function rawNumbers(dtype: DataType, count: number): Bytes {
  const bytes = new Uint8Array(count * sizes[dtype]);
  const view = new DataView(bytes.buffer);
  for (let index = 0; index < count; index++) {
    if (dtype === 'float32') view.setFloat32(index * 4, index + 1, true);
    else if (dtype === 'float64') view.setFloat64(index * 8, index + 1, true);
    else if (dtype === 'int64') view.setBigInt64(index * 8, BigInt(index + 1), true);
    else if (dtype === 'int32') view.setInt32(index * 4, index + 1, true);
    else if (sizes[dtype] === 1) view.setUint8(index, index + 1);
    else view.setUint16(index * 2, halfBits(index), true);
  }
  return bytes;
}

/** Numbers of all sizes between -1 and 1, as they are stored in `raw_data`; those of another seed are others. */
export function mixedNumbers(count: number, seed: number): Bytes {
  const numbers = Float32Array.from({ length: count }, (_, index) =>
    Math.sin(1000 * Math.sin(index + 1 + 1000 * seed)),
  );
  return new Uint8Array(numbers.buffer);
}

/** Bits whose varints are one, two and three bytes long in turn. */
const halfBits = (index: number): number => [0x01, 0x3c0, 0xbc00][index % 3]! + index;

export interface TensorOptions {
  readonly dtype?: DataType;
  /** `raw_data`, or `float_data` / `int32_data` with or without packing; `none` leaves the data out. */
  readonly storage?: 'raw' | 'packed' | 'unpacked' | 'two pieces' | 'none';
  readonly external?: Readonly<Record<string, string | number>>;
  /** By default the numbers 1, 2, 3, ... */
  readonly data?: Uint8Array;
}

/** The bytes of these numbers, as they are stored in `raw_data`. */
export function numbers(
  dtype: 'float32' | 'int8' | 'uint8' | 'int16' | 'uint16' | 'int32' | 'int64',
  list: readonly number[],
): Bytes {
  if (dtype === 'int64') return new Uint8Array(BigInt64Array.from(list, BigInt).buffer);
  const arrays = {
    float32: Float32Array,
    int8: Int8Array,
    uint8: Uint8Array,
    int16: Int16Array,
    uint16: Uint16Array,
    int32: Int32Array,
  };
  return new Uint8Array(arrays[dtype].from(list).buffer);
}

/** A list of integers, such as a shape. */
export const list = (name: string, ...values: readonly number[]): Bytes =>
  tensor(name, [values.length], { dtype: 'int64', data: numbers('int64', values) });

/** A `SparseTensorProto` in which the first `count` numbers are stored. */
export const sparseTensor = (name: string, shape: readonly number[], count: number): Bytes =>
  concat(
    bytesField(1, tensor(name, [count])),
    bytesField(2, tensor('', [count], { dtype: 'int64' })),
    ...shape.map((size) => integerField(3, size)),
  );

/** A `TensorProto`. */
export function tensor(name: string, shape: readonly number[], options: TensorOptions = {}): Bytes {
  const { dtype = 'float32', storage = 'raw', external } = options;
  const count = shape.reduce((product, size) => product * size, 1);
  const data = options.data ?? rawNumbers(dtype, count);
  return concat(
    ...shape.map((size) => integerField(1, size)),
    integerField(2, types[dtype]),
    textField(8, name),
    ...(external ? [integerField(14, 1), ...entries(external)] : dataFields(dtype, storage, data)),
  );
}

function entries(external: Readonly<Record<string, string | number>>): Bytes[] {
  return Object.entries(external).map(([key, value]) =>
    bytesField(13, concat(textField(1, key), textField(2, String(value)))),
  );
}

function dataFields(dtype: DataType, storage: TensorOptions['storage'], data: Uint8Array): Bytes[] {
  if (storage === 'none') return [];
  if (storage === 'raw') return [bytesField(9, data)];
  const isFloat = dtype === 'float32';
  const number = isFloat ? 4 : 5;
  const elements: Bytes[] = [];
  for (let at = 0; at < data.length; at += sizes[dtype]) {
    elements.push(isFloat ? concat(data.subarray(at, at + 4)) : varint(integerAt(data, at, dtype)));
  }
  if (storage === 'packed') return [bytesField(number, concat(...elements))];
  if (storage === 'two pieces') {
    return [bytesField(number, concat(...elements.slice(0, 1))), bytesField(number, concat(...elements.slice(1)))];
  }
  return elements.map((element) => concat(varint((number << 3) | (isFloat ? 5 : 0)), element));
}

/** 16-bit floats are stored as their bits. */
function integerAt(data: Uint8Array, at: number, dtype: DataType): number {
  const view = new DataView(data.buffer, data.byteOffset + at);
  if (sizes[dtype] === 1) return dtype === 'int8' ? view.getInt8(0) : view.getUint8(0);
  if (sizes[dtype] === 4) return view.getInt32(0, true);
  return dtype === 'int16' ? view.getInt16(0, true) : view.getUint16(0, true);
}

export const integerAttribute = (name: string, value: number): Bytes =>
  concat(textField(1, name), integerField(3, value), integerField(20, 2));
export const floatAttribute = (name: string, value: number): Bytes =>
  concat(textField(1, name), varint((2 << 3) | 5), numbers('float32', [value]), integerField(20, 1));
export const floatsAttribute = (name: string, values: readonly number[]): Bytes =>
  concat(
    textField(1, name),
    ...values.map((value) => concat(varint((7 << 3) | 5), numbers('float32', [value]))),
    integerField(20, 6),
  );
export const textAttribute = (name: string, value: string): Bytes =>
  concat(textField(1, name), textField(4, value), integerField(20, 3));
export const integersAttribute = (name: string, values: readonly number[]): Bytes =>
  concat(textField(1, name), ...values.map((value) => integerField(8, value)), integerField(20, 7));
export const tensorAttribute = (name: string, value: Uint8Array): Bytes =>
  concat(textField(1, name), bytesField(5, value), integerField(20, 4));
export const graphAttribute = (name: string, value: Uint8Array): Bytes =>
  concat(textField(1, name), bytesField(6, value), integerField(20, 5));

export interface NodeOptions {
  readonly name?: string;
  readonly domain?: string;
  readonly attributes?: readonly Uint8Array[];
}

/** A `NodeProto`; inputs and outputs are lists of names with spaces between them, `-` for one that is left out. */
export function node(op: string, inputs: string, outputs: string, options: NodeOptions = {}): Bytes {
  const names = (list: string) =>
    list
      .split(' ')
      .filter((name) => name !== '')
      .map((name) => (name === '-' ? '' : name));
  return concat(
    ...names(inputs).map((name) => textField(1, name)),
    ...names(outputs).map((name) => textField(2, name)),
    ...(options.name ? [textField(3, options.name)] : []),
    textField(4, op),
    ...(options.attributes ?? []).map((attribute) => bytesField(5, attribute)),
    ...(options.domain ? [textField(7, options.domain)] : []),
  );
}

/** A `Constant` node with a tensor. */
export const constant = (name: string, shape: readonly number[], options?: TensorOptions): Bytes =>
  node('Constant', '', name, { attributes: [tensorAttribute('value', tensor('', shape, options))] });

/** A `NodeProto.attribute` of a local function that takes its value from the call. */
export const referenceAttribute = (name: string, from: string): Bytes =>
  concat(textField(1, name), textField(21, from));

/** A `FunctionProto`; inputs and outputs are lists of names with spaces between them. */
export const localFunction = (
  domain: string,
  name: string,
  inputs: string,
  outputs: string,
  ...nodes: Uint8Array[]
): Bytes =>
  concat(
    textField(1, name),
    ...inputs.split(' ').map((input) => textField(4, input)),
    ...outputs.split(' ').map((output) => textField(5, output)),
    ...nodes.map((bytes) => bytesField(7, bytes)),
    bytesField(9, integerField(2, 17)),
    textField(10, domain),
  );

export interface GraphOptions {
  readonly nodes?: readonly Uint8Array[];
  readonly initializers?: readonly Uint8Array[];
  readonly sparse?: readonly Uint8Array[];
  /** Names, with the number of axes or their sizes where these are given, or with sizes and a type. */
  readonly inputs?: Readonly<Record<string, number | readonly number[] | ValueInfo | undefined>>;
  readonly outputs?: Readonly<Record<string, number | readonly number[] | ValueInfo | undefined>>;
  /** What `value_info` says of other values. */
  readonly values?: Readonly<Record<string, number | readonly number[] | ValueInfo | undefined>>;
}

/** The sizes of a value, or the names of those that are not fixed, and the number of its type: 1 (float32) by default. */
interface ValueInfo {
  readonly shape: readonly (number | string)[];
  readonly type?: number;
}

/** A `GraphProto`. */
export function graph({
  nodes = [],
  initializers = [],
  sparse = [],
  inputs = {},
  outputs = {},
  values = {},
}: GraphOptions): Bytes {
  return concat(
    ...nodes.map((bytes) => bytesField(1, bytes)),
    textField(2, 'graph'),
    ...initializers.map((bytes) => bytesField(5, bytes)),
    ...sparse.map((bytes) => bytesField(15, bytes)),
    ...Object.entries(inputs).map(([name, stated]) => bytesField(11, valueInfo(name, stated))),
    ...Object.entries(outputs).map(([name, stated]) => bytesField(12, valueInfo(name, stated))),
    ...Object.entries(values).map(([name, stated]) => bytesField(13, valueInfo(name, stated))),
  );
}

function valueInfo(name: string, stated: number | readonly number[] | ValueInfo | undefined): Bytes {
  const { shape, type = 1 } = infoOf(stated);
  const axes = shape?.map((size) =>
    bytesField(1, typeof size === 'number' ? integerField(1, size) : textField(2, size)),
  );
  const fields = axes === undefined ? [] : [bytesField(2, concat(...axes))];
  return concat(textField(1, name), bytesField(2, bytesField(1, concat(integerField(1, type), ...fields))));
}

function infoOf(stated: number | readonly number[] | ValueInfo | undefined): Partial<ValueInfo> {
  if (typeof stated === 'number') return { shape: Array<string>(stated).fill('n') };
  return Array.isArray(stated) ? { shape: stated as readonly number[] } : ((stated ?? {}) as Partial<ValueInfo>);
}

/** A `ModelProto`, with a field that no version of onnx.proto knows. Functions are of the domain `my.own`. */
export function model(options: GraphOptions, opset = 17, functions: readonly Uint8Array[] = []): Bytes {
  return concat(
    integerField(1, 8),
    textField(2, 'test'),
    bytesField(8, integerField(2, opset)),
    bytesField(7, graph(options)),
    ...(functions.length > 0 ? [bytesField(8, concat(textField(1, 'my.own'), integerField(2, 1)))] : []),
    ...functions.map((bytes) => bytesField(25, bytes)),
    textField(1000, 'a field of the future'),
  );
}
