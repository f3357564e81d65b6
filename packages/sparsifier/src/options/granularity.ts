import { longestPattern } from '../engine/codes.js';
import { SparsifyError } from '../errors.js';
import type { Kind, Role } from '../model/model.js';
import { unknownValue, withoutUnderscores } from './spelling.js';

/** The names of granularities: which weights are removed together. */
export type GranularityName = keyof typeof table;

/** A granularity by the roles that a unit spans; the other axes count the units. */
export interface Spanning {
  readonly spanning: readonly UnitRole[];
}

/** Units that are blocks: so many neighbours along each of these roles, one along the others. */
export interface BlockSizes {
  readonly block: Readonly<Partial<Record<UnitRole, number>>>;
}

/** An N:M pattern: of every m consecutive weights along `in`, at most n stay. */
export interface Pattern {
  readonly nm: readonly [n: number, m: number];
}

/** Which weights are removed together: a name, or what {@link Granularity}'s functions return. */
export type Granularity = GranularityName | Spanning | BlockSizes | Pattern;

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
  rnn: 'matrix',
};

export const spatial = ['depth', 'height', 'width'] as const;

/** A granularity of convolutions of any rank. */
const inConvolutions = (...spanned: readonly UnitRole[]) => ({ convolution: spanned, convolution1d: spanned });

/** A granularity of convolutions with a height. */
const withHeight = (...spanned: readonly UnitRole[]) => ({ convolution: spanned });

/**
 * The roles that one unit spans, for each family of kinds that has the granularity. The other axes count the units.
 * The names are fasterai's. A new granularity is a new row.
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
  /** The whole layer; only in the context `global`. */
  layer: { ...inConvolutions('out', 'in', ...spatial), matrix: ['out', 'in'] },
  /** fasterai's page calls a line of weights a vector: a column of a kernel, a row of a matrix. */
  vector: { ...withHeight('height'), convolution1d: ['width'], matrix: ['in'] },
} as const satisfies Readonly<Record<string, Partial<Record<Family, readonly UnitRole[]>>>>;

const names = Object.keys(table) as GranularityName[];

/** The granularities, as constants equal to their names, and functions that make others. */
export const Granularity = {
  ...(Object.fromEntries(names.map((name) => [name, name])) as { readonly [Name in GranularityName]: Name }),
  /** A unit that spans these roles, such as `spanning('in', 'height')`. */
  spanning: (...spanning: readonly UnitRole[]): Spanning => ({ spanning }),
  /**
   * A block of so many neighbours along each role, such as `block({ out: 1, in: 4 })`; 1 along roles that are not named.
   * Where the size of an axis is not a multiple, the last block is smaller.
   */
  block: (block: BlockSizes['block']): BlockSizes => ({ block }),
  /**
   * At most `n` of every `m` consecutive weights along `in` stay, within a group of a convolution: `nm(2, 4)`. A rest
   * shorter than `m` stays whole. A pattern already fixes how much is removed, so it takes no amount: `sparsifyModel()`.
   */
  nm: (n: number, m: number): Pattern => ({ nm: [n, m] }),
};

export const granularityNames: readonly GranularityName[] = names;

const unitRoles: readonly UnitRole[] = ['out', 'in', 'depth', 'height', 'width'];
/** @throws SparsifyError `granularity` for an unknown name, unknown roles, or sizes that are not whole numbers above 0 */
export function checkGranularity(granularity: string | Exclude<Granularity, string>): Granularity {
  if (typeof granularity === 'string') {
    const name = withoutUnderscores(granularity);
    if (Object.hasOwn(table, name)) return name as GranularityName;
  } else if (granularity && typeof granularity === 'object') {
    const wrong = mistakeIn(granularity);
    if (wrong === undefined) return granularity;
    if (wrong !== '') throw new SparsifyError('granularity', wrong, { given: granularity });
  }
  const hint = 'Others are made by `Granularity.spanning(...roles)`, `block({ role: size })` and `nm(n, m)`';
  throw unknownValue('granularity', 'granularity', granularity, names, { topic: 'granularity', hint });
}

/** What is wrong with a granularity that has no name; empty where it has none of the three forms. */
function mistakeIn(form: Partial<Spanning & BlockSizes & Pattern>): string | undefined {
  const isRole = (role: string) => unitRoles.some((each) => each === role);
  const isCount = (count: unknown) => Number.isInteger(count) && (count as number) > 0;
  const { spanning, block, nm } = form;
  if (Object.keys(form).length !== 1) return '';
  if (Array.isArray(spanning))
    return spanning.every(isRole) ? undefined : `a unit spans roles: ${unitRoles.join(', ')}`;
  if (Array.isArray(nm)) {
    const [n, m, ...rest] = nm as readonly number[];
    const fits = isCount(n) && isCount(m) && n! < m! && m! <= longestPattern && rest.length === 0;
    return fits
      ? undefined
      : `a pattern keeps n of every m weights along in, with whole numbers 0 < n < m <= ${longestPattern}`;
  }
  if (block && typeof block === 'object') {
    const fits =
      Object.keys(block).length > 0 && Object.keys(block).every(isRole) && Object.values(block).every(isCount);
    return fits ? undefined : `a block has a whole number above 0 for some of the roles ${unitRoles.join(', ')}`;
  }
  return '';
}

export const isPattern = (granularity: Granularity): granularity is Pattern =>
  typeof granularity === 'object' && 'nm' in granularity;

/** A granularity as text. */
export function inWords(granularity: Granularity): string {
  if (typeof granularity === 'string') return granularity;
  if ('spanning' in granularity) return `spanning ${granularity.spanning.join(', ')}`;
  if ('nm' in granularity) return granularity.nm.join(':');
  return `block of ${Object.entries(granularity.block)
    .map(([role, size]) => `${size} ${role}`)
    .join(' x ')}`;
}

/** The names of the granularities that a kind of layer has. */
export function granularitiesOf(kind: Kind): GranularityName[] {
  return names.filter((name) => spannedRoles(name, kind) !== undefined);
}

/** The roles that a unit spans; undefined where the kind does not have the granularity. */
export function spannedRoles(name: GranularityName, kind: Kind): readonly UnitRole[] | undefined {
  const row: Partial<Record<Family, readonly UnitRole[]>> = table[name];
  return row[families[kind]];
}
