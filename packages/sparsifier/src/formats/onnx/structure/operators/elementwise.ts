import { productOf, sumOf } from '../../../../model/numbers.js';
import type { List, Tensor } from '../../../../structure/network.js';
import { knownBetween, knownIn, type View } from '../../../../structure/numbers.js';
import type { Stored } from '../../../../structure/stored.js';
import type { Node } from '../../graph.js';
import type { Operator, Parameter, Site } from '../site.js';
import { coupled, together } from './broadcasting.js';
import { asKnown, knownAlong, knownAxes, knownAxis, rangesAlong } from './known.js';
import { knownOver, numbersAlong } from './spreads.js';

interface Unary {
  readonly attributes?: readonly string[];
  /** Whether a larger number never gives a smaller one; or a function that says so of the numbers between two limits. */
  readonly isMonotone?: boolean | ((least: number, most: number) => boolean);
  /** Whether numbers next to each other may give different ones, so that the last bit of a number counts. */
  readonly hasSteps?: boolean;
}

/** How far a number may be from that of a runtime, which rounds each sum and product to 32 bits. */
const uncertainty = (number: number): number => 1e-4 * Math.max(1, Math.abs(number));

/** A function with steps, where it is the same for all numbers close by. A sum of nothing is exactly 0. */
const awayFromSteps =
  (compute: (number: number, site: Site) => number) =>
  (number: number, site: Site): number => {
    const result = compute(number, site);
    if (number === 0) return result;
    const isSame = [-1, 1].every((sign) => compute(number + sign * uncertainty(number), site) === result);
    return isSame ? result : NaN;
  };

/** A function of each number. */
export const unary = (
  compute: (number: number, site: Site) => number,
  { attributes = [], isMonotone = false, hasSteps = false }: Unary = {},
): Operator => ({
  attributes,
  inputs: 1,
  shape: (site) => [site.input(0).shape],
  list: (site) => mapped(site.inputs[0]?.list, (number) => compute(number, site)),
  couple: (site) => [site.input(0).axes],
  constant: (site) => {
    const tensor = site.input(0);
    const known = tensor.known ?? (tensor.view && knownIn(tensor.view, 0));
    if (known === undefined) return undefined;
    const { axis, numbers, ranges } = known;
    const certain = hasSteps ? awayFromSteps(compute) : compute;
    // Comparisons with NaN are false: what is not known stays unknown.
    const at = (number: number, site: Site) => (Number.isNaN(number) ? NaN : certain(number, site));
    if (ranges === undefined) {
      const isFinal = (number: number) => !hasSteps && !Number.isNaN(number);
      const mapped = (all: Float64Array) => all.map((number) => finite(at(number, site), isFinal(number)));
      if (known.spread === undefined) return asKnown(axis, mapped(numbers));
      return { axis, numbers: mapped(numbers), spread: { ...known.spread, numbers: mapped(known.spread.numbers) } };
    }
    const after = { least: numbers.slice().fill(NaN), most: numbers.slice().fill(NaN) };
    for (const index of numbers.keys()) {
      const [least, most] = [ranges.least[index]!, ranges.most[index]!];
      const keepsOrder = typeof isMonotone === 'boolean' ? isMonotone : isMonotone(least, most);
      if (least !== most && !keepsOrder) continue;
      after.least[index] = finite(at(least, site), false);
      after.most[index] = finite(at(most, site), false);
    }
    return knownBetween(axis, after.least, after.most);
  },
});

const largestFloat32 = (2 - 2 ** -23) * 2 ** 127;

/** A number that a channel is known to be; Infinity for one that is known not to be finite, which then stays; NaN if it is not known. */
const finite = (number: number, isKnown: boolean): number => {
  if (Math.abs(number) <= largestFloat32) return number + 0;
  return isKnown ? Infinity : NaN;
};

function mapped(list: List | undefined, compute: (number: number) => number): List | undefined {
  return list && rounded({ ...list, numbers: list.numbers.map(compute) });
}

/** A list as runtimes compute it, in 32 bits: a size may be the floor of such numbers. */
function rounded({ numbers, isInteger }: List): List | undefined {
  if (numbers.some(Number.isNaN)) return undefined;
  return { numbers: isInteger ? numbers : numbers.map(Math.fround), isInteger };
}

