// Measures the time of the engine, and compares it with one pass over the same memory (`x *= c` in place, in the same
// chunks on the same threads). 25 million weights, 50 %, on 1 thread and on all. Copies into and out of the engine are
// not counted. Reports medians of rounds in which all cases take turns. `npm run bench -- engine weight`: only cases
// that contain this word.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { availableParallelism, cpus } from 'node:os';
import { median, passes, passOver, timed, weightsOf } from './support.mjs';
import { yardstickModules } from '../scripts/yardstick.mjs';

const rounds = Number(process.env.ROUNDS ?? 11);
const conv = (order, sizes) => ({ kind: 'conv2d', roles: order.split(' '), sizes });
const oihw = conv('out in height width', { out: 1667, in: 1667, height: 3, width: 3 });
const hwio = conv('height width in out', oihw.sizes);
const dense = { kind: 'dense', roles: ['out', 'in'], sizes: { out: 5000, in: 5000 } };
const cases = [
  { name: 'weight local', granularity: 'weight', layer: oihw },
  { name: 'weight global, 50 layers', granularity: 'weight', context: 'global', layer: oihw, layers: 50 },
  { name: 'filter OIHW', granularity: 'filter', layer: oihw },
  { name: 'filter HWIO', granularity: 'filter', layer: hwio },
  { name: 'kernel OIHW', granularity: 'kernel', layer: oihw },
  { name: 'kernel HWIO', granularity: 'kernel', layer: hwio },
  { name: '2:4 conv OIHW', granularity: { nm: [2, 4] }, layer: oihw },
  { name: '2:4 conv HWIO', granularity: { nm: [2, 4] }, layer: hwio },
  { name: '2:4 dense', granularity: { nm: [2, 4] }, layer: dense },
  { name: 'weight, all equal', granularity: 'weight', layer: oihw, numbers: 'equal' },
  { name: 'weight, two values', granularity: 'weight', layer: oihw, numbers: 'two' },
  { name: 'weight, sorted', granularity: 'weight', layer: oihw, numbers: 'sorted' },
  { name: 'weight, against the sample', granularity: 'weight', layer: oihw, numbers: 'misleading' },
];

const here = fileURLToPath(import.meta.url);
const [first, ...words] = process.argv.slice(2);
if (first === '--threads') console.log(JSON.stringify(await measure(Number(words[0]), words.slice(1))));
else report([first, ...words].filter(Boolean));

function report(words) {
  const counts = [1, availableParallelism()];
  const results = counts.map((threads) => {
    const child = spawnSync(process.execPath, [here, '--threads', threads, ...words], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    if (child.status !== 0) process.exit(1);
    return JSON.parse(child.stdout.toString());
  });
  console.log(`${cpus()[0].model}, Node ${process.version}, medians of ${rounds}; ms, and ratio to the pass`);
  console.log(`${''.padEnd(28)}${counts.map((count) => `${count} threads`.padStart(18)).join('')}   scaling / pass's`);
  const [one, all] = results;
  for (const [index, { name }] of one.entries()) {
    const cells = results.map((list) => {
      const { time, pass } = list[index];
      return `${time.toFixed(1).padStart(10)}${(time / pass).toFixed(2).padStart(6)} x`;
    });
    const scaling = one[index].time / all[index].time;
    const passScaling = one[index].pass / all[index].pass;
    console.log(
      `${name.padEnd(28)}${cells.join('')}   ${scaling.toFixed(2)} / ${passScaling.toFixed(2)} = ${(scaling / passScaling).toFixed(2)}`,
    );
  }
}

async function measure(threads, words) {
  const from = (name) => import(pathToFileURL(join(yardstickModules, name)).href);
  const [{ loadEngine, Sparsifier }, { fromArrays }] = [await from('index.js'), await from('arrays.js')];
  const engine = await loadEngine({ threads });
  const chosen = cases.filter(({ name }) => words.every((word) => name.includes(word)));
  const times = chosen.map(() => ({ time: [], pass: [] }));
  // The engine's threads sleep while numbers are copied, and on virtual machines so do the processors. The time that
  // they take to wake up must not be counted on either side.
  const few = await passes(engine, new Float32Array(2 ** 23));
  const wake = async () => {
    for (let index = 0; index < 10; index++) await few.pass();
  };
  const numbers = new Map();
  // The first round is for warm-up and is not counted.
  for (let round = 0; round <= rounds; round++) {
    for (const [
      index,
      { name, granularity, context = 'local', layer, layers = 1, numbers: kind = 'normal' },
    ] of chosen.entries()) {
      const { roles, sizes } = layer;
      const shape = roles.map((role) => (role === 'out' ? Math.floor(sizes.out / layers) : sizes[role]));
      const length = shape.reduce((a, b) => a * b);
      if (!numbers.has(kind)) numbers.set(kind, weightsOf(kind, 1667 * 1667 * 3 * 3));
      const data = numbers.get(kind).slice(0, layers * length);
      const named = Array.from({ length: layers }, (_, at) => [
        `layer ${at}`,
        { kind: layer.kind, roles, shape, data: data.subarray(at * length, (at + 1) * length) },
      ]);
      const sparsifier = new Sparsifier(fromArrays(Object.fromEntries(named)), {
        granularity,
        context,
        criteria: 'largeFinal',
        layerType: 'all',
      });
      const amount = granularity.nm ? undefined : 50;
      const { time, result } = await timed(engine, () => sparsifier.sparsifyModel(amount), wake);
      const kept = result.total.keptUnits / result.total.units;
      if (Math.abs(kept - 0.5) > 0.001) throw new Error(`${name}: ${kept} kept`);
      const pass = await passOver(engine, data, wake);
      if (round === 0) continue;
      times[index].time.push(time);
      times[index].pass.push(pass);
    }
  }
  return chosen.map(({ name }, index) => ({
    name,
    time: median(times[index].time),
    pass: median(times[index].pass),
  }));
}
