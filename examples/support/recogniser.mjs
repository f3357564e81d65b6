// A text recogniser (PP-OCRv4, ONNX) from an npm package, with rendered lines of text as its data: the same for everyone.
import { createCanvas, GlobalFonts } from '@napi-rs/canvas';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Tensor } from 'onnxruntime-node';

const packages = fileURLToPath(new URL('../../node_modules', import.meta.url));
const assets = join(packages, '@gutenye', 'ocr-models', 'assets');
export const file = join(assets, 'ch_PP-OCRv4_rec_infer.onnx');

// The first class is the blank of CTC, the last one a space.
const characters = ['', ...readFileSync(join(assets, 'ppocr_keys_v1.txt'), 'utf8').trimEnd().split('\n'), ' '];

const height = 48;
for (const weight of [400, 700]) {
  const path = join(packages, '@fontsource', 'roboto', 'files', `roboto-latin-${weight}-normal.woff2`);
  GlobalFonts.registerFromPath(path, `lines-${weight}`);
}

const words = (
  'invoice total amount due date street number city postal code country order item price quantity tax sum paid ' +
  'account bank name first last phone mail contract page chapter figure table section north south east west open close ' +
  'morning evening winter summer river mountain bridge station platform ticket window garden kitchen paper letter'
).split(' ');

/** Numbers from 0 to 1 (mulberry32). */
export function randomOf(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A line of two words, or of a number and a word. */
export function textOf(random) {
  const pick = (list) => list[Math.floor(random() * list.length)];
  const word = () => {
    const plain = pick(words);
    return random() < 0.5 ? plain[0].toUpperCase() + plain.slice(1) : plain;
  };
  const number = () => String(Math.floor(random() * 100000));
  return pick([() => `${word()} ${word()}`, () => `${word()} ${number()}`, () => `${number()} ${word()}`])();
}

/** `count` lines of text in several sizes, weights and shades, each with the input that the recogniser takes. */
export function lines(count, seed = 1) {
  const random = randomOf(seed);
  return Array.from({ length: count }, () => {
    const text = textOf(random);
    const size = 26 + Math.floor(random() * 10);
    const weight = random() < 0.5 ? 400 : 700;
    const [ink, paper] = [Math.floor(random() * 80), 200 + Math.floor(random() * 55)];
    const font = `${size}px lines-${weight}`;
    const measuring = createCanvas(1, 1).getContext('2d');
    measuring.font = font;
    const width = Math.max(320, Math.ceil((measuring.measureText(text).width + 16) / 32) * 32);
    const context = createCanvas(width, height).getContext('2d');
    context.fillStyle = `rgb(${paper},${paper},${paper})`;
    context.fillRect(0, 0, width, height);
    context.fillStyle = `rgb(${ink},${ink},${ink})`;
    context.font = font;
    context.textBaseline = 'middle';
    context.fillText(text, 8, height / 2);
    const { data } = context.getImageData(0, 0, width, height);
    const pixels = new Float32Array(3 * height * width);
    for (let place = 0; place < height * width; place++) {
      for (let channel = 0; channel < 3; channel++) {
        pixels[channel * height * width + place] = data[4 * place + channel] / 127.5 - 1;
      }
    }
    return { text, feeds: { x: new Tensor('float32', pixels, [1, 3, height, width]) } };
  });
}

/**
 * The text that a session reads, without spaces, which the model often misses before digits: the best class of each step,
 * without repetitions and blanks.
 */
async function read(session, { feeds }) {
  const outputs = await session.run(feeds);
  const { data, dims } = outputs[session.outputNames[0]];
  const [, steps, classes] = dims;
  let text = '';
  let before = 0;
  for (let step = 0; step < steps; step++) {
    let best = 0;
    for (let index = 1; index < classes; index++) {
      if (data[step * classes + index] > data[step * classes + best]) best = index;
    }
    if (best !== before) text += characters[best];
    before = best;
  }
  return withoutSpaces(text);
}

/** The percentage of lines that a session reads without an error, apart from spaces. */
export async function readRight(session, samples) {
  const texts = await readAll(session, samples);
  const right = samples.filter(({ text }, index) => withoutSpaces(text) === texts[index]);
  return (100 * right.length) / samples.length;
}

/** The texts that a session reads. */
export async function readAll(session, samples) {
  const texts = [];
  for (const sample of samples) texts.push(await read(session, sample));
  return texts;
}

/**
 * The percentage of the characters of some texts that others keep: of each text its length without the number of
 * characters to insert, delete or replace, but at least 0.
 */
export function keptCharacters(texts, others) {
  const kept = texts.map((text, index) => Math.max(0, text.length - editDistance(text, others[index])));
  return (100 * sum(kept)) / sum(texts.map(({ length }) => length));
}

const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);

function editDistance(from, to) {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let i = 1; i <= from.length; i++) {
    const next = [i];
    for (let j = 1; j <= to.length; j++) {
      next.push(Math.min(row[j - 1] + (from[i - 1] === to[j - 1] ? 0 : 1), row[j] + 1, next[j - 1] + 1));
    }
    row = next;
  }
  return row[to.length];
}

const withoutSpaces = (text) => text.replace(/\s/g, '');
