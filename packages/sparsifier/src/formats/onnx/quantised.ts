import { inSlices, stepsAtATime } from '../../host/slices.js';
import { productOf, widened } from '../../model/numbers.js';
import { StoredValues, type Coding, type Encoded } from '../format.js';
import type { Constant, Node, Reader, Value } from './graph.js';
import { widths, type NumberType } from './scattered.js';
import type { StoredCodes, Tensor } from './tensor.js';
import type { View } from './views.js';

/** What a `DequantizeLinear` makes of the codes of a constant: `(code - zero point) * scale`. */
export interface Quantisation {
  readonly scale: Value | undefined;
  readonly zeroPoint: Value | undefined;
  /** The stored axis along which scales differ; undefined if the node names an axis that the codes do not have. */
  readonly axis: number | undefined;
  /** How many codes along the axis share a scale, if the scale has as many axes as the codes; 0 otherwise. */
  readonly blockSize: number;
  /** Whether the axes of the codes are in stored order, as blocks need. */
  readonly isStoredOrder: boolean;
}

export function quantisationOf({ axes }: View, { inputs, attributes }: Node): Quantisation {
  const axis = attributes.get('axis')?.integer ?? 1;
  return {
    scale: inputs[1],
    zeroPoint: inputs[2],
    axis: axes.at(axis),
    blockSize: attributes.get('block_size')?.integer ?? 0,
    isStoredOrder: axes.every((stored, place) => stored === place),
  };
}

/** Whether both decode codes in the same way. */
export function sameQuantisation(first: Quantisation, second: Quantisation): boolean {
  const isSame = (one: Value | undefined, other: Value | undefined) =>
    one === other || (one?.view !== undefined && one.view.constant === other?.view?.constant);
  const isPerTensor = first.scale?.view?.constant.tensor.length === 1;
  return (
    isSame(first.scale, second.scale) &&
    isSame(first.zeroPoint, second.zeroPoint) &&
    (isPerTensor || (first.axis === second.axis && first.blockSize === second.blockSize))
  );
}

/** Whether a node looks up codes of which `DequantizeLinear` decodes those that are found. */
export function decodesLookup({ op, inputs, outputs }: Node): boolean {
  const [table, readers] = [inputs[0]?.view, outputs[0]?.readers ?? []];
  const isDecoded = ({ node, input }: Reader) => input === 0 && node.op.endsWith('DequantizeLinear');
  const isOutput = outputs[0]?.isOutput ?? true;
  return (
    op === 'Gather' &&
    table?.constant.tensor.codes !== undefined &&
    !isOutput &&
    readers.length > 0 &&
    readers.every(isDecoded)
  );
}

/**
 * The codes that a `DequantizeLinear` decodes, and their meaning.
 * @param lookups what is known of nodes that look codes up
 */
function decoding(node: Node, lookups: Map<Node, boolean>): { constant: Constant; meaning: Quantisation } | undefined {
  const [value, result] = [node.inputs[0], node.outputs[0]?.view];
  if (!node.op.endsWith('DequantizeLinear') || value === undefined) return undefined;
  if (value.view !== undefined) {
    const meaning = value.view.quantisation === undefined ? result?.quantisation : undefined;
    return meaning && { constant: value.view.constant, meaning };
  }
  const lookup = value.producer;
  if (lookup === undefined) return undefined;
  if (!lookups.has(lookup)) lookups.set(lookup, decodesLookup(lookup));
  if (!lookups.get(lookup)) return undefined;
  // The axes of what was looked up are not those of the table, so only a single scale is known to fit.
  const view = lookup.inputs[0]!.view!;
  return { constant: view.constant, meaning: { ...quantisationOf(view, node), axis: undefined, blockSize: 0 } };
}

/** Reads bytes of a file of the model. */
export type ReadBytes = (place: StoredValues | StoredCodes, subject: string) => Promise<Uint8Array>;

/** Finds out what codes mean: {@link Constant.decoded} of all constants that a `DequantizeLinear` reads. */
export async function decodeConstants(nodes: readonly Node[], read: ReadBytes): Promise<void> {
  const parameters = new Map<Constant, Float64Array>();
  const meanings = new Map<Constant, Quantisation>();
  const lookups = new Map<Node, boolean>();
  for (const node of nodes) {
    const found = decoding(node, lookups);
    if (found === undefined) continue;
    const { constant, meaning } = found;
    const first = meanings.get(constant);
    if (first === undefined) meanings.set(constant, meaning);
    else if (!sameQuantisation(first, meaning)) {
      constant.decoded = 'it is decoded with different scales or zero points';
    }
    for (const value of node.inputs.slice(1)) {
      const scale = value?.view?.constant;
      if (scale === undefined || parameters.has(scale)) continue;
      const numbers = await parametersOf(scale, read);
      if (numbers !== undefined) parameters.set(scale, numbers);
    }
  }
  for (const [constant, meaning] of meanings) constant.decoded ??= decoded(constant, meaning, parameters);
}

