// Makes the n-th use of a resource fail, for every n, and looks at what is left.
import { loadEngine, SparsifyError, type Engine, type ErrorCode } from 'sparsifier';
import { expect } from 'vitest';

/** A resource whose uses are counted, and of which some fail. */
export interface Failing {
  /** How many uses have failed. */
  readonly failed: number;
  /** Ends all failures. */
  stop(): void;
}

/** Which uses fail, counted from 1: one of them, or all from one on. */
export interface Which {
  readonly at: number;
  readonly isFromThenOn: boolean;
}

export class Uses implements Failing {
  failed = 0;
  #count = 0;
  #isOver = false;
  readonly #which: Which;

  constructor(which: Which) {
    this.#which = which;
  }

  /** Counts a use, and says whether it is to fail. */
  fails(): boolean {
    if (this.#isOver) return false;
    this.#count++;
    const { at, isFromThenOn } = this.#which;
    const fails = isFromThenOn ? this.#count >= at : this.#count === at;
    if (fails) this.failed++;
    return fails;
  }

  stop(): void {
    this.#isOver = true;
  }
}

/** More bytes than there are addresses. */
const tooLarge = 2 ** 40;

/** Allocations of the engine fail, with its own error. */
export async function allocations(which: Which): Promise<Failing> {
  const engine = (await loadEngine()) as { allocate: Engine['allocate'] };
  const uses = new Uses(which);
  const { allocate } = Object.getPrototypeOf(engine) as Engine;
  engine.allocate = (bytes) => allocate.call(engine as Engine, uses.fails() ? tooLarge : bytes);
  const stop = () => {
    uses.stop();
    Reflect.deleteProperty(engine, 'allocate');
  };
  return {
    get failed() {
      return uses.failed;
    },
    stop,
  };
}

/** A Blob of which reading a slice may fail, as that of a file on a disk that is gone. */
export class FailingBlob extends File {
  readonly #uses: Uses;

  constructor(bytes: Uint8Array<ArrayBuffer>, name: string, uses: Uses) {
    super([bytes], name);
    this.#uses = uses;
  }

  override slice(from?: number, to?: number, type?: string): Blob {
    const slice = super.slice(from, to, type);
    const gone = () => Promise.reject(new DOMException('the file is gone', 'NotReadableError'));
    if (this.#uses.fails()) slice.arrayBuffer = gone;
    return slice;
  }
}

/** Something to try again and again, each time from its beginning. */
export interface Trial<Subject> {
  /** Prepares a call. Nothing fails here. */
  begin(): Promise<Subject>;
  call(subject: Subject): Promise<unknown>;
  /** What the call may change, as text. */
  state(subject: Subject): Promise<string>;
  /** How many bytes of memory the subject may keep for the next call, such as those of biases that were added. */
  readonly keeps?: number;
  /** Frees all that the subject holds. */
  end(subject: Subject): Promise<void> | void;
}

/**
 * Lets each use of a resource by a call fail, alone and with all later ones. After each failure nothing is changed and no
 * memory is lost, and the same call succeeds.
 * @param fail begins to let uses fail
 * @returns how many failures there were
 */
export async function sweep<Subject>(
  trial: Trial<Subject>,
  fail: (which: Which, subject: Subject) => Promise<Failing> | Failing,
  code: ErrorCode,
): Promise<number> {
  const engine = await loadEngine();
  const memory = () => JSON.stringify(engine.memory);
  const free = memory();
  const expected = await trial.begin();
  await trial.call(expected);
  const after = await trial.state(expected);
  await trial.end(expected);
  expect(memory()).toBe(free);

  let points = 0;
  for (const isFromThenOn of [false, true]) {
    for (let at = 1, hasEnded = false; !hasEnded; at++) {
      const what = `the use ${at}${isFromThenOn ? ', and those after it' : ''}`;
      const subject = await trial.begin();
      const before = await trial.state(subject);
      const used = engine.memory.bytes;
      const failing = await fail({ at, isFromThenOn }, subject);
      const outcome = await trial.call(subject).then(
        () => undefined,
        (error: unknown) => ({ error }),
      );
      failing.stop();
      hasEnded = failing.failed === 0;
      if (outcome) {
        expect(outcome.error, what).toBeInstanceOf(SparsifyError);
        expect((outcome.error as SparsifyError).code, `${what}: ${String(outcome.error)}`).toBe(code);
        expect(await trial.state(subject), what).toBe(before);
        expect(engine.memory.bytes - used, what).toBeLessThanOrEqual(trial.keeps ?? 0);
        await trial.call(subject);
      }
      expect(await trial.state(subject), what).toBe(after);
      await trial.end(subject);
      expect(memory(), what).toBe(free);
      points += Number(!hasEnded);
    }
  }
  return points;
}
