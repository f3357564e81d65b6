import { productOf, sumOf } from '../../../model/numbers.js';
import { Coupling, type Axis } from '../../../structure/coupling.js';
import { rankUnknown } from './masks/tracks.js';
import type { Node } from '../graph.js';
import { fromFront } from '../shapes.js';
import { mostAxes } from '../views.js';
import { Site, Unknown, whyNot, type Operator } from './site.js';
import { primes, type Pair, type Sized } from './sizes.js';

/** A run of indices of an axis of an input. */
export interface Run {
  readonly input: number;
  /** Counted from the end: the last axis is 1. */
  readonly axis: number;
  readonly start: number;
  readonly count: number;
}

/** Where a run of indices is in an output. */
interface Moved {
  readonly axis: number;
  /** The size of the axis; a symbol if it depends on sizes that the file does not say. */
  readonly size: number | symbol;
  readonly start: number;
  /** How many indices of the run come first that are not there, and how many follow that are. */
  readonly skipped: number;
  readonly count: number;
  /** Whether other inputs have numbers at these indices, too. */
  readonly isShared: boolean;
}

/** `lost` if no axis of the output has the axis of the run, `elsewhere` if the axis is there without this run. */
export type Arrived = Moved | 'lost' | 'elsewhere' | { readonly reason: string };

/** The axis of each input that channels are on, counted from the end, and the least size that it has. */
export type Carried = ReadonlyMap<number, { readonly axis: number; readonly size: number }>;

/** What an operator does for one choice of sizes. */
interface Trial {
  /** The first number of the axis of each input that channels are on. */
  readonly starts: ReadonlyMap<number, number>;
  readonly sizes: ReadonlyMap<number, number>;
  readonly coupling: Coupling;
  readonly outputs: readonly (readonly Found[])[];
  /** How much longer the axes of the channels are, if all are of one size and stay in one piece. */
  readonly stretch: number;
  /** How many indices were looked at. */
  readonly work: number;
}

interface Places {
  readonly size: number;
  /** The place of the number that stands for an index; -1 if it is in several places, and -2 if it is in none. */
  readonly of: (id: number) => number;
}

/** An axis of an output on which there are indices of inputs. */
interface Found {
  readonly axis: number;
  readonly size: number;
  readonly places: Places;
  /** The inputs of which there are some. */
  readonly inputs: ReadonlySet<number>;
  readonly isShared: boolean;
}

/**
 * Where indices of inputs of a node are in its outputs: `couple` of its operator is given different numbers for them, once
 * for each choice of sizes.
 */
export class Wiring {
  readonly #trials: readonly Trial[];
  readonly #failure: string | undefined;
  /** By output and axis. */
  readonly #symbols = new Map<string, symbol>();

  /**
   * @param inputs what is known of the sizes of the inputs and outputs of the node
   * @param carried the axis of each input that channels are on
   */
  constructor(
    node: Node,
    operator: Operator,
    opset: number,
    inputs: readonly Pair[],
    outputs: readonly Pair[],
    carried: Carried,
  ) {
    this.ranksUnknown = [...carried.keys()].some((place) => inputs[place]![0] === undefined);
    const isSame = ([one, other]: Pair) => one === other;
    const isSize = ([input, { axis }]: readonly [number, { readonly axis: number }]) => {
      const [one, other] = inputs[input]!;
      return one?.shape.at(-axis) === other?.shape.at(-axis);
    };
    const isExact = changesNoPlaces(operator)
      ? [...carried].every(isSize) &&
        inputs.every((each, place) => carried.has(place) || !each[0]?.list || isSame(each))
      : [...inputs, ...outputs].every(isSame);
    const trials: Trial[] = [];
    let failure: string | undefined;
    for (const choice of isExact && !this.ranksUnknown ? ([0] as const) : ([0, 1] as const)) {
      try {
        const stated = inputs.map((each) => each[choice]);
        const given = this.ranksUnknown
          ? guessed(node, operator, carried, stated, choice)
          : stated.map((each, place) => each ?? (node.inputs[place] && unknownBeside(node, operator, stated, choice)));
        const after = outputs.map((each) => each[choice]?.shape);
        if (changesNoPlaces(operator)) {
          const [small, stretch] = shrunk(node, operator, carried, given);
          trials.push(tried(node, operator, opset, carried, small, undefined, stretch));
        } else {
          const isKnown = !this.ranksUnknown && after.every((shape) => shape !== undefined);
          const [first] = after;
          const isWhole = (axis: number) => staysWhole(given[0]!.shape, axis, first!);
          if (
            operator.channels === 'reshaped' &&
            first !== undefined &&
            ![...carried.values()].every((each) => isWhole(each.axis))
          )
            failure = mixed;
          else trials.push(tried(node, operator, opset, carried, given, isKnown ? after : undefined));
        }
      } catch (error) {
        failure = whyNot(error);
      }
    }
    this.#trials = trials;
    this.#failure = failure;
  }

