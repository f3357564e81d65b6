import { stridesOf, type View } from '../../../../structure/numbers.js';
import { type Operator, type Site, Unknown } from '../site.js';
import { onlyZeros } from './known.js';
import { taken } from './parts.js';
import { knownMoved } from './spreads.js';

const keep: Operator = {
  attributes: [],
  inputs: 1,
  shape: (site) => [site.input(0).shape],
  list: (site) => site.input(0).list,
  couple: (site) => [site.input(0).axes],
  constant: (site) => site.input(0).known,
};

/** Numbers of types in onnx.proto. */
const integerTypes = new Set([2, 3, 4, 5, 6, 7, 12, 13]);

const float32 = 1;
const bool = 9;

const cast: Operator = {
  ...keep,
  attributes: ['to', 'saturate', 'round_mode'],
  list: (site) => {
    const { list } = site.input(0);
    const to = site.integer('to', 0);
    if (list === undefined) return undefined;
    if (to === float32) return { numbers: list.numbers.map(Math.fround), isInteger: false };
    if (to === bool) return { numbers: list.numbers.map((number) => (number === 0 ? 0 : 1)), isInteger: true };
    return integerTypes.has(to) ? { numbers: list.numbers.map(Math.trunc), isInteger: true } : undefined;
  },
  // Other types round, some of them 0.5 to 1; but 0 is 0 in all.
  constant: (site) => {
    const { known } = site.input(0);
    return site.integer('to', 0) === float32 || known === undefined ? known : onlyZeros(known);
  },
};

/** A `Cast` to the type of another value, of which nothing else matters. */
const castLike: Operator = {
  ...cast,
  attributes: ['saturate', 'round_mode'],
  leavesOut: true,
  inputs: 2,
  list: (site) => {
    const [{ list }, like] = [site.input(0), site.input(1)];
    // Small whole numbers are the same in all types.
    if (list?.numbers.every((number) => Number.isInteger(number) && Math.abs(number) <= 256) !== true) return undefined;
    return { ...list, isInteger: like.view === undefined && (like.list?.isInteger ?? list.isInteger) };
  },
  constant: (site) => {
    const { known } = site.input(0);
    return known && onlyZeros(known);
  },
};

const dropout: Operator = {
  ...keep,
  attributes: ['ratio', 'seed'],
  inputs: 3,
  shape: (site) => {
    if (site.list(2)?.[0]) throw new Unknown('it drops numbers');
    return [site.input(0).shape];
  },
};

const transpose: Operator = {
  attributes: ['perm'],
  inputs: 1,
  channels: 'moved',
  shape: (site) => [permutation(site).map((axis) => site.input(0).shape[axis]!)],
  list: (site) => {
    const { list, shape } = site.input(0);
    const order = permutation(site);
    const strides = stridesOf(shape);
    return (
      list && {
        ...list,
        numbers: taken(
          list.numbers,
          order.map((axis) => ({ count: shape[axis]!, start: 0, step: strides[axis]! })),
        ),
      }
    );
  },
  couple: (site) => [permutation(site).map((axis) => site.input(0).axes[axis]!)],
  constant: (site, [output]) => {
    const order = permutation(site);
    return knownMoved(site, site.input(0), (axis) => order.indexOf(axis), output);
  },
};

function permutation(site: Site): readonly number[] {
  const rank = site.input(0).shape.length;
  const order = site.integers('perm') ?? Array.from({ length: rank }, (_, axis) => rank - 1 - axis);
  if (order.length !== rank) throw new Unknown('its permutation does not fit');
  return order;
}

/** The stored constant behind a node that changes nothing but the order of axes, or adds and removes those of size 1. */
export function viewAfter(site: Site, shape: readonly number[]): View | undefined {
  const { view } = site.input(0);
  if (view === undefined) return undefined;
  const { op } = site.node;
  if (op === 'Identity') return view;
  if (op === 'Cast') return site.integer('to', 0) === float32 ? view : undefined;
  if (op === 'Transpose') return { ...view, shape, strides: permutation(site).map((axis) => view.strides[axis]!) };
  if (!['Reshape', 'Unsqueeze', 'Squeeze', 'Flatten'].includes(op)) return undefined;
  const isPlain = stridesOf(view.shape).every(
    (stride, axis) => view.shape[axis] === 1 || view.strides[axis] === stride,
  );
  return isPlain ? { ...view, shape, strides: stridesOf(shape) } : undefined;
}

export const arranging: ReadonlyMap<string, Operator> = new Map<string, Operator>([
  ['Identity', keep],
  ['Cast', cast],
  ['CastLike', castLike],
  ['Dropout', dropout],
  ['Transpose', transpose],
]);
