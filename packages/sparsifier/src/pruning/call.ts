import type { Engine } from '../engine/engine.js';
import { encode, unitsOf, weightsOf, type Entry, type Outcome, type Squares } from '../engine/record.js';
import { select, wordBytes, writeTable } from '../engine/verbs.js';
import { SparsifyError } from '../errors.js';
import type { WeightTensor } from '../model/model.js';
import { rounded } from '../options/amounts.js';
import { showsInfinity } from '../options/criteria.js';
import type { RowMask } from '../options/units.js';
import { both, unitsRemoved, weightsRemoved } from './bits.js';
import { PruningCall, type Changing } from './context.js';
import type { Counts, Done, Job, Plan } from './job.js';
import { load, maskOf, partnerEntries, scoresIn, type Loaded } from './loaded.js';
import { prepareSaving, removedTable } from './removed.js';

// A call is a sequence of states. Each step takes the state before it and gives the next one: loaded, inspected,
// ranked, changed. All that can fail comes before the change.

/**
 * Scores, selects, masks and applies.
 * @throws SparsifyError `weights` if a weight is not finite; `memory` if there is no room. Nothing is changed then
 */
export const remove = (engine: Engine, plan: Plan): Promise<Done[]> =>
  PruningCall.run(engine, plan, async (call) => {
    const loaded = await load(call);
    const inspected = await inspect(loaded);
    const ranked = await rankUnits(inspected);
    const changed = await applyMasks(ranked);
    return finish(changed);
  });

/** How many units of each job {@link remove} would remove; nothing is changed. */
export const rank = (engine: Engine, plan: Plan): Promise<readonly number[]> =>
  PruningCall.run(engine, plan, async (call) => {
    const loaded = await load(call);
    const inspected = await inspect(loaded);
    const ranked = await rankUnits(inspected);
    return ranked.removedUnits;
  });

/** The masks that {@link remove} would make; nothing is changed. */
export const masksOf = (engine: Engine, plan: Plan): Promise<Uint8Array[]> =>
  PruningCall.run(engine, plan, async (call) => {
    const loaded = await load(call);
    const inspected = await inspect(loaded);
    const { by } = await rankUnits(inspected);
    if (by === 'cuts') await call.inBatches(loaded.table, 'mask');
    return Promise.all(plan.jobs.map((_, index) => maskOf(loaded, index)));
  });

/**
 * Scores the one job of a plan, and calls a function that looks at the scores. Nothing is changed.
 * @param look gets the address of the job's record, and says whether a score may be infinite or not a number
 */
export const score = (engine: Engine, plan: Plan, look: (record: number) => Promise<boolean>): Promise<void> =>
  PruningCall.run(engine, plan, async (call) => {
    const loaded = await load(call);
    const inspected = await inspect(loaded);
    const { scored } = await scoreUnits(inspected);
    await checkScores(scored, await look(scored.table.block.address));
  });

/**
 * The scores of the units of each job, in stored order. Nothing is changed.
 * @throws SparsifyError `weights` if a weight is not finite
 */
export const scoresOf = (engine: Engine, plan: Plan): Promise<Float32Array<ArrayBuffer>[]> =>
  PruningCall.run(engine, plan, async (call) => {
    const loaded = await load(call, { keepsScores: true });
    await refuseNotFinite(loaded);
    const { scored } = await scoreUnits({ inspected: loaded });
    return Promise.all(plan.jobs.map((_, index) => scoresIn(scored, index)));
  });

/** Zeroes what masks remove, without scoring. @param masks one for each job */
export const removeKnown = (engine: Engine, plan: Plan, masks: readonly Pick<RowMask, 'mask'>[]): Promise<Done[]> =>
  PruningCall.run(engine, plan, async (call) => {
    const loaded = await load(call);
    const ranked = await takeMasks(loaded, masks);
    const changed = await applyMasks(ranked);
    return finish(changed);
  });

/** Puts back the numbers that earlier masks removed. */
export const restore = (engine: Engine, plan: Plan): Promise<Counts[]> =>
  PruningCall.run(engine, plan, async (call) => {
    const loaded = await load(call);
    const restored = await putBack(loaded);
    const zeros = await store(restored, () => true);
    return zeros.map((count) => ({ zeros: count, removedUnits: 0, removedWeights: 0 }));
  });

/** All weights can be ranked, or their scores will tell where one cannot. */
interface Inspected {
  readonly inspected: Loaded;
}

/** The scores are in memory, unless they are computed from the weights each time. */
interface Scored {
  readonly scored: Loaded;
}

/** It is known which units are removed: by cuts in the table, or by masks in the scratch memory. */
interface Ranked {
  readonly ranked: Loaded;
  readonly by: 'cuts' | 'masks';
  /** How many, for each job. */
  readonly removedUnits: readonly number[];
}

/** The numbers in memory are changed; the model does not have them yet. */
interface Changed {
  readonly changed: Loaded;
  readonly call: PruningCall<Changing>;
  /** For each job. */
  readonly zeros: readonly number[];
}

