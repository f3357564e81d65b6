// A model (ONNX) that finds text in pictures, from the same npm package as the text recogniser, with rendered pages as its data.
import { createCanvas } from '@napi-rs/canvas';
import { dirname, join } from 'node:path';
import { Tensor } from 'onnxruntime-node';
import * as recogniser from './recogniser.mjs';

export const file = join(dirname(recogniser.file), 'ch_PP-OCRv4_det_infer.onnx');

const [width, height] = [448, 320];
// Of the three colours, as the network was trained.
const [means, deviations] = [
  [0.485, 0.456, 0.406],
  [0.229, 0.224, 0.225],
];

/** `count` pages with lines of text in several sizes, weights and shades, each as the input that the network takes. */
export function pages(count, seed = 1) {
  const random = recogniser.randomOf(seed);
  const between = (low, high) => low + Math.floor(random() * (high - low));
  return Array.from({ length: count }, () => {
    const context = createCanvas(width, height).getContext('2d');
    const paper = between(200, 255);
    context.fillStyle = `rgb(${paper},${paper},${paper})`;
    context.fillRect(0, 0, width, height);
    context.textBaseline = 'top';
    for (let top = between(8, 24); top < height - 32;) {
      const [size, ink] = [between(12, 28), between(0, 80)];
      context.fillStyle = `rgb(${ink},${ink},${ink})`;
      context.font = `${size}px lines-${random() < 0.5 ? 400 : 700}`;
      context.fillText(recogniser.textOf(random), between(8, 120), top);
      top += size + between(8, 28);
    }
    const { data } = context.getImageData(0, 0, width, height);
    const pixels = new Float32Array(3 * width * height);
    for (let place = 0; place < width * height; place++) {
      for (let colour = 0; colour < 3; colour++) {
        const value = data[4 * place + colour] / 255;
        pixels[colour * width * height + place] = (value - means[colour]) / deviations[colour];
      }
    }
    return { feeds: { x: new Tensor('float32', pixels, [1, 3, height, width]) } };
  });
}

/** Where a session finds text: for each pixel of each page, whether it is more likely text than 0.3. */
export async function areasOf(session, samples) {
  const areas = [];
  for (const { feeds } of samples) {
    const { data } = (await session.run(feeds))[session.outputNames[0]];
    areas.push(Uint8Array.from(data, (probability) => Number(probability > 0.3)));
  }
  return areas;
}

/** The overlap of some areas with others, in percent: the pixels that both have, of those that one of them has. */
export function overlap(areas, others) {
  let [both, either] = [0, 0];
  for (const [page, area] of areas.entries()) {
    for (const [place, isText] of area.entries()) {
      both += isText & others[page][place];
      either += isText | others[page][place];
    }
  }
  return (100 * both) / either;
}
