import type { Axis } from './engine/table.js';
import { SparsifyError } from './errors.js';
import { roles as allRoles, type Kind, type Role, type WeightTensor } from './tensor.js';

/** The names of granularities: which part of a filter is removed. */
export type GranularityName = 'weight' | 'vector' | 'kernel' | 'filter';

type Family = 'convolution' | 'convolution1d' | 'matrix';

const families: Readonly<Record<Kind, Family>> = {
  conv1d: 'convolution1d',
  convTranspose1d: 'convolution1d',
  conv2d: 'convolution',
  convTranspose2d: 'convolution',
  conv3d: 'convolution',
  convTranspose3d: 'convolution',
  dense: 'matrix',
  embedding: 'matrix',
  lstm: 'matrix',
  gru: 'matrix',
};

const spatial = ['depth', 'height', 'width'] as const;

/**
 * The roles that one unit spans, for each family of kinds that has the granularity. The other axes count the units.
 * A further granularity is a further row.
 */
const table: Readonly<Record<GranularityName, Partial<Record<Family, readonly Role[]>>>> = {
  /** Each weight by itself. */
  weight: { convolution: [], convolution1d: [], matrix: [] },
  /** fasterai's page calls a line of weights a vector: a column of a kernel, a row of a matrix. */
  vector: { convolution: ['height'], convolution1d: ['width'], matrix: ['in'] },
  /** The weights between one input and one output channel. */
  kernel: { convolution: spatial, convolution1d: spatial },
  /** All weights of one output channel. */
  filter: { convolution: ['in', ...spatial], convolution1d: ['in', ...spatial], matrix: ['in'] },
};

/** The granularities, as constants equal to their names. */
export const Granularity = {
  weight: 'weight',
  vector: 'vector',
  kernel: 'kernel',
  filter: 'filter',
} as const satisfies { readonly [Name in GranularityName]: Name };

/** @throws SparsifyError `granularity` for a name that no kind has */
export function checkGranularity(name: string): GranularityName {
  if (Object.hasOwn(table, name)) return name as GranularityName;
  throw new SparsifyError('granularity', 'unknown granularity', { asked: name, allowed: Object.keys(table) });
}

/** The granularities that a kind of layer has. */
export function granularitiesOf(kind: Kind): GranularityName[] {
  return (Object.keys(table) as GranularityName[]).filter((name) => table[name][families[kind]] !== undefined);
}

/** Canonical places: the group of a transposed convolution comes before all roles. */
const orderOf = (role: Role): number => allRoles.indexOf(role) + 1;
const lastOutputOrder = orderOf('multiplier');

/** How a tensor falls into units. */
export interface Units {
  /** The stored axes, one of them in two parts where a layout stores groups that way. */
  readonly axes: readonly Axis[];
  /** Whether a unit is all weights of one output channel, so that its bias goes with it. */
  readonly isChannel: boolean;
}

/** @throws SparsifyError `granularity` for a kind that does not have it */
export function unitsOfTensor({ name, kind, roles, shape, groups }: WeightTensor, granularity: GranularityName): Units {
  const spanned = table[granularity][families[kind]];
  if (spanned === undefined) {
    throw new SparsifyError('granularity', `a layer of kind ${kind} has no granularity '${granularity}'`, {
      subject: name,
      allowed: granularitiesOf(kind),
    });
  }
  const axes = roles.flatMap((role, index): Axis[] => {
    const size = shape[index]!;
    const axis = { size, reduced: spanned.includes(role), order: orderOf(role) };
    if (!kind.startsWith('convTranspose') || role !== 'in' || groups === 1) return [axis];
    // A transposed convolution stores all input channels on one axis, group after group, and the output channels of one
    // group on another; the group is the outer part of the output channel.
    return [
      { size: groups, reduced: spanned.includes('out'), order: 0 },
      { ...axis, size: size / groups },
    ];
  });
  const isChannel = axes.every(({ size, reduced, order }) => size === 1 || reduced === order > lastOutputOrder);
  return { axes, isChannel };
}
