import { SparsifyError } from '../../errors.js';
import { isObject } from '../../model/json.js';
import { rankAfter, weightNames, type Config } from './keras-types.js';
import type { NamedLayer } from './scopes.js';

/** A layer of a Keras config, which may be inside models and wrappers. */
export interface Layer extends NamedLayer {
  readonly type: string;
  readonly config: Config;
  /** Its name in reports if no other layer has it, and its path otherwise. */
  readonly title: readonly string[];
  /** Whether it is inside a TimeDistributed wrapper: its input then has one more axis, the second one. */
  readonly isTimed: boolean;
  /** Each use of the layer; none for cells, which recurrent layers use. */
  readonly calls: readonly Call[];
}

/** One use of a layer: the value that it computes from those of others. */
export interface Call {
  readonly layer: Layer;
  readonly inputs: ReadonlySet<Call>;
  /** Whether these are all of its inputs, each once. */
  readonly isWhole: boolean;
  /** The calls that read its value, each once. */
  readonly readers: readonly Call[];
  /** Whether it is an output of the model, or may have readers that the config does not tell. */
  readonly isReadElsewhere: boolean;
  /** The number of axes of its value, if it follows from the config. */
  readonly rank: number | undefined;
}

type Mutable<Type> = { -readonly [Key in keyof Type]: Type[Key] };
interface Draft extends Mutable<Call> {
  inputs: Set<Draft>;
  readers: Draft[];
}

/** Where the values of a model, or of a layer in it, come in and go out. */
interface Ports {
  /** The calls that read the inputs of a use. */
  inputsOf(use: number): readonly Draft[];
  /** The call that computes an output; undefined if the config does not tell. */
  outputOf(use: number, tensor: number): Draft | undefined;
}

/** Those of a whole model. */
interface ModelPorts extends Ports {
  readonly outputs: readonly (Draft | undefined)[];
}

/** More models and wrappers inside each other are refused. */
const deepest = 64;

function checkDepth(depth: number): void {
  if (depth <= deepest) return;
  throw new SparsifyError('format', 'models are nested too deeply', { found: `more than ${deepest} levels` });
}

/** The names of known types are shorter. Expressions are matched with a type once for each use of its layers. */
const longestType = 100;

/** If a node and a model in it have different numbers of values, more pairs of them are not looked at. */
const mostConnections = 2 ** 12;

/** A reference to an output of a layer, as configs have it. */
export type Reference = readonly [name: string, use: number, tensor: number];

/** All layers of a model in its order, including those inside nested models and wrappers. */
export function layersOf(model: Config): readonly Layer[] {
  const reader = new Reader();
  reader.markOutputs(reader.model(model, [], 0));
  reader.findRanks();
  return reader.layers;
}

/** The calls in an order in which those of inputs come first. Calls in a circle are left out. */
export function inOrder<Each extends Call>(calls: readonly Each[]): Each[] {
  const waiting = new Map<Call, number>(calls.map((call) => [call, call.inputs.size]));
  const ready = calls.filter(({ inputs }) => inputs.size === 0);
  // The list grows while it is read.
  for (const { readers } of ready) {
    for (const reader of readers as readonly Each[]) {
      waiting.set(reader, waiting.get(reader)! - 1);
      if (waiting.get(reader) === 0) ready.push(reader);
    }
  }
  return ready;
}

class Reader {
  readonly layers: Layer[] = [];
  readonly #calls: Draft[] = [];
  /** Whether an input of some call is not known. */
  #isUnclear = false;

