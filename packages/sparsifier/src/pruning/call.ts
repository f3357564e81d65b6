import { areSame, both, isKept, removedBy } from './bits.js';
import type { Recipe } from '../options/criteria.js';
import { scoresOnTheFly, showsInfinity } from '../options/criteria.js';
import type { Call } from '../engine/core.js';
import type { Block, Engine } from '../engine/engine.js';
import {
  decode,
  encode,
  maskBytes,
  recordBytes,
  storedUnits,
  unitsOf,
  weightsOf,
  weightsRemoved,
  type ChannelStep,
  type Entry,
  type Outcome,
} from '../engine/record.js';
import { SparsifyError } from '../errors.js';
import type { Units } from '../options/units.js';
import { parts } from '../host/slices.js';
import { rounded } from '../options/amounts.js';
import type { Progress } from '../options/options.js';
import { bytesOf, type DataType, type Model, type Region, type Values, type WeightTensor } from '../model/model.js';

/** What one tensor of a call goes through. */
export interface Job {
  readonly tensor: WeightTensor;
  /** The tensor's place in the model. */
  readonly position: number;
  readonly units: Units;
  readonly recipe: Recipe;
  readonly seed: number;
  /** The mask of an earlier call. */
  readonly earlier: Uint8Array | undefined;
  /** The numbers that it removed, of the weights and of each partner. */
  readonly saved: readonly Uint8Array[] | undefined;
  /** What the criterion compares the weights with. */
  readonly other: Other | undefined;
  /** Jobs of one group are ranked together. */
  readonly group: number;
  /** The largest number of units that may go. */
  readonly limit: number;
}

/** Numbers that weights are compared with: one for each, or one for each input channel where steps are given. */
export interface Other {
  readonly dtype: DataType;
  readonly bytes: Uint8Array;
  readonly length: number;
  readonly steps: readonly ChannelStep[];
}

/** What came of a job. */
export interface Done {
  readonly zeros: number;
  /** How many units the mask removes, and how many weights these have. */
  readonly removed: number;
  readonly removedWeights: number;
  readonly mask: Uint8Array;
  /** What was removed so far, of the weights and of each partner, where that is kept. */
  readonly saved: readonly Uint8Array[] | undefined;
}

export interface Plan {
  readonly model: Model;
  readonly jobs: readonly Job[];
  /** How many units each group loses. */
  readonly removes: readonly number[];
  readonly roundTo: number | undefined;
  /** Whether what is removed is kept. */
  readonly restorable: boolean;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ((progress: Progress) => void) | undefined;
}

/** A batch of calls ends after this many weights, so that progress is seen and a call can be aborted. */
const batchWeights = 1 << 24;

/**
 * Scores, selects, masks and applies. Nothing is changed before all masks are known, and nothing can fail after.
 * @throws SparsifyError `weights` where a weight is not finite; `memory` where there is no room
 */
export const remove = (engine: Engine, plan: Plan): Promise<Done[]> =>
  working(engine, plan, async (work) => {
    await work.inspect();
    await work.rank();
    return work.commit();
  });

/** How many units of each job {@link remove} would remove; nothing is changed. */
export const rank = (engine: Engine, plan: Plan): Promise<readonly number[]> =>
  working(engine, plan, async (work) => {
    await work.inspect();
    return work.rank();
  });

/**
 * Scores the one job of a plan, and calls the verb that looks at the scores. Nothing is changed.
 * @param look gets the address of the job's record, and says whether a score may be infinite or not a number
 */
export const survey = (engine: Engine, plan: Plan, look: (record: number) => Promise<boolean>): Promise<void> =>
  working(engine, plan, async (work) => {
    await work.inspect();
    await work.survey(look);
  });

/** Zeroes what earlier masks remove, without scoring. */
export const reapply = (engine: Engine, plan: Plan): Promise<Done[]> =>
  working(engine, plan, async (work) => {
    await work.takeMasks();
    return work.commit();
  });

/** Puts the numbers back that earlier masks removed. */
export const restore = (engine: Engine, plan: Plan): Promise<Done[]> => working(engine, plan, (work) => work.restore());

async function working<Result>(engine: Engine, plan: Plan, steps: (work: Work) => Promise<Result>): Promise<Result> {
  const work = new Work(engine, plan);
  try {
    await work.load();
    return await steps(work);
  } finally {
    work.release();
  }
}

