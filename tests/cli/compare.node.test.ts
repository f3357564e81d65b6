import { copyFile, cp, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Comparison } from 'sparsifier/compare';
import { describe, expect, test } from 'vitest';
import { upscaler } from '../../examples/support/models.mjs';
import { namesIn } from '../support/command.js';
import { at, foldersWith, printed, sparsifier } from '../support/folder.js';
import { npy, npz, zip, type ArrayToStore } from '../support/npz-builder.js';
import { model, node, tensor } from '../support/onnx-builder.js';
import { safetensorsFile } from '../support/safetensors-builder.js';
import { floats } from '../support/tfjs.js';

const cases = fileURLToPath(new URL('../cases', import.meta.url));

/** `y = x w`, for any number of rows. */
const product = (weights: number[]) =>
  model({
    nodes: [node('MatMul', 'x w', 'y', { name: 'head' })],
    initializers: [tensor('w', [2, 2], { data: floats(...weights) })],
    inputs: { x: { shape: ['batch', 2] } },
    outputs: { y: { shape: ['batch', 2] } },
  });

/** Runs a test in a folder of its own with two models. */
const inFolder = foldersWith({ 'a.onnx': product([1, 2, 3, 4]), 'b.onnx': product([1, 2, 3, 0]) });
/** A ZIP file in which each file says that it has so many bytes. */
function claiming(bytes: number, file: Uint8Array): Uint8Array {
  const found = Buffer.from(file);
  for (let at = found.indexOf('PK\x01\x02'); at >= 0; at = found.indexOf('PK\x01\x02', at + 1)) {
    found.writeUInt32LE(bytes, at + 24);
  }
  return found;
}
const comparisonOf = async (...words: string[]) => JSON.parse(await printed(...words, '--json')) as Comparison;
const x = (...rows: number[]): ArrayToStore => ({ shape: [rows.length / 2, 2], data: Float32Array.from(rows) });
/** How a command fails: with a sentence, and without a trace of the stack. */
async function failure(...words: string[]): Promise<[code: unknown, message: string]> {
  const { code, stdout, stderr } = await sparsifier(...words);
  expect(stdout).toBe('');
  expect(stderr).not.toMatch(/^\s+at |^node:|Error:/m);
  return [code, stderr];
}

