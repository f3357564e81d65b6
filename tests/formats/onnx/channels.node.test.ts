import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  integerAttribute,
  list,
  integersAttribute,
  model,
  node,
  tensor,
  textAttribute,
} from '../../support/onnx-builder.js';
import { readGraphOf } from '../../support/onnx-reader.js';
import { numbers, outputsOf, pruned, type Arrays } from '../../support/filters.js';

// Networks of one or two convolutions and a random chain of operators. A second network has the operators of the chain
// that move numbers, and none of the others: with a label per channel instead of the outputs of the convolutions, its
// outputs say which numbers of the first are those of which channel, whatever the library knows of operators.

/**
 * Labels of the channels. Sums of equal ones are exact. Means of different ones are no label: n times a power of 3 is never
 * the sum of n different ones, by their digits to the base 3.
 */
const labels = Array.from({ length: 10 }, (_, channel) => 50_000 + 3 ** channel);

/** Both networks while they are built. */
class Chain {
  readonly nodes: Uint8Array[] = [];
  readonly labelNodes: Uint8Array[] = [];
  readonly initializers: Uint8Array[] = [];
  readonly inputs: Record<string, { data: Float32Array; shape: readonly number[] }> = {};
  readonly outputs = new Set<string>();
  /** Outputs in which there are no channels. */
  readonly others = new Set<string>();
  /** Whether a leak may be without effect: a constant may be rectified, or only some channels be left. */
  isLossy = false;
  /** Whether the channels may be on another axis than the second. */
  isMoved = false;
  /** Whether the channels may have been lost: they end where an axis is summarised and theirs is unknown. */
  isUnknown = false;
  /** Whether numbers of a channel depend on others: those that are kept may change with those that are removed. */
  isMixed = false;
  #isReshaped = false;
  shape: readonly number[] = [];
  current = '';
  #count = 0;

  name(kind: string): string {
    return `${kind}${++this.#count}`;
  }

