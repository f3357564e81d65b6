import { productOf } from '../../../../model/numbers.js';
import type { Tensor } from '../../../../structure/network.js';
import { type Known, numbersOver, type Spread, spreadOf, storedOver } from '../../../../structure/numbers.js';
import type { Site } from '../site.js';
import { isKnown } from './known.js';

/** What is known of numbers that are given by their index along one or several axes. */
export function knownOver({ coupling }: Site, spread: Spread, { shape, axes: channels }: Tensor): Known | undefined {
  const { axes, numbers } = spread;
  if (axes.length === 0 || !isKnown(numbers)) return undefined;
  if (axes.length === 1) return { axis: axes[0]!, numbers };
  const found = axes.map((axis): Known => ({ axis, numbers: numbersOver(spread, shape, [axis]), spread }));
  // An axis whose channels may go, or else one of which something is known.
  const some = found.filter((known) => isKnown(known.numbers));
  return some.find(({ axis }) => coupling.isOpen(channels[axis]!)) ?? some[0] ?? found.at(-1);
}

/**
 * What is known of a value whose axes are in other places.
 * @param placeOf the new place of an axis; undefined for one that is no more
 */
export function knownMoved(
  site: Site,
  { known, shape }: Pick<Tensor, 'known' | 'shape'>,
  placeOf: (axis: number) => number | undefined,
  after: Tensor,
): Known | undefined {
  if (known === undefined) return undefined;
  if (known.spread === undefined) {
    const axis = placeOf(known.axis);
    return axis === undefined ? undefined : { ...known, axis };
  }
  const left = known.spread.axes
    .filter((axis) => placeOf(axis) !== undefined)
    .sort((one, other) => placeOf(one)! - placeOf(other)!);
  return knownOver(
    site,
    { axes: left.map((axis) => placeOf(axis)!), numbers: numbersOver(known.spread, shape, left) },
    after,
  );
}

/** The most numbers of what is known together. */
const mostTogether = 2 ** 18;

/** What is known of a value of which several things are known, each along axes of its own. */
export function knownTogether(site: Site, all: readonly (Known | undefined)[], output: Tensor): Known | undefined {
  const [first, ...others] = all.filter((known) => known !== undefined);
  if (first === undefined || others.length === 0) return first;
  const { shape } = output;
  const spreads = [first, ...others].map(spreadOf);
  const axes = [...new Set(spreads.flatMap((each) => each.axes))].sort((one, other) => one - other);
  if (productOf(axes.map((axis) => shape[axis]!)) > mostTogether) return first;
  const each = spreads.map((spread) => numbersOver(spread, shape, axes));
  const numbers = each[0]!.map((_, place) => each.find((known) => !Number.isNaN(known[place]))?.[place] ?? NaN);
  return knownOver(site, { axes, numbers }, output);
}

/** What is known of a value that is broadcast, by the index along these axes of the result. */
export function numbersAlong(tensor: Tensor, axes: readonly number[], shape: readonly number[]): Float64Array {
  const { view, list, known, shape: own } = tensor;
  const shift = shape.length - own.length;
  const count = productOf(axes.map((axis) => shape[axis]!));
  if (list?.numbers.length === 1) return new Float64Array(count).fill(list.numbers[0]!);
  const wide = axes.filter((axis) => axis >= shift && own[axis - shift] === shape[axis]);
  const places = wide.map((axis) => axis - shift);
  let numbers: Float64Array;
  if (view !== undefined) numbers = storedOver(view, places);
  else if (known !== undefined) numbers = numbersOver(spreadOf(known), own, places);
  else return new Float64Array(count).fill(NaN);
  return numbersOver({ axes: wide, numbers }, shape, axes);
}
