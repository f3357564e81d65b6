import { isKept, maskBytes, storedUnits, unitsOf, weightsOf, type Entry } from '../engine/record.js';
import { writeTable, type Table } from '../engine/verbs.js';
import { parts } from '../host/slices.js';
import { addressOf, type Region, type Values } from '../model/model.js';
import type { PruningCall } from './context.js';
import type { RowMask } from '../options/units.js';
import type { Job } from './job.js';
import { layOut, type Scratch } from './scratch.js';

/** The first state of a call: all numbers are in shared memory, with a table of one record per job. */
export interface Loaded {
  readonly call: PruningCall;
  /** For each job, where its weights lie, and those of its partners. */
  readonly regions: readonly { readonly weights: Region; readonly partners: readonly Region[] }[];
  readonly scratch: Scratch;
  readonly table: Table;
}

/** Small layers are loaded together, up to this many weights, since each exchange with the engine takes time. */
const togetherWeights = 1 << 16;

/**
 * Loads the tensors of all jobs, and writes what the kernels are to know about them.
 * @param keepsScores whether scores are stored even where they could be computed again
 */
export async function load(call: PruningCall, { keepsScores = false } = {}): Promise<Loaded> {
  const { engine, plan } = call;
  const { model, jobs, removes, signal } = plan;
  const regionOf = async (values: Values) => call.hold(await model.load(engine, values));
  const regionsOf = async ({ tensor, units, rows }: Job) => {
    const own = { weights: await regionOf(tensor.values), partners: [] as Region[] };
    if ((rows?.units ?? units).isChannel)
      for (const { values } of tensor.partners) own.partners.push(await regionOf(values));
    return own;
  };
  const regions: Loaded['regions'][number][] = [];
  let done = 0;
  for (const { part } of parts(jobs, ({ units }) => weightsOf(units.axes), togetherWeights)) {
    signal?.throwIfAborted();
    // If one fails, the others are held before the call ends.
    for (const loaded of await Promise.allSettled(part.map(regionsOf))) {
      if (loaded.status === 'rejected') throw loaded.reason;
      call.tellJob('load', regions.length, (done += weightsOf(jobs[regions.length]!.units.axes)));
      regions.push(loaded.value);
    }
  }
  const scratch = call.hold(await layOut(engine, jobs, removes.length, keepsScores));
  for (const [index, { earlier, other }] of jobs.entries()) {
    const place = scratch.places[index]!;
    if (earlier) await scratch.block.write(earlier, place.earlier);
    if (other) await scratch.block.write(other.bytes, place.other);
  }
  const entries = jobs.map((job, index) => entryOf(job, regions[index]!.weights, scratch, index));
  return { call, regions, scratch, table: call.hold(await writeTable(engine, entries)) };
}

function entryOf(job: Job, weights: Region, { block, places }: Scratch, index: number): Entry {
  const place = places[index]!;
  const address = (offset: number | undefined) => (offset === undefined ? 0 : block.address + offset);
  return {
    weights: addressOf(weights),
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

/**
 * For each job, the entries of its biases and batch normalisation: one number per unit, in canonical order of the units
 * whatever the layout of the weights.
 * @param masks those of the jobs; undefined for jobs whose partners are left out
 */
export async function partnerEntries(
  { call, regions, table }: Loaded,
  masks: readonly (Uint8Array | undefined)[],
): Promise<Entry[][]> {
  const { jobs } = call.plan;
  const bits = masks.map((mask, index) => {
    const { units, rows } = jobs[index]!;
    const hasPartners = mask !== undefined && regions[index]!.partners.length > 0;
    return hasPartners ? inCanonicalOrder(rows ?? { units, mask }) : undefined;
  });
  const addresses = await call.copiesOf(bits);
  return jobs.map(({ tensor, units, rows }, index) => {
    const mask = addresses[index];
    if (mask === undefined) return [];
    return regions[index]!.partners.map((region, place) => ({
      ...table.entries[index]!,
      weights: addressOf(region),
      dtype: tensor.partners[place]!.values.dtype,
      axes: [{ size: unitsOf((rows?.units ?? units).axes), block: 1, order: 0 }],
      mask,
    }));
  });
}

function inCanonicalOrder({ mask, units }: RowMask): Uint8Array {
  const bits = new Uint8Array(mask.length);
  for (const [channel, unit] of storedUnits(units.axes).entries())
    if (isKept(mask, unit)) bits[channel >> 3]! |= 1 << (channel & 7);
  return bits;
}

/** A copy of a job's mask, which is in the scratch memory. */
export function maskOf({ call, scratch: { block, places } }: Loaded, index: number): Promise<Uint8Array> {
  const units = unitsOf(call.plan.jobs[index]!.units.axes);
  return block.read(places[index]!.mask, new Uint8Array(maskBytes(units)));
}

/** A copy of a job's scores, where they are kept. */
export async function scoresIn(
  { call, scratch: { block, places } }: Loaded,
  index: number,
): Promise<Float32Array<ArrayBuffer>> {
  const scores = new Float32Array(unitsOf(call.plan.jobs[index]!.units.axes));
  await block.read(places[index]!.scores!, new Uint8Array(scores.buffer));
  return scores;
}
