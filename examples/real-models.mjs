// Prunes real models of TensorFlow.js without training, and measures their quality: a quantised one that recognises
// programming languages, one that enlarges images, and one that recognises notes, which is also tried as an ONNX file.
// `--short` uses fewer samples and sparsities, as a quick check.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { Sparsifier } from 'sparsifier';
import { readOnnx } from 'sparsifier/formats/onnx';
import { readTfjs } from 'sparsifier/formats/tfjs';
import { languages, pitch, tf, upscaler } from './support/models.mjs';

const { short } = parseArgs({ options: { short: { type: 'boolean', default: false } } }).values;
const sparsities = short ? [0, 50] : [0, 50, 80, 90];
const words = /** @type {const} */ ({ granularity: 'weight', context: 'local', criteria: 'magnitude' });
await tf.setBackend('wasm');

for (const { model, count } of [
  { model: languages, count: short ? 4 : 40 },
  { model: upscaler, count: short ? 1 : 3 },
  { model: pitch, count: short ? 1 : 6 },
]) {
  const samples = model.samples(count);
  await table(`${model.title} (${samples.length} samples)`, async (sparsity) => {
    const read = await readTfjs(join(model.folder, 'model.json'));
    const report = await new Sparsifier(read, { ...words, ...model.options }).sparsifyModel(sparsity);
    const value = await model.measure({ json: await read.bytes(), shards: await read.toFiles() }, samples);
    read.close();
    return { report, value };
  });
}

const onnx = fileURLToPath(new URL('../tests/.fixtures/nmp.onnx', import.meta.url));
if (existsSync(onnx)) {
  const samples = pitch.samples(short ? 1 : 6);
  await table(`the same network as ONNX (${samples.length} samples)`, async (sparsity) => {
    const read = await readOnnx(onnx);
    // The model begins with a transform whose fixed filters are convolutions of height 1.
    const exclude = read.tensors.filter(({ shape }) => shape[2] === 1).map(({ name }) => name);
    const report = await new Sparsifier(read, { ...words, exclude }).sparsifyModel(sparsity);
    const session = await InferenceSession.create(await read.bytes());
    read.close();
    const listen = async (sound) => {
      const outputs = await session.run({
        [session.inputNames[0]]: new Tensor('float32', sound, [1, sound.length, 1]),
      });
      return Float32Array.from(outputs[session.outputNames[1]].data, Number);
    };
    const value = await pitch.score(listen, samples);
    await session.release();
    return { report, value };
  });
} else console.log('\nThe same network as ONNX is not here: node scripts/fixtures.mjs fetches it.');

async function table(title, run) {
  console.log(`\n${title}`);
  for (const sparsity of sparsities) {
    const { report, value } = await run(sparsity);
    const { removedWeights, weights } = report.total;
    console.log(
      `  ${String(sparsity).padStart(2)} %  ${removedWeights} of ${weights} weights removed  ${value.toFixed(1)}`,
    );
  }
}
process.exit();
