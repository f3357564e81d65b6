import { filesOf, type Entry, type Files } from '../tfjs.js';
import type { TfjsChoice } from './keras-network.js';
import { Random } from './random.js';

export interface GraphChoice extends TfjsChoice {
  /** Gives all weights other last bits. */
  readonly blur?: number;
}

/** A value of a graph that is made: of space [n, h, w, c] or of rows [n, c]. */
export interface Value {
  readonly name: string;
  readonly shape: readonly number[];
}

type Attributes = Record<string, object>;

export const text = (value: string): object => ({ s: Buffer.from(value).toString('base64') });
export const list = (numbers: readonly number[]): object => ({ list: { i: numbers.map(String) } });
export const texts = (values: readonly string[]): object => ({
  list: { s: values.map((value) => Buffer.from(value).toString('base64')) },
});

/** The size of the batch of inputs. */
export const samples = 2;

/** A GraphModel as it is made. */
export class GraphNetwork {
  readonly nodes: object[] = [];
  readonly entries: Entry[] = [];
  readonly values: Value[] = [];
  readonly unread = new Set<Value>();
  /** Whether the size of the batch is a constant in it. */
  hasSamples = false;
  readonly #masking: { readonly share: number; readonly isCommon: boolean; readonly withVectors: number };
  readonly #dead: readonly boolean[];
  /** Vectors that other nodes may read, too, by their length. */
  readonly #vectors = new Map<number, string[]>();
  /** Integers that are stored already, as converters store them. */
  readonly #integers = new Map<string, string>();
  #count = 0;

  constructor(
    public random: Random,
    readonly blur: Random | undefined,
  ) {
    this.#masking = {
      share: random.pick([0.2, 0.4, 0.4, 0.6, 1]),
      isCommon: random.chance(0.75),
      withVectors: random.pick([0, 0.3, 0.9, 0.9]),
    };
    this.#dead = Array.from({ length: 64 }, () => random.chance(this.#masking.share));
  }

  rename(count: number): void {
    this.#count = count;
  }

  name(kind: string): string {
    return `${kind}_${this.#count++}`;
  }

  node(op: string, inputs: readonly string[], attr: Attributes = {}): string {
    const name = this.name(op);
    this.nodes.push({ name, op, input: [...inputs], attr: { T: { type: 'DT_FLOAT' }, ...attr } });
    return name;
  }

  input(shape: readonly number[]): Value {
    const dim = [-1, ...shape].map((size) => ({ size: String(size) }));
    this.nodes.push({
      name: 'input',
      op: 'Placeholder',
      input: [],
      attr: { shape: { shape: { dim } }, dtype: { type: 'DT_FLOAT' } },
    });
    const value = { name: 'input', shape: [samples, ...shape] };
    this.values.push(value);
    return value;
  }

  value(name: string, shape: readonly number[], ...read: readonly Value[]): Value {
    const value = { name, shape };
    for (const each of read) this.unread.delete(each);
    this.values.push(value);
    this.unread.add(value);
    return value;
  }

  #constant(name: string, shape: readonly number[], dtype: 'float32' | 'int32', bytes: Uint8Array): string {
    this.entries.push({ name, shape, dtype, bytes });
    const tensorShape = shape.length === 0 ? {} : { dim: shape.map((size) => ({ size: String(size) })) };
    const type = dtype === 'int32' ? 'DT_INT32' : 'DT_FLOAT';
    this.nodes.push({ name, op: 'Const', attr: { dtype: { type }, value: { tensor: { dtype: type, tensorShape } } } });
    return name;
  }

  integers(numbers: readonly number[], shape: readonly number[] = [numbers.length]): string {
    const key = JSON.stringify([numbers, shape]);
    const known = this.#integers.get(key);
    if (known !== undefined && this.random.chance(0.7)) return known;
    const name = this.#constant(this.name('list'), shape, 'int32', new Uint8Array(Int32Array.from(numbers).buffer));
    this.#integers.set(key, name);
    return name;
  }

  integer(number: number): string {
    return this.integers([number], []);
  }

  /** A shape with the size of the batch. */
  fixedShape(sizes: readonly number[]): string {
    this.hasSamples = true;
    return this.integers([samples, ...sizes]);
  }

  #stored(numbers: Float32Array, shape: readonly number[]): string {
    if (this.blur !== undefined)
      for (const at of numbers.keys()) numbers[at]! *= 1 + 2 ** -23 * (2 * this.blur.next() - 1);
    return this.#constant(this.name('weight'), shape, 'float32', new Uint8Array(numbers.buffer));
  }

  /** A weight of which some outputs are 0. @param outputs which of them an index belongs to */
  weight(shape: readonly number[], outputs: (index: number) => number): string {
    const { random } = this;
    const count = shape.reduce((product, size) => product * size, 1);
    const numbers = random.normals(count, 1 / Math.sqrt(count / shape.at(-1)!));
    const own = Array.from({ length: 64 }, () => random.chance(this.#masking.share));
    const dead = this.#masking.isCommon ? this.#dead : own;
    for (const index of numbers.keys()) if (dead[outputs(index) % 64]) numbers[index] = 0;
    return this.#stored(numbers, shape);
  }

  /** A vector with one number for each channel. */
  vector(size: number, kind: 'any' | 'positive' = 'any'): string {
    const { random } = this;
    const known = this.#vectors.get(size) ?? [];
    if (kind === 'any' && known.length > 0 && random.chance(0.2)) return random.pick(known);
    const numbers = random.normals(size, 0.7);
    if (kind === 'positive') for (const index of numbers.keys()) numbers[index] = 0.3 + Math.abs(numbers[index]!);
    else if (random.chance(this.#masking.withVectors))
      for (const index of numbers.keys()) if (this.#dead[index % 64]) numbers[index] = 0;
    const name = this.#stored(numbers, [size]);
    if (kind === 'any') this.#vectors.set(size, [...known, name]);
    return name;
  }

  /** The files of the model. */
  files(): Files {
    const outputs = Object.fromEntries([...this.unread].map(({ name }) => [name, { name: `${name}:0` }]));
    const { json, shards } = filesOf({ node: this.nodes, versions: {} }, this.entries, 1000);
    return { json: { format: 'graph-model', signature: { outputs }, ...json }, shards };
  }
}
