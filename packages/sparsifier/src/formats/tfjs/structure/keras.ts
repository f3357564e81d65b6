import { isObject } from '../../../model/json.js';
import type { Value } from '../../onnx/graph.js';
import { unknownSize, type Shape } from '../../onnx/shapes.js';
import {
  isLayer,
  listIn,
  listOf,
  longestType,
  nameOf,
  references,
  type Item,
  type Layer,
  type Reference,
} from '../keras-layers.js';
import type { Config } from '../keras-types.js';
import type { Scopes } from '../scopes.js';
import { LayerSite, weightsOf, type Sized } from './layer.js';
import { activated } from './layers/activations.js';
import { normalized } from './layers/norms.js';
import { bidirectional } from './layers/recurrent.js';
import { layerRules } from './layers/table.js';
import { inOrder } from './order.js';
import { Translation, Untranslated } from './translation.js';

/** A network of Keras layers as a graph. */
export interface KerasTranslation {
  readonly translation: Translation;
  /** The numbers of configs that are sizes of weights. */
  readonly sizes: readonly Sized[];
}

interface KerasOptions {
  /** Those that callers give for inputs whose number of axes the model does not say. */
  readonly shapes?: Readonly<Record<string, readonly number[]>>;
  /** Whether layers are also read that nothing is known to come to: those in models that are not followed. */
  readonly isForMasks?: boolean;
}

/** Translates a Keras model. */
export function translateKeras(
  model: Config,
  layers: readonly Layer[],
  scopes: Scopes,
  options: KerasOptions,
): KerasTranslation {
  const reader = new KerasReader(layers, scopes, options);
  for (const value of reader.model(model, [], undefined)) if (value !== undefined) reader.translation.markOutput(value);
  return reader;
}

/** Layers that do the same for each step of a sequence as for a value without steps. */
const timed =
  /^(Dense|Activation|(Leaky)?ReLU|ELU|ThresholdedReLU|BatchNormalization|LayerNormalization|Softmax|.*Dropout|GaussianNoise)$/;

/** The axis of all inputs that their samples are on. */
const batch = unknownSize('batch');

class KerasReader implements KerasTranslation {
  readonly translation: Translation;
  readonly sizes: Sized[] = [];
  readonly #layers: ReadonlyMap<string, Layer>;
  readonly #scopes: Scopes;
  readonly #options: KerasOptions;
  /** The models that were read by themselves. */
  readonly #apart = new Set<string>();

  constructor(layers: readonly Layer[], scopes: Scopes, options: KerasOptions) {
    this.#layers = new Map(layers.map((layer) => [keyOf(layer.path), layer]));
    this.#scopes = scopes;
    this.#options = options;
    this.translation = new Translation(options.isForMasks);
  }

