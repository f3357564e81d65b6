import { cp, readFile, writeFile } from 'node:fs/promises';
import * as ort from 'onnxruntime-node';
import { Sparsifier, type SparsifierOptions } from 'sparsifier';
import { calibrate, readStatistics } from 'sparsifier/calibration';
import { readOnnx } from 'sparsifier/formats/onnx';
import { describe, expect, test } from 'vitest';
import { upscaler } from '../../examples/support/models.mjs';
import { differsAt } from '../support/bytes.js';
import { namesIn } from '../support/command.js';
import { at, foldersWith, printed, sparsifier } from '../support/folder.js';
import { npz } from '../support/npz-builder.js';
import { integersAttribute, mixedNumbers, model, node, numbers, tensor } from '../support/onnx-builder.js';
import { numbersOf, readGraphOf, zerosOf } from '../support/onnx-reader.js';
import { safetensorsFile } from '../support/safetensors-builder.js';
import { floats } from '../support/tfjs.js';

// Calibration and repair on the command line give what the library gives.

/** A convolution with a bias, and one without. */
const small = model({
  nodes: [
    node('Conv', 'x w0 b0', 'v0', { name: 'first', attributes: [integersAttribute('pads', [1, 1, 1, 1])] }),
    node('Relu', 'v0', 'v1'),
    node('Conv', 'v1 w1', 'y', { name: 'second' }),
  ],
  initializers: [
    tensor('w0', [6, 3, 3, 3], { data: mixedNumbers(162, 1) }),
    tensor('b0', [6], { data: mixedNumbers(6, 2) }),
    tensor('w1', [4, 6, 3, 3], { data: mixedNumbers(216, 3) }),
  ],
  inputs: { x: { shape: ['batch', 3, 8, 8] } },
  outputs: { y: { shape: ['batch', 4, 6, 6] } },
});

/** Batches of an input whose channels have much in common, so that some can make up for others. */
const batches = Array.from({ length: 8 }, (_, index) => {
  const [shared, own] = [64, 192].map((count) => new Float32Array(mixedNumbers(count, 10 + index).buffer)) as [
    Float32Array,
    Float32Array,
  ];
  const data = own.map((number, place) => 1 + shared[place % 64]! + 0.25 * number);
  return { shape: [1, 3, 8, 8], data: new Uint8Array(data.buffer) };
});
const numbered = Object.fromEntries(batches.map((batch, index) => [`${index}.x`, batch]));
const feeds = () =>
  batches.map(({ shape, data }) => ({ x: new ort.Tensor('float32', new Float32Array(data.buffer), shape) }));
const data = {
  createSession: (bytes: Uint8Array) => ort.InferenceSession.create(bytes, { logSeverityLevel: 4 }),
  batches: feeds,
};

/** The metadata of files with statistics, and a number of rows in them. */
const metadata = { format: 'sparsifier-statistics', version: '1' };
const count = (rows: number) => ({ shape: [], dtype: 'I64', data: numbers('int64', [rows]) });

/** Runs a test in a folder of its own with a model and its inputs. */
const inFolder = foldersWith({ 'model.onnx': small, 'inputs.npz': npz(numbered) });
/** `prune model.onnx -s 50 -o out.onnx`, and what else is asked. */
const prune = (...words: string[]) => printed('prune', 'model.onnx', '-s', '50', '-o', 'out.onnx', ...words);
const bytesIn = async (...names: string[]) => new Uint8Array(await readFile(at(...names)));

/** What the library makes of the model: its bytes, and the reports. */
async function made(
  options: SparsifierOptions,
  repair: Parameters<Sparsifier['repair']>[0] | undefined,
): Promise<{ bytes: Uint8Array; report: unknown; repaired: unknown }> {
  using dense = await readOnnx(small);
  const statistics = await calibrate(dense, data);
  const sparsifier = new Sparsifier(dense, { ...options, statistics });
  const report = await sparsifier.sparsifyModel(50);
  const repaired = repair && (await sparsifier.repair(repair));
  const inJson = (value: unknown) => value && (JSON.parse(JSON.stringify(value)) as unknown);
  return { bytes: await dense.bytes(), report: inJson(report), repaired: inJson(repaired) };
}

