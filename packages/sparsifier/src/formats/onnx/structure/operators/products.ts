import type { Axis } from '../../../../structure/coupling.js';
import type { Tensor } from '../../../../structure/network.js';
import { type Known, spreadOf, type View, wholeView } from '../../../../structure/numbers.js';
import { Stored } from '../../../../structure/stored.js';
import { Weights } from '../../../../structure/weights.js';
import { Misfit, type Operator, type Site, Unknown } from '../site.js';
import { foldsInto } from './biases.js';
import { coupled, together } from './broadcasting.js';
import { along, asKnown, knownAlong, knownAxes } from './known.js';
import { knownMoved, knownTogether, numbersAlong } from './spreads.js';

/** A product of matrices, of which the last two axes of both factors may be swapped. */
interface Product {
  readonly left: Tensor;
  readonly right: Tensor;
  /** The axes that are summed over. */
  readonly from: readonly [left: number, right: number];
  /** The axes of the rows and columns of the result. */
  readonly to: readonly [left: number, right: number];
}

function productIn(site: Site, swapsLeft: boolean, swapsRight: boolean): Product {
  const [left, right] = [site.input(0), site.input(1)];
  const [m, n] = [left.shape.length, right.shape.length];
  if (m < 2 || n < 2) throw new Unknown('a factor is a vector');
  const from = [swapsLeft ? m - 2 : m - 1, swapsRight ? n - 1 : n - 2] as const;
  const to = [swapsLeft ? m - 1 : m - 2, swapsRight ? n - 2 : n - 1] as const;
  if (left.shape[from[0]] !== right.shape[from[1]]) throw new Misfit('its factors do not fit');
  return { left, right, from, to };
}

function shapeOfProduct({ left, right, to }: Product): number[] {
  const batches = together([left.shape.slice(0, -2), right.shape.slice(0, -2)]);
  return [...batches, left.shape[to[0]]!, right.shape[to[1]]!];
}

/** A stored factor as weights, of which its rows, or its columns, are the outputs. */
const weightsIn = ({ left, right, from, to }: Product, place: 0 | 1, view: View, isOwn: boolean): Weights =>
  new Weights({
    ...{ view, from: from[place], to: to[place], groups: 1, isOwn },
    outputs: [left, right][place]!.axes[to[place]]!,
  });

function coupleProduct(site: Site, product: Product, shape: readonly number[], isScaled: boolean): Axis[] {
  const { left, right, from, to } = product;
  const axis = left.axes[from[0]]!;
  site.coupling.couple(axis, right.axes[from[1]]!);
  const batchesOf = (tensor: Tensor): Tensor => ({ shape: tensor.shape.slice(0, -2), axes: tensor.axes.slice(0, -2) });
  const batches = coupled(site, [batchesOf(left), batchesOf(right)], shape.slice(0, -2));
  const [rows, columns] = [left.axes[to[0]]!, right.axes[to[1]]!];
  const reader = { title: site.title, axis, operator: site };
  if (right.view !== undefined) {
    const weights = weightsIn(product, 1, right.view, site.isOwn(1));
    const bias = site.inputs[2];
    const folds = right.shape.length === 2 && !isScaled && foldsInto(bias, shape);
    site.flow.readers.push({ ...reader, known: along(left, from[0]), weights, folds });
  } else if (left.view !== undefined) {
    const weights = weightsIn(product, 0, left.view, site.isOwn(0));
    site.flow.readers.push({ ...reader, known: along(right, from[1]), weights, folds: false });
  } else {
    const weights = usesIn(site, product, shape, batches);
    const [known, factor] = weights === undefined ? [along(left, from[0]), along(right, from[1])] : [];
    site.flow.readers.push({ ...reader, known, factor, weights, folds: false });
  }
  return [...batches, rows, columns];
}

/**
 * Which numbers of the axis that is summed over count in which matrices of two batches, as weights that are 1 or 0;
 * undefined if the same do in all.
 */
function usesIn(
  { coupling }: Site,
  { left, right, from }: Product,
  shape: readonly number[],
  batches: readonly Axis[],
): Weights | undefined {
  const axes = knownAxes([left, right], shape).filter((axis) => axis < batches.length);
  const batch = axes.find((axis) => coupling.isOpen(batches[axis]!));
  if (batch === undefined) return undefined;
  const [count, size] = [shape[batch]!, left.shape[from[0]]!];
  const numbersOf = (factor: Tensor, axis: number) => {
    const whole = [...shape.slice(0, -2), ...factor.shape.slice(-2)];
    return numbersAlong(factor, [batch, axis + shape.length - factor.shape.length], whole);
  };
  const [one, other] = [numbersOf(left, from[0]), numbersOf(right, from[1])];
  const numbers = Float32Array.from(one, (number, place) => (number === 0 || other[place] === 0 ? 0 : 1));
  return new Weights({
    view: wholeView(Stored.of(numbers), [count, size]),
    from: 1,
    to: 0,
    outputs: batches[batch]!,
    groups: 1,
    isOwn: false,
  });
}

