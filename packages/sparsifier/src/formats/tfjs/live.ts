import { isObject } from '../../model/json.js';
import type { Engine } from '../../engine/engine.js';
import { SparsifyError, attempt } from '../../errors.js';
import { shareTurns } from '../../model/turns.js';
import { typeOf, type Kept, type Model, type Region, type Values, type WeightTensor } from '../../model/model.js';
import { describe } from './describe.js';
import { lengthOf, mostIntegers, outputsIn, UnusedNames, type Holders, type WeightEntry } from './description.js';
import { productOf } from '../../model/numbers.js';

/** The members of a `tf.Tensor` that are used. */
export interface TensorLike {
  readonly shape: number[];
  readonly dtype: string;
  readonly isDisposed: boolean;
  data(): Promise<ArrayLike<number>>;
  dataSync?(): ArrayLike<number>;
  clone(): TensorLike;
  dispose(): void;
}

/** The members of a `tf.Variable` that are used. */
export interface VariableLike extends TensorLike {
  assign(tensor: never): void;
}

/** The functions of TensorFlow.js that are used. */
export interface TfLike {
  tensor(values: Float32Array, shape: number[], dtype: 'float32'): TensorLike;
  keep(tensor: never): unknown;
}

/** The members of a `tf.LayerVariable` that are used. */
export interface WeightLike {
  readonly originalName: string;
  read(): TensorLike;
}

/** The members of a `tf.layers.Layer` that are used. */
export interface LayerLike {
  readonly name: string;
  readonly weights: readonly WeightLike[];
  /** The layers of a nested model. */
  readonly layers?: readonly LayerLike[];
  /** The layer inside a wrapper. */
  readonly layer?: LayerLike;
}

/** The members of a `tf.LayersModel` that are used. */
export interface LayersModelLike {
  readonly weights: readonly WeightLike[];
  readonly layers: readonly LayerLike[];
  toJSON(unused: null, returnString: false): unknown;
}

/** The members of a `tf.GraphModel` that are used. */
export interface GraphModelLike {
  readonly weights: Readonly<Record<string, readonly TensorLike[]>>;
}

/** Where a live model keeps a tensor, which can be replaced there. */
interface Place {
  /** Unique in the model. */
  readonly name: string;
  readonly holders?: Holders;
  tensor(): TensorLike;
  /** Takes ownership of the tensor. */
  replace(tensor: TensorLike): void;
}

class LiveValues implements Values {
  readonly dtype = 'float32';
  constructor(
    readonly length: number,
    readonly place: Place,
  ) {}
}

function entryOf(name: string, tensor: TensorLike, holders?: Holders): WeightEntry {
  const { shape, dtype } = tensor;
  const isList = holders === undefined && dtype === 'int32' && lengthOf({ shape }) <= mostIntegers;
  const integers = isList ? integersIn(tensor) : undefined;
  return { name, shape, dtype, ...(holders && { holders }), ...(integers && { integers }) };
}

/** Short lists of integers. Some backends can only copy them later, once they have moved them to a graphics card. */
function integersIn(tensor: TensorLike): number[] | undefined {
  try {
    return tensor.dataSync && Array.from(tensor.dataSync());
  } catch {
    return undefined;
  }
}

/** The weights of a GraphModel, without their numbers. */
export const entriesOf = ({ weights }: GraphModelLike): WeightEntry[] =>
  Object.entries(weights).map(([name, [tensor]]) => entryOf(name, tensor!));

/** A live TensorFlow.js model, on any backend, as {@link fromTfjs} returns it. */
export interface LiveModel extends Model {
  /** The place of an array of numbers, for code that works on the backend directly. */
  placeOf(values: Values): Place;
}

class BackendModel implements LiveModel {
  readonly tensors: readonly WeightTensor[];
  readonly skipped: Model['skipped'];
  readonly weights: number;
  readonly #tf: TfLike;

  constructor(tf: TfLike, topology: unknown, places: readonly Place[], outputs?: ReadonlySet<string>) {
    const entries = places.map((place) => entryOf(place.name, place.tensor(), place.holders));
    const { tensors, skipped, weights } = describe(topology, entries, outputs);
    const values = new Map(places.map((place) => [place.name, new LiveValues(productOf(place.tensor().shape), place)]));
    this.#tf = tf;
    this.skipped = skipped;
    this.weights = weights;
    this.tensors = tensors.map(({ weight, partners, bias, ...tensor }) => ({
      ...tensor,
      values: values.get(weight)!,
      partners: partners.map(({ part, weight }) => ({ part, values: values.get(weight)! })),
      ...(bias && { bias: { values: values.get(bias.weight)!, sign: bias.sign } }),
    }));
  }

  /** A scratch copy of the numbers. */
  async load(engine: Engine, values: Values): Promise<Region> {
    const numbers = await this.copy(values);
    const block = await engine.allocate(numbers.length);
    await block.write(numbers);
    return { block, offset: 0, bytes: numbers.length, release: () => block.free() };
  }

