// Runs ONNX models in both of ONNX Runtime's packages, each on one thread, to compare how long models take.
import * as node from 'onnxruntime-node';
import * as web from 'onnxruntime-web';
import { median } from './support.mjs';

web.env.wasm.numThreads = 1;
web.env.logLevel = 'error';

export const onnxRuntimes = { 'onnxruntime-node': node, 'onnxruntime-web, wasm': web };

/**
 * Loads a model for runs with the same inputs.
 * @param feeds tensors of onnxruntime-node by the names of inputs
 */
export async function loaded(ort, bytes, feeds) {
  const session = await ort.InferenceSession.create(bytes, { intraOpNumThreads: 1, logSeverityLevel: 3 });
  const inputs = Object.entries(feeds).map(([name, { type, data, dims }]) => [name, new ort.Tensor(type, data, dims)]);
  const own = Object.fromEntries(inputs);
  return { run: () => session.run(own), free: () => session.release() };
}

/**
 * How long each of some functions takes in milliseconds: the median of at least 5 rounds, in which they take turns. The
 * first round is for warm-up.
 */
export async function takingTurns(runs, milliseconds = 2000) {
  const times = runs.map(() => []);
  let end = Infinity;
  for (let round = 0; round <= 5 || performance.now() < end; round++) {
    if (round === 1) end = performance.now() + milliseconds;
    // Every second round is in reverse order, so that none always follows the same one.
    const order = [...runs.keys()];
    for (const index of round % 2 ? order : order.reverse()) {
      const begun = performance.now();
      await runs[index]();
      if (round > 0) times[index].push(performance.now() - begun);
    }
  }
  return times.map(median);
}
