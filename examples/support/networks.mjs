// Real networks as the tables of the examples take them: how each is read, and how its quality is measured.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { readOnnx } from 'sparsifier/formats/onnx';
import { readTfjs } from 'sparsifier/formats/tfjs';
import { pitch } from './models.mjs';
import * as recogniser from './recogniser.mjs';

/** A model of TensorFlow.js, judged by these samples. */
export const inTfjs = (model, samples) => ({
  title: `${model.title} (${samples.length} samples)`,
  read: () => readTfjs(join(model.folder, 'model.json')),
  measure: async (read) => model.measure({ json: await read.bytes(), shards: await read.toFiles() }, samples),
});

/** An ONNX model, judged by what `measure` makes of a session and these samples. */
export const inOnnx = (title, file, samples, measure) => ({
  title: `${title} (${samples.length} samples)`,
  read: () => readOnnx(file),
  measure: async (read) => {
    const session = await InferenceSession.create(await read.bytes());
    const value = await measure(session, samples);
    await session.release();
    return value;
  },
});

/** The network that reads text, judged by the lines that it reads without an error. */
export const readerOf = (samples) =>
  inOnnx('lines of text read without an error, in percent', recogniser.file, samples, recogniser.readRight);

/** The network that recognises notes as an ONNX model; undefined if it was not fetched. */
export function notesInOnnx(samples) {
  const file = fileURLToPath(new URL('../../tests/.fixtures/nmp.onnx', import.meta.url));
  if (!existsSync(file)) return;
  return inOnnx('the same network as ONNX', file, samples, async (session) => {
    const listen = async (sound) => {
      const outputs = await session.run({
        [session.inputNames[0]]: new Tensor('float32', sound, [1, sound.length, 1]),
      });
      return Float32Array.from(outputs[session.outputNames[1]].data, Number);
    };
    return pitch.score(listen, samples);
  });
}
