import { SparsifyError } from '../errors.js';
import type { FileModel } from '../formats/file-model.js';
import { activationsIn, withOutputs } from '../formats/onnx/activations.js';
import { incomingNodes } from '../formats/tfjs/graph.js';
import { isObject } from '../formats/tfjs/description.js';
import {
  fromTfjs,
  type GraphModelLike,
  type LayersModelLike,
  type TensorLike,
  type TfLike,
  type VariableLike,
} from '../formats/tfjs/live.js';
import { inputChannels } from '../pruning/snapshots.js';
import type { Model, Skipped } from '../model/model.js';

/** For a Sparsifier with the criterion `wanda`. */
export interface Calibration {
  /** The norm of the activations of each input channel, over all batches, by layer: its option `activations`. */
  readonly activations: Readonly<Record<string, Float32Array>>;
  /** Layers whose activations cannot be had, and why. */
  readonly skipped: readonly Skipped[];
}

/** Batches one after the other. */
export type Batches<Batch> = Iterable<Batch> | AsyncIterable<Batch>;

/** What is used of a tensor of `onnxruntime`. */
export interface OnnxTensorLike {
  readonly type: string;
  readonly dims: readonly number[];
  readonly data: unknown;
}

/** What is used of an `onnxruntime` session. */
export interface SessionLike<Feeds> {
  run(feeds: Feeds): Promise<Readonly<Record<string, OnnxTensorLike>>>;
  release?(): Promise<void>;
}

/**
 * The norms of what goes into each layer of an ONNX model, `sqrt(sum of squares)` of each input channel over all positions
 * and batches (Wanda, Sun et al. 2023).
 * @param batches the inputs of the model, as the session takes them
 * @param createSession makes a session of a model's bytes: `(bytes) => InferenceSession.create(bytes)`. The model has
 *   further outputs, and the names of its external data are those of the model. The session is released afterwards.
 * @throws SparsifyError `criteria` where there is no batch or an activation is not finite; what the session throws
 */
export async function activationsOfOnnx<Feeds>(
  model: FileModel,
  batches: Batches<Feeds>,
  createSession: (bytes: Uint8Array<ArrayBuffer>) => Promise<SessionLike<Feeds>>,
): Promise<Calibration> {
  if (model.format !== 'ONNX') {
    throw new SparsifyError('usage', 'activationsOfOnnx takes an ONNX model', { found: `${model.format} model` });
  }
  const bytes = await model.bytes();
  const file = { name: 'model.onnx', bytes };
  const incoming = activationsIn(file);
  const norms = new Norms(model, (name) =>
    incoming.get(name)?.length ? undefined : 'it has no activations as its input',
  );
  const session = await createSession(
    withOutputs(
      file,
      norms.names.flatMap((name) => incoming.get(name)!.map(({ value }) => value)),
    ),
  );
  try {
    for await (const batch of batches) {
      const outputs = await session.run(batch);
      norms.count();
      for (const name of norms.names) {
        for (const { value, axis } of incoming.get(name)!) {
          // An input of the model is no output of it.
          const tensor = outputs[value] ?? inputOf(batch, value, name);
          norms.add(name, tensor.dims, floatsOf(tensor, name), axis);
        }
      }
    }
  } finally {
    await session.release?.();
  }
  return norms.result();
}

/** The numbers of a tensor; half precision comes as bits where JavaScript has no array for it. */
function floatsOf({ type, data }: OnnxTensorLike, subject: string): ArrayLike<number> {
  if (type === 'float32') return data as Float32Array;
  if (type === 'float16') return data instanceof Uint16Array ? Float32Array.from(data, halfOf) : (data as Float32Array);
  throw new SparsifyError('criteria', 'activations are numbers of 32 or 16 bits', { subject, found: type });
}