  /**
   * The outputs of a model.
   * @param given the inputs of a model inside another one
   */
  model(model: Config, path: readonly string[], given: readonly Value[] | undefined): readonly (Value | undefined)[] {
    const items = listOf(model);
    if (model.class_name === 'Sequential') return this.#sequence(items, path, given);
    const { input_layers: inputs, output_layers: outputs } = isObject(model.config) ? model.config : {};
    const values = new Map<string, readonly Value[]>();
    for (const [place, [name]] of references(inputs).entries())
      if (given?.[place] !== undefined) values.set(keyOf([name, 0]), [given[place]]);
    const calls = callsOf(items).filter(({ key }) => !values.has(key));
    const counts = new Map(items.map((item) => [nameOf(item), listIn(item.inbound_nodes).length]));
    // A model inside a model has a call more than the config lists.
    const keyIn = ([name, use]: Reference) => keyOf([name, counts.get(name)! > 1 ? use : 0]);
    const valueOf = (reference: Reference) => values.get(keyIn(reference))?.[reference[2]];
    for (const { item, key, from, node, isShared } of inOrder(
      calls,
      ({ key }) => key,
      ({ from }) => from.map(keyIn),
    )) {
      const read = from.map(valueOf);
      const own = [...path, nameOf(item)];
      const isInput = from.length === 0 && item.class_name === 'InputLayer' && given === undefined;
      values.set(
        key,
        isInput ? [this.#input(item)] : this.#layer(item, own, read, { isShared, isPlain: isPlain(node) }),
      );
    }
    return references(outputs).map(valueOf);
  }

  #sequence(
    items: readonly Item[],
    path: readonly string[],
    given: readonly Value[] | undefined,
  ): readonly (Value | undefined)[] {
    let values: readonly Value[] | undefined = given;
    for (const item of items) {
      if (item.class_name === 'InputLayer') values ??= [this.#input(item)];
      else {
        values ??= [this.#input(item, `${nameOf(item)}_input`)];
        values = this.#layer(item, [...path, nameOf(item)], values, { isShared: false, isPlain: true });
      }
    }
    return values ?? [];
  }

  #input(item: Item, name = nameOf(item)): Value {
    const { batch_input_shape: stated, batch_shape: shape = stated } = item.config;
    const inner = listOf(item)[0];
    // A model that begins with another one has the input of that.
    if (shape === undefined && inner !== undefined) return this.#input(inner, name);
    const sizes = Array.isArray(shape)
      ? shape.map((size, axis) => (typeof size === 'number' ? size : axis === 0 ? batch : unknownSize()))
      : undefined;
    const known: Shape | undefined = sizes ?? this.#options.shapes?.[name]?.map(() => unknownSize());
    return this.translation.input(name, known);
  }

  /** The outputs of a layer, which is called once or is one of the calls of a shared layer. */
  #layer(
    item: Item,
    path: readonly string[],
    given: readonly (Value | undefined)[],
    { isShared, isPlain }: { readonly isShared: boolean; readonly isPlain: boolean },
  ): readonly Value[] {
    const { translation } = this;
    const { class_name: type, config } = item;
    const name = path.join('/');
    const title = titleOf(item);
    const inputs = given.filter((value) => value !== undefined);
    const isModel = Array.isArray(config.layers);
    let reason: string | undefined;
    if (inputs.length !== given.length) reason = 'the topology does not say what all of its inputs are';
    else if (!isPlain) reason = 'it is called with options';
    else if (isModel && isShared) reason = 'it is a model that is called several times';
    if (reason !== undefined) return this.#opaque(item, path, inputs, reason);
    const ports = isObject(item.config) ? references(item.config.input_layers) : [];
    if (isModel && type !== 'Sequential' && ports.length !== inputs.length)
      return this.#opaque(item, path, inputs, 'its inputs are not those of its call');
    if (isModel) {
      const outputs = this.model(item, path, translation.staying(title, name, inputs));
      return translation.staying(
        title,
        name,
        outputs.filter((value) => value !== undefined),
      );
    }
    // Calls of a shared layer would have to lose the same channels, and have the same constants.
    const read = isShared ? translation.staying(title, name, inputs) : inputs;
    const outputs = translation.attempt(() => this.#translated(item, path, read));
    if (typeof outputs === 'string') return this.#opaque(item, path, inputs, outputs);
    return isShared ? translation.staying(title, name, outputs) : outputs;
  }

  /** A layer that is not followed. Its own channels may begin in it nevertheless. */
  #opaque(item: Item, path: readonly string[], inputs: readonly Value[], reason: string): readonly Value[] {
    const { translation } = this;
    const [title, name] = [titleOf(item), path.join('/')];
    const layer = translation.isForMasks ? this.#layers.get(keyOf(path)) : undefined;
    if (translation.isForMasks) this.#readApart(item, path);
    if (layer === undefined) return translation.opaque(title, name, inputs, reason);
    const site = this.#site(layer, inputs);
    if (layer.type === 'BatchNormalization') return inputs.map((input) => normalized(site, input));
    const entries = weightsOf(layer, this.#scopes);
    const own = {
      weights: entries.map((entry) => translation.weight(entry)),
      isDepthwise: layer.type.startsWith('Depthwise'),
      rank: layer.type === 'Dense' ? translation.rankOf(inputs[0]) : entries[0]?.shape.length,
    };
    const outputs = translation.opaque(title, name, inputs, reason, own);
    if (entries.length === 0) return outputs;
    const after = translation.attempt(() => [activated(site, outputs[0]!)]);
    return typeof after === 'string' ? translation.opaque(title, name, outputs, after) : after;
  }

  /** Reads a model in a layer that is not followed: its channels end where its outputs do. */
  #readApart(item: Item, path: readonly string[]): void {
    const { layer: wrapped } = item.config;
    const model = [item, wrapped].find((each) => isLayer(each) && Array.isArray(each.config.layers));
    const key = keyOf(path);
    if (model === undefined || this.#apart.has(key)) return;
    this.#apart.add(key);
    for (const value of this.model(model as Item, path, undefined)) if (value) this.translation.markOutput(value);
  }

  #translated({ class_name: type, config }: Item, path: readonly string[], inputs: readonly Value[]): readonly Value[] {
    const layer = this.#layers.get(keyOf(path));
    if (layer === undefined) throw new Untranslated('it was not found');
    const site = this.#site(layer, inputs);
    const { layer: wrapped } = config;
    if (type === 'Bidirectional' && isLayer(wrapped)) {
      const plain = nameOf(wrapped).replace(/^forward_/, '');
      const directions = ['forward', 'backward'].flatMap((direction) => {
        const inner = this.#layers.get(keyOf([...path, `${direction}_${plain}`]));
        return inner === undefined ? [] : [this.#site(inner, inputs)];
      });
      return bidirectional(site, directions);
    }
    if (type === 'TimeDistributed') this.#checkTimed(config, layer);
    const rule = layerRules.get(layer.type);
    if (rule === undefined || (type !== layer.type && type !== 'TimeDistributed'))
      throw new Untranslated('there is no rule for it');
    site.check(rule.keys);
    return [rule.translate(site)].flat();
  }

  #site(layer: Layer, inputs: readonly Value[]): LayerSite {
    return new LayerSite(this.translation, layer, inputs, this.sizes, this.#scopes);
  }

  /** @throws Untranslated unless the layer does the same for a value with one more axis */
  #checkTimed(outer: Config, { type, config }: Layer): void {
    const { layer: _, name: __, trainable: ___, dtype: ____, batch_input_shape: _____, ...others } = outer;
    const isSet = Object.values(others).some((value) => value !== null && value !== undefined && value !== false);
    const axis: unknown = Array.isArray(config.axis) ? (config.axis as unknown[])[0] : config.axis;
    if (isSet || !timed.test(type) || (typeof axis === 'number' && axis !== -1))
      throw new Untranslated('there is no rule for it');
  }
}