/** The numbers of a scale or zero point; undefined for a type that is not read. */
async function parametersOf({ tensor, name }: Constant, read: ReadBytes): Promise<Float64Array | undefined> {
  const place = placeOf(tensor);
  if (place !== undefined) return numbersIn(place, await read(place, name));
  const list = tensor.floats?.();
  return list && Float64Array.from(list);
}

/** The numbers of a constant that can be changed, or why there are none. */
export function valuesOf({ tensor, decoded }: Constant): StoredValues | string {
  if (tensor.isSparse) return 'it is stored as a sparse tensor';
  if (tensor.values !== undefined || decoded !== undefined) return tensor.values ?? decoded!;
  if (tensor.type === 'float32') return 'it is an attribute, not a tensor';
  return `its type is ${tensor.type}; only float32, float16 and bfloat16 can be pruned`;
}

/** Where the numbers of a constant are; undefined for a type that is not read. */
export const placeOf = ({ values, codes }: Tensor): StoredValues | StoredCodes | undefined => values ?? codes;

/** The numbers that these bytes of a file hold. */
function numbersIn(place: StoredValues | StoredCodes, bytes: Uint8Array): Float64Array {
  if (place instanceof StoredValues) {
    // A scattered tensor decodes without waiting.
    const plain = place.coding ? (place.coding.decode(bytes, undefined) as Uint8Array<ArrayBuffer>) : bytes;
    return Float64Array.from(widened(plain, place.dtype));
  }
  return Float64Array.from(codesIn(place.type, place.scattered?.decode(bytes) ?? bytes));
}

type Codes = Int8Array | Uint8Array | Int16Array | Uint16Array | Int32Array;

const arrays = {
  int8: Int8Array,
  uint8: Uint8Array,
  int16: Int16Array,
  uint16: Uint16Array,
  int32: Int32Array,
} as const;

/** The codes in place, or a copy of them if they are not aligned. */
function codesIn(type: NumberType, bytes: Uint8Array): Codes {
  const isAligned = bytes.byteOffset % widths[type] === 0;
  const { buffer, byteOffset, length } = isAligned ? bytes : bytes.slice();
  return new arrays[type as keyof typeof arrays](buffer as ArrayBuffer, byteOffset, length / widths[type]);
}

export const notIntegers = (type: string): string =>
  `its codes have the type ${type}; only integers of 8, 16 and 32 bits can be pruned`;

/** The numbers that the codes of a constant stand for, or why they cannot be pruned. */
function decoded(
  { tensor }: Constant,
  { scale, zeroPoint, axis, blockSize, isStoredOrder }: Quantisation,
  parameters: ReadonlyMap<Constant, Float64Array>,
): StoredValues | string {
  const { codes, type } = tensor;
  if (codes === undefined) return notIntegers(type);
  const numbersOf = (value: Value | undefined) => value?.view && parameters.get(value.view.constant);
  const scales = numbersOf(scale);
  const zeros = zeroPoint === undefined ? undefined : numbersOf(zeroPoint);
  if (scales === undefined) return 'its scale is not a stored tensor';
  if (zeroPoint !== undefined && zeros === undefined) return 'its zero point is not a stored tensor';
  if (!scales.every(Number.isFinite)) return 'its scale is not finite';
  if (blockSize > 0 && !isStoredOrder) return 'its codes are in blocks that are transposed before they are decoded';
  const grid = gridOf(tensor.shape, scales.length, axis, blockSize);
  const known = zeros ?? new Float64Array(scales.length);
  if (grid === undefined || known.length !== scales.length) return 'the shapes of its scale and zero point do not fit';
  const [lowest, highest] = rangeOf(codes.type);
  if (!known.every((zero) => Number.isInteger(zero) && zero >= lowest && zero <= highest)) {
    return 'its zero point is not one of its codes';
  }
  // Such a number takes one byte, so it fits where any other was.
  if (codes.scattered && !known.every((zero) => zero >= 0 && zero < 128)) {
    return 'its codes are stored as numbers of varying length; save the model with raw_data';
  }
  const { length, file, start, bytes } = codes;
  return new StoredValues(
    'float32',
    length,
    file,
    start,
    bytes,
    new QuantisedCoding(codes, { scales, zeros: known }, grid),
  );
}

