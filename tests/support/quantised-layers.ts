// A TensorFlow.js model whose weights are stored in other forms, for the backends that are to run it.
import { readTfjs } from 'sparsifier/formats/tfjs';
import { quantize, type Form } from 'sparsifier/quantize';
import { expect } from 'vitest';
import { handlerOf, saved, textOf, tf } from './tfjs.js';
import { relativeRms } from './quantised-networks.js';

/** The forms, and how far outputs may then be from those of the dense model: their relative RMS. */
export const forms = [
  ['uint8', 0.05],
  ['uint16', 0.001],
  ['float16', 0.005],
] as const satisfies readonly (readonly [Form, number])[];

const { layers } = tf;

/** Runs a model on the current backend before and after its weights are stored in a form. */
export async function expectNearInForm(form: Form, limit: number): Promise<void> {
  const weights = tf.initializers.randomNormal({ seed: 1 });
  const model = tf.sequential({
    layers: [
      layers.conv2d({
        filters: 16,
        kernelSize: 3,
        inputShape: [8, 8, 8],
        kernelInitializer: weights,
        activation: 'relu',
      }),
      layers.flatten(),
      layers.dense({ units: 8, kernelInitializer: weights }),
    ],
  });
  const input = tf.sin(tf.range(0, 512)).reshape([1, 8, 8, 8]);
  const expected = [...(await (model.predict(input) as InstanceType<typeof tf.Tensor>).data())];
  const { json, shards } = await saved(model);
  using dense = await readTfjs(textOf(json), { shards: (name) => shards.get(name)! });
  const { model: small, report } = await quantize(dense, { weights: form });
  const [main, ...others] = [...(await small.toFiles())];
  small.close();
  expect(report.layers.map((layer) => layer.form)).toEqual([form, form]);
  const loaded = await tf.loadLayersModel(handlerOf(main![1], new Map(others)));
  const apart = relativeRms([...(await (loaded.predict(input) as InstanceType<typeof tf.Tensor>).data())], expected);
  expect(apart).toBeGreaterThan(0);
  expect(apart).toBeLessThan(limit);
}
