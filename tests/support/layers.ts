import fc from 'fast-check';
import type { Amount, CallOptions, Kind, Report, Role, Sparsity, SparsifierOptions } from 'sparsifier';
import { loadEngine, Sparsifier, SparsifyError } from 'sparsifier';
import { fromArrays, type ArrayLayer } from 'sparsifier/formats/arrays';
import { expect } from 'vitest';
import { copyOf, differences, type Layers } from './oracle.js';

/** Whole numbers from 0 to 2^32 - 1, the same for the same seed (xorshift32, Marsaglia 2003). */
export function xorshift(seed: number): () => number {
  let state = seed >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>>= 0);
  };
}

/** Whole numbers of either sign, never 0, of so few magnitudes that there are ties; their sums are exact. */
export function values(length: number, seed = 1, magnitudes = 2000): Float32Array {
  const next = xorshift(seed * 2_654_435_761 + length);
  return Float32Array.from({ length }, () => (1 + (next() % magnitudes)) * (next() & 4 ? 1 : -1));
}

const bits32 = (value: number): number => new Uint32Array(Float32Array.of(value).buffer)[0]!;

/** The bits of a number that the 16-bit type has, of float16 as a normal number or 0. */
function bits16(value: number, dtype: 'float16' | 'bfloat16'): number {
  const bits = bits32(value);
  if (dtype === 'bfloat16' || value === 0) return bits >>> 16;
  return ((bits >>> 16) & 0x8000) | ((((bits >>> 23) & 255) - 112) << 10) | ((bits >>> 13) & 1023);
}

/** The same layer with its numbers made so small that 16 bits hold them: whole ones up to 127. */
export function in16Bits({ data, ...rest }: ArrayLayer, dtype: 'float16' | 'bfloat16'): ArrayLayer {
  const small = Array.from(data, (each) => Math.sign(each) * (Math.abs(each) % 128));
  return { ...rest, dtype, data: Uint16Array.from(small, (each) => bits16(each, dtype)) };
}

export interface Layout {
  readonly title: string;
  readonly kind: Kind;
  readonly roles: readonly Role[];
  readonly shape: readonly number[];
  readonly groups?: number;
}