/** What is known of a product without its bias. */
function knownProduct(site: Site, product: Product, output: Tensor): Known | undefined {
  const { left, right, from, to } = product;
  const rank = output.shape.length;
  const zerosOfLeft = () =>
    zerosAfter(site, left, (axis) => (axis === to[0] ? rank - 2 : axis === from[0] ? undefined : axis), output);
  const zerosOfRight = () =>
    zerosAfter(site, right, (axis) => (axis === to[1] ? rank - 1 : axis === from[1] ? undefined : axis), output);
  if (right.view?.shape.length === 2) {
    const weights = weightsIn(product, 1, right.view, true);
    const known = asKnown(rank - 1, weights.knownAfter(along(left, from[0])?.numbers, true));
    return knownTogether(site, [known, zerosOfLeft()], output);
  }
  if (left.view?.shape.length === 2) {
    const weights = weightsIn(product, 0, left.view, true);
    const known = asKnown(rank - 2, weights.knownAfter(along(right, from[1])?.numbers, true));
    return knownTogether(site, [known, zerosOfRight()], output);
  }
  return knownTogether(site, [zerosOfRight(), zerosOfLeft()], output);
}

/** The zeros of a product where a factor has nothing but zeros along the axis that is summed over. */
function zerosAfter(
  site: Site,
  tensor: Tensor,
  placeOf: (axis: number) => number | undefined,
  output: Tensor,
): Known | undefined {
  const { shape } = tensor;
  const known =
    tensor.known ??
    along(
      tensor,
      shape.findIndex((_, axis) => (placeOf(axis) ?? 0) >= output.shape.length - 2),
    );
  if (known === undefined) return undefined;
  const { axes, numbers } = spreadOf(known);
  const shift = output.shape.length - shape.length;
  const zeros = { axes, numbers: numbers.map((number) => (number === 0 ? 0 : NaN)) };
  const placed = (axis: number) => {
    const place = placeOf(axis);
    const after = place === undefined || axis >= shape.length - 2 ? place : place + shift;
    // Batches of size 1 are repeated.
    return after !== undefined && output.shape[after] === shape[axis] ? after : undefined;
  };
  return knownMoved(site, { known: { axis: axes[0]!, numbers: zeros.numbers, spread: zeros }, shape }, placed, output);
}

const matMul: Operator = {
  channels: 'end',
  attributes: [],
  inputs: 2,
  shape: (site) => [shapeOfProduct(productIn(site, false, false))],
  couple: (site, [shape]) => [coupleProduct(site, productIn(site, false, false), shape!, false)],
  constant: (site, [output]) => knownProduct(site, productIn(site, false, false), output),
};

const gemmProduct = (site: Site): Product =>
  productIn(site, site.integer('transA', 0) !== 0, site.integer('transB', 0) !== 0);

const gemm: Operator = {
  channels: 'end',
  attributes: ['alpha', 'beta', 'transA', 'transB'],
  inputs: 3,
  shape: (site) => [shapeOfProduct(gemmProduct(site))],
  couple: (site, [shape]) => {
    const isScaled = site.float('alpha', 1) !== 1 || site.float('beta', 1) !== 1;
    const axes = coupleProduct(site, gemmProduct(site), shape!, isScaled);
    const bias = site.inputs[2];
    if (bias !== undefined) coupled(site, [{ shape: shape!, axes }, bias], shape!);
    return [axes];
  },
  constant: (site, [output]) => {
    const { shape } = output;
    const known = knownProduct(site, gemmProduct(site), output);
    if (known === undefined) return undefined;
    const [alpha, beta, bias] = [site.float('alpha', 1), site.float('beta', 1), site.inputs[2]];
    const added = bias && knownAlong(bias, known.axis, shape);
    if (bias !== undefined && added === undefined) return undefined;
    const numbers = known.numbers.map((number, index) => alpha * number + beta * (added?.[index] ?? 0));
    return asKnown(known.axis, numbers);
  },
};

export const products: ReadonlyMap<string, Operator> = new Map<string, Operator>([
  ['MatMul', matMul],
  ['Gemm', gemm],
]);
