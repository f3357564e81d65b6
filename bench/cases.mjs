// The cases that engines are compared on: models as lists of the shapes of convolutions, and what is removed from them.
import { writeFileSync } from 'node:fs';
import { weightsOf } from './support.mjs';

const count = (shape) => shape.reduce((a, b) => a * b);

/** The convolutions of ResNet-50 in order: the first, then four stages of bottlenecks (He et al. 2016, table 1). */
const resnet50 = [
  [64, 3, 7, 7],
  ...[
    [3, 64, 64],
    [4, 256, 128],
    [6, 512, 256],
    [3, 1024, 512],
  ].flatMap(([blocks, before, width]) =>
    Array.from({ length: blocks }, (_, block) => [
      [width, block === 0 ? before : 4 * width, 1, 1],
      [width, width, 3, 3],
      [4 * width, width, 1, 1],
      ...(block === 0 ? [[4 * width, before, 1, 1]] : []),
    ]).flat(),
  ),
];

/**
 * Shapes of convolutions (out, in, height, width), by name. Single ones have a multiple of four input channels, for
 * 2:4.
 */
export const models = {
  '1 M': [[336, 332, 3, 3]],
  '25 M': [[1668, 1664, 3, 3]],
  '138 M': [[3920, 3916, 3, 3]],
  'ResNet-50': resnet50,
};

export const weightsIn = (model) => models[model].map(count).reduce((a, b) => a + b);

const local = (model, granularity) => ({ model, granularity, context: 'local' });

/** Half of the units are removed, or two of each four. */
export const cases = [
  local('1 M', 'weight'),
  ...['weight', 'kernel', 'filter', '2:4'].map((granularity) => local('25 M', granularity)),
  local('138 M', 'weight'),
  ...['local', 'global'].flatMap((context) =>
    ['weight', 'kernel', 'filter'].map((granularity) => ({ model: 'ResNet-50', granularity, context })),
  ),
];

export const titleOf = ({ model, granularity, context }) => `${model}, ${granularity}, ${context}`;

/** The number of weights in a unit of a shape. */
const unitOf = ([, inputs, height, width], granularity) =>
  ({ weight: 1, kernel: height * width, filter: inputs * height * width, '2:4': 1 })[granularity];

/** Rounds halves to even, as Python does. */
const halfOf = (units) => (units % 4 === 3 ? (units + 1) / 2 : Math.floor(units / 2));

/** How many units and weights are removed. The latter is unknown if units of several sizes share a ranking. */
export function expected({ model, granularity, context }) {
  const layers = models[model].map((shape) => {
    const size = unitOf(shape, granularity);
    return { size, units: count(shape) / size };
  });
  const sum = (list) => list.reduce((a, b) => a + b);
  const all = sum(layers.map(({ units }) => units));
  const largest = Math.max(...layers.map(({ size }) => size));
  if (context === 'local') {
    const removed = layers.map(({ units }) => halfOf(units));
    const zeros = sum(layers.map(({ size }, index) => size * removed[index]));
    return { all, largest, rankings: layers.length, units: sum(removed), zeros };
  }
  return { all, largest, rankings: 1, units: halfOf(all), zeros: largest === 1 ? halfOf(all) : undefined };
}

/** Writes the weights of a model, tensor by tensor, as raw 32-bit floats. They are the same for each engine. */
export function writeWeights(model, file) {
  writeFileSync(file, weightsOf('normal', weightsIn(model)));
}