/** Every kind in the layouts of ONNX, PyTorch and tfjs, and in some that only arrays can have. */
export const layouts: readonly Layout[] = [
  { title: 'conv1d', kind: 'conv1d', roles: ['out', 'in', 'width'], shape: [4, 3, 5] },
  { title: 'conv1d of tfjs', kind: 'conv1d', roles: ['width', 'in', 'out'], shape: [5, 3, 4] },
  { title: 'conv2d', kind: 'conv2d', roles: ['out', 'in', 'height', 'width'], shape: [4, 3, 3, 2] },
  { title: 'conv2d of tfjs', kind: 'conv2d', roles: ['height', 'width', 'in', 'out'], shape: [3, 2, 3, 4] },
  { title: 'grouped conv2d', kind: 'conv2d', roles: ['out', 'in', 'height', 'width'], shape: [6, 2, 2, 3], groups: 2 },
  { title: 'conv3d', kind: 'conv3d', roles: ['out', 'in', 'depth', 'height', 'width'], shape: [3, 2, 2, 3, 2] },
  { title: 'conv3d of tfjs', kind: 'conv3d', roles: ['depth', 'height', 'width', 'in', 'out'], shape: [2, 3, 2, 2, 3] },
  { title: 'convTranspose1d', kind: 'convTranspose1d', roles: ['in', 'out', 'width'], shape: [3, 4, 3] },
  { title: 'convTranspose2d', kind: 'convTranspose2d', roles: ['in', 'out', 'height', 'width'], shape: [3, 4, 2, 3] },
  {
    title: 'convTranspose2d of tfjs',
    kind: 'convTranspose2d',
    roles: ['height', 'width', 'out', 'in'],
    shape: [2, 3, 4, 3],
  },
  {
    title: 'grouped convTranspose2d',
    kind: 'convTranspose2d',
    roles: ['in', 'out', 'height', 'width'],
    shape: [6, 2, 2, 3],
    groups: 3,
  },
  {
    title: 'grouped convTranspose2d, output channels first',
    kind: 'convTranspose2d',
    roles: ['height', 'width', 'out', 'in'],
    shape: [2, 3, 2, 6],
    groups: 3,
  },
  {
    title: 'convTranspose3d',
    kind: 'convTranspose3d',
    roles: ['in', 'out', 'depth', 'height', 'width'],
    shape: [2, 3, 2, 2, 2],
  },
  {
    title: 'depthwise conv2d',
    kind: 'conv2d',
    roles: ['out', 'in', 'height', 'width'],
    shape: [6, 1, 3, 2],
    groups: 6,
  },
  {
    title: 'depthwise conv2d of tfjs',
    kind: 'conv2d',
    roles: ['height', 'width', 'out', 'multiplier'],
    shape: [3, 2, 3, 2],
    groups: 3,
  },
  {
    title: 'depthwise conv2d, multipliers first',
    kind: 'conv2d',
    roles: ['multiplier', 'out', 'height', 'width'],
    shape: [2, 3, 3, 2],
    groups: 3,
  },
  { title: 'dense', kind: 'dense', roles: ['out', 'in'], shape: [5, 7] },
  { title: 'dense of tfjs', kind: 'dense', roles: ['in', 'out'], shape: [7, 5] },
  { title: 'embedding', kind: 'embedding', roles: ['out', 'in'], shape: [9, 4] },
  { title: 'lstm', kind: 'lstm', roles: ['out', 'in'], shape: [8, 3] },
  { title: 'lstm of tfjs', kind: 'lstm', roles: ['in', 'out'], shape: [3, 8] },
  { title: 'gru', kind: 'gru', roles: ['out', 'in'], shape: [6, 3] },
];

/** Every kind with axes of random sizes in any stored order; a transposed convolution's groups divide its input. */
export const anyLayout = (largest = 5, inputs = largest): fc.Arbitrary<Layout> =>
  fc.constantFrom(...layouts).chain((layout) =>
    fc
      .record({
        sizes: fc.tuple(...layout.roles.map((role) => fc.integer({ min: 1, max: role === 'in' ? inputs : largest }))),
        groups: fc.integer({ min: 1, max: 3 }),
        order: fc.shuffledSubarray([...layout.shape.keys()], { minLength: layout.shape.length }),
      })
      .map(({ sizes, groups, order }): Layout => {
        const divided: Role = layout.kind.startsWith('convTranspose') ? 'in' : 'out';
        const shape = sizes.map((size, axis) => (layout.roles[axis] === divided ? size * groups : size));
        return {
          ...layout,
          groups,
          roles: order.map((axis) => layout.roles[axis]!),
          shape: order.map((axis) => shape[axis]!),
        };
      }),
  );

export const product = (sizes: readonly number[]): number => sizes.reduce((total, size) => total * size, 1);

/** How many output channels a layer has. */
export function channelsOf({ kind, roles, shape, groups = 1 }: Omit<Layout, 'title'>): number {
  const sizeOf = (role: Role) => (roles.includes(role) ? shape[roles.indexOf(role)]! : 1);
  return sizeOf('out') * sizeOf('multiplier') * (kind.startsWith('convTranspose') ? groups : 1);
}

/** A layer of this layout with made-up weights, a bias and a batch normalisation. */
export function layerOf(layout: Omit<Layout, 'title'>, seed = 1, magnitudes = 2000): ArrayLayer {
  const { kind, roles, shape, groups } = layout;
  const channels = channelsOf(layout);
  return {
    kind,
    roles,
    shape,
    ...(groups !== undefined && { groups }),
    data: values(product(shape), seed, magnitudes),
    bias: values(channels, seed + 1),
    batchNorm: { gamma: values(channels, seed + 2), beta: values(channels, seed + 3) },
  };
}

