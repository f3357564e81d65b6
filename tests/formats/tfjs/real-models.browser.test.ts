import { Sparsifier } from 'sparsifier';
import { fromTfjs, readTfjs } from 'sparsifier/formats/tfjs';
import { expect, test } from 'vitest';
import { handlerOf, tf } from '../../support/tfjs.js';
import { furtherFiles } from '../../support/model-files.js';

const address = new URL('../../../node_modules/@upscalerjs/default-model/models/model.json', import.meta.url).href;
const words = { granularity: 'weight', context: 'local', criteria: 'magnitude' } as const;

test('A real model is fetched, pruned and run in a page', async () => {
  await tf.setBackend('cpu');
  using model = await readTfjs(address);
  const { total } = await new Sparsifier(model, words).sparsifyModel(50);
  expect(total).toMatchObject({ weights: 221_572, zeros: 110_786 });
  const loaded = await tf.loadLayersModel(handlerOf(await model.bytes(), await furtherFiles(model)));
  let zeros = 0;
  for (const weight of loaded.weights.filter(({ originalName }) => originalName.endsWith('kernel'))) {
    zeros += (await weight.read().data()).filter((value: number) => value === 0).length;
  }
  expect(zeros).toBe(110_786);
  const output = loaded.predict(tf.fill([1, 4, 4, 3], 128)) as { shape: number[]; dataSync(): Float32Array };
  expect(output.shape).toEqual([1, 8, 8, 3]);
  expect(output.dataSync().every(Number.isFinite)).toBe(true);
});

test('A live model on WebGL is pruned in place', async (context) => {
  const isThere = await tf.setBackend('webgl').catch(() => false);
  if (!isThere) return context.skip('WebGL does not start here');
  await tf.ready();
  const model = tf.sequential({ layers: [tf.layers.dense({ inputShape: [8], units: 4, name: 'dense' })] });
  await new Sparsifier(fromTfjs(tf, model), { ...words, layerType: 'all' }).sparsifyModel(50);
  const kernel = await model.weights[0]!.read().data();
  expect(kernel.filter((value: number) => value === 0)).toHaveLength(16);
});
