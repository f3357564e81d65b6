import { largestOf } from '../../../model/numbers.js';
import type { Axis, Coupling } from '../../../structure/coupling.js';
import type { Reader } from '../../../structure/network.js';
import { planRemoval, type Carry, type Removal } from '../../../structure/plan.js';
import { Stored } from '../../../structure/stored.js';
import type { Weights } from '../../../structure/weights.js';
import type { Graph, Node, Value } from '../graph.js';
import { title } from '../titles.js';
import { knownAlong } from './operators/known.js';
import { follow, typeOf, type Followed, type FollowOptions, type Step } from './follow.js';
import { changesAfter, Stuck, type Changes, type Need, type Probe } from './lists.js';
import { recurrents } from './operators/recurrent.js';
import { Misfit, type Cut, type Site } from './site.js';

/** How a graph is followed, whatever the sizes of its inputs are. */
type Rules = Pick<FollowOptions, 'opset' | 'protect' | 'numbersOf' | 'operators' | 'canFold'>;

export interface RemovalOptions extends Rules {
  /** The sizes of inputs, for which the graph is followed. */
  readonly probes: readonly ReadonlyMap<Value, readonly number[]>[];
  readonly roundTo: number;
  /** Whether an input of a node can be given another list. By default it always can. */
  readonly canPatch?: ((need: Need) => boolean) | undefined;
}

/** What goes, and what changes with it. */
export interface OnnxRemoval {
  readonly followed: Followed;
  readonly removal: Removal;
  readonly cut: Cut;
  readonly changes: Changes;
}

/**
 * Decides which channels of a graph go.
 * @throws Misfit if it cannot be followed for inputs of the sizes of any of several probes
 */
export function planOnnxRemoval(graph: Graph, { probes, roundTo, canPatch, ...rules }: RemovalOptions): OnnxRemoval {
  const all = followedAlike(graph, probes, rules);
  agree(all);
  const [first] = all as [Followed];
  const full = new Set<Reader>();
  for (;;) {
    const removal = planRemoval(first.coupling, first.readers, axesOf(first), { roundTo, full });
    const found = overflowing(removal, first);
    if (found.length > 0) {
      for (const reader of found) full.add(reader);
      continue;
    }
    const gone = all.map((followed, probe) => (probe === 0 ? removal.gone : goneIn(first, followed, removal)));
    if (gone.includes(undefined)) {
      agree(all);
      continue;
    }
    const cuts = all.map((followed, probe) => new GoneCut(followed, gone[probe]!));
    try {
      const changes = changesAfter(
        all.map((followed, probe): Probe => ({ followed, cut: cuts[probe]! })),
        rules.opset,
        canPatch,
      );
      return { followed: first, removal, cut: cuts[0]!, changes };
    } catch (error) {
      if (!(error instanceof Stuck)) throw error;
      if (!blockAround(all, error)) throw error;
      agree(all);
    }
  }
}

/**
 * The channels of a graph, as far as they are the same for all probes.
 * @throws Misfit as {@link planOnnxRemoval}
 */
export function channelsIn(
  graph: Graph,
  { probes, ...rules }: Omit<RemovalOptions, 'roundTo' | 'canPatch'>,
): { readonly followed: Followed; readonly axes: ReadonlySet<Axis> } {
  const all = followedAlike(graph, probes, rules);
  agree(all);
  const [followed] = all as [Followed];
  return { followed, axes: axesOf(followed) };
}

/** Several probes are sizes that no one gave, so the graph need not be for inputs of these sizes. */
function checkProbes(all: readonly Followed[]): void {
  const misfits = all.map(({ failures }) => failures.find(({ isMisfit }) => isMisfit));
  const [misfit] = misfits;
  if (all.length < 2 || misfit === undefined || misfits.includes(undefined)) return;
  throw new Misfit(`${title(misfit.node)}: ${misfit.reason}`);
}

/** The graph for inputs of several sizes, where rules apply to the same nodes for all of them. */
function followedAlike(graph: Graph, probes: RemovalOptions['probes'], options: Rules): Followed[] {
  for (let unknown: ReadonlySet<Node> = new Set(); ;) {
    const all = probes.map((inputs) => follow(graph, { ...options, inputs, unknown }));
    checkProbes(all);
    const ruled = all.map(({ steps }) => new Set(steps.map(({ node }) => node)));
    const others = graph.nodes.filter((node) => !ruled.every((nodes) => nodes.has(node)));
    // A rule applies to the other nodes in all.
    if (ruled.some(({ size }) => size !== graph.nodes.length - others.length)) {
      unknown = new Set(others);
      continue;
    }
    const varying = varyingIn(all);
    if (varying.size === 0) return all;
    return probes.map((inputs) => follow(graph, { ...options, inputs, unknown, varying }));
  }
}

