// Measures moments and fits, and compares them with a plain product of `f32` matrices in the same engine (panels, SIMD, all
// sums in f32): billions of multiplications and additions per second, and the share of what the product reaches. Medians
// of rounds in which all cases take turns, on 1 thread and on all. The largest memory is that of the engine afterwards.
import { spawnSync } from 'node:child_process';
import { availableParallelism, cpus } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { median, timed, weightsOf } from './support.mjs';
import { yardstickModules } from '../scripts/yardstick.mjs';

const rounds = Number(process.env.ROUNDS ?? 7);
const dense = {
  groups: 1,
  kernel: [1, 1, 1],
  strides: [1, 1, 1],
  pads: [0, 0, 0],
  dilations: [1, 1, 1],
  transposed: false,
};
/** `columns` numbers in each of `rows` rows; `outputs` of the layer. */
const cases = [
  { name: 'dense, 1152 columns', geometry: { ...dense, inputs: 1152 }, side: [1, 1, 4096], outputs: 256 },
  {
    name: '3x3 of 128 channels',
    geometry: { ...dense, inputs: 128, kernel: [1, 3, 3], pads: [0, 1, 1] },
    side: [1, 64, 64],
    outputs: 256,
  },
  { name: 'dense, 120 columns', geometry: { ...dense, inputs: 120 }, side: [1, 1, 16384], outputs: 120 },
  {
    name: 'depthwise 3x3',
    geometry: { ...dense, groups: 256, inputs: 1, kernel: [1, 3, 3], pads: [0, 1, 1] },
    side: [1, 64, 64],
    outputs: 1,
  },
];
const steps = 10;
const size = 1024;

const here = fileURLToPath(import.meta.url);
if (process.argv[2] === '--threads') console.log(JSON.stringify(await measure(Number(process.argv[3]))));
else report();

function report() {
  console.log(`${cpus()[0].model}, Node ${process.version}, medians of ${rounds}; GFlop/s, and share of the product's`);
  for (const threads of [1, availableParallelism()]) {
    const child = spawnSync(process.execPath, [here, '--threads', threads], { stdio: ['ignore', 'pipe', 'inherit'] });
    if (child.status !== 0) process.exit(1);
    const { product, rows, megabytes } = JSON.parse(child.stdout.toString());
    console.log(`\n${threads} threads: product of ${size} x ${size} ${product.toFixed(1)}; memory ${megabytes} MiB`);
    for (const { name, moments, fit } of rows) {
      const cells = [moments, fit].map((rate) => `${rate.toFixed(1).padStart(8)} ${(rate / product).toFixed(2)}`);
      console.log(`${name.padEnd(24)}moments ${cells[0]}   fit ${cells[1]}`);
    }
  }
}

async function measure(threads) {
  const from = (name) => import(pathToFileURL(join(yardstickModules, name)).href);
  const [{ loadEngine }, { fit, MomentSums }] = [await from('index.js'), await from('engine/repair.js')];
  const engine = await loadEngine({ threads });
  const { calls } = Object.getPrototypeOf(engine);
  const block = async (numbers) => {
    const found = await engine.allocate(numbers.byteLength);
    await found.write(new Uint8Array(numbers.buffer));
    return found;
  };
  const matrices = [];
  for (const seed of [1, 2, 3]) matrices.push(await block(weightsOf('normal', size * size, seed)));
  const products = [];
  const all = [];
  for (const each of cases)
    all.push({ ...each, ...(await prepared(each, engine, block, MomentSums)), times: [[], []] });
  // The first round is for warm-up and is not counted.
  for (let round = 0; round <= rounds; round++) {
    const begun = performance.now();
    await calls.call(engine, [['multiply', size, ...matrices.map(({ address }) => address)]]);
    if (round > 0) products.push(performance.now() - begun);
    for (const { geometry, sums, inputs, request, times } of all) {
      const first = await timed(engine, () => sums.add(geometry, inputs));
      const seen = { pruned: (request.moments ??= await sums.finish()) };
      const second = await timed(engine, () => fit(engine, { ...request, seen }));
      if (round > 0) [first, second].forEach(({ time }, index) => times[index].push(time));
    }
  }
  const megabytes = Math.round((matrices[0].view()?.buffer.byteLength ?? 0) / 2 ** 20);
  const rows = all.map(({ name, work, times }) => {
    const [moments, fitted] = times.map((list, index) => work[index] / median(list) / 1e6);
    return { name, moments, fit: fitted };
  });
  return { product: (2 * size ** 3) / median(products) / 1e6, rows, megabytes };
}

async function prepared({ geometry, side, outputs }, engine, block, MomentSums) {
  const [space, channels] = [side[0] * side[1] * side[2], geometry.groups * geometry.inputs];
  const length = space * channels;
  const { address } = await block(weightsOf('normal', length));
  const inputs = {
    address,
    length,
    samples: 1,
    space: side,
    positions: side,
    steps: [length, space, side[1] * side[2], side[2], 1],
  };
  const columns = geometry.inputs * geometry.kernel.reduce((product, each) => product * each, 1);
  const count = geometry.groups * outputs * columns;
  const mask = new Uint8Array(Math.ceil(count / 32) * 4).fill(0b01010101);
  const request = {
    dtype: 'float32',
    axes: [{ size: count, block: 1, order: 0 }],
    mask,
    dense: new Uint8Array(weightsOf('normal', count, 7).buffer),
    layout: {
      sizes: [geometry.groups, outputs, columns, 1, 1, 1],
      steps: [outputs * columns, columns, 1, 1, 1, 1],
    },
    heldOut: undefined,
    ridge: 0.01,
    checks: [steps],
    hasBias: true,
    withoutEmpty: false,
  };
  // The upper half of the moments; for a fit: the first residual, the steps, and three products for errors.
  const work = [space * geometry.groups * columns ** 2, 2 * geometry.groups * outputs * columns ** 2 * (steps + 4)];
  return { sums: await MomentSums.allocate(engine, geometry), inputs, request, work };
}
