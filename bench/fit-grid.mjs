// Compares `fit` with quantisation alone and with the best of 30 settings: the same share of each layer, repaired, in each form.
// Networks are made to fit half and a quarter of their bytes after brotli, and everything is judged by the same outcome. Words
// choose networks: `npm run bench -- fit-grid upscaler`.
import { Sparsifier } from 'sparsifier';
import { fit } from 'sparsifier/fit';
import { readTfjs } from 'sparsifier/formats/tfjs';
import { quantize } from 'sparsifier/quantize';
import { join } from 'node:path';
import { languages } from '../examples/support/models.mjs';
import { networks } from './download/networks.mjs';
import { sizesOf } from './download/sizes.mjs';

const words = process.argv.slice(2);
/** Those that are small enough for 30 settings. */
const names = ['notes-tfjs', 'upscaler', 'languages'];
const settings = 30;

const chosen = (await networks(false)).filter(
  ({ name }) => names.includes(name) && words.every((w) => name.includes(w)),
);
for (const given of chosen) {
  // Its file has codes of 8 bits, which is what has to become smaller.
  const read = () => readTfjs(join(languages.folder, 'model.json'));
  const network = given.name === 'languages' ? { ...given, read, forms: [] } : given;
  const model = await network.read();
  const statistics = await network.calibrate?.(model);
  const dense = await sized(network, await model.toFiles());
  console.log(`\n${network.title}: ${dense.outcome.toFixed(2)} (${network.outcome}), ${dense.bytes} bytes`);
  const grid = await gridOf(network, statistics);
  for (const part of [2, 4]) {
    const target = Math.floor(dense.bytes / part);
    const within = grid.filter(({ bytes }) => bytes <= target).sort((a, b) => b.outcome - a.outcome);
    const [quantised] = within.filter(({ amount }) => amount === 0);
    const begun = performance.now();
    const fitted = await fit(model, {
      ...{ target, statistics },
      evaluate: (files) => network.measure(files),
    }).then(
      async ({ model: small, report }) => {
        const { form, amount } = report.chosen;
        const found = { ...(await sized(network, await small.toFiles())), form, amount };
        small.close();
        return found;
      },
      (error) => error.message,
    );
    console.log(`  to 1/${part}, ${target} bytes`);
    console.log(`    quantised only        ${inWords(quantised)}`);
    console.log(`    best of ${grid.length} settings   ${inWords(within[0])}`);
    const seconds = ((performance.now() - begun) / 1000).toFixed(0);
    console.log(`    fit, ${seconds} s           ${typeof fitted === 'string' ? fitted : inWords(fitted)}`);
  }
  model.close();
}
process.exit();

function inWords(found) {
  if (found === undefined) return 'none fits';
  return `${found.outcome.toFixed(2)}, ${found.bytes} bytes: ${found.form}, ${found.amount.toFixed(2)} %`;
}

/** The outcome of files, and their bytes. */
async function sized(network, files) {
  return { outcome: await network.measure(files), bytes: (await sizesOf(files, 'brotli-11')).brotli };
}

/** The same share of each layer in each form. */
async function gridOf({ read, layers, repair, forms, ...network }, statistics) {
  const all = ['stored', ...forms];
  const amounts = Math.floor(settings / all.length);
  const found = [];
  for (let step = 0; step < amounts; step++) {
    const amount = (95 * step) / (amounts - 1);
    const model = await read();
    if (amount > 0) {
      const options = statistics ? { criteria: 'fluctuation', statistics } : {};
      const sparsifier = new Sparsifier(model, { ...layers, ...options });
      await sparsifier.sparsifyModel(amount);
      if (statistics) await sparsifier.repair(repair);
      sparsifier.clear();
    }
    for (const form of all) {
      const stored = form === 'stored' ? undefined : await quantize(model, { weights: form, statistics });
      const files = await (stored?.model ?? model).toFiles();
      found.push({ form, amount, ...(await sized(network, files)) });
      stored?.model.close();
    }
    model.close();
  }
  return found;
}
