// Every form of weights runs on the WebGL backend of TensorFlow.js. Skipped where Chromium has no WebGL.
import { expect, test } from 'vitest';
import { expectNearInForm, forms } from '../support/quantised-layers.js';
import { tf } from '../support/tfjs.js';

const hasWebgl = new OffscreenCanvas(1, 1).getContext('webgl2') !== null;

test.skipIf(!hasWebgl).each(forms)('The WebGL backend runs a model with weights stored as %s', async (form, limit) => {
  await tf.setBackend('webgl');
  expect(tf.getBackend()).toBe('webgl');
  await expectNearInForm(form, limit);
});
