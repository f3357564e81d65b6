import type { Node, Value } from '../../onnx/graph.js';
import type { WeightEntry } from '../description.js';
import type { Layer } from '../keras-layers.js';
import { layerTypes, numberOf, type Config } from '../keras-types.js';
import type { Scopes } from '../scopes.js';
import { type Attributes } from './making.js';
import { Untranslated, type Translation } from './translation.js';

/** A number in a config that is the size of an axis of a weight. */
export interface Sized {
  readonly config: Config;
  readonly key: 'filters' | 'units' | 'output_dim';
  readonly weight: WeightEntry;
  readonly axis: number;
}

/** How a class of layers is translated. */
export interface LayerRule {
  /** The keys of its config that the rule takes into account. Any other that is set makes it not apply. */
  readonly keys: readonly string[];
  /**
   * Adds the nodes that compute what the layer does.
   * @returns its outputs
   * @throws Untranslated if it is not known what the layer does
   */
  readonly translate: (layer: LayerSite) => Value | readonly Value[];
}

/** Keys that say nothing of what a layer computes once it has weights. */
const ignored =
  /^(name|trainable|dtype|dtype_policy|batch_input_shape|batch_shape|input_shape|input_dtype|.*_(initializer|regularizer|constraint))$/;

/** The weight of a layer whose output channels are those of the layer, and its bias; nothing if they were not found. */
export function weightsOf(layer: Layer, scopes: Scopes): WeightEntry[] {
  const names =
    layerTypes
      .get(layer.type)?.(layer.config)
      .find(({ hasBias }) => hasBias)?.names ?? [];
  const scope = names.length === 0 ? undefined : scopes.of(layer, names);
  const weight = names.map((name) => scope?.get(name)).find((each) => each !== undefined);
  const bias = layer.config.use_bias === false ? undefined : scope?.get('bias');
  return weight === undefined ? [] : [weight, ...(bias === undefined ? [] : [bias])];
}

/** One use of a layer. */
export class LayerSite {
  readonly type: string;
  readonly config: Config;
  readonly name: string;

  constructor(
    readonly translation: Translation,
    readonly layer: Layer,
    readonly inputs: readonly Value[],
    readonly sizes: Sized[],
    readonly scopes: Scopes,
  ) {
    this.type = layer.type;
    this.config = layer.config;
    this.name = layer.title.join('/');
  }

  /** @throws Untranslated if a key is set that the rule does not take into account */
  check(keys: readonly string[]): void {
    const other = Object.entries(this.config).find(
      ([key, value]) =>
        !keys.includes(key) && !ignored.test(key) && value !== null && value !== undefined && value !== false,
    );
    if (other !== undefined) throw new Untranslated(`its option ${other[0]}`);
  }

  /** The only input. */
  get input(): Value {
    const [input, ...others] = this.inputs;
    if (input === undefined || others.length > 0) throw new Untranslated(`its ${this.inputs.length} inputs`);
    return input;
  }

  /** The number of axes of the first input. */
  get rank(): number {
    const rank = this.translation.rankOf(this.inputs[0]);
    if (rank === undefined) throw new Untranslated('the number of axes of its input is unknown');
    return rank;
  }

  /** @throws Untranslated if the first input has another number of axes */
  needsRank(rank: number): void {
    if (this.inputs[0] !== undefined) this.translation.assumeRank(this.inputs[0], rank);
    if (this.rank !== rank) throw new Untranslated(`its input has ${this.rank} axes`);
  }

  /** A weight, by its names in Keras and TensorFlow.js. */
  entry(...names: readonly string[]): WeightEntry {
    const scope = this.scopes.of(this.layer, names);
    const entry = names.map((name) => scope?.get(name)).find((each) => each !== undefined);
    if (entry === undefined) throw new Untranslated(`its weight ${names[0]} was not found`);
    return entry;
  }

  weight(...names: readonly string[]): Value {
    return this.translation.weight(this.entry(...names));
  }

  /** The bias, unless the layer has none. */
  bias(): Value | undefined {
    if (this.config.use_bias === false) return undefined;
    // That of another layer may have the same name.
    const [first] = layerTypes.get(this.type)?.(this.config) ?? [];
    const entry = first && this.scopes.of(this.layer, first.names)?.get('bias');
    if (entry === undefined) throw new Untranslated('its weight bias was not found');
    return this.translation.weight(entry);
  }

  node(op: string, inputs: readonly (Value | undefined)[], attributes?: Attributes, rank?: number | undefined): Value {
    return this.translation.node(op, this.name, inputs, attributes, rank);
  }

  /** Says that numbers can be added to an input of a node in place of what the node that computes `value` adds up. */
  foldsInto(value: Value, node: Node, input: number): void {
    this.translation.biases.set(this.translation.makerOf(value)!, { node, input, sign: 1 });
  }

  /** Says that a number of the config is the size of an axis of a weight. */
  sized(key: Sized['key'], weight: WeightEntry, axis: number): void {
    this.sizes.push({ config: this.config, key, weight, axis });
  }

  number(key: string, otherwise: number): number {
    const value = this.config[key] ?? otherwise;
    if (typeof value !== 'number' || !Number.isFinite(value)) throw new Untranslated(`its option ${key}`);
    return value;
  }

  text(key: string, otherwise: string): string {
    const value = this.config[key] ?? otherwise;
    if (typeof value !== 'string') throw new Untranslated(`its option ${key}`);
    return value;
  }

  /** A number of a config for each axis of space. */
  perAxis(key: string, axes: number, otherwise: unknown = 1): number[] {
    const value = this.config[key] ?? otherwise;
    const list: readonly unknown[] = Array.isArray(value) ? (value as unknown[]) : Array<unknown>(axes).fill(value);
    if (list.length !== axes || !list.every(Number.isSafeInteger)) throw new Untranslated(`its option ${key}`);
    return list as number[];
  }

  /** Of layers in one dimension, TensorFlow.js ignores it. */
  get isChannelsFirst(): boolean {
    const format = this.text('data_format', 'channels_last').replace('channelsFirst', 'channels_first');
    if (format !== 'channels_first' && format !== 'channels_last' && format !== 'channelsLast')
      throw new Untranslated('its option data_format');
    if (format === 'channels_first' && this.rank === 3) throw new Untranslated('its option data_format');
    return format === 'channels_first';
  }

  /** A value with its channels on the second axis, and the way back. */
  channelsFirst(value: Value, rank: number): Value {
    return this.isChannelsFirst ? value : this.moved(value, rank - 1, 1);
  }

  channelsLast(value: Value, rank: number): Value {
    return this.isChannelsFirst ? value : this.moved(value, 1, rank - 1);
  }

  /** A value of which one axis is in another place among the others. */
  moved(value: Value, from: number, to: number): Value {
    const rank = this.translation.rankOf(value)!;
    if (from === to) return value;
    const order = Array.from({ length: rank }, (_, axis) => axis).filter((axis) => axis !== from);
    order.splice(to, 0, from);
    return this.node('Transpose', [value], { perm: order });
  }

  /** The one axis of a config, counted from the front. */
  axis(otherwise = -1): number {
    const { axis } = this.config;
    const list: readonly unknown[] = Array.isArray(axis) ? (axis as unknown[]) : [axis ?? otherwise];
    const given = numberOf(list[0]);
    const place = given === undefined || given >= 0 ? given : given + this.rank;
    if (list.length !== 1 || place === undefined || !(place > 0 && place < this.rank))
      throw new Untranslated('its option axis');
    return place;
  }
}
