// The cases of `bench/responsive.mjs`, for Node and browsers.
import { Sparsifier } from 'sparsifier';
import { fromArrays } from 'sparsifier/formats/arrays';

const options = { granularity: 'weight', context: 'local', criteria: 'largeFinal', layerType: 'all' };

/** Models of a hundred million weights each. */
const models = {
  'ten layers': { count: 10, kind: 'conv2d', roles: ['out', 'in', 'height', 'width'], shape: [2500, 1000, 2, 2] },
  'one layer': { count: 1, kind: 'dense', roles: ['out', 'in'], shape: [10_000, 10_000] },
};

/**
 * Runs all cases of one model.
 * @param {(work: () => unknown) => Promise<object>} measure returns how long the work takes, and the longest task
 *   during it
 * @returns the rows of a table: a name and the result of `measure`
 */
export async function run(title, measure) {
  const { count, kind, roles, shape } = models[title];
  const length = shape.reduce((a, b) => a * b);
  const arrays = Array.from({ length: count }, () => new Float32Array(length));
  const layers = arrays.map((data, index) => [`layer ${index}`, { kind, roles, shape, data, bias: biasOf(shape[0]) }]);
  const model = fromArrays(Object.fromEntries(layers));
  const rows = [];
  const row = async (name, work) => rows.push({ name, ...(await measure(work)) });
  const fresh = (more) => {
    fill(arrays);
    return new Sparsifier(model, { ...options, ...more });
  };

  let sparsifier = fresh();
  await row('weight local', () => sparsifier.sparsifyModel(50));
  await row('again at 80 %', () => sparsifier.sparsifyModel(80));
  await row('apply()', () => sparsifier.apply());
  await row('mask(), synchronous', () => sparsifier.mask('layer 0'));
  await row('masks(), synchronous', () => sparsifier.masks());
  const chunks = [];
  await row('saveMasks()', () =>
    sparsifier.saveMasks(new WritableStream({ write: (chunk) => void chunks.push(chunk) })),
  );
  const file = new Blob(chunks.splice(0));
  await row('loadMasks()', () => sparsifier.loadMasks(file));

  sparsifier = fresh({ context: 'global' });
  await row('weight global', () => sparsifier.sparsifyModel(50));

  sparsifier = fresh({ granularity: 'filter' });
  await row('filter local', () => sparsifier.sparsifyModel(50));

  sparsifier = fresh({ restorable: true });
  await row('restorable', () => sparsifier.sparsifyModel(50));
  await row('restorable again', () => sparsifier.sparsifyModel(80));
  await row('the same again', () => sparsifier.sparsifyModel(80));
  await row('restore()', () => sparsifier.restore());

  fill(arrays);
  const movement = { ...options, criteria: 'movement' };
  await row('new, movement, synchronous', () => (sparsifier = new Sparsifier(model, movement)));
  await row('movement', () => sparsifier.sparsifyModel(50));
  return rows;
}

const biasOf = (channels) => new Float32Array(channels).fill(1);

function fill(arrays) {
  let state = 12345;
  for (const array of arrays) {
    for (let index = 0; index < array.length; index++) {
      state = (Math.imul(state, 1664525) + 1013904223) | 0;
      array[index] = (state / 2 ** 31) ** 3;
    }
  }
}

/** Sends messages through a port as often as the thread allows, and records the longest time between two. */
export function startTicking() {
  const { port1, port2 } = new MessageChannel();
  let longest = 0;
  let last = performance.now();
  port1.onmessage = () => {
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
    port2.postMessage(undefined);
  };
  port2.postMessage(undefined);
  return () => {
    longest = Math.max(longest, performance.now() - last);
    port1.close();
    return longest;
  };
}
