import { unitsOf, type Axis } from '../engine/record.js';
import { SparsifyError } from '../errors.js';
import { withoutUnderscores } from './spelling.js';
import { roles as allRoles, type Kind, type Role, type WeightTensor } from '../model/model.js';

/** The names of granularities: which part of a filter is removed. */
export type GranularityName = keyof typeof table;

/** A granularity by the roles that a unit spans; the other axes count the units. */
export interface Spanning {
  readonly spanning: readonly UnitRole[];
}

/** Units that are tiles: so many neighbours along each of these roles, one along the others. */
export interface Tiles {
  readonly block: Readonly<Partial<Record<UnitRole, number>>>;
}

/** A pattern: of every m weights that follow each other along `in`, at most n stay. */
export interface Pattern {
  readonly nm: readonly [n: number, m: number];
}

/** What is removed together: a name, or what {@link Granularity}'s functions make. */
export type Granularity = GranularityName | Spanning | Tiles | Pattern;

/** The roles that a unit can span. */
export type UnitRole = Exclude<Role, 'multiplier'>;

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
const inConvolutions = (...spanned: readonly UnitRole[]) => ({ convolution: spanned, convolution1d: spanned });

/** Convolutions that have a height have it. */
const withHeight = (...spanned: readonly UnitRole[]) => ({ convolution: spanned });

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
} as const satisfies Readonly<Record<string, Partial<Record<Family, readonly UnitRole[]>>>>;

const names = Object.keys(table) as GranularityName[];

/** The granularities, as constants equal to their names, and makers of others. */
export const Granularity = {
  ...(Object.fromEntries(names.map((name) => [name, name])) as { readonly [Name in GranularityName]: Name }),
  /** A unit that spans these roles, such as `spanning('in', 'height')`. */
  spanning: (...spanning: readonly UnitRole[]): Spanning => ({ spanning }),
  /**
   * A tile of so many neighbours along each role, such as `block({ out: 1, in: 4 })`; 1 along roles that are not named.
   * Where a size is no multiple, the last tile is smaller.
   */
  block: (block: Tiles['block']): Tiles => ({ block }),
  /**
   * At most `n` of every `m` weights that follow each other along `in`, within a group of channels, stay: `nm(2, 4)`. A
   * rest shorter than `m` stays whole. Such a pattern takes no amount: `sparsifyModel()`.
   */
  nm: (n: number, m: number): Pattern => ({ nm: [n, m] }),
};

export const granularityNames: readonly GranularityName[] = names;

const unitRoles: readonly UnitRole[] = ['out', 'in', 'depth', 'height', 'width'];
/** The largest m of a pattern: the work grows with its square (crates/kernels/src/nm.rs). */
const longestPattern = 256;

/** @throws SparsifyError `granularity` for a name that no kind has, roles that no axis has, or sizes that make no units */
export function checkGranularity(granularity: string | Exclude<Granularity, string>): Granularity {
  if (typeof granularity === 'string') {
    const name = withoutUnderscores(granularity);
    if (Object.hasOwn(table, name)) return name as GranularityName;
  } else if (granularity && typeof granularity === 'object') {
    const wrong = mistakeIn(granularity);
    if (wrong === undefined) return granularity;
    if (wrong !== '') throw new SparsifyError('granularity', wrong, { asked: granularity });
  }
  throw new SparsifyError('granularity', 'unknown granularity', {
    asked: granularity,
    allowed: names,
    hint: `Others are made by Granularity.spanning(...roles), block({ role: size }) and nm(n, m)`,
  });
}

/** What is wrong with a form; empty where it is no form at all. */
function mistakeIn(form: Partial<Spanning & Tiles & Pattern>): string | undefined {
  const isRole = (role: string) => unitRoles.some((each) => each === role);
  const isCount = (count: unknown) => Number.isInteger(count) && (count as number) > 0;
  const { spanning, block, nm } = form;
  if (Object.keys(form).length !== 1) return '';
  if (Array.isArray(spanning))
    return spanning.every(isRole) ? undefined : `a unit spans roles: ${unitRoles.join(', ')}`;
  if (Array.isArray(nm)) {
    const [n, m, ...rest] = nm as readonly number[];
    const fits = isCount(n) && isCount(m) && n! < m! && m! <= longestPattern && rest.length === 0;
    return fits ? undefined : `a pattern is n of m weights along in, with whole numbers 0 < n < m <= ${longestPattern}`;
  }
  if (block && typeof block === 'object') {
    const fits =
      Object.keys(block).length > 0 && Object.keys(block).every(isRole) && Object.values(block).every(isCount);
    return fits ? undefined : `a tile has a whole number above 0 for some of the roles ${unitRoles.join(', ')}`;
  }
  return '';
}

export const isPattern = (granularity: Granularity): granularity is Pattern =>
  typeof granularity === 'object' && 'nm' in granularity;

/** A granularity as people write it. */
export function inWords(granularity: Granularity): string {
  if (typeof granularity === 'string') return granularity;
  if ('spanning' in granularity) return `spanning ${granularity.spanning.join(', ')}`;
  if ('nm' in granularity) return granularity.nm.join(':');
  return `block of ${Object.entries(granularity.block)
    .map(([role, size]) => `${size} ${role}`)
    .join(' x ')}`;
}

/** The granularities that a kind of layer has, by name. */
export function granularitiesOf(kind: Kind): GranularityName[] {
  return names.filter((name) => spannedRoles(name, kind) !== undefined);
}