/** A change that removed units. */
interface Removed extends Changed, Pick<Ranked, 'removedUnits'> {
  readonly masks: readonly Uint8Array[];
  /** For each job, of the numbers as they were before the call. */
  readonly squares: readonly Squares[];
  /** For each job, where removed numbers are kept. */
  readonly saved: readonly (readonly Uint8Array[])[] | undefined;
}

/** Refuses weights that cannot be ranked, unless their scores will tell. */
async function inspect(loaded: Loaded): Promise<Inspected> {
  if (!loaded.call.plan.jobs.every(scoresTell)) await refuseNotFinite(loaded);
  return { inspected: loaded };
}

/** Whether the scores that are compared tell of weights that cannot be ranked. Scores of removed units are not compared. */
const scoresTell = ({ units: { axes }, recipe, earlier }: Job): boolean =>
  earlier === undefined && showsInfinity(recipe, unitsOf(axes) === weightsOf(axes));

/** Refuses weights that cannot be ranked, where the scores had to tell. Sums of finite weights may be infinite, too. */
async function checkScores(loaded: Loaded, mayBeInfinite: boolean): Promise<void> {
  if (mayBeInfinite && loaded.call.plan.jobs.every(scoresTell)) await refuseNotFinite(loaded);
}

async function refuseNotFinite({ call, table }: Loaded): Promise<void> {
  await call.inBatches(table, 'inspect');
  for (const [index, { firstNotFinite }] of (await table.read()).entries()) {
    if (firstNotFinite !== undefined) throw notFinite(call.plan.jobs[index]!.tensor, firstNotFinite);
  }
}

/** @param index that of the weight, in stored order */
export function notFinite(tensor: WeightTensor, index: number): SparsifyError {
  const place: number[] = [];
  let rest = index;
  for (const size of [...tensor.shape].reverse()) {
    place.unshift(rest % size);
    rest = Math.floor(rest / size);
  }
  return new SparsifyError('weights', 'a weight is infinite or not a number, so weights cannot be compared', {
    subject: tensor.name,
    found: `at index ${index}, [${place.join(', ')}] of shape [${tensor.shape.join(', ')}]`,
    hint: 'Correct the weights, or `exclude` this layer',
  });
}

async function scoreUnits({ inspected: loaded }: Inspected): Promise<Scored> {
  await loaded.call.inBatches(loaded.table, 'score');
  return { scored: loaded };
}

/** Scores all units, and finds out which are removed. */
async function rankUnits(inspected: Inspected): Promise<Ranked> {
  const { scored } = await scoreUnits(inspected);
  const { call, table, scratch } = scored;
  const { jobs, removes, roundTo } = call.plan;
  if (jobs.some(({ units }) => units.pattern)) {
    await call.inBatches(table, 'nm');
    const outcomes = await table.read();
    await checkScores(
      scored,
      outcomes.some(({ mayBeInfinite }) => mayBeInfinite),
    );
    return { ranked: scored, by: 'masks', removedUnits: outcomes.map(({ removed }) => removed) };
  }
  const removesAddress = scratch.block.address + scratch.removesOffset;
  await scratch.block.write(wordBytes(removes), scratch.removesOffset);
  await call.run([['select', table.block.address, jobs.length, removesAddress, removes.length]]);
  const cuts = await table.read();
  await checkScores(
    scored,
    cuts.some(({ mayBeInfinite }) => mayBeInfinite),
  );
  const removedUnits = cuts.map(({ removed }, index) => rounded(removed, unitsOf(jobs[index]!.units.axes), roundTo));
  const again = jobs.flatMap((_, index) =>
    cuts[index]!.settled && cuts[index]!.removed === removedUnits[index] ? [] : [index],
  );
  if (again.length > 0) await cutAlone(scored, again, removedUnits, cuts);
  return { ranked: scored, by: 'cuts', removedUnits };
}

/**
 * Where a limit or rounding changed what the common ranking gave, the cut comes from a ranking of the layer by itself.
 */
async function cutAlone(
  { call, table }: Loaded,
  indices: readonly number[],
  removedUnits: readonly number[],
  common: readonly Outcome[],
): Promise<void> {
  const counts = indices.map((index) => removedUnits[index]!);
  const alone = indices.map((index, group): Entry => ({ ...table.entries[index]!, group, limit: counts[group]! }));
  const outcomes = await select(call.engine, alone, counts);
  const cuts = common.map(({ cut }) => cut);
  for (const [place, index] of indices.entries()) cuts[index] = outcomes[place]!.cut;
  await table.block.write(encode(table.entries.map((entry, index) => ({ ...entry, cut: cuts[index] }))));
}

/** Takes masks that are known as those of this call. */
async function takeMasks(loaded: Loaded, masks: readonly Pick<RowMask, 'mask'>[]): Promise<Ranked> {
  const { scratch } = loaded;
  const removedUnits: number[] = [];
  for (const [index, { mask }] of masks.entries()) {
    await scratch.block.write(mask, scratch.places[index]!.mask);
    removedUnits.push(await unitsRemoved(mask));
  }
  return { ranked: loaded, by: 'masks', removedUnits };
}