/** The nodes whose inputs have other sizes of space for other inputs of the model. */
function varyingIn([first, ...others]: readonly Followed[]): Set<Node> {
  const spaceOf = ({ site }: Step) => site.inputs.map((input) => input?.shape.slice(2).join()).join(';');
  return new Set(
    first!.steps
      .filter((step, place) => others.some(({ steps }) => spaceOf(steps[place]!) !== spaceOf(step)))
      .map(({ node }) => node),
  );
}

/** The largest number of each type. */
const largest: Readonly<Record<string, number>> = { float16: 65504, bfloat16: 3.38e38, float32: 3.4e38 };

/** The operators whose biases would not be finite, or whose weights might not be. */
function overflowing({ folds, carries }: Removal, followed: Followed): Reader[] {
  const found: Reader[] = [];
  const mayOverflow = (reader: Reader, most: number): boolean => {
    const { node, inputs } = reader.operator as Site;
    const place = inputs.findIndex((input) => input?.view?.stored === reader.weights!.view.stored);
    return !(most <= (largest[typeOf(node.inputs[place]!, followed)] ?? 0));
  };
  for (const { reader, sums } of folds) {
    const { inputs, node } = reader.operator as Site;
    const bias = node.op === 'MatMul' || recurrents.has(node.op) ? undefined : inputs[2];
    const own = bias && knownAlong(bias, 1, [1, sums.length]);
    if (mayOverflow(reader, largestOf(sums.map((sum, index) => Math.abs(sum + (own?.[index] || 0))))))
      found.push(reader);
  }
  const largestIn = new Map<Stored, number>();
  for (const [stored, each] of carriesByNumbers(carries)) {
    const inputs = [...new Set(each.flatMap(({ from, to }) => [from, to]))].sort((one, other) => one - other);
    const sizes = each[0]!.weights.largest(inputs);
    const sums = new Map<number, number>();
    for (const { from, to, factor } of each) {
      sums.set(to, (sums.get(to) ?? sizes.get(to)!) + Math.abs(factor) * sizes.get(from)!);
    }
    largestIn.set(stored, Math.max(...sums.values()));
  }
  for (const reader of followed.readers) {
    const most = reader.weights && largestIn.get(reader.weights.view.stored);
    if (most !== undefined && mayOverflow(reader, most)) found.push(reader);
  }
  return found;
}

function carriesByNumbers(carries: readonly Carry[]): Map<Stored, Carry[]> {
  const found = new Map<Stored, Carry[]>();
  for (const carry of carries) {
    const { stored } = carry.weights.view;
    const known = found.get(stored);
    if (known === undefined) found.set(stored, [carry]);
    else known.push(carry);
  }
  return found;
}

/** All axes that channels lie on. */
function axesOf({ uses, steps }: Followed): Set<Axis> {
  const axes = new Set<Axis>();
  for (const { tensor } of uses) for (const axis of tensor.axes) axes.add(axis);
  for (const { outputs } of steps) for (const { axes: each } of outputs) for (const axis of each) axes.add(axis);
  return axes;
}

/** The channels of another probe that go. If its grids do not allow that, makes some of them stay, and returns undefined. */
function goneIn(first: Followed, other: Followed, { gone }: Removal): ReadonlySet<number> | undefined {
  const found = new Set<number>();
  for (const [place, { tensor }] of first.uses.entries()) {
    for (const [axis, ids] of tensor.axes.entries()) {
      const twins = other.uses[place]!.tensor.axes[axis]!;
      for (let index = 0; index < ids.length; index++) {
        if (gone.has(first.coupling.find(ids[index]!))) found.add(other.coupling.find(twins[index]!));
      }
    }
  }
  return withSides(other.coupling, found);
}

/** Adds those channels at the sides of grids that go with their cells. */
function withSides(coupling: Coupling, gone: Set<number>): ReadonlySet<number> | undefined {
  const cells = coupling.cells();
  const sides = new Set(cells.flatMap((cell) => cell.sides));
  for (let count = -1; count !== gone.size;) {
    count = gone.size;
    for (const cell of cells) if (cell.sides.some((side) => gone.has(side))) gone.add(cell.root);
    const staying = new Set(cells.filter(({ root }) => !gone.has(root)).flatMap((cell) => cell.sides));
    for (const side of sides) if (!staying.has(side)) gone.add(side);
  }
  const wrong = cells.filter((cell) => gone.has(cell.root) !== cell.sides.some((side) => gone.has(side)));
  for (const { root, sides } of wrong) coupling.block(Int32Array.of(root, ...sides), 'a grid');
  return wrong.length > 0 ? undefined : gone;
}