function spannedRoles(name: GranularityName, kind: Kind): readonly UnitRole[] | undefined {
  const row: Partial<Record<Family, readonly UnitRole[]>> = table[name];
  return row[families[kind]];
}

/** The roles that a kind of layer has. */
function rolesOf(kind: Kind): readonly UnitRole[] {
  const rank = /(\d)d$/.exec(kind)?.[1] ?? 0;
  return ['out', 'in', ...spatial.slice(spatial.length - Number(rank))];
}

/**
 * How many neighbours along each role lie in one unit; undefined for a kind that does not have the granularity, or none of
 * a form's roles.
 */
function blocksOf(granularity: Granularity, kind: Kind): Readonly<Partial<Record<UnitRole, number>>> | undefined {
  const whole = (spanned: readonly UnitRole[] | undefined) =>
    spanned && Object.fromEntries(spanned.map((role) => [role, Infinity]));
  if (typeof granularity === 'string') return whole(spannedRoles(granularity, kind));
  const form =
    'spanning' in granularity ? whole(granularity.spanning)! : 'block' in granularity ? granularity.block : {};
  const named = Object.keys(form);
  return named.length === 0 || rolesOf(kind).some((role) => named.includes(role)) ? form : undefined;
}

/** Canonical places: the group of a transposed convolution comes before all roles. */
const orderOf = (role: Role): number => allRoles.indexOf(role) + 1;
const lastOutputOrder = orderOf('multiplier');

/** Of every `of` units along one of the axes `keep` stay; the `rest` at its end makes no whole pattern. */
export interface UnitPattern {
  readonly keep: number;
  readonly of: number;
  readonly along: number;
  readonly rest: number;
}

/** How a tensor falls into units. */
export interface Units {
  /** The stored axes, one of them in two parts where a layout stores groups that way. */
  readonly axes: readonly Axis[];
  /** The units' shape: that of the tensor, with 1 where an axis runs inside a unit. */
  readonly shape: readonly number[];
  /** Whether a unit is all weights of one output channel, so that its bias goes with it. */
  readonly isChannel: boolean;
  /** For N:M only. */
  readonly pattern?: UnitPattern;
}

/** @throws SparsifyError `granularity` for a kind that does not have it, or tiles that do not fit the layout's parts */
export function unitsOfTensor({ name, kind, roles, shape, groups }: WeightTensor, granularity: Granularity): Units {
  const blocks = blocksOf(granularity, kind);
  if (blocks === undefined) {
    throw new SparsifyError('granularity', `a layer of kind ${kind} has no granularity '${inWords(granularity)}'`, {
      subject: name,
      ...(typeof granularity === 'string'
        ? { allowed: granularitiesOf(kind) }
        : { found: `the roles ${rolesOf(kind).join(', ')}` }),
    });
  }
  const sizeOf = (role: Role) => (roles.includes(role) ? shape[roles.indexOf(role)]! : 1);
  const isTransposed = kind.startsWith('convTranspose');
  // Two parts of the output channel: the group of a transposed convolution, or the multiplier of a depthwise kernel.
  const [outer, inner] = isTransposed ? [groups, sizeOf('out')] : [sizeOf('out'), sizeOf('multiplier')];
  const [outerBlock, innerBlock] = inTwo(blocks.out ?? 1, outer, inner, name);
  const axisOf = (size: number, block: number, order: number): Axis => ({ size, block: Math.min(block, size), order });

  const parts = roles.map((role, index): Axis[] => {
    const size = shape[index]!;
    if (role === 'multiplier') return [axisOf(size, innerBlock, orderOf(role))];
    if (role === 'out') return [axisOf(size, isTransposed ? innerBlock : outerBlock, orderOf(role))];
    const block = blocks[role] ?? 1;
    if (!isTransposed || role !== 'in' || groups === 1) return [axisOf(size, block, orderOf(role))];
    // A transposed convolution stores all input channels on one axis, group after group, and the output channels of one
    // group on another; the group is the outer part of the output channel.
    return [axisOf(groups, outerBlock, 0), axisOf(size / groups, block, orderOf(role))];
  });
  const axes = parts.flat();
  return {
    axes,
    shape: parts.map(unitsOf),
    // What a pattern removes is never a whole channel, since of each m weights n stay.
    isChannel:
      !isPattern(granularity) && axes.every(({ size, block, order }) => block === (order > lastOutputOrder ? size : 1)),
    ...(isPattern(granularity) ? patternAlong(axes, granularity) : {}),
  };
}

/** A block of the output channel in blocks of its outer and inner part. */
function inTwo(block: number, outer: number, inner: number, name: string): [number, number] {
  if (block >= outer * inner) return [outer, inner];
  if (outer === 1 || inner % block === 0) return [1, block];
  if (block % inner === 0) return [block / inner, inner];
  throw new SparsifyError('granularity', 'the tiles of output channels would cross parts that are stored apart', {
    subject: name,
    asked: `tiles of ${block}`,
    found: `${outer} parts of ${inner} output channels`,
    hint: `Take tiles of a divisor or a multiple of ${inner}`,
  });
}

/** The axis that a pattern runs along; a layout that stores no input channels has one. */
function patternAlong(axes: readonly Axis[], { nm: [keep, of] }: Pattern): Pick<Units, 'axes' | 'pattern'> {
  const order = orderOf('in');
  const stored = axes.findIndex((axis) => axis.order === order);
  const along = stored < 0 ? axes.length : stored;
  const all = stored < 0 ? [...axes, { size: 1, block: 1, order }] : axes;
  return { axes: all, pattern: { keep, of, along, rest: all[along]!.size % of } };
}