  /** The layers of a model. */
  model(model: Config, path: readonly string[], depth: number): ModelPorts {
    checkDepth(depth);
    const items = listOf(model);
    const isSequential = model.class_name === 'Sequential';
    const parts = new Map<string, Ports>();
    for (const item of items) {
      const uses = isSequential ? 1 : Math.max(1, listIn(item.inbound_nodes).length);
      parts.set(nameOf(item), this.#layer(item, path, depth, uses));
    }
    if (isSequential) return this.#sequence(items, parts);
    for (const item of items) {
      for (const [use, node] of listIn(item.inbound_nodes).entries()) {
        const values = references(node).map(([name, from, tensor]) => parts.get(name)?.outputOf(from, tensor));
        this.#connect(values, parts.get(nameOf(item))!.inputsOf(use));
      }
    }
    const { input_layers: inputs, output_layers: outputs } = isObject(model.config) ? model.config : {};
    const ends = references(outputs).map(([name, use, tensor]) => parts.get(name)?.outputOf(use, tensor));
    const begins = references(inputs).flatMap(([name]) => parts.get(name)?.inputsOf(0) ?? []);
    return { inputsOf: () => begins, outputOf: (_, tensor) => ends[tensor], outputs: ends };
  }

  /** @param outputs those of the whole model */
  markOutputs({ outputs }: ModelPorts): void {
    const ends = new Set(outputs);
    const isUnclear = this.#isUnclear || ends.size === 0 || ends.has(undefined);
    for (const call of this.#calls) call.isReadElsewhere = isUnclear || ends.has(call);
  }

  /** The ranks of all values. */
  findRanks(): void {
    for (const call of inOrder(this.#calls)) {
      const { type, config, isTimed } = call.layer;
      const more = isTimed ? 1 : 0;
      const ranks = [...call.inputs].map(({ rank }) => (rank === undefined ? undefined : rank - more));
      const rank = rankAfter(type, config, ranks);
      call.rank = rank === undefined ? undefined : rank + more;
    }
  }

  #sequence(items: readonly Config[], parts: ReadonlyMap<string, Ports>): ModelPorts {
    let before: readonly (Draft | undefined)[] | undefined;
    let begins: readonly Draft[] = [];
    let end: Draft | undefined;
    for (const item of items) {
      const part = parts.get(nameOf(item))!;
      if (before === undefined) begins = part.inputsOf(0);
      else this.#connect(before, part.inputsOf(0));
      end = part.outputOf(0, 0);
      before = [end];
    }
    return { inputsOf: () => begins, outputOf: () => end, outputs: [end] };
  }

  /** A layer of a model, and the layers inside of it. */
  #layer(item: Config, path: readonly string[], depth: number, uses: number): Ports {
    const { class_name: type, config } = item as { class_name: string; config: Config };
    const own = [...path, nameOf(item)];
    if (Array.isArray(config.layers)) {
      this.#add(type, config, own, {});
      return this.model(item, own, depth + 1);
    }
    const wrapped = isObject(config.layer) ? config.layer : undefined;
    if (type === 'TimeDistributed' && isLayer(wrapped)) {
      const { class_name: innerType, config: inner } = wrapped;
      // A TimeDistributed model has the calls of the model, which then do not know their ranks.
      if (Array.isArray(inner.layers)) return this.model(wrapped, own, depth + 1);
      if (!isLayer(inner.layer) && !isLayer(inner.cell)) {
        // The names of its weights may begin with that of the wrapper or with its own.
        return this.#used(this.#add(innerType, inner, own, { others: [nameOf(wrapped)], isTimed: true }), uses);
      }
    }
    const outer = this.#used(this.#add(type, config, own, {}), uses);
    this.#inside(type, config, own, depth + 1);
    return outer;
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
  ): Layer & { calls: Draft[] } {
    const own = { type: type.slice(0, longestType), config, path, others, isTimed, title };
    const layer = { ...own, weightNames: weightNames(type, config), calls: [] };
    this.layers.push(layer);
    return layer;
  }

  #used(layer: Layer & { calls: Draft[] }, uses: number): Ports {
    for (let use = 0; use < uses; use++) {
      const call = { layer, isWhole: true, isReadElsewhere: false, rank: undefined };
      const draft: Draft = { ...call, inputs: new Set(), readers: [] };
      layer.calls.push(draft);
      this.#calls.push(draft);
    }
    // An index that the config does not have may mean any use.
    const callsOf = (use: number) => (use in layer.calls ? [layer.calls[use]!] : layer.calls);
    return { inputsOf: callsOf, outputOf: (use) => (callsOf(use).length === 1 ? callsOf(use)[0] : undefined) };
  }

  /**
   * Connects values with the calls that read them. The calls of a nested model belong to all uses of the model, and have
   * one input each if their numbers are the same.
   */
  #connect(values: readonly (Draft | undefined)[], readers: readonly Draft[]): void {
    if (values.includes(undefined)) this.#isUnclear = true;
    const isEach = values.length === readers.length;
    if (!isEach && values.length * readers.length > mostConnections) {
      this.#isUnclear = true;
      for (const reader of readers) reader.isWhole = false;
      return;
    }
    for (const [index, reader] of readers.entries()) {
      for (const value of isEach ? [values[index]] : values) {
        if (value === undefined || reader.inputs.has(value)) {
          reader.isWhole = false;
          continue;
        }
        reader.inputs.add(value);
        value.readers.push(reader);
      }
    }
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
