import { Listener } from '../options/listener.js';
import type { FitProgress } from './options.js';

/** Tells how far a call has come, of whose work only the order of magnitude is known before. */
export class Work {
  readonly #listener: Listener<FitProgress>;
  readonly #begun = performance.now();
  readonly #total: number;
  /** What is done before the part that runs, and how much of that part is. */
  #before = 0;
  #within = 0;
  #size = 0;

  /** @param total the sizes of all parts together */
  constructor(onProgress: ((progress: FitProgress) => void) | undefined, total: number) {
    this.#listener = new Listener(onProgress);
    this.#total = total;
  }

  /** Begins the next part; the one before has ended. */
  begin(size: number): void {
    this.#before += this.#size;
    [this.#size, this.#within] = [size, 0];
  }

  /** Of the part, this much more is done than before, but never all: how many steps it takes is not known. */
  step(stage: FitProgress['stage'], more = 1): void {
    this.#tell(stage, this.#within + Math.min(more, (this.#size - this.#within) / 2));
  }

  /** Of the part, this share is done. */
  share(stage: FitProgress['stage'], share: number): void {
    this.#tell(stage, this.#size * share);
  }

  /** All work is done. */
  async end(stage: FitProgress['stage']): Promise<void> {
    this.begin(0);
    this.#before = this.#total;
    this.#tell(stage, 0);
    await this.#listener.settle();
  }

  #tell(stage: FitProgress['stage'], within: number): void {
    this.#within = within;
    const [done, total] = [this.#before + within, this.#total];
    const seconds = (performance.now() - this.#begun) / 1000;
    // What is done at first says nothing about the rest.
    const remaining = done < total / 50 ? undefined : (seconds / done) * (total - done);
    this.#listener.tell({ stage, done, total, remaining });
  }
}
