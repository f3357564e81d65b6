// Prunes real models without training, and measures their quality: networks of TensorFlow.js that recognise programming
// languages, enlarge images and recognise notes, and ONNX models that read text and tell its direction. Then it looks for
// a percentage of its own for each layer. `--short` uses fewer samples and sparsities, as a quick check.
import { parseArgs } from 'node:util';
import { Sparsifier } from 'sparsifier';
import { sensitivity } from 'sparsifier/sensitivity';
import { languages, pitch, tf, upscaler } from './support/models.mjs';
import * as direction from './support/direction.mjs';
import { inOnnx, inTfjs, notesInOnnx, readerOf } from './support/networks.mjs';
import * as recogniser from './support/recogniser.mjs';

const { short } = parseArgs({ options: { short: { type: 'boolean', default: false } } }).values;
const sparsities = short ? [0, 50] : [0, 20, 30, 50, 70, 80, 90];
const words = /** @type {const} */ ({ granularity: 'weight', context: 'local', criteria: 'magnitude' });
await tf.setBackend('wasm');

await table(inTfjs(languages, languages.samples(short ? 4 : 40)), languages.options);
await table(inTfjs(upscaler, upscaler.samples(short ? 1 : 3)), upscaler.options);
await table(inTfjs(pitch, pitch.samples(short ? 1 : 6)), pitch.options);

const same = notesInOnnx(pitch.samples(short ? 1 : 6));
if (same) {
  const { tensors } = await same.read();
  // The model begins with a transform whose fixed filters are convolutions of height 1.
  await table(same, { exclude: tensors.filter(({ shape }) => shape[2] === 1).map(({ name }) => name) });
} else console.log('\nThe same network as ONNX is not here: node scripts/fixtures.mjs fetches it.');

/** Depthwise convolutions and small layers stay whole. */
const careful = { layerType: 'all', exclude: [{ depthwise: true }, { smallerThan: 10_000 }] };
const upsideDown = 'lines of text, told whether they are upside down, accuracy in percent';
const lines = recogniser.lines(short ? 4 : 60);
await table(inOnnx(upsideDown, direction.file, lines, direction.measure), { layerType: 'all' });
const reader = readerOf(lines);
await table(reader, { layerType: 'all' }, 'all layers');
await table(reader, careful, 'without depthwise and small layers');
await table(reader, { layerType: 'dense' }, 'only dense layers');
if (!short) await targets(inTfjs(upscaler, upscaler.samples(3)), [0.3, 1]);

/** The same percentage in each layer. */
async function table({ title, read, measure }, options, which) {
  console.log(`\n${title}${which ? `, ${which}` : ''}`);
  for (const sparsity of sparsities) {
    const model = await read();
    const { total } = await new Sparsifier(model, { ...words, ...options }).sparsifyModel(sparsity);
    const value = await measure(model);
    model.close();
    const removed = `${total.removedWeights} of ${total.weights} weights removed`;
    console.log(`  ${String(sparsity).padStart(2)} %  ${removed}  ${value.toFixed(1)}`);
  }
}

/** A percentage for each layer, as estimated from each layer by itself, and scaled back for the whole model. */
async function targets({ title, read, measure }, drops) {
  console.log(`\n${title}, with a percentage for each layer`);
  const model = await read();
  const evaluate = () => measure(model);
  const result = await sensitivity(model, evaluate, { levels: [20, 40, 60, 80] });
  console.log(`  unchanged  ${result.baseline.toFixed(1)}`);
  for (const drop of drops) {
    for (const [how, found] of /** @type {const} */ ([
      ['estimated', result.toTargets(drop)],
      ['whole model', await result.toTargets(drop, { evaluate })],
    ])) {
      const copy = await read();
      const { total } = await new Sparsifier(copy, { ...words, layerType: 'all' }).sparsifyModel(found);
      const share = ((100 * total.removedWeights) / total.weights).toFixed(1);
      console.log(`  drop ${drop}, ${how}  ${share} % of the weights removed  ${(await measure(copy)).toFixed(1)}`);
      copy.close();
    }
  }
  model.close();
}
process.exit();
