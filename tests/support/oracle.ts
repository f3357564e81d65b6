import type {
  Amount,
  Context,
  CriteriaName,
  GranularityName,
  Kind,
  Normalizer,
  Reducer,
  Role,
  Spanning,
  BlockSizes,
} from 'sparsifier';
import type { ArrayLayer, Numbers } from 'sparsifier/formats/arrays';
import { draw } from './philox.js';

// What the package computes, done the slow and obvious way: every weight has coordinates, everything is sorted.

export type Layers = Readonly<Record<string, ArrayLayer>>;

/** What cuts a layer into units. */
export type Cutting = GranularityName | Spanning | BlockSizes;

/** What is asked of a sparsifier and its call, apart from the amount. */
export interface Asked {
  readonly granularity: Cutting;
  readonly context: Context;
  readonly criteria?: CriteriaName;
  readonly reducer?: Reducer;
  readonly normalizer?: Normalizer;
  readonly budget?: 'lamp';
  readonly seed?: number;
  readonly allowEmpty?: boolean;
  readonly minKeep?: number | Readonly<Record<string, number>>;
  readonly maxSparsity?: number | Readonly<Record<string, number>>;
  readonly roundTo?: number;
}

/** Which units of each layer are gone, in canonical order. */
export type Gone = Readonly<Record<string, readonly boolean[]>>;

/** A set of weights that are removed or kept together. */
export interface Unit {
  /** The output channel of its first weight. */
  readonly out: number;
  /** Stored positions, in canonical order. */
  readonly positions: readonly number[];
}

const places = ['out', 'in', 'depth', 'height', 'width'] as const;

const spatial: readonly Role[] = ['depth', 'height', 'width'];

/** What a unit spans in convolutions; of these a conv1d has those without a height. */
const inConvolutions: Readonly<Record<GranularityName, readonly Role[]>> = {
  weight: [],
  sharedWeight: ['out'],
  sharedChannel: ['out', 'in'],
  channel: ['in'],
  column: ['height'],
  row: ['width'],
  vector: ['height'],
  kernel: spatial,
  filter: ['in', ...spatial],
  sharedColumn: ['out', 'height'],
  sharedRow: ['out', 'width'],
  sharedKernel: ['out', ...spatial],
  verticalSlice: ['in', 'height'],
  horizontalSlice: ['in', 'width'],
  sharedVerticalSlice: ['out', 'in', 'height'],
  sharedHorizontalSlice: ['out', 'in', 'width'],
  layer: ['out', 'in', ...spatial],
};
const inMatrices: Partial<Record<GranularityName, readonly Role[]>> = {
  weight: [],
  column: ['out'],
  row: ['in'],
  vector: ['in'],
  filter: ['in'],
  layer: ['out', 'in'],
};

export const granularities = Object.keys(inConvolutions) as GranularityName[];

/** The roles that a unit spans; nothing where the kind has no such granularity. */
export function spanned(kind: Kind, granularity: GranularityName | Spanning): readonly Role[] | undefined {
  if (typeof granularity !== 'string') return granularity.spanning;
  if (!kind.startsWith('conv')) return inMatrices[granularity];
  const span = inConvolutions[granularity];
  if (!kind.endsWith('1d')) return span;
  if (granularity === 'vector') return ['width'];
  return span.includes('height') && !span.includes('width') ? undefined : span;
}

/** How many neighbours lie in one unit: along out, in, depth, height and width. */
function sizesOf(kind: Kind, granularity: Cutting): number[] {
  if (typeof granularity === 'object' && 'block' in granularity) {
    return places.map((place) => granularity.block[place] ?? 1);
  }
  const span: readonly string[] | undefined = spanned(kind, granularity);
  if (!span) throw new Error(`${kind} has no granularity ${JSON.stringify(granularity)}`);
  return places.map((place) => (span.includes(place) ? Infinity : 1));
}

