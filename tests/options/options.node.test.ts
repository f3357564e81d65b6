import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Sparsifier } from 'sparsifier';
import { sparsifyFile } from 'sparsifier/file';
import { readOnnx } from 'sparsifier/formats/onnx';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { differsAt } from '../support/bytes.js';
import { command, run } from '../support/command.js';
import { model, node, tensor } from '../support/onnx-builder.js';

let folder: string;
const at = (name: string) => join(folder, name);
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sparsifier-options-'));
  const nodes = [node('Conv', 'x w b', 'y', { name: 'conv' }), node('MatMul', 'y v', 'z', { name: 'head' })];
  const initializers = [tensor('w', [4, 2, 3, 3]), tensor('b', [4]), tensor('v', [4, 4])];
  await writeFile(at('model.onnx'), model({ nodes, initializers }));
});
afterAll(() => rm(folder, { recursive: true }));

test('The command line, sparsifyFile and a Sparsifier have the same defaults', async () => {
  const { code } = await run(process.execPath, [command, 'prune', 'model.onnx', '-s', '50', '-o', 'command.onnx'], {
    cwd: folder,
  });
  expect(code).toBe(0);
  await sparsifyFile(at('model.onnx'), at('file.onnx'), { sparsity: 50 });
  using read = await readOnnx(at('model.onnx'));
  await new Sparsifier(read).sparsifyModel(50);
  await read.write(at('library.onnx'));
  const [byCommand, byFile, byLibrary, dense] = await Promise.all(
    ['command.onnx', 'file.onnx', 'library.onnx', 'model.onnx'].map((name) => readFile(at(name))),
  );
  expect(differsAt(byCommand!, byLibrary!)).toBe(-1);
  expect(differsAt(byFile!, byLibrary!)).toBe(-1);
  expect(differsAt(dense!, byLibrary!)).not.toBe(-1);
});

test('The help of the command line shows the defaults', async () => {
  const { stdout } = await run(process.execPath, [command, 'prune', '--help'], { cwd: folder });
  const help = stdout.replace(/\s+/g, ' ');
  for (const value of ['"weight"', '"local"', '"largeFinal"', '"mean"', 'conv2d, or all with --include']) {
    expect(help).toContain(`default: ${value})`);
  }
});
