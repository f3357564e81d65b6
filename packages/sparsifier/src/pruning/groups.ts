import { SparsifyError } from '../errors.js';
import type { ChannelsOfWeight, NetworkChannels } from '../formats/removal.js';
import { isDepthwise } from '../model/channels.js';
import type { Model, Role, WeightTensor } from '../model/model.js';
import { productOf } from '../model/numbers.js';
import type { Named } from '../options/names.js';
import type { Decision } from '../options/rules.js';
import { unitsOfTensor, type Units } from '../options/units.js';
import type { Granularity } from '../options/granularity.js';

/** Where channels are in the weights of a layer. */
export interface CoupledLayer {
  readonly tensor: WeightTensor;
  /** Each is an output channel. */
  readonly units: Units;
  /** The channel of each unit, in stored order of the units; -1 for one that has to stay. */
  readonly rows: Int32Array;
  /** For each operator that reads inputs with these weights, the channel of each input, group by group; -1 as above. */
  readonly reads: readonly Int32Array[];
}

/** Channels of several layers of which those with the same place stay or go together: a channel is a unit. */
export interface Group extends Named {
  readonly channels: readonly number[];
  /** The layers that make them, in model order. */
  readonly producers: readonly CoupledLayer[];
  /** Why no call can prune it. */
  readonly obstacle: string | undefined;
  /** The layer that the rules leave out, and why. */
  readonly leftOut: string | undefined;
}

/** The groups of a network. */
export interface Groups {
  /** In model order of their first producers. */
  readonly groups: readonly Group[];
  /** All layers whose outputs or inputs have channels, by tensor, in model order. */
  readonly layers: ReadonlyMap<WeightTensor, CoupledLayer>;
  /** What keeps the output channels of layers without any that may go. */
  readonly kept: ReadonlyMap<WeightTensor, string>;
  readonly notes: readonly string[];
}

/** Which weights of a layer are a channel of its outputs: of an embedding, those of a feature. */
export const channelGranularity = ({ kind }: Pick<WeightTensor, 'kind'>): Granularity =>
  kind === 'embedding' ? 'column' : 'filter';

/** Finds the groups of a model. @param decisions for each tensor of the model */
export function groupsOfModel(
  { tensors }: Pick<Model, 'tensors'>,
  decisions: readonly Decision[],
  network: NetworkChannels,
): Groups {
  const weights = new Map(network.weights.map((weight) => [weight.name, weight]));
  const layers = new Map<WeightTensor, CoupledLayer>();
  const kept = new Map<WeightTensor, string>();
  /** Why single channels of a layer cannot be removed. */
  const obstacles = new Map<WeightTensor, string>();
  for (const tensor of tensors) {
    const weight = weights.get(tensor.name);
    if (weight === undefined) {
      kept.set(tensor, 'no operator that is followed reads it');
      continue;
    }
    const units = unitsOf(tensor, obstacles);
    const axes = outputAxes(tensor, units, weight);
    const rows = rowsOf(units, axes);
    const reads = tensor.onlyWeight === undefined ? weight.reads : [];
    if (!rows.some(isOpen)) kept.set(tensor, axes.find(({ keptBy }) => keptBy !== undefined)?.keptBy ?? 'nothing');
    if ([rows, ...reads].some((channels) => channels.some(isOpen))) layers.set(tensor, { tensor, units, rows, reads });
  }
  const groupOf = new Map(network.groups.flatMap((channels, place) => channels.map((channel) => [channel, place])));
  const producers = network.groups.map((): CoupledLayer[] => []);
  for (const layer of layers.values()) {
    if (isDepthwise(layer.tensor) && !obstacles.has(layer.tensor)) continue;
    for (const place of new Set(Array.from(layer.rows, (channel) => groupOf.get(channel))))
      if (place !== undefined) producers[place]!.push(layer);
  }
  const others = network.groups.map((): string | undefined => undefined);
  const known = new Set(tensors.map(({ name }) => name));
  for (const weight of network.weights) {
    if (!weight.isMaker || known.has(weight.name)) continue;
    for (const channel of madeBy(weight)) {
      const place = groupOf.get(channel);
      if (place !== undefined) others[place] ??= weight.name;
    }
  }
  const places = new Map(tensors.map((tensor, place) => [tensor, place]));
  const first = (place: number) => places.get(producers[place]![0]!.tensor)!;
  const order = [...network.groups.keys()]
    .filter((place) => producers[place]!.length > 0)
    .sort((one, other) => first(one) - first(other));
  const names = namesOf(order.map((place) => producers[place]![0]!.tensor.name));
  const groups = order.map((place, index): Group => {
    const own = producers[place]!;
    const name = names[index]!;
    const all = own.flatMap(({ tensor }) => [tensor.name, ...tensor.aliases]);
    const stuck = own.find(({ tensor }) => obstacles.has(tensor))?.tensor;
    const excluded = own.find(({ tensor }) => !decisions[places.get(tensor)!]!.selected)?.tensor;
    return {
      name,
      // A name that several groups could have is that of the first.
      aliases: all.filter((each) => !names.includes(each)),
      channels: network.groups[place]!,
      producers: own,
      obstacle: stuck
        ? `${stuck.name}: ${obstacles.get(stuck)}`
        : others[place] && `${others[place]} makes its channels, too, and is not the weight of a layer`,
      leftOut: excluded && `${excluded.name}: ${decisions[places.get(excluded)!]!.reason}`,
    };
  });
  return { groups, layers, kept, notes: network.notes };
}

