// Compares the budgets `uniform` and `error` on the network that reads text: the characters that it keeps, and how far its outputs
// move (the mean Kullback-Leibler divergence of a step from the dense network's, in nats), repaired for the inputs of the dense and
// of the pruned network. 16 lines for calibration, 48 others judge. `npm run bench -- budgets 50 70` measures these percentages.
import { InferenceSession } from 'onnxruntime-node';
import { Sparsifier } from 'sparsifier';
import { readOnnx } from 'sparsifier/formats/onnx';
import * as recogniser from '../examples/support/recogniser.mjs';
import { calibrated, linesOf } from '../examples/support/recovery.mjs';

const amounts = process.argv.slice(2).map(Number);
const lines = await linesOf(1);
const { statistics } = await calibrated(lines);
const judging = recogniser.lines(64, 1).slice(16);
const dense = await outputsOf(recogniser.file);

console.log('zeros  budget   repaired for     characters     KL  seconds');
for (const amount of amounts.length > 0 ? amounts : [50, 62, 70, 80]) {
  for (const budget of ['uniform', 'error']) {
    for (const inputs of ['dense', 'pruned']) await measure(amount, budget, inputs);
  }
}
process.exit();

async function measure(amount, budget, inputs) {
  const model = await readOnnx(recogniser.file);
  const begun = performance.now();
  const rules = { layerType: 'all', exclude: [{ depthwise: true }] };
  const sparsifier = new Sparsifier(model, {
    ...rules,
    criteria: 'fluctuation',
    context: 'global',
    budget,
    statistics,
  });
  await sparsifier.sparsifyModel(amount);
  await sparsifier.repair(inputs === 'pruned' ? { inputs, ...lines.data } : {});
  const seconds = (performance.now() - begun) / 1000;
  const bytes = await model.bytes();
  model.close();
  const cells = [`${(await lines.kept(bytes)).toFixed(1)} %`, divergence(dense, await outputsOf(bytes)).toFixed(3)];
  const row = [`${amount} %`.padEnd(7), budget.padEnd(9), `the ${inputs} one`.padEnd(15)];
  console.log(row.join('') + cells[0].padStart(12) + cells[1].padStart(7) + seconds.toFixed(0).padStart(9));
}

/** The outputs of a model for the lines that judge. @param model a path or bytes */
async function outputsOf(model) {
  const session = await InferenceSession.create(model);
  const all = [];
  for (const { feeds } of judging) all.push(Object.values(await session.run(feeds))[0]);
  await session.release();
  return all;
}

/** The mean over all steps of all lines. Outputs are probabilities of classes. */
function divergence(dense, pruned) {
  let [sum, steps] = [0, 0];
  for (const [index, { data, dims }] of dense.entries()) {
    const others = pruned[index].data;
    steps += data.length / dims.at(-1);
    for (const [place, value] of data.entries()) {
      if (value > 0) sum += value * Math.log(value / Math.max(others[place], 1e-30));
    }
  }
  return sum / steps;
}