/** A function of numbers that are broadcast together. */
export const broadcast = (
  compute: (numbers: readonly number[], isInteger: boolean, site: Site) => number,
  {
    attributes = [],
    inputs = 2,
    isMonotone = false,
    hasSteps = false,
  }: { attributes?: readonly string[]; inputs?: number; isMonotone?: boolean; hasSteps?: boolean } = {},
): Operator => ({
  channels: 'combined',
  attributes,
  inputs,
  shape: (site) => [together(given(site).map(({ shape }) => shape))],
  list: (site, shape) => {
    const lists = given(site).map(({ list, shape: own }) => list && { list, own });
    if (!lists.every((each) => each !== undefined)) return undefined;
    const isInteger = lists.every(({ list }) => list.isInteger);
    const numbers: number[] = [];
    const count = productOf(shape);
    for (let index = 0; index < count; index++) {
      numbers.push(
        compute(
          lists.map(({ list, own }) => list.numbers[placeIn(own, shape, index)]!),
          isInteger,
          site,
        ),
      );
    }
    return rounded({ numbers, isInteger });
  },
  couple: (site, [shape]) => [coupled(site, given(site), shape!)],
  constant: (site, [output]) => {
    const { shape } = output;
    const tensors = given(site);
    const axes = knownAxes(tensors, shape);
    if (axes.length > 1) {
      const known = tensors.map((tensor) => numbersAlong(tensor, axes, shape));
      const numbers = known[0]!.map((_, index) => {
        const all = known.map((each) => each[index]!);
        return finite(compute(all, false, site), !all.some(Number.isNaN));
      });
      return knownOver(site, { axes, numbers }, output);
    }
    const axis = knownAxis(tensors, shape.length);
    if (axis === undefined) return undefined;
    const known = tensors.map((tensor) => knownAlong(tensor, axis, shape));
    const [least, most] = [new Float64Array(shape[axis]!), new Float64Array(shape[axis]!)];
    const ranged = tensors.findIndex((tensor) => rangesAlong(tensor, axis, shape) !== undefined);
    const ranges = isMonotone && ranged >= 0 ? rangesAlong(tensors[ranged]!, axis, shape) : undefined;
    const numbers = known.map(() => NaN);
    /** What it is at an index, with one limit of the numbers that have limits. */
    const at = (index: number, limits: Float64Array | undefined): number => {
      let isKnown = !hasSteps && limits === undefined;
      for (const [place, each] of known.entries()) {
        const number = (place === ranged && limits !== undefined ? limits : each)?.[index] ?? NaN;
        numbers[place] = number;
        isKnown &&= !Number.isNaN(number);
      }
      return finite(compute(numbers, false, site), isKnown);
    };
    for (let index = 0; index < least.length; index++) {
      const one = at(index, ranges?.least);
      const other = ranges === undefined ? one : at(index, ranges.most);
      [least[index], most[index]] = [Math.min(one, other), Math.max(one, other)];
    }
    return knownBetween(axis, least, most);
  },
});

const given = (site: Site): Tensor[] => site.node.inputs.map((_, place) => site.input(place));

/** Where the number of a list is that goes to a place of the result it is broadcast to. */
function placeIn(own: readonly number[], shape: readonly number[], index: number): number {
  let [place, stride, rest] = [0, 1, index];
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    const at = rest % shape[axis]!;
    rest = Math.floor(rest / shape[axis]!);
    const size = own[axis - shape.length + own.length];
    if (size === undefined) continue;
    if (size > 1) place += at * stride;
    stride *= size;
  }
  return place;
}

const monotone = { isMonotone: true } as const;

const erf = (x: number): number => {
  // From there on it is 1 as float32. The terms of the series cancel, the more so the larger they are: here to 1e-9.
  if (Math.abs(x) > 4) return Math.sign(x);
  let [term, sum] = [x, x];
  for (let n = 1; Math.abs(term) > 1e-18 * Math.abs(sum) && n < 400; n++) {
    term *= (-x * x) / n;
    sum += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
};

export const gelu = (x: number): number => 0.5 * x * (1 + erf(x / Math.SQRT2));

export const fastGelu = (x: number): number =>
  0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));

export const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

const selu = { alpha: 1.6732632423543772, gamma: 1.0507009873554805 };

const half = (x: number): number => Math.round(x) - (x % 1 === 0.5 || x % 1 === -0.5 ? Math.abs(Math.round(x) % 2) : 0);

/** Constants beside an input. */
export const constants =
  (part: Parameter['part']): Operator['parameters'] =>
  ({ inputs }: Node, input) =>
    [...inputs.keys()].flatMap((place) =>
      place !== input && inputs[place]?.isConstant === true ? [{ input: place, part }] : [],
    );