const isOpen = (channel: number): boolean => channel >= 0;

/** Each name once: a layer may be the first that makes the channels of several groups. */
function namesOf(first: readonly string[]): string[] {
  const counts = new Map<string, number>();
  return first.map((name) => {
    const count = (counts.get(name) ?? 0) + 1;
    counts.set(name, count);
    return count === 1 ? name : `${name} (${count})`;
  });
}

function unitsOf(tensor: WeightTensor, obstacles: Map<WeightTensor, string>): Units {
  try {
    return unitsOfTensor(tensor, channelGranularity(tensor));
  } catch (error) {
    if (!(error instanceof SparsifyError) || error.code !== 'granularity') throw error;
    obstacles.set(tensor, error.message);
    return unitsOfTensor(tensor, 'weight');
  }
}

/** An axis of a weight along which its units are output channels. */
interface OutputAxis {
  /** The channels of each index. */
  readonly channels: Int32Array;
  /** How far two neighbours are apart, in units. */
  readonly stride: number;
  readonly keptBy: string | undefined;
}

const outputRoles: readonly Role[] = ['out', 'multiplier'];

/** The axes with output channels. Several stored axes may be one axis of the layer, as directions and gates are. */
function outputAxes({ kind, roles, shape }: WeightTensor, units: Units, weight: ChannelsOfWeight): OutputAxis[] {
  const isOutput = (role: Role) => (kind === 'embedding' ? role === 'in' : outputRoles.includes(role));
  const found: OutputAxis[] = [];
  let stored = weight.shape.length;
  let inner = 1;
  for (const [axis, size] of [...shape.entries()].reverse()) {
    let within = 1;
    while (stored > 0 && (within < size || weight.shape[stored - 1] === 1)) {
      stored--;
      // A transposed convolution has its groups on the axis of its inputs.
      if (isOutput(roles[axis]!) && units.shape[axis] === size)
        found.push({ channels: weight.axes[stored]!, stride: inner * within, keptBy: weight.keptBy[stored] });
      within *= weight.shape[stored]!;
    }
    inner *= units.shape[axis]!;
  }
  return found;
}

/** The channel of each unit. */
const rowsOf = ({ shape }: Units, axes: readonly OutputAxis[]): Int32Array =>
  Int32Array.from({ length: productOf(shape) }, (_, unit) => {
    const found = axes.map(({ channels, stride }) => channels[Math.floor(unit / stride) % channels.length]!);
    // Channels along several axes would be a grid, of which one axis is open.
    return found.find(isOpen) ?? -1;
  });

/** The channels that a weight makes: those on its axes that it does not read. */
function madeBy({ axes, reads }: ChannelsOfWeight): Set<number> {
  const read = new Set(reads.flatMap((each) => [...each]));
  return new Set(axes.flatMap((axis) => [...axis]).filter((channel) => isOpen(channel) && !read.has(channel)));
}
