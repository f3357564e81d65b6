import { readFile, writeFile } from 'node:fs/promises';
import { fit, type FitReport } from 'sparsifier/fit';
import { readOnnx } from 'sparsifier/formats/onnx';
import { reportPage } from 'sparsifier/report';
import { describe, expect, test } from 'vitest';
import { namesIn } from '../support/command.js';
import { differsAt } from '../support/bytes.js';
import { normal, sizedNetwork as network } from '../support/fit-models.js';
import { at, foldersWith, printed, sparsifier } from '../support/folder.js';
import { npz } from '../support/npz-builder.js';
import { cellsOf, listIn, rowsOf, textIn } from '../support/page.js';

// Commands also write their report as a page.

const inputs = Array.from({ length: 8 }, (_, seed) => ({ shape: [2, 3, 8, 8], data: normal(384, seed + 50, 1) }));
const inFolder = foldersWith({
  'model.onnx': network,
  'inputs.npz': npz(Object.fromEntries(inputs.map((batch, index) => [`${index}.x`, batch]))),
});
const textAt = (name: string) => readFile(at(name), 'utf8');
const bytesAt = async (name: string) => new Uint8Array(await readFile(at(name)));

/** The words of each command, and what its page has. */
const commands: Readonly<Record<string, readonly string[]>> = {
  fit: ['--to', '13kB', '--allow', 'quantize'],
  'fit --allow remove': ['--to', '24kB', '--allow', 'remove', '--calibrate', 'inputs.npz'],
  prune: ['-s', '60', '--layer-type', 'all'],
  'prune --quantize': ['-s', '60', '--layer-type', 'all', '--quantize', 'int8'],
  quantize: ['--weights', 'int8'],
  'remove-channels': ['-s', '50', '--round-to', '1', '--no-verify'],
};

