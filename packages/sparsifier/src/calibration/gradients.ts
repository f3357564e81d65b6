import { SparsifyError } from '../errors.js';
import {
  fromTfjs,
  type LayersModelLike,
  type TensorLike,
  type TfLike,
  type VariableLike,
} from '../formats/tfjs/live.js';
import { typeOf, type Skipped } from '../model/model.js';
import { handled, readable } from '../options/listener.js';
import { batchesOf, noBatches, type Batches } from './batches.js';
import { productOf } from '../model/numbers.js';

/** Gradients of the loss, for a Sparsifier with the criterion `taylor`. */
export interface Gradients {
  /** The mean over batches, by layer: its option `gradient`. */
  readonly gradient: Readonly<Record<string, Float32Array>>;
  /** Layers that have none, and why. */
  readonly skipped: readonly Pick<Skipped, 'name' | 'reason'>[];
}

interface NamedVariable {
  readonly name: string;
  readonly trainable: boolean;
}

/** What is used of TensorFlow.js to compute gradients. */
export interface GradientTf extends TfLike {
  variableGrads(loss: never, variables: never): { readonly value: unknown; readonly grads: unknown };
}

/**
 * The gradient of the loss for each weight of a `tf.LayersModel`, the mean over batches: the option `gradient` of a
 * Sparsifier with the criterion `taylor` (Molchanov et al. 2019).
 * @param loss returns the loss of a batch as a scalar tensor, computed by the model's own layers:
 *   `({ x, y }) => tf.losses.softmaxCrossEntropy(y, model.apply(x))`
 * @throws SparsifyError as `fromTfjs`; `criteria` if there is no batch or a gradient is not finite
 */
export async function gradientsOfTfjs<Batch>(
  tf: GradientTf,
  model: LayersModelLike,
  batches: Batches<Batch>,
  loss: (batch: Batch) => unknown,
): Promise<Gradients> {
  const live = fromTfjs(tf, model);
  const isLoss = typeof loss === 'function' && typeof tf.variableGrads === 'function';
  if (!isLoss) {
    throw new SparsifyError('usage', '`loss` is a function that returns the loss of a batch as a scalar tensor', {
      found: typeOf(loss),
    });
  }
  const variables = live.tensors.map(({ values }) => live.placeOf(values).tensor() as VariableLike & NamedVariable);
  const sums = variables.map(({ shape, trainable }) => (trainable ? new Float64Array(productOf(shape)) : undefined));
  const isReached = variables.map(() => false);
  let count = 0;
  for await (const batch of batchesOf(() => batches)) {
    const { value, grads } = tf.variableGrads(
      (() => scalar(readable('`loss`', loss(batch)))) as never,
      variables as never,
    );
    (value as TensorLike).dispose();
    // Variables that the loss does not depend on are missing, and those of frozen layers are null.
    const found = grads as Readonly<Record<string, TensorLike | null>>;
    try {
      for (const [index, { name }] of variables.entries()) {
        const numbers = await found[name]?.data();
        if (numbers) isReached[index] = true;
        for (let place = 0; place < (numbers?.length ?? 0); place++) sums[index]![place]! += numbers![place]!;
      }
    } finally {
      for (const gradient of Object.values(found)) gradient?.dispose();
    }
    count++;
  }
  if (count === 0) throw noBatches();
  const gradient: Record<string, Float32Array> = {};
  const skipped: Pick<Skipped, 'name' | 'reason'>[] = [];
  for (const [index, { name }] of live.tensors.entries()) {
    const sum = sums[index];
    if (!sum) skipped.push({ name, reason: 'it is not trainable' });
    else if (!isReached[index]) skipped.push({ name, reason: 'the loss does not depend on it' });
    else if (sum.every(Number.isFinite)) gradient[name] = Float32Array.from(sum, (each) => each / count);
    else throw new SparsifyError('criteria', 'a gradient is infinite or not a number', { subject: name });
  }
  return { gradient, skipped };
}

/** @throws SparsifyError `criteria` for a loss that is no scalar tensor */
function scalar(loss: unknown): unknown {
  const { shape, dispose } = (loss ?? {}) as Partial<TensorLike>;
  if (Array.isArray(shape) && shape.length === 0 && typeof dispose === 'function') return loss;
  handled(loss);
  throw new SparsifyError('criteria', '`loss` must return a scalar tensor', {
    found: Array.isArray(shape) ? `shape [${shape.join(', ')}]` : typeOf(loss),
  });
}
