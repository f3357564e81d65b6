// Small graphs around a layer with dead channels.
import { Tensor } from 'onnxruntime-node';
import { expect } from 'vitest';
import { integersAttribute, model, node, numbers, tensor, type GraphOptions } from '../onnx-builder.js';
import { judge } from './judging.js';
import { productOf } from './operators.js';
import { Random } from './random.js';
import { removedFrom } from './removing.js';

export const floats = (name: string, shape: readonly number[], values: ArrayLike<number>) =>
  tensor(name, shape, { data: numbers('float32', Array.from(values)) });

/** Random weights in which these rows are zero, and these columns. */
export function weight(
  name: string,
  shape: readonly number[],
  rows: readonly number[] = [],
  columns: readonly number[] = [],
) {
  const data = new Random(name.length, productOf(shape)).normals(productOf(shape), 0.5);
  const inner = productOf(shape.slice(1));
  const after = productOf(shape.slice(2));
  for (const place of data.keys()) {
    if (rows.includes(Math.floor(place / inner)) || columns.includes(Math.floor(place / after) % shape[1]!))
      data[place] = 0;
  }
  return floats(name, shape, data);
}

export const weightsOf = (count: number) => new Random(count).normals(count, 0.5);

export const input = { x: [1, 3, 4, 4] };
/** A layer of four channels, of which the last two have zero filters, with a bias. */
export const first = weight('a', [4, 3, 1, 1], [2, 3]);
export const bias = floats('ab', [4], [0.1, -0.2, 0.3, 0.7]);
export const made = node('Conv', 'x a ab', 'v');
/** A layer that reads them. */
export const last = weight('b', [2, 4, 1, 1]);
export const padded = { attributes: [integersAttribute('pads', [1, 1, 1, 1])] };
export const wide = weight('wide', [2, 4, 3, 3]);

export interface SmallGraph extends GraphOptions {
  readonly opset?: number;
}

/** How many channels go from a graph, whose results have to be the same. */
export async function removedOf({ opset = 17, ...options }: SmallGraph, roundTo = 1): Promise<number> {
  const whole = { inputs: input, outputs: { y: undefined }, ...options };
  const bytes = model(whole, opset);
  const shapes = (whole.inputs ?? {}) as Readonly<Record<string, readonly number[]>>;
  const removed = removedFrom(bytes, { inputs: [shapes], roundTo });
  const feeds = [1, 2, 3].map((seed) => ({
    x: new Tensor('float32', new Random(seed).normals(productOf(shapes['x']!)), shapes['x']!),
  }));
  const { problems } = await judge(bytes, removed.bytes, [feeds]);
  expect(problems).toEqual([]);
  if (removed.count === 0) expect(removed.bytes).toEqual(bytes);
  return removed.count;
}