describe.concurrent('compare', () => {
  test(
    'Weights and outputs are printed in sentences, and layers that differ as a table if it is asked for',
    inFolder(async () => {
      await writeFile(at('x.npz'), npz({ x: x(1, 1, 0, 2, 5, 0) }));
      // y is [4, 6], [6, 8], [5, 10], and [4, 2], [6, 0], [5, 10].
      const words = ['compare', 'a.onnx', 'b.onnx', '--inputs', 'x.npz', '--no-sizes'];
      expect(await printed(...words)).toBe(
        `a: a.onnx
b: b.onnx

weights: 1 of 4 differ, in 1 of 1 layer, most in head: 73 % (relative RMS)

output y: moved by 53.7 % (relative RMS), cosine 0.844078, by at most 8, argmax (last axis) changed in 2 of 3 rows
`,
      );
      expect(await printed(...words, '--layers')).toContain(`b: b.onnx

layer  kind   shape  weights  changed  relative RMS  at most  zeros in a  in b  biases, norms
---------------------------------------------------------------------------------------------
head   dense  2 x 2        4        1          73 %        4           0     1              0

weights: 1 of 4 differ`);
    }),
  );

  test(
    'The sizes of the files come first, unless they are left out, and are in the JSON',
    inFolder(async () => {
      const text = await printed('compare', 'a.onnx', 'b.onnx');
      const [, bytes] = /^bytes +(\d+) +\1 +100\.00 %$/m.exec(text)!;
      expect(text).toMatch(
        /^a: a\.onnx\nb: b\.onnx\n\n +a +b +b of a\n-+\nbytes .*\ngzip -9 .*\nbrotli -q 11 .*\n\nweights: /,
      );
      const { sizes, ...found } = (await comparisonOf('compare', 'a.onnx', 'b.onnx')) as unknown as {
        sizes: Record<'a' | 'b', { raw: number; gzip: number }>;
        bytes: unknown;
      };
      expect(found.bytes).toEqual({ a: Number(bytes), b: Number(bytes) });
      expect(sizes).toMatchObject({ a: { raw: Number(bytes) }, b: { gzip: expect.any(Number) } });
      const listed = await printed('compare', 'a.onnx', 'b.onnx', '--layers');
      expect(listed).toMatch(/ biases, norms +about, in brotli: a +b\n-+\nhead .* 0 +\d+ +\d+\n/);
      expect(await printed('compare', 'a.onnx', 'b.onnx', '--no-sizes')).not.toContain('gzip');
      expect(await comparisonOf('compare', 'a.onnx', 'b.onnx', '--no-sizes')).not.toHaveProperty('sizes');
    }, []),
  );

  test(
    'Equal models are said to be equal',
    inFolder(async () => {
      expect(await printed('compare', 'a.onnx', 'a.onnx', '--input', 'x:3,2', '--no-sizes')).toBe(
        'a: a.onnx\nb: a.onnx\n\nweights: all 4 are equal, in 1 layer\n\noutput y: equal\n\n' +
          'All bytes of the files are the same.\n',
      );
    }),
  );

  test(
    'Seeded values are the same in each process',
    inFolder(async () => {
      const words = ['compare', 'a.onnx', 'b.onnx', '--input', 'x:50,2'];
      const [first, second] = [await printed(...words), await printed(...words)];
      expect(first).toBe(second);
      expect(first).toMatch(/output y: moved by \d.* in \d+ of 50 rows/);
    }),
  );

  test(
    'Outputs that are not finite are mentioned',
    inFolder(async () => {
      await writeFile(at('x.npz'), npz({ x: x(1, NaN) }));
      const text = await printed('compare', 'a.onnx', 'a.onnx', '--inputs', 'x.npz');
      expect(text).toContain('output y: equal, NaN or infinite: 2 numbers in a, 2 in b\n');
    }),
  );

  test(
    'Without a runtime, weights are compared, and a sentence says how to get one',
    inFolder(async () => {
      const text = await printed('compare', 'a.onnx', 'b.onnx');
      expect(text).toMatch(/^weights: 1 of 4 differ, in 1 of 1 layer, most in head: 73 % \(relative RMS\)$/m);
      expect(text).toMatch(
        /\n\nThe outputs were not compared: for that, run npm install onnxruntime-node in this folder\.\n$/,
      );
      expect(await comparisonOf('compare', 'a.onnx', 'b.onnx')).toMatchObject({
        a: 'a.onnx',
        layers: [{ name: 'head', changed: 1 }],
        outputs: [],
        notes: [expect.stringContaining('npm install onnxruntime-node')],
      });
    }, []),
  );

  test(
    'Weights of safetensors files are compared',
    inFolder(async () => {
      await writeFile(at('a.safetensors'), safetensorsFile({ 'fc.weight': { shape: [1, 2], data: floats(1, 2) } }));
      await writeFile(at('b.safetensors'), safetensorsFile({ 'fc.weight': { shape: [1, 2], data: floats(1, 0) } }));
      const text = await printed('compare', 'a.safetensors', 'b.safetensors');
      expect(text).toMatch(/^weights: 1 of 2 differ, in 1 of 1 layer, most in fc: /m);
      expect(text).toMatch(/\n\nThe outputs were not compared: a safetensors file has no network\.\n$/);
      const mixed = await comparisonOf('compare', 'a.onnx', 'a.safetensors', '--input', 'x:1,2');
      expect(mixed.skipped).toEqual([
        { name: 'head', reason: 'this layer is only in a' },
        { name: 'fc', reason: 'this layer is only in b' },
      ]);
      expect(mixed.notes).toEqual([expect.stringContaining('has no network')]);
    }),
  );

  test(
    'TensorFlow.js models are run where it is installed',
    inFolder(async () => {
      await cp(upscaler.folder, at('model'), { recursive: true });
      await printed('prune', 'model/model.json', '-s', '20', '-o', 'sparse/');
      const words = ['compare', 'model/model.json', 'sparse/model.json', '--no-sizes'];
      const text = await printed(...words, '--input', 'LR:1,6,6,3');
      expect(text).toMatch(/^output SR: moved by .* in \d+ of 144 rows$/m);
      const [code, message] = await failure(...words);
      expect([code, message]).toEqual([2, expect.stringContaining('found: LR float32 [?, ?, ?, 3]')]);
      await rm(at('node_modules'), { recursive: true });
      expect(await printed(...words)).toContain('run npm install @tensorflow/tfjs in this folder');
    }, ['@tensorflow/tfjs']),
  );

  test(
    'External data are found beside their model',
    inFolder(async () => {
      const weight = tensor('w', [2, 2], { external: { location: 'w.bin' } });
      const bytes = model({
        nodes: [node('MatMul', 'x w', 'y', { name: 'head' })],
        initializers: [weight],
        inputs: { x: { shape: [1, 2] } },
        outputs: { y: { shape: [1, 2] } },
      });
      for (const [name, last] of Object.entries({ one: 4, two: 5 })) {
        await mkdir(at(name));
        await writeFile(at(name, 'model.onnx'), bytes);
        await writeFile(at(name, 'w.bin'), floats(1, 2, 3, last));
      }
      const { outputs, layers } = await comparisonOf('compare', 'one/model.onnx', 'two/model.onnx');
      expect(layers).toMatchObject([{ changed: 1, maxDifference: 1 }]);
      expect(outputs).toMatchObject([{ name: 'y', changed: 1 }]);
    }),
  );
});

