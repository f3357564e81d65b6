// Tables of fixed numbers, such as positions and masks, are told from learned weights when a model is opened.
import fc from 'fast-check';
import { Sparsifier, type WeightTensor } from 'sparsifier';
import { fromArrays } from 'sparsifier/formats/arrays';
import { readModel } from 'sparsifier/formats';
import { readSafetensors } from 'sparsifier/formats/safetensors';
import { describe, expect, test } from 'vitest';
import { readBytes } from '../support/files.js';
import { formatOf, formats, openModel } from '../support/internal.js';
import { product } from '../support/layers.js';
import { model as onnxModel, node, tensor as onnxTensor } from '../support/onnx-builder.js';
import { safetensorsFile, type TensorsToStore } from '../support/safetensors-builder.js';
import { filesOf, graphOf, textOf } from '../support/tfjs.js';

type DType = 'F32' | 'F16' | 'BF16';
const dtypes = ['F32', 'F16', 'BF16'] as const;

/** The bits of the number of a 16-bit type that is nearest to a number, halves to even. */
function bits16(value: number, dtype: 'F16' | 'BF16'): number {
  const [digits, lowest, highest] = dtype === 'F16' ? [11, -24, 65504] : [8, -133, 3.39e38];
  const [sign, size] = [Object.is(value, -0) || value < 0 ? 0x8000 : 0, Math.abs(value)];
  if (size > highest) return sign | (dtype === 'F16' ? 0x7c00 : 0x7f80);
  const exponent = size === 0 ? lowest : Math.max(Math.floor(Math.log2(size)) - digits + 1, lowest);
  let units = size / 2 ** exponent;
  units = units % 1 === 0.5 ? 2 * Math.round(units / 2) : Math.round(units);
  const first = 2 ** (digits - 1);
  // A subnormal number has the lowest exponent; the first digit of any other is not stored.
  return sign | (units < first ? units : (exponent - lowest) * first + units);
}

function bytesOf(numbers: readonly number[], dtype: DType): Uint8Array {
  if (dtype === 'F32') return new Uint8Array(Float32Array.from(numbers).buffer);
  return new Uint8Array(Uint16Array.from(numbers, (each) => bits16(each, dtype)).buffer);
}

interface Table {
  readonly shape: readonly number[];
  readonly numbers: readonly number[];
}

/** A tensor of the shape, whose number at some indices is this. */
const tableOf = (shape: readonly number[], at: (...indices: number[]) => number): Table => ({
  shape,
  numbers: Array.from({ length: product(shape) }, (_, flat) => {
    const indices: number[] = [];
    for (const size of [...shape].reverse()) {
      indices.unshift(flat % size);
      flat = Math.floor(flat / size);
    }
    return at(...indices);
  }),
});

const names = ['', '', 'fc.weight', 'conv1.weight', 'conv2.weight', 'conv3.weight'];

/** Why a tensor is fixed, read from a file. */
async function fixed({ shape, numbers }: Table, dtype: DType = 'F32'): Promise<string | undefined> {
  const name = names[shape.length]!;
  using model = await readSafetensors(safetensorsFile({ [name]: { dtype, shape, data: bytesOf(numbers, dtype) } }));
  const [tensor, ...others] = model.tensors;
  expect(others).toEqual([]);
  return tensor!.fixed;
}

const rotary = (positions: number, size: number, of: (angle: number) => number, base = 10000): Table =>
  tableOf([positions, size], (position, index) => of(Math.fround(position * Math.fround(base ** (-index / size)))));

