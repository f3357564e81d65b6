import type { Block, Engine } from '../engine/engine.js';
import { SparsifyError } from '../errors.js';
import { firstNotFinite, productOf } from '../model/numbers.js';
import type { Activations } from './probe.js';

/** An input of layers. */
export interface Input {
  readonly shape: readonly number[];
  readonly numbers: Float32Array;
  /** Where a copy lies in shared memory. */
  readonly block: Block;
}

/** What layers read of one batch, copied to shared memory once for all that read the same value. */
export class Inputs {
  readonly #engine: Engine;
  readonly #taken = new Map<string, Input>();

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /**
   * @param layer the name of the layer that reads the value, for errors
   * @returns undefined if the value has no numbers
   * @throws SparsifyError `criteria` if the value is missing, is not made of floats, or has numbers that are not finite
   */
  async take(activations: Activations, value: string, layer: string): Promise<Input | undefined> {
    const known = this.#taken.get(value);
    if (known) return known;
    const activation = activations.get(value);
    if (activation === undefined) {
      throw new SparsifyError('criteria', 'the session does not return the input of the layer', {
        subject: layer,
        given: value,
      });
    }
    const { shape, type } = activation;
    const numbers = await activation.numbers();
    if (numbers === undefined) {
      throw new SparsifyError('criteria', 'activations must be float32 or float16', { subject: layer, found: type });
    }
    if (numbers.length !== productOf(shape)) {
      throw new SparsifyError('criteria', 'the shape and the numbers of an activation disagree', {
        subject: layer,
        given: `[${shape.join(', ')}]`,
        found: `${numbers.length} numbers`,
      });
    }
    if (numbers.length === 0) return undefined;
    if ((await firstNotFinite(numbers)) !== undefined) {
      throw new SparsifyError('criteria', 'an input of the layer is infinite or not a number', {
        subject: layer,
        hint: 'Look for such numbers in the inputs of the model',
      });
    }
    const block = await this.#engine.allocate(numbers.byteLength);
    const input = { shape, numbers, block };
    this.#taken.set(value, input);
    await block.write(new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength));
    return input;
  }

  /** Frees the copy of a value. */
  drop(value: string): void {
    this.#taken.get(value)?.block.free();
    this.#taken.delete(value);
  }

  free(): void {
    for (const value of [...this.#taken.keys()]) this.drop(value);
  }
}
