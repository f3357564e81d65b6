// Measures the time, the memory and the time per weight of sparsifyFile on safetensors of 138 million and of 1 billion
// weights, and on a TensorFlow.js LayersModel of 268 million. Compares with a plain copy of the files that is also
// flushed to the disk. Each run has its own process.
import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, open, readdir, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { sparsifyFile } from 'sparsifier/file';

/** Ten transformer blocks with hidden states and a vocabulary of these sizes, and dense layers of this size. */
const models = [
  { title: '138 M', write: (folder) => writeSafetensors(folder, tensorsOf(1024, 12_000)) },
  { title: '1 G', write: (folder) => writeSafetensors(folder, tensorsOf(2816, 17_200)) },
  { title: '268 M, LayersModel', write: (folder) => writeLayersModel(folder, 16, 4096) },
];
const cases = [{ context: 'copy' }, { context: 'local' }, { context: 'global' }];

if (process.argv[2]) console.log(JSON.stringify(await measure(process.argv[2], process.argv[3], process.argv[4])));
else await compare();

async function compare() {
  const folder = await mkdtemp(join(tmpdir(), 'sparsifier-bench-'));
  console.log(`float32, 50 %, Node ${process.version}, ${availableParallelism()} cores, in ${tmpdir()}`);
  console.log(`${'weights'.padEnd(18)}  context    seconds  ns a weight  peak memory`);
  const costs = new Map(cases.map(({ context }) => [context, []]));
  try {
    for (const { title, write } of models) {
      const [from, output] = [join(folder, 'model'), join(folder, 'sparse/')];
      await mkdir(from);
      const { input, weights } = await write(from);
      for (const { context } of cases) {
        const { seconds, rss } = JSON.parse(
          execFileSync(process.execPath, [fileURLToPath(import.meta.url), context, input, output], {
            encoding: 'utf8',
          }),
        );
        await rm(output, { recursive: true });
        const cost = (1e9 * seconds) / weights;
        costs.get(context).push(cost);
        const cells = [
          seconds.toFixed(1).padStart(7),
          cost.toFixed(2).padStart(11),
          `${Math.round(rss)} MB`.padStart(11),
        ];
        console.log([title.padEnd(18), context.padEnd(8), ...cells].join('  '));
      }
      await rm(from, { recursive: true });
    }
    const ratios = [...costs].map(([context, [small, large]]) => `${context} ${(large / small).toFixed(2)}`);
    console.log(`cost of a weight, the larger model to the smaller: ${ratios.join(', ')}`);
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function measure(context, input, output) {
  const begun = performance.now();
  if (context === 'copy') await copyFolder(join(input, '..'), output);
  else {
    const options = { granularity: 'weight', context, criteria: 'largeFinal', layerType: 'all', sparsity: 50 };
    const { total } = await sparsifyFile(input, output, options);
    if (Math.abs(2 * total.keptUnits - total.units) > 100) throw new Error(`${context}: ${total.keptUnits} kept`);
  }
  const { maxRSS } = process.resourceUsage();
  return { seconds: (performance.now() - begun) / 1000, rss: maxRSS / 1000 };
}

async function copyFolder(from, to) {
  await mkdir(to);
  for (const name of await readdir(from)) await copy(join(from, name), join(to, name));
}

async function copy(input, output) {
  const [from, to] = [await open(input), await open(output, 'w')];
  const window = new Uint8Array(2 ** 24);
  for (;;) {
    const { bytesRead } = await from.read(window);
    if (bytesRead === 0) break;
    await to.write(window, 0, bytesRead);
  }
  await to.sync();
  await to.close();
  await from.close();
}

function tensorsOf(hidden, vocabulary) {
  const tensors = { 'embed_tokens.weight': [vocabulary, hidden] };
  for (let block = 0; block < 10; block++) {
    const name = `layers.${block}`;
    for (const part of ['q_proj', 'k_proj', 'v_proj', 'o_proj']) tensors[`${name}.${part}.weight`] = [hidden, hidden];
    tensors[`${name}.norm.weight`] = [hidden];
    tensors[`${name}.up_proj.weight`] = [4 * hidden, hidden];
    tensors[`${name}.down_proj.weight`] = [hidden, 4 * hidden];
  }
  return tensors;
}

const count = ([rows, columns = 1]) => rows * columns;

/**
 * Sums of a few random numbers are close to the normal distribution of trained weights. Their count is a prime number.
 */
function draw() {
  let state = 12345;
  const chance = () => (state = (Math.imul(state, 1664525) + 1013904223) | 0) / 2 ** 31;
  const draws = Float32Array.from({ length: 1_048_573 }, () => chance() + chance() + chance() + chance());
  // Each tensor has its own scale.
  return () => draws.map((each) => each * (2 ** (2 * chance()) / 50));
}

/** Writes random weights. Returns the file to read, and how many weights can be pruned. */
async function writeSafetensors(folder, tensors) {
  const header = {};
  let end = 0;
  for (const [name, shape] of Object.entries(tensors))
    header[name] = { dtype: 'F32', shape, data_offsets: [end, (end += 4 * count(shape))] };
  const text = Buffer.from(JSON.stringify(header).padEnd(8192));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const scaled = draw();
  const input = join(folder, 'model.safetensors');
  const file = await open(input, 'w');
  await file.write(Buffer.concat([length, text]));
  let weights = 0;
  for (const shape of Object.values(tensors)) {
    const numbers = scaled();
    for (let rest = count(shape); rest > 0; rest -= numbers.length) await file.write(numbers.subarray(0, rest));
    if (shape.length > 1) weights += count(shape);
  }
  await file.sync();
  await file.close();
  return { input, weights };
}

/** Dense layers with biases, in files of 4 MB that split the weights. */
async function writeLayersModel(folder, layers, size) {
  const names = Array.from({ length: layers }, (_, layer) => `dense${layer}`);
  const weights = names.flatMap((name) => [
    { name: `${name}/kernel`, shape: [size, size], dtype: 'float32' },
    { name: `${name}/bias`, shape: [size], dtype: 'float32' },
  ]);
  const bytes = 4 * weights.reduce((sum, { shape }) => sum + count(shape), 0);
  const shards = Math.ceil(bytes / 2 ** 22);
  const paths = Array.from({ length: shards }, (_, shard) => `group1-shard${shard + 1}of${shards}.bin`);
  const numbers = new Uint8Array(draw()().buffer);
  for (const [shard, path] of paths.entries()) {
    const length = Math.min(2 ** 22, bytes - shard * 2 ** 22);
    await writeFile(join(folder, path), numbers.subarray(0, length));
  }
  const config = (name) => ({ class_name: 'Dense', config: { name, units: size, use_bias: true } });
  const modelTopology = { class_name: 'Sequential', config: { name: 'model', layers: names.map(config) } };
  const input = join(folder, 'model.json');
  await writeFile(input, JSON.stringify({ modelTopology, weightsManifest: [{ paths, weights }] }));
  return { input, weights: layers * size * size };
}
