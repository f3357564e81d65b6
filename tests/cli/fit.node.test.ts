import { readFile, writeFile } from 'node:fs/promises';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { fit, type FitRecipe } from 'sparsifier/fit';
import { readOnnx } from 'sparsifier/formats/onnx';
import { describe, expect, test } from 'vitest';
import { differsAt } from '../support/bytes.js';
import { namesIn } from '../support/command.js';
import { namedNetwork, network, normal } from '../support/fit-models.js';
import { at, foldersWith, printed, sparsifier } from '../support/folder.js';
import { npz } from '../support/npz-builder.js';

// The command finds what the library finds.

const batches = Array.from({ length: 8 }, (_, seed) => ({ shape: [2, 3, 8, 8], data: normal(384, seed + 50, 1) }));
const inputs = npz(Object.fromEntries(batches.map((batch, index) => [`${index}.x`, batch])));
const data = {
  createSession: (bytes: Uint8Array) => InferenceSession.create(bytes, { logSeverityLevel: 4 }),
  batches: () => batches.map(({ shape, data }) => ({ x: new Tensor('float32', data, shape) })),
};

/** Judges by how many bytes a file has, and says which parts it was asked for. */
const judge = `
  import { appendFileSync } from 'node:fs';
  export default async (files, { part, signal }) => {
    if (signal !== undefined && !(signal instanceof AbortSignal)) throw new Error('no signal');
    appendFileSync('parts.txt', part + ' ');
    const [bytes] = files.values();
    return bytes.length / 1000;
  };
`;
const inFolder = foldersWith({
  'model.onnx': network,
  'named.onnx': namedNetwork,
  'inputs.npz': inputs,
  'judge.mjs': new TextEncoder().encode(judge),
  'loss.mjs': new TextEncoder().encode(
    `export const higherIsBetter = false;\n${judge.replace('bytes.length', '-bytes.length')}`,
  ),
});
const bytesIn = async (name: string) => new Uint8Array(await readFile(at(name)));

