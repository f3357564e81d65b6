// Prunes real networks without training and repairs what is left: networks that read text (ONNX), recognise notes and
// enlarge images (TensorFlow.js). For each way to prune, the quality with the mask alone, with biases repaired, and with
// weights and biases repaired, and how long that took. `--short` uses fewer samples and amounts, as a quick check.
//
// The network of examples/real-models.mjs that recognises programming languages is left out: a loop is on the way to its
// dense layers, which TensorFlow.js runs with `executeAsync` only, and its package keeps the model that it runs to itself.
import { parseArgs } from 'node:util';
import { InferenceSession } from 'onnxruntime-node';
import { Sparsifier } from 'sparsifier';
import { calibrate, calibrateTfjs } from 'sparsifier/calibration';
import { filesIn, pitch, tf, upscaler } from './support/models.mjs';
import { inTfjs, readerOf } from './support/networks.mjs';
import * as recogniser from './support/recogniser.mjs';
import { byRow, fluctuation } from './support/scores.mjs';

const { short } = parseArgs({ options: { short: { type: 'boolean', default: false } } }).values;
await tf.setBackend('wasm');

/** A share of each layer, whose weights are ranked together or by row: those of each output by themselves. */
const amounts = [
  { title: '30 %', sparsity: 30 },
  { title: '50 %', sparsity: 50 },
  { title: '70 %', sparsity: 70 },
  { title: '50 % by row', sparsity: 50, criteria: byRow(fluctuation) },
  { title: '70 % by row', sparsity: 70, criteria: byRow(fluctuation) },
  { title: '2:4', granularity: { nm: [2, 4] } },
].filter(({ title }) => !short || title === '50 %');

const recipes = [
  { title: 'mask alone' },
  { title: 'bias', repair: { method: 'bias' } },
  { title: 'solve', repair: {} },
];
/** Repairs each layer for the inputs that it has in the pruned network: of ONNX models only. */
const inOrder = (data) => ({ title: 'solve, pruned inputs', repair: { inputs: 'pruned', ...data } });

{
  const [judged, calibrating] = short ? [4, 4] : [60, 16];
  const samples = recogniser.lines(judged + calibrating);
  const data = {
    createSession: (bytes) => InferenceSession.create(bytes),
    batches: () => samples.slice(judged).map(({ feeds }) => feeds),
  };
  const network = { ...readerOf(samples.slice(0, judged)), calibrate: (model) => calibrate(model, data) };
  const options = { layerType: 'all', exclude: [{ depthwise: true }] };
  await table(network, options, [...recipes, inOrder(data)]);
}
{
  const [judged, calibrating] = short ? [1, 4] : [6, 16];
  const samples = pitch.samples(judged + calibrating);
  await table(live(pitch, samples, judged), pitch.options, recipes);
}
{
  const [judged, calibrating] = short ? [1, 4] : [3, 16];
  const samples = upscaler.samples(judged + calibrating);
  await table(live(upscaler, samples, judged), upscaler.options, recipes);
}
process.exit();

/** A network of TensorFlow.js, which some of the samples judge. Its other samples are the inputs for its calibration. */
function live(model, samples, judged) {
  return {
    ...inTfjs(model, samples.slice(0, judged)),
    calibrate: async () => {
      const network = await model.load(filesIn(model.folder));
      const batches = samples.slice(judged).map((sample) => model.inputOf(sample));
      return calibrateTfjs(tf, network, { batches: () => batches });
    },
  };
}

async function table({ title, read, measure, calibrate }, options, recipes) {
  console.log(`\n${title}`);
  const model = await read();
  console.log(`  dense  ${(await measure(model)).toFixed(1)}`);
  const begun = performance.now();
  const statistics = await calibrate(model);
  console.log(`  calibration  ${secondsSince(begun)}`);
  model.close();
  for (const { title, sparsity, criteria = 'fluctuation', granularity = 'weight' } of amounts) {
    for (const recipe of recipes) {
      const model = await read();
      const given = { ...options, granularity, criteria, statistics };
      const begun = performance.now();
      const sparsifier = new Sparsifier(model, given);
      await sparsifier.sparsifyModel(sparsity);
      const report = recipe.repair && (await sparsifier.repair(recipe.repair));
      const time = secondsSince(begun);
      const better = report ? `${report.layers.filter(({ isRepaired }) => isRepaired).length} layers repaired` : '';
      const value = (await measure(model)).toFixed(1);
      model.close();
      console.log(
        `  ${title.padEnd(12)}  ${recipe.title.padEnd(20)}  ${value.padStart(5)}  ${time}  ${better}`.trimEnd(),
      );
    }
  }
}

function secondsSince(begun) {
  return `${((performance.now() - begun) / 1000).toFixed(1)} s`;
}
