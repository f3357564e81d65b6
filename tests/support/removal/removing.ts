import { planOnnxRemoval, readGraph, rewritten, Stored, versionsIn, widened } from '../internal.js';
import type { Random } from './random.js';

export interface RemovalChoice {
  readonly roundTo?: number;
  /** Sizes of the inputs that it is planned for: as many sets as are wanted. */
  readonly inputs: readonly Readonly<Record<string, readonly number[]>>[];
  /** The name of a value whose channels stay. */
  readonly protect?: string | undefined;
}

export interface Removed {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** How many channels are gone. */
  readonly count: number;
  /** The sizes of values for the first set of inputs, before and after. */
  readonly before: ReadonlyMap<string, readonly number[]>;
  readonly after: ReadonlyMap<string, readonly number[]>;
  /** What is known of values, for the first set of inputs. */
  readonly tensors: ReadonlyMap<string, Pick<Tensor, 'known' | 'list'>>;
  /** Whether all but one of the channels along an axis are gone. */
  readonly leavesOne: boolean;
  /** How many channels the groups have that operators add up, and how many of them stay. Heads are not rounded. */
  readonly groups: readonly { readonly before: number; readonly after: number }[];
}

type Plan = ReturnType<typeof planOnnxRemoval>;
type Tensor = Plan['followed']['tensors'] extends ReadonlyMap<unknown, infer Item> ? Item : never;

type Values = NonNullable<ReturnType<typeof readGraph>['constants'][number]['tensor']['values']>;

/** Numbers as they are stored, or decoded where they are not a plain array. */
function decoded({ coding }: Values, stored: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  if (coding === undefined) return stored;
  const numbers = coding.decode(stored, undefined);
  if (numbers instanceof Promise) throw new Error('it is decoded elsewhere');
  return numbers;
}

/** What is decided for a model. */
export function planned(bytes: Uint8Array<ArrayBuffer>, { roundTo = 1, inputs, protect }: RemovalChoice) {
  const file = { name: 'model.onnx', bytes };
  const graph = readGraph(file);
  const given = graph.inputs.filter(({ view }) => view === undefined);
  type Constant = (typeof graph.constants)[number];
  const read = new Map<Constant, Stored>();
  const numbersOf = (constant: Constant) => {
    const { values } = constant.tensor;
    if (values === undefined) return undefined;
    if (!read.has(constant)) {
      const stored = bytes.slice(values.start, values.start + values.bytes);
      read.set(constant, new Stored(new Uint8Array(widened(decoded(values, stored), values.dtype).buffer)));
    }
    return read.get(constant);
  };
  const probes = inputs.map((sizes) => new Map(given.map((value) => [value, sizes[value.name]!])));
  const values = graph.nodes.flatMap(({ outputs }) => outputs).filter(({ name }) => name === protect);
  const options = { opset: versionsIn(file).opset, probes, numbersOf, roundTo, protect: new Set(values) };
  return { file, graph, plan: planOnnxRemoval(graph, options) };
}

/** A model without its dead channels. */
export function removedFrom(bytes: Uint8Array<ArrayBuffer>, choice: RemovalChoice): Removed {
  const { file, graph, plan } = planned(bytes, choice);
  const { followed, removal, cut } = plan;
  const read = new Set(followed.readers.flatMap(({ axis }) => Array.from(axis, (id) => followed.coupling.find(id))));
  const inGrids = new Set(followed.coupling.cells().map(({ root }) => root));
  const shapes = (isAfter: boolean) =>
    new Map(
      [...followed.tensors].map(([{ name }, { shape, axes }]) => [
        name,
        isAfter ? axes.map((axis, place) => (axis.length === shape[place] ? cut.sizeOf(axis) : shape[place]!)) : shape,
      ]),
    );
  return {
    bytes: rewritten(file, graph, plan),
    count: removal.gone.size,
    before: shapes(false),
    after: shapes(true),
    tensors: new Map([...followed.tensors].map(([{ name }, tensor]) => [name, tensor])),
    leavesOne: [...followed.uses.map(({ tensor }) => tensor), ...followed.tensors.values()]
      .flatMap(({ axes }) => axes)
      .some((axis) => {
        const channels = new Set(Array.from(axis, (id) => followed.coupling.find(id)));
        return channels.size > 1 && [...channels].filter((channel) => !removal.gone.has(channel)).length === 1;
      }),
    groups: removal.groups
      .filter(({ channels }) => channels.some((channel) => read.has(channel) && !inGrids.has(channel)))
      .map(({ channels, gone }) => ({ before: channels.length, after: channels.length - gone.length })),
  };
}