/** The class of a layer, which some files make very long. */
const titleOf = ({ class_name: type }: Item): string => `${type.slice(0, longestType)} layer`;

const keyOf = (parts: readonly (string | number)[]): string => JSON.stringify(parts);

/** One call of a layer. */
interface LayerCall {
  readonly item: Item;
  readonly key: string;
  readonly from: readonly Reference[];
  readonly node: unknown;
  readonly isShared: boolean;
}

function callsOf(items: readonly Item[]): LayerCall[] {
  return items.flatMap((item) => {
    const nodes = listIn(item.inbound_nodes);
    const isShared = nodes.length > 1;
    return (nodes.length === 0 ? [[]] : nodes).map((node, use) => ({
      ...{ item, key: keyOf([nameOf(item), use]), from: references(node), node, isShared },
    }));
  });
}

/** Whether a call has no options besides the values that it reads, such as `training`. */
function isPlain(node: unknown): boolean {
  const isUnset = (value: unknown): boolean =>
    value === null || value === undefined || value === false || hasHistory(value);
  const isEmpty = (options: unknown) => !isObject(options) || Object.values(options).every(isUnset);
  // Keras 3 has them beside the inputs, and Keras 2 behind each of them.
  if (isObject(node)) return isEmpty(node.kwargs);
  const [name, , , options] = listIn(node);
  return typeof name === 'string' ? isEmpty(options) : listIn(node).every(isPlain);
}

/** Whether a value is one or several outputs of layers. */
const hasHistory = (value: unknown): boolean =>
  Array.isArray(value)
    ? value.length > 0 && value.every(hasHistory)
    : isObject(value) && isObject(value.config) && Array.isArray(value.config.keras_history);