describe('tables', () => {
  const sequence = (axis: number) => `it is a table of fixed numbers: an arithmetic sequence along axis ${axis}`;
  const sines = (axis: number) => `it is a table of fixed numbers: sines or cosines along axis ${axis}`;
  const masked = (value: number) => `it is a table of fixed numbers: a mask of 0 and ${value}`;
  const n = 24;
  test.each<[title: string, table: Table, reason: string, types?: readonly DType[]]>([
    ['the decoder of YOLOv8', tableOf([1, 16, 1, 1], (_, bin) => bin), sequence(1)],
    ['eight numbers', tableOf([1, 8], (_, place) => 3 - place / 2), sequence(1)],
    ['three rows', tableOf([3, 3], (row) => row / 3), sequence(0)],
    ['a sequence of a hundred rows', tableOf([100, 17], (row) => 0.1 * row - 3), sequence(0)],
    ['a sequence along the axis in the middle', tableOf([40, 9, 50], (_, place) => 7 * place), sequence(1)],
    ['a million numbers', tableOf([1024, 1024], (_, column) => column / 1024), sequence(1), ['F32']],
    ['cosines of positions', rotary(64, 32, Math.cos), sines(0)],
    ['sines of positions', rotary(64, 32, Math.sin), sines(0)],
    ['cosines of five positions', rotary(5, 16, Math.cos), sines(0)],
    ['cosines of thousands of positions', rotary(4096, 48, Math.cos), sines(0)],
    ['sines of a million', rotary(16384, 64, Math.sin), sines(0)],
    ['rows that do not fit into what is read first', rotary(16, 2000, Math.cos), sines(0)],
    [
      'cosines with one position per column',
      tableOf([12, n], (index, position) => Math.cos(position / 2 ** index)),
      sines(1),
    ],
    [
      'sines beside cosines',
      tableOf([n, 10], (position, index) =>
        Math[index % 2 ? 'cos' : 'sin'](position * 100 ** (-Math.floor(index / 2) / 5)),
      ),
      sines(0),
    ],
    [
      'sines before cosines, and the zeros of a padding token',
      tableOf([n, 10], (position, index) =>
        position === 1 ? 0 : Math[index < 5 ? 'sin' : 'cos'](position * 100 ** (-(index % 5) / 5)),
      ),
      sines(0),
    ],
    [
      'positions that count down',
      tableOf([n, 4], (position, index) => Math.sin((n - position) / 2 ** index)),
      sines(0),
    ],
    [
      'the windowed sines of a Fourier transform, as in a voice detector',
      tableOf([34, 1, 32], (row, _, time) => {
        const angle = (2 * Math.PI * (row % 17) * time) / 32;
        return Math.sin((Math.PI * time) / 32) ** 2 * (row < 17 ? Math.cos(angle) : -Math.sin(angle));
      }),
      sines(0),
      ['F32'],
    ],
    [
      'a cosine transform',
      tableOf([16, 40], (row, time) => Math.cos((Math.PI / 40) * (time + 0.5) * row) * Math.SQRT1_2),
      sines(0),
    ],
    [
      'a causal mask',
      tableOf([1, 1, n, n], (_, __, row, column) => (column > row ? -65504 : 0)),
      masked(-65504),
      ['F32', 'F16'],
    ],
    ['a mask of -10000', tableOf([n, n], (row, column) => (column > row ? -10000 : 0)), masked(-10000), ['F32', 'F16']],
    ['a mask of infinities', tableOf([n, n], (row, column) => (column > row ? -Infinity : 0)), masked(-Infinity)],
  ])('It is one: %s', async (_title, table, reason, types = dtypes) => {
    for (const dtype of types) expect(await fixed(table, dtype), dtype).toBe(reason);
    // Files of 32-bit floats often contain numbers of 16 bits.
    for (const dtype of ['F16', 'BF16'] as const) {
      if (!types.includes(dtype)) continue;
      const rounded = new DataView(new ArrayBuffer(4));
      const numbers = table.numbers.map((each) => {
        if (dtype === 'F16') return Number.isFinite(each) ? half(bits16(each, dtype)) : each;
        rounded.setUint32(0, bits16(each, dtype) * 2 ** 16);
        return rounded.getFloat32(0);
      });
      expect(await fixed({ ...table, numbers }, 'F32'), `${dtype} in F32`).toBe(reason);
    }
  });

  const half = (bits: number): number => {
    const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
    return sign * (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15));
  };

  const random = (length: number) =>
    Array.from({ length }, (_, index) => (Math.sin(index * index * 12.9898) * 43.1) % 1);
  test.each<[title: string, table: Table]>([
    ['seven numbers', tableOf([1, 7], (_, place) => place)],
    ['more than a million numbers', tableOf([1, 2 ** 20 + 1], (_, place) => place)],
    ['zeros', tableOf([8, 8], () => 0)],
    ['ones, as in layers that were never trained', tableOf([8, 8], () => 1)],
    ['the mean of a window', tableOf([4, 1, 3, 3], () => 1 / 9)],
    ['two rows', tableOf([2, 8], (row) => row)],
    ['a product of two sequences', tableOf([16, 16], (row, column) => row * column)],
    ['whole numbers one after the other', tableOf([9, 8], (row, column) => 1 + 8 * row + column)],
    ['cosines of four positions', rotary(4, 16, Math.cos)],
    ['an antisymmetric filter', tableOf([2, 5], (_, place) => [-1, -2, 0, 2, 1][place]!)],
    ['angles of positions', tableOf([64, 16], (position, index) => position * 10000 ** (-index / 16))],
    ['powers', tableOf([1, 24], (_, place) => 0.9 ** place)],
    ['squares', tableOf([1, 24], (_, place) => place * place)],
    ['an identity matrix', tableOf([12, 12], (row, column) => Number(row === column))],
    ['a sequence with one number changed', tableOf([1, 16], (_, place) => (place === 9 ? 9.5 : place))],
    [
      'sines with one number changed',
      tableOf([32, 8], (row, column) => (row === 20 && column === 7 ? 0 : Math.sin(row))),
    ],
    ['only a large negative number', tableOf([8, 8], () => -1e9)],
    ['a mask that a sum may outweigh', tableOf([8, 8], (row, column) => (column > row ? -9000 : 0))],
    ['two masks in one', tableOf([9, 9], (row, column) => (column > row ? -1e4 - row : 0))],
    ['a mask with a number that is not one', tableOf([8, 8], (row, column) => (column > row ? NaN : 0))],
    ['almost the same numbers', { shape: [1, 64], numbers: random(64).map((each) => 1 + each / 300) }],
  ])('It is none: %s', async (_title, table) => {
    for (const dtype of dtypes) expect(await fixed(table, dtype), dtype).toBeUndefined();
  });
});

