// Measures how long a real network takes to be repaired, its held-out checks included: the text recogniser, half of the weights
// of its 33 layers that are not depthwise, by statistics of 16 lines. In Node.js and in an isolated page of Chromium, with all
// threads; without measuring the statistics and without reading the model. Seconds, the median of rounds, and the largest
// memory of the process in Node.js.
import { readFileSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { calibrated, linesOf } from '../examples/support/recovery.mjs';
import { file } from '../examples/support/recogniser.mjs';
import { openPage } from './page.mjs';
import { solve } from './solve/work.mjs';
import { median } from './support.mjs';

const rounds = Number(process.env.ROUNDS ?? 5);
const { statistics, seconds } = await calibrated(await linesOf(1));
const bytes = await statistics.bytes();
console.log(
  `${cpus()[0].model}, ${availableParallelism()} cores, medians of ${rounds}; statistics ${seconds.toFixed(1)} s`,
);

const report = (where, results) => {
  const [prune, repair] = ['prune', 'repair'].map((key) =>
    (median(results.map((each) => each[key])) / 1000).toFixed(2),
  );
  const { layers, repaired, threads } = results[0];
  console.log(`${where}: mask ${prune} s, repair ${repair} s, ${repaired} of ${layers} layers, ${threads} threads`);
};
const results = [];
for (let round = 0; round < rounds; round++) results.push(await solve(new Uint8Array(readFileSync(file)), bytes));
report(`Node.js ${process.version}`, results);
const [, peak] = /VmHWM:\s*(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
if (peak) console.log(`largest memory of the process, statistics included: ${Math.round(peak / 1024)} MiB`);

const packages = '/packages/sparsifier';
const imports = {
  '#host': `${packages}/dist/host/browser.js`,
  '@bufbuild/protobuf/wire': `${packages}/node_modules/@bufbuild/protobuf/dist/esm/wire/index.js`,
  sparsifier: `${packages}/dist/index.js`,
  'sparsifier/calibration': `${packages}/dist/calibration.js`,
  'sparsifier/formats/onnx': `${packages}/dist/onnx.js`,
};
const script = `
import { solve } from '/bench/solve/work.mjs';
const bytesOf = async (path) => new Uint8Array(await (await fetch(path)).arrayBuffer());
globalThis.answer = async () => solve(await bytesOf('/model'), await bytesOf('/statistics'));
`;
const files = { '/model': () => file, '/statistics': () => bytes };
const { browser, tab } = await openPage({ imports, script, files });
const inPage = [];
for (let round = 0; round < rounds; round++) inPage.push(await tab.evaluate('answer()'));
report(`Chromium ${browser.version()}`, inPage);
await browser.close();
process.exit();
