import { SparsifyError } from '../errors.js';
import type { Block } from './block.js';
import { status } from './codes.js';
import type { Call } from './call.js';
import { callsOf, type Engine } from './engine.js';
import { decode, encode, recordBytes, type Entry, type Outcome } from './record.js';

/**
 * Calls verbs one after another and checks the status that each returns.
 * @throws SparsifyError `memory` if a verb had no working memory, `usage` if the engine refused its numbers
 */
export async function run(engine: Engine, calls: readonly Call[]): Promise<void> {
  const statuses = await callsOf(engine, calls);
  const failed = statuses.findIndex((each) => each !== status.done);
  if (failed < 0) return;
  const verb = calls[failed]![0];
  if (statuses[failed] === status.outOfMemory) {
    throw new SparsifyError('memory', `the engine had no working memory left to ${verb}`, {
      hint: 'Close models that are not needed any more',
    });
  }
  throw new SparsifyError('usage', `the engine refused to ${verb}: the model's shapes and lengths disagree`);
}

/** A table of records in shared memory. */
export interface Table {
  readonly block: Block;
  /** What the records were written from. */
  readonly entries: readonly Entry[];
  /** Reads what the kernels wrote into the records. */
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

/** Selects among scores that are in memory: for each group of entries, as many units as `removes` says. */
export async function select(
  engine: Engine,
  entries: readonly Entry[],
  removes: readonly number[],
): Promise<Outcome[]> {
  const table = await writeTable(engine, entries);
  let counts: Block | undefined;
  try {
    counts = await engine.allocate(removes.length * 4);
    await counts.write(wordBytes(removes));
    await run(engine, [['select', table.block.address, entries.length, counts.address, removes.length]]);
    return await table.read();
  } finally {
    table.release();
    counts?.free();
  }
}

/** Whole numbers as the 32-bit words that the kernels read. */
export const wordBytes = (numbers: readonly number[]): Uint8Array => new Uint8Array(Uint32Array.from(numbers).buffer);