describe('any numbers', () => {
  const dtype = fc.constantFrom(...dtypes);
  const shape = fc
    .array(fc.integer({ min: 1, max: 24 }), { minLength: 2, maxLength: 4 })
    .filter((sizes) => product(sizes) >= 8 && product(sizes) <= 4096);
  const seed = fc.integer({ min: 1, max: 2 ** 31 });
  /** Numbers of a normal distribution, from a generator of its own (mulberry32). */
  const normals = (state: number) => {
    const uniform = () => {
      state = (state + 0x6d2b79f5) | 0;
      let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
      mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
      return (((mixed ^ (mixed >>> 14)) >>> 0) + 0.5) / 2 ** 32;
    };
    return { uniform, normal: () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform()) };
  };

  test('Random weights are never a table, sparse or not', async () => {
    const kinds = fc.constantFrom('normal', 'uniform', 'sparse', 'rows', 'codes', 'nearly equal');
    await fc.assert(
      fc.asyncProperty(shape, dtype, seed, kinds, async (shape, dtype, seed, kind) => {
        const { uniform, normal } = normals(seed);
        const rows = Array.from({ length: shape[0]! }, () => uniform() < 0.5);
        const table = tableOf(shape, (row) => {
          if (kind === 'uniform') return uniform() - 0.5;
          if (kind === 'sparse') return uniform() < 0.9 ? 0 : normal();
          if (kind === 'rows') return rows[row!] ? 0 : normal();
          if (kind === 'codes') return Math.round(normal() * 40) / 64;
          return kind === 'nearly equal' ? 1 + normal() / 200 : normal();
        });
        expect(await fixed(table, dtype)).toBeUndefined();
      }),
      { numRuns: 500 },
    );
  });

  test('Random tables of each kind are always found, in all types', async () => {
    const kinds = fc.constantFrom('sequence', 'sines', 'mask');
    const step = fc.double({ min: 0.75, max: 2.5, noNaN: true });
    const start = fc.double({ min: -2, max: 2, noNaN: true });
    await fc.assert(
      fc.asyncProperty(shape, dtype, kinds, step, start, fc.nat(3), async (shape, dtype, kind, step, start, place) => {
        const axis = place % shape.length;
        const sizes = [...shape];
        if (kind === 'sequence') sizes[axis] = Math.max(8, sizes[axis]!);
        if (kind === 'sines') sizes[axis] = Math.max(10, sizes[axis]!);
        const others = (indices: readonly number[]) =>
          indices.reduce((sum, each, at) => (at === axis ? sum : sum + each), 0);
        const table = tableOf(sizes, (...indices) => {
          const along = indices[axis]!;
          if (kind === 'sequence') return start + step * along;
          if (kind === 'sines') return Math.sin(start + (others(indices) % 2) + (step * along) / (1 + others(indices)));
          return indices.reduce((sum, each) => sum + each, 0) % 2 ? -20000 : 0;
        });
        const found = await fixed(table, dtype);
        expect(found).toMatch(/^it is a table of fixed numbers: /);
        if (kind === 'mask') expect(found).toMatch(/a mask/);
        else if (kind === 'sequence') expect(found).toMatch(new RegExp(`sequence along axis ${axis}`));
        else expect(found).toMatch(/sines or cosines along axis \d/);
      }),
      { numRuns: 500 },
    );
  });
});

