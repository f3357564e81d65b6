// A network that grows node by node, with random weights in some of whose channels there are only zeros.
import { narrowed } from '../internal.js';
import {
  concat,
  constant,
  floatAttribute,
  integerAttribute,
  integersAttribute,
  localFunction,
  model,
  node,
  numbers,
  tensor,
  type GraphOptions,
  type TensorOptions,
} from '../onnx-builder.js';
import type { Random } from './random.js';

type Bytes = Uint8Array<ArrayBuffer>;

export interface Value {
  readonly name: string;
  /** For the first size of axes that have names. */
  readonly shape: readonly number[];
  /** The name of each axis without a fixed size. */
  readonly symbols: readonly (string | undefined)[];
}

/** Which numbers of weights are zero. */
export interface Masking {
  /** How many channels have zero filters. */
  readonly share: number;
  /** Whether layers of the same width agree about them. */
  readonly isCommon: boolean;
  /** How often the biases and scales of these channels are zero, too. */
  readonly withVectors: number;
  /** How many weights of a channel's readers are zero. */
  readonly columns: number;
}

type Initializer = readonly [name: string, shape: readonly number[], options: TensorOptions];

/** The file beside a model that has its external data. */
export const dataPath = 'weights.bin';

export class Network {
  readonly nodes: Bytes[] = [];
  /** A line for each node, to read. */
  readonly lines: string[] = [];
  readonly initializers: Initializer[] = [];
  readonly inputs: Value[] = [];
  readonly values: Value[] = [];
  /** Computed values that no node reads. */
  readonly unread = new Set<Value>();
  readonly outputs: Value[] = [];
  /** Functions that nodes call. */
  readonly functions = new Set<string>();
  /** Constants for which callers may give others. */
  readonly overridable = new Map<string, readonly number[]>();
  random: Random;
  readonly #masking: Masking;
  readonly #dead = new Map<number, ReadonlySet<number>>();
  readonly #stored: { readonly name: string; readonly shape: string; readonly kind: string }[] = [];
  #count = 0;

  constructor(
    random: Random,
    readonly opset: number,
    masking: Masking,
    /** Changes the last bits of all weights. */
    readonly blur: Random | undefined,
  ) {
    this.random = random;
    this.#masking = masking;
  }

  name(prefix: string): string {
    return `${prefix}${this.#count++}`;
  }

  input(shape: readonly number[], symbols: Value['symbols']): Value {
    const value = { name: this.name('x'), shape, symbols };
    this.inputs.push(value);
    this.values.push(value);
    return value;
  }

  /** Adds a node with one output. Inputs are values, names, or undefined where one is left out. */
  node(
    op: string,
    inputs: readonly (Value | string | undefined)[],
    { shape, symbols }: Pick<Value, 'shape' | 'symbols'>,
    attributes: readonly Uint8Array[] = [],
    domain = '',
  ): Value {
    const [output] = this.nodeOf(op, inputs, [{ shape, symbols }], attributes, domain);
    return output!;
  }

  nodeOf(
    op: string,
    inputs: readonly (Value | string | undefined)[],
    outputs: readonly (Pick<Value, 'shape' | 'symbols'> | undefined)[],
    attributes: readonly Uint8Array[] = [],
    domain = '',
  ): Value[] {
    const made = outputs.map((each) => each && { ...each, name: this.name('v') });
    const names = inputs.map((input) => (typeof input === 'object' ? input.name : (input ?? '-'))).join(' ');
    this.nodes.push(node(op, names, made.map((each) => each?.name ?? '-').join(' '), { attributes, domain }));
    this.lines.push(
      `${op}(${names}) = ${made.map((each) => (each ? `${each.name} [${each.shape.join()}]` : '-')).join(' ')}`,
    );
    for (const input of inputs) if (typeof input === 'object') this.unread.delete(input);
    const values = made.filter((each) => each !== undefined);
    for (const value of values) this.add(value);
    return values;
  }

  add(value: Value): void {
    this.values.push(value);
    this.unread.add(value);
  }

