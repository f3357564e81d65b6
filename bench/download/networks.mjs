// The networks of bench/download.mjs: how each is read, calibrated, judged and run. Samples for calibration never judge.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { calibrate, calibrateTfjs } from 'sparsifier/calibration';
import { readOnnx } from 'sparsifier/formats/onnx';
import { readTfjs } from 'sparsifier/formats/tfjs';
import { dequantize } from 'sparsifier/quantize';
import * as detector from '../../examples/support/detector.mjs';
import * as direction from '../../examples/support/direction.mjs';
import { languages, pitch, tf, upscaler } from '../../examples/support/models.mjs';
import * as recogniser from '../../examples/support/recogniser.mjs';
import { loaded, onnxRuntimes } from '../sessions.mjs';

const nmp = fileURLToPath(new URL('../../tests/.fixtures/nmp.onnx', import.meta.url));

/** Layers that are made sparse: all that are not depthwise convolutions, as docs/repair.md recommends. */
const usual = { layerType: 'all', exclude: [{ depthwise: true }] };

/** @param isShort whether few samples are enough */
export async function networks(isShort) {
  await tf.setBackend('wasm');
  const lines = linesFor(isShort);
  // The first ones judge, as in docs/repair.md.
  const sounds = splitAt(isShort ? 1 : 6, pitch.samples(isShort ? 5 : 14));
  const pictures = splitAt(isShort ? 1 : 3, upscaler.samples(isShort ? 5 : 19));
  const [forPages, judgingPages] = splitAt(isShort ? 2 : 8, detector.pages(isShort ? 4 : 24));
  return [
    readingText(lines),
    inOnnx({
      name: 'direction',
      title: 'Text direction (ONNX)',
      outcome: 'accuracy, %',
      file: direction.file,
      layers: usual,
      ...lines,
      measureWith: direction.measure,
    }),
    inOnnx({
      name: 'detector',
      title: 'Text detector (ONNX)',
      outcome: 'overlap with float32, %',
      file: detector.file,
      layers: usual,
      calibrating: forPages,
      judging: judgingPages,
      measureWith: likeDense(detector.file, detector.areasOf, detector.overlap),
    }),
    ...(existsSync(nmp) ? [await recognisingNotes(sounds)] : []),
    inTfjs({ name: 'notes-tfjs', title: 'Notes of music (TensorFlow.js)', outcome: 'F1, %' }, pitch, sounds),
    inTfjs({ name: 'upscaler', title: 'Upscaler (TensorFlow.js)', outcome: 'PSNR, dB' }, upscaler, pictures),
    recognisingLanguages(isShort ? 4 : 40),
  ];
}

const splitAt = (count, list) => [list.slice(0, count), list.slice(count)];

/** Lines of text: the first 16 for calibration, as in docs/repair.md. */
export function linesFor(isShort) {
  const [calibrating, judging] = splitAt(isShort ? 4 : 16, recogniser.lines(isShort ? 8 : 112));
  return { calibrating, judging };
}

/** The network that reads text. */
export const readingText = (lines) =>
  inOnnx({
    name: 'recogniser',
    title: 'Text recogniser (ONNX)',
    outcome: 'characters kept, %',
    file: recogniser.file,
    layers: usual,
    inputs: 'pruned',
    ...lines,
    measureWith: likeDense(recogniser.file, recogniser.readAll, recogniser.keptCharacters),
  });

/**
 * An ONNX model.
 * @param inputs what a repair is for: the inputs of the dense network, or of the `pruned` one
 * @param measureWith gives the outcome of a session for samples
 */
