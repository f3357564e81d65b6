import { SparsifyError } from '../errors.js';
import { inSlices, stepsAtATime } from '../host/slices.js';
import { inputChannels } from '../model/channels.js';
import type { WeightTensor } from '../model/model.js';
import { productOf } from '../model/numbers.js';
import type { Input } from './inputs.js';

/** The sums of squares of the input channels of a layer. */
export class ChannelNorms {
  readonly #name: string;
  readonly #sums: Float64Array;

  constructor(tensor: WeightTensor) {
    this.#name = tensor.name;
    this.#sums = new Float64Array(inputChannels(tensor));
  }

  /**
   * Adds each number of an input once, in their order.
   * @throws SparsifyError `criteria` for another number of channels
   */
  async add({ shape, numbers }: Input, axis: number): Promise<void> {
    const sums = this.#sums;
    // A product with a vector has no axis before its only one.
    const at = axis < 0 ? Math.max(0, shape.length + axis) : axis;
    if (shape[at] !== sums.length) {
      throw new SparsifyError('criteria', 'the activations have a different number of channels than the layer', {
        subject: this.#name,
        given: sums.length,
        found: `[${shape.join(', ')}], axis ${at}`,
      });
    }
    const inner = productOf(shape.slice(at + 1));
    const addRuns = (from: number, to: number) => {
      for (let run = from; run < to; run++) {
        let sum = sums[run % sums.length]!;
        for (let index = run * inner; index < (run + 1) * inner; index++) sum += numbers[index]! ** 2;
        sums[run % sums.length] = sum;
      }
    };
    await inSlices(numbers.length / inner, addRuns, Math.ceil(stepsAtATime / inner));
  }

  result(): Float32Array {
    return Float32Array.from(this.#sums, Math.sqrt);
  }
}
