// How long the engine works on one layer of 25.6 million weights, by number of threads, beside the time that one thread
// takes to copy the same array. Copies into and out of the engine stand apart. Each number of threads is a process of
// its own, since the engine is loaded once; medians of several rounds.
import { execFileSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { load, Sparsifier } from 'sparsifier';
import { fromArrays } from 'sparsifier/formats/arrays';

const rounds = 7;
const shape = [2560, 1000, 1, 10];
const cases = [
  { granularity: 'weight', context: 'local' },
  { granularity: 'weight', context: 'global' },
  { granularity: 'kernel', context: 'local' },
  { granularity: 'filter', context: 'local' },
];

if (process.argv[2]) console.log(JSON.stringify(await measure(Number(process.argv[2]))));
else compare();

function compare() {
  const counts = [...new Set([1, 2, availableParallelism()])].filter((count) => count <= availableParallelism());
  console.log(
    `25.6 million weights, float32, 50 %, Node ${process.version}, ${availableParallelism()} cores, medians of ${rounds}, in ms`,
  );
  console.log('threads  case            copy in   engine  copy out   engine / one copy');
  for (const threads of counts) {
    const results = JSON.parse(
      execFileSync(process.execPath, [fileURLToPath(import.meta.url), String(threads)], { encoding: 'utf8' }),
    );
    for (const { name, load, engine, store, copy } of results) {
      const cells = [load, engine, store].map((time) => time.toFixed(1).padStart(9)).join('');
      console.log(
        `${String(threads).padEnd(9)}${name.padEnd(14)}${cells}   ${(engine / copy).toFixed(1).padStart(17)}`,
      );
    }
  }
}

async function measure(threads) {
  await load({ threads });
  const weights = new Float32Array(shape.reduce((a, b) => a * b));
  let state = 12345;
  for (let index = 0; index < weights.length; index++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    weights[index] = (state / 2 ** 31) ** 3;
  }
  const data = new Float32Array(weights.length);
  const model = fromArrays({ layer: { kind: 'conv2d', roles: ['out', 'in', 'height', 'width'], shape, data } });
  const results = [];
  for (const options of cases) {
    const times = { load: [], engine: [], store: [], copy: [] };
    // The first round warms the compiler up and is not counted.
    for (let round = 0; round <= rounds; round++) {
      const begun = performance.now();
      data.set(weights);
      const copy = performance.now() - begun;
      const spent = { load: 0, engine: 0, store: 0 };
      let last = performance.now();
      const report = await new Sparsifier(model, { ...options, criteria: 'largeFinal' }).sparsifyModel(50, {
        onProgress: ({ stage }) => {
          const now = performance.now();
          spent[stage === 'load' || stage === 'store' ? stage : 'engine'] += now - last;
          last = now;
        },
      });
      if (report.total.units !== 2 * report.total.kept)
        throw new Error(`${options.granularity}: ${report.total.kept} kept`);
      if (round > 0) for (const [part, time] of Object.entries({ ...spent, copy })) times[part].push(time);
    }
    const medians = Object.fromEntries(Object.entries(times).map(([part, list]) => [part, median(list)]));
    results.push({ name: `${options.granularity} ${options.context}`, ...medians });
  }
  return results;
}

function median(list) {
  return list.sort((a, b) => a - b)[Math.floor(list.length / 2)];
}