  /** Whether the file does not say how many axes an input has. */
  readonly ranksUnknown: boolean;

  /** How many indices were looked at. */
  get work(): number {
    return sumOf(this.#trials.map(({ work }) => work));
  }

  /**
   * Where a run of indices is in an output.
   * @param name that of the node, for reasons
   */
  arrived(run: Run, output: number, name: string): Arrived {
    const isMixed = { reason: `${name} splits or merges the axis of the channels, as far as the file says` };
    if (this.#failure === mixed) return isMixed;
    if (this.#failure !== undefined) {
      return {
        reason: this.ranksUnknown
          ? rankUnknown
          : `${name} may move or summarise the axis of the channels: ${this.#failure}`,
      };
    }
    const [first, ...others] = this.#trials.map((trial) => arrivedIn(trial, run, output)) as [
      ReturnType<typeof arrivedIn>,
      ...ReturnType<typeof arrivedIn>[],
    ];
    const unlike = this.ranksUnknown ? { reason: rankUnknown } : isMixed;
    if (typeof first === 'string') {
      if (!others.every((each) => each === first)) return unlike;
      return first === mixed ? isMixed : first;
    }
    let size: number | symbol = first.size;
    for (const other of others) {
      if (typeof other === 'string' || other.axis !== first.axis) return unlike;
      if (other.start !== first.start || other.skipped !== first.skipped || other.count !== first.count) {
        if (this.ranksUnknown) return unlike;
        return { reason: `the channels before them in ${name} are not counted in the file` };
      }
      if (other.size !== first.size) size = this.#symbolOf(output, first.axis);
    }
    return { ...first, size };
  }

  #symbolOf(output: number, axis: number): symbol {
    const key = `${output},${axis}`;
    let symbol = this.#symbols.get(key);
    if (symbol === undefined) this.#symbols.set(key, (symbol = Symbol('size')));
    return symbol;
  }
}

/** A run that is no run behind the node. */
const mixed = 'mixed';

function arrivedIn(trial: Trial, run: Run, output: number): Moved | 'lost' | 'elsewhere' | typeof mixed {
  const { stretch } = trial;
  if (stretch === 0) return runIn(trial, run, output);
  const size = trial.sizes.get(run.input)!;
  const whole = runIn(trial, { ...run, start: 0, count: size }, output);
  if (typeof whole === 'string') return whole;
  if (whole.count < size) return mixed;
  return { ...whole, size: Number(whole.size) + stretch, start: whole.start + run.start, count: run.count };
}

function runIn({ starts, sizes, coupling, outputs }: Trial, run: Run, output: number) {
  const start = starts.get(run.input)!;
  if (run.start + run.count > sizes.get(run.input)!) return mixed;
  let found: Moved | undefined;
  for (const { axis, size, places, isShared } of outputs[output] ?? []) {
    let [first, skipped, count] = [-1, 0, 0];
    for (let index = 0; index < run.count; index++) {
      const place = places.of(coupling.find(start + run.start + index));
      if (place === -2) continue;
      if (place < 0) return mixed;
      if (count === 0) [first, skipped] = [place, index];
      else if (place !== first + count || index !== skipped + count) return mixed;
      count++;
    }
    if (count === 0) continue;
    if (found !== undefined) return mixed;
    found = { axis, size, start: first, skipped, count, isShared };
  }
  if (found !== undefined) return found;
  return outputs[output]?.some(({ inputs }) => inputs.has(run.input)) ? 'elsewhere' : 'lost';
}

