// Measures the cost of keeping masks in a step of training, between two prunings: the network of examples/digits.mjs on
// WebAssembly. Steps with and without the callback take turns. Reports medians and the number of live tensors.
import { cpus } from 'node:os';
import { sparsifyCallback } from 'sparsifier/training';
import { digits, network, tf } from '../examples/support/digits.mjs';
import { median } from './support.mjs';

const rounds = Number(process.env.ROUNDS ?? 400);
const { train } = digits(1, 32);
const model = network(1);
const callback = sparsifyCallback(tf, {
  granularity: 'weight',
  context: 'global',
  criteria: 'magnitude',
  layerType: 'all',
  sparsity: 80,
  schedule: (progress) => (progress > 0 ? 1 : 0),
  steps: 2 * rounds,
});
await callback.begin(model);
const times = { step: [], masks: [] };
const tensors = new Set();
for (let round = 0; round < rounds; round++) {
  const begun = performance.now();
  await model.trainOnBatch(train.x, train.y).then((logs) => tf.dispose(logs));
  const trained = performance.now();
  await callback.step();
  const ended = performance.now();
  // The first steps compile kernels and create the masks.
  if (round < 20) continue;
  times.step.push(trained - begun);
  times.masks.push(ended - trained);
  tensors.add(tf.memory().numTensors);
}
await callback.end();
const [step, masks] = [median(times.step), median(times.masks)];
console.log(
  `${cpus()[0].model}, Node ${process.version}, tfjs ${tf.version_core ?? tf.version.tfjs}, ${rounds} steps of 32 pictures`,
);
console.log(`a step ${step.toFixed(2)} ms, its masks ${masks.toFixed(3)} ms: ${((100 * masks) / step).toFixed(1)} %`);
console.log(`live tensors after each step: ${[...tensors].join(', ')}`);