  /** Values that are steps on the way only. */
  hide(value: Value): Value {
    this.values.splice(this.values.indexOf(value), 1);
    this.unread.delete(value);
    return value;
  }

  /** A node for a list or a scalar, which later nodes do not take. */
  hidden(op: string, inputs: readonly (Value | string)[], attributes: readonly Uint8Array[] = []): string {
    return this.hide(this.node(op, inputs, { shape: [], symbols: [] }, attributes)).name;
  }

  /** A constant of floats. Those with the prefix `w` may be behind a node, of another type, or an input of the model, too. */
  floats(shape: readonly number[], data: Float32Array, prefix = 'w'): string {
    const name = this.name(prefix);
    const { blur, random } = this;
    if (prefix !== 'w') {
      this.initializers.push([name, shape, { data: numbers('float32', [...data]) }]);
      return name;
    }
    const blurred = blur ? data.map((number) => number * (1 + blur.pick([-1, 1]) * 2 ** -22)) : data;
    const kind = random.next();
    if (kind < 0.04) {
      const bits = Uint16Array.from(blurred, (number) => narrowed(number, 'float16'));
      this.initializers.push([name, shape, { dtype: 'float16', data: new Uint8Array(bits.buffer) }]);
      return this.hidden('Cast', [name], [integerAttribute('to', 1)]);
    }
    const options = { data: numbers('float32', [...blurred]) };
    if (kind < 0.12) this.nodes.push(constant(name, shape, options));
    else this.initializers.push([name, shape, options]);
    if (kind > 0.98) this.overridable.set(name, shape);
    if (kind > 0.95 && kind < 0.965) return this.hidden('Identity', [name]);
    if (kind > 0.965 && kind < 0.98) return this.hidden('Reshape', [name, this.integers(shape)]);
    return name;
  }

  scalar(number: number): string {
    if (this.opset >= 12 && this.random.chance(0.2)) {
      const name = this.name('s');
      this.nodes.push(node('Constant', '', name, { attributes: [floatAttribute('value_float', number)] }));
      return name;
    }
    return this.floats(this.random.pick([[], [], [1]]), Float32Array.of(number), 's');
  }

  integers(list: readonly number[]): string {
    const name = this.name('list');
    const options = { dtype: 'int64', data: numbers('int64', list) } as const;
    if (this.opset >= 12 && list.length > 0 && this.random.chance(0.1))
      this.nodes.push(node('Constant', '', name, { attributes: [integersAttribute('value_ints', list)] }));
    else if (this.random.chance(0.3)) this.nodes.push(constant(name, [list.length], options));
    else this.initializers.push([name, [list.length], options]);
    return name;
  }

  /** A place, as a scalar. */
  index(place: number): string {
    const name = this.name('list');
    this.initializers.push([name, [], { dtype: 'int64', data: numbers('int64', [place]) }]);
    return name;
  }

  /** A list of 32 bits. */
  shorts(list: readonly number[]): string {
    const name = this.name('list');
    this.initializers.push([name, [list.length], { dtype: 'int32', data: numbers('int32', list) }]);
    return name;
  }

  /** A list as an attribute or as an input, which it is from a version on. */
  listed(name: string, list: readonly number[], from: number): { attributes: Bytes[]; inputs: string[] } {
    return this.opset < from
      ? { attributes: [integersAttribute(name, list)], inputs: [] }
      : { attributes: [], inputs: [this.integers(list)] };
  }

  /** The channels of a width whose filters are zero. */
  dead(size: number): ReadonlySet<number> {
    const { share, isCommon } = this.#masking;
    const known = this.#dead.get(size);
    if (isCommon && known !== undefined && this.random.chance(0.9)) return known;
    const isWhole = this.random.chance(0.05);
    const dead = new Set([...Array(size).keys()].filter(() => isWhole || this.random.chance(share)));
    this.#dead.set(size, dead);
    return dead;
  }