/** Lets the rule of an operator couple inputs of these sizes. */
function tried(
  node: Node,
  operator: Operator,
  opset: number,
  carried: Carried,
  given: readonly (Sized | undefined)[],
  after: readonly (readonly number[])[] | undefined,
  stretch = 0,
): Trial {
  if (indicesIn(given.map((each) => each?.shape ?? [])) > mostIndices) throw new Unknown('its axes are too long');
  const coupling = new Coupling();
  const starts = new Map<number, number>();
  const sizes = new Map<number, number>();
  const own = new Map<number, Axis>();
  for (const [input, { axis: fromEnd }] of carried) {
    const { shape } = given[input]!;
    const size = shape[shape.length - fromEnd];
    if (size === undefined) throw new Unknown('it has fewer axes');
    const axis = coupling.axis(size);
    starts.set(input, coupling.size - size);
    sizes.set(input, size);
    own.set(input, axis);
  }
  const count = coupling.size;
  const tensors = given.map((sized, input) => {
    if (sized === undefined) return undefined;
    const place = sized.shape.length - (carried.get(input)?.axis ?? 0);
    const axes = sized.shape.map((size, axis) => {
      if (own.has(input)) return axis === place ? own.get(input)! : coupling.fixed(size, 'another axis');
      return coupling.axis(size);
    });
    return { ...sized, axes };
  });
  const site = new Site(node, tensors, { coupling, readers: [] }, opset, undefined);
  const shapes = after ?? operator.shape(site);
  if (indicesIn(shapes) > mostIndices) throw new Unknown('its axes are too long');
  const coupled = operator.couple(site, shapes);
  const inverses = new Map<Axis, Places>();
  const outputs = coupled.map((axes) =>
    axes.flatMap((axis, place): Found[] => {
      if (!inverses.has(axis)) inverses.set(axis, placesIn(axis, coupling, count));
      const places = inverses.get(axis)!;
      if (places.size === 0) return [];
      const isShared = sharersOf(axis, tensors, coupling) > 1;
      const inputs = new Set<number>();
      for (const [input, all] of own) if (all.some((id) => places.of(coupling.find(id)) !== -2)) inputs.add(input);
      return [{ axis: axes.length - place, size: axis.length, places, inputs, isShared }];
    }),
  );
  return { starts, sizes, coupling, outputs, stretch, work: coupling.size + indicesIn(shapes) };
}

/**
 * Whether a change of shape leaves an axis as it is. Where it does not, channels are in several places, which are not worth
 * a look at every element.
 */
function staysWhole(before: readonly number[], axis: number, after: readonly number[]): boolean {
  const place = before.length - axis;
  const [size, outer] = [before[place]!, productOf(before.slice(0, place))];
  let product = 1;
  for (const each of after) {
    if (each === size && product === outer) return true;
    product *= each;
  }
  return false;
}

/** More indices than the axes of values have that a network computes. */
const mostIndices = 1 << 20;

/** Infinity where a size is below 0, as in damaged files: it would make up for others. */
const indicesIn = (shapes: readonly (readonly number[])[]): number =>
  sumOf(shapes.map((shape) => sumOf(shape.map((size) => (size < 0 ? Infinity : size)))));

/** Where the numbers below a limit are on an axis, and how many of them there are. */
function placesIn(axis: Axis, coupling: Coupling, limit: number): Places {
  const isShort = 8 * axis.length < limit;
  const few = new Map<number, number>();
  const many = isShort ? undefined : new Int32Array(limit).fill(-2);
  let size = 0;
  let last = -1;
  for (let place = 0; place < axis.length; place++) {
    // Axes that no channels are on have one number for all indices.
    if (axis[place] === last && last >= limit) continue;
    const id = coupling.find(axis[place]!);
    last = id;
    if (id >= limit) continue;
    const before = many === undefined ? (few.get(id) ?? -2) : many[id]!;
    if (before === -2) size++;
    const after = before === -2 ? place : -1;
    if (many === undefined) few.set(id, after);
    else many[id] = after;
  }
  return { size, of: (id) => (many === undefined ? (few.get(id) ?? -2) : id < limit ? many[id]! : -2) };
}

