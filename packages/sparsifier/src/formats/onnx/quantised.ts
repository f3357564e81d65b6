import { inSlices, stepsAtATime } from '../../host/slices.js';
import { widened, widenedInSlices } from '../../model/numbers.js';
import { StoredValues, type Coding, type Encoded } from '../format.js';
import type { Constant, Node, Reader, Value } from './graph.js';
import { widths, type NumberType } from './scattered.js';
import type { StoredCodes, Tensor } from './tensor.js';
import { bitsOf } from './types.js';
import {
  differently,
  quantisationOf,
  sameQuantisation,
  type Parameter,
  type Place,
  type Quantisation,
} from './quantisation.js';
import { extremesOf } from './shapes.js';
import type { View } from './views.js';

/** Whether a node looks up codes of which `DequantizeLinear` decodes those that are found. */
export function decodesLookup({ op, inputs, outputs }: Node): boolean {
  const [table, found] = [inputs[0]?.view, outputs[0]];
  return op === 'Gather' && table?.constant.tensor.codes !== undefined && found !== undefined && isOnlyDecoded(found);
}

/** What is known of values of whole graphs. Many nodes may have an output of one name. */
const onlyDecoded = new WeakMap<Value, boolean>();

function isOnlyDecoded(value: Value): boolean {
  const known = onlyDecoded.get(value);
  if (known !== undefined) return known;
  const { readers, isOutput } = value;
  const isDecoded = ({ node, input }: Reader) => input === 0 && node.op.endsWith('DequantizeLinear');
  const result = !isOutput && readers.length > 0 && readers.every(isDecoded);
  onlyDecoded.set(value, result);
  return result;
}

/** The codes that a node decodes, and their meaning. */
function decoding(node: Node): { constant: Constant; meaning: Quantisation } | undefined {
  const [value, result] = [node.inputs[0], node.outputs[0]?.view];
  // Of a damaged file, another node may have an output of this name.
  if (node.op === 'Mul') return result?.quantisation && { constant: result.constant, meaning: result.quantisation };
  if (!node.op.endsWith('DequantizeLinear') || value === undefined) return undefined;
  if (value.view !== undefined) {
    const meaning = value.view.quantisation === undefined ? result?.quantisation : undefined;
    return meaning && { constant: value.view.constant, meaning };
  }
  const lookup = value.producer;
  if (lookup === undefined || !decodesLookup(lookup)) return undefined;
  // The axes of what was looked up are not those of the table, so only a single scale is known to fit.
  const view = lookup.inputs[0]!.view!;
  return { constant: view.constant, meaning: quantisationOf({ ...view, axes: [] }, node) };
}

/** Reads bytes of a file of the model. */
export type ReadBytes = (place: Pick<StoredCodes, 'file' | 'start' | 'bytes'>, subject: string) => Promise<Uint8Array>;

/** Finds out what codes mean: {@link Constant.decoded} of all constants that are decoded. */
export async function decodeConstants(nodes: readonly Node[], read: ReadBytes): Promise<void> {
  const parameters = new Map<Constant, Float64Array>();
  const meanings = new Map<Constant, Quantisation>();
  for (const node of nodes) {
    const found = decoding(node);
    if (found === undefined) continue;
    const { constant, meaning } = found;
    const first = meanings.get(constant);
    if (first === undefined) meanings.set(constant, meaning);
    else if (!sameQuantisation(first, meaning)) {
      constant.decoded = differently;
    }
    await readParameters(meaning, parameters, read);
  }
  for (const [constant, meaning] of meanings) constant.decoded ??= decoded(constant, meaning, parameters);
}

