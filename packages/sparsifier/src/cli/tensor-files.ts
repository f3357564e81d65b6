import * as host from '#host';
import { positionsOf } from '../analysis/comparison/axes.js';
import { arrayOf, type NumberType, type SessionTensor } from '../analysis/comparison/inputs.js';
import { SparsifyError } from '../errors.js';
import { newBytes, usualReading } from '../host/reading.js';
import { readHeader } from '../formats/safetensors/header.js';
import { productOf } from '../model/numbers.js';

/** Tensors by name, each of which is decoded when it is needed. */
export type LazyTensors = ReadonlyMap<string, () => SessionTensor>;

/** The name of the array of an .npy file, which does not name it. */
export const nameless = '';

/**
 * Reads an .npz, .npy or .safetensors file.
 * @throws SparsifyError `file` if it cannot be read, `format` if it is none of them; and from a tensor's function, `format`
 *   if its numbers cannot be read
 */
export async function readTensors(path: string): Promise<LazyTensors> {
  const source = await host.open(path, usualReading);
  try {
    const bytes = newBytes(source.size, path);
    await source.read(bytes, 0);
    if (begins(bytes, 'PK')) return await readNpz(bytes, path);
    if (begins(bytes, npyMagic)) return new Map([[nameless, () => readNpy(bytes, path)]]);
    const { tensors } = await readHeader(source);
    return new Map(
      tensors.map(({ name, dtype, shape, start, end }) => [
        name,
        () => tensorOf(typeIn(typesOfSafetensors, dtype, path, name), shape, bytes.subarray(start, end)),
      ]),
    );
  } finally {
    await source.close();
  }
}

const begins = (bytes: Uint8Array, text: string): boolean =>
  String.fromCharCode(...bytes.subarray(0, text.length)) === text;

const typesOfSafetensors: Readonly<Record<string, NumberType>> = {
  F16: 'float16',
  F32: 'float32',
  F64: 'float64',
  I8: 'int8',
  I16: 'int16',
  I32: 'int32',
  I64: 'int64',
  U8: 'uint8',
  U16: 'uint16',
  U32: 'uint32',
  U64: 'uint64',
  BOOL: 'bool',
};

const typesOfNumpy: Readonly<Record<string, NumberType>> = {
  '<f2': 'float16',
  '<f4': 'float32',
  '<f8': 'float64',
  '|i1': 'int8',
  '<i2': 'int16',
  '<i4': 'int32',
  '<i8': 'int64',
  '|u1': 'uint8',
  '<u2': 'uint16',
  '<u4': 'uint32',
  '<u8': 'uint64',
  '|b1': 'bool',
};

/** The last code point of Unicode. */
const lastCodePoint = 0x10ffff;

/** Texts of at most so many code points. Of texts without any, few bytes could stand for any number. */
const textType = /^<U([1-9]\d*)$/;

/** The most bytes that the header of an array may have. NumPy writes less than a thousand. */
const longestHeader = 2 ** 20;

const npyMagic = '\x93NUMPY';

/** The most bytes that the arrays of an .npz file may have. Few bytes can stand for many. */
const mostUnpacked = 2 ** 32;

/** An .npz file is a ZIP file of .npy files. */
async function readNpz(bytes: Uint8Array<ArrayBuffer>, path: string): Promise<LazyTensors> {
  const { unzipSync } = await import('fflate');
  let files: Record<string, Uint8Array>;
  let unpacked = 0;
  try {
    files = unzipSync(bytes, {
      filter: ({ size, originalSize }) => {
        // None gets more bytes than it says that it has.
        unpacked += Math.max(size, originalSize);
        if (unpacked <= mostUnpacked) return true;
        throw new SparsifyError('file', 'the arrays of the file are too large', {
          subject: path,
          found: `more than ${mostUnpacked} bytes`,
          hint: 'Split them into several files',
        });
      },
    });
  } catch (cause) {
    if (cause instanceof SparsifyError) throw cause;
    throw notRead(path, (cause as Error).message);
  }
  return new Map(
    Object.entries(files).map(([name, content]) => [
      name.replace(/\.npy$/, ''),
      () => readNpy(content as Uint8Array<ArrayBuffer>, path, name),
    ]),
  );
}

