// Compares the package with other libraries in one run on the same weights. Engines take turns in each round. Each has
// its own process, and its result is checked. `npm run bench -- peers ResNet`: only cases that contain this word. A
// complete run with all engines writes a record.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { findChromium } from '../scripts/chromium.mjs';
import { findPeers } from '../scripts/peers.mjs';
import { ask, packageFolder, root } from '../scripts/steps.mjs';
import { cases, expected, models, titleOf, weightsIn, writeWeights } from './cases.mjs';
import { measureCommand } from './command.mjs';
import { start } from './processes.mjs';
import { recordFolder, textOfCase, textOfCommand } from './report.mjs';
import { median } from './support.mjs';

/** After one round for warm-up, which is not counted. Cases that take seconds have three, as their table says. */
const roundsOf = (first) => (first.whole > 2000 ? 3 : 5);
const cores = availableParallelism();
const python = findPeers('peers');

const engine = (name, program, file, ...parameters) => ({
  name,
  program,
  parameters: [join(root, 'bench', 'engines', file), ...parameters],
  takes: () => true,
  slack: 0,
});
const isWeights = ({ model, granularity }) => granularity === 'weight' && ['1 M', '25 M'].includes(model);
const isModerate = ({ model }) => model !== '138 M';
/**
 * Engines that compare with a threshold remove or keep all weights that equal it, a few among millions.
 * @returns by how many units the number of removed ones may differ from the requested one
 */
const tied = ({ all }) => 1 + Math.ceil(all / 1e6);

const engines = [
  engine('sparsifier, 1 thread', process.execPath, 'sparsifier.mjs', 1),
  engine(`sparsifier, ${cores} threads`, process.execPath, 'sparsifier.mjs', cores),
  { ...engine(`sparsifier, ${cores} threads, Chromium`, process.execPath, 'chromium.mjs'), takes: isModerate },
  { ...engine('JavaScript, radix select', process.execPath, 'javascript.mjs', 'radix'), takes: isWeights },
  { ...engine('JavaScript, sort', process.execPath, 'javascript.mjs', 'sort'), takes: isWeights },
  {
    ...engine('tfjs topk', process.execPath, 'tfjs.mjs'),
    takes: (which) => isWeights(which) && which.model === '1 M',
  },
  { ...engine('numpy.partition', python, 'python.py', 'numpy'), slack: tied },
  { ...engine('torch.kthvalue', python, 'python.py', 'kthvalue'), slack: tied },
  {
    ...engine('torch.nn.utils.prune', python, 'python.py', 'prune'),
    takes: (which) =>
      isModerate(which) &&
      (which.granularity === 'weight' || (which.granularity === 'filter' && which.context === 'local')),
  },
  {
    ...engine('fasterai', python, 'python.py', 'fasterai'),
    takes: isModerate,
    // It keeps one unit more than requested in each ranking, and at least one in each layer.
    slack: ({ all, layers }) => 1 + layers + Math.ceil(all / 1e6),
  },
];

const words = process.argv.slice(2);
const chosen = cases.filter((which) => words.every((word) => titleOf(which).includes(word)));
const present = engines.filter(({ program }) => program);
if (!python) {
  console.log('numpy, torch and fasterai are not installed: `npm run bench -- --peers` installs them (5.5 GB).\n');
}

const folder = mkdtempSync(join(tmpdir(), 'sparsifier-bench-'));
try {
  const results = [];
  for (const model of new Set(chosen.map(({ model }) => model))) results.push(...(await measureModel(model)));
  const command = words.length === 0 && (await measureCommand(python, folder));
  if (command) console.log(textOfCommand(command));
  if (command && python) await keepRecord(results, command);
} finally {
  rmSync(folder, { recursive: true });
}