  /** Weights with outputs along an axis and inputs along another. Equal ones may be shared. */
  weight(shape: readonly number[], out: number, from: number, units = shape[out]!): string {
    const kind = `${out} ${from} ${units}`;
    const same = this.#stored.filter((each) => each.kind === kind && each.shape === shape.join());
    if (same.length > 0 && this.random.chance(0.1)) return this.random.pick(same).name;
    const count = shape.reduce((product, size) => product * size, 1);
    const data = this.random.normals(count, 1 / Math.sqrt(Math.max(1, count / shape[out]!)));
    const dead = this.dead(units);
    const { columns } = this.#masking;
    const empty = new Set(
      Array.from({ length: shape[from]! }, (_, index) => index).filter(() => this.random.chance(columns)),
    );
    const stride = (axis: number) => shape.slice(axis + 1).reduce((product, size) => product * size, 1);
    for (const place of data.keys()) {
      const output = Math.floor(place / stride(out)) % shape[out]!;
      const input = Math.floor(place / stride(from)) % shape[from]!;
      if (dead.has(output % units) || (from !== out && empty.has(input))) data[place] = 0;
    }
    const name = this.floats(shape, data);
    this.#stored.push({ name, shape: shape.join(), kind });
    return name;
  }

  /** One number per channel, in a shape with that many. */
  vector(size: number, shape: readonly number[] = [size], { isPositive = false } = {}): string {
    const kind = `vector ${isPositive}`;
    const same = this.#stored.filter((each) => each.kind === kind && each.shape === shape.join());
    if (same.length > 0 && this.random.chance(0.2)) return this.random.pick(same).name;
    const data = this.random.normals(size, 0.7);
    if (this.random.chance(0.15)) data.fill(data[0]!);
    if (isPositive) for (const index of data.keys()) data[index] = 0.5 + Math.abs(data[index]!);
    const isZero = this.random.chance(this.#masking.withVectors);
    if (isZero && !isPositive) for (const index of this.dead(size)) data[index] = 0;
    const name = this.floats(shape, data);
    this.#stored.push({ name, shape: shape.join(), kind });
    return name;
  }

  /** The bytes of the model whose initializers are in a file of their own, and of that file. */
  separate(states: boolean): { readonly bytes: Bytes; readonly data: Bytes } {
    const parts: Bytes[] = [];
    let offset = 0;
    const initializers = this.initializers.map(([name, shape, { dtype, data }]) => {
      // Lists and scales have to be in the model, where runtimes look for shapes.
      if (!name.startsWith('w')) return tensor(name, shape, { ...(dtype && { dtype }), data: data! });
      const length = data!.length;
      parts.push(concat(data!, new Uint8Array(-length & 7)));
      const external = { location: dataPath, offset, length };
      offset += parts.at(-1)!.length;
      return tensor(name, shape, { ...(dtype && { dtype }), external });
    });
    return { bytes: this.#modelWith(initializers, states), data: concat(...parts) };
  }

  /** The bytes of the model. */
  model({ states }: { readonly states: boolean }): Bytes {
    return this.#modelWith(
      this.initializers.map((initializer) => tensor(...initializer)),
      states,
    );
  }

  #modelWith(initializers: readonly Bytes[], states: boolean): Bytes {
    const info = (value: Value) => ({ shape: value.shape.map((size, axis) => value.symbols[axis] ?? size) });
    const isFixed = (value: Value) => value.symbols.every((symbol) => symbol === undefined);
    const infos = (values: readonly Value[], of: (value: Value) => ReturnType<typeof info> | undefined) =>
      Object.fromEntries(values.map((value) => [value.name, of(value)]));
    const inner = this.values.filter((value) => !this.inputs.includes(value) && !this.outputs.includes(value));
    const options: GraphOptions = {
      nodes: this.nodes,
      initializers,
      inputs: { ...infos(this.inputs, info), ...Object.fromEntries(this.overridable) },
      outputs: infos(this.outputs, (value) => (states && isFixed(value) ? info(value) : undefined)),
      values: states ? infos(inner.filter(isFixed), info) : {},
    };
    const functions = [...this.functions].map((name) =>
      localFunction('my.own', name, 'a', 'b', node('Add', 'a a', 'c'), node('Relu', 'c', 'b')),
    );
    return model(options, this.opset, functions);
  }
}
