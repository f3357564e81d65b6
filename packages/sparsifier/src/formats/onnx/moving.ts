import {
  keeping,
  rankUnknown,
  withLeak,
  unknown,
  type Location,
  type Pass,
  type Place,
  type Track,
} from './channels.js';
import { title, type Node } from './graph.js';
import {
  attributeOf,
  axesOf,
  fromFront,
  haveSameProduct,
  integersOf,
  numbersOf,
  splitSizes,
  type Shape,
} from './shapes.js';
import { mostAxes } from './views.js';

// Where the channels of an input are in the outputs of operators that move or summarise numbers.

/** Scales or sizes are in the last inputs, and may be computed. */
export function resized(node: Node): (at: Location) => Location {
  const { inputs, outputs } = node;
  const rank = inputs[0]?.rank;
  const lists = inputs.slice(1).map(numbersOf);
  return (at) => {
    const { place } = at;
    if (place === undefined || rank === undefined) return unknown(at.reason ?? rankUnknown);
    const named = axesOf(node, Infinity);
    const index = Array.isArray(named)
      ? named.map((axis) => fromFront(axis, rank)).indexOf(rank - place.axis)
      : rank - place.axis;
    const isSame =
      index < 0 ||
      outputs[0]?.shape?.[rank - place.axis] === place.size ||
      lists
        .slice(node.op === 'Resize' && inputs.length > 2 ? 1 : 0)
        .some((list, form) => list?.[index] === (form === 1 ? place.size : 1));
    return isSame ? { place } : unknown(`${title(node)} may resize the axis of the channels`);
  };
}

export function transposed(node: Node): (at: Location) => Location {
  const order = node.attributes.get('perm')?.integers;
  const rank = node.inputs[0]?.rank ?? order?.length;
  const isOrder = order === undefined || (order.length === rank && rank <= mostAxes);
  return ({ place, reason }) => {
    if (place === undefined || rank === undefined) return unknown(reason ?? rankUnknown);
    const axis = order === undefined ? place.axis - 1 : isOrder ? order.indexOf(rank - place.axis) : -1;
    return axis < 0
      ? unknown(`the perm of ${title(node)} is not a permutation`)
      : { place: { ...place, axis: rank - axis } };
  };
}

/** The axis of the channels stays whole if as many elements are before or behind it as before. */
export function reshaped(node: Node): (at: Location) => Location {
  const [value, output] = [node.inputs[0]!, node.outputs[0]];
  return (at) => {
    const before = at.place === undefined ? at.before : { place: at.place, shape: value.shape ?? [] };
    if (before === undefined) return unknown(at.reason ?? rankUnknown);
    const { place, shape } = before;
    const isKnown = shape.length > 0 || place.axis === 1;
    const axis = output?.shape === undefined || !isKnown ? undefined : axisAfter(place, shape, output.shape);
    const reason = `${title(node)} splits or merges the axis of the channels, as far as the file says`;
    return axis === undefined ? { before, reason } : { place: { ...place, axis } };
  };
}

function axisAfter({ axis, size }: Place, from: Shape, to: Shape): number | undefined {
  const at = from.length - axis;
  for (const [place, after] of to.entries()) {
    if (after !== size) continue;
    const isBehind = haveSameProduct(to.slice(place + 1), from.slice(at + 1));
    if (isBehind || (from.length > 0 && haveSameProduct(to.slice(0, place), from.slice(0, at))))
      return to.length - place;
  }
  return undefined;
}

/** Broadcasting repeats axes of size 1. */
export function broadcast(at: Location): Location {
  const { place } = at;
  return place === undefined || place.size !== 1 ? at : unknown('its only channel is repeated');
}

export function gathered(node: Node): (at: Location) => Location {
  const rank = node.inputs[0]?.rank;
  const indices = node.inputs[1]?.rank;
  return ({ place, reason }) => {
    if (place === undefined || rank === undefined || indices === undefined) return unknown(reason ?? rankUnknown);
    const axis = rank - fromFront(attributeOf(node, 'axis', 0), rank);
    if (axis === place.axis) return unknown(`${title(node)} takes some of the channels`);
    return { place: { ...place, axis: place.axis + (axis < place.axis ? indices - 1 : 0) } };
  };
}

