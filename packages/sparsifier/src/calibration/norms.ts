import { SparsifyError } from '../errors.js';
import { inputChannels } from '../model/channels.js';
import type { Model, Skipped } from '../model/model.js';
import { productOf } from '../model/numbers.js';
import { noBatches } from './batches.js';

export type { Batches } from './batches.js';

/** Norms of activations, for a Sparsifier with the criterion `wanda`. */
export interface Calibration {
  /** The norm of the activations of each input channel, over all batches, by layer: its option `activations`. */
  readonly activations: Readonly<Record<string, Float32Array>>;
  /** Layers whose activations are not available, and why. */
  readonly skipped: readonly Pick<Skipped, 'name' | 'reason'>[];
}

/** Sums of squares by layer and input channel. */
export class Norms {
  /** The layers whose activations are available. */
  readonly names: readonly string[];
  readonly #sums = new Map<string, Float64Array>();
  readonly #skipped: Pick<Skipped, 'name' | 'reason'>[] = [];
  #batches = 0;

  constructor(model: Model, reason: (name: string) => string | undefined) {
    for (const tensor of model.tensors) {
      const obstacle = reason(tensor.name);
      if (obstacle === undefined) this.#sums.set(tensor.name, new Float64Array(inputChannels(tensor)));
      else this.#skipped.push({ name: tensor.name, reason: obstacle });
    }
    this.names = [...this.#sums.keys()];
  }

  count(): void {
    this.#batches++;
  }

  add(name: string, shape: readonly number[], numbers: ArrayLike<number>, axis: number): void {
    const sums = this.#sums.get(name)!;
    // A product with a vector has no axis before its only one.
    const at = axis < 0 ? Math.max(0, shape.length + axis) : axis;
    const inner = productOf(shape.slice(at + 1));
    if (shape[at] !== sums.length) {
      throw new SparsifyError('criteria', 'the activations have a different number of channels than the layer', {
        subject: name,
        given: sums.length,
        found: `[${shape.join(', ')}], axis ${at}`,
      });
    }
    for (let index = 0; index < numbers.length; index++) {
      sums[Math.floor(index / inner) % sums.length]! += numbers[index]! ** 2;
    }
    if (sums.every(Number.isFinite)) return;
    throw new SparsifyError('criteria', 'an activation is infinite or not a number', { subject: name });
  }

  result(): Calibration {
    if (this.#batches === 0) throw noBatches();
    const activations = Object.fromEntries(
      [...this.#sums].map(([name, sums]) => [name, Float32Array.from(sums, Math.sqrt)]),
    );
    return { activations, skipped: this.#skipped };
  }
}
