// TensorFlow.js: `topk` of the magnitudes, on the backend that Node has without native code.
import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import { serve } from './serve.mjs';

// Turns off checks and warnings.
tf.enableProdMode();
await tf.setBackend('cpu');
await serve((tensors) => {
  const times = { engine: 0, copyIn: 0, copyOut: 0 };
  const clock = (name, work) => {
    const begun = performance.now();
    const result = work();
    times[name] += performance.now() - begun;
    return result;
  };
  for (const { data } of tensors) {
    tf.tidy(() => {
      const weights = clock('copyIn', () => tf.tensor1d(data));
      const best = clock('engine', () => tf.topk(tf.abs(weights), Math.ceil(data.length / 2), false).indices);
      const kept = clock('copyOut', () => best.dataSync());
      clock('engine', () => {
        const values = Float32Array.from(kept, (index) => data[index]);
        data.fill(0);
        for (let at = 0; at < kept.length; at++) data[kept[at]] = values[at];
      });
    });
  }
  return { ...times, whole: times.engine + times.copyIn + times.copyOut };
});
