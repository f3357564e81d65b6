import { productOf, sumOf } from '../../../model/numbers.js';
import type { Axis } from '../../../structure/coupling.js';
import type { Keeping } from '../../../structure/plan.js';
import type { Weights } from '../../../structure/weights.js';
import { channelsAlong } from '../../../structure/groups.js';
import type { BlockedChannels, ChannelGroup, ChannelsOfWeight } from '../../removal.js';
import type { Constant } from '../graph.js';
import type { Followed } from './follow.js';
import type { OnnxRemoval } from './remove.js';

/** Gives a constant the name of its layer, or its own. */
export type NameOf = (constant: Constant) => string;

const reasons: Readonly<Record<Keeping, string>> = {
  used: 'layers use them, and they are not constant',
  carrier: 'they carry the constants of others into a padded convolution',
  last: 'one channel has to stay',
  rounding: 'rounding keeps them',
};

/** The layers that make channels, in the order of the graph. */
interface Maker {
  readonly name: string;
  readonly weights: Weights;
}

function makersIn({ readers, uses }: Followed, nameOf: NameOf): Maker[] {
  const constants = new Map(uses.map(({ tensor, constant }) => [tensor.view?.stored, constant]));
  const makers = new Map<Constant, Maker>();
  for (const { weights } of readers) {
    const constant = weights && constants.get(weights.view.stored);
    if (weights !== undefined && constant !== undefined && !makers.has(constant))
      makers.set(constant, { name: nameOf(constant), weights });
  }
  return [...makers.values()];
}

/** The channels of the weights of layers, and of others with which operators compute channels. */
export function channelsOfWeights(
  { coupling, uses, readers }: Followed,
  layers: ReadonlyMap<Constant, readonly string[]>,
): ChannelsOfWeight[] {
  const tensors = new Map(uses.map(({ constant, tensor }) => [constant, tensor]));
  const constants = new Map(uses.map(({ constant, tensor }) => [tensor.view?.stored, constant]));
  const reads = new Map<Constant, Int32Array[]>();
  for (const { axis, weights } of readers) {
    const constant = weights && constants.get(weights.view.stored);
    if (constant === undefined) continue;
    const known = reads.get(constant) ?? [];
    known.push(channelsAlong(coupling, axis));
    reads.set(constant, known);
  }
  const found: ChannelsOfWeight[] = [];
  for (const [constant, { axes }] of tensors) {
    if (!reads.has(constant) && !layers.has(constant)) continue;
    found.push({
      name: layers.get(constant)?.[0] ?? constant.name,
      shape: constant.tensor.shape,
      axes: axes.map((axis) => channelsAlong(coupling, axis)),
      reads: reads.get(constant) ?? [],
      keptBy: axes.map((axis) =>
        axis.reduce<string | undefined>((why, id) => why ?? coupling.obstacleOf(id), undefined),
      ),
      isMaker: reads.has(constant),
    });
  }
  return found;
}

/** The groups of channels that can go together. */
export function groupsIn({ followed, removal }: OnnxRemoval, nameOf: NameOf): ChannelGroup[] {
  const { coupling, uses } = followed;
  const { gone, kept } = removal;
  const groupOf = new Int32Array(coupling.size).fill(-1);
  for (const [place, { channels }] of removal.groups.entries()) for (const root of channels) groupOf[root] = place;
  const layers = removal.groups.map(() => new Set<string>());
  const first = removal.groups.map((): { name: string; axis: Axis } | undefined => undefined);
  const visit = (name: string, axis: Axis, isMaker: boolean) => {
    for (const root of coupling.open(axis)) {
      const place = groupOf[root]!;
      first[place] ??= { name, axis };
      if (isMaker) layers[place]!.add(name);
    }
  };
  for (const { name, weights } of makersIn(followed, nameOf)) visit(name, weights.outputs, true);
  for (const { constant, tensor } of uses) for (const axis of tensor.axes) visit(nameOf(constant), axis, false);
  return removal.groups.flatMap(({ channels }, place): ChannelGroup[] => {
    const named = first[place];
    // Channels of no stored tensor are no one's.
    if (named === undefined) return [];
    const counts = new Map<Keeping, number>();
    for (const root of channels) {
      const keeping = kept.get(root);
      if (keeping !== undefined) counts.set(keeping, (counts.get(keeping) ?? 0) + 1);
    }
    const count = (keeping: Keeping) => counts.get(keeping) ?? 0;
    const removed = channels.filter((root) => gone.has(root)).length;
    const goes = (id: number) => groupOf[coupling.find(id)] === place && gone.has(coupling.find(id));
    return [
      {
        name: named.name,
        layers: layers[place]!.size > 0 ? [...layers[place]!] : [named.name],
        channels: channels.length,
        dead: channels.length - count('used'),
        exact: removed + count('rounding'),
        kept: channels.length - removed,
        removed: [...named.axis.keys()].filter((index) => goes(named.axis[index]!)),
        reasons: Array.from(counts, ([keeping, channels]) => ({
          ...{ reason: reasons[keeping], channels },
          isDead: keeping !== 'used',
        })),
      },
    ];
  });
}

/** Output channels of layers that cannot go. */
export function blockedIn(followed: Followed, nameOf: NameOf): BlockedChannels[] {
  const { coupling } = followed;
  const found = new Map<string, { layers: Set<string>; channels: number; dead: number; parameters: number }>();
  for (const { name, weights } of makersIn(followed, nameOf)) {
    for (const [output, id] of weights.outputs.entries()) {
      const by = coupling.obstacleOf(id);
      if (by === undefined) continue;
      const each = found.get(by) ?? { layers: new Set(), channels: 0, dead: 0, parameters: 0 };
      found.set(by, each);
      each.layers.add(name);
      each.channels++;
      if (weights.hasWeights(output)) continue;
      each.dead++;
      each.parameters += weights.inputsPerGroup * weights.places;
    }
  }
  return Array.from(found, ([by, each]) => ({ by, ...each, layers: [...each.layers] })).sort(
    (one, other) => other.parameters - one.parameters || other.channels - one.channels,
  );
}

/** How many numbers of constants lie at an index that may go. */
export function touchableIn({ coupling, uses }: Followed): number {
  const counts = new Map<Constant, number>();
  for (const { constant, tensor } of uses) {
    if (tensor.view === undefined) continue;
    const closed = tensor.axes.map((axis) => axis.length - coupling.open(axis).length);
    const touchable = productOf(tensor.shape) - productOf(closed);
    counts.set(constant, Math.max(counts.get(constant) ?? 0, touchable));
  }
  return sumOf([...counts.values()]);
}