describe('--report', () => {
  test.each(Object.entries(commands))(
    'The command %s writes a page with the numbers that it prints, and the same model as without',
    inFolder(async (name, words) => {
      const [command] = name.split(' ') as [string];
      const run = (...more: string[]) => printed(command, 'model.onnx', ...words, ...more);
      await run('-o', 'plain.onnx');
      const text = await run('-o', 'out.onnx', '--report', 'report.html');
      expect(text).toMatch(/\nwritten: out\.onnx\nwritten: report\.html\n$/);
      expect(differsAt(await bytesAt('out.onnx'), await bytesAt('plain.onnx'))).toBe(-1);

      const json = JSON.parse(await run('-o', 'b.onnx', '--report', 'b.html', '--json'));
      expect([json.out, json.page]).toEqual(['b.onnx', 'b.html']);
      const page = await textAt('report.html');
      expect(await textAt('b.html')).toBe(page);
      expect(page).toContain('<h1><bdi>model.onnx</bdi></h1>');

      using before = await readOnnx(network);
      using after = await readOnnx(await bytesAt('out.onnx'));
      const rows = rowsOf(page, 'Layers');
      expect(rows.map(({ layer }) => layer)).toEqual(before.tensors.map(({ name }) => name));
      for (const { name: layer, shape, values } of after.tensors) {
        const row = rows.find((each) => each.layer === layer)!;
        const numbers = new Float32Array((await after.copy(values)).slice().buffer);
        const zeros = numbers.filter((value) => value === 0).length;
        expect([row.shape, row.weights, row.zeros]).toEqual([
          ...[shape.join(' x '), values.length.toLocaleString('en')],
          zeros.toLocaleString('en'),
        ]);
      }
      const channels = rows.flatMap((row) => (row.channels ? [`${row.layer}: ${row.channels}`] : []));
      expect(channels.length > 0).toBe(name === 'fit --allow remove');
      for (const each of channels) expect(text).toContain(each);
      const raw = cellsOf(page, 'Bytes of all files').find(([title]) => title === 'uncompressed')!;
      const [from, to] = [network.length, (await bytesAt('out.onnx')).length];
      expect(raw.slice(1, 3)).toEqual([from.toLocaleString('en'), to.toLocaleString('en')]);
      // In the words of the command line.
      expect(page).not.toContain('<code>');
      for (const note of listIn(page, 'Notes')) expect(text).toContain(note);
    }),
  );

  test(
    'The page of fit is that of the library but for the names of options, and sizes are counted if they are asked for',
    inFolder(async () => {
      await printed('fit', 'model.onnx', '--to', '9kB', '-o', 'out.onnx', '--report', 'report.html');
      const model = await readOnnx(network);
      const { model: small, report } = await fit(model, { target: '9kB' });
      const page = await reportPage(report as FitReport, { before: model, after: small, title: 'model.onnx' });
      const withoutOptions = (html: string) =>
        textIn(html)
          .replace(/`|--(?=[a-z])/g, '')
          .replace(/\b(data|calibrate)\b/g, 'data')
          .replace(/\s+/g, ' ');
      expect(withoutOptions(await textAt('report.html'))).toBe(withoutOptions(page));
      model.close();
      small.close();
      const words = ['prune', 'model.onnx', '-s', '70', '--layer-type', 'all', '-o', 'sparse.onnx'];
      const json = JSON.parse(await printed(...words, '--sizes', '--json', '--report', 'sizes.html'));
      const sizes = cellsOf(await textAt('sizes.html'), 'Bytes of all files').slice(1);
      expect(sizes.map(([, , after]) => after)).toEqual(
        ['brotli', 'gzip', 'raw'].map((key) => (json.sizes[key] as number).toLocaleString('en')),
      );
      for (const [, before] of sizes) expect(before).toMatch(/\d/);
    }),
  );

  test(
    'A recipe that is repeated has a page, too, which shows it',
    inFolder(async () => {
      const [search, again] = [
        ['--to', '13kB', '--save-recipe', 'recipe.json', '-o', 'out.onnx', '--report', 'search.html'],
        ['--recipe', 'recipe.json', '-o', 'again.onnx', '--report', 'again.html'],
      ];
      await printed('fit', 'model.onnx', ...search);
      expect(await printed('fit', 'model.onnx', ...again)).toMatch(/written: again\.onnx\nwritten: again\.html\n$/);
      const recipe = JSON.parse(await textAt('recipe.json'));
      const [page, other] = [await textAt('search.html'), await textAt('again.html')];
      for (const each of [page, other]) {
        const [, shown = ''] = /Recipe<\/summary>\s*<pre[^>]*>(.*?)<\/pre>/s.exec(each) ?? [];
        expect(JSON.parse(textIn(shown))).toEqual(recipe);
      }
      expect(rowsOf(other, 'Layers')).toEqual(rowsOf(page, 'Layers'));
    }),
  );

  test(
    'A page that exists is not overwritten without --force, nothing else is written then, and it must not be a file that is read',
    inFolder(async () => {
      await writeFile(at('report.html'), 'mine');
      const before = await namesIn(at());
      for (const [name, words] of Object.entries(commands)) {
        const [command] = name.split(' ') as [string];
        const refused = await sparsifier(command, 'model.onnx', ...words, '-o', 'out.onnx', '--report', 'report.html');
        expect([refused.code, refused.stderr]).toEqual([1, expect.stringMatching(/report\.html.*--force/s)]);
        for (const path of ['model.onnx', 'out.onnx']) {
          const same = await sparsifier(command, 'model.onnx', ...words, '-o', 'out.onnx', '--report', path, '--force');
          expect([same.code, same.stdout]).toEqual([expect.toBeOneOf([1, 2]), '']);
        }
        expect(await namesIn(at())).toEqual(before);
        expect(await textAt('report.html')).toBe('mine');
      }
      await printed('prune', 'model.onnx', '-s', '50', '-o', 'out.onnx', '--report', 'report.html', '--force');
      expect(await textAt('report.html')).toMatch(/^<!doctype html>/);
    }),
  );

  test.each([
    ['prune', '-s', '50', '--explain'],
    ['prune', '-s', '50', '--dry-run'],
    ['remove-channels', '--dry-run'],
  ])(
    'A page is refused for what writes nothing: %s, %s',
    inFolder(async (...words) => {
      const [command, ...rest] = words as unknown as [string, ...string[]];
      const { code, stderr } = await sparsifier(command, 'model.onnx', ...rest, '--report', 'report.html');
      expect([code, stderr]).toEqual([2, expect.stringMatching(/--report is for the report of what was done/)]);
      expect(await namesIn(at())).not.toContain('report.html');
    }),
  );
});
