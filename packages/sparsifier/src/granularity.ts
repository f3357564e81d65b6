import { unitsOf, type Axis } from './engine/table.js';
import { SparsifyError } from './errors.js';
import { withoutUnderscores } from './names.js';
import { roles as allRoles, type Kind, type Role, type WeightTensor } from './tensor.js';

/** The names of granularities: which part of a filter is removed. */
export type GranularityName = keyof typeof table;

/** A granularity by the roles that a unit spans; the other axes count the units. */
export interface Spanning {
  readonly spanning: readonly Role[];
}

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

/** Convolutions of any rank have it. */
const inConvolutions = (...spanned: readonly Role[]) => ({ convolution: spanned, convolution1d: spanned });

/** Convolutions that have a height have it. */
const withHeight = (...spanned: readonly Role[]) => ({ convolution: spanned });

/**
 * The roles that one unit spans, for each family of kinds that has the granularity. The other axes count the units.
 * The names are fasterai's; a further granularity is a further row.
 */
const table = {
  /** Each weight by itself. */
  weight: { ...inConvolutions(), matrix: [] },
  /** The weights at one place of the kernels from one input channel, of all output channels. */
  sharedWeight: inConvolutions('out'),
  /** The weights at one place of all kernels. */
  sharedChannel: inConvolutions('out', 'in'),
  /** The weights at one place of a filter, of all input channels. */
  channel: inConvolutions('in'),
  /** A column of a kernel; all weights of one input of a matrix. */
  column: { ...withHeight('height'), matrix: ['out'] },
  /** A row of a kernel; all weights of one output of a matrix. */
  row: { ...inConvolutions('width'), matrix: ['in'] },
  /** The weights between one input and one output channel. */
  kernel: inConvolutions(...spatial),
  /** All weights of one output channel. */
  filter: { ...inConvolutions('in', ...spatial), matrix: ['in'] },
  sharedColumn: withHeight('out', 'height'),
  sharedRow: inConvolutions('out', 'width'),
  /** All weights of one input channel. */
  sharedKernel: inConvolutions('out', ...spatial),
  verticalSlice: withHeight('in', 'height'),
  horizontalSlice: inConvolutions('in', 'width'),
  sharedVerticalSlice: withHeight('out', 'in', 'height'),
  sharedHorizontalSlice: inConvolutions('out', 'in', 'width'),
  /** The whole layer; in the global context only. */
  layer: { ...inConvolutions('out', 'in', ...spatial), matrix: ['out', 'in'] },
  /** fasterai's page calls a line of weights a vector: a column of a kernel, a row of a matrix. */
  vector: { ...withHeight('height'), convolution1d: ['width'], matrix: ['in'] },
} as const satisfies Readonly<Record<string, Partial<Record<Family, readonly Role[]>>>>;

const names = Object.keys(table) as GranularityName[];

/** The granularities, as constants equal to their names, and makers of others. */
export const Granularity = {
  ...(Object.fromEntries(names.map((name) => [name, name])) as { readonly [Name in GranularityName]: Name }),
  /** A unit that spans these roles, such as `spanning('in', 'height')`. */
  spanning: (...spanning: readonly Role[]): Spanning => ({ spanning }),
};

export const granularityNames: readonly GranularityName[] = names;

/** @throws SparsifyError `granularity` for a name that no kind has, or roles that no axis has */
export function checkGranularity(granularity: string | Spanning): GranularityName | Spanning {
  if (typeof granularity === 'string') {
    const name = withoutUnderscores(granularity);
    if (Object.hasOwn(table, name)) return name as GranularityName;
  } else if (
    granularity &&
    Array.isArray(granularity.spanning) &&
    granularity.spanning.every((role) => allRoles.includes(role))
  ) {
    return granularity;
  }
  throw new SparsifyError('granularity', 'unknown granularity', {
    asked: granularity,
    allowed: names,
    hint: `Others are made by Granularity.spanning(...roles), from ${allRoles.join(', ')}`,
  });
}

/** The granularities that a kind of layer has. */
export function granularitiesOf(kind: Kind): GranularityName[] {
  return names.filter((name) => spannedRoles(name, kind) !== undefined);
}

function spannedRoles(name: GranularityName, kind: Kind): readonly Role[] | undefined {
  const row: Partial<Record<Family, readonly Role[]>> = table[name];
  return row[families[kind]];
}

/** Canonical places: the group of a transposed convolution comes before all roles. */
const orderOf = (role: Role): number => allRoles.indexOf(role) + 1;
const lastOutputOrder = orderOf('multiplier');

/** How a tensor falls into units. */
export interface Units {
  /** The stored axes, one of them in two parts where a layout stores groups that way. */
  readonly axes: readonly Axis[];
  /** The units' shape: that of the tensor, with 1 where an axis runs inside a unit. */
  readonly shape: readonly number[];
  /** Whether a unit is all weights of one output channel, so that its bias goes with it. */
  readonly isChannel: boolean;
}

/** @throws SparsifyError `granularity` for a kind that does not have it */
export function unitsOfTensor(
  { name, kind, roles, shape, groups }: WeightTensor,
  granularity: GranularityName | Spanning,
): Units {
  const spanned = typeof granularity === 'string' ? spannedRoles(granularity, kind) : granularity.spanning;
  if (spanned === undefined) {
    throw new SparsifyError('granularity', `a layer of kind ${kind} has no granularity '${granularity}'`, {
      subject: name,
      allowed: granularitiesOf(kind),
    });
  }
  // The multiplier of a depthwise kernel is a part of the output channel.
  const spans = (role: Role) => spanned.includes(role === 'multiplier' ? 'out' : role);
  const parts = roles.map((role, index): Axis[] => {
    const size = shape[index]!;
    const blockOf = (role: Role, size: number) => (spans(role) ? size : 1);
    const axis = { size, block: blockOf(role, size), order: orderOf(role) };
    if (!kind.startsWith('convTranspose') || role !== 'in' || groups === 1) return [axis];
    // A transposed convolution stores all input channels on one axis, group after group, and the output channels of one
    // group on another; the group is the outer part of the output channel.
    return [
      { size: groups, block: blockOf('out', groups), order: 0 },
      { ...axis, size: size / groups, block: blockOf(role, size / groups) },
    ];
  });
  const axes = parts.flat();
  return {
    axes,
    shape: parts.map(unitsOf),
    isChannel: axes.every(({ size, block, order }) => block === (order > lastOutputOrder ? size : 1)),
  };
}
