import { unitsOf } from '../engine/record.js';
import { SparsifyError } from '../errors.js';
import type { Kind, Model, Skipped, WeightTensor } from '../model/model.js';
import { inWords, isPattern, type Granularity } from '../options/granularity.js';
import type { SparsifierOptions } from '../options/options.js';
import { eachAlone, type Ranking } from '../options/rankings.js';
import type { DecidingRule } from '../options/rules.js';
import { unitsOfTensor } from '../options/units.js';
import type { Planner } from './plan.js';

/** What a call on the whole model does with one layer, and why. */
export interface Explanation {
  readonly name: string;
  /** Undefined for a tensor that cannot be pruned, as are its shape and its units. */
  readonly kind: Kind | undefined;
  /** In stored order. */
  readonly shape: readonly number[] | undefined;
  /** Whether the layer is pruned. */
  readonly selected: boolean;
  /** What decided that. */
  readonly rule: DecidingRule;
  /** The same as a sentence, with what the layer is ranked with. */
  readonly reason: string;
  /** How many units the layer has; undefined where it does not have the granularity. */
  readonly units: number | undefined;
  /** How many of its units are removed; undefined where no sparsity was given. */
  readonly removedUnits: number | undefined;
  /** Only with `coupled`: the names of the groups of its output channels, as far as they are pruned. */
  readonly groups?: readonly string[];
}

/** @param removed how many units of each layer are removed, for the layers that the sparsity names, if one was given */
export function explanationsOf(
  { tensors, skipped }: Model,
  planner: Planner,
  options: SparsifierOptions,
  removed?: ReadonlyMap<WeightTensor, number>,
): Explanation[] {
  const chosen = planner.chosen();
  const rankings = isPattern(planner.granularity) ? eachAlone(chosen) : planner.rankings(chosen);
  const rankingOf = new Map(
    rankings.flatMap((ranking) => ranking.members.map((member) => [chosen[member]!, ranking] as const)),
  );
  const layers = tensors.map((tensor, position): Explanation => {
    const { name, kind, shape } = tensor;
    const decision = planner.decisions[position]!;
    const ranking = rankingOf.get(tensor);
    const isNamed = removed === undefined || removed.has(tensor);
    const more = ranking && (isNamed ? comparison(ranking, planner, options) : 'the sparsity does not name it');
    return {
      name,
      kind,
      shape,
      selected: decision.selected && isNamed,
      rule: decision.selected && !isNamed ? { name: 'sparsity', value: undefined } : decision.rule,
      reason: more ? `${decision.reason}; ${more}` : decision.reason,
      units: countOf(tensor, planner.granularity),
      removedUnits: removed && (removed.get(tensor) ?? 0),
    };
  });
  return [...layers, ...skipped.map(ofSkipped)];
}

const ofSkipped = ({ name, reason }: Skipped): Explanation => ({
  ...{ name, kind: undefined, shape: undefined, units: undefined, removedUnits: undefined },
  ...{ selected: false, rule: { name: 'skipped', value: undefined }, reason },
});

/** What is known of the groups of channels that a layer makes, passes on or reads. */
export interface ChannelsOfLayer {
  /** The groups of its output channels that are pruned. */
  readonly groups: readonly string[];
  /** Its group, or what keeps its channels. */
  readonly reason: string;
  /** How many of its output channels are removed; undefined where no sparsity was given. */
  readonly removed: number | undefined;
}

/** The same where channels are coupled. */
export function groupExplanationsOf(
  { tensors, skipped }: Model,
  planner: Planner,
  channelsOf: (tensor: WeightTensor) => ChannelsOfLayer,
): Explanation[] {
  const layers = tensors.map((tensor, position): Explanation => {
    const { name, kind, shape } = tensor;
    const { selected, rule, reason } = planner.decisions[position]!;
    const channels = channelsOf(tensor);
    const isPruned = channels.groups.length > 0;
    return {
      ...{ name, kind, shape, selected: isPruned },
      rule: selected && !isPruned ? { name: 'coupled', value: undefined } : rule,
      reason: `${reason}; ${channels.reason}`,
      units: countOf(tensor, planner.granularityOf(tensor)),
      removedUnits: channels.removed,
      groups: channels.groups,
    };
  });
  return [...layers, ...skipped.map(ofSkipped)];
}

/** What a layer is ranked with, in words. */
function comparison(
  { name, members }: Ranking,
  { granularity, context }: Planner,
  { budget, rankTogether }: SparsifierOptions,
): string {
  if (isPattern(granularity)) return `${inWords(granularity)} along its input channels`;
  if (context === 'local' || (rankTogether && !Object.hasOwn(rankTogether, name))) return 'ranked by itself';
  const whole = rankTogether ? `ranking ${name}` : name;
  return budget !== undefined && budget !== 'lamp'
    ? `its part of ${whole} is given by ${budget}`
    : `ranked with ${members.length - 1} others of ${whole}${budget ? ` by ${budget}` : ''}`;
}

function countOf(tensor: WeightTensor, granularity: Granularity): number | undefined {
  try {
    return unitsOf(unitsOfTensor(tensor, granularity).axes);
  } catch (error) {
    if (error instanceof SparsifyError && error.code === 'granularity') return undefined;
    throw error;
  }
}
