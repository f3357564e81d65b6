import { SparsifyError } from '../../errors.js';
import { isObject } from '../../model/json.js';
import { typeOf } from '../../model/model.js';
import { productOf } from '../../model/numbers.js';
import { isListOf, type Check } from '../../options/check.js';

/** A tensor as sessions of `onnxruntime` take and return it. An `ort.Tensor` is one. */
export interface SessionTensor {
  /** Such as `float32` or `int64`. */
  readonly type: string;
  readonly dims: readonly number[];
  /** The numbers in row-major order, or the texts. Those of `float16` may be bits in a Uint16Array. */
  readonly data: unknown;
  /** `cpu`, which sessions require of tensors that they did not make themselves. */
  readonly location?: string;
}

/** The inputs of one run, by name. */
export type Inputs = Readonly<Record<string, SessionTensor>>;

/** `usage` for anything but the tensors of one run or of several. */
export const someInputs: Check<readonly Inputs[]> = (value) => {
  const runs: readonly unknown[] = Array.isArray(value) ? value : [value];
  if (runs.length === 0) throw new SparsifyError('usage', 'there are no inputs to run the models with');
  // By index, which also visits the holes of a list.
  for (let index = 0; index < runs.length; index++) {
    const run = runs[index];
    const entries: [string, unknown][] = isObject(run) ? Object.entries(run) : [['inputs', run]];
    const wrong = entries.find(([, tensor]) => !isTensor(tensor));
    if (wrong === undefined) continue;
    throw new SparsifyError('usage', 'inputs are tensors by their names', {
      subject: wrong[0],
      found: typeOf(wrong[1]),
      hint: libraryHints.inputs,
    });
  }
  return [...runs] as readonly Inputs[];
};

const isTensor = (value: unknown): boolean =>
  isObject(value) && typeof value.type === 'string' && isSizes(value.dims) && 'data' in value;

const isSizes = (value: unknown): boolean => isListOf(value, (size) => Number.isInteger(size) && (size as number) >= 0);

/** `usage` for anything but lists of sizes by name. */
export const someShapes: Check<Readonly<Record<string, readonly number[]>>> = (value) => {
  const entries: [string, unknown][] = isObject(value) ? Object.entries(value) : [['shapes', value]];
  const wrong = entries.find(([, sizes]) => !isSizes(sizes));
  if (wrong === undefined) return { ...(value as Readonly<Record<string, readonly number[]>>) };
  throw new SparsifyError('usage', 'a shape is a list of sizes', { subject: wrong[0], given: wrong[1] });
};

/** What a session says about an input. */
export interface InputMetadata {
  readonly name: string;
  readonly isTensor: boolean;
  readonly type?: string;
  /** A text, or a negative number, for an axis of any size. Empty for a scalar, or if the shape is not known. */
  readonly shape?: readonly (number | string)[];
}

/** The arrays that hold the numbers of each type. */
export const arrayOf = {
  float32: Float32Array,
  float64: Float64Array,
  // The bits.
  float16: Uint16Array,
  int8: Int8Array,
  uint8: Uint8Array,
  int16: Int16Array,
  uint16: Uint16Array,
  int32: Int32Array,
  uint32: Uint32Array,
  int64: BigInt64Array,
  uint64: BigUint64Array,
  bool: Uint8Array,
} as const;
export type NumberType = keyof typeof arrayOf;

const isFixed = (size: number | string): size is number => typeof size === 'number' && size >= 0;

/** An input with its type and shape: `x float32 [batch, 3, 48, ?]`. */
const inWords = ({ name, type = '', shape = [] }: InputMetadata): string =>
  `${name} ${type} [${shape.map((size) => (isFixed(size) ? size : (typeof size === 'string' && size) || '?')).join(', ')}]`;

/** How callers give what is missing: by the options of the library, or by those of the command line. */
export interface InputHints {
  /** How the shapes of inputs are given, in which N stands for an axis of any size. */
  shapes(sizes: readonly (readonly [name: string, sizes: readonly (number | 'N')[]])[]): string;
  /** How inputs are given. */
  readonly inputs: string;
}

const libraryHints: InputHints = {
  shapes: (all) => {
    const entries = all.map(([name, sizes]) => `${JSON.stringify(name)}: [${sizes.join(', ')}]`);
    return `Set \`shapes: { ${entries.join(', ')} }\`, with numbers for N`;
  },
  inputs: 'Set `inputs: { name: { type, dims, data } }`',
};