/** The same without bias and batch normalisation, which are granularity's business. */
export function weightsOnly(layout: Omit<Layout, 'title'>, seed = 1, magnitudes = 2000): ArrayLayer {
  const { bias: _, batchNorm: __, ...layer } = layerOf(layout, seed, magnitudes);
  return layer;
}

/** A dense layer of one output channel and these weights: each weight is a unit where the granularity is `weight`. */
export function line(data: Float32Array | readonly number[]): ArrayLayer {
  return { kind: 'dense', roles: ['out', 'in'], shape: [1, data.length], data: Float32Array.from(data) };
}

/** The same tensor with its axes in another stored order. */
export function permuted(layer: ArrayLayer, order: readonly number[]): ArrayLayer {
  const { roles, shape, data } = layer;
  const strides = shape.map((_, axis) => product(shape.slice(axis + 1)));
  const newShape = order.map((axis) => shape[axis]!);
  const moved = data.slice();
  for (let position = 0; position < data.length; position++) {
    let rest = position;
    let from = 0;
    for (let axis = order.length - 1; axis >= 0; axis--) {
      from += (rest % newShape[axis]!) * strides[order[axis]!]!;
      rest = Math.floor(rest / newShape[axis]!);
    }
    moved[position] = data[from]!;
  }
  return { ...layer, roles: order.map((axis) => roles[axis]!), shape: newShape, data: moved };
}

export const weightwise = {
  granularity: 'weight',
  context: 'local',
  criteria: 'largeFinal',
  layerType: 'all',
} as const satisfies SparsifierOptions;

export interface Result {
  readonly layers: Record<string, ArrayLayer>;
  readonly report: Report;
}

/** What becomes of copies of the layers. */
export async function sparsified(
  layers: Layers,
  sparsity: Sparsity,
  options: Partial<SparsifierOptions> = {},
  call: CallOptions = {},
): Promise<Result> {
  const copies = copyOf(layers);
  const report = await new Sparsifier(fromArrays(copies), { ...weightwise, ...options }).sparsifyModel(sparsity, call);
  return { layers: copies, report };
}

/** How many zeros each layer has. */
export const zerosOf = (layers: Layers): Record<string, number> =>
  Object.fromEntries(
    Object.entries(layers).map(([name, { data }]) => [
      name,
      (data as Float32Array).filter((each) => each === 0).length,
    ]),
  );

export function expectSame(actual: Layers, expected: Layers, what = ''): void {
  expect(differences(actual, expected), what).toEqual([]);
}

/** The error that `work` ends with; a failure where it does not end with a SparsifyError. */
export async function errorOf(work: () => unknown): Promise<SparsifyError> {
  let outcome: unknown;
  try {
    outcome = await work();
  } catch (error) {
    expect(error).toBeInstanceOf(SparsifyError);
    return error as SparsifyError;
  }
  throw new Error(`no error, but ${JSON.stringify(outcome)}`);
}

/** No block of the engine's memory is in use. */
export async function expectNoMemoryInUse(): Promise<void> {
  expect((await loadEngine()).memory).toEqual({ blocks: 0, bytes: 0 });
}

/** Expects a call to fail, to change no array and to leave no memory behind. */
export async function refusal(
  layers: Layers,
  sparsity: unknown,
  options: Partial<SparsifierOptions> = {},
  call: CallOptions = {},
): Promise<SparsifyError> {
  const copies = copyOf(layers);
  const error = await errorOf(() =>
    new Sparsifier(fromArrays(copies), { ...weightwise, ...options }).sparsifyModel(sparsity as Amount, call),
  );
  expectSame(copies, layers, 'after a refused call');
  await expectNoMemoryInUse();
  return error;
}

export const layoutOf = (title: string): Layout => layouts.find((layout) => layout.title === title)!;

/** The layers of a call, or its rankings, that lost another number of units than asked. */
export const rankingsChanged = ({ warnings }: Report) =>
  warnings.flatMap((warning) => (warning.code === 'amount-changed' ? warning.details.rankings : []));
