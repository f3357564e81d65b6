// Measures how time grows with the size of inputs that were made to take long: names, graphs and tables on which a careless
// loop or expression is quadratic. The tables of such inputs are the files in bench/hostile/, each with a list `kinds`:
//
// - { name, n, make(n) }: a model of size n, as a Map of its files by name, the main file first. It is read and pruned by
//   half, layers of all kinds, with `options` of the Sparsifier if the kind has any;
// - { name, n, run(n) }: other work; what `run` returns is the work that is timed, so that it can prepare its input.
//
// n is the size that 0.1.0 took seconds for. Each size is measured in its own process: the least time of up to five runs,
// and the memory that the first of them adds to the process. CPU time, of all threads, is what the marks are for: it
// depends less on what else the machine does. `npm run bench -- hostile onnx` measures one table, and
// `-- hostile onnx permutations` the kinds of it whose names contain a word.
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { loadEngine, Sparsifier, SparsifyError } from 'sparsifier';
import { readModel } from 'sparsifier/formats';
import { root } from '../scripts/steps.mjs';

const repeats = 5;
/** No more runs are started after so many milliseconds. */
const enough = 3000;
/** A process is ended after so many. */
const longest = 120_000;
/** What is marked in the table: a ratio of the CPU times at 4n and n, and CPU milliseconds and MB at n. */
const limits = { ratio: 5.2, time: 1000, memory: 200 };

const options = { granularity: 'weight', context: 'local', criteria: 'largeFinal', layerType: 'all' };

const folder = join(root, 'bench', 'hostile');
const kindsOf = async (table) => (await import(join(folder, `${table}.mjs`))).kinds;

const [first, ...words] = process.argv.slice(2);
if (first === '--measure') console.log(JSON.stringify(await measure(words[0], words[1], Number(words[2]))));
else await showTables(first, words.join(' '));

async function showTables(only, word) {
  const tables = (await readdir(folder)).filter((file) => file.endsWith('.mjs')).map((file) => file.slice(0, -4));
  console.log(row('kind', 'n', 't(n)', 'CPU(n)', 'CPU(2n)', 'CPU(4n)', 'CPU(4n)/(n)', 'peak MB'));
  for (const table of only === undefined ? tables.sort() : [only]) {
    for (const { name, n } of await kindsOf(table)) if (name.includes(word)) console.log(await line(table, name, n));
  }
}

function row(name, n, ...cells) {
  return [name.padEnd(64), n.padStart(9), ...cells.map((cell) => cell.padStart(12))].join('');
}

async function line(table, name, n) {
  const results = [];
  for (const factor of [1, 2, 4]) results.push(await inOwnProcess(table, name, n * factor));
  const times = results.map(({ cpu }) => cpu);
  const ratio = (times[2] ?? Infinity) / (times[0] ?? Infinity);
  const [{ time, memory, outcome }] = results;
  const marks = [
    ...(ratio <= limits.ratio ? [] : ['not linear']),
    ...((times[0] ?? Infinity) > limits.time ? [`above ${limits.time} ms`] : []),
    ...(memory > limits.memory ? [`above ${limits.memory} MB`] : []),
  ];
  const cells = [time, ...times].map((each) => (each === null ? `> ${longest / 1000} s` : `${each.toFixed(1)} ms`));
  const numbers = [ratio, memory ?? NaN].map((number) => (Number.isFinite(number) ? number.toFixed(1) : '-'));
  const end = [outcome, ...marks].filter((part) => part !== undefined).map((part) => `  ${part}`);
  return row(`${table}: ${name}`, String(n), ...cells, ...numbers) + end.join('');
}

async function inOwnProcess(...parameters) {
  const all = [fileURLToPath(import.meta.url), '--measure', ...parameters.map(String)];
  try {
    const { stdout } = await promisify(execFile)(process.execPath, all, { timeout: longest });
    return JSON.parse(stdout);
  } catch (error) {
    if (!error.killed) throw error;
    return { time: null, cpu: null, memory: null };
  }
}

/** The least times of a kind at one size, the memory that its first run needs, and the code of its error if it has one. */
async function measure(table, name, n) {
  const kind = (await kindsOf(table)).find((each) => each.name === name);
  await loadEngine();
  const temporary = await mkdtemp(join(tmpdir(), 'sparsifier-hostile-'));
  try {
    const work = kind.run ? await kind.run(n) : await pruning(kind.make(n), temporary, kind.options);
    const before = process.memoryUsage().rss;
    const times = [];
    const cpuTimes = [];
    let memory;
    let outcome;
    for (let spent = 0; times.length < repeats && spent < enough; spent += times.at(-1)) {
      const begun = performance.now();
      const cpuBefore = process.cpuUsage();
      try {
        await work();
      } catch (error) {
        if (!(error instanceof SparsifyError)) throw error;
        outcome = `error ${error.code}`;
      }
      times.push(performance.now() - begun);
      const { user, system } = process.cpuUsage(cpuBefore);
      cpuTimes.push((user + system) / 1000);
      memory ??= Math.max(0, process.resourceUsage().maxRSS * 1024 - before) / 1e6;
    }
    return { time: Math.min(...times), cpu: Math.min(...cpuTimes), memory, outcome };
  } finally {
    await rm(temporary, { recursive: true });
  }
}

/** Writes the files of a model into a folder, and returns the work. */
async function pruning(files, folder, more) {
  for (const [name, bytes] of files) {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    await writeFile(join(folder, name), bytes);
  }
  const [main] = files.keys();
  return async () => {
    const model = await readModel(join(folder, main));
    try {
      await new Sparsifier(model, { ...options, ...more }).sparsifyModel(50);
    } finally {
      await model.close();
    }
  };
}
