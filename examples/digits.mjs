// Trains a small network on handwritten digits, prunes it while it is trained further, and measures its accuracy.
// `--short` uses fewer images, epochs and sparsities, as a quick check; `--seeds 3` gives the mean of three runs.
import { parseArgs } from 'node:util';
import { sparsifyCallback } from 'sparsifier/training';
import { accuracy, digits, network, tf } from './support/digits.mjs';

const { values } = parseArgs({
  options: { short: { type: 'boolean', default: false }, seeds: { type: 'string', default: '1' } },
});
const { short } = values;
const [trainSize, epochs, further] = short ? [1000, 2, 2] : [8000, 8, 4];
const sparsities = short ? [80, 90] : [80, 90, 95];
const options = /** @type {const} */ ({
  granularity: 'weight',
  context: 'global',
  criteria: 'magnitude',
  layerType: 'all',
});
const fitting = (more) => ({ batchSize: 32, verbose: 0, shuffle: false, ...more });

const rows = new Map();
const note = (name, value) => rows.set(name, [...(rows.get(name) ?? []), value]);
for (let seed = 1; seed <= Number(values.seeds); seed++) {
  const { train, test } = digits(seed, trainSize);
  const dense = network(seed);
  await dense.fit(train.x, train.y, fitting({ epochs }));
  note('dense', accuracy(dense, test));
  const trained = dense.getWeights().map((weight) => weight.clone());

  for (const sparsity of sparsities) {
    const model = network(seed);
    model.setWeights(trained);
    const callback = sparsifyCallback(tf, { ...options, sparsity, schedule: 'agp' });
    await model.fit(train.x, train.y, fitting({ epochs: further, callbacks: callback }));
    const { units, removedUnits } = callback.report.total;
    const zeros = model
      .getWeights()
      .reduce((sum, weight) => sum + weight.dataSync().filter((value) => value === 0).length, 0);
    note(`${sparsity} %`, accuracy(model, test));
    console.log(
      `seed ${seed}, ${sparsity} %: ${removedUnits} of ${units} weights removed, ${zeros} zeros in the model`,
    );
    model.dispose();
  }

  // A lottery ticket: learn which weights to keep, then train only these from their first values.
  const ticket = network(seed);
  const search = sparsifyCallback(tf, {
    ...options,
    sparsity: 80,
    schedule: 'iterative',
    lottery: true,
    resetEnd: true,
    saveTickets: true,
  });
  await ticket.fit(train.x, train.y, fitting({ epochs, callbacks: search }));
  const masks = [...search.tickets.at(-1).weights].map(([name, numbers]) =>
    name.endsWith('kernel') ? numbers.map((value) => Number(value !== 0)) : undefined,
  );
  for (const [name, model] of [
    ['80 %, ticket', network(seed)],
    ['80 %, the same masks, other first weights', network(seed + 100)],
  ]) {
    await trainMasked(model, masks, train);
    note(name, accuracy(model, test));
  }
}

console.log(
  `\nTest accuracy, ${trainSize} pictures, ${epochs} epochs dense, ${further} with the schedule agp, global:`,
);
for (const [name, list] of rows) {
  const mean = list.reduce((a, b) => a + b) / list.length;
  const each = list.length > 1 ? `   (${list.map((value) => value.toFixed(1)).join(', ')})` : '';
  console.log(`  ${name.padEnd(44)} ${mean.toFixed(1)} %${each}`);
}

/** Trains only the weights that the masks keep. */
async function trainMasked(model, masks, { x, y }) {
  const apply = () =>
    tf.tidy(() => {
      for (const [index, weight] of model.weights.entries()) {
        if (masks[index]) weight.write(weight.read().mul(tf.tensor(masks[index], weight.shape)));
      }
    });
  apply();
  const keep = new (class extends tf.Callback {
    async onBatchEnd() {
      apply();
    }
  })();
  await model.fit(x, y, fitting({ epochs, callbacks: keep }));
}