/** Zeroes what the masks remove, in all layers. */
async function applyMasks(state: Ranked): Promise<Removed> {
  const { ranked: loaded, by, removedUnits } = state;
  const { call, regions, table, scratch } = loaded;
  const { jobs, restorable } = call.plan;
  if (by === 'cuts' && !restorable && regions.every(({ partners }) => partners.length === 0)) {
    return removeAtOnce(state);
  }
  if (by === 'cuts') await call.inBatches(table, 'mask');
  const masks: Uint8Array[] = [];
  const zeroing: Uint8Array[] = [];
  for (const [index, { earlier }] of jobs.entries()) {
    const mask = await maskOf(loaded, index);
    masks.push(mask);
    // Units that come back do so as zeros, whatever was written there since they were removed.
    zeroing.push(earlier ? await both(mask, earlier) : mask);
    if (earlier) await scratch.block.write(zeroing[index]!, scratch.places[index]!.mask);
  }
  const entries = await partnerEntries(loaded, zeroing);
  const partners = call.hold(await writeTable(call.engine, entries.flat()));
  const saving = restorable ? await prepareSaving(loaded, masks) : undefined;

  const committed = call.committed();
  const { saved, returned } = (await saving?.(committed)) ?? {};
  await committed.inBatches(table, 'apply');
  await committed.run([['apply', partners.block.address, partners.entries.length]]);
  const outcomes = await table.read();
  return {
    changed: loaded,
    call: committed,
    zeros: outcomes.map(({ zeros }) => zeros),
    squares: outcomes.map(({ squares: { kept, removed, isChanged } }, index) => ({
      kept,
      removed: removed + (returned?.[index]?.removed ?? 0),
      isChanged: isChanged || returned?.[index]?.isChanged === true,
    })),
    removedUnits,
    masks,
    saved,
  };
}

/** Masks and zeros in one pass, where nothing has to be looked at in between. */
async function removeAtOnce({ ranked: loaded, removedUnits }: Ranked): Promise<Removed> {
  const committed = loaded.call.committed();
  await committed.inBatches(loaded.table, 'remove');
  const outcomes = await loaded.table.read();
  const masks: Uint8Array[] = [];
  for (const index of committed.plan.jobs.keys()) masks.push(await maskOf(loaded, index));
  return {
    changed: loaded,
    call: committed,
    zeros: outcomes.map(({ zeros }) => zeros),
    squares: outcomes.map(({ squares }) => squares),
    removedUnits,
    masks,
    saved: undefined,
  };
}

async function putBack(loaded: Loaded): Promise<Changed> {
  const { call, table } = loaded;
  const removed = await removedTable(
    loaded,
    call.plan.jobs.map(({ earlier, saved }) => ({ mask: earlier!, saved: saved! })),
  );
  const committed = call.committed();
  await committed.run([['restore', removed.block.address, removed.entries.length]]);
  await committed.inBatches(table, 'inspect');
  const outcomes = await table.read();
  return { changed: loaded, call: committed, zeros: outcomes.map(({ zeros }) => zeros) };
}

/** Gives the changed numbers back to the model; gives how many of each job's weights are zero in it. */
async function store(
  { changed: { regions }, call, zeros: counted }: Changed,
  isChanged: (job: Job, index: number) => boolean,
): Promise<number[]> {
  const { engine, plan } = call;
  const { model, jobs } = plan;
  const zeros = [...counted];
  let done = 0;
  for (const [index, job] of jobs.entries()) {
    if (isChanged(job, index)) {
      const { weights, partners } = regions[index]!;
      // A model that rounds the numbers counts the zeros itself.
      zeros[index] = (await model.store(engine, job.tensor.values, weights)) ?? counted[index]!;
      for (const [place, region] of partners.entries()) {
        await model.store(engine, job.tensor.partners[place]!.values, region);
      }
    }
    call.tellJob('store', index, (done += weightsOf(job.units.axes)));
  }
  return zeros;
}

/** Stores what was changed, and tells what came of each job. */
async function finish(removed: Removed): Promise<Done[]> {
  const { call, removedUnits, masks, squares, saved } = removed;
  const zeros = await store(removed, ({ earlier }, index) => earlier !== undefined || removedUnits[index]! > 0);
  const done: Done[] = [];
  for (const [index, { units, rows }] of call.plan.jobs.entries()) {
    const [mask, count] = [masks[index]!, removedUnits[index]!];
    done.push({
      zeros: zeros[index]!,
      removedUnits: rows ? await unitsRemoved(rows.mask) : count,
      removedWeights: await weightsRemoved(units.axes, mask, count),
      squares: squares[index]!,
      channels: units.isChannel && rows === undefined ? mask : undefined,
      mask,
      saved: saved?.[index],
    });
  }
  return done;
}
