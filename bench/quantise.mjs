// Compares `quantize` with onnxruntime's own ways to quantise: the network that reads text, most of whose layers are
// convolutions, and a transformer, most of whose layers are products with matrices. All run on one thread in one session,
// taking turns. `npm run bench -- quantise --peers` installs what it compares with. Words choose networks; `--short` uses few
// samples, for a quick check. Results are kept in a file, `--out`, from which `npm run pictures` makes the tables of
// docs/smaller.md.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { quantize } from 'sparsifier/quantize';
import { findPeers } from '../scripts/peers.mjs';
import { Failure, root } from '../scripts/steps.mjs';
import { about } from './about.mjs';
import { linesFor, readingText } from './download/networks.mjs';
import { sizesOf } from './download/sizes.mjs';
import { start } from './processes.mjs';
import { recordFile, tableOf } from './quantise/table.mjs';
import { transformerIn } from './quantise/transformer.mjs';
import { takingTurns } from './sessions.mjs';

const { values, positionals } = parseArgs({
  options: { out: { type: 'string' }, short: { type: 'boolean', default: false } },
  allowPositionals: true,
});
const out = values.out ?? (values.short ? undefined : recordFile);
const record = out && existsSync(out) ? JSON.parse(readFileSync(out, 'utf8')) : { networks: {} };
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
  const { transformer, versions: others } = await request({});
  const networks = [readingText(linesFor(values.short)), transformerIn(transformer, values.short)];
  for (const network of networks) {
    if (!positionals.every((word) => network.name.includes(word))) continue;
    record.networks[network.name] = await compare(network);
    const versions = about(['onnxruntime-node', 'onnxruntime-web'], others);
    if (out) writeFileSync(out, `${JSON.stringify(Object.assign(record, versions), undefined, 2)}\n`);
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
    const files = new Map([['model', each.bytes]]);
    Object.assign(each, await sizesOf(files, 'brotli-5'));
    each.outcome = await network.measure(files);
  }
  for (const runtime of network.runtimes) await time(rows, runtime);
  const result = { title, outcome, rows: rows.map(({ bytes, asked, ...figures }) => figures) };
  console.log(`\n${tableOf(result)}`);
  for (const { method, options } of pairs.filter(({ options }) => options)) {
    const own = rows.find((each) => each.asked === options);
    const their = rows.find(({ name }) => name === method);
    console.log(`${own.name} against ${method}: ${judged(own, their)}`);
  }
  return result;
}

/** The dense network and what `quantize` makes of it. */
async function ownRows(network) {
  const model = await network.read();
  const rows = [{ name: 'float32', bytes: await model.bytes() }];
  const statistics = await network.calibrate(model);
  for (const { options } of pairs.filter(({ options }) => options)) rows.push(await ownRow(model, options));
  rows.push(await ownRow(model, { weights: 'int8' }), await ownRow(model, { weights: 'int8', statistics }));
  model.close();
  // Where a form is not possible, its row is the same as that of `int8`.
  return rows.filter(({ name }, index) => rows.findIndex((each) => each.name === name) === index);
}

/** Where a form needs a later opset than the file has, it is `int8`: onnxruntime changes the opset. */
async function ownRow(model, asked) {
  const stored = await quantize(model, asked).catch((error) => {
    if (error.code !== 'usage') throw error;
    console.log(error.message);
    return quantize(model, { ...asked, weights: 'int8' });
  });
  const form = stored.report.layers.some((layer) => layer.form === asked.weights) ? asked.weights : 'int8';
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