const notRead = (path: string, found: string): SparsifyError =>
  new SparsifyError('format', 'the file could not be read as NumPy writes it', {
    subject: path,
    found,
    hint: 'Save it again with numpy.savez',
  });

/**
 * An .npy file: 6 bytes of magic, a version, the length of a header in Python's syntax, the header, and the numbers.
 * @param name of the file within an .npz file
 */
function readNpy(bytes: Uint8Array<ArrayBuffer>, path: string, name = 'the array'): SessionTensor {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length < 12 || !begins(bytes, npyMagic)) throw notRead(path, `${name}, which is no array`);
  const [start, length] = bytes[6] === 1 ? [10, view.getUint16(8, true)] : [12, view.getUint32(8, true)];
  if (length > longestHeader) throw notRead(path, `${name}, whose header has ${length} bytes`);
  const header = new TextDecoder().decode(bytes.subarray(start, start + length));
  const sizes = /'shape': *\(([\d, ]*)\)/.exec(header)?.[1];
  if (sizes === undefined) throw notRead(path, `${name}, whose header is ${header.trim().slice(0, 100) || 'empty'}`);
  const shape = sizes.split(',').flatMap((size) => (size.trim() === '' ? [] : [Number(size)]));
  if (!shape.every(Number.isSafeInteger)) throw notRead(path, `${name}, whose shape is (${sizes.slice(0, 100)})`);
  const descr = /'descr': *'([^']+)'/.exec(header)?.[1] ?? 'a structure';
  const width = textType.exec(descr)?.[1];
  const type = width === undefined ? typeIn(typesOfNumpy, descr, path, name) : undefined;
  const values = bytes.subarray(start + length);
  const size = type === undefined ? 4 * Number(width) : arrayOf[type].BYTES_PER_ELEMENT;
  const needed = shape.reduce((product, each) => product * each, size);
  if (values.length !== needed) throw notRead(path, `${name} with ${values.length} of ${needed} bytes`);
  const tensor =
    type === undefined
      ? textsOf(shape, values, Number(width), () => notRead(path, name))
      : tensorOf(type, shape, values);
  return /'fortran_order': *True/.test(header) ? transposed(tensor) : tensor;
}

function typeIn(types: Readonly<Record<string, NumberType>>, given: string, path: string, name: string): NumberType {
  if (Object.hasOwn(types, given)) return types[given]!;
  throw new SparsifyError('format', `the numbers of ${name} have a type that models do not take`, {
    subject: path,
    found: given,
    allowed: Object.keys(types),
  });
}

interface Tensor extends SessionTensor {
  readonly data: Float32Array | string[];
}

/** A tensor of numbers that may not be aligned, so that they are copied. */
function tensorOf(type: NumberType, dims: readonly number[], bytes: Uint8Array<ArrayBuffer>): Tensor {
  const data = new arrayOf[type as 'float32'](bytes.slice().buffer);
  return { type, dims, data, location: 'cpu' };
}

/** A tensor of texts, each of which has `width` code points of 32 bits, of which the last ones are 0. */
function textsOf(
  dims: readonly number[],
  bytes: Uint8Array<ArrayBuffer>,
  width: number,
  failure: () => SparsifyError,
): Tensor {
  const points = new Uint32Array(bytes.slice().buffer);
  if (points.some((point) => point > lastCodePoint)) throw failure();
  const data = Array.from({ length: productOf(dims) }, (_, index) => {
    const text = points.subarray(index * width, (index + 1) * width);
    let length = text.length;
    while (length > 0 && text[length - 1] === 0) length--;
    // One by one, since a call takes a limited number of arguments.
    return Array.from(text.subarray(0, length), (point) => String.fromCodePoint(point)).join('');
  });
  return { type: 'string', dims, data, location: 'cpu' };
}

/** A tensor whose first axis is contiguous, with its last axis contiguous instead. */
function transposed({ dims, data, ...rest }: Tensor): Tensor {
  const positions = positionsOf(
    [...dims].reverse(),
    dims.map((_, axis) => dims.length - 1 - axis),
  );
  return { ...rest, dims, data: (data as Float32Array).map((_, index) => (data as Float32Array)[positions[index]!]!) };
}