/** Output channel, input channel within the group, depth, height and width of the weight at a stored position. */
export function coordinates({ kind, roles, shape, groups = 1 }: ArrayLayer, position: number): number[] {
  const index: Partial<Record<Role, number>> = {};
  let rest = position;
  for (let axis = roles.length - 1; axis >= 0; axis--) {
    index[roles[axis]!] = rest % shape[axis]!;
    rest = Math.floor(rest / shape[axis]!);
  }
  const sizeOf = (role: Role) => (roles.includes(role) ? shape[roles.indexOf(role)]! : 1);
  const { out = 0, multiplier = 0, in: input = 0, depth = 0, height = 0, width = 0 } = index;
  if (!kind.startsWith('convTranspose')) return [out * sizeOf('multiplier') + multiplier, input, depth, height, width];
  const inPerGroup = sizeOf('in') / groups;
  const group = Math.floor(input / inPerGroup);
  return [group * sizeOf('out') + out, input % inPerGroup, depth, height, width];
}

/** The units of a layer in canonical order. */
export function unitsOf(layer: ArrayLayer, granularity: Cutting): Unit[] {
  const sizes = sizesOf(layer.kind, granularity);
  const weights = Array.from(layer.data, (_, position) => ({ position, at: coordinates(layer, position) }));
  weights.sort((a, b) => compare(a.at, b.at));
  const units = new Map<string, { out: number; positions: number[] }>();
  for (const { position, at } of weights) {
    const key = at.map((index, place) => Math.floor(index / sizes[place]!)).join();
    const unit = units.get(key);
    if (unit) unit.positions.push(position);
    else units.set(key, { out: at[0]!, positions: [position] });
  }
  return [...units.values()];
}

/** The weights as numbers, whatever type holds their bits. */
export function numbersOf({ data, dtype = 'float16' }: Pick<ArrayLayer, 'data' | 'dtype'>): number[] {
  if (data instanceof Float32Array) return Array.from(data);
  return Array.from(data, dtype === 'bfloat16' ? fromBfloat16 : fromFloat16);
}

/** One score per unit: every element rounded to 32 bits, sums in 64, the result rounded once. */
export function scoresOf(layer: ArrayLayer, units: readonly Unit[], asked: Asked, position: number): number[] {
  const { criteria = 'largeFinal', reducer = 'mean', seed = 0 } = asked;
  if (criteria === 'random') return units.map((_, unit) => draw(seed, position, unit));
  const weights = numbersOf(layer);
  const element = (weight: number) => (criteria === 'squaredFinal' ? Math.fround(weight * weight) : Math.abs(weight));
  return units.map(({ positions }) =>
    Math.fround(
      reduce(
        positions.map((each) => element(weights[each]!)),
        reducer,
      ),
    ),
  );
}

function reduce(scores: readonly number[], reducer: Reducer): number {
  switch (reducer) {
    case 'mean':
      return sum(scores) / scores.length;
    case 'sum':
      return sum(scores);
    case 'l2':
      return Math.sqrt(sum(scores.map((score) => score * score)));
    case 'max':
      return Math.max(...scores);
  }
}

/** What scores become on a scale that layers share; only those that `counts` names go into sums and extremes. */
function normalized(scores: readonly number[], counts: readonly boolean[], normalizer: Normalizer): number[] {
  const counted = scores.filter((_, unit) => counts[unit]);
  const magnitudes = counted.map(Math.abs);
  const mean = sum(counted) / counted.length;
  const [offset, divisor] = {
    sum: () => [0, sum(magnitudes)] as const,
    mean: () => [0, sum(magnitudes) / counted.length] as const,
    max: () => [0, Math.max(...magnitudes)] as const,
    l2: () => [0, Math.sqrt(sum(counted.map((score) => score * score)))] as const,
    minmax: () => [Math.min(...counted), Math.max(...counted) - Math.min(...counted)] as const,
    standard: () => [mean, Math.sqrt(sum(counted.map((score) => (score - mean) ** 2)) / (counted.length - 1))] as const,
  }[normalizer]();
  return scores.map((score) => (divisor > 0 && divisor < Infinity ? Math.fround((score - offset) / divisor) : 0));
}

/** The budget rule lamp: the square of each score, divided by the sum of those of all scores that are no smaller. */
function lamp(scores: readonly number[], counts: readonly boolean[]): number[] {
  const counted = scores.filter((_, unit) => counts[unit]);
  return scores.map((score) => {
    const divisor = sum(counted.filter((other) => other >= score).map((other) => other * other));
    return divisor > 0 ? Math.fround((score * score) / divisor) : 0;
  });
}

