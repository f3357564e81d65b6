// Prunes the network that reads text in many ways and repairs it, and prints how many of the dense network's characters are
// kept, in percent: the mean of five seeds, which render different lines, and the lowest and the highest. Words choose rows
// that contain all of them: `repair-recogniser.mjs fluctuation '70 %'`. `--seeds 1` is five times as fast.
import { parseArgs } from 'node:util';
import { calibrated, linesOf, recovered } from './support/recovery.mjs';
import { byRow, fluctuation, scoresOf, withoutMeans } from './support/scores.mjs';

const { values, positionals } = parseArgs({
  options: { seeds: { type: 'string', default: '5' } },
  allowPositionals: true,
});

/** What is removed from each layer: of all its weights, or of those of each output by themselves. */
const masks = [
  { mask: '50 % by layer', sparsity: 50 },
  { mask: '70 % by layer', sparsity: 70 },
  { mask: '50 % by row', sparsity: 50, isByRow: true },
  { mask: '70 % by row', sparsity: 70, isByRow: true },
  { mask: '80 % by row', sparsity: 80, isByRow: true },
  { mask: '2:4', granularity: { nm: [2, 4] } },
];
const recipes = [
  { recipe: 'mask alone', repairOf: () => undefined },
  { recipe: 'bias', repairOf: () => ({ method: 'bias' }) },
  { recipe: 'solve', repairOf: () => ({}) },
  // Without means, moments are raw, and biases stay as they are.
  { recipe: 'solve, raw moments', repairOf: () => ({}), isRaw: true },
];
/** For fluctuation only. */
const further = [
  { recipe: 'solve, all 16 lines and ten steps', repairOf: () => ({}), holdOut: 0 },
  { recipe: 'solve, pruned inputs', repairOf: ({ data }) => ({ inputs: 'pruned', ...data }) },
];
/** @type {any[]} Rows have different properties. */
const rows = ['fluctuation', 'wanda', 'magnitude'].flatMap((criteria) =>
  [...recipes, ...(criteria === 'fluctuation' ? further : [])].flatMap((recipe) =>
    masks.map((mask) => ({ criteria, ...recipe, ...mask, title: `${criteria}, ${mask.mask}, ${recipe.recipe}` })),
  ),
);

const lines = [];
for (let seed = 1; seed <= Number(values.seeds); seed++) lines.push(await linesOf(seed));
/** By the share of lines that are held out, for each seed; undefined is the usual share. */
const statistics = new Map();
for (const row of rows.filter(({ title }) => positionals.every((word) => title.includes(word)))) {
  const { holdOut } = row;
  if (!statistics.has(holdOut)) statistics.set(holdOut, await calibrateAll({ holdOut }));
  const results = [];
  for (const [seed, each] of lines.entries()) results.push(await measure(row, each, statistics.get(holdOut)[seed]));
  const characters = results.map(({ characters }) => characters);
  const seconds = meanOf(results.map(({ seconds }) => seconds));
  const [least, most] = [Math.min(...characters), Math.max(...characters)].map((each) => each.toFixed(1));
  console.log(`${row.title.padEnd(60)}  ${inWords(meanOf(characters))}  ${least} to ${most}  ${seconds.toFixed(1)} s`);
}
process.exit();

async function calibrateAll(options) {
  const all = [];
  for (const each of lines) all.push(await calibrated(each, options));
  const seconds = meanOf(all.map(({ seconds }) => seconds));
  console.log(`calibration, ${options.holdOut ?? 'a quarter'} held out: ${seconds.toFixed(1)} s`);
  return all.map(({ statistics }) => statistics);
}

function measure({ criteria, granularity, sparsity, isByRow, isRaw, repairOf }, lines, statistics) {
  const scores = criteria === 'fluctuation' && !isRaw ? fluctuation : scoresOf(criteria, statistics);
  const options = {
    granularity,
    criteria: isByRow ? byRow(scores) : isRaw ? scores : criteria,
    statistics: isRaw ? withoutMeans(statistics) : statistics,
  };
  return recovered(lines, options, sparsity, repairOf(lines));
}

function meanOf(numbers) {
  return numbers.reduce((a, b) => a + b) / numbers.length;
}
function inWords(percent) {
  return `${percent.toFixed(1)} %`.padStart(7);
}
