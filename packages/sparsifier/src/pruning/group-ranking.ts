import { element } from '../engine/codes.js';
import { loadEngine, type Engine } from '../engine/engine.js';
import { isKept, unitsOf, weightsOf } from '../engine/record.js';
import type { Model, WeightTensor } from '../model/model.js';
import type { Reducer } from '../options/criteria.js';
import { defaults } from '../options/defaults.js';
import { Listener } from '../options/listener.js';
import type { LeftOut } from '../options/names.js';
import { withoutEffect, type CallOptions } from '../options/options.js';
import { remove, scoresOf } from './call.js';
import type { Requested } from './findings.js';
import { flapScores } from './flap.js';
import type { CoupledLayer, Group, Groups } from './groups.js';
import { maskOf } from './bits.js';
import { unranked, type Job, type Other } from './job.js';
import type { Masks } from './masks.js';
import type { Planner, Request } from './plan.js';
import { customScores } from './snapshots.js';

/** What scores depend on besides the model. */
export interface Scoring {
  /** Which output channels earlier calls kept. */
  readonly masks: Masks;
  /** What the criterion compares the weights of a layer with. */
  readonly otherOf: (tensor: WeightTensor) => Promise<Other | undefined>;
}

/** Groups to rank. */
export interface RankingOfGroups {
  readonly model: Model;
  readonly planner: Planner;
  readonly found: Groups;
  readonly pruned: readonly Group[];
  /** Layers that are none of these groups. */
  readonly leftOut: readonly LeftOut[];
  /** The channels that are gone already. */
  readonly earlier: ReadonlyMap<Group, ReadonlySet<number>>;
  /** What is asked, given a planner whose layers are the groups. */
  readonly requestOf: (planner: Planner) => Request;
}

/** Groups after the ranking. */
export interface RankedGroups {
  /** The groups for which there was an amount. */
  readonly ranked: readonly Group[];
  /** The channels that they lose. */
  readonly removed: ReadonlyMap<Group, ReadonlySet<number>>;
  readonly requested: readonly Requested[];
  readonly notes: readonly string[];
}

/**
 * Ranks channels as the units of layers are ranked: each group is a layer, and each of its channels a unit with one weight, so
 * that amounts, limits, rounding, budgets and earlier calls mean the same.
 */
export async function rankGroups(
  scoring: Scoring,
  { model, planner, found, pruned, leftOut, earlier, requestOf }: RankingOfGroups,
  { roundTo, signal }: CallOptions,
): Promise<RankedGroups> {
  const engine = await loadEngine();
  const tensors = pruned.map(tensorOf);
  const groupOf = new Map(tensors.map((tensor, place) => [tensor, pruned[place]!]));
  const standIn = modelOf(tensors);
  const scores = new Map<string, Float32Array<ArrayBuffer>>();
  const criteria = ({ name }: { readonly name: string }) => scores.get(name)!;
  const ranking = planner.forGroups(standIn, criteria, leftOut);
  const request = requestOf(ranking);
  const units = ranking.unitsOf(request.tensors);
  const shares = ranking.shares(request, units);
  const asked = request.tensors.map((tensor) => groupOf.get(tensor)!);
  const scored = await scoresOfGroups(engine, scoring, model, planner, found, asked, signal);
  for (const [place, { name }] of request.tensors.entries()) scores.set(name, scored[place]!);
  const groups = new Map(shares.selections.flatMap(({ members }, group) => members.map((member) => [member, group])));
  const jobs: Job[] = [];
  for (const [place, tensor] of request.tensors.entries()) {
    const gone = earlier.get(asked[place]!)!;
    const isThere = asked[place]!.channels.map((channel) => !gone.has(channel));
    jobs.push(
      ranking.job(tensor, units[place]!, {
        earlier: gone.size > 0 ? maskOf(isThere) : undefined,
        saved: undefined,
        other: await customScores(tensor, criteria, standIn, { least: -Infinity, seen: undefined }),
        group: groups.get(place)!,
        limit: shares.limits[place]!,
      }),
    );
  }
  const removes = shares.selections.map(({ remove }) => remove);
  const plan = { model: standIn, jobs, removes, roundTo, restorable: false, signal, listener: new Listener() };
  const done = await remove(engine, plan);
  const removed = asked.map(
    ({ channels }, place) => new Set(channels.filter((_, unit) => !isKept(done[place]!.mask, unit))),
  );
  return {
    ranked: asked,
    removed: new Map(asked.map((group, place) => [group, removed[place]!])),
    requested: shares.requested,
    notes: [...new Set([...withoutEffect(planner.given), ...shares.notes])],
  };
}

