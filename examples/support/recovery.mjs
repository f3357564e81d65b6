// How many characters the text recogniser keeps when it is pruned without training, and repaired: 16 rendered lines are the
// inputs for its calibration, 48 others judge it.
import { InferenceSession } from 'onnxruntime-node';
import { Sparsifier } from 'sparsifier';
import { calibrate } from 'sparsifier/calibration';
import { readOnnx } from 'sparsifier/formats/onnx';
import * as recogniser from './recogniser.mjs';

/** All layers that are not depthwise convolutions: 33. */
const layers = { layerType: 'all', exclude: [{ depthwise: true }] };

/**
 * The lines of a seed, and what the dense network reads of those that judge.
 * @param count how many judge
 */
export async function linesOf(seed, count = 48) {
  const samples = recogniser.lines(16 + count, seed);
  const [calibrating, judging] = [samples.slice(0, 16), samples.slice(16)];
  const texts = await textsOf(recogniser.file, judging);
  return {
    calibrating,
    /** For `calibrate`, and for a repair with the inputs of the pruned network. */
    data: {
      createSession: (bytes) => InferenceSession.create(bytes),
      batches: () => calibrating.map(({ feeds }) => feeds),
    },
    /** The percentage of these characters that another network keeps. @param model a path or bytes */
    kept: async (model) => recogniser.keptCharacters(texts, await textsOf(model, judging)),
  };
}

async function textsOf(model, samples) {
  const session = await InferenceSession.create(model);
  const texts = await recogniser.readAll(session, samples);
  await session.release();
  return texts;
}

/** Measures the inputs of all layers, and the seconds that this takes. */
export async function calibrated({ data }, options) {
  const model = await readOnnx(recogniser.file);
  const begun = performance.now();
  const statistics = await calibrate(model, { ...data, ...options });
  const seconds = secondsSince(begun);
  model.close();
  return { statistics, seconds };
}

/**
 * Prunes the recogniser and, if asked to, repairs it.
 * @param options of a Sparsifier
 * @param repair options of a repair; without them the mask alone is applied
 * @returns the characters that it keeps, the seconds that pruning and the repair took, and the zeros in all layers
 */
export async function recovered({ kept }, options, sparsity, repair) {
  const model = await readOnnx(recogniser.file);
  const begun = performance.now();
  const sparsifier = new Sparsifier(model, { ...layers, ...options });
  const { total } = await sparsifier.sparsifyModel(sparsity);
  const report = repair && (await sparsifier.repair(repair));
  const seconds = secondsSince(begun);
  const characters = await kept(await model.bytes());
  model.close();
  return { characters, seconds, zeros: total.zeros, report };
}

const secondsSince = (begun) => (performance.now() - begun) / 1000;