/** How many inputs have the whole axis. */
function sharersOf(
  axis: Axis,
  tensors: readonly ({ readonly axes: readonly Axis[] } | undefined)[],
  coupling: Coupling,
) {
  const first = coupling.find(axis[0]!);
  const last = coupling.find(axis.at(-1)!);
  return tensors.filter((tensor) =>
    tensor?.axes.some(
      (own) => own.length === axis.length && coupling.find(own[0]!) === first && coupling.find(own.at(-1)!) === last,
    ),
  ).length;
}

/**
 * An input of unknown shape, beside those that carry channels. An operator that takes any number joins them along an axis,
 * where that one may have any size.
 */
function unknownBeside(
  { attributes }: Pick<Node, 'attributes'>,
  operator: Operator,
  given: readonly (Sized | undefined)[],
  choice: 0 | 1,
): Sized {
  const known = given.find((each) => each !== undefined);
  if (changesNoPlaces(operator)) return { shape: [] };
  if (operator.inputs !== Infinity || known === undefined) throw new Unknown('an input is unknown');
  const { shape } = known;
  const joined = fromFront(attributes.get('axis')?.integer ?? 0, shape.length);
  return { shape: shape.map((size, axis) => (axis === joined ? primes[choice]! : size)) };
}

const changesNoPlaces = ({ channels }: Operator): boolean => channels === undefined || channels === 'combined';

/** The size of an axis that stands for a longer one. */
const shortened = 4;

/**
 * Inputs of an operator that changes no places, with axes of size 1 where no channels are, and short ones where they are.
 * @returns the inputs, and how much longer the axes of the channels are
 */
function shrunk(
  node: Node,
  operator: Operator,
  carried: Carried,
  given: readonly (Sized | undefined)[],
): readonly [inputs: (Sized | undefined)[], stretch: number] {
  const [[data, { axis: fromEnd }] = [0, { axis: 1 }]] = carried;
  const place = given[data]!.shape.length - fromEnd;
  const channels = given[data]!.shape[place];
  const isOne = [...carried].every(([input, { axis }]) => given[input]!.shape.at(-axis) === channels);
  const stretch = isOne && channels !== undefined ? Math.max(0, channels - shortened) : 0;
  // Lists along an axis of the first input.
  const listed = operator.parameters?.(node, data).find(({ axis }) => axis !== undefined)?.axis;
  const inputs = given.map((sized, input) => {
    if (sized === undefined || sized.list?.isInteger === true) return sized;
    const aligned = sized.shape.length - (carried.get(input)?.axis ?? fromEnd);
    const kept = listed === undefined || input === data ? aligned : listed === place ? 0 : -1;
    const isKept = (size: number, axis: number) => axis === kept && (size === channels || carried.has(input));
    return { ...sized, shape: sized.shape.map((size, axis) => (isKept(size, axis) ? size - stretch : 1)) };
  });
  return [inputs, stretch];
}

/** Inputs with some number of axes, where the file does not say how many they have. */
function guessed(
  { attributes, inputs }: Node,
  operator: Operator,
  carried: Carried,
  given: readonly (Sized | undefined)[],
  choice: 0 | 1,
): (Sized | undefined)[] {
  const order = attributes.get('perm')?.integers.length;
  const least =
    Math.max(...[...carried.values()].map(({ axis }) => axis), ...given.map((each) => each?.shape.length ?? 0)) +
    choice;
  const rank = order ?? Math.max(2 + choice, least);
  if (rank > mostAxes) throw new Unknown(`it has ${rank} axes`);
  const known = [...carried.keys()].flatMap((input) => given[input] ?? []);
  return inputs.map((value, input) => {
    const sized = given[input];
    if (value === undefined || sized !== undefined) return sized;
    const own = carried.get(input);
    if (own === undefined) return unknownBeside({ attributes }, operator, known, choice);
    return { shape: Array.from({ length: rank }, (_, axis) => (axis === rank - own.axis ? own.size : primes[axis]!)) };
  });
}