/** A group as a layer, whose weights are its channels. */
const tensorOf = ({ name, aliases, channels }: Group): WeightTensor => ({
  ...{ name, aliases, kind: 'dense', roles: ['out', 'in'], shape: [channels.length, 1], groups: 1 },
  ...{ values: { dtype: 'float32', length: channels.length }, partners: [], notes: [] },
});

/** A model with layers that are all ones, and that nothing keeps. */
const modelOf = (tensors: readonly WeightTensor[]): Model => ({
  ...{ tensors, skipped: [], weights: tensors.reduce((sum, { values }) => sum + values.length, 0) },
  load: async (engine, { length }) => {
    const bytes = onesOf(length);
    const block = await engine.allocate(bytes.length);
    await block.write(bytes);
    return { block, offset: 0, bytes: bytes.length, release: () => block.free() };
  },
  store: async () => {},
  copy: ({ length }) => onesOf(length),
});

const onesOf = (length: number) => new Uint8Array(new Float32Array(length).fill(1).buffer);

/**
 * The score of each channel of groups. Each layer that makes channels is scored by itself, filter by filter; the score of a
 * channel is what the reducer makes of all of its weights: in float64 from the scores of filters, rounded once. `random`
 * draws once for each channel, as for the first filter of it.
 */
async function scoresOfGroups(
  engine: Engine,
  { otherOf }: Scoring,
  model: Model,
  planner: Planner,
  { layers }: Groups,
  groups: readonly Group[],
  signal: AbortSignal | undefined,
): Promise<Float32Array<ArrayBuffer>[]> {
  const { statistics, reducer = defaults.reducer } = planner.given;
  if (planner.isOfReaders && statistics) {
    const scores = await flapScores(model, layers.values(), statistics);
    return groups.map(({ channels }) => Float32Array.from(channels, (channel) => scores.get(channel) ?? 0));
  }
  const producers = [...new Set(groups.flatMap((group) => group.producers))];
  const recipe = { ...planner.recipe, normalizer: 0 };
  const jobs: Job[] = [];
  for (const { tensor, units } of producers) {
    const job = planner.job(tensor, units, { ...unranked, earlier: undefined, saved: undefined });
    jobs.push({ ...job, recipe, other: await otherOf(tensor) });
  }
  const plan = { model, jobs, removes: [], roundTo: undefined, restorable: false, signal, listener: new Listener() };
  const found = await scoresOf(engine, plan);
  const scores = new Map(producers.map((producer, place) => [producer, found[place]!]));
  const isDrawn = recipe.element === element.random;
  return groups.map((group) => reduced(group, scores, isDrawn ? first : reductions[reducer]));
}

/** How the scores of several filters become one. */
interface Reduction {
  readonly start: number;
  /** @param size how many weights a filter has @param count how many those before it have */
  add(total: number, score: number, size: number, count: number): number;
  finish?(total: number, count: number): number;
}

const reductions: Readonly<Record<Reducer, Reduction>> = {
  mean: { start: 0, add: (total, score, size) => total + size * score, finish: (total, count) => total / count },
  sum: { start: 0, add: (total, score) => total + score },
  l2: { start: 0, add: (total, score) => total + score ** 2, finish: Math.sqrt },
  max: { start: -Infinity, add: (total, score) => Math.max(total, score) },
};

const first: Reduction = { start: 0, add: (total, score, _, count) => (count === 0 ? score : total) };

/** The scores of the channels of a group from those of the filters of all layers that make them. */
function reduced(
  { channels, producers }: Group,
  scores: ReadonlyMap<CoupledLayer, Float32Array>,
  { start, add, finish = (total) => total }: Reduction,
): Float32Array<ArrayBuffer> {
  const places = new Map(channels.map((channel, place) => [channel, place]));
  const totals = new Float64Array(channels.length).fill(start);
  const counts = new Float64Array(channels.length);
  for (const producer of producers) {
    const { axes } = producer.units;
    const size = weightsOf(axes) / unitsOf(axes);
    for (const [unit, channel] of producer.rows.entries()) {
      const place = places.get(channel);
      if (place === undefined) continue;
      totals[place] = add(totals[place]!, scores.get(producer)![unit]!, size, counts[place]!);
      counts[place]! += size;
    }
  }
  return Float32Array.from(totals, (total, place) => finish(total, counts[place]!));
}
