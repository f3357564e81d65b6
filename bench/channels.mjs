// Measures what networks gain without half of their channels: three networks that read text, without about half of the channels
// of each group, chosen at random. Dense and without these channels they run on one thread in one process, taking turns.
// Subnormal weights are 0 in all of them, also in the dense one to which the others are compared, since that alone makes it
// faster. Words choose networks. What the networks compute is not looked at: `npm run bench -- coupled` does that.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Tensor } from 'onnxruntime-node';
import { readOnnx } from 'sparsifier/formats/onnx';
import { planRemoval, removeChannels } from 'sparsifier/removal';
import { root } from '../scripts/steps.mjs';
import { halved } from '../tests/support/removal/halved.mjs';
import { loaded, onnxRuntimes, takingTurns } from './sessions.mjs';

const folder = join(root, 'node_modules', '@gutenye', 'ocr-models', 'assets');
const networks = [
  { name: 'finds text', file: 'ch_PP-OCRv4_det_infer.onnx', shape: [1, 3, 320, 320] },
  { name: 'reads text', file: 'ch_PP-OCRv4_rec_infer.onnx', shape: [1, 3, 48, 320] },
  { name: 'finds its direction', file: 'ch_ppocr_mobile_v2.0_cls_infer.onnx', shape: [1, 3, 48, 192] },
];
const roundings = [8, 4, 1];

const words = process.argv.slice(2);
console.log(row('network', 'file', 'runtime', 'MB', 'parameters', 'channels', 'ms', 'speed'));
for (const { name, file, shape } of networks) {
  if (!words.every((word) => name.includes(word))) continue;
  const dense = new Uint8Array(readFileSync(join(folder, file)));
  const files = [{ title: 'dense', bytes: dense }, await without('dense, no subnormals', dense, 8, shape)];
  for (const roundTo of roundings) {
    const half = await halved(dense, { x: shape }, roundTo);
    files.push(await without(`half, rounded to ${roundTo}`, half, roundTo, shape));
  }
  const numbers = Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, index) => Math.sin(index * 0.01));
  const feeds = { x: new Tensor('float32', numbers, shape) };
  for (const [runtime, ort] of Object.entries(onnxRuntimes)) {
    const sessions = [];
    for (const { bytes } of files) sessions.push(await loaded(ort, bytes, feeds));
    const times = await takingTurns(sessions.map(({ run }) => run));
    for (const [place, { title, bytes, parameters = '', channels = '' }] of files.entries()) {
      const cells = [(bytes.length / 1e6).toFixed(2), parameters, channels, times[place].toFixed(1)];
      const speed = `${(times[1] / times[place]).toFixed(2)} x`;
      console.log(row(name, title, runtime, ...cells, speed));
    }
    for (const { free } of sessions) await free();
  }
}
process.exit();

function row(...cells) {
  const widths = [-20, -22, -22, 7, 12, 10, 8, 8];
  return cells
    .map((cell, place) => (widths[place] < 0 ? cell.padEnd(-widths[place]) : cell.padStart(widths[place])))
    .join('');
}

/** A network without its dead channels, and what is left of it. */
async function without(title, bytes, roundTo, shape) {
  const model = await readOnnx(bytes);
  const plan = await planRemoval(model, { roundTo, inputShapes: { x: shape } });
  const { model: small, report } = await removeChannels(model, plan, { flushSubnormals: true });
  const sum = (of) => plan.groups.reduce((total, group) => total + of(group), 0);
  const share = (part, whole) => `${((100 * part) / whole).toFixed(1)} %`;
  const { before, after } = report.parameters;
  return {
    title,
    bytes: await small.bytes(),
    parameters: share(after, before),
    channels: share(
      sum(({ kept }) => kept),
      sum(({ channels }) => channels),
    ),
  };
}