/** The floats that the codes of a constant stand for, given their meaning, little-endian; or why they are not known. */
export async function decodedFloats(
  constant: Constant,
  meaning: Quantisation,
  read: ReadBytes,
): Promise<Uint8Array<ArrayBuffer> | string> {
  const parameters = new Map<Constant, Float64Array>();
  await readParameters(meaning, parameters, read);
  const { tensor, name } = constant;
  const isPacked = tensor.packedCodes !== undefined;
  const place = {
    type: 'int8',
    length: tensor.length,
    file: '',
    start: 0,
    bytes: tensor.length,
    scattered: undefined,
  } as const;
  const values = decoded({ ...constant, tensor: isPacked ? { ...tensor, codes: place } : tensor }, meaning, parameters);
  if (typeof values === 'string') return values;
  if (!isPacked) return floatsOf(values, name, read);
  const codes = await unpacked(tensor, name, read);
  return floatsOf(values, name, () => Promise.resolve(new Uint8Array(codes.buffer)));
}

/** Integers of 2 or 4 bits, of which the first is in the lowest bits of a byte. */
async function unpacked(
  { packedCodes, type, length }: Tensor,
  subject: string,
  read: ReadBytes,
): Promise<Int8Array<ArrayBuffer>> {
  const bytes = await read(packedCodes!, subject);
  const bits = bitsOf(type);
  const codes = new Int8Array(length);
  const [count, highest] = [2 ** bits, type.startsWith('u') ? 2 ** bits - 1 : 2 ** (bits - 1) - 1];
  const slice = (from: number, to: number) => {
    for (let index = from; index < to; index++) {
      const code = (bytes[(index * bits) >> 3]! >> ((index * bits) & 7)) & (count - 1);
      codes[index] = code > highest ? code - count : code;
    }
  };
  await inSlices(length, slice, stepsAtATime);
  return codes;
}

/** Reads the numbers of scales and zero points that are not known yet. */
async function readParameters(
  { scale, zeroPoint }: Quantisation,
  known: Map<Constant, Float64Array>,
  read: ReadBytes,
): Promise<void> {
  for (const parameter of [scale, zeroPoint]) {
    const constant = parameter?.value?.view?.constant;
    if (constant === undefined || known.has(constant)) continue;
    const numbers = await parametersOf(constant, read);
    if (numbers !== undefined) known.set(constant, numbers);
  }
}

/** Those that were read. Scales and zero points never change, and many constants may have the same. */
const knownParameters = new WeakMap<Constant, Promise<Float64Array | undefined>>();

/** The numbers of a scale or zero point; undefined for a type that is not read. */
export function parametersOf(constant: Constant, read: ReadBytes): Promise<Float64Array | undefined> {
  let parameters = knownParameters.get(constant);
  if (parameters === undefined) knownParameters.set(constant, (parameters = readNumbers(constant, read)));
  return parameters;
}

