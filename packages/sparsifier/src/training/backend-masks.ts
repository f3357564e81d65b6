import type { LiveModel, TensorLike, TfLike, VariableLike } from '../formats/tfjs/live.js';
import type { Values, WeightTensor } from '../model/model.js';
import type { Granularity } from '../options/granularity.js';
import { unitsOfTensor } from '../options/units.js';
import type { UnitMask } from '../pruning/masks.js';
import { productOf } from '../model/numbers.js';

/** What is used of TensorFlow.js to mask weights. Its functions take only its own tensors, which are not named here. */
export interface MaskingTf extends TfLike {
  tidy(work: () => void): void;
  tensor(values: Float32Array | Uint8Array, shape: number[], dtype: 'float32' | 'bool'): TensorLike;
  broadcastTo(tensor: never, shape: never): TensorLike;
  zeros(shape: never): TensorLike;
  where(condition: never, chosen: never, other: never): TensorLike;
}

/** A variable of the model, some of whose weights become zero again after each step. */
interface Masked {
  readonly variable: VariableLike;
  /** True where a weight is kept. */
  readonly mask: TensorLike;
  /** Zeros of the same shape: broadcasting one zero takes longer than `where` itself. */
  readonly zeros: TensorLike;
}

/** The masks of a model in training, as tensors of the backend: what they remove becomes zero without leaving it. */
export class BackendMasks {
  readonly #tf: MaskingTf;
  readonly #live: LiveModel;
  readonly #granularity: Granularity;
  #masked: Masked[] = [];
  readonly #maskOf = new Map<VariableLike, TensorLike>();

  constructor(tf: MaskingTf, live: LiveModel, granularity: Granularity) {
    this.#tf = tf;
    this.#live = live;
    this.#granularity = granularity;
  }

  /** Takes these masks, by layer name, in place of those before. */
  take(masks: ReadonlyMap<string, UnitMask>): void {
    this.release();
    const named = new Map(this.#live.tensors.map((tensor) => [tensor.name, tensor]));
    for (const [name, mask] of masks) {
      if (mask.data.every((unit) => unit === 1)) continue;
      const tensor = named.get(name)!;
      this.#add(tensor.values, this.#expanded(tensor, mask));
      if (!unitsOfTensor(tensor, this.#granularity).isChannel) continue;
      for (const { values } of tensor.partners) {
        this.#add(values, this.#tf.tensor(mask.data, [mask.data.length], 'bool'));
      }
    }
  }

  /** Zeroes what the masks remove. */
  apply(): void {
    if (this.#masked.length === 0) return;
    this.#tf.tidy(() => {
      for (const { variable, mask, zeros } of this.#masked) {
        variable.assign(this.#tf.where(mask as never, variable as never, zeros as never) as never);
      }
    });
  }

  /** The mask of a variable, 1 where a weight is kept; undefined if all are. */
  of(variable: VariableLike): TensorLike | undefined {
    return this.#maskOf.get(variable);
  }

  release(): void {
    for (const { mask, zeros } of this.#masked) {
      mask.dispose();
      zeros.dispose();
    }
    this.#masked = [];
    this.#maskOf.clear();
  }

  #add(values: Values, mask: TensorLike): void {
    const variable = this.#live.placeOf(values).tensor() as VariableLike;
    this.#masked.push({ variable, mask, zeros: this.#tf.zeros(mask.shape as never) });
    if (!this.#maskOf.has(variable)) this.#maskOf.set(variable, mask);
  }

  /** A mask of all weights, from one of units. */
  #expanded(tensor: WeightTensor, { shape, data }: UnitMask): TensorLike {
    const whole = [...tensor.shape];
    if (shape.every((size, axis) => size === 1 || size === whole[axis])) {
      const units = this.#tf.tensor(data, [...shape], 'bool');
      const all = this.#tf.broadcastTo(units as never, whole as never);
      units.dispose();
      return all;
    }
    // In blocks, or with groups on an axis of the weights.
    const axes = [...unitsOfTensor(tensor, this.#granularity).axes].reverse();
    const all = new Uint8Array(productOf(whole));
    for (let weight = 0; weight < all.length; weight++) {
      let [rest, unit, stride] = [weight, 0, 1];
      for (const { size, block } of axes) {
        unit += Math.floor((rest % size) / block) * stride;
        stride *= Math.ceil(size / block);
        rest = Math.floor(rest / size);
      }
      all[weight] = data[unit]!;
    }
    return this.#tf.tensor(all, whole, 'bool');
  }
}
