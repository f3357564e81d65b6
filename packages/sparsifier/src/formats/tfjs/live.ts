import type { Engine } from '../../engine/engine.js';
import { SparsifyError } from '../../errors.js';
import type { Kept, Model, Region, Values, WeightTensor } from '../../model/model.js';
import { describe } from './describe.js';
import { isObject, unusedName, type Holders, type WeightEntry } from './description.js';

/** What is used of a `tf.Tensor`. */
export interface TensorLike {
  readonly shape: number[];
  readonly dtype: string;
  readonly isDisposed: boolean;
  data(): Promise<ArrayLike<number>>;
  clone(): TensorLike;
  dispose(): void;
}

/** What is used of a `tf.Variable`. */
export interface VariableLike extends TensorLike {
  assign(tensor: never): void;
}

/** What is used of TensorFlow.js. */
export interface TfLike {
  tensor(values: Float32Array, shape: number[], dtype: 'float32'): TensorLike;
  keep(tensor: never): unknown;
}

/** What is used of a `tf.LayerVariable`. */
export interface WeightLike {
  readonly originalName: string;
  read(): TensorLike;
}

/** What is used of a `tf.layers.Layer`. */
export interface LayerLike {
  readonly name: string;
  readonly weights: readonly WeightLike[];
  /** Those of a model inside a model. */
  readonly layers?: readonly LayerLike[];
  /** That of a wrapper. */
  readonly layer?: LayerLike;
}

/** What is used of a `tf.LayersModel`. */
export interface LayersModelLike {
  readonly weights: readonly WeightLike[];
  readonly layers: readonly LayerLike[];
  toJSON(unused: null, returnString: false): unknown;
}

/** What is used of a `tf.GraphModel`. */
export interface GraphModelLike {
  readonly weights: Readonly<Record<string, readonly TensorLike[]>>;
}

/** Where a live model holds a tensor, and can be given another. */
interface Place {
  /** Different from those of all others. */
  readonly name: string;
  readonly holders?: Holders;
  tensor(): TensorLike;
  /** Takes the tensor over. */
  replace(tensor: TensorLike): void;
}

class LiveValues implements Values {
  readonly dtype = 'float32';
  constructor(
    readonly length: number,
    readonly place: Place,
  ) {}
}

/** A model of TensorFlow.js that is in use, on any backend. {@link fromTfjs} makes it. */
export interface LiveModel extends Model {
  /** The place that holds an array of numbers, for what works on the backend itself. */
  placeOf(values: Values): Place;
}

class BackendModel implements LiveModel {
  readonly tensors: readonly WeightTensor[];
  readonly skipped: Model['skipped'];
  readonly #tf: TfLike;

  constructor(tf: TfLike, topology: unknown, places: readonly Place[]) {
    const entries = places.map((place): WeightEntry => {
      const { shape, dtype } = place.tensor();
      return { name: place.name, shape, dtype, ...(place.holders && { holders: place.holders }) };
    });
    const { tensors, skipped } = describe(topology, entries);
    const values = new Map(
      places.map((place) => [
        place.name,
        new LiveValues(
          place.tensor().shape.reduce((a, b) => a * b, 1),
          place,
        ),
      ]),
    );
    this.#tf = tf;
    this.skipped = skipped;
    this.tensors = tensors.map(({ weight, partners, ...tensor }) => ({
      ...tensor,
      values: values.get(weight)!,
      partners: partners.map(({ part, weight }) => ({ part, values: values.get(weight)! })),
    }));
  }

  /** A scratch copy of the numbers. */
  async load(engine: Engine, values: Values): Promise<Region> {
    const numbers = await this.copy(values);
    const block = await engine.allocate(numbers.length);
    await block.write(numbers);
    return { block, offset: 0, bytes: numbers.length, release: () => block.free() };
  }

