import type { Verb } from '../engine/call.js';
import type { Block, Engine } from '../engine/engine.js';
import { recordBytes, weightsOf } from '../engine/record.js';
import { run, type Table } from '../engine/verbs.js';
import { parts } from '../host/slices.js';
import type { Progress } from '../options/options.js';
import type { Plan } from './job.js';

/** The verbs that leave the model's numbers as they are. */
type Reading = 'inspect' | 'score' | 'nm' | 'select' | 'mask';
/** The verbs of a call that changes the model. */
export type Changing = 'save' | 'restore' | 'apply' | 'remove' | 'inspect';

/** A batch of records ends after this many weights, so that progress is reported and a call can be aborted. */
const batchWeights = 1 << 24;

const stages = {
  inspect: 'inspect',
  score: 'score',
  nm: 'mask',
  mask: 'mask',
  apply: 'apply',
  remove: 'apply',
} as const satisfies Partial<Record<Verb, Progress['stage']>>;

/**
 * What all states of one call share: the engine, the plan, the memory that it holds. Verbs that change the model need a
 * call that is {@link committed}; from then on nothing stops it, so that all layers are changed or none.
 */
export class PruningCall<Allowed extends Verb = Reading> {
  readonly engine: Engine;
  readonly plan: Plan;
  readonly #held: { release(): void }[];
  readonly #isCommitted: boolean;
  readonly #total: number;

  private constructor(engine: Engine, plan: Plan, held: { release(): void }[], isCommitted: boolean) {
    this.engine = engine;
    this.plan = plan;
    this.#held = held;
    this.#isCommitted = isCommitted;
    this.#total = plan.jobs.reduce((sum, { units }) => sum + weightsOf(units.axes), 0);
  }

  /** Runs a call's steps, and releases all that it holds however they end. */
  static async run<Result>(engine: Engine, plan: Plan, steps: (call: PruningCall) => Promise<Result>): Promise<Result> {
    const held: { release(): void }[] = [];
    try {
      return await steps(new PruningCall(engine, plan, held, false));
    } finally {
      for (const each of held.reverse()) each.release();
    }
  }

  /** The same call, allowed to change the model. This is the last moment at which it can be aborted. */
  committed(): PruningCall<Changing> {
    this.plan.signal?.throwIfAborted();
    return new PruningCall<Changing>(this.engine, this.plan, this.#held, true);
  }

  /** Releases this at the end of the call. */
  hold<Held extends { release(): void }>(held: Held): Held {
    this.#held.push(held);
    return held;
  }

  /** A block that is freed at the end of the call. */
  async blockOf(bytes: number): Promise<Block> {
    const block = await this.engine.allocate(bytes);
    this.hold({ release: () => block.free() });
    return block;
  }

  /** The addresses of copies of these bytes, in one block; undefined where there are none. */
  async copiesOf(all: readonly (Uint8Array | undefined)[]): Promise<(number | undefined)[]> {
    let end = 0;
    const offsets = all.map((bytes) => {
      const offset = end;
      end += Math.ceil((bytes?.length ?? 0) / 16) * 16;
      return offset;
    });
    const block = await this.blockOf(end);
    for (const [place, bytes] of all.entries()) if (bytes) await block.write(bytes, offsets[place]!);
    return all.map((bytes, place) => bytes && block.address + offsets[place]!);
  }

  async run(calls: readonly (readonly [verb: Allowed, ...numbers: number[]])[]): Promise<void> {
    if (!this.#isCommitted) this.plan.signal?.throwIfAborted();
    await run(this.engine, calls);
  }

  /** Calls a verb on batches of a table's records, and reports progress after each. */
  async inBatches({ block, entries }: Table, verb: Allowed & keyof typeof stages): Promise<void> {
    let done = 0;
    for (const { from, part, size } of parts(entries, ({ axes }) => weightsOf(axes), batchWeights)) {
      await this.run([[verb, block.address + from * recordBytes, part.length]]);
      this.tell(stages[verb], (done += size));
    }
  }

  /** Tells that a stage has finished a job: of few jobs each time, of many about a hundred times. */
  tellJob(stage: Progress['stage'], index: number, done: number): void {
    const { length } = this.plan.jobs;
    if ((index + 1) % Math.ceil(length / 100) === 0 || index + 1 === length) this.tell(stage, done);
  }

  /** @param done how many weights the stage has finished */
  tell(stage: Progress['stage'], done: number): void {
    this.plan.listener.tell({ stage, done, total: this.#total }, this.#isCommitted);
  }
}
