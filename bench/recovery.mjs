// Compares repairs with other libraries: how many characters the network that reads text keeps when half of the weights of
// its layers are removed without training, and how many seconds that takes, calibration included. The inputs are the same 16
// lines for all, and 48 others judge the results. Libraries for Python take part if they are installed:
// `npm run bench -- recovery --peers`. `--sparsity 70` removes more, and `--seeds 5` repeats everything with other lines.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { file as model } from '../examples/support/recogniser.mjs';
import { calibrated, linesOf, recovered } from '../examples/support/recovery.mjs';
import { byRow, fluctuation, scoresOf } from '../examples/support/scores.mjs';
import { findPeers } from '../scripts/peers.mjs';
import { root } from '../scripts/steps.mjs';
import { start } from './processes.mjs';

const { values } = parseArgs({
  options: { seeds: { type: 'string', default: '1' }, sparsity: { type: 'string', default: '50' } },
});
const sparsity = Number(values.sparsity);
const python = findPeers('recovery');
const folder = mkdtempSync(join(tmpdir(), 'sparsifier-recovery-'));
/** By the name of the row, the results of each seed. */
const rows = new Map();
try {
  console.log(`${cpus()[0].model}, ${availableParallelism()} cores, Node ${process.version}`);
  if (!python) console.log('onnxsim and numpy are not installed: `npm run bench -- recovery --peers` installs them.');
  for (let seed = 1; seed <= Number(values.seeds); seed++) {
    const lines = await linesOf(seed);
    await measureOwn(lines);
    if (python) await measurePeers(lines);
  }
} finally {
  rmSync(folder, { recursive: true });
}
console.log(`\n${sparsity} % of the weights removed: characters kept, seconds (mean of the seeds)`);
for (const [name, results] of rows) {
  const mean = (key) => (results.reduce((sum, each) => sum + each[key], 0) / results.length).toFixed(1);
  console.log(`  ${name.padEnd(56)}  ${mean('characters').padStart(5)} %  ${mean('seconds').padStart(6)} s`);
}
process.exit();

function note(name, result) {
  rows.set(name, [...(rows.get(name) ?? []), result]);
  const { characters, seconds, zeros } = result;
  const load = loadavg()[0].toFixed(1);
  console.log(`${name}: ${characters.toFixed(1)} %, ${seconds.toFixed(1)} s, ${zeros} zeros, load average ${load}`);
}

async function measureOwn(lines) {
  const { statistics, seconds } = await calibrated(lines);
  const wandaByRow = byRow(scoresOf('wanda', statistics));
  const fluctuationByRow = byRow(fluctuation);
  const pruned = { inputs: 'pruned', ...lines.data };
  const byError = { context: 'global', budget: 'error' };
  for (const [name, criteria, repair, amounts] of [
    ['magnitude, mask alone', 'magnitude'],
    ['wanda, mask alone', 'wanda'],
    ['wanda by row, mask alone', wandaByRow],
    ['fluctuation, mask alone', 'fluctuation'],
    ['fluctuation, bias', 'fluctuation', { method: 'bias' }],
    ['fluctuation, solve', 'fluctuation', {}],
    ['fluctuation by row, solve', fluctuationByRow, {}],
    ['fluctuation, solve, pruned inputs', 'fluctuation', pruned],
    ['fluctuation, amounts by error, solve', 'fluctuation', {}, byError],
    ['fluctuation, amounts by error, solve, pruned inputs', 'fluctuation', pruned, byError],
  ]) {
    const result = await recovered(lines, { criteria, statistics, ...amounts }, sparsity, repair);
    note(`sparsifier: ${name}`, { ...result, seconds: result.seconds + (criteria === 'magnitude' ? 0 : seconds) });
  }
}

async function measurePeers({ calibrating, kept }) {
  const inputs = calibrating.map(({ feeds: { x } }, index) => {
    const file = join(folder, `${index}.f32`);
    writeFileSync(file, new Uint8Array(x.data.buffer, x.data.byteOffset, x.data.byteLength));
    return { name: 'x', shape: x.dims, file };
  });
  const [out, denseDepthwise] = ['out.onnx', 'dense-depthwise.onnx'].map((name) => join(folder, name));
  const parameters = [join(root, 'bench', 'recovery', 'engine.py')];
  const { request, stop } = start({ name: 'engine.py', program: python, parameters });
  // onnxsim prunes depthwise convolutions as well, unless their dense weights are put back.
  for (const [method, prunesDepthwise] of [
    ['onnxsim Wanda', true],
    ['onnxsim SparseGPT', true],
    ['SparseGPT in numpy, by layer', false],
    ['SparseGPT in numpy, by row', false],
  ]) {
    const asked = { method, model, inputs, sparsity: sparsity / 100, out, denseDepthwise };
    const { seconds, zeros, depthwiseZeros } = await request(asked);
    note(method, { characters: await kept(out), seconds, zeros: zeros + depthwiseZeros });
    if (prunesDepthwise)
      note(`${method}, depthwise put back`, { characters: await kept(denseDepthwise), seconds, zeros });
  }
  await stop();
}