  /** Puts a scratch copy into the tensor's place. */
  async store(_engine: Engine, values: Values, { block, offset, bytes }: Region): Promise<void> {
    const { place } = live(values);
    const numbers = await block.read(offset, new Uint8Array(bytes));
    const { shape } = tensorIn(place);
    place.replace(this.#tf.tensor(new Float32Array(numbers.buffer), shape, 'float32'));
  }

  /** The numbers as they are when this is called. */
  async copy(values: Values): Promise<Uint8Array<ArrayBuffer>> {
    const kept = this.keep(values);
    try {
      return await kept.bytes();
    } finally {
      kept.release();
    }
  }

  /** A clone of the tensor, which shares the numbers: they stay as they are when the model gets others. */
  keep(values: Values): Kept {
    const clone = tensorIn(live(values).place).clone();
    // Not even a `tf.tidy` around the call takes it away.
    this.#tf.keep(clone as never);
    const bytes = async () => {
      const { buffer, byteOffset, byteLength } = (await clone.data()) as Float32Array;
      return new Uint8Array(buffer, byteOffset, byteLength).slice();
    };
    return { bytes, release: () => clone.dispose() };
  }

  placeOf(values: Values): Place {
    return live(values).place;
  }
}

/**
 * A model of TensorFlow.js that is in use: what a Sparsifier changes is changed in the model itself, on any backend. Weights
 * are copied to the engine and back once each. The optimizer and what is compiled stay as they are.
 * @param tf TensorFlow.js, which the caller has
 * @param model a `tf.LayersModel`, or a `tf.GraphModel`, whose weights are replaced by others
 * @throws SparsifyError `usage` for another thing, or a GraphModel whose weights cannot be replaced; `format` where the
 *   topology is not understood
 */
export function fromTfjs(tf: TfLike, model: LayersModelLike | GraphModelLike): LiveModel {
  if (typeof tf?.tensor !== 'function') {
    throw new SparsifyError('usage', 'the first argument is TensorFlow.js itself', { found: typeof tf });
  }
  const { weights } = model ?? {};
  if (Array.isArray(weights)) return fromLayersModel(tf, model as LayersModelLike);
  if (isObject(weights)) return fromGraphModel(tf, model as GraphModelLike);
  throw new SparsifyError('usage', 'the second argument is a tf.LayersModel or a tf.GraphModel', {
    found: typeof model,
    hint: 'Give the model that tf.loadLayersModel, tf.loadGraphModel or tf.sequential returned',
  });
}

/**
 * The `tf.Variable` of a weight.
 * @throws SparsifyError `usage` where the model is disposed
 */
export function variableOf(weight: WeightLike): VariableLike {
  try {
    return weight.read() as VariableLike;
  } catch (cause) {
    throw disposed(weight.originalName, cause);
  }
}

/** The layers that hold each weight of a model; a weight that models share has several. */
function holdersOf({ weights, layers }: LayersModelLike): ReadonlyMap<WeightLike, Holders> {
  const paths = new Map<WeightLike, string[][]>(weights.map((weight) => [weight, []]));
  const visit = (layers: readonly LayerLike[], around: readonly string[]): void => {
    for (const { name, weights, layers: inner, layer } of layers) {
      const path = [...around, name];
      const inside = inner ?? layer?.layers;
      if (inside !== undefined) visit(inside, path);
      else for (const weight of weights) paths.get(weight)?.push(path);
    }
  };
  visit(layers, []);
  return new Map([...paths].map(([weight, paths]) => [weight, { name: weight.originalName, paths }]));
}

/**
 * The names of a model's weights, each once. TensorFlow.js gives the weights of layers of one name the same names, where they
 * lie in different models: those are put behind the names of these models.
 */
export function weightNames(model: LayersModelLike): ReadonlyMap<WeightLike, string> {
  return namesOf(holdersOf(model));
}

function namesOf(holders: ReadonlyMap<WeightLike, Holders>): ReadonlyMap<WeightLike, string> {
  const counts = new Map<string, number>();
  for (const { name } of holders.values()) counts.set(name, (counts.get(name) ?? 0) + 1);
  const taken = new Set([...counts].filter(([, count]) => count === 1).map(([name]) => name));
  const names = new Map<WeightLike, string>();
  for (const [weight, { name, paths }] of holders) {
    const own = counts.get(name) === 1 ? name : unusedName([...(paths[0] ?? []).slice(0, -1), name].join('/'), taken);
    taken.add(own);
    names.set(weight, own);
  }
  return names;
}

function fromLayersModel(tf: TfLike, model: LayersModelLike): LiveModel {
  const holders = holdersOf(model);
  const places = [...namesOf(holders)].map(([weight, name]): Place => {
    const variable = variableOf(weight);
    return {
      name,
      holders: holders.get(weight)!,
      tensor: () => variable,
      replace(tensor) {
        // Not `write`, which would apply constraints: weights that stay keep their bits.
        variable.assign(tensor as never);
        tensor.dispose();
      },
    };
  });
  return new BackendModel(tf, model.toJSON(null, false), places);
}

/** What a `tf.GraphModel` of version 3 and 4 has beside its types. */
interface Insides {
  readonly artifacts?: { readonly modelTopology?: unknown };
  readonly executor?: { weightMap?: Readonly<Record<string, readonly TensorLike[]>> };
}

function fromGraphModel(tf: TfLike, model: GraphModelLike): LiveModel {
  const { artifacts, executor } = model as GraphModelLike & Insides;
  const topology = artifacts?.modelTopology;
  if (topology === undefined || executor?.weightMap === undefined) {
    throw new SparsifyError('usage', 'this version of TensorFlow.js does not let weights of a GraphModel be replaced', {
      hint: 'Read the files with readTfjs, make them sparse, and load the result with tf.loadGraphModel',
    });
  }
  const tensorsOf = (name: string) => executor.weightMap![name]!;
  const places = Object.keys(executor.weightMap).map((name): Place => ({
    name,
    tensor: () => tensorsOf(name)[0]!,
    replace(tensor) {
      const [before, ...rest] = tensorsOf(name);
      // Set as a whole: the executor lists the tensors that a run must not dispose when it is.
      executor.weightMap = { ...executor.weightMap, [name]: [tensor, ...rest] };
      before!.dispose();
    },
  }));
  for (const { name, tensor } of places) checkAlive(name, tensor());
  return new BackendModel(tf, topology, places);
}

function live(values: Values): LiveValues {
  if (values instanceof LiveValues) return values;
  throw new SparsifyError('usage', 'the values are those of another model');
}

function tensorIn(place: Place): TensorLike {
  const tensor = place.tensor();
  checkAlive(place.name, tensor);
  return tensor;
}

function checkAlive(subject: string, { isDisposed }: TensorLike): void {
  if (isDisposed) throw disposed(subject);
}

const disposed = (subject: string, cause?: unknown): SparsifyError =>
  new SparsifyError('usage', 'the model is disposed', { subject, hint: 'Load or build it again' }, { cause });
