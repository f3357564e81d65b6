// What `sparsifier doctor` knows about TensorFlow.js.
import '@tensorflow/tfjs-backend-wasm';
import { createRequire } from 'node:module';
import { readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { readTfjs } from 'sparsifier/formats/tfjs';
import { expect, test } from 'vitest';
import { diagnose, kerasLayers, notInTfjsWasm, runtimes, tensorFlowOperators } from '../../support/internal.js';
import { filesOf, floats, graphOf, saved, textOf, tf } from '../../support/tfjs.js';

async function diagnosisOf({ json, shards }: Awaited<ReturnType<typeof saved>>) {
  using model = await readTfjs(textOf(json), { shards: (name) => shards.get(name)! });
  return (await diagnose(model, 'model.json', ['tfjs-webgl', 'tfjs-wasm', 'ort-node'])).runtimes;
}

test('The version that the facts are about is the one that is tested', () => {
  expect([runtimes['tfjs-wasm'].version, runtimes['tfjs-webgl'].version]).toEqual([tf.version.tfjs, tf.version.tfjs]);
});

test('The layers in the list are those that TensorFlow.js has', () => {
  const { classNameMap } = tf.serialization.SerializationMap.getMap();
  const isLayer = ([own]: readonly unknown[]) => (own as { prototype: object }).prototype instanceof tf.layers.Layer;
  expect(Object.keys(classNameMap)).toEqual(expect.arrayContaining([...kerasLayers]));
  const missing = Object.keys(classNameMap).filter(
    (name) => isLayer(classNameMap[name]!) && !kerasLayers.includes(name),
  );
  expect(missing).toEqual([]);
});

test('The operators in the list are those of the converter of TensorFlow.js', async () => {
  const own = createRequire(createRequire(import.meta.url).resolve('@tensorflow/tfjs'));
  const folder = join(dirname(own.resolve('@tensorflow/tfjs-converter')), 'operations', 'op_list');
  const names = new Set<string>();
  for (const file of (await readdir(folder)).filter((name) => name.endsWith('.js') && !name.includes('test'))) {
    const text = await readFile(join(folder, file), 'utf8');
    for (const [, name] of text.matchAll(/tfOpName'?"?: ['"]([^'"]+)/g)) names.add(name!);
  }
  const known = [...names].filter((name) => !name.startsWith('SimpleML')).sort();
  expect([...tensorFlowOperators].sort()).toEqual(known);
});

test('The operators that the wasm backend lacks are those for which only the WebGL backend has kernels', async () => {
  const kernels = (backend: string) => new Set(tf.getKernelsForBackend(backend).map(({ kernelName }) => kernelName));
  const [webgl, wasm] = [kernels('webgl'), kernels('wasm')];
  const isMissing = (name: string) => webgl.has(name) && !wasm.has(name);
  const composed = ['IRFFT', 'RFFT'];
  expect(notInTfjsWasm).toEqual([...tensorFlowOperators.filter(isMissing), ...composed].sort());
  await tf.setBackend('wasm');
  await tf.ready();
  expect(() => tf.spectral.rfft(tf.ones([4]))).toThrow(/Kernel '\w+' not registered for backend 'wasm'/);
});

test('A graph with such an operator does not run on wasm, and one of no list is not known to run', async () => {
  const entries = [{ name: 'w', shape: [2], dtype: 'float32', bytes: floats(1, 2) }];
  const graph = (op: string) => filesOf(graphOf(entries, [['y', op, ['w']]]), entries);
  const fft = await diagnosisOf(graph('FFT'));
  expect(fft.map(({ loads }) => loads)).toEqual(['yes', 'no', 'no']);
  expect((await diagnosisOf(graph('Frobnicate'))).map(({ loads }) => loads)).toEqual(['unknown', 'unknown', 'no']);
});

test('Weights of 8 and 16 bits are floats of 32 bits once the wasm backend has loaded them', async () => {
  await tf.setBackend('wasm');
  await tf.ready();
  for (const dtype of ['uint8', 'uint16', 'float16'] as const) {
    const bytes = new Uint8Array(dtype === 'uint8' ? 64 : 128);
    const quantization = dtype === 'float16' ? { dtype } : { dtype, scale: 0.5, min: -1 };
    const spec = { name: 'w', shape: [64], dtype: 'float32' as const, quantization };
    const decoded = tf.io.decodeWeights(bytes.buffer, [spec]);
    expect(decoded.w!.dtype).toBe('float32');
    expect([...(await decoded.w!.data())]).toEqual(Array<number>(64).fill(dtype === 'float16' ? 0 : -1));
    const entry = { ...spec, bytes };
    const files = filesOf(graphOf([entry], [['y', 'Relu', ['w']]]), [entry]);
    const [, wasm] = await diagnosisOf(files);
    expect(wasm!.facts.map(({ id }) => id)).toContain('tfjs-quantised-speed');
    expect(wasm).toMatchObject({ loads: 'yes', smaller: 'yes', faster: 'no' });
  }
});
