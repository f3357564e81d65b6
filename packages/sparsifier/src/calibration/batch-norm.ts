import { attempt, SparsifyError } from '../errors.js';
import {
  checkTf,
  variableOf,
  type LayerLike,
  type LayersModelLike,
  type TensorLike,
  type TfLike,
  type VariableLike,
} from '../formats/tfjs/live.js';
import { inSlices, stepsAtATime } from '../host/slices.js';
import { typeOf, type Skipped } from '../model/model.js';
import { productOf } from '../model/numbers.js';
import { askedFor, inTurn } from '../model/turns.js';
import { batchesOf, noBatches, type Batches, givesBatches } from './batches.js';

/** The members of a `tf.LayersModel` that are used to run it. */
export interface RunnableModel extends LayersModelLike {
  predictOnBatch(batch: never): unknown;
}

/** A batch normalisation whose statistics were estimated anew. */
export interface RecalibratedNorm {
  readonly name: string;
  /** How many numbers of each channel its mean and variance are taken over. */
  readonly count: number;
}

export interface BatchNormReport {
  /** In the order in which the model runs them. */
  readonly layers: readonly RecalibratedNorm[];
  /** Batch normalisations that are as before, and why. */
  readonly skipped: readonly Pick<Skipped, 'name' | 'reason'>[];
}

/**
 * Estimates the moving mean and variance of all batch normalisations of a `tf.LayersModel` anew, trainable or not, those
 * inside other models and wrappers included. Pruning changes what they normalise.
 *
 * From front to back, each gets the mean and the variance of its inputs in all batches, computed by the layers before it
 * as they then are; so the model runs on all batches once for each of them. The variance is the mean of the squared
 * differences from the mean, as TensorFlow.js computes it when it trains (`tf.moments`), not the estimate with n - 1. A
 * layer that is used several times gets those of all its uses.
 * @param tf the TensorFlow.js module
 * @param batches returns what `predict` takes, the same each time it is called; not disposed
 * @throws SparsifyError `usage` for another model, such as a GraphModel, in which normalisations usually are part of
 *   other layers; `criteria` if there is no batch, or a number is not finite. Then all layers are as before.
 */
export async function recalibrateBatchNorm(
  tf: TfLike,
  model: RunnableModel,
  batches: () => Batches<unknown>,
): Promise<BatchNormReport> {
  checkArguments(tf, model, batches);
  return inTurn(model, () => recalibrated(tf, model, askedFor(model, batches)));
}

async function recalibrated(
  tf: TfLike,
  model: RunnableModel,
  batches: () => Batches<unknown>,
): Promise<BatchNormReport> {
  const norms = normsIn(model.layers);
  const order = norms.length > 0 ? await orderOf(model, batches, norms) : [];
  const isRun = new Set(order);
  const skipped = norms
    .filter((norm) => !isRun.has(norm))
    .map(({ name }) => ({ name, reason: 'the model does not run it' }));
  const layers: RecalibratedNorm[] = [];
  const undo: (() => void)[] = [];
  try {
    for (const norm of order) {
      const { name, mean, variance } = norm;
      const sums = await sumsOf(tf, model, batches, norm);
      if (sums.count < 2) {
        skipped.push({ name, reason: 'a single number per channel has no variance' });
        continue;
      }
      undo.push(await replace(tf, mean, sums.mean), await replace(tf, variance, sums.variance));
      layers.push({ name, count: sums.count });
    }
  } catch (error) {
    for (const each of undo) each();
    throw error;
  }
  return { layers, skipped };
}

function checkArguments(tf: unknown, model: unknown, batches: unknown): void {
  checkTf(tf);
  const { layers, predictOnBatch, execute } = attempt('the model', () => {
    const { layers, predictOnBatch, execute } = (model ?? {}) as Readonly<Record<string, unknown>>;
    return { layers, predictOnBatch, execute };
  });
  if (!Array.isArray(layers) || typeof predictOnBatch !== 'function') {
    throw new SparsifyError('usage', 'the second argument must be a tf.LayersModel', {
      found: typeof execute === 'function' ? 'tf.GraphModel' : typeOf(model),
      ...(typeof execute === 'function' && { hint: 'Its batch normalisations usually are part of other layers' }),
    });
  }
  givesBatches(batches, '`batches`');
}

/** What is used of a `tf.layers.BatchNormalization`. */
interface BatchNormLike extends LayerLike {
  call(inputs: unknown, options: unknown): unknown;
  getConfig(): Readonly<Record<string, unknown>>;
}

/** A batch normalisation of a model. */
interface Norm {
  /** Its own, or the whole path if several have the same. */
  readonly name: string;
  readonly layer: BatchNormLike;
  readonly axis: number;
  readonly mean: VariableLike;
  readonly variance: VariableLike;
}

/** All batch normalisations of a model, each once. */
function normsIn(layers: readonly LayerLike[]): Norm[] {
  const paths = new Map<BatchNormLike, readonly string[]>();
  const visit = (layer: LayerLike, around: readonly string[]): void => {
    const path = [...around, layer.name];
    const type = (layer as { getClassName?: () => string }).getClassName?.();
    if (type === 'BatchNormalization' && !paths.has(layer as BatchNormLike)) paths.set(layer as BatchNormLike, path);
    for (const inner of [...(layer.layers ?? []), ...(layer.layer ? [layer.layer] : [])]) visit(inner, path);
  };
  for (const layer of layers) visit(layer, []);
  const counts = new Map<string, number>();
  for (const { name } of paths.keys()) counts.set(name, (counts.get(name) ?? 0) + 1);
  return Array.from(paths, ([layer, path]) => {
    const weightOf = (part: string) =>
      layer.weights.find(({ originalName }) => originalName.split('/').at(-1) === part)!;
    return {
      name: counts.get(layer.name)! > 1 ? path.join('/') : layer.name,
      layer,
      // In some configs it is a list of one.
      axis: Number(layer.getConfig().axis),
      mean: variableOf(weightOf('moving_mean')),
      variance: variableOf(weightOf('moving_variance')),
    };
  });
}