async function measureModel(model) {
  const file = join(folder, 'weights');
  writeWeights(model, file);
  const its = chosen.filter((which) => which.model === model);
  const running = present.filter(({ takes }) => its.some(takes)).map((each) => ({ ...each, ...start(each) }));
  const results = [];
  for (const which of its) {
    const result = await measureCase(
      which,
      running.filter(({ takes }) => takes(which)),
      file,
    );
    console.log(textOfCase(result));
    results.push(result);
  }
  await Promise.all(running.map(({ stop }) => stop()));
  return results;
}

async function measureCase(which, running, file) {
  const { model, granularity, context } = which;
  const request = { granularity, context, file, weights: weightsIn(model), shapes: models[model] };
  const answers = running.map(() => []);
  // The first round never counts as the last one.
  for (let round = 0; round === 0 || answers.some(([first]) => round <= roundsOf(first)); round++) {
    for (const [index, { name, slack, request: turn }] of running.entries()) {
      if (round > 0 && round > roundsOf(answers[index][0])) continue;
      const answer = await turn(request);
      check(which, name, slack, answer, answers[0][0] ?? answer);
      answers[index].push(answer);
    }
  }
  const medianOf = (list, key) => Math.round(1000 * median(list.map((answer) => answer[key]))) / 1000;
  return {
    ...which,
    weights: request.weights,
    engines: running.map(({ name }, index) => {
      const counted = answers[index].slice(1);
      const times = ['engine', 'copyIn', 'copyOut', 'whole'].map((key) => [key, medianOf(counted, key)]);
      return {
        name,
        rounds: counted.length,
        ...Object.fromEntries(times),
        zeros: counted[0].zeros,
        // Missing figures are left out of the record.
        peakMemory: counted[0].peakMemory && Math.max(...counted.map(({ peakMemory }) => peakMemory)),
      };
    }),
  };
}

/** Ends the run if a result is wrong, so that a wrong engine cannot win. */
function check(which, name, slack, { zeros, units, left }, reference) {
  const wanted = expected(which);
  const layers = models[which.model].length;
  const most = slack && slack({ ...wanted, layers });
  const fail = (what, found, asked) => {
    throw new Error(`${titleOf(which)}: ${name} has ${found} ${what} instead of ${asked}, plus or minus ${most} units`);
  };
  if (wanted.zeros === undefined) {
    if (units !== undefined && Math.abs(units - wanted.units) > most) fail('units removed', units, wanted.units);
  } else if (Math.abs(zeros - wanted.zeros) > most * wanted.largest) fail('zeros', zeros, wanted.zeros);
  // fasterai subtracts the lowest score of each layer, so its global ranking is different.
  if (name === 'fasterai' && which.context === 'global') return;
  const share = 1e-5 + (most * wanted.largest) / (weightsIn(which.model) / 2);
  if (Math.abs(left / reference.left - 1) > share) fail('as the sum of magnitudes', left, reference.left);
}

async function keepRecord(results, command) {
  const versionIn = (...path) => JSON.parse(readFileSync(join(...path, 'package.json'), 'utf8')).version;
  const pythonVersions = `import json, platform, importlib.metadata as m
print(json.dumps({'Python': platform.python_version(), **{n: m.version(n) for n in ('numpy', 'torch', 'fasterai', 'onnx')}}))`;
  const date = new Date().toISOString().slice(0, 10);
  const record = {
    date,
    cpu: cpus()[0].model,
    cores,
    memory: totalmem(),
    system: `${process.platform} ${process.arch}`,
    versions: {
      sparsifier: versionIn(packageFolder),
      Node: process.versions.node,
      Chromium: (await ask(await findChromium(), ['--version'])).match(/[\d.]+/)[0],
      tfjs: versionIn(root, 'node_modules', '@tensorflow', 'tfjs-core'),
      ...JSON.parse(await ask(python, ['-c', pythonVersions])),
    },
    cases: results,
    command,
  };
  const name = `${date}-${cores}-cores.json`;
  mkdirSync(recordFolder, { recursive: true });
  writeFileSync(join(recordFolder, name), `${JSON.stringify(record, undefined, 2)}\n`);
  console.log(`\nbench/record/${name} is written; \`npm run pictures\` draws it.`);
}
