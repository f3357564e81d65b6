import type { Recipe } from './criteria.js';
import { scoresOnTheFly } from './criteria.js';
import type { Call } from './engine/core.js';
import type { Block, Engine } from './engine/engine.js';
import { decode, encode, maskBytes, recordBytes, unitsOf, weightsOf, type ChannelStep, type Entry, type Outcome } from './engine/table.js';
import { SparsifyError } from './errors.js';
import type { Units } from './granularity.js';
import { rounded } from './sparsity.js';
import type { DataType, Model, Region, Values, WeightTensor } from './tensor.js';

/** How far a call has come. */
export interface Progress {
  readonly stage: 'load' | 'score' | 'select' | 'apply' | 'store';
  /** Weights that the stage is through with. */
  readonly done: number;
  /** Weights in all. */
  readonly total: number;
}

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
  readonly removed: number;
  readonly mask: Uint8Array<ArrayBuffer>;
}

export interface Plan {
  readonly model: Model;
  readonly jobs: readonly Job[];
  /** How many units each group loses. */
  readonly removes: readonly number[];
  readonly roundTo: number | undefined;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ((progress: Progress) => void) | undefined;
}

/** A batch of calls ends after this many weights, so that progress is seen and a call can be aborted. */
const batchWeights = 1 << 24;

/**
 * Scores, selects, masks and applies. Nothing is changed before all masks are known, and nothing can fail after.
 * @throws SparsifyError `weights` where a weight is not finite; `memory` where there is no room
 */
export async function remove(engine: Engine, { model, jobs, removes, roundTo, signal, onProgress }: Plan): Promise<Done[]> {
  let isChanging = false;
  const tell = (progress: Progress): void => {
    try {
      onProgress?.(progress);
    } catch (error) {
      // Half a change would be worse than a listener's error that surfaces by itself.
      if (!isChanging) throw error;
      queueMicrotask(() => {
        throw error;
      });
    }
  };
  const total = jobs.reduce((sum, { units }) => sum + weightsOf(units.axes), 0);
  const held: { release(): void }[] = [];
  const loadValues = async (values: Values): Promise<Region> => {
    const region = await model.load(engine, values);
    held.push(region);
    return region;
  };
  try {
    const tensors: Region[] = [];
    const partners: Region[][] = [];
    let loaded = 0;
    for (const { tensor, units } of jobs) {
      signal?.throwIfAborted();
      tensors.push(await loadValues(tensor.values));
      const list: Region[] = [];
      if (units.isChannel) for (const { values } of tensor.partners) list.push(await loadValues(values));
      partners.push(list);
      tell({ stage: 'load', done: (loaded += weightsOf(units.axes)), total });
    }

    const scratch = await layOut(engine, jobs, removes.length);
    held.push({ release: () => scratch.block.free() });
    for (const [index, { earlier, other }] of jobs.entries()) {
      const place = scratch.places[index]!;
      if (earlier) await scratch.block.write(earlier, place.earlier);
      if (other) await scratch.block.write(other.bytes, place.other);
    }
    const entries = jobs.map((job, index): Entry => {
      const place = scratch.places[index]!;
      const address = (offset: number | undefined) => (offset === undefined ? 0 : scratch.block.address + offset);
      return {
        weights: addressOf(tensors[index]!),
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
      };
    });
    const first = await writeTable(engine, entries);
    held.push(first);

    /** Calls verbs on batches of the table's records. */
    const inBatches = async (stage: Progress['stage'], table: Table, verbs: readonly Verb[]): Promise<void> => {
      let from = 0;
      let done = 0;
      for (let to = 1; to <= table.entries.length; to++) {
        const weights = table.entries.slice(from, to).reduce((sum, { axes }) => sum + weightsOf(axes), 0);
        if (weights < batchWeights && to < table.entries.length) continue;
        if (!isChanging) signal?.throwIfAborted();
        const address = table.block.address + from * recordBytes;
        await run(engine, verbs.map((verb) => (verb === 'select'
          ? ['select', address, to - from, scratch.removes, removes.length]
          : [verb, address, to - from])));
        from = to;
        tell({ stage, done: (done += weights), total });
      }
    };

    await inBatches('score', first, ['inspect']);
    for (const [index, { firstNotFinite }] of (await first.read()).entries()) {
      if (firstNotFinite !== undefined) throw notFinite(jobs[index]!, firstNotFinite);
    }
    await inBatches('score', first, ['score']);

    await scratch.block.write(new Uint8Array(Uint32Array.from(removes).buffer), scratch.removesOffset);
    signal?.throwIfAborted();
    await run(engine, [['select', first.block.address, jobs.length, scratch.removes, removes.length]]);
    const cuts = await first.read();
    const wanted = cuts.map(({ removed }, index) => rounded(removed, unitsOf(jobs[index]!.units.axes), roundTo));

    // Where a floor or the rounding changed what the common ranking gave, a layer's own ranking decides.
    const again = jobs.flatMap((_, index) => (cuts[index]!.settled && cuts[index]!.removed === wanted[index] ? [] : [index]));
    const own = await writeTable(engine, again.map((index, group) => ({ ...entries[index]!, group, limit: wanted[index]! })));
    held.push(own);
    const ownRemoves = new Uint8Array(Uint32Array.from(again, (index) => wanted[index]!).buffer);
    await own.block.write(ownRemoves, own.removesOffset);
    await run(engine, [['select', own.block.address, again.length, own.block.address + own.removesOffset, again.length]]);
    await inBatches('select', first, ['mask']);
    await run(engine, [['mask', own.block.address, again.length]]);

    const masks: Uint8Array<ArrayBuffer>[] = [];
    for (const [index, { units }] of jobs.entries()) {
      const mask = new Uint8Array(maskBytes(unitsOf(units.axes)));
      await scratch.block.read(scratch.places[index]!.mask, mask);
      masks.push(mask);
    }
    const partnerTable = await writeTable(engine, jobs.flatMap((job, index) =>
      partners[index]!.map((region, place): Entry => ({
        ...entries[index]!,
        weights: addressOf(region),
        dtype: job.tensor.partners[place]!.values.dtype,
        axes: [{ size: unitsOf(job.units.axes), reduced: false, order: 0 }],
      })),
    ));
    held.push(partnerTable);

    // From here on nothing stops the call: all layers or none.
    signal?.throwIfAborted();
    isChanging = true;
    await inBatches('apply', first, ['apply']);
    await run(engine, [['apply', partnerTable.block.address, partnerTable.entries.length]]);
    const outcomes = await first.read();
    let stored = 0;
    for (const [index, { tensor, units }] of jobs.entries()) {
      if (wanted[index]! > 0) {
        await model.store(engine, tensor.values, tensors[index]!);
        for (const [place, region] of partners[index]!.entries()) await model.store(engine, tensor.partners[place]!.values, region);
      }
      tell({ stage: 'store', done: (stored += weightsOf(units.axes)), total });
    }
    return outcomes.map(({ zeros }, index) => ({ zeros, removed: wanted[index]!, mask: masks[index]! }));
  } finally {
    for (const each of held.reverse()) each.release();
  }
}