/** Which scale belongs to a code: `index` counts codes in stored order. */
interface Grid {
  /** How many codes lie between two neighbours along the axis. */
  readonly inner: number;
  /** The size of the axis. */
  readonly size: number;
  /** How many codes along the axis share a scale. */
  readonly block: number;
  /** Whether scales also differ along the other axes. */
  readonly isBlocked: boolean;
}

function gridOf(
  shape: readonly number[],
  scales: number,
  axis: number | undefined,
  blockSize: number,
): Grid | undefined {
  if (scales === 1) return { inner: productOf(shape), size: 1, block: 1, isBlocked: false };
  const size = axis === undefined ? undefined : shape[axis];
  if (size === undefined) return undefined;
  const inner = productOf(shape.slice(axis! + 1));
  if (blockSize === 0) return scales === size ? { inner, size, block: 1, isBlocked: false } : undefined;
  const all = productOf(shape.slice(0, axis)) * Math.ceil(size / blockSize) * inner;
  return scales === all ? { inner, size, block: blockSize, isBlocked: true } : undefined;
}

function scaleIndex(index: number, { inner, size, block, isBlocked }: Grid): number {
  const along = Math.floor(index / inner) % size;
  if (!isBlocked) return along;
  const outer = Math.floor(index / (inner * size));
  return (outer * Math.ceil(size / block) + Math.floor(along / block)) * inner + (index % inner);
}

/** Integers that stand for 32-bit floats. Scales and zero points never change: the codes of removed weights do. */
class QuantisedCoding implements Coding {
  readonly width: number | undefined;
  readonly #codes: StoredCodes;
  readonly #scales: Float64Array;
  readonly #zeros: Float64Array;
  readonly #grid: Grid;

  constructor(codes: StoredCodes, { scales, zeros }: { scales: Float64Array; zeros: Float64Array }, grid: Grid) {
    this.width = codes.scattered ? undefined : widths[codes.type];
    this.#codes = codes;
    this.#scales = scales;
    this.#zeros = zeros;
    this.#grid = grid;
  }

  async decode(stored: Uint8Array, _meaning: unknown, first = 0): Promise<Uint8Array<ArrayBuffer>> {
    const codes = this.#read(stored);
    const numbers = new Float32Array(codes.length);
    const slice = (from: number, to: number) => {
      for (let place = from; place < to; place++) {
        const scale = scaleIndex(first + place, this.#grid);
        numbers[place] = (codes[place]! - this.#zeros[scale]!) * this.#scales[scale]!;
      }
    };
    await inSlices(codes.length, slice, stepsAtATime);
    return new Uint8Array(numbers.buffer);
  }

  async encode(numbers: Uint8Array, stored: Uint8Array): Promise<Encoded> {
    const values = new Float32Array(numbers.buffer, numbers.byteOffset, numbers.length / 4);
    const codes = this.#read(stored);
    const [lowest, highest] = rangeOf(this.#codes.type);
    let zeroCount = 0;
    const slice = (from: number, to: number) => {
      for (let place = from; place < to; place++) {
        const index = scaleIndex(place, this.#grid);
        const [zero, scale, value] = [this.#zeros[index]!, this.#scales[index]!, values[place]!];
        if (value === 0) zeroCount++;
        // A number that has not changed keeps its code.
        if (Math.fround((codes[place]! - zero) * scale) === value) continue;
        codes[place] = value === 0 ? zero : Math.min(highest, Math.max(lowest, Math.round(value / scale + zero)));
      }
    };
    await inSlices(codes.length, slice, stepsAtATime);
    const bytes = new Uint8Array(codes.buffer, codes.byteOffset, codes.byteLength);
    if (this.#codes.scattered) this.#codes.scattered.encode(bytes, stored);
    else if (bytes.buffer !== stored.buffer) stored.set(bytes);
    return { zeros: zeroCount };
  }

  #read(stored: Uint8Array): Codes {
    return codesIn(this.#codes.type, this.#codes.scattered?.decode(stored) ?? stored);
  }
}

/** The lowest and the highest integer of a type. */
function rangeOf(type: NumberType): [lowest: number, highest: number] {
  const bits = 8 * widths[type];
  return type.startsWith('u') ? [0, 2 ** bits - 1] : [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1];
}