  /** Replaces the tensor by a scratch copy. */
  async store(_engine: Engine, values: Values, { block, offset, bytes }: Region): Promise<void> {
    const { place } = live(values);
    const numbers = await block.read(offset, new Uint8Array(bytes));
    const { shape } = tensorIn(place);
    place.replace(this.#tf.tensor(new Float32Array(numbers.buffer), shape, 'float32'));
  }

  /** The current numbers. */
  async copy(values: Values): Promise<Uint8Array<ArrayBuffer>> {
    const kept = this.keep(values);
    try {
      return await kept.bytes();
    } finally {
      kept.release();
    }
  }

  /** A clone of the tensor, which keeps these numbers when the tensor in the model is replaced. */
  keep(values: Values): Kept {
    const clone = tensorIn(live(values).place).clone();
    // Otherwise a `tf.tidy` around the call would dispose it.
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
 * Wraps a live TensorFlow.js model, on any backend. A Sparsifier changes the weights of the model itself. Each weight
 * is copied to the engine and back once. The optimizer and the compiled state of the model are kept.
 * @param tf the TensorFlow.js module
 * @param model a `tf.LayersModel` or a `tf.GraphModel`
 * @throws SparsifyError `usage` if it is neither, or a GraphModel whose weights cannot be replaced; `format` if the
 *   topology is not understood
 */
export function fromTfjs(tf: TfLike, model: LayersModelLike | GraphModelLike): LiveModel {
  checkTf(tf);
  const { weights, isLayers } = attempt('the model', () => {
    const { weights, layers, toJSON } = (model ?? {}) as Partial<LayersModelLike>;
    return { weights, isLayers: [weights, layers].every(Array.isArray) && typeof toJSON === 'function' };
  });
  if (isLayers) return sharing(fromLayersModel(tf, model as LayersModelLike), model);
  if (isObject(weights)) return sharing(fromGraphModel(tf, model as GraphModelLike), model);
  throw new SparsifyError('usage', 'the second argument must be a tf.LayersModel or a tf.GraphModel', {
    found: typeOf(model),
    hint: 'Pass the model that tf.loadLayersModel, tf.loadGraphModel or tf.sequential returned',
  });
}

/** Calls take turns also with those on other wrappers of the same model. */
function sharing(live: LiveModel, model: LayersModelLike | GraphModelLike): LiveModel {
  shareTurns(live, model);
  return live;
}

/** @throws SparsifyError `usage` for anything but the TensorFlow.js module */
export function checkTf(tf: unknown): void {
  const isTf = attempt('TensorFlow.js', () => typeof (tf as Partial<TfLike> | null | undefined)?.tensor === 'function');
  if (!isTf) {
    throw new SparsifyError('usage', 'the first argument must be TensorFlow.js itself', { found: typeOf(tf) });
  }
}

/**
 * The `tf.Variable` of a weight.
 * @throws SparsifyError `usage` if the model is disposed
 */
export function variableOf(weight: WeightLike): VariableLike {
  try {
    return weight.read() as VariableLike;
  } catch (cause) {
    throw disposed(weight.originalName, cause);
  }
}

/** The layers that have each weight of a model. A weight that models share has several. */
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
 * Unique names of the weights of a model. In TensorFlow.js, weights of layers with the same name in different nested
 * models have the same names. Those are prefixed with the names of their models.
 */
export function weightNames(model: LayersModelLike): ReadonlyMap<WeightLike, string> {
  return namesOf(holdersOf(model));
}

function namesOf(holders: ReadonlyMap<WeightLike, Holders>): ReadonlyMap<WeightLike, string> {
  const counts = new Map<string, number>();
  for (const { name } of holders.values()) counts.set(name, (counts.get(name) ?? 0) + 1);
  const unused = new UnusedNames([...counts].filter(([, count]) => count === 1).map(([name]) => name));
  const names = new Map<WeightLike, string>();
  for (const [weight, { name, paths }] of holders) {
    names.set(weight, counts.get(name) === 1 ? name : unused.take([...(paths[0] ?? []).slice(0, -1), name].join('/')));
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
        // Not `write`, which applies constraints: kept weights must not change by a bit.
        variable.assign(tensor as never);
        tensor.dispose();
      },
    };
  });
  return new BackendModel(tf, model.toJSON(null, false), places);
}

/** Members of a `tf.GraphModel` in versions 3 and 4 that its types do not show. */
interface Insides {
  readonly artifacts?: { readonly modelTopology?: unknown };
  readonly executor?: { weightMap?: Readonly<Record<string, readonly TensorLike[]>> };
}

function fromGraphModel(tf: TfLike, model: GraphModelLike): LiveModel {
  const { artifacts, executor } = model as GraphModelLike & Insides;
  const topology = artifacts?.modelTopology;
  if (topology === undefined || executor?.weightMap === undefined) {
    throw new SparsifyError(
      'usage',
      'the weights of a GraphModel cannot be replaced in this version of TensorFlow.js',
      {
        hint: 'Read the files with `readTfjs`, prune that model, and load the result with `tf.loadGraphModel`',
      },
    );
  }
  const tensorsOf = (name: string) => executor.weightMap![name]!;
  const places = Object.keys(executor.weightMap).map((name): Place => ({
    name,
    tensor: () => tensorsOf(name)[0]!,
    replace(tensor) {
      const [before, ...rest] = tensorsOf(name);
      // The whole map is set, because its setter lists the tensors that a run must not dispose.
      executor.weightMap = { ...executor.weightMap, [name]: [tensor, ...rest] };
      before!.dispose();
    },
  }));
  for (const { name, tensor } of places) checkAlive(name, tensor());
  return new BackendModel(tf, topology, places, outputsIn(artifacts as Readonly<Record<string, unknown>>));
}

function live(values: Values): LiveValues {
  if (attempt('the values', () => values instanceof LiveValues)) return values as LiveValues;
  throw new SparsifyError('usage', 'the values belong to another model');
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
