// Every form of weights runs on the wasm backend of TensorFlow.js.
import '@tensorflow/tfjs-backend-wasm';
import { expect, test } from 'vitest';
import { expectNearInForm, forms } from '../support/quantised-layers.js';
import { tf } from '../support/tfjs.js';

test.each(forms)('The wasm backend runs a model with weights stored as %s', async (form, limit) => {
  await tf.setBackend('wasm');
  expect(tf.getBackend()).toBe('wasm');
  await expectNearInForm(form, limit);
});