export function scattered(node: Node): (at: Location) => Location {
  return ({ reason }) => unknown(reason ?? `${title(node)} moves the channels`);
}

export function concatenating(node: Node): Pass {
  const { inputs, outputs } = node;
  const rank = outputs[0]?.rank ?? inputs.find((value) => value?.rank !== undefined)?.rank;
  const stated = attributeOf(node, 'axis', 0);
  const axis = stated < 0 ? -stated : rank === undefined ? undefined : rank - stated;
  const starts: number[] = [];
  let end = 0;
  for (const value of inputs) {
    starts.push(end);
    const shape = value?.shape;
    const size = axis === undefined ? undefined : shape?.[shape.length - axis];
    end += typeof size === 'number' ? size : NaN;
  }
  const shared = `it also applies to the other inputs of ${title(node)}`;
  return ({ input, track }) => {
    const { place } = track.at;
    if (inputs.length === 1) return [track];
    if (place === undefined || axis === undefined)
      return [{ ...track, at: unknown(track.at.reason ?? rankUnknown), shared }];
    if (place.axis !== axis) return [{ ...track, shared }];
    const start = starts[input]!;
    if (!Number.isSafeInteger(start))
      return [{ ...track, at: unknown(`the channels before them in ${title(node)} are not counted in the file`) }];
    const shape = outputs[0]?.shape;
    const size = !Number.isSafeInteger(end) ? (shape?.[shape.length - axis] ?? Symbol('size')) : end;
    return [{ ...track, at: { place: { ...place, size, offset: place.offset + start } } }];
  };
}

export function splitting(node: Node): Pass {
  const { inputs, outputs } = node;
  const rank = inputs[0]?.rank;
  const stated = attributeOf(node, 'axis', 0);
  const axis = stated < 0 ? -stated : rank === undefined ? undefined : rank - stated;
  const sizes = splitSizes(node);
  return ({ input, track }) => {
    const { place, reason } = track.at;
    if (input !== 0) return undefined;
    if (place !== undefined && axis !== undefined && place.axis !== axis) return outputs.map(() => track);
    if (place === undefined || axis === undefined || sizes === undefined) {
      return outputs.map(() => ({ ...track, at: unknown(reason ?? `${title(node)} takes some of the channels`) }));
    }
    let start = 0;
    return sizes.map((size) => part(track, place, start, (start += size)));
  };
}

/** The channels that lie between two entries of the axis. */
function part(track: Track, place: Place, start: number, end: number): Track | undefined {
  const from = Math.max(start, place.offset);
  const count = Math.min(end, place.offset + place.count) - from;
  if (count <= 0) return undefined;
  const first = place.first + from - place.offset;
  return { ...track, at: { place: { axis: place.axis, size: end - start, offset: from - start, first, count } } };
}

export function slicing(node: Node): Pass {
  const { inputs, attributes } = node;
  const rank = inputs[0]?.rank;
  const list = (name: string, input: number) => attributes.get(name)?.integers ?? integersOf(inputs[input]);
  const [starts, ends] = [list('starts', 1), list('ends', 2)];
  const steps = inputs[4] === undefined ? starts?.map(() => 1) : integersOf(inputs[4]);
  const named = axesOf(node, 3);
  const isList = starts !== undefined && starts.length <= mostAxes;
  const axes = named ?? (isList ? starts.map((_, axis) => axis) : 'unknown');
  return ({ input, track }) => {
    const { place, reason } = track.at;
    if (input !== 0) return undefined;
    const lost = [{ ...track, at: unknown(reason ?? `${title(node)} takes some of the channels`) }];
    if (place === undefined || rank === undefined || axes === 'unknown') return lost;
    const at = axes.findIndex((axis) => fromFront(axis, rank) === rank - place.axis);
    if (at < 0) return [track];
    const [start, end, size] = [starts?.[at], ends?.[at], place.size];
    if (start === undefined || end === undefined || typeof size !== 'number' || steps?.[at] !== 1) return lost;
    const clamped = (index: number) => Math.min(size, Math.max(0, index < 0 ? index + size : index));
    return [part(track, place, clamped(start), clamped(end))];
  };
}

