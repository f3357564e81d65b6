// The files with inputs that the command line reads: .npz, .npy and .safetensors. Node only.
import { mkdtempSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readBatches } from '../../../packages/sparsifier/dist/cli/inputs.js';
import { readTensors } from '../../../packages/sparsifier/dist/cli/tensor-files.js';
import { product } from '../layers.js';
import { npy, npz, zip, type ArrayToStore } from '../npz-builder.js';
import { concat } from '../onnx-builder.js';
import { safetensorsFile } from '../safetensors-builder.js';
import { casesIn } from './cases.js';
import type { Input } from './input.js';
import { attempt, hold, type Target } from './target.js';

const path = join(mkdtempSync(join(tmpdir(), 'sparsifier-fuzz-')), 'inputs');

const latin1 = (text: string) => Uint8Array.from(text, (letter) => letter.charCodeAt(0));

const four: ArrayToStore = { shape: [2, 2], data: Float32Array.of(1, 2, 3, 4) };

/** An array with this header and so many bytes of data. */
const withHeader = (header: string, data = 16): Input => {
  const text = `${header}\n`;
  const length = Uint8Array.of(text.length & 255, text.length >> 8);
  return { bytes: concat(latin1('\x93NUMPY\x01\x00'), length, latin1(text), new Uint8Array(data)) };
};

const shaped = (shape: string, data = 16, descr = "'<f4'"): Input =>
  withHeader(`{'descr': ${descr}, 'fortran_order': False, 'shape': (${shape}), }`, data);

/** A ZIP file with a number of two bytes changed in the central entry of its only file. */
function withField(place: number, ...bytes: readonly number[]): Input {
  const file = npz({ x: four });
  file.set(bytes, Buffer.from(file).lastIndexOf('PK\x01\x02') + place);
  return { bytes: file };
}

/** With what readers of such files have failed in public, or could. */
const hostile: Readonly<Record<string, Input>> = {
  'a negative size': shaped('-2, -2,'),
  'sizes whose product is 0 in 64 bits': shaped('4294967296, 4294967296,', 0),
  'an empty array with a large size': shaped('0, 9007199254740991,', 0),
  'an empty array with a size above 2^53': shaped('0, 9007199254740993,', 0),
  'a size of many digits': shaped(`${'9'.repeat(400)},`),
  'more sizes than arrays have': shaped('1, '.repeat(300), 4),
  'less data than the shape': shaped('2, 3,'),
  'more data than the shape': shaped('2, 1,'),
  'a shape that is no tuple': withHeader("{'descr': '<f4', 'fortran_order': False, 'shape': 4}"),
  'no header': withHeader(''),
  'numbers of the other byte order': shaped('2, 2,', 16, "'>f4'"),
  'objects, which are code in Python': shaped('2,', 16, "'|O'"),
  'a structure': shaped('2,', 16, "[('a', '<f4'), ('b', '<f4')]"),
  'a type with the name of a property': shaped('2,', 16, "'__proto__'"),
  'texts of no letters': shaped('1000000000000,', 0, "'<U0'"),
  'texts of many letters': shaped('0,', 0, "'<U99999999999'"),
  'a letter beyond Unicode': shaped('1,', 4, "'<U1'"),
  'a header of 4 GB': { bytes: concat(latin1('\x93NUMPY\x02\x00'), new Uint8Array(4).fill(255), new Uint8Array(16)) },
  'nothing but the magic': { bytes: latin1('\x93NUMPY') },
  'an unknown version': { bytes: latin1('\x93NUMPY\x09\x00\x04\x00{}  ') },
  'a file of 4 GB in a few bytes': withField(24, 255, 255, 255, 255),
  'a file that is shorter than it says': withField(20, 255, 255),
  'a file beyond the archive': withField(42, 255, 255, 255, 127),
  'an unknown compression': withField(10, 99),
  'an encrypted file': withField(8, 1),
  'an archive without files': { bytes: zip({}) },
  'nothing but the magic of archives': { bytes: latin1('PK\x03\x04') },
  'a file that is no array': { bytes: zip({ 'x.npy': latin1('x') }) },
  'names of properties': { bytes: npz({ ['__proto__']: four, constructor: four }) },
};

export const tensors: Target = {
  files: ['cli/tensor-files', 'formats/safetensors/header'],
  seeds: async () => ({
    ...(await casesIn([''], '.npz')),
    'an array': { bytes: npy(four) },
    'an array in the order of Fortran': { bytes: npy({ ...four, fortran: true }) },
    'arrays of several types': {
      bytes: npz({
        x: four,
        n: { descr: '<i8', shape: [2], data: BigInt64Array.of(1n, -2n) },
        half: { descr: '<f2', shape: [1, 2], data: Uint16Array.of(0x3c00, 0xbc00) },
        words: { descr: '<U3', shape: [2], data: Uint32Array.of(97, 98, 0, 0x1f600, 0, 0) },
        flag: { descr: '|b1', shape: [], data: Uint8Array.of(1) },
      }),
    },
    batches: { bytes: npz({ '0.x': four, '1.x': four, '1.y': four }) },
    'a safetensors file': {
      bytes: safetensorsFile({ x: [2, 2], '0.y': { dtype: 'I64', shape: [2] }, z: { dtype: 'F16', shape: [3] } }),
    },
    ...hostile,
  }),
  check: async ({ bytes }) => {
    await writeFile(path, bytes);
    const tensors = await attempt(() => readTensors(path));
    for (const [name, read] of tensors ?? []) {
      const tensor = await attempt(read);
      if (tensor === undefined) continue;
      const { dims, data } = tensor;
      hold(
        dims.every((size) => Number.isSafeInteger(size) && size >= 0),
        `${name} has the sizes ${dims}`,
      );
      const { length } = data as ArrayLike<unknown>;
      hold(length === product(dims), `${name} has ${length} numbers and the sizes ${dims}`);
    }
    const inputs = ['x', 'y'].map((name) => ({ name, isTensor: true, type: 'float32', shape: ['n', 2] }));
    const batches = await attempt(() => readBatches(path));
    if (batches) {
      await attempt(async () => {
        for await (const batch of batches(inputs)) hold(Object.keys(batch).length > 0, 'a batch without inputs');
      });
    }
    return tensors !== undefined;
  },
};