describe.concurrent('inputs', () => {
  const moved = async (file: string) =>
    (await comparisonOf('compare', 'a.onnx', 'b.onnx', '--inputs', file)).outputs[0];

  test(
    'A safetensors file has the inputs by name',
    inFolder(async () => {
      await writeFile(
        at('x.safetensors'),
        safetensorsFile({ x: { shape: [1, 2], data: floats(1, 10) } }, { padding: 3 }),
      );
      expect(await moved('x.safetensors')).toMatchObject({ shape: [1, 2], maxDifference: 40 });
    }),
  );

  test(
    'Numbers before the names make several runs, and other arrays are ignored',
    inFolder(async () => {
      await writeFile(at('x.npz'), npz({ '0.x': x(1, 1), '1.x': x(0, 3, 0, 2), labels: x(0, 0) }));
      expect(await moved('x.npz')).toMatchObject({ numbers: 6, maxDifference: 12, argmax: { rows: 3, changed: 3 } });
    }),
  );

  test(
    'Arrays whose first axis is contiguous are the same arrays',
    inFolder(async () => {
      const columns = { shape: [3, 2], data: Float32Array.of(1, 2, 3, 10, 20, 30), fortran: true };
      await writeFile(at('x.npz'), npz({ x: columns }));
      await writeFile(at('y.npz'), npz({ x: x(1, 10, 2, 20, 3, 30) }));
      expect(await moved('x.npz')).toEqual(await moved('y.npz'));
      expect(await moved('x.npz')).toMatchObject({ maxDifference: 120 });
    }),
  );

  test(
    'Numbers before the names are in order, also where the file has them in another one',
    inFolder(async () => {
      // Each run has another shape, and that of the first one is told.
      const runs = { '10.x': x(1, 2, 3, 4, 5, 6), '9.x': x(1, 2, 3, 4), x: x(1, 2) };
      await writeFile(at('x.npz'), npz(runs));
      expect(await moved('x.npz')).toMatchObject({ shape: [1, 2], numbers: 12 });
      await writeFile(at('x.npz'), npz({ '10.x': x(1, 2, 3, 4, 5, 6), '9.x': x(1, 2, 3, 4) }));
      expect(await moved('x.npz')).toMatchObject({ shape: [2, 2], numbers: 10 });
    }),
  );

  test(
    'An .npy file has the only input, its rows or its columns contiguous',
    inFolder(async () => {
      await writeFile(at('rows.npy'), npy(x(1, 10, 2, 20, 3, 30)));
      const columns = { shape: [3, 2], data: Float32Array.of(1, 2, 3, 10, 20, 30), fortran: true };
      await writeFile(at('columns.npy'), npy(columns));
      expect(await moved('rows.npy')).toMatchObject({ shape: [3, 2], maxDifference: 120 });
      expect(await moved('columns.npy')).toEqual(await moved('rows.npy'));
    }),
  );

  test(
    'An .npy file is refused for a model with several inputs',
    inFolder(async () => {
      const bytes = model({
        nodes: [node('MatMul', 'x w', 'z', { name: 'head' }), node('Add', 'z b', 'y')],
        initializers: [tensor('w', [2, 2])],
        inputs: { x: { shape: [1, 2] }, b: { shape: [1, 2] } },
        outputs: { y: { shape: [1, 2] } },
      });
      await writeFile(at('two.onnx'), bytes);
      await writeFile(at('x.npy'), npy(x(1, 2)));
      const [code, message] = await failure('compare', 'two.onnx', 'two.onnx', '--inputs', 'x.npy');
      expect([code, message]).toEqual([
        2,
        expect.stringMatching(/^sparsifier: x\.npy: an \.npy file has one array, .* found: x, b\. .*numpy\.savez/),
      ]);
    }),
  );

  test(
    'Files that NumPy wrote are read',
    inFolder(async () => {
      await copyFile(join(cases, 'numpy.npz'), at('numpy.npz'));
      // x is [[0, 0.25, 0.5], [0.75, 1, 1.25]], which `columns` has by columns.
      for (const name of ['x', 'columns']) {
        const bytes = model({
          nodes: [node('MatMul', `${name} w`, 'y', { name: 'head' })],
          initializers: [tensor('w', [3, 1], { data: floats(1, 10, 100) })],
          inputs: {
            [name]: { shape: [2, 3] },
            half: { shape: [2, 3], type: 10 },
            wide: { shape: [3], type: 7 },
            one: { shape: [], type: 11 },
            bits: { shape: [2], type: 9 },
          },
          outputs: { y: { shape: [2, 1] } },
        });
        await writeFile(at('read.onnx'), bytes);
        await printed('prune', 'read.onnx', '-s', '34', '--layer-type', 'all', '-o', 'cut.onnx', '--force');
        const [output] = (await comparisonOf('compare', 'read.onnx', 'cut.onnx', '--inputs', 'numpy.npz')).outputs;
        // The weight 1 is removed: y was [52.5, 135.75].
        expect(output).toMatchObject({ changed: 1, maxDifference: 0.75 });
      }
    }),
  );

  test.each<[string, () => Uint8Array, number, RegExp]>([
    [
      'x.npz',
      () => npz({ x: { ...x(), descr: '<f8', shape: [1, 2], data: Float64Array.of(1, 2) } }),
      2,
      /^sparsifier: x: the type does not fit\. given: float64 \[1, 2\]\. allowed: x float32 \[batch, 2\]/,
    ],
    [
      'x.npz',
      () => npz({ x: x(1, 2, 3, 4, 5, 6) }).slice(0, -30),
      1,
      /x\.npz: the file could not be read as NumPy writes it\. .*savez/,
    ],
    [
      'x.npz',
      () => claiming(0x9000_0000, npz({ x: x(1, 2), y: x(1, 2) })),
      1,
      /x\.npz: the arrays of the file are too large\. found: more than 4294967296 bytes\. Split/,
    ],
    ['x.npz', () => npz({ x: { ...x(1, 2), shape: [2, 1] } }), 2, /the shape does not fit\. given: float32 \[2, 1\]/],
    ['x.npz', () => npz({ y: x(1, 2) }), 2, /x\.npz: the file has none of the inputs\. found: y\. allowed: x/],
    ['x.npz', () => npz({ x: { ...x(1, 2), descr: '>f4' } }), 1, /the numbers of x\.npy have a type .* found: >f4/],
    ['x.npz', () => npz({ x: { ...x(1, 2), shape: [1, 3] } }), 1, /x\.npy with 8 of 12 bytes/],
    ['x.npz', () => zip({ 'x.npy': Uint8Array.of(1, 2, 3) }), 1, /x\.npy, which is no array/],
    ['x.npz', () => zip({ 'x.npy': npy(x(1, 2)).fill(32, 10, 60) }), 1, /x\.npy, whose header is/],
    ['x.npz', () => npz({}), 2, /x\.npz: the file has none of the inputs\. found: no array\. allowed: x/],
    ['x.npy', () => npy({ ...x(1, 2), shape: [1, 3] }), 1, /x\.npy: .* found: the array with 8 of 12 bytes/],
    ['x.npy', () => npy({ ...x(1, 2), shape: [2, 1] }), 2, /x: the shape does not fit/],
    ['x.bin', () => floats(1, 2, 3, 4), 1, /x\.bin: the file does not begin with the length of a header/],
    [
      'x.safetensors',
      () => safetensorsFile({ x: { dtype: 'BF16', shape: [1, 2] } }),
      1,
      /the numbers of x have a type .* found: BF16/,
    ],
  ])('A file %s with mistakes is refused (%#)', async (name, bytes, code, message) => {
    await inFolder(async () => {
      await writeFile(at(name), bytes());
      expect(await failure('compare', 'a.onnx', 'b.onnx', '--inputs', name)).toEqual([
        code,
        expect.stringMatching(message),
      ]);
    })();
  });

  test.each<[string[], RegExp]>([
    [
      [],
      /^sparsifier: x: the inputs of the model have axes of any size\. found: x float32 \[batch, 2\]\. Add --input x:N,2 with numbers for N\.$/m,
    ],
    [['--input', 'x:3,5'], /the shape does not fit\. given: float32 \[3, 5\]\. allowed: x float32 \[batch, 2\]/],
    [['--input', 'z:3,2'], /the model has no such input\. given: z/],
    [['--input', 'x'], /the shape of an input is written name:1,3,48,320\. given: x/],
    [['--input', 'x:a'], /is written name:1,3,48,320/],
    [['--input', 'x:1,2', '--inputs', 'x.npz'], /--input is for random values/],
  ])('The options %j are refused', async (words, message) => {
    await inFolder(async () => {
      expect(await failure('compare', 'a.onnx', 'b.onnx', ...words)).toEqual([2, expect.stringMatching(message)]);
    })();
  });

  test(
    'A file of inputs that is missing is an error',
    inFolder(async () => {
      const [code, message] = await failure('compare', 'a.onnx', 'b.onnx', '--inputs', 'none.npz');
      expect([code, message]).toEqual([1, expect.stringMatching(/none\.npz: could not be opened/)]);
    }),
  );

  test(
    'Texts of NumPy are inputs, and an array of another type is ignored if it is no input',
    inFolder(async () => {
      const bytes = model({
        nodes: [node('Identity', 's', 'same'), node('MatMul', 'x w', 'y', { name: 'head' })],
        initializers: [tensor('w', [2, 2])],
        inputs: { s: { shape: [2, 2], type: 8 }, x: { shape: [1, 2] } },
        outputs: { same: { shape: [2, 2], type: 8 } },
      });
      await writeFile(at('texts.onnx'), bytes);
      const points = (...texts: string[]) =>
        Uint32Array.from(texts.flatMap((text) => [...text.padEnd(3, '\0')].map((letter) => letter.codePointAt(0)!)));
      const s = { descr: '<U3', shape: [2, 2], data: points('a', 'b€', 'cd', '') };
      await writeFile(at('x.npz'), npz({ s, x: x(1, 2), labels: { ...x(1, 2), descr: '|O' } }));
      const { outputs } = await comparisonOf('compare', 'texts.onnx', 'texts.onnx', '--inputs', 'x.npz');
      expect(outputs).toMatchObject([{ name: 'same', type: 'string', numbers: 4, changed: 0 }]);
      await writeFile(
        at('wrong.npz'),
        npz({ s: { ...s, data: points('a', 'b', 'c', 'd').fill(0x110000, 5, 6) }, x: x(1, 2) }),
      );
      expect(await failure('compare', 'texts.onnx', 'texts.onnx', '--inputs', 'wrong.npz')).toEqual([
        1,
        expect.stringMatching(/wrong\.npz: the file could not be read as NumPy writes it\. found: s/),
      ]);
      const [, message] = await failure('compare', 'texts.onnx', 'texts.onnx');
      expect(message).toMatch(/^sparsifier: s: there are no random values .* found: string.*--inputs file\.npz/);
    }),
  );
});