/** What the bits of a number of half precision mean (IEEE 754, binary16). */
function halfOf(bits: number): number {
  const [exponent, fraction] = [(bits >> 10) & 0x1f, bits & 0x3ff];
  const sign = bits & 0x8000 ? -1 : 1;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

function inputOf(batch: unknown, value: string, subject: string): OnnxTensorLike {
  const found = isObject(batch) ? batch[value] : undefined;
  if (isObject(found) && Array.isArray(found.dims)) return found as never;
  throw new SparsifyError('criteria', 'the session does not give what goes into the layer', { subject, asked: value });
}

/** What is used of TensorFlow.js to look inside models. */
export interface CalibrationTf extends TfLike {
  model(parts: { inputs: never; outputs: never }): { predictOnBatch(batch: never): unknown };
}

/** A use of a layer. */
interface InboundNode {
  readonly inputTensors: readonly SymbolicTensorLike[];
}

/** What a use of a layer gives. */
interface SymbolicTensorLike {
  readonly sourceLayer: { readonly inboundNodes: readonly InboundNode[] };
  readonly nodeIndex: number;
}

/** What is used of the layers of a `tf.LayersModel`. */
interface Insides {
  readonly inputs: readonly SymbolicTensorLike[];
  readonly outputs: readonly SymbolicTensorLike[];
  readonly layers: readonly {
    readonly name: string;
    getConfig(): Readonly<Record<string, unknown>>;
    readonly inboundNodes: readonly InboundNode[];
  }[];
}

/** The uses of layers that lead to a model's outputs: a layer may be used in other models, too. */
function nodesOf({ outputs }: Insides): ReadonlySet<InboundNode> {
  const nodes = new Set<InboundNode>();
  const tensors = [...outputs];
  for (const { sourceLayer, nodeIndex } of tensors) {
    const node = sourceLayer.inboundNodes[nodeIndex];
    if (node === undefined || nodes.has(node)) continue;
    nodes.add(node);
    tensors.push(...node.inputTensors);
  }
  return nodes;
}

/**
 * The norms of what goes into each layer of a TensorFlow.js model in use, as of {@link activationsOfOnnx}.
 * @param batches what `predict` or `execute` of the model takes; they are not disposed
 * @throws SparsifyError as `fromTfjs`; `criteria` where there is no batch or an activation is not finite
 */
export async function activationsOfTfjs(
  tf: CalibrationTf,
  model: LayersModelLike | GraphModelLike,
  batches: Batches<unknown>,
): Promise<Calibration> {
  const live = fromTfjs(tf, model);
  const probe = Array.isArray(model.weights)
    ? probeLayers(tf, model as LayersModelLike & Insides, live)
    : probeGraph(model as GraphModelLike, live);
  const norms = new Norms(live, probe.reason);
  for await (const batch of batches) {
    norms.count();
    for (const [name, axis, tensor] of probe.run(batch, norms.names)) {
      try {
        norms.add(name, tensor.shape, (await tensor.data()) as Float32Array, axis);
      } finally {
        tensor.dispose();
      }
    }
  }
  return norms.result();
}

interface Probe {
  /** Why a layer's activations cannot be had. */
  readonly reason: (name: string) => string | undefined;
  readonly run: (batch: unknown, names: readonly string[]) => Iterable<readonly [string, number, TensorLike]>;
}

function probeLayers(tf: CalibrationTf, model: LayersModelLike & Insides, live: Model): Probe {
  const layerOf = (name: string) => model.layers.find((layer) => layer.name === name);
  const kindOf = (name: string) => live.tensors.find((tensor) => tensor.name === name)?.kind;
  const nodes = nodesOf(model);
  const inputsOf = (name: string) =>
    layerOf(name)!
      .inboundNodes.filter((node) => nodes.has(node))
      .flatMap(({ inputTensors }) => inputTensors.slice(0, 1));
  const axisOf = (name: string) => (layerOf(name)!.getConfig().dataFormat === 'channelsFirst' ? 1 : -1);
  return {
    reason: (name) => {
      if (kindOf(name) === 'embedding') return 'it looks up rows, which have no activations';
      return layerOf(name) ? undefined : 'its input lies inside another layer or model';
    },
    *run(batch, names) {
      const wanted = names.flatMap((name) => inputsOf(name).map((tensor) => ({ name, tensor })));
      const outputs = wanted.map(({ tensor }) => tensor);
      const inside = tf.model({ inputs: model.inputs as never, outputs: outputs as never });
      const results = [inside.predictOnBatch(batch as never)].flat() as TensorLike[];
      for (const [index, { name }] of wanted.entries()) {
        // What the model is given itself comes out as the very tensor that the caller keeps.
        const result = results[index]!;
        yield [name, axisOf(name), result.clone()];
        if (![batch].flat().includes(result) && results.indexOf(result, index + 1) < 0) result.dispose();
      }
    },
  };
}

function probeGraph(model: GraphModelLike, live: Model): Probe {
  const { artifacts, execute } = model as GraphModelLike & {
    readonly artifacts: { readonly modelTopology: { readonly node: readonly unknown[] } };
    execute(inputs: never, names: string[]): unknown;
  };
  const incoming = incomingNodes(artifacts.modelTopology.node);
  const nodesOf = (name: string) => {
    const tensor = live.tensors.find((each) => each.name === name)!;
    return [name, ...tensor.aliases].flatMap((node) => incoming.get(node) ?? []);
  };
  return {
    reason: (name) => (nodesOf(name).length > 0 ? undefined : 'it has no activations as its input'),
    *run(batch, names) {
      const wanted = names.flatMap((name) => nodesOf(name).map((node) => ({ name, ...node })));
      const nodes = wanted.map(({ input }) => input);
      const results = [execute.call(model, batch as never, nodes)].flat() as TensorLike[];
      for (const [index, { name, axis }] of wanted.entries()) {
        const result = results[index]!;
        yield [name, axis, result.clone()];
        if (![batch].flat().includes(result) && results.indexOf(result, index + 1) < 0) result.dispose();
      }
    },
  };
}

/** For a Sparsifier with the criterion `taylor`. */
export interface Gradients {
  /** The mean over batches, by layer: its option `gradient`. */
  readonly gradient: Readonly<Record<string, Float32Array>>;
  /** Layers that have none, and why. */
  readonly skipped: readonly Skipped[];
}

interface NamedVariable {
  readonly name: string;
  readonly trainable: boolean;
}

/** What is used of TensorFlow.js to work gradients out. */
export interface GradientTf extends TfLike {
  variableGrads(loss: never, variables: never): { readonly value: unknown; readonly grads: unknown };
}

/**
 * The gradient of the loss for each weight of a `tf.LayersModel`, the mean over batches: the option `gradient` of a
 * Sparsifier with the criterion `taylor` (Molchanov et al. 2019).
 * @param loss gives the loss of a batch as a scalar tensor, by the model's own layers:
 *   `({ x, y }) => tf.losses.softmaxCrossEntropy(y, model.apply(x))`
 * @throws SparsifyError as `fromTfjs`; `criteria` where there is no batch or a gradient is not finite
 */
export async function gradientsOfTfjs<Batch>(
  tf: GradientTf,
  model: LayersModelLike,
  batches: Batches<Batch>,
  loss: (batch: Batch) => unknown,
): Promise<Gradients> {
  const live = fromTfjs(tf, model);
  const variables = live.tensors.map(({ values }) => live.placeOf(values).tensor() as VariableLike & NamedVariable);
  const sums = variables.map(({ shape, trainable }) =>
    trainable ? new Float64Array(shape.reduce((a, b) => a * b, 1)) : undefined,
  );
  const isReached = variables.map(() => false);
  let count = 0;
  for await (const batch of batches) {
    const { value, grads } = tf.variableGrads((() => loss(batch)) as never, variables as never);
    (value as TensorLike).dispose();
    // There is none of what the loss does not depend on, and null of what is frozen.
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
  const skipped: Skipped[] = [];
  for (const [index, { name }] of live.tensors.entries()) {
    const sum = sums[index];
    if (!sum) skipped.push({ name, reason: 'it is not trainable' });
    else if (!isReached[index]) skipped.push({ name, reason: 'the loss does not depend on it' });
    else if (sum.every(Number.isFinite)) gradient[name] = Float32Array.from(sum, (each) => each / count);
    else throw new SparsifyError('criteria', 'a gradient is infinite or not a number', { subject: name });
  }
  return { gradient, skipped };
}

const noBatches = (): SparsifyError =>
  new SparsifyError('criteria', 'there is no batch', { hint: 'Give some inputs that are like those in use' });

/** Sums of squares by layer and input channel. */
class Norms {
  /** The layers whose activations can be had. */
  readonly names: readonly string[];
  readonly #sums = new Map<string, Float64Array>();
  readonly #skipped: Skipped[] = [];
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
    const inner = shape.slice(at + 1).reduce((a, b) => a * b, 1);
    if (shape[at] !== sums.length) {
      throw new SparsifyError('criteria', 'the activations have another number of channels than the layer', {
        subject: name,
        asked: sums.length,
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