export function inOnnx({ name, title, outcome, file, layers, inputs, calibrating, judging, measureWith }) {
  const data = {
    createSession: (bytes) => InferenceSession.create(bytes),
    batches: () => calibrating.map(({ feeds }) => feeds),
  };
  return {
    ...{ name, title, outcome, file, layers, calibrating },
    forms: ['float16', 'int8'],
    read: () => readOnnx(file),
    calibrate: (model) => calibrate(model, data),
    repair: inputs === 'pruned' ? { inputs, ...data } : {},
    measure: (files) => withSession(mainIn(files), (session) => measureWith(session, judging)),
    runtimes: Object.entries(onnxRuntimes).map(([runtime, ort]) => ({
      runtime,
      load: (files) => loaded(ort, mainIn(files), judging[0].feeds),
    })),
  };
}

const mainIn = (files) => files.values().next().value;

async function withSession(model, work) {
  const session = await InferenceSession.create(model, { logSeverityLevel: 3 });
  const result = await work(session);
  await session.release();
  return result;
}

/**
 * Compares with what the dense network finds.
 * @param find what a session finds in samples
 * @param compare how much of what the dense network finds another one keeps
 */
export function likeDense(file, find, compare) {
  let dense;
  return async (session, samples) => {
    dense ??= withSession(file, (session) => find(session, samples));
    return compare(await dense, await find(session, samples));
  };
}

/** The network that recognises notes as an ONNX model. */
async function recognisingNotes([judging, calibrating]) {
  const input = await withSession(nmp, async ({ inputNames }) => inputNames[0]);
  const withFeeds = (sample) => ({
    ...sample,
    feeds: { [input]: new Tensor('float32', sample.sound, [1, sample.sound.length, 1]) },
  });
  // Its transform's fixed filters are convolutions of height 1.
  const model = await readOnnx(nmp);
  const fixed = model.tensors.filter(({ shape }) => shape[2] === 1).map((tensor) => tensor.name);
  model.close();
  return inOnnx({
    name: 'notes-onnx',
    title: 'Notes of music (ONNX)',
    outcome: 'F1, %',
    file: nmp,
    layers: { exclude: fixed },
    calibrating: calibrating.map(withFeeds),
    judging: judging.map(withFeeds),
    measureWith: (session, judging) => {
      const feedsOf = new Map(judging.map(({ sound, feeds }) => [sound, feeds]));
      const listen = async (sound) => {
        const outputs = await session.run(feedsOf.get(sound));
        return Float32Array.from(outputs[session.outputNames[1]].data, Number);
      };
      return pitch.score(listen, judging);
    },
  });
}

const forms = ['float16', 'uint16', 'uint8'];
const filesOf = (files) => ({ json: files.get('model.json'), shards: files });

/** A model that TensorFlow.js runs. */
function inTfjs({ name, title, outcome }, model, [judging, calibrating]) {
  const batches = calibrating.map((sample) => model.inputOf(sample));
  return {
    ...{ name, title, outcome, forms },
    layers: model.options,
    read: () => readTfjs(join(model.folder, 'model.json')),
    calibrate: async (read) => {
      const network = await model.load(filesOf(await read.toFiles()));
      const statistics = await calibrateTfjs(tf, network, { batches: () => batches });
      network.dispose();
      return statistics;
    },
    repair: {},
    measure: (files) => model.measure(filesOf(files), judging),
    runtimes: [runtimeOf('TensorFlow.js, wasm', model, judging[0])],
  };
}

/** Its dense layers cannot be calibrated: a loop is on the way to them, and its package keeps the model to itself. */
function recognisingLanguages(count) {
  const samples = languages.samples(count);
  return {
    name: 'languages',
    title: 'Programming languages (TensorFlow.js)',
    outcome: 'accuracy, %',
    layers: languages.options,
    forms,
    // Its own file has codes of 8 bits.
    read: async () => (await dequantize(await readTfjs(join(languages.folder, 'model.json')))).model,
    measure: (files) => languages.measure(filesOf(files), samples),
    runtimes: [runtimeOf('its package', languages, samples[0])],
  };
}

const runtimeOf = (runtime, model, sample) => ({
  runtime,
  load: async (files) => {
    const { run, dispose } = await model.open(filesOf(files));
    return { run: () => run(sample), free: dispose };
  },
});
