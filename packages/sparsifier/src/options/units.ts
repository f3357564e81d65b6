import { unitsOf, type Axis } from '../engine/record.js';
import { SparsifyError } from '../errors.js';
import { roles as allRoles, type Kind, type Role, type WeightTensor } from '../model/model.js';
import {
  granularitiesOf,
  inWords,
  isPattern,
  spannedRoles,
  spatial,
  type Granularity,
  type Pattern,
  type UnitRole,
} from './granularity.js';

/** The roles that a kind of layer has. */
function rolesOf(kind: Kind): readonly UnitRole[] {
  const rank = /(\d)d$/.exec(kind)?.[1] ?? 0;
  return ['out', 'in', ...spatial.slice(spatial.length - Number(rank))];
}

/**
 * How many neighbours along each role lie in one unit; undefined for a kind that does not have the granularity, or none
 * of the roles that it names.
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

/** The place in the canonical order. The group of a transposed convolution comes before all roles, at 0. */
const orderOf = (role: Role): number => allRoles.indexOf(role) + 1;
const lastOutputOrder = orderOf('multiplier');

/** Of every `of` units along the axis `along`, `keep` stay; the last `rest` of them are too few for a pattern. */
interface UnitPattern {
  readonly keep: number;
  readonly of: number;
  readonly along: number;
  readonly rest: number;
}

/** How a tensor is divided into units. */
export interface Units {
  /** The stored axes; an axis that holds groups and channels is split into two. */
  readonly axes: readonly Axis[];
  /** How many units there are along each stored axis: 1 where units span it. */
  readonly shape: readonly number[];
  /** Whether a unit is all weights of one output channel, so that its bias is removed with it. */
  readonly isChannel: boolean;
  /** Whether a unit is all weights of one or more output channels. */
  readonly isChannels: boolean;
  /** Only for N:M patterns. */
  readonly pattern?: UnitPattern;
}

/** Which output channels of a layer are kept. */
export interface RowMask {
  /** Each is an output channel. */
  readonly units: Units;
  readonly mask: Uint8Array;
}

/** @throws SparsifyError `granularity` for a kind that does not have it, or blocks that do not fit how channels are stored */
export function unitsOfTensor(tensor: WeightTensor, granularity: Granularity): Units {
  const { name, kind, roles, shape, groups, onlyWeight } = tensor;
  const blocks = blocksOf(granularity, kind);
  if (blocks === undefined) {
    throw new SparsifyError('granularity', `a layer of kind ${kind} has no granularity '${inWords(granularity)}'`, {
      subject: name,
      ...(typeof granularity === 'string'
        ? { allowed: granularitiesOf(kind) }
        : { found: `the roles ${rolesOf(kind).join(', ')}` }),
    });
  }
  if (onlyWeight !== undefined && granularity !== 'weight') {
    throw new SparsifyError('granularity', 'only single weights of this layer can be removed', {
      subject: name,
      given: inWords(granularity),
      found: onlyWeight,
      allowed: ['weight'],
    });
  }
  const sizeOf = (role: Role) => (roles.includes(role) ? shape[roles.indexOf(role)]! : 1);
  const isTransposed = kind.startsWith('convTranspose');
  // Output channels stored on two axes: group and channel of a transposed convolution, channel and multiplier of a
  // depthwise kernel.
  const [outer, inner] = isTransposed ? [groups, sizeOf('out')] : [sizeOf('out'), sizeOf('multiplier')];
  const [outerBlock, innerBlock] = inTwo(blocks.out ?? 1, outer, inner, name);
  const spansMatrices = (blocks.out ?? 1) > inner && (blocks.in ?? 1) < sizeOf('in');
  // Of several matrices, each has outputs and inputs of its own.
  if (kind === 'dense' && roles.includes('multiplier') && outer > 1 && spansMatrices) {
    throw new SparsifyError('granularity', 'a unit would extend over several matrices', {
      subject: name,
      given: inWords(granularity),
      found: `${outer} matrices of ${inner} outputs each`,
      allowed: granularitiesOf(kind).filter((each) => each !== 'column'),
    });
  }
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
  // A pattern never removes a whole channel, since n of every m weights stay.
  const isChannels =
    !isPattern(granularity) && axes.every(({ size, block, order }) => order <= lastOutputOrder || block === size);
  return {
    axes,
    shape: parts.map(unitsOf),
    isChannel: isChannels && axes.every(({ block, order }) => order > lastOutputOrder || block === 1),
    isChannels,
    ...(isPattern(granularity) ? patternAlong(axes, granularity) : {}),
  };
}

/** A block of output channels as blocks of the outer and of the inner of the two axes that store them. */
function inTwo(block: number, outer: number, inner: number, name: string): [number, number] {
  if (block >= outer * inner) return [outer, inner];
  if (outer === 1 || inner % block === 0) return [1, block];
  if (block % inner === 0) return [block / inner, inner];
  throw new SparsifyError('granularity', 'blocks of output channels would extend over groups that are stored apart', {
    subject: name,
    given: `blocks of ${block}`,
    found: `${outer} groups of ${inner} output channels`,
    hint: `Use a block size that is a divisor or a multiple of ${inner}`,
  });
}

/** The axis that a pattern runs along: `in`, added with size 1 where a layout does not store it. */
function patternAlong(axes: readonly Axis[], { nm: [keep, of] }: Pattern): Pick<Units, 'axes' | 'pattern'> {
  const order = orderOf('in');
  const stored = axes.findIndex((axis) => axis.order === order);
  const along = stored < 0 ? axes.length : stored;
  const all = stored < 0 ? [...axes, { size: 1, block: 1, order }] : axes;
  return { axes: all, pattern: { keep, of, along, rest: all[along]!.size % of } };
}