/** A comparison, of floats only where it is certain. */
const comparison = (holds: (a: number, b: number) => boolean): Operator => ({
  ...broadcast(
    ([a, b], isInteger) => {
      const distance = Math.abs(a! - b!);
      const isCertain = isInteger || (a === 0 && b === 0) || distance > uncertainty(a!) + uncertainty(b!);
      return isCertain ? Number(holds(a!, b!)) : NaN;
    },
    { hasSteps: true },
  ),
  channels: 'end',
});

/** Product of numbers of which one may be unknown: 0 times a number is 0, if that is finite. */
const times = (numbers: readonly number[]): number => {
  if (!numbers.includes(0)) return productOf(numbers);
  return numbers.some((number) => Math.abs(number) === Infinity) ? Infinity : 0;
};

/** Whether 0 divided by any of these numbers is 0. */
const divisors = new WeakMap<Stored, boolean>();

function isNowhereZero(view: View | undefined): boolean {
  if (view === undefined) return false;
  const { stored } = view;
  let known = divisors.get(stored);
  if (known === undefined) divisors.set(stored, (known = [...stored].every((number) => Math.abs(number) > 0)));
  return known;
}

/** Limits that are attributes in early versions, and inputs later. */
const clip: Operator = {
  ...unary(
    (x, site) => {
      const limit = (name: string, place: number, otherwise: number) => {
        if (site.node.inputs[place] === undefined) return site.float(name, otherwise);
        // One that is computed may be any number.
        return site.inputs[place]?.list?.numbers[0] ?? NaN;
      };
      return Math.min(limit('max', 2, Infinity), Math.max(limit('min', 1, -Infinity), x));
    },
    { attributes: ['max', 'min'], isMonotone: true },
  ),
  inputs: 3,
};