/** Counts the zeros of each tensor. */
export async function countZeros(engine: Engine, model: Model): Promise<number[]> {
  const zeros: number[] = [];
  for (const { values } of model.tensors) {
    const region = await model.load(engine, values);
    let table: Table | undefined;
    try {
      const axes = [{ size: values.length, reduced: false, order: 0 }];
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

type Verb = 'inspect' | 'score' | 'select' | 'mask' | 'apply';

const nothing = {
  recipe: { element: 0, reducer: 0, normalizer: 0, needs: undefined }, other: undefined, seed: 0, position: 0, scores: 0, earlier: 0, mask: 0, group: 0, limit: 0,
} as const;

const addressOf = ({ block, offset }: Region): number => block.address + offset;

/** Calls verbs and checks what they say. */
async function run(engine: Engine, calls: readonly Call[]): Promise<void> {
  const statuses = await engine.run(calls);
  const failed = statuses.findIndex((status) => status !== 0);
  if (failed < 0) return;
  const verb = calls[failed]![0];
  if (statuses[failed] === 1) {
    throw new SparsifyError('memory', `the engine had no working memory left to ${verb}`, { hint: 'Close models that are not needed any more' });
  }
  throw new SparsifyError('usage', `the engine refused to ${verb}: the model's shapes and lengths disagree`);
}

/** A table of records in shared memory, with room for one word per record after it. */
interface Table {
  readonly block: Block;
  readonly entries: readonly Entry[];
  readonly removesOffset: number;
  read(): Promise<Outcome[]>;
  release(): void;
}

async function writeTable(engine: Engine, entries: readonly Entry[]): Promise<Table> {
  const removesOffset = entries.length * recordBytes;
  const block = await engine.allocate(removesOffset + entries.length * 4);
  await block.write(encode(entries));
  return {
    block,
    entries,
    removesOffset,
    read: async () => {
      const bytes = new Uint8Array(removesOffset);
      await block.read(0, bytes);
      return decode(bytes);
    },
    release: () => block.free(),
  };
}

interface Place {
  readonly mask: number;
  readonly earlier: number | undefined;
  readonly scores: number | undefined;
  readonly other: number | undefined;
}

/** One block with room for all masks, scores where they need it, and the groups' counts. */
async function layOut(engine: Engine, jobs: readonly Job[], groups: number) {
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
  return { block, places, removesOffset, removes: block.address + removesOffset };
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