/** One call: the regions, tables and scratch memory that it holds, and the steps it takes. */
class Work {
  readonly #engine: Engine;
  readonly #plan: Plan;
  readonly #total: number;
  readonly #held: { release(): void }[] = [];
  /** Where each job's weights lie, and those of its partners. */
  readonly #tensors: Region[] = [];
  readonly #partners: Region[][] = [];
  #scratch!: Scratch;
  #table!: Table;
  #removed: readonly number[] = [];
  /** Whether the masks are yet to be made, from the cuts in the table. */
  #isCut = false;
  #isChanging = false;

  constructor(engine: Engine, plan: Plan) {
    this.#engine = engine;
    this.#plan = plan;
    this.#total = plan.jobs.reduce((sum, { units }) => sum + weightsOf(units.axes), 0);
  }

  /** Brings the numbers into shared memory and writes the table of all jobs. */
  async load(): Promise<void> {
    const { model, jobs, removes } = this.#plan;
    const loaded = async (values: Values) => this.#hold(await model.load(this.#engine, values));
    let done = 0;
    for (const { tensor, units } of jobs) {
      this.#plan.signal?.throwIfAborted();
      this.#tensors.push(await loaded(tensor.values));
      const partners: Region[] = [];
      if (units.isChannel) for (const { values } of tensor.partners) partners.push(await loaded(values));
      this.#partners.push(partners);
      this.#tell('load', (done += weightsOf(units.axes)));
    }
    this.#scratch = this.#hold(await layOut(this.#engine, jobs, removes.length));
    const { block, places } = this.#scratch;
    for (const [index, { earlier, other }] of jobs.entries()) {
      if (earlier) await block.write(earlier, places[index]!.earlier);
      if (other) await block.write(other.bytes, places[index]!.other);
    }
    this.#table = this.#hold(
      await writeTable(
        this.#engine,
        jobs.map((job, index) => this.#entry(job, index)),
      ),
    );
  }

