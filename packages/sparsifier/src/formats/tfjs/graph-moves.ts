import { somewhere, type Channels } from './flow.js';
import { integersIn, integersOf, isChannelsFirst, isTrue, shapeOf, type Node, type Value } from './graph-node.js';
import { operators } from './graph-operators.js';
import type { Graph } from './graph-structure.js';
import { mostAxes } from './graph-views.js';
import { productOf } from '../../model/numbers.js';

type Move = (node: Node, channels: Channels) => Channels | undefined;

/** Nodes that move channels without changing them, or part of them. */
const moves: ReadonlyMap<string, Move> = new Map<string, Move>([
  ['Reshape', reshape],
  ['Squeeze', squeeze],
  ['ExpandDims', expand],
  ['Transpose', transpose],
  ['Pad', pad],
  ['MirrorPad', pad],
  ...['Mean', 'Sum', 'Max', 'Min'].map((op) => [op, reduce] as const),
  ...['Split', 'SplitV', 'Unpack', 'Slice', 'StridedSlice', 'Tile', 'Reverse', 'ReverseV2', 'DepthToSpace']
    .concat('SpaceToDepth', 'BroadcastTo')
    .map((op) => [op, (_: Node, channels: Channels) => somewhere(channels)] as const),
]);

/**
 * Where channels are after a node that moves them.
 * @returns undefined if the node does not only move them
 */
export function moveChannels(node: Node, from: Node, channels: Channels, graph: Graph): Channels | undefined {
  if (isConcatenation(node)) return concatenate(node, from, channels, widthsOf(graph));
  return node.inputs[0]?.node === from ? moves.get(node.op)?.(node, channels) : undefined;
}

/** An axis counted from the end; undefined if that takes a rank which is not known. */
function fromEnd(axis: number, rank: number | undefined): number | undefined {
  return axis < 0 ? axis : rank === undefined ? undefined : axis - rank;
}

function reshape({ inputs }: Node, channels: Channels): Channels {
  const { sizes, rank } = endOf(inputs[1]);
  const { axis, total, start } = channels;
  if (axis !== -1) return somewhere(channels);
  const own: number[] = [];
  for (let product = 1; product < total || own.length === 0;) {
    const size = sizes.at(-1 - own.length);
    if (size === undefined || size < 1) return somewhere(channels);
    own.unshift(size);
    product *= size;
    if (product > total || own.length > mostAxes) return somewhere(channels);
  }
  const isWhole = start === 0 && productOf(own) === total;
  return isWhole || own.length === 1 ? { ...channels, axis: -1, sizes: own, rank } : somewhere(channels);
}

/** The last numbers of a shape that are known, and how many it has if that is known. */
function endOf(value: Value | undefined): { readonly sizes: readonly number[]; readonly rank: number | undefined } {
  const integers = integersIn(value);
  if (integers !== undefined) return { sizes: integers, rank: integers.length };
  const node = value?.node;
  if (node?.op === 'Pack') {
    const parts = node.inputs.slice(-mostAxes - 1).map((input) => integersIn(input)?.[0]);
    return { sizes: parts.slice(parts.lastIndexOf(undefined) + 1) as number[], rank: node.inputs.length };
  }
  if (node?.op === 'ConcatV2') return { sizes: integersIn(node.inputs.at(-2)) ?? [], rank: undefined };
  return { sizes: [], rank: undefined };
}

function squeeze({ attributes }: Node, channels: Channels): Channels {
  const { axis, sizes, rank } = channels;
  const given = integersOf(attributes.squeeze_dims) ?? [];
  if (axis === undefined || given.length === 0) return somewhere(channels);
  const first = axis - sizes.length + 1;
  // An axis of size 1 that is counted from the front is not the last one if that has the channels.
  const removed = given.map((each) => fromEnd(each, rank) ?? (axis === -1 ? first - 1 : undefined));
  if (removed.some((each) => each === undefined || (each >= first && each <= axis))) return somewhere(channels);
  const behind = removed.filter((each) => each! > axis).length;
  return { ...channels, axis: axis + behind, rank: rank === undefined ? undefined : rank - given.length };
}

function expand({ inputs }: Node, channels: Channels): Channels {
  const { axis, sizes, rank } = channels;
  const given = integersIn(inputs[1])?.[0];
  const place = given === undefined ? undefined : fromEnd(given, rank === undefined ? undefined : rank + 1);
  if (axis === undefined || place === undefined) return somewhere(channels);
  if (place < axis && place > axis - sizes.length) return somewhere(channels);
  return { ...channels, axis: place >= axis ? axis - 1 : axis, rank: rank === undefined ? undefined : rank + 1 };
}

function transpose({ inputs }: Node, channels: Channels): Channels {
  const order = integersIn(inputs[1]);
  const { axis, sizes } = channels;
  if (order === undefined || axis === undefined) return somewhere(channels);
  const places = sizes.map((_, at) => order.indexOf(order.length + axis - sizes.length + 1 + at));
  const isTogether = places.every((place, at) => place >= 0 && place === places[0]! + at);
  return isTogether ? { ...channels, axis: places.at(-1)! - order.length, rank: order.length } : somewhere(channels);
}

/** Zeros, or copies of what is there, beside the numbers of each channel. */
function pad({ inputs }: Node, channels: Channels): Channels {
  const { axis, sizes } = channels;
  const paddings = integersIn(inputs[1]);
  if (axis === undefined || paddings === undefined) return somewhere(channels);
  const own = paddings.slice(paddings.length + 2 * (axis - sizes.length + 1), paddings.length + 2 * (axis + 1));
  return own.length > 0 && own.every((count) => count === 0) ? channels : somewhere(channels);
}

