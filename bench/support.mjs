// What benchmarks share: weights, medians, and how long the engine works.
import { recordWords, status, word } from '../packages/sparsifier/dist/engine/codes.js';

export const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];

/** Random numbers with the distribution of weights. The same seed gives the same numbers. */
export function weightsOf(kind, length, seed = 12345) {
  let state = seed;
  const next = () => (state = (Math.imul(state, 1664525) + 1013904223) | 0) / 2 ** 31;
  const weights = new Float32Array(length);
  switch (kind) {
    case 'equal':
      return weights.fill(0.5);
    case 'two':
      return weights.map(() => (next() < 0 ? 0.25 : 0.5));
    case 'sorted':
      return weights.map((_, index) => (index + 1) / length);
    case 'misleading':
      // All that the samples of crates/kernels/src/select/sample.rs see is larger than all the rest.
      return mislead(weights.map(() => normal(next)));
    default:
      return weights.map(() => normal(next));
  }
}

/** Close to a normal distribution, and uses all bits of a number. */
const normal = (next) => next() + next() + next() + next() * 2 ** -12;

function mislead(weights) {
  const [sample, run] = [2 ** (Math.floor((Math.floor(Math.log2(weights.length)) * 2) / 3) + 1), 16];
  const runs = sample / run;
  for (let index = 0; index < runs; index++) {
    const from = Math.floor((index * weights.length) / runs);
    const width = Math.floor(((index + 1) * weights.length) / runs) - from;
    // The second sample is taken from the rest that the first one left.
    for (const [first, more] of [
      [0, 100],
      [runs, 50],
    ]) {
      const place = from + ((Math.imul(first + index, 2_654_435_769) >>> 0) % (width - run + 1));
      for (let at = place; at < place + run; at++) weights[at] += more;
    }
  }
  return weights;
}

/**
 * Returns the result of a call and the time of the engine in milliseconds, without the allocation of memory.
 * @param wake is called before the first work that is counted
 */
export async function timed(engine, call, wake = async () => {}) {
  const own = Object.getPrototypeOf(engine).calls;
  let time = 0;
  engine.calls = async (calls) => {
    const counts = !['allocate', 'release'].includes(calls[0]?.[0]);
    if (counts && time === 0) await wake();
    const begun = performance.now();
    const results = await own.call(engine, calls);
    if (counts) time += performance.now() - begun;
    return results;
  };
  const result = await call();
  delete engine.calls;
  return { time, result };
}

/** The time of one pass over the same amount of memory, in milliseconds. */
export async function passOver(engine, data, wake = async () => {}) {
  const { pass, free } = await passes(engine, data);
  await wake();
  const begun = performance.now();
  await pass();
  const time = performance.now() - begun;
  free();
  return time;
}

/** Runs passes over a copy of these numbers. */
export async function passes(engine, data) {
  const weights = await engine.allocate(data.byteLength);
  const table = await engine.allocate(recordWords * 4);
  await weights.write(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  const record = new Uint32Array(recordWords);
  record[word.weights] = weights.address;
  // One axis: its size, and that each of its numbers is a unit.
  [record[word.axes], record[word.sizes], record[word.blocks]] = [1, data.length, 1];
  await table.write(new Uint8Array(record.buffer));
  // Not what `timed` puts in its place.
  const { calls } = Object.getPrototypeOf(engine);
  const pass = async () => {
    const [given] = await calls.call(engine, [['pass', table.address, 1]]);
    if (given !== status.done) throw new Error(`the pass failed: ${given}`);
  };
  const free = () => [table, weights].forEach((block) => block.free());
  return { pass, free };
}