/**
 * Inputs of seeded values: floats from the standard normal distribution, integers and booleans 0 or 1. They are the same
 * for each call.
 * @param shapes of inputs, by name, which must agree with what the model says
 * @throws SparsifyError `usage` for an axis of any size without a shape, and for a shape that does not fit
 */
export function seededInputs(
  metadata: readonly InputMetadata[],
  shapes: Readonly<Record<string, readonly number[]>> = {},
  hints = libraryHints,
): Inputs {
  const allowed = metadata.map(inWords);
  const names = new Set(metadata.map(({ name }) => name));
  const unknown = Object.keys(shapes).find((given) => !names.has(given));
  if (unknown !== undefined)
    throw new SparsifyError('usage', 'the model has no such input', { given: unknown, allowed });
  const undecided = metadata.filter(({ name, shape }) => !Object.hasOwn(shapes, name) && !shape?.every(isFixed));
  if (undecided.length > 0) {
    throw new SparsifyError('usage', 'the inputs of the model have axes of any size', {
      subject: undecided.map(({ name }) => name).join(', '),
      found: allowed.join('; '),
      hint: hints.shapes(
        undecided.map(({ name, shape = [] }) => [name, shape.map((size) => (isFixed(size) ? size : 'N'))]),
      ),
    });
  }
  return Object.fromEntries(
    metadata.map((input, index) => {
      const { name, type = '' } = input;
      const dims = Object.hasOwn(shapes, name) ? shapes[name]! : (input.shape as readonly number[]);
      const tensor = { type, dims, data: seeded(input, dims, index, hints), location: 'cpu' };
      checkInput(input, tensor);
      return [name, tensor];
    }),
  );
}

function seeded(
  { name, type = '' }: InputMetadata,
  dims: readonly number[],
  seed: number,
  hints: InputHints,
): ArrayLike<number | bigint> {
  const valid = dims.every((size) => Number.isSafeInteger(size) && size >= 0);
  if (!valid) throw new SparsifyError('usage', 'a shape is a list of sizes', { subject: name, given: dims });
  if (!Object.hasOwn(arrayOf, type)) {
    throw new SparsifyError('usage', 'there are no random values for an input of this type', {
      subject: name,
      found: type,
      allowed: Object.keys(arrayOf),
      hint: hints.inputs,
    });
  }
  const length = productOf(dims);
  const next = generator(seed + 1);
  const bit = () => (next() < 0.5 ? 0 : 1);
  const normal = () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
  const draw = {
    float32: normal,
    float64: normal,
    float16: () => bitsOf(normal()),
    int64: () => BigInt(bit()),
    uint64: () => BigInt(bit()),
  }[type as 'float32'] as (() => number) | undefined;
  const Array = arrayOf[type as 'float32'];
  const data = new Array(length);
  for (let index = 0; index < length; index++) data[index] = (draw ?? bit)();
  return data;
}

/** Numbers from 0 up to, but not including, 1 (mulberry32). */
function generator(seed: number): () => number {
  let state = Math.imul(seed, 0x9e3779b9);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The bits of the nearest number of half precision. The number must not be larger than these can be. */
function bitsOf(number: number): number {
  const size = Math.abs(number);
  // All numbers below the smallest normal one have its exponent.
  const exponent = Math.max(-14, Math.floor(Math.log2(size)));
  const fraction = Math.round(size / 2 ** (exponent - 10)) - 1024;
  return (number < 0 ? 0x8000 : 0) + ((exponent + 15) << 10) + fraction;
}

/**
 * @throws SparsifyError `usage` if an input is missing, or if its type or shape is not that of the model
 */
export function checkInputs(metadata: readonly InputMetadata[], inputs: Inputs): void {
  for (const input of metadata) {
    const tensor = Object.hasOwn(inputs, input.name) ? inputs[input.name] : undefined;
    if (tensor === undefined) {
      throw new SparsifyError('usage', 'an input of the model is missing', {
        subject: input.name,
        found: Object.keys(inputs).join(', ') || 'no input',
        allowed: metadata.map(inWords),
      });
    }
    checkInput(input, tensor);
  }
}

function checkInput(input: InputMetadata, { type, dims }: SessionTensor): void {
  const { name, shape = [] } = input;
  // A shape that is not known is empty, too.
  const fits =
    shape.length === 0 ||
    (shape.length === dims.length && shape.every((size, axis) => !isFixed(size) || size === dims[axis]));
  if (type === input.type && fits) return;
  throw new SparsifyError('usage', type === input.type ? 'the shape does not fit' : 'the type does not fit', {
    subject: name,
    given: `${type} [${dims.join(', ')}]`,
    allowed: [inWords(input)],
  });
}
