import { SparsifyError } from '../../errors.js';
import { isObject } from '../../model/json.js';
import { weightNames, type Config } from './keras-types.js';
import type { NamedLayer } from './scopes.js';

/** A layer of a Keras config, which may be inside models and wrappers. */
export interface Layer extends NamedLayer {
  readonly type: string;
  readonly config: Config;
  /** Its name in reports if no other layer has it, and its path otherwise. */
  readonly title: readonly string[];
  /** Whether it is inside a TimeDistributed wrapper: its input then has one more axis, the second one. */
  readonly isTimed: boolean;
}

/** More models and wrappers inside each other are refused. */
const deepest = 64;

function checkDepth(depth: number): void {
  if (depth <= deepest) return;
  throw new SparsifyError('format', 'models are nested too deeply', { found: `more than ${deepest} levels` });
}

/** The names of known types are shorter. */
export const longestType = 100;

/** A reference to an output of a layer, as configs have it. */
export type Reference = readonly [name: string, use: number, tensor: number];

/** All layers of a model in its order, including those inside nested models and wrappers. */
export function layersOf(model: Config): readonly Layer[] {
  const reader = new Reader();
  reader.model(model, [], 0);
  return reader.layers;
}

class Reader {
  readonly layers: Layer[] = [];

  /** The layers of a model. */
  model(model: Config, path: readonly string[], depth: number): void {
    checkDepth(depth);
    for (const item of listOf(model)) this.#layer(item, path, depth);
  }

  /** A layer of a model, and the layers inside of it. */
  #layer(item: Item, path: readonly string[], depth: number): void {
    const { class_name: type, config } = item;
    const own = [...path, nameOf(item)];
    if (Array.isArray(config.layers)) {
      this.#add(type, config, own, {});
      this.model(item, own, depth + 1);
      return;
    }
    const wrapped = isObject(config.layer) ? config.layer : undefined;
    if (type === 'TimeDistributed' && isLayer(wrapped)) {
      const { class_name: innerType, config: inner } = wrapped;
      if (Array.isArray(inner.layers)) {
        this.model(wrapped, own, depth + 1);
        return;
      }
      if (!isLayer(inner.layer) && !isLayer(inner.cell)) {
        // The names of its weights may begin with that of the wrapper or with its own.
        this.#add(innerType, inner, own, { others: [nameOf(wrapped)], isTimed: true });
        return;
      }
    }
    this.#add(type, config, own, {});
    this.#inside(type, config, own, depth + 1);
  }

  /** The layers inside a wrapper or a recurrent layer, which uses them in its own way. */
  #inside(type: string, { layer, cell }: Config, path: readonly string[], depth: number): void {
    checkDepth(depth);
    if (isLayer(cell)) this.#cells(cell, path);
    if (!isLayer(layer)) return;
    const { class_name: inner, config } = layer;
    if (Array.isArray(config.layers)) {
      this.model(layer, path, depth);
      return;
    }
    const name = nameOf(layer);
    // TensorFlow.js saves the forward layer, whose name already has the prefix. That of any layer may begin so, too.
    const plain = name.replace(/^forward_/, '');
    const directions = ['forward', 'backward'].map((direction) => ({
      own: [...path, `${direction}_${plain}`],
      others: name === plain ? [] : [`${direction}_${name}`],
    }));
    for (const { own, others } of type === 'Bidirectional' ? directions : [{ own: path, others: [name] }]) {
      this.#add(inner, config, own, { others });
      this.#inside(inner, config, own, depth + 1);
    }
  }

  /** The cell of a recurrent layer, or its several cells. */
  #cells(cell: Item, path: readonly string[]): void {
    if (!Array.isArray(cell.config.cells)) {
      this.#add(cell.class_name, cell.config, path, { others: [nameOf(cell)] });
      return;
    }
    for (const [index, each] of (cell.config.cells as unknown[]).entries()) {
      if (!isLayer(each)) continue;
      const title = [...path, nameOf(each)];
      this.#add(each.class_name, each.config, [...path, `RNNCell_${index}`], { others: [nameOf(each)], title });
    }
  }

  #add(
    type: string,
    config: Config,
    path: readonly string[],
    { others = [], isTimed = false, title = path }: Partial<Pick<Layer, 'others' | 'isTimed' | 'title'>>,
  ): void {
    const own = { type: type.slice(0, longestType), config, path, others, isTimed, title };
    this.layers.push({ ...own, weightNames: weightNames(type, config) });
  }
}

export interface Item extends Config {
  readonly class_name: string;
  readonly config: Config;
}

export const isLayer = (item: unknown): item is Item =>
  isObject(item) && typeof item.class_name === 'string' && isObject(item.config);

export const listIn = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);

/** The layers of a model. Very old Sequential configs are the list itself. */
export function listOf({ config }: Config): readonly Item[] {
  return listIn(isObject(config) ? config.layers : config).filter(isLayer);
}

export function nameOf({ name, config, class_name: type }: Config): string {
  if (typeof name === 'string') return name;
  return isObject(config) && typeof config.name === 'string' ? config.name : String(type);
}

/** References are nested in a few lists and objects. */
const deepestReference = 32;

/**
 * The outputs that a node of a config reads, as stored by Keras 2 (`[name, use, tensor]`) and Keras 3
 * (`keras_history`), in order.
 */
export function references(node: unknown): Reference[] {
  const found: Reference[] = [];
  const visit = (value: unknown, depth: number): void => {
    if (depth > deepestReference) {
      throw new SparsifyError('format', 'the inputs of a layer are nested too deeply', {
        found: `more than ${deepestReference} levels`,
      });
    }
    if (Array.isArray(value)) {
      const [name, use, tensor] = value as unknown[];
      if (typeof name === 'string' && typeof use === 'number') found.push([name, use, Number(tensor) || 0]);
      else for (const each of value) visit(each, depth + 1);
    } else if (isObject(value)) {
      if (Array.isArray(value.keras_history)) visit(value.keras_history, depth + 1);
      else for (const each of Object.values(value)) visit(each, depth + 1);
    }
  };
  visit(node, 0);
  return found;
}
