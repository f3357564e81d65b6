import { arrangingOperators } from './arranging-operators.js';
import { generalOperators } from './general-operators.js';
import { indexingOperators } from './indexing-operators.js';
import { movingOperators } from './moving-operators.js';
import { Network, type Masking, type Value } from './network.js';
import type { RandomOperator } from './operators.js';
import { numberOperators } from './number-operators.js';
import { Random } from './random.js';
import { rowConclusion, sequenceOperators } from './sequence-operators.js';
import { sizeOperators } from './size-operators.js';
import { spaceConclusion, spaceOperators } from './space-operators.js';

const operators = [
  ...numberOperators,
  ...arrangingOperators,
  ...generalOperators,
  ...indexingOperators,
  ...movingOperators,
  ...spaceOperators,
  ...sequenceOperators,
  ...sizeOperators,
];
const conclusions = [spaceConclusion, rowConclusion];
const versions = [7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 17, 18, 19, 20, 21];

export interface NetworkChoice {
  readonly seed: number;
  /** How many operators it has, at most. */
  readonly count: number;
  /** Operators that are left out, by number: how failures are made small. */
  readonly without?: ReadonlySet<number>;
  /** Gives all weights other last bits. */
  readonly blur?: number;
}

/** The network of a seed. Each operator has random numbers of its own, so that others stay what they are if one is left out. */
export function randomNetwork({ seed, count, without, blur }: NetworkChoice): Network {
  const random = new Random(seed);
  const net = new Network(random, random.pick(versions), masking(random), blur ? new Random(seed, blur) : undefined);
  addInputs(net, random);
  for (let place = 0; place < count; place++) {
    net.random = new Random(seed, place + 1);
    if (without?.has(place)) continue;
    addOperator(net);
  }
  net.random = new Random(seed, 1000);
  conclude(net);
  return net;
}

function masking(random: Random): Masking {
  return {
    share: random.pick([0.2, 0.4, 0.4, 0.6, 1]),
    isCommon: random.chance(0.75),
    withVectors: random.pick([0, 0.3, 0.9]),
    columns: random.pick([0, 0, 0.1, 0.4]),
  };
}

function addInputs(net: Network, random: Random): void {
  const size = () => random.between(2, 6);
  const shapes = [
    [1, size(), size(), size()],
    [2, size(), 4, size()],
    [1, size(), size()],
    [2, size()],
    [1, 3, 3, 2, 2],
  ];
  const shape = random.pick(shapes);
  const symbols = shape.map(() => undefined as string | undefined);
  if (random.chance(0.3)) symbols[0] = 'batch';
  if (shape.length === 4 && random.chance(0.15)) symbols.splice(2, 2, 'height', 'width');
  if (shape.length === 3 && random.chance(0.2)) symbols[1] = 'steps';
  net.input(shape, symbols);
  if (random.chance(0.15)) net.input(shape, symbols);
}

function addOperator(net: Network): void {
  const { random } = net;
  for (let attempt = 0; attempt < 10; attempt++) {
    const value = random.chance(0.6) ? net.values.at(-1)! : random.pick(net.values);
    const fitting = operators.filter(({ takes }) => takes(value));
    const operator = weighted(random, fitting);
    if (value.shape.reduce((product, size) => product * size, 1) > 2000) continue;
    if (operator.apply(net, value) !== undefined) return;
  }
}

function weighted(random: Random, choices: readonly RandomOperator[]): RandomOperator {
  let rest = random.next() * choices.reduce((sum, { weight }) => sum + weight, 0);
  return choices.find(({ weight }) => (rest -= weight) < 0) ?? choices[0]!;
}

/** Makes outputs of what nothing reads. */
function conclude(net: Network): void {
  const { random } = net;
  for (const value of [...net.unread]) {
    const last = conclusions.filter(({ takes }) => takes(value));
    net.outputs.push(last.length > 0 && random.chance(0.85) ? random.pick(last).apply(net, value) : value);
  }
  if (random.chance(0.2)) {
    const inner = net.values.filter((value) => !net.inputs.includes(value) && !net.outputs.includes(value));
    if (inner.length > 0) net.outputs.push(random.pick(inner));
  }
}

/** What a network is run on: normal numbers for each input. Axes that have names are longer by so much. */
export function feedsOf(
  net: Network,
  seed: number,
  longer = 0,
): Record<string, { shape: number[]; data: Float32Array }> {
  const random = new Random(seed, 2000);
  const sized = ({ shape, symbols }: Value) =>
    shape.map((size, axis) => size + (symbols[axis] === undefined ? 0 : longer));
  return Object.fromEntries(
    net.inputs.map((value) => {
      const shape = sized(value);
      return [value.name, { shape, data: random.normals(shape.reduce((product, size) => product * size, 1)) }];
    }),
  );
}
