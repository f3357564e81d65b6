import type { Model, WeightTensor } from '../model/model.js';
import type { Recipe, State } from '../options/criteria.js';
import type { SparsifierOptions } from '../options/options.js';
import type { Other } from './job.js';
import { comparedWith, givenBy, snapshotIn, snapshotsOf, type Snapshot } from './snapshots.js';

/** What the criterion of a Sparsifier compares weights with, as calls change it. */
export class Comparison {
  readonly #model: Model;
  readonly #options: SparsifierOptions;
  readonly #needs: Recipe['needs'];
  /** Undefined if the criterion needs nothing. */
  #snapshots: Map<WeightTensor, Snapshot> | undefined;

  constructor(model: Model, options: SparsifierOptions, needs: Recipe['needs']) {
    this.#model = model;
    this.#options = options;
    this.#needs = needs;
    const state = this.#state;
    if (state === undefined) return;
    this.#snapshots = givenBy(options, model.tensors, state);
    if (state === 'initial' || state === 'previous') this.#snapshots ??= snapshotsOf(model);
  }

  get #state(): State | undefined {
    return typeof this.#needs === 'string' ? this.#needs : undefined;
  }

  /** What the weights of a layer are compared with. @param least the least score that can be used */
  of(tensor: WeightTensor, least: number): Promise<Other | undefined> {
    const { statistics } = this.#options;
    return comparedWith(tensor, this.#needs, this.#model, this.#snapshots, { least, statistics });
  }

  /** Uses the current weights as the initial ones. */
  rewind(): void {
    if (this.#state !== 'initial') return;
    this.forget();
    this.#snapshots = snapshotsOf(this.#model);
  }

  /** Uses the current weights of layers as the previous ones. */
  update(tensors: readonly WeightTensor[]): void {
    if (this.#state !== 'previous') return;
    for (const tensor of tensors) {
      this.#snapshots?.get(tensor)?.release?.();
      this.#snapshots?.set(tensor, snapshotIn(this.#model, tensor));
    }
  }

  forget(): void {
    for (const { release } of this.#snapshots?.values() ?? []) release?.();
    this.#snapshots = undefined;
  }
}
