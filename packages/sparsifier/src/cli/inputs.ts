import * as host from '#host';
import { positionsOf } from '../analysis/comparison/axes.js';
import {
  arrayOf,
  checkInputs,
  seededInputs,
  type InputHints,
  type Inputs,
  type NumberType,
  type SessionTensor,
} from '../analysis/comparison/inputs.js';
import type { ChooseInputs } from '../analysis/comparison/outputs.js';
import { SparsifyError } from '../errors.js';
import type { Source } from '../host/host.js';
import { readHeader } from '../formats/safetensors/header.js';

/** The options of the command line for the inputs of models. */
export interface InputOptions {
  readonly input?: string[] | undefined;
  readonly inputs?: string | undefined;
}

const hints: InputHints = {
  shape: (name, sizes) => `Give its shape: --input ${name}:${sizes.join()}, with numbers for N`,
  inputs: 'Give the inputs: --inputs file.npz',
};

/** The inputs that the options describe. Files are read at once. */
export async function chooseInputs({ input, inputs }: InputOptions): Promise<ChooseInputs> {
  if (inputs === undefined) {
    const shapes = parseShapes(input ?? []);
    return (metadata) => [seededInputs(metadata, shapes, hints)];
  }
  if (input !== undefined) {
    throw new SparsifyError('usage', '--input is for random values, and --inputs for those of a file', {
      hint: 'Give one of them',
    });
  }
  const tensors = await readTensors(inputs);
  return (metadata) => {
    const samples = samplesIn(tensors, new Set(metadata.map(({ name }) => name)));
    for (const sample of samples) checkInputs(metadata, sample);
    return samples;
  };
}

/** `x:1,3,48,320`, any number of times, split at the last `:`. */
function parseShapes(texts: readonly string[]): Record<string, number[]> {
  return Object.fromEntries(
    texts.map((text) => {
      const [, name, sizes] = /^(.+):(\d+(?:,\d+)*)?$/.exec(text) ?? [];
      if (name !== undefined) return [name, sizes === undefined ? [] : sizes.split(',').map(Number)];
      throw new SparsifyError('usage', 'the shape of an input is written name:1,3,48,320', {
        given: text || 'nothing',
      });
    }),
  );
}

/** The tensors as one sample, or as several if their names are those of inputs behind numbers: `0.x`, `1.x`. */
function samplesIn(tensors: ReadonlyMap<string, SessionTensor>, inputs: ReadonlySet<string>): Inputs[] {
  const samples = new Map<string, Record<string, SessionTensor>>();
  for (const [name, tensor] of tensors) {
    const [, number = '', rest = ''] = /^(\d+)\.(.+)$/.exec(name) ?? [];
    const [key, own] = !inputs.has(name) && inputs.has(rest) ? [number, rest] : ['', name];
    samples.set(key, { ...samples.get(key), [own]: tensor });
  }
  // What is not an input, such as labels, may be in the file, too.
  const numbered = [...samples].filter(([key]) => key !== '').map(([, sample]) => sample);
  return numbered.length > 0 ? numbered : [...samples.values()];
}

/** The arrays in an .npz or .safetensors file, by name. */
async function readTensors(path: string): Promise<Map<string, SessionTensor>> {
  const source = await host.open(path);
  try {
    const head = await bytesOf(source, 0, Math.min(6, source.size));
    const magic = String.fromCharCode(...head);
    if (magic.startsWith('PK')) return await readNpz(await bytesOf(source, 0, source.size), path);
    if (magic === npyMagic) {
      throw new SparsifyError('format', 'an .npy file does not name its array', {
        subject: path,
        hint: 'Save it with its name: numpy.savez("inputs.npz", x=array)',
      });
    }
    return await readSafetensors(source, path);
  } finally {
    await source.close();
  }
}

async function bytesOf(source: Source, start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(end - start);
  await source.read(bytes, start);
  return bytes;
}

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

async function readSafetensors(source: Source, path: string): Promise<Map<string, SessionTensor>> {
  const { tensors } = await readHeader(source);
  const read = tensors.map(async ({ name, dtype, shape, start, end }) => {
    const type = typeIn(typesOfSafetensors, dtype, path, name);
    return [name, tensorOf(type, shape, await bytesOf(source, start, end))] as const;
  });
  return new Map(await Promise.all(read));
}

const npyMagic = '\x93NUMPY';
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

/** An .npz file is a ZIP file of .npy files. */
async function readNpz(bytes: Uint8Array<ArrayBuffer>, path: string): Promise<Map<string, SessionTensor>> {
  const { unzipSync } = await import('fflate');
  let files: Record<string, Uint8Array>;
  try {
    files = unzipSync(bytes);
  } catch (cause) {
    throw notRead(path, (cause as Error).message);
  }
  return new Map(
    Object.entries(files).map(([name, content]) => [
      name.replace(/\.npy$/, ''),
      readNpy(content as Uint8Array<ArrayBuffer>, path, name),
    ]),
  );
}

const notRead = (path: string, found: string): SparsifyError =>
  new SparsifyError('format', 'the file could not be read as .npz', {
    subject: path,
    found,
    hint: 'Save it again with numpy.savez',
  });

/** An .npy file: 6 bytes of magic, a version, the length of a header in Python's syntax, the header, and the numbers. */
function readNpy(bytes: Uint8Array<ArrayBuffer>, path: string, name: string): SessionTensor {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length < 12 || String.fromCharCode(...bytes.subarray(0, 6)) !== npyMagic) {
    throw notRead(path, `${name}, which is no array`);
  }
  const [start, length] = bytes[6] === 1 ? [10, view.getUint16(8, true)] : [12, view.getUint32(8, true)];
  const header = new TextDecoder().decode(bytes.subarray(start, start + length));
  const sizes = /'shape': *\(([\d, ]*)\)/.exec(header)?.[1];
  if (sizes === undefined) throw notRead(path, `${name}, whose header is ${header.trim().slice(0, 100) || 'empty'}`);
  const shape = sizes.split(',').flatMap((size) => (size.trim() === '' ? [] : [Number(size)]));
  const descr = /'descr': *'([^']+)'/.exec(header)?.[1] ?? 'a structure';
  const type = typeIn(typesOfNumpy, descr, path, name);
  const numbers = bytes.subarray(start + length);
  const needed = lengthOf(shape) * arrayOf[type].BYTES_PER_ELEMENT;
  if (numbers.length !== needed) throw notRead(path, `${name} with ${numbers.length} of ${needed} bytes`);
  if (!/'fortran_order': *True/.test(header)) return tensorOf(type, shape, numbers);
  // The first axis is contiguous: these are the numbers of the transposed array.
  const last = shape.length - 1;
  const positions = positionsOf(
    [...shape].reverse(),
    shape.map((_, axis) => last - axis),
  );
  const { data, ...rest } = tensorOf(type, shape, numbers);
  return { ...rest, data: data.map((_, index) => data[positions[index]!]!) };
}

const lengthOf = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1);

function typeIn(types: Readonly<Record<string, NumberType>>, given: string, path: string, name: string): NumberType {
  if (Object.hasOwn(types, given)) return types[given]!;
  throw new SparsifyError('format', `the numbers of ${name} have a type that models do not take`, {
    subject: path,
    found: given,
    allowed: Object.keys(types),
  });
}

/** A tensor of numbers that may not be aligned, so that they are copied. */
function tensorOf(type: NumberType, dims: readonly number[], bytes: Uint8Array<ArrayBuffer>) {
  const data = new arrayOf[type as 'float32'](bytes.slice().buffer);
  return { type, dims, data, location: 'cpu' };
}