describe.concurrent('modules', () => {
  const batch = (...numbers: number[]) =>
    `{ x: { data: new Float32Array([${numbers}]), dims: [${numbers.length / 2}, 2] } }`;
  const compared = async (name: string, content: string) => {
    await writeFile(at(name), content);
    return (await comparisonOf('compare', 'a.onnx', 'b.onnx', '--inputs', name)).outputs[0];
  };

  test.each([
    ['a list', 'x.mjs', (all: string[]) => `export default [${all}];`],
    ['an iterable that is no list', 'x.mjs', (all: string[]) => `export default new Set([${all}]);`],
    ['a function that gives a list', 'x.mjs', (all: string[]) => `export default () => [${all}];`],
    ['a function that waits', 'x.mjs', (all: string[]) => `export default async () => [${all}];`],
    [
      'a generator function',
      'x.mjs',
      (all: string[]) => `export default function* () { for (const batch of [${all}]) yield batch; }`,
    ],
    [
      'an async generator function',
      'x.mjs',
      (all: string[]) =>
        `export default async function* () { for (const batch of [${all}]) { await null; yield batch; } }`,
    ],
    [
      'an object with an async iterator',
      'x.mjs',
      (all: string[]) => `export default { async *[Symbol.asyncIterator]() { yield* [${all}]; } };`,
    ],
    ['the exports of a CommonJS module', 'x.cjs', (all: string[]) => `module.exports = [${all}];`],
  ])('The batches of a module may be %s', async (_, name, content) => {
    await inFolder(async () => {
      await writeFile(at('x.npz'), npz({ '0.x': x(1, 1), '1.x': x(0, 3, 0, 2) }));
      const expected = await comparisonOf('compare', 'a.onnx', 'b.onnx', '--inputs', 'x.npz');
      expect(await compared(name, content([batch(1, 1), batch(0, 3, 0, 2)]))).toEqual(expected.outputs[0]);
    })();
  });

  test(
    'Each input has the type of its array, or where that has several, the one that the model takes',
    inFolder(async () => {
      // ONNX's number of each type, and the array with its numbers.
      const types: [number, string, string][] = [
        [1, 'float32', 'Float32Array.of(1, 2)'],
        [2, 'uint8', 'Uint8Array.of(1, 2)'],
        [3, 'int8', 'Int8Array.of(1, 2)'],
        [4, 'uint16', 'Uint16Array.of(1, 2)'],
        [5, 'int16', 'Int16Array.of(1, 2)'],
        [6, 'int32', 'Int32Array.of(1, 2)'],
        [7, 'int64', 'BigInt64Array.of(1n, 2n)'],
        [8, 'string', "['a', 'b']"],
        [9, 'bool', 'Uint8Array.of(1, 0)'],
        [10, 'float16', 'Uint16Array.of(0x3c00, 0x4000)'],
        [11, 'float64', 'Float64Array.of(1, 2)'],
        [12, 'uint32', 'Uint32Array.of(1, 2)'],
        [13, 'uint64', 'BigUint64Array.of(1n, 2n)'],
      ];
      const bytes = model({
        nodes: [
          ...types.map(([, name]) => node('Identity', name, `same_${name}`)),
          node('MatMul', 'float32 w', 'y', { name: 'head' }),
        ],
        initializers: [tensor('w', [2, 2])],
        inputs: Object.fromEntries(types.map(([type, name]) => [name, { shape: [1, 2], type }])),
        outputs: Object.fromEntries(types.map(([type, name]) => [`same_${name}`, { shape: [1, 2], type }])),
      });
      await writeFile(at('types.onnx'), bytes);
      const inputs = types.map(([, name, array]) => `${name}: { data: ${array}, dims: [1, 2] }`);
      // What is no input, such as labels, may be there, too.
      await writeFile(at('x.mjs'), `export default [{ ${inputs.join(', ')}, labels: [1, 2] }];`);
      const { outputs } = await comparisonOf('compare', 'types.onnx', 'types.onnx', '--inputs', 'x.mjs');
      expect(outputs.map(({ name, type, changed }) => [name, type, changed])).toEqual(
        types.map(([, name]) => [`same_${name}`, name, 0]),
      );
    }),
  );

  test.each<[content: string, code: number, message: RegExp]>([
    ['export const x = 1;', 2, /x\.mjs: the default export .* must give a list of batches\. found: nothing\. Such as/],
    ['export default 7;', 2, /must give a list of batches\. found: Number/],
    ['export default () => ({});', 2, /must give a list of batches\. found: Object/],
    [`export default ${batch(1, 2)};`, 2, /must give a list of batches\. found: Object\. Such as export default \[/],
    ['export default [];', 2, /x\.mjs: there is no batch of inputs/],
    ['export default [7];', 2, /x\.mjs: a batch must have its inputs by name\. found: Number/],
    ['export default [{ y: 1 }];', 2, /x\.mjs: the file has none of the inputs\. found: y\. allowed: x/],
    ['export default [{ x: [1, 2] }];', 2, /x: an input must have data and dims, .* found: Array/],
    ['export default [{ x: { data: [1, 2] } }];', 2, /x: an input must have data and dims, .* found: data/],
    [
      'export default [{ x: { data: [1, 2], dims: [1, 2] } }];',
      2,
      /x: the numbers of an input must be in a typed array\. found: Array\. allowed: Float32Array, /,
    ],
    [
      'export default [{ x: { data: new DataView(new ArrayBuffer(8)), dims: [1, 2] } }];',
      2,
      /must be in a typed array\. found: DataView/,
    ],
    [
      'export default [{ x: { data: new Float32Array(3), dims: [1, 2] } }];',
      2,
      /x: data and dims do not fit\. given: dims \[1, 2\]\. found: data of length 3/,
    ],
    [
      'export default [{ x: { data: new Float32Array(2), dims: [-1, -2] } }];',
      2,
      /x: an input must have data and dims/,
    ],
    ['export default [{ x: { data: new Float64Array(2), dims: [1, 2] } }];', 2, /x: the type does not fit/],
    [
      `export default (function* () { yield ${batch(1, 2)}; })();`,
      2,
      /can be read only once.* Export the generator fun/,
    ],
    ['export default [', 1, /x\.mjs: the module could not be loaded\. found: Unexpected end of input/],
    ['throw new Error("no data");', 1, /x\.mjs: the module could not be loaded\. found: no data/],
    ['export default () => { throw new Error("no data"); };', 1, /the module could not be run\. found: no data/],
    ['export default function* () { throw new Error("no data"); }', 1, /the module could not be run\. found: no data/],
    ['import "./none.mjs";', 1, /x\.mjs: the module could not be loaded\. found: Cannot find module/],
  ])('A module with mistakes is refused: %s', async (content, code, message) => {
    await inFolder(async () => {
      await writeFile(at('x.mjs'), content);
      expect(await failure('compare', 'a.onnx', 'b.onnx', '--inputs', 'x.mjs')).toEqual([
        code,
        expect.stringMatching(message),
      ]);
    })();
  });

  test(
    'A module that is missing is told as any other file',
    inFolder(async () => {
      const [code, message] = await failure('compare', 'a.onnx', 'b.onnx', '--inputs', 'none.mjs');
      expect([code, message]).toEqual([
        1,
        expect.stringMatching(/none\.mjs: could not be opened\. found: there is no such file/),
      ]);
    }),
  );
});

describe.concurrent('models that cannot be run', () => {
  const odd = (op: string) =>
    model({
      nodes: [node(op, 'x', 'z'), node('MatMul', 'z w', 'y', { name: 'head' })],
      initializers: [tensor('w', [2, 2])],
      inputs: { x: undefined },
      outputs: { y: undefined },
    });

  test(
    'Of a model that ONNX Runtime refuses, the weights are compared, and the command fails with the reason',
    inFolder(async () => {
      await writeFile(at('odd.onnx'), odd('Unheard'));
      for (const words of [
        ['compare', 'odd.onnx', 'odd.onnx'],
        ['compare', 'a.onnx', 'odd.onnx', '--input', 'x:1,2'],
        ['prune', 'odd.onnx', '-s', '50', '--layer-type', 'all', '-o', 'out.onnx', '--verify'],
      ]) {
        const { code, stdout, stderr } = await sparsifier(...words);
        expect(code).toBe(1);
        expect(stdout).toMatch(/^weights: .*, in /m);
        expect(stdout).not.toContain('output');
        expect(stderr).toMatch(
          /^sparsifier: odd\.onnx: onnxruntime-node cannot load the model\. found: .*Unheard.*\n$/,
        );
      }
    }),
  );

  test(
    'A hint says what an input without a shape may need',
    inFolder(async () => {
      await writeFile(at('odd.onnx'), odd('Identity'));
      const { code, stderr } = await sparsifier('compare', 'odd.onnx', 'odd.onnx');
      expect([code, stderr]).toEqual([
        1,
        expect.stringMatching(/^sparsifier: odd.* If x is no scalar, .* --input x:.*\n$/),
      ]);
      expect(await printed('compare', 'odd.onnx', 'odd.onnx', '--input', 'x:3,2')).toMatch(/output y: equal/);
    }),
  );
});

describe.concurrent('prune --verify', () => {
  const words = ['prune', 'a.onnx', '-s', '50', '--layer-type', 'all', '-g', 'weight'];

  test(
    'The sparse model is compared with the input',
    inFolder(async () => {
      const text = await printed(...words, '-o', 'out.onnx', '--verify', '--input', 'x:4,2');
      expect(text).toMatch(
        /\nwritten: out\.onnx\n\ncompared: a is a\.onnx, b is out\.onnx\nweights: 2 of 4 differ, in 1 of 1 layer, most in head: .*\n\noutput y: moved by .* of 4 rows\n$/,
      );
      const same = await comparisonOf('compare', 'a.onnx', 'out.onnx', '--input', 'x:4,2', '--no-sizes');
      const { verify } = JSON.parse(
        await printed(...words, '-o', 'again.onnx', '--verify', '--input', 'x:4,2', '--json'),
      ) as { verify: Comparison };
      expect({ a: 'a.onnx', b: 'out.onnx', ...verify }).toEqual(same);
    }),
  );

  test(
    'Files that are written to a folder, and with masks, are compared as well',
    inFolder(async () => {
      const text = await printed(
        ...words,
        '-o',
        'new/',
        '--verify',
        '--input',
        'x:4,2',
        '--save-masks',
        'm.safetensors',
      );
      expect(text).toMatch(/\ncompared: a is a\.onnx, b is new\/\nweights: 2 of 4 differ/);
      expect(await namesIn(at('new'))).toEqual(['a.onnx']);
    }),
  );

  test(
    'Without a runtime, the weights are compared',
    inFolder(async () => {
      const text = await printed(...words, '-o', 'out.onnx', '--verify');
      expect(text).toMatch(
        /weights: 2 of 4 differ, in 1 of 1 layer, most in head: .*\n\nThe outputs were not compared: .*npm install/,
      );
    }, []),
  );

  test.each<[string[], RegExp]>([
    [['-o', 'out.onnx', '--verify'], /axes of any size/],
    [['-o', 'out.onnx', '--input', 'x:1,2'], /--input is for comparing .* Add --verify/],
    [['-o', 'out.onnx', '--inputs', 'x.npz'], /--inputs is for comparing .* Add --verify/],
    [['--explain', '--verify'], /--verify is for comparing .* --explain writes no model/],
    [['--verify', '--input', 'x:1,2'], /-o, --out <file> must be given/],
  ])('With the options %j nothing is written', async (more, message) => {
    await inFolder(async () => {
      expect(await failure(...words, ...more)).toEqual([2, expect.stringMatching(message)]);
      expect((await namesIn(at())).filter((name) => name.startsWith('out'))).toEqual([]);
    })();
  });
});
