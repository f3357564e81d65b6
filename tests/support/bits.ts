import { loadEngine, Sparsifier, type Kind, type Role, type SparsifierOptions } from 'sparsifier';
import { fromArrays, type ArrayLayer, type Numbers } from 'sparsifier/formats/arrays';
import { expect } from 'vitest';
import { readJson } from './files.js';
import { product, xorshift } from './layers.js';
import { repairDigests } from './repair-cases.js';

// The same numbers on every machine: a model made of whole numbers, calls whose sums are not exact, and a digest of
// each tensor after each call. crates/kernels/tests/bits.rs does the same without JavaScript and wasm. Where what is
// computed is meant to change, the failing tests' messages have the digests that golden/bits.json is to get.

interface Recipe {
  readonly kind: Kind;
  readonly roles: string;
  readonly shape: readonly number[];
  readonly groups?: number;
  /**
   * `spread`: 24 significant bits at 8 scales; `few`: 4 values; `halfway`: sums between two 32-bit floats, so that the
   * order of the additions decides; else 16 bits of this type.
   */
  readonly numbers: 'spread' | 'few' | 'halfway' | 'float16' | 'bfloat16';
}

/** In model order. The units of `large` are more than a sample, a filter of `conv` is longer than a run of sums. */
const recipes: Readonly<Record<string, Recipe>> = {
  conv: { kind: 'conv2d', roles: 'out in height width', shape: [24, 64, 9, 9], numbers: 'spread' },
  'conv of tfjs': { kind: 'conv2d', roles: 'height width in out', shape: [3, 3, 48, 130], numbers: 'spread' },
  transposed: {
    kind: 'convTranspose2d',
    roles: 'in out height width',
    shape: [24, 16, 3, 3],
    groups: 3,
    numbers: 'spread',
  },
  depthwise: { kind: 'conv2d', roles: 'height width out multiplier', shape: [5, 5, 32, 2], numbers: 'spread' },
  conv1d: { kind: 'conv1d', roles: 'out in width', shape: [40, 33, 7], numbers: 'float16' },
  large: { kind: 'dense', roles: 'in out', shape: [601, 512], numbers: 'spread' },
  few: { kind: 'embedding', roles: 'out in', shape: [500, 64], numbers: 'few' },
  lstm: { kind: 'lstm', roles: 'out in', shape: [256, 100], numbers: 'bfloat16' },
  gru: { kind: 'gru', roles: 'in out', shape: [4500, 48], numbers: 'halfway' },
  'dense, halfway': { kind: 'dense', roles: 'in out', shape: [600, 400], numbers: 'halfway' },
};
const convolutions: Kind[] = ['conv1d', 'conv2d', 'convTranspose2d'];

/** By name: options, and the sparsities of one sparsifier's calls. */
const calls: Readonly<Record<string, Partial<SparsifierOptions> & { readonly sparsities?: readonly number[] }>> = {
  'weight local': {},
  'weight global': { context: 'global' },
  'vector local l2': { granularity: 'vector', reducer: 'l2' },
  'vector global standard': { granularity: 'vector', context: 'global', normalizer: 'standard' },
  'kernel local': { granularity: 'kernel', layerType: convolutions },
  'kernel global sum': { granularity: 'kernel', layerType: convolutions, context: 'global', reducer: 'sum' },
  'filter local mean': { granularity: 'filter' },
  'filter local sum': { granularity: 'filter', reducer: 'sum' },
  'filter local l2': { granularity: 'filter', reducer: 'l2' },
  'filter local max': { granularity: 'filter', reducer: 'max' },
  'filter global': { granularity: 'filter', context: 'global' },
  'filter global by sum': { granularity: 'filter', context: 'global', normalizer: 'sum' },
  'filter global by mean': { granularity: 'filter', context: 'global', normalizer: 'mean' },
  'filter global by max': { granularity: 'filter', context: 'global', normalizer: 'max' },
  'filter global by l2': { granularity: 'filter', context: 'global', normalizer: 'l2' },
  'filter global by minmax': { granularity: 'filter', context: 'global', normalizer: 'minmax' },
  'filter global by standard': { granularity: 'filter', context: 'global', normalizer: 'standard' },
  'weight global by l2': { context: 'global', normalizer: 'l2' },
  'squares of filters': { granularity: 'filter', criteria: 'squaredFinal' },
  'random weights': { criteria: 'random', seed: 12345 },
  'random filters': { granularity: 'filter', context: 'global', criteria: 'random', seed: 4_000_000_000 },
  'filters, more and fewer': { granularity: 'filter', context: 'global', normalizer: 'mean', sparsities: [30, 60, 45] },
};

type Digests = Record<string, Record<string, string>>;

/** Loads so many threads, does all calls, and expects the recorded bits. */
export async function expectTheSameBits(threads: number): Promise<void> {
  const engine = await loadEngine({ threads });
  const isBare = typeof document !== 'undefined' && !globalThis.crossOriginIsolated;
  expect(engine.threads).toBe(isBare ? 1 : threads);
  expect(await digests()).toEqual(await readJson<Digests>('golden/bits.json'));
  expect(await repairDigests()).toEqual(await readJson<Record<string, string>>('golden/repair/bits.json'));
}

async function digests(): Promise<Digests> {
  const result: Digests = {};
  for (const [name, { sparsities = [55], ...options }] of Object.entries(calls)) {
    const layers = Object.fromEntries(
      Object.entries(recipes).map(([layer, recipe], index) => [layer, made(recipe, index + 1)]),
    );
    const all = {
      granularity: 'weight',
      context: 'local',
      criteria: 'largeFinal',
      layerType: 'all',
      ...options,
    } as const;
    const sparsifier = new Sparsifier(fromArrays(layers), all);
    for (const sparsity of sparsities) await sparsifier.sparsifyModel(sparsity);
    result[name] = Object.fromEntries(Object.entries(layers).map(([layer, { data }]) => [layer, digest(data)]));
  }
  return result;
}

function made({ kind, roles, shape, groups = 1, numbers }: Recipe, seed: number): ArrayLayer {
  const next = xorshift(seed);
  const length = product(shape);
  const layer = { kind, roles: roles.split(' ') as Role[], shape, groups };
  if (numbers === 'float16' || numbers === 'bfloat16') {
    // Without the upper bit of the exponent all are finite, and smaller than 2.
    return { ...layer, dtype: numbers, data: Uint16Array.from({ length }, () => (next() >>> 16) & 0xbfff) };
  }
  const number = {
    spread: (word: number) => ((word >>> 8) - 2 ** 23) * 2 ** -(20 + (word & 7)),
    few: (word: number) => [-1, -0.5, 0.5, 1][word >>> 30]!,
    halfway: (word: number, index: number) => {
      const [rows, columns] = shape as [number, number];
      const [row, column] = [Math.floor(index / columns), index % columns];
      // A 1, half of its last bit, and some so small that only those count which are added to each other first.
      if (row === (column * 7919 + 13) % rows) return 1;
      if (row === (column * 3571 + 977) % rows) return 2 ** -24;
      return word % rows < 6 ? 2 ** -54 : 0;
    },
  }[numbers];
  return { ...layer, data: Float32Array.from({ length }, (_, index) => number(next(), index)) };
}

/** FNV-1a, 32 bits, over the little-endian bytes. */
function digest({ buffer, byteOffset, byteLength }: Numbers): string {
  let hash = 0x811c_9dc5;
  for (const byte of new Uint8Array(buffer, byteOffset, byteLength)) hash = Math.imul(hash ^ byte, 0x0100_0193);
  return (hash >>> 0).toString(16).padStart(8, '0');
}