  constant(shape: readonly number[], data = numbers(sizeOf(shape), ++this.#count)): string {
    const name = this.name('c');
    this.initializers.push(tensor(name, shape, { data: new Uint8Array(data.buffer) }));
    return name;
  }

  list(...values: number[]): string {
    const name = this.name('i');
    this.initializers.push(list(name, ...values));
    return name;
  }

  input(shape: readonly number[]): string {
    const name = this.name('x');
    this.inputs[name] = { data: numbers(sizeOf(shape), ++this.#count), shape };
    return name;
  }

  /** A node whose output is not in the chain. */
  aside(op: string, inputs: string, attributes: readonly Uint8Array[] = []): string {
    const output = this.name('v');
    this.nodes.push(node(op, inputs, output, { name: output, attributes }));
    return output;
  }

  /** An operator that leaves numbers in their place; `@` is the value before it. */
  stay(op: string, inputs = '@', attributes: readonly Uint8Array[] = [], shape = this.shape): void {
    const output = this.aside(op, inputs.replace('@', this.current), attributes);
    this.isMixed ||= ['InstanceNormalization', 'LayerNormalization'].includes(op);
    this.labelNodes.push(node('Identity', this.current, output));
    [this.current, this.shape] = [output, shape];
  }

  /** An operator that moves or summarises numbers. */
  move(op: string, shape: readonly number[], inputs = '@', attributes: readonly Uint8Array[] = []): void {
    const output = this.aside(op, inputs.replace('@', this.current), attributes);
    this.labelNodes.push(node(op, inputs.replace('@', this.current), output, { attributes }));
    [this.current, this.shape] = [output, shape];
    this.isMoved ||= !['Concat', 'Pad', 'Resize', 'Slice', 'MaxPool', 'AveragePool'].includes(op);
    this.isUnknown ||= this.#isReshaped && ['MaxPool', 'AveragePool', 'GlobalAveragePool'].includes(op);
    this.#isReshaped ||= ['Reshape', 'Flatten'].includes(op);
  }
}

const sizeOf = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1);

/** A step of a chain; `pick` gives numbers from 0 to below its argument. It does nothing where it does not apply. */
type Step = (chain: Chain, pick: (count: number) => number) => void;

/** A constant with one number for each index of an axis. */
function vector(chain: Chain, axis: number): string {
  const { shape } = chain;
  return chain.constant(shape.slice(axis).map((size, place) => (place === 0 ? size : 1)));
}

const steps: Record<string, Step> = {
  ...Object.fromEntries(
    ['Identity', 'LeakyRelu', 'Tanh', 'Abs', 'Neg', 'Elu', 'Softsign', 'Dropout'].map((op): [string, Step] => [
      op,
      (chain) => chain.stay(op),
    ]),
  ),
  ...Object.fromEntries(['Sigmoid', 'Cos', 'Softplus'].map((op): [string, Step] => [op, (chain) => chain.stay(op)])),
  ...Object.fromEntries(
    ['Relu', 'HardSwish', 'HardSigmoid'].map((op): [string, Step] => [
      op,
      (chain) => {
        chain.isLossy = true;
        chain.stay(op);
      },
    ]),
  ),
  Clip(chain, pick) {
    chain.isLossy = true;
    const [low, high] = [pick(3) - 1, pick(2) + 2];
    chain.stay('Clip', `@ ${chain.constant([], Float32Array.of(low))} ${chain.constant([], Float32Array.of(high))}`);
  },
  silu: (chain) => chain.stay('Mul', `@ ${chain.aside('Sigmoid', chain.current)}`),
  twice: (chain) => chain.stay('Add', `@ ${chain.aside('Tanh', chain.current)}`),
  gate: (chain) => chain.stay('Mul', `@ ${chain.input(chain.shape)}`),
  scalar: (chain, pick) => chain.stay(['Add', 'Sub', 'Mul', 'Div'][pick(4)]!, `@ ${chain.constant([])}`),
  zeros: (chain) => chain.stay('Add', `@ ${chain.constant([1], new Float32Array(1))}`),
  full: (chain, pick) => chain.stay(['Add', 'Mul'][pick(2)]!, `@ ${chain.constant(chain.shape)}`),
  vector(chain, pick) {
    if (chain.shape.length === 0) return;
    const op = ['Add', 'Sub', 'Mul', 'Div'][pick(4)]!;
    chain.stay(op, `@ ${vector(chain, pick(chain.shape.length))}`);
  },
  channelVector(chain, pick) {
    if (chain.shape.length < 2) return;
    chain.stay(['Add', 'Mul'][pick(2)]!, `@ ${vector(chain, 1)}`);
  },
  sum(chain, pick) {
    if (chain.shape.length < 2) return;
    const further = pick(2) === 0 ? vector(chain, pick(chain.shape.length)) : '';
    chain.stay(['Sum', 'Mean'][pick(2)]!, `@ ${vector(chain, 1)} ${further}`.trim());
  },
  from(chain, pick) {
    if (chain.shape.length === 0) return;
    chain.stay('Sub', `${vector(chain, pick(chain.shape.length))} @`);
  },
  reshapedVector(chain) {
    if (chain.shape.length !== 4) return;
    const size = chain.shape[1]!;
    const shaped = chain.aside('Reshape', `${chain.constant([size])} ${chain.list(1, -1, 1, 1)}`);
    chain.stay('Add', `@ ${shaped}`);
  },
  sharedVector(chain) {
    if (chain.shape.length < 2) return;
    const constant = vector(chain, 1);
    chain.others.add(chain.aside('Neg', constant));
    chain.stay('Add', `@ ${constant}`);
  },
  twoReaders(chain) {
    if (chain.shape.length < 2) return;
    const constant = vector(chain, 1);
    chain.stay('Add', `@ ${constant}`);
    chain.stay('Tanh');
    chain.stay('Add', `@ ${constant}`);
  },
  BatchNormalization(chain, pick) {
    const size = chain.shape[1];
    if (size === undefined) return;
    const list = () => chain.constant([size]);
    const variance = chain.constant([size], numbers(size, pick(100)).map(Math.abs));
    chain.stay('BatchNormalization', `@ ${list()} ${list()} ${list()} ${variance}`);
  },
  InstanceNormalization(chain) {
    const size = chain.shape[1];
    if (size === undefined || chain.shape.length < 3) return;
    chain.isLossy = true;
    chain.stay('InstanceNormalization', `@ ${chain.constant([size])} ${chain.constant([size])}`);
  },
  LayerNormalization(chain, pick) {
    const { shape } = chain;
    if (shape.length < 2) return;
    const axis = pick(shape.length);
    const inner = shape.slice(axis);
    const attributes = [integerAttribute('axis', pick(2) === 0 ? axis : axis - shape.length)];
    chain.stay('LayerNormalization', `@ ${chain.constant(inner)} ${chain.constant(inner)}`, attributes);
  },
  groupNormalization(chain, pick) {
    const { shape } = chain;
    if (shape.length < 3 || shape[1]! % 2 > 0) return;
    const before = chain.current;
    chain.move('Reshape', [shape[0]!, 2, sizeOf(shape) / shape[0]! / 2], `@ ${chain.list(0, 2, -1)}`);
    const ones = chain.constant([2], Float32Array.of(1, 1));
    chain.stay('InstanceNormalization', `@ ${ones} ${chain.constant([2], new Float32Array(2))}`);
    const target = pick(2) === 0 ? chain.list(...shape) : chain.aside('Shape', before);
    if (target.startsWith('v')) chain.labelNodes.push(node('Shape', before, target));
    chain.move('Reshape', shape, `@ ${target}`);
    const isScaled = pick(3) > 0;
    if (isScaled) chain.stay('Mul', `@ ${vector(chain, 1)}`);
    chain.stay('Add', `@ ${vector(chain, 1)}`);
    chain.isLossy = true;
  },
  pool(chain, pick) {
    const [batch, size, ...spatial] = chain.shape;
    if (spatial.length !== 2 || Math.min(...spatial) < 2) return;
    chain.isLossy = true;
    const pooled = [batch!, size!, ...spatial.map((each) => each - 1)];
    const attributes = [integersAttribute('kernel_shape', [2, 2])];
    const before = chain.current;
    chain.move(['MaxPool', 'AveragePool'][pick(2)]!, pooled, '@', attributes);
    chain.labelNodes.pop();
    // The mean of the labels of several channels is none, but the largest is one.
    chain.labelNodes.push(node('AveragePool', before, chain.current, { attributes }));
  },
  GlobalAveragePool(chain) {
    if (chain.shape.length !== 4) return;
    chain.isLossy = true;
    chain.move('GlobalAveragePool', [...chain.shape.slice(0, 2), 1, 1]);
  },
  ReduceMean(chain, pick) {
    if (chain.shape.length < 2) return;
    chain.isLossy = true;
    const axis = pick(chain.shape.length);
    const keeps = pick(2);
    const shape = chain.shape.flatMap((size, place) => (place !== axis ? [size] : keeps ? [1] : []));
    chain.move('ReduceMean', shape, '@', [
      integersAttribute('axes', [pick(2) === 0 ? axis : axis - chain.shape.length]),
      integerAttribute('keepdims', keeps),
    ]);
  },
  Transpose(chain, pick) {
    const rest = [...chain.shape.keys()];
    const order: number[] = [];
    while (rest.length > 0) order.push(...rest.splice(pick(rest.length), 1));
    const shape = order.map((axis) => chain.shape[axis]!);
    chain.move('Transpose', shape, '@', [integersAttribute('perm', order)]);
  },
  merge(chain, pick) {
    const { shape } = chain;
    if (shape.length < 2) return;
    const axis = pick(shape.length - 1);
    const merged = [...shape.slice(0, axis), shape[axis]! * shape[axis + 1]!, ...shape.slice(axis + 2)];
    const stated = merged.map((size, place) => (place < axis && pick(2) === 0 ? 0 : size));
    if (pick(2) === 0) stated[axis] = -1;
    chain.move('Reshape', merged, `@ ${chain.list(...stated)}`);
  },
  split(chain, pick) {
    const { shape } = chain;
    const axis = pick(Math.max(1, shape.length));
    if (shape.length > 4 || shape[axis] === undefined || shape[axis] % 2 > 0) return;
    const parts = pick(2) === 0 ? [2, shape[axis] / 2] : [shape[axis] / 2, 2];
    const halves = [...shape.slice(0, axis), ...parts, ...shape.slice(axis + 1)];
    chain.move('Reshape', halves, `@ ${chain.list(...halves)}`);
  },
  Flatten(chain, pick) {
    const axis = pick(chain.shape.length + 1);
    const shape = [sizeOf(chain.shape.slice(0, axis)), sizeOf(chain.shape.slice(axis))];
    chain.move('Flatten', shape, '@', [integerAttribute('axis', axis)]);
  },
  Unsqueeze(chain, pick) {
    if (chain.shape.length > 4) return;
    const axis = pick(chain.shape.length + 1);
    chain.move('Unsqueeze', [...chain.shape.slice(0, axis), 1, ...chain.shape.slice(axis)], `@ ${chain.list(axis)}`);
  },
  Squeeze(chain) {
    const axis = chain.shape.indexOf(1);
    if (axis < 0) return;
    chain.move(
      'Squeeze',
      chain.shape.filter((_, place) => place !== axis),
      `@ ${chain.list(axis)}`,
    );
  },
  Concat(chain, pick) {
    const { shape } = chain;
    if (shape.length === 0) return;
    const axis = pick(shape.length);
    const size = 1 + pick(3);
    const other = chain.input(shape.map((each, place) => (place === axis ? size : each)));
    const inputs = pick(2) === 0 ? `@ ${other}` : `${other} @`;
    const whole = shape.map((each, place) => (place === axis ? each + size : each));
    chain.move('Concat', whole, inputs, [integerAttribute('axis', pick(2) === 0 ? axis : axis - shape.length)]);
  },
  both(chain, pick) {
    const { shape } = chain;
    if (shape.length === 0 || sizeOf(shape) > 1000) return;
    const axis = pick(shape.length);
    const whole = shape.map((each, place) => (place === axis ? 2 * each : each));
    chain.move('Concat', whole, `@ ${chain.current}`, [integerAttribute('axis', axis)]);
  },
  Slice(chain, pick) {
    const { shape } = chain;
    const axis = pick(Math.max(1, shape.length));
    if (shape[axis] === undefined || shape[axis] < 3) return;
    chain.isLossy = true;
    const start = pick(shape[axis] - 1);
    const part = shape.map((size, place) => (place === axis ? size - start : size));
    chain.move('Slice', part, `@ ${chain.list(start)} ${chain.list(1 << 30)} ${chain.list(axis)}`);
  },
  Split(chain, pick) {
    const { shape } = chain;
    const axis = pick(Math.max(1, shape.length));
    if (shape[axis] === undefined || shape[axis] % 2 > 0) return;
    chain.isLossy = true;
    const half = shape.map((size, place) => (place === axis ? size / 2 : size));
    const [one, other] = [chain.name('v'), chain.name('v')];
    const attributes = [integerAttribute('axis', axis)];
    for (const nodes of [chain.nodes, chain.labelNodes]) {
      nodes.push(node('Split', chain.current, `${one} ${other}`, { attributes }));
    }
    chain.outputs.add(one);
    [chain.current, chain.shape] = [other, half];
  },
  Pad(chain, pick) {
    const { shape } = chain;
    if (shape.length === 0) return;
    const axis = pick(shape.length);
    const pads = [...shape.keys(), ...shape.keys()].map((each) => (each === axis ? 1 : 0));
    const padded = shape.map((size, place) => (place === axis ? size + 2 : size));
    const [before, list] = [chain.current, chain.list(...pads)];
    // The border belongs to the channels that it is beside, but not along their own axis.
    const isBeside = axis > 1 && !chain.isMoved;
    const value = isBeside && pick(2) === 0 ? chain.constant([], Float32Array.of(0.5)) : '';
    chain.move('Pad', padded, `@ ${list} ${value}`);
    chain.labelNodes.pop();
    chain.labelNodes.push(
      node('Pad', `${before} ${list}`, chain.current, {
        attributes: [textAttribute('mode', isBeside ? 'edge' : 'constant')],
      }),
    );
  },
  Resize(chain, pick) {
    const { shape } = chain;
    if (shape.length !== 4) return;
    const scales = chain.constant([4], Float32Array.of(1, 1, 2, 2));
    const larger = shape.map((size, axis) => (axis < 2 ? size : 2 * size));
    const inputs = pick(2) === 0 ? `@ - ${scales}` : `@ - - ${chain.list(...larger)}`;
    chain.move('Resize', larger, inputs, [textAttribute('mode', 'nearest')]);
  },
  /** The sum with another value: what is behind it are not the channels of a layer. */
  merges(chain) {
    const other = chain.input(chain.shape);
    chain.outputs.add(chain.current);
    const before = chain.current;
    chain.stay('Add', `@ ${other}`);
    chain.labelNodes.pop();
    chain.labelNodes.push(node('Sub', `${before} ${before}`, chain.current));
  },
};

/** One or two convolutions, and a chain of operators behind them. */
interface Network {
  readonly batch: number;
  readonly withBias: boolean;
  readonly withSecond: boolean;
  readonly steps: readonly { readonly kind: string; readonly seed: number }[];
}

const networks: fc.Arbitrary<Network> = fc.record({
  batch: fc.integer({ min: 1, max: 2 }),
  withBias: fc.boolean(),
  withSecond: fc.boolean(),
  steps: fc.array(fc.record({ kind: fc.constantFrom(...Object.keys(steps)), seed: fc.nat() }), { maxLength: 8 }),
});

function built({ batch, withBias, withSecond, steps: chosen }: Network) {
  const chain = new Chain();
  const x = chain.input([batch, 3, 4, 4]);
  const convolution = (count: number, from: number): string => {
    const filters = numbers(count * 27, from).map((number, index) => (Math.floor(index / 27) % 2 ? 1 : 0.1) * number);
    const inputs = [x, chain.constant([count, 3, 3, 3], filters), ...(withBias ? [chain.constant([count])] : [])];
    const name = chain.name('conv');
    chain.nodes.push(
      node('Conv', inputs.join(' '), name, { name, attributes: [integersAttribute('pads', [1, 1, 1, 1])] }),
    );
    const marks = Float32Array.from(
      { length: batch * count * 16 },
      (_, index) => labels[from + (Math.floor(index / 16) % count)]!,
    );
    marked.push(tensor(name, [batch, count, 4, 4], { data: new Uint8Array(marks.buffer) }));
    return name;
  };
  const marked: Uint8Array[] = [];
  chain.shape = [batch, 4, 4, 4];
  chain.current = convolution(4, 0);
  if (withSecond) chain.move('Concat', [batch, 10, 4, 4], `@ ${convolution(6, 4)}`, [integerAttribute('axis', 1)]);
  for (const { kind, seed } of chosen) {
    let state = seed;
    steps[kind]!(chain, (count) => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return Math.floor((state / 2 ** 32) * count);
    });
  }
  chain.outputs.add(chain.current);
  const inputs = Object.fromEntries(Object.entries(chain.inputs).map(([name, { shape }]) => [name, shape]));
  const outputs = Object.fromEntries([...chain.outputs, ...chain.others].map((name) => [name, undefined]));
  const { initializers } = chain;
  // An output must come from a node.
  const last = [...chain.outputs].map((name) => node('Identity', name, `${name}.label`));
  const labelOutputs = Object.fromEntries([...chain.outputs].map((name) => [`${name}.label`, undefined]));
  return {
    chain,
    bytes: model({ nodes: chain.nodes, initializers, inputs, outputs }),
    labelled: model({
      nodes: [...chain.labelNodes, ...last],
      initializers: [...initializers, ...marked],
      inputs,
      outputs: labelOutputs,
    }),
  };
}

/** The numbers of these channels, in all outputs. */
function numbersOf(outputs: Arrays, marks: Arrays, channels: readonly number[]): number[] {
  const wanted = new Set(channels);
  return Object.entries(outputs).flatMap(([name, { data }]) => {
    const own = marks[`${name}.label`]?.data;
    return [...data.filter((_, index) => own !== undefined && wanted.has(own[index]!))];
  });
}

/** The bytes of a network in which only the filters are removed. */
function withFilters(bytes: Uint8Array, sparse: Uint8Array): Uint8Array {
  const only = bytes.slice();
  for (const { shape, start, length } of readGraphOf(bytes).constants.values()) {
    const isWeight = shape.length === 4 && shape[1] === 3 && shape[2] === 3;
    if (isWeight) only.set(sparse.subarray(start, start + 4 * length), start);
  }
  return only;
}

test('A removed channel is 0 wherever it comes to, or what keeps it from that is named; kept ones do not change', async () => {
  const seen = { zero: 0, named: 0 };
  await fc.assert(
    fc.asyncProperty(networks, async (network) => {
      const { chain, bytes, labelled } = built(network);
      const { bytes: sparse, layers } = await pruned(bytes);
      const outputs = await outputsOf(sparse, chain.inputs);
      const marks = await outputsOf(labelled, chain.inputs);
      const kept = labels.filter((_, index) => index % 2 === 1);
      if (!chain.isMixed) {
        const others = await outputsOf(withFilters(bytes, sparse), chain.inputs);
        expect(numbersOf(outputs, marks, kept)).toEqual(numbersOf(others, marks, kept));
        for (const name of chain.others) expect(outputs[name]).toEqual(others[name]);
      }
      expect(layers.map(({ name }) => name)).toHaveLength(network.withSecond ? 2 : 1);
      for (const [place, { leaks }] of layers.entries()) {
        const removed = labels.slice(4 * place, place === 0 ? 4 : 10).filter((_, index) => index % 2 === 0);
        const isZero = numbersOf(outputs, marks, removed).every((number) => number === 0);
        if (leaks.length === 0 && !chain.isUnknown) expect(isZero).toBe(true);
        if (leaks.length > 0 && !chain.isLossy) expect(isZero, leaks[0]!.reason).toBe(false);
        seen[leaks.length === 0 ? 'zero' : 'named']++;
      }
    }),
    { numRuns: 200 },
  );
  expect(Math.min(...Object.values(seen))).toBeGreaterThan(10);
});
