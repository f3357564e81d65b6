import { readFile } from 'node:fs/promises';
import { readOnnx } from 'sparsifier/formats/onnx';
import { sensitivity } from 'sparsifier/sensitivity';
import { describe, expect, test } from 'vitest';
import { differsAt } from '../support/bytes.js';
import { channelsModel } from '../support/dead-channels.js';
import { network } from '../support/fit-models.js';
import { at, foldersWith, printed, sparsifier } from '../support/folder.js';

// The command finds what the library finds.

/** Judges by the bytes of a file that are not 0, and says which parts it was asked for. */
const judge = `
  import { appendFileSync } from 'node:fs';
  export default (files, { part }) => {
    appendFileSync('parts.txt', part + ' ');
    const [bytes] = files.values();
    return bytes.reduce((count, byte) => count + (byte === 0 ? 0 : 1), 0);
  };
`;
const unsized = channelsModel({ shape: ['batch', 'channels', 'height', 'width'] });
const inFolder = foldersWith({
  'unsized.onnx': unsized,
  'model.onnx': network,
  'judge.mjs': new TextEncoder().encode(judge),
  'loss.mjs': new TextEncoder().encode(`export const higherIsBetter = false;\n${judge}`),
  'wrong.mjs': new TextEncoder().encode("export default () => 'much';"),
});
const words = ['sensitivity', 'model.onnx', '--evaluate', 'judge.mjs', '--levels', '20,60'];

/** What the library finds. */
async function expected(options: Parameters<typeof sensitivity>[2], file = network) {
  using model = await readOnnx(file);
  const left = async () => (await model.bytes()).reduce((count, byte) => count + (byte === 0 ? 0 : 1), 0);
  return await sensitivity(model, left, { levels: [20, 60], granularity: 'weight', criteria: 'magnitude', ...options });
}

describe('sparsifier sensitivity', () => {
  test(
    'The table and the image are those of the library, and the model file stays as it is',
    inFolder(async () => {
      const found = await expected({});
      expect(await printed(...words, '--plot', 'map.svg')).toBe(`${found.table()}\n\nwritten: map.svg\n`);
      expect(await readFile(at('map.svg'), 'utf8')).toBe(await found.heatMap());
      expect(differsAt(new Uint8Array(await readFile(at('model.onnx'))), network)).toBe(-1);
      const parts = (await readFile(at('parts.txt'), 'utf8')).trim().split(' ');
      expect(new Set(parts)).toEqual(new Set(['search']));
      expect(parts).toHaveLength(1 + 2 * found.layers.length);
      // A second run does not replace the image without being told to.
      const again = await sparsifier(...words, '--plot', 'map.svg');
      expect(again).toMatchObject({ code: 1, stderr: expect.stringContaining('map.svg') as string });
      expect(again.stderr).toMatch(/--force/);
    }),
  );

  test(
    'JSON has the drops, rules select layers, and a module may say that less is better',
    inFolder(async () => {
      const { baseline, layers } = await expected({ layers: { kind: 'conv2d' }, exclude: { smallerThan: 100 } });
      expect(layers.length).toBeGreaterThan(0);
      const given = ['--include', 'kind:conv2d', '--exclude', 'smaller:100', '--json'];
      expect(JSON.parse(await printed(...words, ...given))).toEqual({ baseline, higherIsBetter: true, layers });
      const loss = words.map((word) => word.replace('judge', 'loss'));
      const { layers: rising } = JSON.parse(await printed(...loss, ...given)) as { layers: typeof layers };
      expect(rising.map(({ points }) => points.map(({ drop }) => -drop))).toEqual(
        layers.map(({ points }) => points.map(({ drop }) => drop)),
      );
    }),
  );

  test(
    'With --coupled, groups of channels are pruned one by one',
    inFolder(async () => {
      const given = [words[0]!, 'unsized.onnx', ...words.slice(2), '-g', 'filter', '--coupled'];
      const open = await sparsifier(...given);
      expect(open).toMatchObject({
        code: 2,
        stderr: expect.stringMatching(/Give the shapes.* with --input/) as string,
      });
      const found = await expected({ granularity: 'filter', coupled: { inputShapes: { x: [1, 3, 10, 10] } } }, unsized);
      expect(await printed(...given, '--input', 'x:1,3,10,10')).toBe(`${found.table()}\n`);
    }),
  );

  test(
    'What is missing or wrong is an error that says what would work',
    inFolder(async () => {
      const failing = async (...given: string[]) => {
        const { code, stderr } = await sparsifier('sensitivity', 'model.onnx', ...given);
        return [code, stderr] as const;
      };
      expect(await failing()).toEqual([2, expect.stringMatching(/--evaluate <module> must be given.*evaluate\.mjs/s)]);
      const [code, stderr] = await failing('--evaluate', 'judge.mjs', '--levels', '20,many');
      expect([code, stderr]).toEqual([2, expect.stringContaining('It must be percentages from 0 to 100')]);
      expect(await failing('--evaluate', 'judge.mjs', '--criteria', 'wanda')).toEqual([
        2,
        expect.stringMatching(/wanda needs statistics.*--calibrate/s),
      ]);
      expect(await failing('--evaluate', 'wrong.mjs')).toEqual([
        1,
        expect.stringContaining('`evaluate` must return one finite number'.replaceAll('`evaluate`', '--evaluate')),
      ]);
    }),
  );
});