/** A model with its channels in another order. */
export interface Permuted {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The channels that go from it if those go that went before. */
  readonly gone: ReadonlySet<number>;
  /** Whether it has to be these channels: of several with the same constant, any may carry those of the others. */
  readonly isUnique: boolean;
}

/** Which channels go from a model. */
export const goneFrom = (bytes: Uint8Array<ArrayBuffer>, choice: RemovalChoice): ReadonlySet<number> =>
  planned(bytes, choice).plan.removal.gone;

/**
 * A model that computes the same with the channels of each group in another order; undefined if a constant would have to be
 * in two orders, or if channels stay of which any other would do, so that the order decides.
 */
export function inAnotherOrder(
  bytes: Uint8Array<ArrayBuffer>,
  choice: RemovalChoice,
  random: Random,
): Permuted | undefined {
  const { plan } = planned(bytes, choice);
  const { coupling, uses } = plan.followed;
  const { kept, groups, gone } = plan.removal;
  if ([...kept.values()].some((why) => why === 'last' || why === 'rounding')) return undefined;
  const sources = new Map<number, number>();
  const cells = coupling.cells();
  const inGrids = new Set(cells.map(({ root }) => root));
  for (const { channels } of groups) {
    if (channels.some((channel) => inGrids.has(channel))) continue;
    const order = [...channels].sort(() => random.next() - 0.5);
    for (const [place, channel] of channels.entries()) sources.set(channel, order[place]!);
  }
  // The cells of grids move with their sides.
  const keyOf = (sides: readonly number[]) => [...sides].sort((one, other) => one - other).join();
  const places = new Map(cells.map(({ root, sides }) => [keyOf(sides), root]));
  const sourceOf = (root: number, depth = 0): number | undefined => {
    const known = sources.get(root);
    if (known !== undefined || !inGrids.has(root) || depth > 8) return known;
    const own = cells.filter((cell) => cell.root === root);
    const found = new Set(
      own.map(({ sides }) => places.get(keyOf(sides.map((side) => sourceOf(side, depth + 1) ?? -1)))),
    );
    const [source] = found;
    if (source !== undefined && found.size === 1) sources.set(root, source);
    return sources.get(root);
  };
  for (const root of inGrids) if (sourceOf(root) === undefined) return undefined;
  const result = bytes.slice();
  const orders = new Map<number, string>();
  for (const { constant, tensor } of uses) {
    const { values } = constant.tensor;
    const order = tensor.axes.map((axis) =>
      orderOf(
        [...axis].map((id) => coupling.find(id)),
        sources,
      ),
    );
    // Some cells of a grid may lie on an axis without those that they would change places with.
    if (order.some((each) => each.includes(-1))) return undefined;
    const key = order.map((each) => each.join()).join(';');
    if ((orders.get(constant.place) ?? key) !== key) return undefined;
    orders.set(constant.place, key);
    if (values === undefined || tensor.view === undefined) continue;
    const count = tensor.shape.reduce((product, size) => product * size, 1);
    const width = values.bytes / count;
    for (let place = 0; place < count; place++) {
      let [from, inner] = [0, 1];
      for (let axis = tensor.shape.length - 1, rest = place; axis >= 0; axis--) {
        const size = tensor.shape[axis]!;
        from += order[axis]![rest % size]! * inner;
        rest = Math.floor(rest / size);
        inner *= size;
      }
      result.set(
        bytes.subarray(values.start + from * width, values.start + (from + 1) * width),
        values.start + place * width,
      );
    }
  }
  return {
    bytes: result,
    isUnique: ![...kept.values()].includes('carrier'),
    gone: new Set([...sources].filter(([, source]) => gone.has(source)).map(([channel]) => channel)),
  };
}

/** Where along an axis each index comes from: the same place of another channel; -1 if that is not on the axis. */
function orderOf(channels: readonly number[], sources: ReadonlyMap<number, number>): number[] {
  const places = new Map<number, number[]>();
  for (const [index, channel] of channels.entries()) places.set(channel, [...(places.get(channel) ?? []), index]);
  const seen = new Map<number, number>();
  return channels.map((channel, index) => {
    const nth = seen.get(channel) ?? 0;
    seen.set(channel, nth + 1);
    const source = sources.get(channel);
    return source === undefined ? index : (places.get(source)?.[nth] ?? -1);
  });
}