describe('sparsifier fit', () => {
  test(
    'The file is that of the library, below the target, and the report is printed as text or JSON',
    inFolder(async () => {
      const text = await printed('fit', 'model.onnx', '--to', '6.5kB', '--calibrate', 'inputs.npz', '-o', 'out.onnx');
      using model = await readOnnx(network);
      const { model: small, report } = await fit(model, { target: '6.5kB', data });
      using fitted = small;
      expect(differsAt(await bytesIn('out.onnx'), await fitted.bytes())).toBe(-1);
      expect(text).toContain(`-> ${report.sizes.after.brotli.toLocaleString('en')} bytes after brotli -q 11`);
      expect(text).toMatch(/of the target of 6,500\n/);
      expect(text).toMatch(/relative error of the outputs .* --evaluate would/);
      expect(text).toMatch(/\nwritten: out\.onnx\n$/);
      expect(text).not.toContain('`');
      const json = await printed(
        'fit',
        'model.onnx',
        '--to',
        '6500',
        '--calibrate',
        'inputs.npz',
        '-o',
        'b.onnx',
        '--json',
      );
      expect(JSON.parse(json)).toEqual(
        JSON.parse(JSON.stringify({ ...report, out: 'b.onnx' }, null, 2).replaceAll('`evaluate`', '--evaluate')),
      );
    }),
  );

  test(
    'A recipe gives the same file in another process, from what the command saved, and elsewhere with its statistics',
    inFolder(async () => {
      const saving = ['--save-recipe', 'recipe.json', '--save-statistics', 'inputs.safetensors'];
      const words = ['fit', 'model.onnx', '--calibrate', 'inputs.npz', '-o'];
      const text = await printed(...words, 'out.onnx', '--to', '6.5kB', ...saving);
      expect(text).toMatch(/\nwritten: out\.onnx\nwritten: recipe\.json\nwritten: inputs\.safetensors\n$/);
      const recipe = JSON.parse(await readFile(at('recipe.json'), 'utf8')) as { $schema: string };
      expect(recipe.$schema).toBe('./node_modules/sparsifier/recipe.schema.json');
      for (const further of [[], ['--statistics', 'inputs.safetensors']]) {
        const again = await printed(...words, 'again.onnx', '--recipe', 'recipe.json', ...further, '--force');
        expect(again).toMatch(/the files are those that the recipe was made with\n[^]*\nwritten: again\.onnx\n$/);
        expect(differsAt(await bytesIn('again.onnx'), await bytesIn('out.onnx'))).toBe(-1);
      }
      const json = JSON.parse(await printed(...words, 'b.onnx', '--recipe', 'recipe.json', '--json'));
      expect(json).toMatchObject({ recipe, isSame: true, out: 'b.onnx' });
      const before = await namesIn(at());
      await writeFile(at('wrong.json'), JSON.stringify({ ...recipe, quantise: {} }));
      for (const [wrong, code, message] of [
        [['--recipe', 'recipe.json', '--to', '3kB'], 2, /--to is for a search/],
        [['--recipe', 'recipe.json', '--layer-type', 'dense'], 2, /--layer-type is for a search/],
        [['--recipe', 'wrong.json'], 1, /unknown key\. given: quantise/],
        [['--recipe', 'inputs.npz'], 1, /a recipe is JSON/],
        [['--recipe', 'missing.json'], 1, /missing\.json/],
      ] as const) {
        const ended = await sparsifier(...words, 'c.onnx', ...wrong);
        expect([ended.code, ended.stderr]).toEqual([code, expect.stringMatching(message)]);
      }
      const missing = await sparsifier('fit', 'model.onnx', '-o', 'c.onnx', '--recipe', 'recipe.json');
      expect([missing.code, missing.stderr]).toEqual([2, expect.stringMatching(/needs .*--(statistics|calibrate)/)]);
      expect(await namesIn(at())).toEqual([...before, 'wrong.json'].sort());
    }),
  );

  test(
    'A module judges, larger is better unless it says otherwise, and the end is judged for the part final',
    inFolder(async () => {
      for (const [module, sign] of [
        ['judge.mjs', 1],
        ['loss.mjs', -1],
      ] as const) {
        const words = ['--max-drop', '25', '--evaluate', module, '--allow', 'quantize', '--encoding', 'gzip'];
        const json = await printed('fit', 'model.onnx', ...words, '-o', 'out.onnx', '--json', '--force');
        const { outcome, final, chosen, maxDrop } = JSON.parse(json);
        const [before, after] = [network.length / 1000, (await bytesIn('out.onnx')).length / 1000];
        expect(outcome).toMatchObject({ by: 'evaluate', dense: sign * before, fitted: sign * after });
        expect(final).toEqual({ dense: sign * before, fitted: sign * after, drop: before - after });
        expect([chosen.form, chosen.amount, maxDrop]).toEqual(['float16', 0, 25]);
        const parts = (await readFile(at('parts.txt'), 'utf8')).trim().split(' ');
        expect(parts.slice(-2)).toEqual(['final', 'final']);
        expect(parts.filter((part) => part === 'search').length).toBeGreaterThan(1);
      }
    }),
  );

  test(
    'Channels of a model that does not say how large its inputs are go with --input, which the error without it asks for',
    inFolder(async () => {
      const words = ['--to', '24kB', '--encoding', 'raw', '--allow', 'remove', '--calibrate', 'inputs.npz'];
      const missing = await sparsifier('fit', 'named.onnx', ...words, '-o', 'out.onnx');
      const asking = /No channels could go: .* Give the shapes of the inputs with --input/;
      expect([missing.code, missing.stderr]).toEqual([1, expect.stringMatching(asking)]);
      const saving = ['--input', 'x:2,3,8,8', '--save-recipe', 'recipe.json', '-o', 'out.onnx'];
      await printed('fit', 'named.onnx', ...words, ...saving);
      const { remove } = JSON.parse(await readFile(at('recipe.json'), 'utf8')) as FitRecipe;
      expect(remove!.inputShapes).toEqual({ x: [2, 3, 8, 8] });
      await printed('fit', 'named.onnx', '--calibrate', 'inputs.npz', '--recipe', 'recipe.json', '-o', 'b.onnx');
      expect(differsAt(await bytesIn('b.onnx'), await bytesIn('out.onnx'))).toBe(-1);
    }),
  );

  test.each([
    [['--to', '3kB', '--input', 'x:1', '-o', 'out.onnx'], /Give --allow/],
    [['--to', '3kB'], /-o, --out <file> must be given/],
    [['-o', 'out.onnx'], /--to <size> or --max-drop <drop> must be given/],
    [['--to', '3 mb', '-o', 'out.onnx'], /Write it as 3MB/],
    [['--to', '3kB', '--max-drop', '1', '-o', 'out.onnx'], /Give --evaluate/],
    [['--max-drop', '-1', '-o', 'out.onnx'], /not negative/],
    [['--to', '3kB', '--allow', 'shrink', '-o', 'out.onnx'], /quantize, prune/],
    [['--to', '3kB', '--encoding', 'zip', '-o', 'out.onnx'], /br, gzip, raw/],
    [['--to', '3kB', '--memory', '1', '-o', 'out.onnx'], /--calibrate/],
    [['--to', '3kB', '--save-statistics', 's', '-o', 'out.onnx'], /--calibrate/],
    [['--recipe', 'r.json'], /-o, --out <file> must be given/],
  ])('The words %j are wrong usage, and say what would work', async (words, message) => {
    await inFolder(async () => {
      const { code, stderr } = await sparsifier('fit', 'model.onnx', ...words);
      expect([code, stderr]).toEqual([2, expect.stringMatching(message)]);
    })();
  });

  test(
    'What fails leaves no file: a target that is too small, a module without a function, one that throws, an output that exists',
    inFolder(async () => {
      await writeFile(at('none.mjs'), 'export const accuracy = 1;');
      await writeFile(at('throws.mjs'), 'export default () => { throw new Error("no samples here"); };');
      const before = await namesIn(at());
      for (const [words, code, message] of [
        [['--to', '300B'], 1, /found: [\d,]+ bytes/],
        [['--to', '300B', '--allow', 'quantize'], 1, /Add prune to --allow/],
        [['--to', '9kB', '--evaluate', 'none.mjs'], 2, /must be a function/],
        [['--to', '9kB', '--evaluate', 'throws.mjs'], 1, /no samples here/],
        [['--to', '9kB', '--evaluate', 'missing.mjs'], 1, /missing\.mjs/],
      ] as const) {
        const ended = await sparsifier('fit', 'model.onnx', ...words, '-o', 'out.onnx');
        expect([ended.code, ended.stderr]).toEqual([code, expect.stringMatching(message)]);
      }
      const refused = await sparsifier(
        'fit',
        'model.onnx',
        '--to',
        '9kB',
        '-o',
        'judge.mjs',
        '--evaluate',
        'judge.mjs',
      );
      expect([refused.code, refused.stdout]).toEqual([1, '']);
      expect(await namesIn(at())).toEqual(before);
    }),
  );
});