async function readNumbers({ tensor, name }: Constant, read: ReadBytes): Promise<Float64Array | undefined> {
  const place = placeOf(tensor);
  if (place !== undefined) return numbersIn(place, await read(place, name));
  if (tensor.packedCodes !== undefined) return Float64Array.from(await unpacked(tensor, name, read));
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

/** The numbers of a constant as floats of 32 bits, little-endian. */
export async function floatsOf(
  values: StoredValues,
  subject: string,
  read: ReadBytes,
): Promise<Uint8Array<ArrayBuffer>> {
  const { dtype, coding } = values;
  const stored = await read(values, subject);
  const bytes = coding ? await coding.decode(stored, undefined) : stored;
  return dtype === 'float32' ? bytes.slice() : new Uint8Array((await widenedInSlices(bytes, dtype)).buffer);
}

/** The codes of a constant as they are stored, little-endian; undefined for those of less than 8 bits. */
export async function codeBytes({ tensor, name }: Constant, read: ReadBytes): Promise<Uint8Array | undefined> {
  const { codes } = tensor;
  if (codes === undefined) return undefined;
  const stored = await read(codes, name);
  return codes.scattered?.decode(stored) ?? stored;
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
  { scale, zeroPoint }: Quantisation,
  parameters: ReadonlyMap<Constant, Float64Array>,
): StoredValues | string {
  const { codes, type } = tensor;
  if (codes === undefined) return notIntegers(type);
  const numbersOf = ({ value }: Parameter) =>
    value?.view && isPlain(value.view) ? parameters.get(value.view.constant) : undefined;
  const scales = numbersOf(scale);
  const zeros = zeroPoint === undefined ? Float64Array.of(0) : numbersOf(zeroPoint);
  if (scales === undefined) return 'its scale is not a stored tensor';
  if (zeros === undefined) return 'its zero point is not a stored tensor';
  const { least, greatest } = extremesOf(scales);
  if (!(least > -Infinity && greatest < Infinity)) return 'its scale is not finite';
  const [scalePlaces, zeroPlaces] = [scale.places, zeroPoint?.places ?? []];
  if (typeof scalePlaces === 'string') return scalePlaces;
  if (typeof zeroPlaces === 'string') return zeroPlaces;
  const [lowest, highest] = rangeOf(codes.type);
  const ofZeros = extremesOf(zeros);
  if (!(ofZeros.isWhole && ofZeros.least >= lowest && ofZeros.greatest <= highest)) {
    return 'its zero point is not one of its codes';
  }
  // Such a number takes one byte, so it fits where any other was.
  if (codes.scattered && !(ofZeros.least >= 0 && ofZeros.greatest < 128)) {
    return 'its codes are stored as numbers of varying length; save the model with raw_data';
  }
  const { length, file, start, bytes } = codes;
  const coding = new QuantisedCoding(
    codes,
    { numbers: scales, places: scalePlaces },
    { numbers: zeros, places: zeroPlaces },
  );
  return new StoredValues('float32', length, file, start, bytes, coding);
}

/** Whether the numbers of a view are those that are stored. */
const isPlain = ({ quantisation, rounding, converted }: View): boolean =>
  quantisation === undefined && rounding === undefined && converted?.zeroPoint === undefined;

/** The numbers of a parameter. */
interface Numbers {
  readonly numbers: Float64Array;
  readonly places: readonly Place[];
}

/** The number that belongs to the code at `index` in stored order. */
function numberAt({ numbers, places }: Numbers, index: number): number {
  let at = 0;
  for (const { inner, size, block, stride } of places) {
    at += Math.floor((Math.floor(index / inner) % size) / block) * stride;
  }
  return numbers[at]!;
}

/** Integers that stand for 32-bit floats. Scales and zero points never change: the codes of removed weights do. */
class QuantisedCoding implements Coding {
  readonly width: number | undefined;
  readonly #codes: StoredCodes;
  readonly #scales: Numbers;
  readonly #zeros: Numbers;

  constructor(codes: StoredCodes, scales: Numbers, zeros: Numbers) {
    this.width = codes.scattered ? undefined : widths[codes.type];
    this.#codes = codes;
    this.#scales = scales;
    this.#zeros = zeros;
  }

  async decode(stored: Uint8Array, _meaning: unknown, first = 0): Promise<Uint8Array<ArrayBuffer>> {
    const codes = this.#read(stored);
    const numbers = new Float32Array(codes.length);
    const slice = (from: number, to: number) => {
      for (let place = from; place < to; place++) {
        numbers[place] = this.#valueOf(codes[place]!, first + place);
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
        const value = values[place]!;
        if (value === 0) zeroCount++;
        // A number that has not changed keeps its code.
        if (this.#valueOf(codes[place]!, place) === value) continue;
        const [zero, scale] = [numberAt(this.#zeros, place), numberAt(this.#scales, place)];
        codes[place] = value === 0 ? zero : Math.min(highest, Math.max(lowest, Math.round(value / scale + zero)));
      }
    };
    await inSlices(codes.length, slice, stepsAtATime);
    const bytes = new Uint8Array(codes.buffer, codes.byteOffset, codes.byteLength);
    if (this.#codes.scattered) this.#codes.scattered.encode(bytes, stored);
    else if (bytes.buffer !== stored.buffer) stored.set(bytes);
    return { zeros: zeroCount };
  }

  /** As runtimes compute it, which make floats of 32 bits of codes. */
  #valueOf(code: number, index: number): number {
    return Math.fround(Math.fround(code - numberAt(this.#zeros, index)) * numberAt(this.#scales, index));
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