/** How many of `units` an amount removes. Adding 2^52 rounds a double to a whole number, halves to even. */
export function removedBy(amount: Amount, units: number): number {
  if (typeof amount === 'number') return (amount * units) / 100 + 2 ** 52 - 2 ** 52;
  return 'keep' in amount ? Math.max(0, units - amount.keep) : Math.min(units, amount.remove);
}

/** Which units a call removes from `layers`, given their positions in the model and what earlier calls removed. */
export function removal(
  layers: Layers,
  amount: Amount | readonly Amount[],
  asked: Asked,
  earlier: Gone = {},
  positionOf: (name: string) => number = (name) => Object.keys(layers).indexOf(name),
): Gone {
  const names = Object.keys(layers);
  const amounts = Array.isArray(amount) ? (amount as readonly Amount[]) : names.map(() => amount as Amount);
  const gone: Record<string, boolean[]> = {};
  const may: Record<string, number> = {};
  const all = names.flatMap((name, layer) => {
    const units = unitsOf(layers[name]!, asked.granularity);
    gone[name] = units.map(() => false);
    may[name] = units.length - floorOf(name, units.length, asked);
    const removed = (unit: number) => earlier[name]?.[unit] ?? false;
    let scores = scoresOf(layers[name]!, units, asked, positionOf(name));
    const counts = units.map((_, unit) => !removed(unit));
    if (asked.normalizer && asked.criteria !== 'random') scores = normalized(scores, counts, asked.normalizer);
    if (asked.budget === 'lamp') scores = lamp(scores, counts);
    return scores.map((score, unit) => ({ name, layer, unit, score: removed(unit) ? -Infinity : score }));
  });
  const less = (a: number, b: number) => (a < b ? -1 : a > b ? 1 : 0);
  all.sort((a, b) => less(a.score, b.score) || a.layer - b.layer || a.unit - b.unit);

  const isLocal = asked.context === 'local';
  for (const group of isLocal ? names.map((name) => [name]) : [names]) {
    const candidates = all.filter(({ name }) => group.includes(name));
    let rest = removedBy(isLocal ? amounts[names.indexOf(group[0]!)]! : amounts[0]!, candidates.length);
    // Where layers are the units, the network keeps one of them.
    if (asked.granularity === 'layer' && !asked.allowEmpty) rest = Math.min(rest, candidates.length - 1);
    for (const { name, unit } of candidates) {
      if (rest === 0) break;
      if (may[name] === 0) continue;
      gone[name]![unit] = true;
      may[name]!--;
      rest--;
    }
  }
  const { roundTo } = asked;
  if (roundTo !== undefined) {
    for (const name of names) {
      const own = all.filter((each) => each.name === name);
      const kept = own.length - count(gone[name]!);
      const raised = Math.min(own.length, Math.max(roundTo, Math.ceil(kept / roundTo) * roundTo));
      own.forEach(({ unit }, rank) => (gone[name]![unit] = rank < own.length - raised));
    }
  }
  return gone;
}

function floorOf(name: string, units: number, asked: Asked): number {
  const { granularity, allowEmpty = false, minKeep = 0, maxSparsity = 100 } = asked;
  if (granularity === 'layer') return 0;
  const least = typeof minKeep === 'number' ? minKeep : (minKeep[name] ?? 0);
  const share = typeof maxSparsity === 'number' ? maxSparsity : (maxSparsity[name] ?? 100);
  return Math.min(units, Math.max(least, units - Math.floor((share * units) / 100), allowEmpty ? 0 : 1));
}

/**
 * Which weights of a layer an N:M pattern removes, in canonical order: along the input channels, of every m the n best
 * stay. The weights at the end that are fewer than m all stay.
 */
export function outside([n, m]: readonly [number, number], layer: ArrayLayer, scores: readonly number[]): boolean[] {
  const weights = unitsOf(layer, 'weight').map(({ positions: [position] }, unit) => ({
    unit,
    score: scores[unit]!,
    at: coordinates(layer, position!),
  }));
  const lines = new Map<string, typeof weights>();
  for (const weight of weights) {
    const [out, , ...rest] = weight.at;
    const key = [out, ...rest].join();
    const line = lines.get(key);
    if (line) line.push(weight);
    else lines.set(key, [weight]);
  }
  const gone = weights.map(() => false);
  for (const line of lines.values()) {
    line.sort((a, b) => a.at[1]! - b.at[1]!);
    for (let first = 0; first + m <= line.length; first += m) {
      const group = line.slice(first, first + m).sort((a, b) => a.score - b.score || a.at[1]! - b.at[1]!);
      for (const { unit } of group.slice(0, m - n)) gone[unit] = true;
    }
  }
  return gone;
}

