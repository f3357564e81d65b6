// Measures how many characters the network that reads text keeps without channels, which are chosen in coupled groups by
// several criteria, repaired or not, and taken out: for 16 lines for calibration, 64 others judge. Nothing is trained. Speed is
// measured by `npm run bench -- channels`. `--seeds 3` repeats everything with other lines; words choose rows that contain all
// of them: `npm run bench -- coupled flap '20 %'`.
import { parseArgs } from 'node:util';
import { Sparsifier } from 'sparsifier';
import { readOnnx } from 'sparsifier/formats/onnx';
import { removeChannels, planRemoval } from 'sparsifier/removal';
import { file } from '../examples/support/recogniser.mjs';
import { calibrated, linesOf } from '../examples/support/recovery.mjs';

const { values, positionals } = parseArgs({
  options: { seeds: { type: 'string', default: '1' }, 'round-to': { type: 'string', default: '1' } },
  allowPositionals: true,
});
const roundTo = Number(values['round-to']);

const recipes = [
  { title: 'magnitude', criteria: 'largeFinal' },
  { title: 'wanda', criteria: 'wanda' },
  { title: 'flap', criteria: 'flap' },
  { title: 'magnitude, solve', criteria: 'largeFinal', repair: {} },
  { title: 'wanda, solve', criteria: 'wanda', repair: {} },
  { title: 'flap, bias', criteria: 'flap', repair: { method: 'bias' } },
  { title: 'flap, solve', criteria: 'flap', repair: {} },
  { title: 'flap, solve, pruned inputs', criteria: 'flap', repair: { inputs: 'pruned' } },
];
const rows = [20, 30, 40].flatMap((share) =>
  recipes.map((recipe) => ({ ...recipe, share, name: `${share} %, ${recipe.title}` })),
);

const all = [];
for (let seed = 1; seed <= Number(values.seeds); seed++) {
  const lines = await linesOf(seed, 64);
  all.push({ lines, statistics: (await calibrated(lines)).statistics });
}
console.log('channels removed, how               characters  parameters left       MB  seconds');
for (const row of rows.filter(({ name }) => positionals.every((word) => name.includes(word)))) {
  const results = [];
  for (const each of all) results.push(await measured(row, each));
  const mean = (key) => results.reduce((sum, result) => sum + result[key], 0) / results.length;
  const cells = [
    `${mean('characters').toFixed(1)} %`,
    `${mean('parameters').toFixed(1)} %`,
    mean('megabytes').toFixed(2),
    mean('seconds').toFixed(1),
  ];
  const widths = [11, 17, 9, 9];
  console.log(row.name.padEnd(35) + cells.map((cell, place) => cell.padStart(widths[place])).join(''));
}
process.exit();

/** What is left of the network, and of what it reads. */
async function measured({ criteria, repair, share }, { lines, statistics }) {
  const model = await readOnnx(file);
  const begun = performance.now();
  const options = { granularity: 'filter', coupled: true, criteria, statistics };
  const sparsifier = new Sparsifier(model, options);
  await sparsifier.sparsifyModel(share, { roundTo });
  if (repair) await sparsifier.repair(repair.inputs ? { ...repair, ...lines.data } : repair);
  const { model: small, report } = await removeChannels(model, await planRemoval(model, { roundTo }));
  const seconds = (performance.now() - begun) / 1000;
  const characters = await lines.kept(await small.bytes());
  const { before, after } = report.parameters;
  model.close();
  small.close();
  return { characters, seconds, parameters: (100 * after) / before, megabytes: report.bytes.after / 1e6 };
}