describe('formats', () => {
  const cosines = rotary(16, 8, Math.cos);
  const isFixed = ({ tensors }: { readonly tensors: readonly WeightTensor[] }) =>
    Object.fromEntries(tensors.map(({ name, fixed }) => [name, fixed !== undefined]));

  test.each([
    ['yolo_dfl', { '/model.22/dfl/conv/Conv': true }],
    ['rope_tables', { 'rotary/cos': true, 'rotary/sin': true }],
  ])('The tables of %s.onnx are found, and its weights are none', async (name, tables) => {
    using model = await readModel(await readBytes(`cases/${name}.onnx`));
    const weights = model.tensors.filter((tensor) => !(tensor.name in tables));
    expect(isFixed(model)).toEqual({ ...tables, ...Object.fromEntries(weights.map(({ name }) => [name, false])) });
    expect(weights).toHaveLength(1);
  });

  test.each(['raw', 'packed', 'unpacked', 'external'] as const)(
    'A table in an ONNX file is found whichever way it is stored: %s',
    async (storage) => {
      const data = bytesOf(cosines.numbers, 'F32') as Uint8Array<ArrayBuffer>;
      const bytes = onnxModel({
        nodes: [node('Gather', 'w x', 'y', { name: 'table' })],
        initializers: [
          onnxTensor('w', [16, 8], storage === 'external' ? { external: { location: 'w.bin' } } : { data, storage }),
        ],
        inputs: { x: 1 },
      });
      using model = await readModel(bytes, { external: () => data });
      expect(isFixed(model)).toEqual({ table: true });
    },
  );

  test('A table in a GraphModel is found, also a quantised one, while a Keras layer is none', async () => {
    const shape = [16, 8];
    const entries = [
      { name: 'cosines', shape, dtype: 'float32', bytes: bytesOf(cosines.numbers, 'F32') },
      {
        name: 'bins',
        shape: [8, 1],
        dtype: 'float32',
        quantization: { dtype: 'uint8', scale: 0.5, min: -1 },
        bytes: Uint8Array.from({ length: 8 }, (_, index) => index),
      },
    ];
    const read = async (topology: unknown) => {
      const { json, shards } = filesOf(topology, entries);
      return readModel(textOf(json) as Uint8Array<ArrayBuffer>, { shards: (name) => shards.get(name) as never });
    };
    using graph = await read(
      graphOf(entries, [
        ['x', 'Placeholder', []],
        ['y', 'MatMul', ['x', 'cosines']],
        ['z', 'MatMul', ['y', 'bins']],
      ]),
    );
    expect(isFixed(graph)).toEqual({ y: true, z: true });
    entries[0]!.name = 'd/kernel';
    entries[1]!.name = 'e/kernel';
    const dense = (name: string, units: number) => ({ class_name: 'Dense', config: { name, units, use_bias: false } });
    using layers = await read({ class_name: 'Sequential', config: [dense('d', 8), dense('e', 1)] });
    expect(isFixed(layers)).toEqual({ d: false, e: false });
  });

  test('Of a tensor that is no table little is read, and of one with too many numbers nothing', async () => {
    const size = 1000;
    const numbers = Array.from({ length: size * size }, (_, index) => Math.sin(index * index));
    const data = bytesOf(numbers, 'F32');
    const read = async (tensors: TensorsToStore) => {
      let total = 0;
      class Counted extends Blob {
        override slice(start = 0, end = this.size) {
          total += end - start;
          return super.slice(start, end);
        }
      }
      const open = await openModel(new Counted([safetensorsFile(tensors)]), (file) => formatOf(formats, file, {}), {});
      await open.close();
      expect(open.tensors).toHaveLength(1);
      return total;
    };
    expect(await read({ 'a.weight': { shape: [size, size], data } })).toBeLessThan(5000);
    expect(await read({ 'a.weight': { shape: [2 ** 10 + 1, 2 ** 10] } })).toBeLessThan(500);
  });

  test('A tensor that the caller describes is a layer, and so are those of plain arrays', async () => {
    const bytes = safetensorsFile({ 'rope.weight': { shape: [16, 8], data: bytesOf(cosines.numbers, 'F32') } });
    using table = await readSafetensors(bytes);
    expect(isFixed(table)).toEqual({ rope: true });
    using described = await readSafetensors(bytes, { layers: { 'r*': { kind: 'embedding' } } });
    expect(isFixed(described)).toEqual({ rope: false });
    const data = Float32Array.from(cosines.numbers);
    expect(isFixed(fromArrays({ rope: { kind: 'embedding', roles: ['out', 'in'], shape: [16, 8], data } }))).toEqual({
      rope: false,
    });
    await new Sparsifier(described, { granularity: 'weight', layerType: 'embedding' }).sparsifyModel(50);
  });
});
