import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { command, run } from '../support/command.js';
import { hiddenIn, inUtf8 } from '../support/hostile-names.js';
import { model, node, tensor } from '../support/onnx-builder.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sparsifier-names-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

const all = Object.values(inUtf8).join(' ');
/** File names have no zero bytes, slashes and backslashes. */
const file = `${all.replaceAll(/[\0/\\]/g, '').slice(0, 40)}\u001b[31m\n.onnx`;

const commands: readonly (readonly [title: string, words: readonly string[], isJson: boolean])[] = [
  ['inspect', ['inspect', file], true],
  ['doctor', ['doctor', file], true],
  ['prune', ['prune', file, '-o', `out ${file}`, '-s', '99', '--layer-type', 'all', '--layers'], true],
  ['prune --explain', ['prune', file, '-s', '50', '--explain', '--layer-type', 'all'], true],
  ['quantize', ['quantize', file, '-o', `out ${file}`, '--layers'], true],
  ['dequantize', ['dequantize', file, '-o', `out ${file}`], true],
  ['compare', ['compare', file, file, '--layers'], true],
  [
    'an unknown layer',
    ['prune', file, '-o', 'out.onnx', '-s', '50', '--include', `${all.replaceAll('\0', '')}x`],
    false,
  ],
  ['a file that is missing', ['inspect', `no ${file}`], false],
  ['an unknown option', ['inspect', file, `--${file}`], false],
];

test.each(commands)('The command line prints nothing that hides something: %s', async (_, words, isJson) => {
  const bytes = model({
    nodes: [
      node('MatMul', 'x w', 'y', { name: all }),
      node('MatMul', 'y v', 'z', { name: 'second' }),
      node('MatMul', 'x u', 'a', { name: 'third' }),
    ],
    initializers: [tensor('w', [20, 30]), tensor('v', [30, 20]), tensor('u', [20, 10])],
    inputs: { x: 2 },
    outputs: { z: 2, a: 2 },
  });
  await writeFile(join(folder, file), bytes);
  const { code, stdout, stderr } = await run(process.execPath, [command, ...words], { cwd: folder });
  expect([hiddenIn(stdout), hiddenIn(stderr)]).toEqual([[], []]);
  if (!isJson) {
    expect([code, stdout]).toEqual([expect.toBeOneOf([1, 2]), '']);
    // The words of whoever calls the command keep their own ends of lines.
    return expect(stderr.trimEnd().split('\n').length).toBeLessThan(6);
  }
  expect([code, stderr]).toEqual([0, '']);
  const json = await run(
    process.execPath,
    [command, ...words, '--json', ...(words.includes('-o') ? ['--force'] : [])],
    {
      cwd: folder,
    },
  );
  expect([json.code, json.stderr]).toEqual([0, '']);
  const names = JSON.stringify(JSON.parse(json.stdout));
  if (words[0] !== 'doctor' && words[0] !== 'dequantize') expect(names).toContain(JSON.stringify(all).slice(1, -1));
});
