// Measures what real networks cost to download, and what is left of them: bytes, outcome and time in several forms, with
// several percentages of zeros, repaired. Each result is kept in a file, and what it has is not measured again, so a run can be
// split or repeated. Words choose rows: `npm run bench -- download recogniser '50 %'`. `--short` uses few samples, for a quick
// check. The file is given by `--out`; `npm run pictures` makes the tables of docs/smaller.md from the usual one.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { Sparsifier } from 'sparsifier';
import { quantize } from 'sparsifier/quantize';
import { about } from './about.mjs';
import { networks } from './download/networks.mjs';
import { sizesOf } from './download/sizes.mjs';
import { recordFile, tableOf } from './download/table.mjs';
import { takingTurns } from './sessions.mjs';

const { values, positionals } = parseArgs({
  options: { out: { type: 'string' }, short: { type: 'boolean', default: false } },
  allowPositionals: true,
});
const isShort = values.short;
const out = values.out ?? (isShort ? undefined : recordFile);
const record = out && existsSync(out) ? JSON.parse(readFileSync(out, 'utf8')) : { networks: {} };
const packages = ['onnxruntime-node', 'onnxruntime-web', '@tensorflow/tfjs'];
const sparsities = isShort ? [0, 50] : [0, 30, 50, 70];

const all = await networks(isShort);
for (const network of all) {
  const { name, title, outcome } = network;
  let dense;
  for (const sparsity of sparsities) {
    if (!positionals.every((word) => `${name}, ${sparsity} %`.includes(word))) continue;
    const own = (record.networks[name] ??= { title, outcome, rows: {} });
    if (own.rows[sparsity]) continue;
    const begun = performance.now();
    dense ??= await denseOf(network);
    own.rows[sparsity] = await measure(network, dense, sparsity);
    console.log(`\n${name}, ${sparsity} %: ${((performance.now() - begun) / 1000).toFixed(0)} s`);
    console.log(tableOf({ ...own, rows: { [sparsity]: own.rows[sparsity] } }));
    if (out) writeFileSync(out, `${JSON.stringify(Object.assign(record, about(packages)), undefined, 2)}\n`);
  }
}
process.exit();

/** A network as it is: its files, and the statistics of the inputs of its layers if they can be measured. */
async function denseOf({ read, calibrate }) {
  const model = await read();
  const dense = { files: await model.toFiles(), statistics: await calibrate?.(model) };
  model.close();
  return dense;
}

/** All forms of a network with this percentage of zeros in each layer. */
async function measure(network, dense, sparsity) {
  const forms = await formsOf(network, await pruned(network, dense.statistics, sparsity));
  const rows = forms.map(({ form, isCorrected }) => ({ form, isCorrected }));
  for (const [index, { files }] of forms.entries()) rows[index].outcome = await network.measure(files);
  await inTwos(forms.entries(), async ([index, { files }]) => {
    // Brotli's quality 11 takes 23 s for 10 MB.
    Object.assign(rows[index], await sizesOf(files, isShort ? 'brotli-5' : 'brotli-11'));
  });
  for (const { runtime, load } of network.runtimes) {
    const loaded = [];
    for (const { files } of [dense, ...forms]) loaded.push(await load(files));
    const [base, ...times] = await takingTurns(
      loaded.map(({ run }) => run),
      isShort ? 0 : 4000,
    );
    for (const { free } of loaded) await free();
    for (const [index, time] of times.entries()) (rows[index].times ??= {})[runtime] = { time, ratio: time / base };
  }
  return rows;
}

/** A network with zeros, repaired if it can be calibrated; and the statistics of the inputs that its layers have then. */
async function pruned({ read, calibrate, layers, repair }, statistics, sparsity) {
  const model = await read();
  if (sparsity === 0) return { model, statistics };
  const criteria = statistics ? { criteria: 'fluctuation', statistics } : {};
  const sparsifier = new Sparsifier(model, { ...layers, ...criteria });
  await sparsifier.sparsifyModel(sparsity);
  if (statistics) await sparsifier.repair(repair);
  sparsifier.clear();
  return { model, statistics: await calibrate?.(model) };
}

/** The files of a network in each form. */
async function formsOf(network, { model, statistics }) {
  const forms = [{ form: 'float32', isCorrected: false, files: await model.toFiles() }];
  for (const weights of network.forms) {
    const others = weights === 'float16' ? weights : undefined;
    const isRounded = ['int8', 'uint8'].includes(weights);
    for (const known of isRounded && statistics ? [undefined, statistics] : [undefined]) {
      const { model: stored } = await quantize(model, { weights, others, statistics: known });
      forms.push({ form: weights, isCorrected: known !== undefined, files: await stored.toFiles() });
      stored.close();
    }
  }
  model.close();
  return forms;
}

/** Does work on a list, two at a time. */
async function inTwos(list, work) {
  const rest = list[Symbol.iterator]();
  const worker = async () => {
    for (const each of rest) await work(each);
  };
  await Promise.all([worker(), worker()]);
}