/** Whether each unit is all weights of one output channel. */
export function areChannels(layer: ArrayLayer, units: readonly Unit[]): boolean {
  const outOf = (position: number) => coordinates(layer, position)[0];
  const channels = new Set(Array.from(layer.data, (_, position) => outOf(position))).size;
  return (
    units.length === channels && units.every(({ out, positions }) => positions.every((each) => outOf(each) === out))
  );
}

/** Copies of layers without the units that are gone: their weights are +0, and so are the partners of whole channels. */
export function without(layers: Layers, gone: Gone, granularity: Cutting): Record<string, ArrayLayer> {
  const copies = copyOf(layers);
  for (const [name, flags] of Object.entries(gone)) {
    const { data, bias, batchNorm: { gamma, beta } = {} } = copies[name]!;
    const units = unitsOf(layers[name]!, granularity);
    const wholeChannels = areChannels(layers[name]!, units);
    units.forEach(({ out, positions }, unit) => {
      if (!flags[unit]) return;
      for (const position of positions) data[position] = 0;
      if (wholeChannels) for (const partner of [bias, gamma, beta]) if (partner) partner[out] = 0;
    });
  }
  return copies;
}

/** The same layers with arrays of their own; arrays that layers share stay shared. */
export function copyOf(layers: Layers): Record<string, ArrayLayer> {
  const copies = new Map<Numbers, Numbers>();
  const copied = <Array extends Numbers | undefined>(array: Array): Array => {
    if (!array) return array;
    if (!copies.has(array)) copies.set(array, array.slice());
    return copies.get(array) as Array;
  };
  return Object.fromEntries(
    Object.entries(layers).map(([name, { data, bias, batchNorm, ...rest }]) => [
      name,
      {
        ...rest,
        data: copied(data),
        ...(bias && { bias: copied(bias) }),
        ...(batchNorm && {
          batchNorm: {
            ...(batchNorm.gamma && { gamma: copied(batchNorm.gamma) }),
            ...(batchNorm.beta && { beta: copied(batchNorm.beta) }),
          },
        }),
      },
    ]),
  );
}

/** Where layers differ from others bit for bit, as sentences; empty where they do not. */
export function differences(actual: Layers, expected: Layers): string[] {
  return Object.entries(expected).flatMap(([name, layer]) => {
    const theirs = actual[name]!;
    const pairs: [string, Numbers | undefined, Numbers | undefined][] = [
      ['data', theirs.data, layer.data],
      ['bias', theirs.bias, layer.bias],
      ['gamma', theirs.batchNorm?.gamma, layer.batchNorm?.gamma],
      ['beta', theirs.batchNorm?.beta, layer.batchNorm?.beta],
    ];
    return pairs.flatMap(([part, found, wanted]) => {
      if (!found || !wanted) return found === wanted ? [] : [`${name}: ${part} is missing`];
      const [bits, wantedBits] = [bitsOf(found), bitsOf(wanted)];
      const at = wantedBits.findIndex((each, index) => each !== bits[index]);
      return at < 0 ? [] : [`${name}: ${part}[${at}] is ${found[at]}, not ${wanted[at]}`];
    });
  });
}

export const bitsOf = (array: Numbers): Uint32Array | Uint16Array =>
  array instanceof Uint16Array ? array : new Uint32Array(array.buffer, array.byteOffset, array.length);

export const count = (flags: readonly boolean[]): number => flags.filter(Boolean).length;

const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);

function compare(a: readonly number[], b: readonly number[]): number {
  const place = a.findIndex((each, index) => each !== b[index]);
  return place < 0 ? 0 : a[place]! - b[place]!;
}

const fromBfloat16 = (bits: number): number => new Float32Array(Uint32Array.of(bits << 16).buffer)[0]!;

function fromFloat16(bits: number): number {
  const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
  const magnitude = exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25);
  return bits >> 15 ? -magnitude : magnitude;
}
