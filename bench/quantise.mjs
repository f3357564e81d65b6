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
import { kilobytes } from './download/table.mjs';
import { start } from './processes.mjs';
import { transformerIn } from './quantise/transformer.mjs';
import { head, milliseconds, row } from './report.mjs';
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
  const networks = [readingText(linesFor(values.short)), transformerIn(transformer, values.short)];
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
  const runtimes = network.runtimes.map(({ runtime }) => runtime);
  const lines = rows.map(({ name, raw, gzip, outcome, times }) => {
    const cells = runtimes.map((runtime) => {
      if (times[runtime] === undefined) return 'does not run';
      return `${milliseconds(times[runtime])} (${(times[runtime] / rows[0].times[runtime]).toFixed(2)} x)`;
    });
    return row([name, kilobytes(raw), kilobytes(gzip), outcome.toFixed(1), ...cells]);
  });
  console.log(['', ...head([title, 'bytes', '`gzip -9`', outcome, ...runtimes]), ...lines].join('\n'));
  for (const { method, options } of pairs.filter(({ options }) => options)) {
    const own = rows.find((each) => each.asked === options);
    const their = rows.find(({ name }) => name === method);
    console.log(`  ${own.name} against ${method}: ${judged(own, their)}`);
  }
}

/** The dense network and what `quantize` makes of it. */
async function ownRows(network) {
  const model = await network.read();
  const rows = [{ name: 'float32', bytes: await model.bytes() }];
  const statistics = await network.calibrate(model);
  for (const { options } of pairs.filter(({ options }) => options)) rows.push(await ownRow(model, options));
  rows.push(await ownRow(model, { weights: 'int8' }), await ownRow(model, { weights: 'int8', statistics }));
  model.close();
  return rows;
}

/** Where a form needs a later opset than the file has, it is `int8`: onnxruntime changes the opset. */
async function ownRow(model, asked) {
  const stored = await quantize(model, asked).catch((error) => {
    console.log(error.message);
    return quantize(model, { ...asked, weights: 'int8' });
  });
  const [{ form }] = stored.report.layers.toSorted((a, b) => b.weights - a.weights);
  const words = [...(asked.rules ? ['MatMul only'] : []), ...(asked.statistics ? ['corrected'] : [])];
  const row = { name: ['sparsifier', form, ...words].join(', '), asked, bytes: await stored.model.bytes() };
  stored.model.close();
  return row;
}

/** What onnxruntime makes of it. */
async function theirRows({ name, file, calibrating }) {
  const batches = calibrating.map(({ feeds }, batch) =>
    Object.entries(feeds).map(([input, { type, data, dims }]) => {
      const path = join(folder, `${name}-${batch}-${input}`);
      writeFileSync(path, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
      return { name: input, type, shape: dims, file: path };
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
      console.log(`${row.name} does not run in ${runtime}: ${error.message}`);
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
      .filter((runtime) => their.times[runtime] !== undefined)
      .map((what) => ({ what, ratio: own.times[what] / their.times[what], limit: most.time })),
  ].map(({ what, ratio, limit }) => `${what} ${ratio.toFixed(3)} x${ratio > limit ? ' (too much)' : ''}`);
  const less = their.outcome - own.outcome;
  return [...compared, `outcome ${(-less).toFixed(2)} points${less > most.outcome ? ' (too low)' : ''}`].join(', ');
}