/** The mean, sum or extreme of the numbers of each channel. */
function reduce({ inputs, attributes }: Node, channels: Channels): Channels | undefined {
  const { axis, sizes, rank } = channels;
  const removed = integersIn(inputs[1])?.map((each) => fromEnd(each, rank));
  if (axis === undefined || removed === undefined) return undefined;
  const first = axis - sizes.length + 1;
  if (removed.some((each) => each === undefined || (each >= first && each <= axis))) return undefined;
  if (isTrue(attributes.keep_dims)) return channels;
  const behind = removed.filter((each) => each! > axis).length;
  return { ...channels, axis: axis + behind, rank: rank === undefined ? undefined : rank - removed.length };
}

const isConcatenation = ({ op }: Node): boolean => op === 'ConcatV2' || op === 'Concat';

function concatenate(node: Node, from: Node, channels: Channels, { joins }: Widths): Channels | undefined {
  const { axis, rank, sizes } = channels;
  const { along, starts, total } = joins.get(node)!;
  const place = along === undefined ? undefined : fromEnd(along, rank);
  if (axis === undefined || place === undefined) return somewhere(channels);
  // Along another axis, the values are beside those of other layers.
  if (place !== axis) return undefined;
  const start = starts.get(from);
  if (axis !== -1 || sizes.length !== 1 || total === undefined || start === undefined) return somewhere(channels);
  return { ...channels, sizes: [total], start: start + channels.start, total };
}

/** How many numbers the last axis of each value has, as far as it is known, and what concatenations join. */
interface Widths {
  readonly widths: Map<Node, number>;
  readonly joins: Map<Node, Join>;
}

interface Join {
  /** Its axis, if it is known. */
  readonly along: number | undefined;
  /** Where the numbers of each value begin if they are joined along the last axis; undefined for one that occurs twice. */
  readonly starts: ReadonlyMap<Node, number | undefined>;
  readonly total: number | undefined;
}

function joinOf({ op, inputs }: Node, widths: ReadonlyMap<Node, number>): Join {
  const [values, axis] = op === 'Concat' ? [inputs.slice(1), inputs[0]] : [inputs.slice(0, -1), inputs.at(-1)];
  const starts = new Map<Node, number | undefined>();
  let total: number | undefined = 0;
  for (const value of values) {
    const { node, constant } = value;
    if (node !== undefined && constant === undefined) starts.set(node, starts.has(node) ? undefined : total);
    const width = widthOf(value, widths);
    total = total === undefined || width === undefined ? undefined : total + width;
  }
  return { along: integersIn(axis)?.[0], starts, total };
}

const widthOf = ({ node, constant }: Value, widths: ReadonlyMap<Node, number>): number | undefined =>
  constant === undefined ? node && widths.get(node) : shapeOf(constant).at(-1);

const known = new WeakMap<Graph, Widths>();

/** Operators whose output has the last axis of their first input. */
const keepWidth =
  /^(Identity|Cast|Relu6?|Elu|Selu|LeakyRelu|Prelu|Tanh|Sigmoid|FusedBatchNorm(V[23])?|BiasAdd|(Avg|Max)Pool|ResizeBilinear|ResizeNearestNeighbor)$/;

function widthsOf(graph: Graph): Widths {
  const before = known.get(graph);
  if (before !== undefined) return before;
  const [widths, joins] = [new Map<Node, number>(), new Map<Node, Join>()];
  const waiting = new Map(graph.nodes.map((node) => [node, node.sources]));
  const ready = graph.nodes.filter(({ sources }) => sources === 0);
  // The list grows while it is read. Nodes in a circle are never ready.
  for (const node of ready) {
    if (isConcatenation(node)) joins.set(node, joinOf(node, widths));
    const width = joins.get(node)?.total ?? ownWidth(node, widths);
    if (width !== undefined) widths.set(node, width);
    for (const reader of node.readers) {
      waiting.set(reader, waiting.get(reader)! - 1);
      if (waiting.get(reader) === 0) ready.push(reader);
    }
  }
  for (const node of graph.nodes) if (isConcatenation(node) && !joins.has(node)) joins.set(node, joinOf(node, widths));
  known.set(graph, { widths, joins });
  return { widths, joins };
}

function ownWidth(node: Node, widths: ReadonlyMap<Node, number>): number | undefined {
  const { op, inputs } = node;
  const constant = inputs[1]?.constant;
  const operator = operators.get(op);
  if (operator?.activations.has(1) && constant !== undefined && constant.axes.length <= mostAxes) {
    const layout = operator.layout(node, constant, 1);
    const channels = typeof layout === 'string' ? undefined : layout.channels;
    return channels?.axis === -1 && channels.sizes.length === 1 ? channels.sizes[0] : undefined;
  }
  const before = inputs[0] && widthOf(inputs[0], widths);
  if (before === undefined) return undefined;
  if (op === 'Pad') {
    const [first, last] = integersIn(inputs[1])?.slice(-2) ?? [];
    return first === undefined || last === undefined ? undefined : before + first + last;
  }
  // Other operators with channels first change the last axis, which is that of columns.
  return keepWidth.test(op) && !isChannelsFirst(node.attributes) ? before : undefined;
}