  /** Refuses weights that cannot be ranked, unless their scores will tell. */
  async inspect(): Promise<void> {
    if (!this.#plan.jobs.every(scoresTell)) await this.#findNotFinite();
  }

  /** Refuses weights that cannot be ranked, where the scores had to tell. Sums of finite weights may be infinite, too. */
  async #checkScores(mayBeInfinite: boolean): Promise<void> {
    if (mayBeInfinite && this.#plan.jobs.every(scoresTell)) await this.#findNotFinite();
  }

  async #findNotFinite(): Promise<void> {
    await this.#inBatches('inspect');
    for (const [index, { firstNotFinite }] of (await this.#table.read()).entries()) {
      if (firstNotFinite !== undefined) throw notFinite(this.#plan.jobs[index]!, firstNotFinite);
    }
  }

  /** Scores all units and finds out which go; gives how many of each job. */
  async rank(): Promise<readonly number[]> {
    const { jobs, removes, roundTo } = this.#plan;
    const { block, removesOffset } = this.#scratch;
    await this.#inBatches('score');
    if (jobs.some(({ units }) => units.pattern)) {
      await this.#inBatches('nm');
      const outcomes = await this.#table.read();
      await this.#checkScores(outcomes.some(({ mayBeInfinite }) => mayBeInfinite));
      this.#removed = outcomes.map(({ removed }) => removed);
      return this.#removed;
    }
    await block.write(wordsOf(removes), removesOffset);
    await this.#run([
      ['select', this.#table.block.address, jobs.length, block.address + removesOffset, removes.length],
    ]);
    const cuts = await this.#table.read();
    await this.#checkScores(cuts.some(({ mayBeInfinite }) => mayBeInfinite));
    this.#removed = cuts.map(({ removed }, index) => rounded(removed, unitsOf(jobs[index]!.units.axes), roundTo));

    const again = jobs.flatMap((_, index) =>
      cuts[index]!.settled && cuts[index]!.removed === this.#removed[index] ? [] : [index],
    );
    if (again.length > 0) await this.#rankAlone(again);
    this.#isCut = true;
    return this.#removed;
  }

  async survey(look: (record: number) => Promise<boolean>): Promise<void> {
    await this.#inBatches('score');
    await this.#checkScores(await look(this.#table.block.address));
  }

  /** Where a floor or the rounding changed what the common ranking gave, a layer's own ranking gives its cut. */
  async #rankAlone(indices: readonly number[]): Promise<void> {
    const counts = indices.map((index) => this.#removed[index]!);
    const alone = indices.map((index, group): Entry => ({
      ...this.#table.entries[index]!,
      group,
      limit: counts[group]!,
    }));
    const outcomes = await selected(this.#engine, alone, counts);
    for (const [place, index] of indices.entries()) {
      const entry = { ...this.#table.entries[index]!, cut: outcomes[place]!.cut };
      await this.#table.block.write(encode([entry]), index * recordBytes);
    }
  }

  /** Takes the masks of an earlier call for those of this one. */
  async takeMasks(): Promise<void> {
    const { jobs } = this.#plan;
    for (const [index, { earlier }] of jobs.entries()) {
      if (earlier) await this.#scratch.block.write(earlier, this.#scratch.places[index]!.mask);
    }
    this.#removed = await Promise.all(jobs.map(({ earlier }) => (earlier ? removedBy(earlier) : 0)));
  }

  /** Zeroes what the masks remove. All layers or none: nothing stops the call from here on. */
  async commit(): Promise<Done[]> {
    const { jobs, signal, restorable } = this.#plan;
    if (this.#isCut && !restorable && this.#partners.every((partners) => partners.length === 0)) {
      return this.#commitAtOnce();
    }
    if (this.#isCut) await this.#inBatches('mask');
    const masks: Uint8Array[] = [];
    const zeroing: Uint8Array[] = [];
    for (const [index, { earlier }] of jobs.entries()) {
      const { block, places } = this.#scratch;
      const mask = await this.#maskOf(index);
      masks.push(mask);
      // Units that come back do so as zeros, whatever was written there since they were removed.
      zeroing.push(earlier ? await both(mask, earlier) : mask);
      if (earlier) await block.write(zeroing[index]!, places[index]!.mask);
    }
    const partnerEntries: Entry[] = [];
    for (const index of jobs.keys()) partnerEntries.push(...(await this.#partnerEntries(index, zeroing[index]!)));
    const partners = this.#hold(await writeTable(this.#engine, partnerEntries));
    const keeping = restorable ? await this.#keeping(masks) : undefined;
    signal?.throwIfAborted();
    this.#isChanging = true;
    const saved = await keeping?.();
    await this.#inBatches('apply');
    await this.#run([['apply', partners.block.address, partners.entries.length]]);
    const outcomes = await this.#table.read();
    const stored = await this.#store(({ earlier }, index) => earlier !== undefined || this.#removed[index]! > 0);
    return this.#done(outcomes, stored, masks, saved);
  }

  /** Masks and zeros in one go, where nothing has to be looked at in between. */
  async #commitAtOnce(): Promise<Done[]> {
    const { jobs, signal } = this.#plan;
    signal?.throwIfAborted();
    this.#isChanging = true;
    await this.#inBatches('remove');
    const outcomes = await this.#table.read();
    const masks: Uint8Array[] = [];
    for (const index of jobs.keys()) masks.push(await this.#maskOf(index));
    const stored = await this.#store(({ earlier }, index) => earlier !== undefined || this.#removed[index]! > 0);
    return this.#done(outcomes, stored, masks, undefined);
  }

  async #done(
    outcomes: readonly { readonly zeros: number }[],
    stored: readonly (number | undefined)[],
    masks: readonly Uint8Array[],
    saved: readonly (readonly Uint8Array[])[] | undefined,
  ): Promise<Done[]> {
    const done: Done[] = [];
    for (const [index, { units }] of this.#plan.jobs.entries()) {
      const mask = masks[index]!;
      done.push({
        zeros: stored[index] ?? outcomes[index]!.zeros,
        removed: this.#removed[index]!,
        removedWeights: await weightsRemoved(units.axes, mask, this.#removed[index]!),
        mask,
        saved: saved?.[index],
      });
    }
    return done;
  }

  #maskOf(index: number): Promise<Uint8Array> {
    const { block, places } = this.#scratch;
    const units = unitsOf(this.#plan.jobs[index]!.units.axes);
    return block.read(places[index]!.mask, new Uint8Array(maskBytes(units)));
  }

  /** Puts the numbers back that earlier masks removed. */
  async restore(): Promise<Done[]> {
    const { jobs, signal } = this.#plan;
    const table = await this.#savedTable(jobs.map(({ earlier, saved }) => ({ mask: earlier!, saved: saved! })));
    signal?.throwIfAborted();
    this.#isChanging = true;
    await this.#run([['restore', table.block.address, table.entries.length]]);
    await this.#inBatches('inspect');
    const outcomes = await this.#table.read();
    const stored = await this.#store(() => true);
    return outcomes.map(({ zeros }, index) => ({
      zeros: stored[index] ?? zeros,
      removed: 0,
      removedWeights: 0,
      mask: jobs[index]!.earlier!,
      saved: undefined,
    }));
  }

  /**
   * Makes ready for taking out what the masks remove. What earlier masks removed is put back first, so that each number
   * is kept as it was when it was removed. Jobs whose mask stays as it is keep what they have.
   */
  async #keeping(masks: readonly Uint8Array[]): Promise<() => Promise<(readonly Uint8Array[])[]>> {
    const { jobs } = this.#plan;
    const isSame: boolean[] = [];
    for (const [index, { earlier, saved }] of jobs.entries())
      isSame.push(saved !== undefined && (await areSame(masks[index]!, earlier!)));
    const before = await this.#savedTable(
      jobs.map(({ earlier, saved }, index) => (saved && !isSame[index] ? { mask: earlier!, saved } : undefined)),
    );
    const after = await this.#savedTable(
      masks.map((mask, index) => (isSame[index] ? undefined : { mask, saved: undefined })),
    );
    return async () => {
      await this.#run([
        ['restore', before.block.address, before.entries.length],
        ['save', after.block.address, after.entries.length],
      ]);
      const outcomes = await after.read();
      const taken = new Map<number, Uint8Array[]>();
      for (const [place, { saved: room, dtype }] of after.entries.entries()) {
        const bytes = new Uint8Array(outcomes[place]!.saved * bytesOf[dtype]);
        await after.rooms.read(room!.address - after.rooms.address, bytes);
        const job = after.jobs[place]!;
        taken.set(job, [...(taken.get(job) ?? []), bytes]);
      }
      return jobs.map(({ saved }, index) => taken.get(index) ?? saved!);
    };
  }

  /** A table of weights and partners with masks, and for each what was taken out, or room for what will be. */
  async #savedTable(parts: readonly (SavedPart | undefined)[]): Promise<SavedTable> {
    const entries: Entry[] = [];
    const jobOf: number[] = [];
    const contents: (Uint8Array | undefined)[] = [];
    for (const [index, part] of parts.entries()) {
      if (!part) continue;
      const mask = this.#hold(await this.#blockOf(part.mask));
      const own = [
        { ...this.#table.entries[index]!, mask: mask.block.address },
        ...(await this.#partnerEntries(index, part.mask)),
      ];
      const removed = await removedBy(part.mask);
      for (const [place, entry] of own.entries()) {
        const bytes = part.saved?.[place];
        const most = removed * entry.axes.reduce((product, { block }) => product * block, 1);
        const length = bytes ? bytes.length / bytesOf[entry.dtype] : Math.min(weightsOf(entry.axes), most);
        entries.push({ ...entry, saved: { address: 0, length } });
        contents.push(bytes);
        jobOf.push(index);
      }
    }
    let end = 0;
    const offsets = entries.map(({ saved, dtype }) => {
      const offset = end;
      end += Math.ceil((saved!.length * bytesOf[dtype]) / 16) * 16;
      return offset;
    });
    const rooms = await this.#engine.allocate(end);
    this.#hold({ release: () => rooms.free() });
    for (const [place, bytes] of contents.entries()) if (bytes) await rooms.write(bytes, offsets[place]!);
    const placed = entries.map((entry, place) => ({
      ...entry,
      saved: { length: entry.saved!.length, address: rooms.address + offsets[place]! },
    }));
    return { ...this.#hold(await writeTable(this.#engine, placed)), rooms, jobs: jobOf };
  }

  /** Gives changed numbers back to the model, which tells how many are zero where it rounded them. */
  async #store(isChanged: (job: Job, index: number) => boolean): Promise<(number | undefined)[]> {
    const { model, jobs } = this.#plan;
    const zeros: (number | undefined)[] = [];
    let done = 0;
    for (const [index, job] of jobs.entries()) {
      if (isChanged(job, index)) {
        zeros[index] = (await model.store(this.#engine, job.tensor.values, this.#tensors[index]!)) ?? undefined;
        for (const [place, region] of this.#partners[index]!.entries()) {
          await model.store(this.#engine, job.tensor.partners[place]!.values, region);
        }
      }
      this.#tell('store', (done += weightsOf(job.units.axes)));
    }
    return zeros;
  }

  release(): void {
    for (const each of this.#held.reverse()) each.release();
  }

  #hold<Held extends { release(): void }>(held: Held): Held {
    this.#held.push(held);
    return held;
  }

  async #blockOf(bytes: Uint8Array): Promise<{ readonly block: Block; release(): void }> {
    const block = await this.#engine.allocate(bytes.length);
    await block.write(bytes);
    return { block, release: () => block.free() };
  }

  #entry(job: Job, index: number): Entry {
    const place = this.#scratch.places[index]!;
    const address = (offset: number | undefined) => (offset === undefined ? 0 : this.#scratch.block.address + offset);
    return {
      weights: addressOf(this.#tensors[index]!),
      dtype: job.tensor.values.dtype,
      axes: job.units.axes,
      recipe: job.recipe,
      seed: job.seed,
      position: job.position,
      scores: address(place.scores),
      earlier: address(place.earlier),
      mask: address(place.mask),
      group: job.group,
      limit: job.limit,
      other: job.other && { ...job.other, address: address(place.other) },
      pattern: job.units.pattern,
      saved: undefined,
      cut: undefined,
    };
  }

  /** Biases and batch normalisation: one number per unit, in canonical order of the units whatever the weights' layout. */
  async #partnerEntries(index: number, mask: Uint8Array): Promise<Entry[]> {
    const { tensor, units } = this.#plan.jobs[index]!;
    const regions = this.#partners[index]!;
    if (regions.length === 0) return [];
    const bits = new Uint8Array(mask.length);
    for (const [channel, unit] of storedUnits(units.axes).entries())
      if (isKept(mask, unit)) bits[channel >> 3]! |= 1 << (channel & 7);
    const { block } = this.#hold(await this.#blockOf(bits));
    return regions.map((region, place) => ({
      ...this.#table.entries[index]!,
      weights: addressOf(region),
      dtype: tensor.partners[place]!.values.dtype,
      axes: [{ size: unitsOf(units.axes), block: 1, order: 0 }],
      mask: block.address,
    }));
  }

  /** Calls a verb on batches of the table's records. */
  async #inBatches(verb: 'inspect' | 'score' | 'nm' | 'mask' | 'apply' | 'remove'): Promise<void> {
    const { block, entries } = this.#table;
    let done = 0;
    for (const { from, part, size } of parts(entries, ({ axes }) => weightsOf(axes), batchWeights)) {
      await this.#run([[verb, block.address + from * recordBytes, part.length]]);
      this.#tell(stageOf[verb], (done += size));
    }
  }

  async #run(calls: readonly Call[]): Promise<void> {
    if (!this.#isChanging) this.#plan.signal?.throwIfAborted();
    await run(this.#engine, calls);
  }

  #tell(stage: Progress['stage'], done: number): void {
    try {
      this.#plan.onProgress?.({ stage, done, total: this.#total });
    } catch (error) {
      // Half a change would be worse than a listener's error that surfaces by itself.
      if (!this.#isChanging) throw error;
      queueMicrotask(() => {
        throw error;
      });
    }
  }
}

const stageOf = {
  inspect: 'inspect',
  score: 'score',
  nm: 'mask',
  mask: 'mask',
  apply: 'apply',
  remove: 'apply',
} as const;

/** Whether the scores that are compared tell of weights that cannot be ranked. */
const scoresTell = ({ units: { axes }, recipe }: Job): boolean =>
  showsInfinity(recipe, unitsOf(axes) === weightsOf(axes));

const wordsOf = (numbers: readonly number[]): Uint8Array => new Uint8Array(Uint32Array.from(numbers).buffer);

/** Counts the zeros of each tensor. */
export async function countZeros(engine: Engine, model: Model): Promise<number[]> {
  const zeros: number[] = [];
  for (const { values } of model.tensors) {
    const region = await model.load(engine, values);
    let table: Table | undefined;
    try {
      const axes = [{ size: values.length, block: 1, order: 0 }];
      table = await writeTable(engine, [{ ...nothing, weights: addressOf(region), dtype: values.dtype, axes }]);
      await run(engine, [['inspect', table.block.address, 1]]);
      zeros.push((await table.read())[0]!.zeros);
    } finally {
      table?.release();
      region.release();
    }
  }
  return zeros;
}

/** A record without numbers. */
export const nothing = {
  recipe: { element: 0, reducer: 0, normalizer: 0, needs: undefined },
  other: undefined,
  pattern: undefined,
  saved: undefined,
  cut: undefined,
  seed: 0,
  position: 0,
  scores: 0,
  earlier: 0,
  mask: 0,
  group: 0,
  limit: 0,
} as const;

const addressOf = ({ block, offset }: Region): number => block.address + offset;

/** Calls verbs and checks what they say. */
export async function run(engine: Engine, calls: readonly Call[]): Promise<void> {
  const statuses = await engine.run(calls);
  const failed = statuses.findIndex((status) => status !== 0);
  if (failed < 0) return;
  const verb = calls[failed]![0];
  if (statuses[failed] === 1) {
    throw new SparsifyError('memory', `the engine had no working memory left to ${verb}`, {
      hint: 'Close models that are not needed any more',
    });
  }
  throw new SparsifyError('usage', `the engine refused to ${verb}: the model's shapes and lengths disagree`);
}

/** Selects among scores, group by group. */
export async function selected(
  engine: Engine,
  entries: readonly Entry[],
  removes: readonly number[],
): Promise<Outcome[]> {
  const table = await writeTable(engine, entries);
  let words: Block | undefined;
  try {
    words = await engine.allocate(removes.length * 4);
    await words.write(wordsOf(removes));
    await run(engine, [['select', table.block.address, entries.length, words.address, removes.length]]);
    return await table.read();
  } finally {
    table.release();
    words?.free();
  }
}

/** A table of records in shared memory. */
interface Table {
  readonly block: Block;
  readonly entries: readonly Entry[];
  read(): Promise<Outcome[]>;
  release(): void;
}

export async function writeTable(engine: Engine, entries: readonly Entry[]): Promise<Table> {
  const block = await engine.allocate(entries.length * recordBytes);
  await block.write(encode(entries));
  return {
    block,
    entries,
    read: async () => {
      const bytes = new Uint8Array(block.bytes);
      await block.read(0, bytes);
      return decode(bytes);
    },
    release: () => block.free(),
  };
}

/** A mask, and the numbers that it removed from the weights and each partner, or none where these are yet to be taken. */
interface SavedPart {
  readonly mask: Uint8Array;
  readonly saved: readonly Uint8Array[] | undefined;
}

interface SavedTable extends Table {
  /** Where the numbers lie. */
  readonly rooms: Block;
  /** The job that each entry belongs to. */
  readonly jobs: readonly number[];
}

interface Place {
  readonly mask: number;
  readonly earlier: number | undefined;
  readonly scores: number | undefined;
  readonly other: number | undefined;
}

interface Scratch {
  readonly block: Block;
  /** For each job, offsets in the block. */
  readonly places: readonly Place[];
  readonly removesOffset: number;
  release(): void;
}

/** One block with room for all masks, scores where they need it, and the groups' counts. */
async function layOut(engine: Engine, jobs: readonly Job[], groups: number): Promise<Scratch> {
  let end = 0;
  const take = (bytes: number): number => {
    const offset = end;
    end += Math.ceil(bytes / 16) * 16;
    return offset;
  };
  const places = jobs.map(({ units, recipe, earlier, other }): Place => {
    const count = unitsOf(units.axes);
    const onTheFly = scoresOnTheFly(recipe) && count === weightsOf(units.axes);
    return {
      mask: take(maskBytes(count)),
      earlier: earlier && take(maskBytes(count)),
      scores: onTheFly ? undefined : take(count * 4),
      other: other && take(other.bytes.length),
    };
  });
  const removesOffset = take(groups * 4);
  const block = await engine.allocate(end);
  return { block, places, removesOffset, release: () => block.free() };
}

function notFinite({ tensor }: Job, index: number): SparsifyError {
  const place: number[] = [];
  let rest = index;
  for (const size of [...tensor.shape].reverse()) {
    place.unshift(rest % size);
    rest = Math.floor(rest / size);
  }
  return new SparsifyError('weights', 'a weight is infinite or not a number, so weights cannot be compared', {
    subject: tensor.name,
    found: `at index ${index}, [${place.join(', ')}] of shape [${tensor.shape.join(', ')}]`,
    hint: 'Mend the weights, or leave this layer out',
  });
}