/** How many zeros a constant of a file has. */
async function zerosIn(file: string, name: string): Promise<number> {
  const bytes = await bytesIn(file);
  return zerosOf(numbersOf(bytes, readGraphOf(bytes).constants.get(name)!));
}

describe.concurrent('prune --repair', () => {
  test(
    'The file is what the library writes, and both reports are in the JSON',
    inFolder(async () => {
      const words = ['--criteria', 'fluctuation', '--calibrate', 'inputs.npz', '--repair', 'solve'];
      const text = await prune(...words, '--json');
      const { repair, notes, layers, bytes: size } = JSON.parse(text) as Record<string, unknown[]>;
      const { bytes, report, repaired } = await made({ criteria: 'fluctuation' }, { method: 'solve' });
      expect(differsAt(await bytesIn('out.onnx'), bytes)).toBe(-1);
      expect(size, 'with the bias that was added').toBe(bytes.length);
      expect(repair).toEqual(repaired);
      expect({ layers, notes }).toEqual({ layers: (report as typeof layers & object)['layers' as never], notes });
      expect(repair).toMatchObject({
        layers: [
          { name: 'first', isRepaired: true, bias: 'own', rows: 6 * 64, heldOutRows: 2 * 64, columns: 27 },
          { name: 'second', isRepaired: true, bias: 'added', rows: 6 * 36, heldOutRows: 2 * 36, columns: 54 },
        ],
      });
      expect(await zerosIn('out.onnx', 'w0')).toBe(81);
      expect(await namesIn(at('.')).then((names) => names.filter((name) => !name.startsWith('node_modules')))).toEqual([
        'inputs.npz',
        'model.onnx',
        'out.onnx',
      ]);
    }),
  );

  test.each<[string[], SparsifierOptions, Parameters<Sparsifier['repair']>[0]]>([
    [['--repair', 'bias'], {}, { method: 'bias' }],
    [['--repair', 'solve', '--no-add-bias'], {}, { method: 'solve', addBias: false }],
    [['--repair', 'solve', '--repair-inputs', 'dense'], {}, { method: 'solve', inputs: 'dense' }],
    [
      ['--repair', 'solve', '--repair-inputs', 'pruned', '--criteria', 'fluctuation'],
      { criteria: 'fluctuation' },
      { method: 'solve', inputs: 'pruned', ...data },
    ],
    [
      ['--repair', 'solve', '--repair-inputs', 'pruned', '--memory', '0.03'],
      {},
      { method: 'solve', inputs: 'pruned', ...data, memory: 0.03 * 2 ** 20 },
    ],
    [['--repair', 'solve', '--criteria', 'wanda'], { criteria: 'wanda' }, { method: 'solve' }],
    [['--repair', 'solve', '-g', 'kernel'], { granularity: 'kernel' }, { method: 'solve' }],
  ])('With %j the file is what the library writes', async (words, options, repair) => {
    await inFolder(async () => {
      await prune('--calibrate', 'inputs.npz', ...words);
      const { bytes } = await made(options, repair);
      expect(differsAt(await bytesIn('out.onnx'), bytes)).toBe(-1);
      const mask = await made(options, undefined);
      expect(differsAt(bytes, mask.bytes)).not.toBe(-1);
    })();
  });

  test(
    'The same inputs give the same file, whatever form they have',
    inFolder(async () => {
      await writeFile(at('inputs.safetensors'), safetensorsFile(numbered));
      await writeFile(
        at('inputs.mjs'),
        `export default async function* () {
          for (const numbers of ${JSON.stringify(batches.map(({ data }) => [...new Float32Array(data.buffer)]))})
            yield { x: { data: Float32Array.from(numbers), dims: [1, 3, 8, 8] } };
        }`,
      );
      const words = ['--repair', 'solve', '--force'];
      await prune('--calibrate', 'inputs.npz', ...words);
      const expected = await bytesIn('out.onnx');
      for (const name of ['inputs.safetensors', 'inputs.mjs']) {
        await prune('--calibrate', name, ...words);
        expect(differsAt(await bytesIn('out.onnx'), expected), name).toBe(-1);
      }
    }),
  );

  test(
    'The terminal shows the repair below the table of what was removed',
    inFolder(async () => {
      const text = await prune('--calibrate', 'inputs.npz', '--repair', 'solve');
      expect(text).toMatch(/^2 layers, /);
      expect(text.lastIndexOf('\nfirst ')).toBeGreaterThan(0);
      expect(text).toMatch(/\n\nwritten: out\.onnx\n$/);
      expect(text).not.toMatch(/`|--repair solve/);
    }),
  );

  test(
    'Each fact about a repair is told once, and the warning about much that was removed only if nothing is repaired',
    inFolder(async () => {
      await writeFile(at('one.npz'), npz({ x: batches[0]! }));
      const words = ['--force', '-g', 'kernel', '--max-sparsity', '99'];
      const much = async (...more: string[]) =>
        printed('prune', 'model.onnx', '-s', '90', '-o', 'out.onnx', ...words, '--calibrate', 'one.npz', ...more);
      expect(await much()).toMatch(/^warning: so much was removed that networks rarely work without training/m);
      const text = await much('--repair', 'solve');
      expect(text).not.toContain('without training');
      expect(text).toMatch(/^ {2}so much was removed that the model depends on the repair below/m);
      expect(text).toMatch(/^layer +kind +shape +rows +columns +error before +error after +bias +result$/m);
      expect(text).toMatch(/^2 layers +2 repaired$/m);
      expect(text.match(/held out/g)).toHaveLength(1);
      expect(text).toMatch(
        /^ {2}no rows are held out for 2 layers, .* larger --hold-out, hold some out: first, second$/m,
      );
      const filters = await much('-g', 'filter', '--repair', 'solve');
      expect(filters).toMatch(/^warning: so much was removed that networks rarely work without training/m);
      expect(filters).toMatch(/^2 layers +0 repaired$/m);
      expect(filters.match(/nothing to repair/g)).toHaveLength(1);
    }),
  );

  test(
    'Calibration without a repair is told what else it is good for',
    inFolder(async () => {
      const note = /the weights that are kept can make up for those that were removed: add --repair solve/;
      const words = ['--calibrate', 'inputs.npz', '--criteria', 'wanda'];
      expect(await prune(...words)).toMatch(note);
      const { notes, repair } = JSON.parse(await prune(...words, '--json', '--force')) as Record<string, string[]>;
      expect({ notes, repair }).toEqual({ notes: [expect.stringMatching(note)], repair: undefined });
      const { bytes } = await made({ criteria: 'wanda' }, undefined);
      expect(differsAt(await bytesIn('out.onnx'), bytes)).toBe(-1);
      expect(await prune(...words, '--repair', 'bias', '--force')).not.toMatch(note);
      expect(await printed('prune', 'model.onnx', '-s', '50', '-o', 'out.onnx', '--force')).not.toMatch(note);
    }),
  );

  test(
    'The option --explain ranks with the criteria that need statistics, and writes nothing',
    inFolder(async () => {
      const words = ['--criteria', 'fluctuation', '--calibrate', 'inputs.npz', '--explain'];
      const text = await printed('prune', 'model.onnx', '-s', '50', ...words);
      expect(text).toMatch(/^first +conv2d +yes +162 +81 +of kind conv2d; ranked by itself$/m);
      expect(await namesIn(at())).not.toContain('out.onnx');
    }),
  );

  test(
    'Masks that were saved are repaired like those of the same call',
    inFolder(async () => {
      const measured = ['--calibrate', 'inputs.npz'];
      await prune('--criteria', 'fluctuation', ...measured, '--repair', 'solve', '--save-masks', 'masks.safetensors');
      const loaded = ['--load-masks', 'masks.safetensors', ...measured, '--repair', 'solve'];
      await printed('prune', 'model.onnx', '-o', 'again.onnx', ...loaded);
      expect(differsAt(await bytesIn('again.onnx'), await bytesIn('out.onnx'))).toBe(-1);
    }),
  );

  test(
    'The option --verify compares the repaired model, which is closer to the input than the mask alone',
    inFolder(async () => {
      const moved = async (...words: string[]) => {
        const text = await prune(
          '--calibrate',
          'inputs.npz',
          '--force',
          ...words,
          '--verify',
          '--inputs',
          'inputs.npz',
          '--json',
        );
        return (JSON.parse(text) as { verify: { outputs: [{ relativeRms: number }] } }).verify.outputs[0].relativeRms;
      };
      expect(await moved('--repair', 'solve')).toBeLessThan(await moved());
    }),
  );
});

describe.concurrent('calibrate', () => {
  test(
    'The file has the statistics of the library, and --statistics does what --calibrate does',
    inFolder(async () => {
      const text = await printed('calibrate', 'model.onnx', 'inputs.npz', '-o', 'statistics.safetensors');
      expect(text).toMatch(/^layer +rows +held out +columns +groups +moments\n-+\n/);
      expect(text).toMatch(/^first +384 +128 +27 +1 +all$/m);
      expect(text).toMatch(/^2 layers\n\nwritten: statistics\.safetensors\n$/m);
      using dense = await readOnnx(small);
      const expected = await calibrate(dense, data);
      expect(differsAt(await bytesIn('statistics.safetensors'), await expected.bytes())).toBe(-1);
      const words = ['--criteria', 'fluctuation', '--repair', 'solve', '--force'];
      await prune(...words, '--statistics', 'statistics.safetensors');
      const read = await bytesIn('out.onnx');
      await prune(...words, '--calibrate', 'inputs.npz');
      expect(differsAt(read, await bytesIn('out.onnx'))).toBe(-1);
    }),
  );

  test(
    'The share that is held out, and the memory, are options',
    inFolder(async () => {
      const words = ['calibrate', 'model.onnx', 'inputs.npz', '-o', 'statistics.safetensors', '--json'];
      const facts = { groups: 1, isDiagonal: false };
      expect(JSON.parse(await printed(...words, '--hold-out', '0.5'))).toEqual({
        layers: [
          { name: 'first', ...facts, columns: 27, rows: 256, heldOutRows: 256 },
          { name: 'second', ...facts, columns: 54, rows: 144, heldOutRows: 144 },
        ],
        skipped: [],
        notes: [],
        out: 'statistics.safetensors',
      });
      // Sums of 54 x 54 numbers take more than 10 KB, those of 54 do not.
      const { layers } = JSON.parse(await printed(...words, '--force', '--memory', '0.01')) as {
        layers: { isDiagonal: boolean }[];
      };
      expect(layers.at(-1)!.isDiagonal).toBe(true);
      const half = await readStatistics(at('statistics.safetensors'));
      expect(half.layers.get('second')!.moment.length).toBe(54);
      await prune('--calibrate', 'inputs.npz', '--repair', 'solve', '--hold-out', '0.5');
      const { bytes } = await made({}, { method: 'solve' });
      expect(differsAt(await bytesIn('out.onnx'), bytes)).not.toBe(-1);
    }),
  );

  test(
    'A module is read again in each pass, and one that gives other batches then is refused',
    inFolder(async () => {
      const batch = '({ x: { data: new Float32Array(192).fill(1), dims: [1, 3, 8, 8] } })';
      const words = ['calibrate', 'model.onnx', 'inputs.mjs', '-o', 's', '--json', '--hold-out', '0'];
      // Enough for the sums of either layer, but not for both.
      const passes = ['--memory', '0.03'];
      await writeFile(at('inputs.mjs'), `export default () => { console.error('read'); return [${batch}]; };`);
      expect(await sparsifier(...words)).toMatchObject({ code: 0, stderr: 'read\n' });
      expect(await sparsifier(...words, ...passes, '--force')).toMatchObject({
        code: 0,
        stderr: expect.stringMatching(/^(read\n){2,}$/),
      });
      await writeFile(at('inputs.mjs'), `let size = 9; export default () => new Array(size--).fill(${batch});`);
      await fails([...words, ...passes, '--force'], 2, /inputs\.mjs: .* must give the same batches .* found: \d later/);
    }),
  );

  test.each<[words: string[], code: number, message: RegExp]>([
    [['calibrate'], 2, /missing required argument 'model'\n\(Such as: sparsifier calibrate model\.onnx inputs\.npz -o/],
    [['calibrate', 'model.onnx', 'inputs.npz'], 2, /-o, --out <file> must be given\. Such as: sparsifier calibrate/],
    [['calibrate', 'model.onnx', 'none.npz', '-o', 's'], 1, /none\.npz: could not be opened/],
    [['calibrate', 'none.onnx', 'inputs.npz', '-o', 's'], 1, /none\.onnx: could not be opened/],
    [['calibrate', 'model.onnx', 'inputs.npz', '-o', 'there'], 1, /there: .*exists/],
    [['calibrate', 'model.onnx', 'inputs.npz', '-o', 'inputs.npz', '--force'], 1, /input file cannot be overwritten/],
    [['calibrate', 'model.onnx', 'inputs.npz', '-o', 'model.onnx', '--force'], 1, /input file cannot be overwritten/],
    [['calibrate', 'model.onnx', 'inputs.npz', '-o', 's', '--hold-out', '1'], 2, /from 0 to less than 1/],
    [['calibrate', 'model.onnx', 'inputs.npz', '-o', 's', '--hold-out', 'x'], 2, /from 0 to less than 1/],
    [['calibrate', 'model.onnx', 'inputs.npz', '-o', 's', '--memory', '0'], 2, /a number above 0/],
    [['calibrate', 'model.onnx', 'inputs.npz', '-o', 's', '--layer', 'a=dense'], 2, /unknown option '--layer'/],
    [['calibrate', 'model.onnx', 'other.npz', '-o', 's'], 2, /other\.npz: the file has none of the inputs\. found: z/],
    [['calibrate', 'model.onnx', 'narrow.npz', '-o', 's'], 2, /x: the shape does not fit/],
    [['calibrate', 'model.onnx', 'nan.npz', '-o', 's'], 1, /first: an input of the layer is infinite or not a number/],
    [
      ['calibrate', 'model.safetensors', 'inputs.npz', '-o', 's'],
      2,
      /model\.safetensors: only ONNX models .* --statis/,
    ],
  ])('The command %j ends with an error message', async (words, code, message) => {
    await inFolder(async () => {
      await writeFile(at('there'), '');
      await writeFile(at('other.npz'), npz({ z: batches[0]! }));
      await writeFile(at('narrow.npz'), npz({ x: { ...batches[0]!, shape: [1, 6, 4, 8] } }));
      await writeFile(at('nan.npz'), npz({ x: { shape: [1, 3, 8, 8], data: new Float32Array(192).fill(NaN) } }));
      await writeFile(at('model.safetensors'), safetensorsFile({ 'fc.weight': { shape: [2, 2] } }));
      await fails(words, code, message);
    })();
  });
});

/** A failure is told in words: nothing on stdout, no stack trace, and nothing written. */
async function fails(words: readonly string[], code: number, message: RegExp): Promise<void> {
  const before = await namesIn(at('.'));
  const ended = await sparsifier(...words);
  expect(ended.stderr).not.toMatch(/^\s+at |node:|Error:|`/m);
  expect({ code: ended.code, stdout: ended.stdout, stderr: ended.stderr }).toEqual({
    code,
    stdout: '',
    stderr: expect.stringMatching(message),
  });
  expect(await namesIn(at('.'))).toEqual(before);
  expect(differsAt(await bytesIn('model.onnx'), small)).toBe(-1);
}

describe.concurrent('errors of prune', () => {
  const inputs = ['--calibrate', 'inputs.npz'];
  test.each<[words: string[], code: number, message: RegExp]>([
    [
      ['--criteria', 'wanda'],
      2,
      /the criterion wanda needs .* with --calibrate <file>, or statistics with --statistics/,
    ],
    [['--criteria', 'fluctuation'], 2, /the criterion fluctuation needs statistics .* --calibrate <file>/],
    [['--repair', 'solve'], 2, /--repair needs statistics .* --calibrate <file>/],
    [['--repair', 'sovle', ...inputs], 2, /--repair.*Allowed choices are solve, bias\. Did you mean solve\?/],
    [[...inputs, '--statistics', 's'], 2, /--calibrate and --statistics cannot be combined/],
    [[...inputs, '--no-add-bias'], 2, /--no-add-bias is for models that are repaired\. Add --repair solve/],
    [
      [...inputs, '--repair-inputs', 'pruned'],
      2,
      /--repair-inputs is for models that are repaired\. Add --repair solve/,
    ],
    [['--statistics', 's', '--hold-out', '0.5'], 2, /--hold-out is for .* Give them with --calibrate <file>/],
    [['--memory', '100'], 2, /--memory is for .* Give them with --calibrate <file>/],
    [['--statistics', 's', '--repair', 'solve', '--repair-inputs', 'pruned'], 2, /measures .* with --calibrate <file>/],
    [[...inputs, '--repair', 'solve', '--explain'], 2, /--repair cannot be combined with --explain/],
    [['--calibrate', ''], 2, /--calibrate.*It must be the name of a file/],
    [['--calibrate', 'none.mjs'], 1, /none\.mjs: could not be opened/],
    [['--statistics', 'none.safetensors'], 1, /none\.safetensors: could not be opened/],
    [['--statistics', 'inputs.npz'], 1, /inputs\.npz/],
    [['--statistics', 'other.safetensors', '--repair', 'solve'], 1, /statistics are those of another model/],
    [['--calibrate', 'inputs.onnx', '-o', 'inputs.onnx', '--force'], 1, /input file cannot be overwritten/],
    [['--statistics', 'inputs.onnx', '-o', 'inputs.onnx', '--force'], 1, /input file cannot be overwritten/],
  ])('The options %j are refused', async (words, code, message) => {
    await inFolder(async () => {
      await cp(at('inputs.npz'), at('inputs.onnx'));
      const squares = new Uint8Array(Float32Array.of(4, 1, 1, 9).buffer);
      const other = { moment: { shape: [1, 2, 2], data: squares }, mean: { shape: [1, 2] }, rows: count(100) };
      await writeFile(
        at('other.safetensors'),
        safetensorsFile(Object.fromEntries(Object.entries(other).map(([name, each]) => [`other/${name}`, each])), {
          metadata,
        }),
      );
      await fails(['prune', 'model.onnx', '-s', '50', '-o', 'out.onnx', ...words], code, message);
    })();
  });

  test(
    'Without ONNX Runtime the error says how to install it',
    inFolder(async () => {
      const message = /onnxruntime-node runs the model .* Run npm install onnxruntime-node in this folder/;
      await fails(['prune', 'model.onnx', '-s', '50', '-o', 'out.onnx', ...inputs], 1, message);
      await fails(['calibrate', 'model.onnx', 'inputs.npz', '-o', 's'], 1, message);
    }, []),
  );

  test(
    'A model that ONNX Runtime cannot load or run is an error with the reason',
    inFolder(async () => {
      const odd = (op: string) =>
        model({
          nodes: [node(op, 'x', 'z'), node('Conv', 'z w', 'y', { name: 'first' })],
          initializers: [tensor('w', [6, 3, 3, 3])],
          inputs: { x: undefined },
          outputs: { y: undefined },
        });
      await writeFile(at('odd.onnx'), odd('Unheard'));
      await fails(
        ['calibrate', 'odd.onnx', 'inputs.npz', '-o', 's'],
        1,
        /odd\.onnx: onnxruntime-node cannot load .*Unhe/,
      );
      await writeFile(at('odd.onnx'), odd('Identity'));
      await writeFile(at('flat.npz'), npz({ x: { shape: [192], data: batches[0]!.data } }));
      await fails(
        ['calibrate', 'odd.onnx', 'flat.npz', '-o', 's'],
        1,
        /odd\.onnx: onnxruntime-node cannot run the model/,
      );
    }),
  );

  test(
    'Models of other formats take statistics from a file, and are not run',
    inFolder(async () => {
      await cp(upscaler.folder, at('model'), { recursive: true });
      const words = ['-s', '50', '--layer-type', 'all'];
      await fails(
        ['prune', 'model/model.json', ...words, '-o', 'out/', ...inputs],
        2,
        /model\/model\.json: only ONNX models can be calibrated here\. found: a TensorFlow\.js model\. .*--statistics/,
      );
      const weights = floats(1, 2, 3, 4);
      await writeFile(at('fc.safetensors'), safetensorsFile({ 'fc.weight': { shape: [1, 4], data: weights } }));
      const statistics = {
        // The inputs of the first two columns vary, and the others are constant.
        'fc/moment': { shape: [1, 4, 4], data: floats(9, 0, 0, 0, 0, 9, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1) },
        'fc/mean': { shape: [1, 4], data: floats(0, 0, 1, 1) },
        'fc/rows': count(100),
      };
      await writeFile(at('s.safetensors'), safetensorsFile(statistics, { metadata }));
      const options = ['--criteria', 'fluctuation', '--statistics', 's.safetensors', '-o', 'out.safetensors'];
      await printed('prune', 'fc.safetensors', ...words, ...options);
      const after = await bytesIn('out.safetensors');
      expect(after).toEqual(safetensorsFile({ 'fc.weight': { shape: [1, 4], data: floats(1, 2, 0, 0) } }));
    }),
  );
});
