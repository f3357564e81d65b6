// Kills `sparsifier prune` while it replaces a model of several files, at random moments and at each step of writing, and
// looks at what is there after the next run. `npm run bench -- kills 200` kills 200 runs at random moments; a second number
// is the seed.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const command = fileURLToPath(new URL('../packages/sparsifier/dist/cli/main.js', import.meta.url));
const atStep = new URL('../tests/support/signal-at-step.mjs', import.meta.url).href;
const [kills = 200, seed = 1] = process.argv.slice(2).map(Number);
const options = ['-s', '50', '--layer-type', 'all', '--force'];
const index = 'in/model.safetensors.index.json';
const masks = ['--save-masks', 'masks/masks.safetensors'];
/** What is killed, and the next run: one that writes another file to the folder, or the same one again. */
const cases = [
  { name: 'streamed', words: [index, '-o', 'out/'], next: ['in/small.safetensors', '-o', 'out/other.safetensors'] },
  { name: 'with masks', words: [index, '-o', 'out/', ...masks], next: [index, '-o', 'out/', ...masks] },
];
const titles = {
  kills: 'kills',
  writing: 'while writing',
  old: 'then old',
  new: 'then new',
  mixed: 'mixed sets',
  inputs: 'inputs changed',
  left: 'left over',
  failed: 'failed next runs',
};

const folder = await mkdtemp(join(tmpdir(), 'sparsifier-kills-'));
const random = randomFrom(seed);
try {
  await makeInputs();
  const inputs = await digests('in');
  console.log(['case'.padEnd(26), ...Object.keys(titles).map((key) => titles[key])].join('  '));
  for (const { name, words, next } of cases) {
    await makeOld();
    const [before, began] = [await digests('out', 'masks'), performance.now()];
    await run(words).ended;
    const lasts = performance.now() - began;
    const after = await digests('out', 'masks');
    /** @param kill kills the n-th run; returns false once there is nothing more to kill */
    const killed = async (title, kill) => {
      const count = { kills: 0, writing: 0, old: 0, new: 0, mixed: 0, inputs: 0, left: 0, failed: 0 };
      for (; ; count.kills++) {
        await makeOld();
        if (!(await kill(count.kills))) break;
        if ((await stagings()).length > 0) count.writing++;
        if ((await run(next).ended) !== 0) count.failed++;
        const { 'out/other.safetensors': _, ...found } = await digests('out', 'masks');
        if (same(found, before)) count.old++;
        else if (same(found, after)) count.new++;
        else count.mixed++;
        if (!same(await digests('in'), inputs)) count.inputs++;
        count.left += (await stagings()).length;
      }
      const cells = Object.keys(titles).map((key) => String(count[key]).padStart(titles[key].length));
      console.log([title.padEnd(26), ...cells].join('  '));
    };
    await killed(`${name}, random moments`, async (number) => {
      if (number >= kills / cases.length) return false;
      const { child, ended } = run(words);
      // Every second kill comes while files are written, which is a small part of a run.
      if (number % 2 === 0) await wait(random() * lasts);
      else {
        await stagingOf(child);
        await wait(random() * lasts * 0.2);
      }
      child.kill('SIGKILL');
      await ended;
      return true;
    });
    await killed(`${name}, each step`, async (number) => {
      const parameters = new URLSearchParams({ number: String(number + 1), signals: 'SIGKILL' });
      return (await run(words, ['--import', `${atStep}?${parameters}`]).ended) !== 0;
    });
  }
} finally {
  await rm(folder, { recursive: true });
}

function run(words, flags = []) {
  const all = [...flags, command, 'prune', ...words, ...options];
  const child = spawn(process.execPath, all, { cwd: folder, stdio: 'ignore' });
  return { child, ended: new Promise((resolve) => child.on('close', resolve)) };
}

/** Waits until a run begins to write, or ends. */
async function stagingOf(child) {
  while (child.exitCode === null && (await stagings()).length === 0) await wait(1);
}

async function stagings() {
  return (await namesIn('.')).filter((name) => /\.sparsifier-[^/]*$/.test(name));
}

async function namesIn(name) {
  return readdir(join(folder, name), { recursive: true }).catch(() => []);
}

/** The SHA-256 of all files in folders. */
async function digests(...names) {
  const all = {};
  for (const name of names) {
    for (const each of await namesIn(name)) {
      // What is left over is counted apart. Folders have no bytes.
      const bytes = each.includes('.sparsifier-')
        ? undefined
        : await readFile(join(folder, name, each)).catch(() => undefined);
      if (bytes) all[`${name}/${each}`] = createHash('sha256').update(bytes).digest('hex');
    }
  }
  return all;
}

function same(first, second) {
  const names = Object.keys(first);
  return names.length === Object.keys(second).length && names.every((name) => first[name] === second[name]);
}

/** Four shards of 4 MB, and a small model of one file. */
async function makeInputs() {
  await mkdir(join(folder, 'in'));
  const shards = [0, 1, 2, 3].map((number) => [`model-${number}.safetensors`, `layer${number}.weight`]);
  for (const [file, tensor] of shards) await writeFile(join(folder, 'in', file), safetensors(tensor, 1024));
  const text = JSON.stringify({ weight_map: Object.fromEntries(shards.map(([file, tensor]) => [tensor, file])) });
  await writeFile(join(folder, index), text);
  await writeFile(join(folder, 'in', 'small.safetensors'), safetensors('small.weight', 4));
}

/** The files that are replaced. */
async function makeOld() {
  for (const name of ['out', 'masks']) await rm(join(folder, name), { recursive: true, force: true });
  for (const name of ['out', 'masks']) await mkdir(join(folder, name));
  for (const name of ['model.safetensors.index.json', ...[0, 1, 2, 3].map((number) => `model-${number}.safetensors`)]) {
    await writeFile(join(folder, 'out', name), `old ${name}`);
  }
  await writeFile(join(folder, 'masks', 'masks.safetensors'), 'old masks');
}

/** A file with a square matrix of random numbers. */
function safetensors(name, size) {
  const bytes = size * size * 4;
  const header = Buffer.from(
    JSON.stringify({ [name]: { dtype: 'F32', shape: [size, size], data_offsets: [0, bytes] } }),
  );
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([
    length,
    header,
    Buffer.from(Float32Array.from({ length: size * size }, () => random() - 0.5).buffer),
  ]);
}

/** Numbers from 0 to 1 that depend on the seed alone: mulberry32. */
function randomFrom(start) {
  let state = start;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}