/** Makes probes the same: what is coupled or stays in one of them does in all, and constants are those of all. */
function agree([first, ...others]: readonly Followed[]): void {
  if (first === undefined) return;
  for (const other of others) {
    for (let isChanged = true; isChanged;) {
      isChanged = false;
      for (const [from, to] of [
        [first, other],
        [other, first],
      ] as const) {
        from.coupling.cells();
        const twins = new Int32Array(from.coupling.size).fill(-1);
        for (const [place, { tensor }] of from.uses.entries()) {
          for (const [axis, ids] of tensor.axes.entries()) {
            const others = to.uses[place]!.tensor.axes[axis]!;
            for (let index = 0; index < ids.length; index++) {
              // Axes that stay have the same number for each index.
              if (index > 0 && ids[index] === ids[index - 1] && others[index] === others[index - 1]) continue;
              if (isJoined(from.coupling, to.coupling, ids[index]!, others[index]!, twins)) isChanged = true;
            }
          }
        }
      }
    }
    for (const [place, { known }] of first.readers.entries()) {
      const numbers = other.readers[place]?.known?.numbers;
      for (const index of known?.numbers.keys() ?? []) {
        if (numbers?.[index] !== known!.numbers[index]) known!.numbers[index] = NaN;
      }
    }
    for (const [place, reader] of first.readers.entries()) {
      const twin = other.readers[place]!;
      const factor = reader.factor && {
        ...reader.factor,
        numbers: reader.factor.numbers.map((number, index) => (twin.factor?.numbers[index] === number ? number : NaN)),
      };
      const weights = reader.weights && usedInAny(reader.weights, twin.weights?.view.stored);
      first.readers[place] = { ...reader, weights, factor, folds: reader.folds && twin.folds };
    }
  }
}

/** Weights that say what counts are 1 where it does in any probe. All others are the same. */
function usedInAny(weights: Weights, other: Stored | undefined): Weights {
  const { view, inputsPerGroup: size } = weights;
  if (view.stored === other) return weights;
  const [own, others] = [[...view.stored], other && [...other]];
  // Where the number of heads is another one, what counts in any of them does in all.
  const counts = (place: number) =>
    own.length === others?.length
      ? others[place] !== 0
      : [own, others].some((each) => each?.some((number, at) => at % size === place % size && number !== 0) ?? true);
  const numbers = Float32Array.from(own, (number, place) => (number === 0 && counts(place) ? 1 : number));
  return numbers.every((number, place) => number === own[place]) ? weights : weights.with(Stored.of(numbers));
}

/** Makes a channel of one probe what it is in another. Returns whether that changes anything. */
function isJoined(from: Coupling, to: Coupling, id: number, twin: number, twins: Int32Array): boolean {
  const root = from.find(id);
  const obstacle = from.obstacleOf(root);
  let isChanged = false;
  if (obstacle !== undefined && to.obstacleOf(twin) === undefined) {
    to.block(Int32Array.of(twin), obstacle);
    isChanged = true;
  }
  const known = twins[root]!;
  if (known < 0) twins[root] = twin;
  else if (to.find(known) !== to.find(twin)) {
    to.join(known, twin);
    isChanged = true;
  }
  return isChanged;
}

/** Makes channels around a node stay. Returns whether that changes anything. */
function blockAround(all: readonly Followed[], { node, input }: Stuck): boolean {
  let isChanged = false;
  for (const { steps, makers, coupling } of all) {
    const block = (axes: readonly Axis[]) => {
      for (const axis of axes) {
        if (!coupling.isOpen(axis)) continue;
        coupling.block(axis, title(node));
        isChanged = true;
      }
    };
    // The shapes that the list is computed from.
    const values = [node.inputs[input]];
    const seen = new Set<Value>();
    for (const value of values) {
      const step = value && makers.get(value);
      if (value === undefined || step === undefined || seen.has(value)) continue;
      seen.add(value);
      if (step.node.op === 'Shape' || step.node.op === 'Size') block(step.site.inputs[0]!.axes);
      else values.push(...step.node.inputs);
    }
    if (isChanged) continue;
    const step = steps.find((each) => each.node === node);
    for (const tensor of [...(step?.site.inputs ?? []), ...(step?.outputs ?? [])]) if (tensor) block(tensor.axes);
  }
  return isChanged;
}

class GoneCut implements Cut {
  readonly #counts = new Map<Axis, Int32Array>();

  constructor(
    readonly followed: Followed,
    readonly gone: ReadonlySet<number>,
  ) {}

  sizeOf(axis: Axis): number {
    return this.countBefore(axis, axis.length);
  }

  countBefore(axis: Axis, index: number): number {
    return this.#countsOf(axis)[index]!;
  }

  #countsOf(axis: Axis): Int32Array {
    const known = this.#counts.get(axis);
    if (known !== undefined) return known;
    const counts = new Int32Array(axis.length + 1);
    const { coupling } = this.followed;
    for (let index = 0; index < axis.length; index++) {
      counts[index + 1] = counts[index]! + (this.gone.has(coupling.find(axis[index]!)) ? 0 : 1);
    }
    this.#counts.set(axis, counts);
    return counts;
  }
}
