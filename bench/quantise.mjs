// Compares `quantize` with onnxruntime's own ways to quantise: the network that reads text, most of whose layers are
// convolutions, and a transformer, most of whose layers are products with matrices. All run on one thread in one session,
// taking turns. `npm run bench -- quantise --peers` installs what it compares with. Words choose networks; `--short` uses few
// samples, for a quick check.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { quantize } from 'sparsifier/quantize';
import { findPeers } from '../scripts/peers.mjs';
import { Failure, root } from '../scripts/steps.mjs';
import { linesFor, readingText } from './download/networks.mjs';
import { sizesOf } from './download/sizes.mjs';
import { start } from './processes.mjs';
import { transformerIn } from './quantise/transformer.mjs';
import { takingTurns } from './sessions.mjs';

const { values, positionals } = parseArgs({
  options: { short: { type: 'boolean', default: false } },
  allowPositionals: true,
});
const python = findPeers('quantise');
if (!python) throw new Failure('The libraries to compare with are not installed: `npm run bench -- quantise --peers`.');

const dense = { layerType: 'dense' };
/** Each method of onnxruntime, and the options of `quantize` that store the weights in the same form. */
const pairs = [
  { method: 'quantize_dynamic', options: { weights: 'int8-dynamic' } },
  { method: 'quantize_dynamic, MatMul only', options: { weights: 'int8-dynamic', rules: dense } },
  { method: 'MatMulNBitsQuantizer, 4 bits', options: { weights: 'int4', rules: dense } },
  // There is no such form here.
  { method: 'quantize_static, QDQ' },
];
/** How much larger, worse (in points) and slower than the other's a file may be. */
const most = { bytes: 1.01, outcome: 0.5, time: 1.05 };

const folder = mkdtempSync(join(tmpdir(), 'sparsifier-quantise-'));
const parameters = [join(root, 'bench', 'quantise', 'engine.py')];
const { request, stop } = start({ name: 'engine.py', program: python, parameters });
try {
  console.log(`${cpus()[0].model}, ${availableParallelism()} cores, Node ${process.version}`);
  const { transformer } = await request({});
  const lines = linesFor(values.short);
  const networks = [{ ...readingText(lines), ...lines }, transformerIn(transformer, values.short)];
  for (const network of networks) {
    if (positionals.every((word) => network.name.includes(word))) await compare(network);
  }
} finally {
  await stop();
  rmSync(folder, { recursive: true });
}
process.exit();

async function compare(network) {
  const { title, outcome } = network;
  const rows = [...(await ownRows(network)), ...(await theirRows(network))];
  for (const each of rows) {
    Object.assign(each, await sizesOf(new Map([['model', each.bytes]]), 5));
    each.outcome = await network.measure(new Map([['model', each.bytes]]));
  }
  for (const runtime of network.runtimes) await time(rows, runtime);
  console.log(`\n${title}: bytes, gzip -9, ${outcome}, milliseconds and their ratio to float32`);
  for (const { name, raw, gzip, outcome, times } of rows) {
    const cells = Object.entries(times).map(([runtime, time]) => {
      if (typeof time === 'string') return `${runtime}: ${time}`;
      return `${runtime} ${time.toFixed(1)} (${(time / rows[0].times[runtime]).toFixed(2)} x)`;
    });
    const [bytes, packed] = [raw, gzip].map((each) => each.toLocaleString('en').padStart(11));
    console.log(`  ${[name.padEnd(46), bytes, packed, outcome.toFixed(2).padStart(6), ...cells].join('  ')}`);
  }
  for (const { method, options } of pairs.filter(({ options }) => options)) {
    const named = (name) => rows.find((each) => each.name === name);
    console.log(`  ${method}: ${judged(named(ownName(options)), named(method))}`);
  }
}

const ownName = ({ weights, rules }, isCorrected) =>
  ['sparsifier', weights, ...(rules ? ['MatMul only'] : []), ...(isCorrected ? ['corrected'] : [])].join(', ');

/** The dense network and what `quantize` makes of it. */
async function ownRows(network) {
  const model = await network.read();
  const rows = [{ name: 'float32', bytes: await model.bytes() }];
  const statistics = await network.calibrate(model);
  const chosen = pairs.flatMap(({ options }) => options ?? []);
  for (const given of [...chosen, { weights: 'int8' }, { weights: 'int8', statistics }]) {
    const { model: stored } = await quantize(model, given);
    rows.push({ name: ownName(given, given.statistics !== undefined), bytes: await stored.bytes() });
    stored.close();
  }
  model.close();
  return rows;
}

/** What onnxruntime makes of it. */
async function theirRows({ name, file, calibrating }) {
  const types = { float32: 'float32', int64: 'int64' };
  const batches = calibrating.map(({ feeds }, batch) =>
    Object.entries(feeds).map(([input, { type, data, dims }]) => {
      const path = join(folder, `${name}-${batch}-${input}`);
      writeFileSync(path, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
      return { name: input, type: types[type], shape: dims, file: path };
    }),
  );
  const rows = [];
  for (const { method } of pairs) {
    const out = join(folder, 'out.onnx');
    const { seconds } = await request({ method, model: file, out, batches });
    console.log(`${name}, ${method}: ${seconds.toFixed(1)} s`);
    rows.push({ name: method, bytes: new Uint8Array(readFileSync(out)) });
  }
  return rows;
}

/** Times all rows that a runtime loads. */
async function time(rows, { runtime, load }) {
  const loaded = [];
  for (const row of rows) {
    row.times ??= {};
    try {
      const model = await load(new Map([['model', row.bytes]]));
      await model.run();
      loaded.push({ row, ...model });
    } catch (error) {
      row.times[runtime] = `does not run (${String(error.message).split('\n')[0].slice(0, 120)})`;
    }
  }
  const times = await takingTurns(
    loaded.map(({ run }) => run),
    values.short ? 0 : 20_000,
  );
  for (const [index, { row, free }] of loaded.entries()) {
    row.times[runtime] = times[index];
    await free();
  }
}

/** How a file of ours compares with theirs, in words. */
function judged(own, their) {
  const compared = [
    { what: 'bytes', ratio: own.raw / their.raw, limit: most.bytes },
    ...Object.keys(own.times)
      .filter((runtime) => [own, their].every(({ times }) => typeof times[runtime] === 'number'))
      .map((what) => ({ what, ratio: own.times[what] / their.times[what], limit: most.time })),
  ].map(({ what, ratio, limit }) => `${what} ${ratio.toFixed(3)} x${ratio > limit ? ' (too much)' : ''}`);
  const less = their.outcome - own.outcome;
  return [...compared, `outcome ${(-less).toFixed(2)} points${less > most.outcome ? ' (too low)' : ''}`].join(', ');
}