/** Pools work on all axes after the second. */
export function pooling(node: Node): Pass {
  const rank = node.inputs[0]?.rank;
  return ({ input, track }) => {
    const { place, reason } = track.at;
    if (input !== 0) return undefined;
    if (place === undefined || rank === undefined) return [{ ...track, at: unknown(reason ?? rankUnknown) }];
    return rank - place.axis < 2 ? [track] : undefined;
  };
}

/** A mean, sum or the like of zeros is 0, along other axes than that of the channels. */
export function reducing(node: Node): Pass {
  const rank = node.inputs[0]?.rank;
  const axes = axesOf(node, 1);
  const keepsAxes = attributeOf(node, 'keepdims', 1) !== 0;
  if (axes === undefined && attributeOf(node, 'noop_with_empty_axes', 0) !== 0) return keeping(node);
  if (axes === undefined) return () => undefined;
  return ({ input, track }) => {
    const { place, reason } = track.at;
    if (input !== 0) return undefined;
    if (place === undefined || rank === undefined || axes === 'unknown') {
      return [{ ...track, at: unknown(reason ?? `${title(node)} may summarise the axis of the channels`) }];
    }
    // From the end, as in a place.
    const reduced = axes.map((axis) => rank - fromFront(axis, rank));
    if (reduced.includes(place.axis)) return undefined;
    const gone = keepsAxes ? 0 : reduced.filter((axis) => axis < place.axis).length;
    return [{ ...track, at: { place: { ...place, axis: place.axis - gone } } }];
  };
}

export function padding(node: Node): Pass {
  const { inputs, attributes } = node;
  const pads = attributes.get('pads')?.integers ?? integersOf(inputs[1]);
  const isConstant = (attributes.get('mode')?.text ?? 'constant') === 'constant';
  const number = !isConstant
    ? 0
    : inputs[2] === undefined
      ? (attributes.get('value')?.float ?? 0)
      : numbersOf(inputs[2])?.[0];
  const borders = bordersOf(node, pads);
  return ({ input, track }) => {
    const { place, reason } = track.at;
    if (input !== 0) return undefined;
    const [before, after] = (place && borders?.get(place.axis)) ?? [0, 0];
    // Other modes than a constant, and cuts, mix channels where they are along their axis.
    const isMoved = before !== 0 || after !== 0;
    if (place === undefined || borders === undefined || (isMoved && !(isConstant && before >= 0 && after >= 0))) {
      const onward = { ...track, at: unknown(reason ?? `${title(node)} may pad the axis of the channels`) };
      return [number === 0 ? onward : withLeak(node, onward)];
    }
    const size = typeof place.size === 'number' ? place.size + before + after : Symbol('size');
    const onward = isMoved ? { ...track, at: { place: { ...place, size, offset: place.offset + before } } } : track;
    const isBeside = [...borders].some(([axis, [begin, end]]) => axis !== place.axis && (begin > 0 || end > 0));
    return [number === 0 || !isBeside ? onward : withLeak(node, onward)];
  };
}

/** What a Pad adds before and after each axis, counted from the end, if the file says so. */
function bordersOf(node: Node, pads: readonly number[] | undefined): Map<number, [number, number]> | undefined {
  const rank = node.inputs[0]?.rank;
  const named = axesOf(node, 3);
  if (rank === undefined || pads === undefined || named === 'unknown') return undefined;
  const axes = named ?? Array.from({ length: rank }, (_, axis) => axis);
  return new Map(axes.map((axis, at) => [rank - fromFront(axis, rank), [pads[at] ?? 0, pads[at + axes.length] ?? 0]]));
}