/** Those that the model runs, in the order in which it first does. */
async function orderOf(
  model: RunnableModel,
  batches: () => Batches<unknown>,
  norms: readonly Norm[],
): Promise<readonly Norm[]> {
  for await (const batch of batchesOf(batches)) {
    const order = new Set<Norm>();
    run(model, batch, norms, (norm) => order.add(norm));
    return [...order];
  }
  throw noBatches();
}

/** Runs a model while the inputs of some layers are seen. */
function run(
  model: RunnableModel,
  batch: unknown,
  norms: readonly Norm[],
  see: (norm: Norm, input: TensorLike) => void,
): void {
  const restore = norms.map((norm) => {
    const { layer } = norm;
    const own = Object.getOwnPropertyDescriptor(layer, 'call');
    const call = layer.call.bind(layer);
    layer.call = (inputs, options) => {
      see(norm, [inputs].flat()[0] as TensorLike);
      return call(inputs, options);
    };
    return () => (own ? Object.defineProperty(layer, 'call', own) : Reflect.deleteProperty(layer, 'call'));
  });
  try {
    const own = new Set<unknown>([batch, ...Object.values(batch ?? {})]);
    const outputs = [model.predictOnBatch(batch as never)].flat() as TensorLike[];
    for (const output of new Set(outputs)) if (!own.has(output)) output.dispose();
  } finally {
    for (const each of restore) each();
  }
}

/** The sums of the inputs of a layer in all batches. */
async function sumsOf(
  tf: TfLike,
  model: RunnableModel,
  batches: () => Batches<unknown>,
  norm: Norm,
): Promise<ChannelSums> {
  const sums = new ChannelSums(productOf(norm.mean.shape));
  for await (const batch of batchesOf(batches)) {
    const inputs: TensorLike[] = [];
    try {
      run(model, batch, [norm], (_, input) => {
        const clone = input.clone();
        // Otherwise it is disposed with what else the model computes.
        tf.keep(clone as never);
        inputs.push(clone);
      });
      for (const input of inputs) await sums.add(input.shape, await input.data(), norm.axis);
    } finally {
      for (const input of inputs) input.dispose();
    }
    if (sums.isFinite) continue;
    throw new SparsifyError('criteria', 'an activation is infinite or not a number', { subject: norm.name });
  }
  return sums;
}

/** The means and variances of channels, of all numbers that were added. */
class ChannelSums {
  /** How many numbers each channel has. */
  count = 0;
  readonly #means: Float64Array;
  /** The sums of the squared differences from these means. */
  readonly #squares: Float64Array;

  constructor(channels: number) {
    this.#means = new Float64Array(channels);
    this.#squares = new Float64Array(channels);
  }

  /** Joins the moments of further numbers with those so far (Chan et al. 1979). */
  async add(shape: readonly number[], numbers: ArrayLike<number>, axis: number): Promise<void> {
    const channels = this.#means.length;
    const inner = productOf(shape.slice((axis < 0 ? axis + shape.length : axis) + 1));
    const count = numbers.length / channels;
    const sum = async (term: (number: number, channel: number) => number): Promise<Float64Array> => {
      const sums = new Float64Array(channels);
      const addRuns = (from: number, to: number) => {
        for (let run = from; run < to; run++) {
          const channel = run % channels;
          for (let index = run * inner; index < (run + 1) * inner; index++) {
            sums[channel]! += term(numbers[index]!, channel);
          }
        }
      };
      await inSlices(numbers.length / inner, addRuns, Math.ceil(stepsAtATime / inner));
      return sums;
    };
    if (count === 0) return;
    const means = (await sum((number) => number)).map((total) => total / count);
    const squares = await sum((number, channel) => (number - means[channel]!) ** 2);
    const total = this.count + count;
    for (let channel = 0; channel < channels; channel++) {
      const apart = means[channel]! - this.#means[channel]!;
      this.#means[channel]! += (apart * count) / total;
      this.#squares[channel]! += squares[channel]! + (apart ** 2 * this.count * count) / total;
    }
    this.count = total;
  }

  get mean(): Float32Array {
    return Float32Array.from(this.#means);
  }

  get variance(): Float32Array {
    return Float32Array.from(this.#squares, (sum) => sum / this.count);
  }

  get isFinite(): boolean {
    return [this.mean, this.variance].every((numbers) => this.count === 0 || numbers.every(Number.isFinite));
  }
}

/** Replaces the numbers of a variable; the function that comes back restores them. */
async function replace(tf: TfLike, variable: VariableLike, numbers: Float32Array): Promise<() => void> {
  const before = Float32Array.from(await variable.data());
  const assign = (values: Float32Array) => {
    const tensor = tf.tensor(values, variable.shape, 'float32');
    variable.assign(tensor as never);
    tensor.dispose();
  };
  assign(numbers);
  return () => assign(before);
}