export const elementwise: ReadonlyMap<string, Operator> = new Map<string, Operator>([
  ['Relu', unary((x) => Math.max(0, x), monotone)],
  ['LeakyRelu', unary((x, site) => (x < 0 ? x * site.float('alpha', 0.01) : x), { attributes: ['alpha'] })],
  ['Elu', unary((x, site) => (x < 0 ? site.float('alpha', 1) * Math.expm1(x) : x), { attributes: ['alpha'] })],
  ['Celu', unary((x, site) => celu(x, site.float('alpha', 1)), { attributes: ['alpha'] })],
  [
    'Selu',
    unary(
      (x, site) => site.float('gamma', selu.gamma) * (x < 0 ? site.float('alpha', selu.alpha) * Math.expm1(x) : x),
      { attributes: ['alpha', 'gamma'] },
    ),
  ],
  ['Clip', clip],
  [
    'ThresholdedRelu',
    unary((x, site) => (x > site.float('alpha', 1) ? x : 0), { attributes: ['alpha'], hasSteps: true }),
  ],
  ['Sigmoid', unary(sigmoid, monotone)],
  [
    'HardSigmoid',
    unary((x, site) => Math.min(1, Math.max(0, site.float('alpha', 0.2) * x + site.float('beta', 0.5))), {
      attributes: ['alpha', 'beta'],
    }),
  ],
  [
    'HardSwish',
    unary((x) => x * Math.min(1, Math.max(0, x / 6 + 0.5)), { isMonotone: (least, most) => most <= -3 || least >= 0 }),
  ],
  ['Mish', unary((x) => x * Math.tanh(Math.log1p(Math.exp(x))))],
  ['Swish', unary((x, site) => x * sigmoid(site.float('alpha', 1) * x), { attributes: ['alpha'] })],
  [
    'Gelu',
    unary((x, site) => (site.text('approximate', 'none') === 'tanh' ? fastGelu(x) : gelu(x)), {
      attributes: ['approximate'],
    }),
  ],
  ['Softplus', unary((x) => Math.log1p(Math.exp(x)), monotone)],
  ['Softsign', unary((x) => x / (1 + Math.abs(x)), monotone)],
  ['Tanh', unary(Math.tanh, monotone)],
  ['Erf', unary(erf, monotone)],
  ['Exp', unary(Math.exp, monotone)],
  ['Log', unary(Math.log, monotone)],
  ['Sqrt', unary(Math.sqrt, monotone)],
  ['Reciprocal', unary((x) => 1 / x)],
  ['Abs', unary(Math.abs)],
  ['Neg', unary((x) => -x)],
  ['Floor', unary(Math.floor, { isMonotone: true, hasSteps: true })],
  ['Ceil', unary(Math.ceil, { isMonotone: true, hasSteps: true })],
  ['Round', unary(half, { hasSteps: true })],
  ['Sign', unary(Math.sign, { hasSteps: true })],
  ['Sin', unary(Math.sin)],
  ['Cos', unary(Math.cos)],
  ['Atan', unary(Math.atan)],
  ['Tan', unary(Math.tan)],
  ['Asin', unary(Math.asin)],
  ['Acos', unary(Math.acos)],
  ['Sinh', unary(Math.sinh, monotone)],
  ['Cosh', unary(Math.cosh)],
  ['Asinh', unary(Math.asinh, monotone)],
  ['Acosh', unary(Math.acosh)],
  ['Atanh', unary(Math.atanh)],
  ['IsNaN', unary(() => 0)],
  [
    'IsInf',
    unary(
      (x, site) =>
        Number(Math.abs(x) === Infinity && site.integer(x > 0 ? 'detect_positive' : 'detect_negative', 1) !== 0),
      { attributes: ['detect_negative', 'detect_positive'] },
    ),
  ],
  [
    'Shrink',
    unary((x, site) => shrunk(x, site.float('lambd', 0.5), site.float('bias', 0)), {
      attributes: ['bias', 'lambd'],
      hasSteps: true,
    }),
  ],
  ['Not', { ...unary((x) => (x === 0 ? 1 : 0)), channels: 'end' }],
  ['Add', { ...broadcast(([a, b]) => a! + b!, monotone), parameters: constants('bias') }],
  ['Sub', { ...broadcast(([a, b]) => a! - b!, monotone), parameters: constants('bias') }],
  ['Mul', { ...broadcast(times, monotone), parameters: constants('factor') }],
  [
    'Div',
    broadcast(([a, b], isInteger, site) => {
      if (isInteger) return Math.trunc(a! / b!);
      return a === 0 && Number.isNaN(b) && isNowhereZero(site.inputs[1]?.view) ? 0 : a! / b!;
    }),
  ],
  ['Pow', broadcast(([a, b]) => a! ** b!)],
  ['Max', broadcast((numbers) => Math.max(...numbers), { inputs: Infinity })],
  ['Min', broadcast((numbers) => Math.min(...numbers), { inputs: Infinity })],
  [
    'Sum',
    {
      ...broadcast(sumOf, { inputs: Infinity }),
      parameters: constants('bias'),
    },
  ],
  [
    'Mean',
    {
      ...broadcast((numbers) => sumOf(numbers) / numbers.length, {
        inputs: Infinity,
      }),
      parameters: constants('bias'),
    },
  ],
  ['Mod', broadcast(([a, b], isInteger, site) => modulo(a!, b!, isInteger, site), { attributes: ['fmod'] })],
  ['Equal', comparison((a, b) => a === b)],
  ['Greater', comparison((a, b) => a > b)],
  ['GreaterOrEqual', comparison((a, b) => a >= b)],
  ['Less', comparison((a, b) => a < b)],
  ['LessOrEqual', comparison((a, b) => a <= b)],
  ['And', { ...broadcast(([a, b]) => (Number.isNaN(a! + b!) ? NaN : a! && b! ? 1 : 0)), channels: 'end' }],
  ['Or', { ...broadcast(([a, b]) => (Number.isNaN(a! + b!) ? NaN : a! || b! ? 1 : 0)), channels: 'end' }],
  [
    'Xor',
    {
      ...broadcast(([a, b]) => (Number.isNaN(a! + b!) ? NaN : Number((a === 0) !== (b === 0)))),
      channels: 'end',
    },
  ],
  ['Where', broadcast(([c, a, b]) => (Number.isNaN(c!) ? (a === b ? a! : NaN) : c ? a! : b!), { inputs: 3 })],
  ['PRelu', broadcast(([x, slope]) => (x! >= 0 ? x! : x! * slope!))],
]);

const celu = (x: number, alpha: number): number => Math.max(0, x) + Math.min(0, alpha * Math.expm1(x / alpha));

const shrunk = (x: number, threshold: number, bias: number): number => {
  if (x < -threshold) return x + bias;
  return x > threshold ? x - bias : 0;
};

/** The rest of a division, with the sign of the divisor unless `fmod` is set. That of floats has steps. */
function modulo(a: number, b: number, isInteger: boolean, site: Site): number {
  if (!isInteger) return a === 0 && Number.isFinite(b) && b !== 0 ? 0 : NaN;
  const rest = a % b;
  return site.integer('fmod', 0) === 0 && rest !== 0 && rest < 0 !== b < 0 ? rest + b : rest;
}
