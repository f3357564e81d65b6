import type { Block } from '../engine/engine.js';
import { bytesOf, weightsOf, type Entry, type Squares } from '../engine/record.js';
import { writeTable, type Table } from '../engine/verbs.js';
import { areSame, unitsRemoved } from './bits.js';
import type { Changing, PruningCall } from './context.js';
import { partnerEntries, type Loaded } from './loaded.js';

/**
 * A mask, and the numbers that it removed from the weights and from each partner; without them, they are yet to be
 * saved.
 */
interface Removed {
  readonly mask: Uint8Array;
  readonly saved: readonly Uint8Array[] | undefined;
}

/** A table of weights and partners with masks and the numbers that these remove, for `save` and `restore`. */
interface RemovedTable extends Table {
  /** Where the numbers lie. */
  readonly numbers: Block;
  /** The job that each entry belongs to. */
  readonly jobs: readonly number[];
}

/** What was saved. */
interface Saved {
  /** For each job, the removed numbers of the weights and of each partner. */
  readonly saved: readonly (readonly Uint8Array[])[];
  /** For each job, the squares of removed weights that were no longer zero when the call began. */
  readonly returned: readonly (Squares | undefined)[];
}

/**
 * Prepares saving what the masks remove; the function that comes back does it. What earlier masks removed is put back
 * first, so that each number is kept as it was when it was removed, and zeroed again at the end. Jobs whose mask does
 * not change keep what they have.
 */
export async function prepareSaving(
  loaded: Loaded,
  masks: readonly Uint8Array[],
): Promise<(call: PruningCall<Changing>) => Promise<Saved>> {
  const { jobs } = loaded.call.plan;
  const isSame: boolean[] = [];
  for (const [index, { earlier, saved }] of jobs.entries())
    isSame.push(saved !== undefined && (await areSame(masks[index]!, earlier!)));
  const comesBack = jobs.map(({ saved }, index) => saved !== undefined && !isSame[index]);
  const before = await removedTable(
    loaded,
    jobs.map(({ earlier, saved }, index) => (comesBack[index] ? { mask: earlier!, saved } : undefined)),
  );
  const after = await removedTable(
    loaded,
    masks.map((mask, index) => (isSame[index] ? undefined : { mask, saved: undefined })),
  );
  const earlier = [...jobs.keys()].filter((index) => comesBack[index]);
  const entries = earlier.map((index): Entry => {
    const entry = loaded.table.entries[index]!;
    return { ...entry, mask: entry.earlier };
  });
  const again = loaded.call.hold(await writeTable(loaded.call.engine, entries));
  const applyEarlier = ['apply', again.block.address, earlier.length] as const;
  return async (call) => {
    await call.run([applyEarlier]);
    const returned: (Squares | undefined)[] = jobs.map(() => undefined);
    for (const [place, { squares }] of (await again.read()).entries()) returned[earlier[place]!] = squares;
    await call.run([
      ['restore', before.block.address, before.entries.length],
      ['save', after.block.address, after.entries.length],
      applyEarlier,
    ]);
    const outcomes = await after.read();
    const taken = new Map<number, Uint8Array[]>();
    for (const [place, { saved: room, dtype }] of after.entries.entries()) {
      const bytes = new Uint8Array(outcomes[place]!.saved * bytesOf[dtype]);
      await after.numbers.read(room!.address - after.numbers.address, bytes);
      const job = after.jobs[place]!;
      taken.set(job, [...(taken.get(job) ?? []), bytes]);
    }
    return { saved: jobs.map(({ saved }, index) => taken.get(index) ?? saved!), returned };
  };
}

/** @param removed for each job; undefined for those that have no part in the table */
export async function removedTable(loaded: Loaded, removed: readonly (Removed | undefined)[]): Promise<RemovedTable> {
  const { call, table } = loaded;
  const entries: Entry[] = [];
  const jobOf: number[] = [];
  const contents: (Uint8Array | undefined)[] = [];
  const given = removed.map((each) => each?.mask);
  const [masks, partners] = [await call.copiesOf(given), await partnerEntries(loaded, given)];
  for (const [index, each] of removed.entries()) {
    if (!each) continue;
    const own = [{ ...table.entries[index]!, mask: masks[index]! }, ...partners[index]!];
    const units = await unitsRemoved(each.mask);
    for (const [place, entry] of own.entries()) {
      const bytes = each.saved?.[place];
      const most = units * entry.axes.reduce((product, { block }) => product * block, 1);
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
  const numbers = await call.blockOf(end);
  for (const [place, bytes] of contents.entries()) if (bytes) await numbers.write(bytes, offsets[place]!);
  const placed = entries.map((entry, place) => ({
    ...entry,
    saved: { length: entry.saved!.length, address: numbers.address + offsets[place]! },
  }));
  return { ...call.hold(await writeTable(call.engine, placed)), numbers, jobs: jobOf };
}
