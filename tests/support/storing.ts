// Stores the numbers of models in other forms, in the most literal way, and tells what they then stand for.
import type { FileModel } from 'sparsifier/formats/onnx';
import { loadEngine, type Values, type WeightTensor } from 'sparsifier';
import { float16, narrowed, type Form, type NewNumbers } from './internal.js';

/** Numbers in a form, and the floats of 32 bits that they stand for. */
export interface Stored {
  readonly numbers: NewNumbers;
  readonly values: Float32Array<ArrayBuffer>;
}

/** The index of each axis of the number in this place. */
function indicesOf(place: number, shape: readonly number[]): number[] {
  const indices: number[] = [];
  for (let axis = shape.length - 1, rest = place; axis >= 0; rest = Math.floor(rest / shape[axis--]!)) {
    indices.unshift(rest % shape[axis]!);
  }
  return indices;
}

/** The output channel of each weight, counted in stored order. */
function channelsOf({ shape, roles }: WeightTensor, count: number): number[] {
  return Array.from({ length: count }, (_, place) =>
    indicesOf(place, shape).reduce(
      (channel, index, axis) => (isOutput(roles[axis]!) ? channel * shape[axis]! + index : channel),
      0,
    ),
  );
}

const isOutput = (role: string) => role === 'out' || role === 'multiplier';

/** The numbers of a weight in a form. Every scale is a little too large for the largest weight. */
export function storedAs(form: Form, tensor: WeightTensor, weights: Float32Array): Stored {
  if (form === 'float16') return halves(weights);
  const { shape, roles } = tensor;
  // An input of its own need not be an axis.
  const axis = roles.indexOf('in');
  const inputOf = (place: number) => (axis < 0 ? 0 : indicesOf(place, shape)[axis]!);
  const channels = channelsOf(tensor, weights.length);
  if (form === 'int8') return coded(form, weights, channels, 127);
  // For any two weights, which is more than what x86 needs.
  if (form === 'int8-dynamic') return coded(form, weights, channels, 63);
  if (form !== 'int4') throw new Error(`ONNX has no ${form}`);
  const blocks = Math.ceil((shape[axis] ?? 1) / 32);
  const places = channels.map((channel, place) => channel * blocks + Math.floor(inputOf(place) / 32));
  return coded(form, weights, places, 7);
}

function coded(
  form: 'int8' | 'int8-dynamic' | 'int4',
  weights: Float32Array,
  places: readonly number[],
  most: number,
): Stored {
  const scales = new Float32Array(places.reduce((most, place) => Math.max(most, place), 0) + 1);
  weights.forEach((weight, index) => {
    scales[places[index]!] = Math.max(scales[places[index]!]!, (Math.abs(weight) * 1.01) / most);
  });
  scales.forEach((scale, place) => (scales[place] = scale === 0 ? 1 : scale));
  const codes = Int8Array.from(weights, (weight, index) => Math.round(weight / scales[places[index]!]!));
  const values = Float32Array.from(codes, (code, index) => code * scales[places[index]!]!);
  return { numbers: { form, codes, scales }, values };
}

export function halves(weights: Float32Array): Stored {
  // No zero has a sign.
  const bits = Uint16Array.from(weights, (weight) => narrowed(weight + 0, 'float16'));
  return {
    numbers: { form: 'float16', numbers: new Uint8Array(bits.buffer) },
    values: Float32Array.from(bits, float16),
  };
}

/** Replaces the numbers of an array of a model. */
export async function setNumbers(read: FileModel, values: Values, numbers: Uint8Array<ArrayBuffer>): Promise<void> {
  const engine = await loadEngine();
  const region = await read.load(engine, values);
  await region.block.write(numbers, region.offset);
  await read.store(engine, values, region);
  region.release();
}
