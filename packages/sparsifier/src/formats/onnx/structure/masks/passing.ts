import { productOf } from '../../../../model/numbers.js';
import { Coupling } from '../../../../structure/coupling.js';
import type { Known } from '../../../../structure/numbers.js';
import type { Node, Value } from '../../graph.js';
import { title } from '../../titles.js';
import type { Leak } from '../../../../model/model.js';
import {
  rankUnknown,
  unknown,
  withLeak,
  type Arrival,
  type Location,
  type Pass,
  type Place,
  type Split,
  type Track,
} from './tracks.js';
import { extremesOf, numbersOf } from '../../shapes.js';
import { keyOfList, keyOfNode } from '../alike.js';
import { isTooLarge } from '../budget.js';
import { Site, whyNot, type Operator, type Parameter } from '../site.js';
import type { Sizes } from '../sizes.js';
import type { Wiring } from '../wiring.js';
import { Wirings } from '../wirings.js';

/** The most inputs that are compared with each other. */
const mostTerms = 64;

/** What the rules of operators say of the nodes of a graph. They are asked once for all nodes that are alike. */
export class Lookups {
  readonly wirings: Wirings;
  readonly zeros = new Map<string, boolean>();

  constructor(sizes: Sizes) {
    this.wirings = new Wirings(sizes);
  }
}

/** How a node passes channels on, as the rules of its operator say. */
export class Passing {
  readonly #wirings = new Map<string, Wiring>();
  readonly #zeros = new Map<string, boolean>();

  /**
   * @param arriving the channels in each input
   * @param lookups what is known of nodes that are alike
   */
  constructor(
    readonly node: Node,
    readonly operator: Operator,
    readonly lookups: Lookups,
    readonly arriving: readonly (ReadonlyMap<string, Track> | undefined)[],
  ) {}

  get sizes(): Sizes {
    return this.lookups.wirings.sizes;
  }

  readonly pass: Pass = (arrival) => {
    const { operator, node } = this;
    const { input, track } = arrival;
    const { channels } = operator;
    if (channels === 'ignored') return [];
    if (channels === 'moved' || channels === 'reshaped') return this.#onward(input, track);
    if (channels !== 'end' && node.inputs.length > mostTerms) return undefined;
    const parameters = operator.parameters?.(node, input) ?? [];
    if (channels === 'end') {
      if (parameters.length === 0) return undefined;
      const leaks = parameters.flatMap((parameter) => this.#take(arrival, parameter, true) ?? []);
      return { ends: track.leaks.length > 0 ? track : { ...track, leaks } };
    }
    // Channels in a parameter are not those of the output.
    if (channels !== 'combined' && input > 0) return undefined;
    const leaks = this.#leaksAfter(arrival, parameters);
    return leaks && this.#onward(input, { ...track, leaks });
  };

  /** What keeps channels from being 0 behind the node; undefined if they are no longer those of the layer. */
  #leaksAfter(arrival: Arrival, parameters: readonly Parameter[]): readonly Leak[] | undefined {
    const { node } = this;
    const { input, track, twin } = arrival;
    const own = track.leaks.length === 0;
    const named = new Map(parameters.map((parameter) => [parameter.input, parameter]));
    const twins = new Map<number, Track>();
    const states = node.inputs.map((value, place): State => {
      if (place === input) return own ? 'zero' : 'unknown';
      const same = value && twin(place);
      if (same) twins.set(place, same);
      if (same) return same.leaks.length === 0 ? 'zero' : 'unknown';
      return value?.isConstant ? 'given' : named.has(place) ? 'given' : 'unknown';
    });
    const isZero = (change: (state: State, place: number) => State = (state) => state) =>
      this.#isZero(input, track.at, states.map(change));
    const isCombined = this.operator.channels === 'combined';
    const isOther = (value: Value | undefined, place: number) =>
      value !== undefined && place !== input && !value.isConstant && !named.has(place) && !twins.has(place);
    const isZeroAlready = isZero();
    if (!isZeroAlready && isCombined && node.inputs.some(isOther)) return undefined;
    const failed: Leak[] = [];
    const zeroed = new Set<number>();
    for (const parameter of parameters) {
      const { input: place, part } = parameter;
      if (twins.has(place) || node.inputs[place] === undefined) continue;
      if (part === 'beside') {
        this.#take(arrival, parameter, false);
        continue;
      }
      zeroed.add(place);
      const leak = this.#take(arrival, parameter, part !== 'factor' || !isZeroAlready);
      if (leak === undefined) states[place] = 'zero';
      else failed.push(leak);
    }
    if (isZero()) return [];
    // What would make up for other channels than 0 is to blame, unless they alone are.
    const makesUp = isZero((state, place) => (place === input ? 'unknown' : zeroed.has(place) ? 'zero' : state));
    const isEnough = !own && isZero((state, place) => (place === input ? 'zero' : state));
    if (makesUp && !isEnough && failed.length > 0) return failed;
    if (!own) return track.leaks;
    if (failed.length > 0) return failed.slice(0, 1);
    const other = [...twins.values()].find(({ leaks }) => leaks.length > 0);
    return other?.leaks ?? withLeak(node, track).leaks;
  }

  /** Takes the numbers of channels from an input. */
  #take({ track, claims }: Arrival, { input, part, axis, within }: Parameter, isNeeded: boolean): Leak | undefined {
    const { node } = this;
    const size = this.sizes.of(node.inputs[input])[0]?.shape[0];
    const at =
      within !== undefined
        ? placed(track.at, within, size)
        : axis === undefined
          ? track.at
          : alongAxis(track.at, axis, this.#rankOf(node.inputs[0]));
    return claims.take(
      { ...track, at },
      { part: part === 'factor' || part === 'beside' ? 'gamma' : part, node, input, isNeeded },
    );
  }

  #rankOf(value: Value | undefined): number | undefined {
    return this.sizes.of(value)[0]?.shape.length ?? value?.rank;
  }

  /** Whether an output is 0 where channels are, given what is known of the inputs there. */
  #isZero(input: number, at: Location, states: readonly State[]): boolean {
    const key = `${input},${at.place?.axis ?? ''},${states.join()}`;
    let known = this.#zeros.get(key);
    if (known === undefined) this.#zeros.set(key, (known = this.#isZeroAsAlike(input, at, states)));
    return known;
  }

  #isZeroAsAlike(input: number, at: Location, states: readonly State[]): boolean {
    const key = this.#keyOf(input, at, states);
    const { zeros } = this.lookups;
    let known = key === undefined ? undefined : zeros.get(key);
    if (known === undefined) {
      known = this.#findZero(input, at, states);
      if (key !== undefined) zeros.set(key, known);
    }
    return known;
  }

  /** The same for nodes whose outputs are 0 for the same inputs. */
  #keyOf(input: number, { place }: Location, states: readonly State[]): string | undefined {
    let key = keyOfNode(this.node);
    if (key === undefined) return undefined;
    key += `;${input},${place?.axis ?? ''}`;
    for (const [other, value] of this.node.inputs.entries()) {
      if (value === undefined) continue;
      const list = this.sizes.of(value)[0]?.list;
      const numbers = states[other] === 'given' ? samples.map((sample) => numberIn(value, sample)) : [];
      const about = [this.#rankOf(value), value.isConstant, isUnknown(value), ...numbers].join();
      key += `;${states[other]},${about},${keyOfList(list)}`;
    }
    return key;
  }

  #findZero(input: number, { place }: Location, states: readonly State[]): boolean {
    const rank = this.#rankOf(this.node.inputs[input]) ?? this.#leastRank(place);
    if (place !== undefined) return this.#isZeroAlong(input, rank, place.axis, states);
    const axes = Array.from({ length: rank }, (_, axis) => axis + 1);
    // They may be on any axis, but do not end where one is summarised.
    if (this.operator.channels === 'reduced') return axes.some((axis) => this.#isZeroAlong(input, rank, axis, states));
    return axes.every((axis) => this.#isZeroAlong(input, rank, axis, states));
  }

  /** The number of axes that an input has at least. */
  #leastRank(place: Place | undefined): number {
    return Math.max(place?.axis ?? 1, 2, ...this.node.inputs.map((value) => this.#rankOf(value) ?? 0));
  }

  /** The sizes do not matter, since all numbers of a channel are the same: every axis is as good as one of size 2. */
  #isZeroAlong(input: number, rank: number, axis: number, states: readonly State[]): boolean {
    const [one, other] = samples.map((sample) => this.#numberAfter(input, rank, axis, states, sample));
    // Of made up numbers the second ones may be out of range, such as a variance.
    const isMadeUp = states.some((state, place) => state === 'given' && isUnknown(this.node.inputs[place]));
    return one === 0 && (other === 0 || (isMadeUp && Number.isNaN(other)));
  }

  #numberAfter(input: number, rank: number, axis: number, states: readonly State[], sample: Sample): number {
    const { node, operator, sizes } = this;
    const tensors = node.inputs.map((value, place) => {
      if (value === undefined) return undefined;
      const sized = sizes.of(value)[0];
      const state = states[place]!;
      const own = this.#rankOf(value) ?? rank;
      const isList = sized?.list?.isInteger === true || sized?.list?.numbers.length === 1;
      if (isList && state !== 'zero') return { ...sized, axes: [] };
      const shape = Array<number>(own).fill(2);
      const number = state === 'zero' ? 0 : state === 'given' ? numberIn(value, sample) : NaN;
      if (Number.isNaN(number)) return { shape, axes: [] };
      const list = value.isConstant ? { numbers: [number], isInteger: false } : undefined;
      const known = own === 0 ? undefined : { axis: Math.max(0, own - axis), numbers: Float64Array.of(number, number) };
      return { shape, axes: [], list, known };
    });
    const ranks = tensors.map((tensor) => tensor?.shape.length ?? 0);
    const output = { shape: Array<number>(Math.max(...ranks)).fill(2), axes: [] };
    const outputs = [output, ...node.outputs.slice(1).map(() => output)] as const;
    const site = new Site(node, tensors, nowhere, sizes.opset, undefined);
    try {
      if (isTooLarge(operator, site)) return NaN;
      const found = operator.constant(site, outputs);
      const [first] = Array.isArray(found) ? (found as readonly (Known | undefined)[]) : [found as Known | undefined];
      if (first === undefined) return NaN;
      const numbers = first.numbers.length === 2 ? first.numbers : this.#within(first, site, input, rank - axis);
      return numbers.reduce((one, other) => (one === 0 ? other : one));
    } catch (error) {
      whyNot(error);
      // Whatever axes they are, what summarises zeros is 0.
      return operator.channels === 'reduced' && states[input] === 'zero' ? 0 : NaN;
    }
  }

  /** Those numbers along a longer axis that are at the places of an axis of an input. */
  #within({ axis, numbers }: Known, { node, inputs, opset }: Site, input: number, from: number): Float64Array {
    const coupling = new Coupling();
    const own = coupling.axis(2);
    const axes = inputs[input]!.shape.map((size, place) =>
      place === from ? own : coupling.fixed(size, 'another axis'),
    );
    const tensors = inputs.map((tensor, place) => (place === input ? { ...tensor!, axes } : tensor));
    const site = new Site(node, tensors, { coupling, readers: [] }, opset, undefined);
    const [after] = this.operator.couple(site, this.operator.shape(site));
    const there = numbers.filter((_, place) => own.includes(after![axis]![place]!));
    return there.length > 0 ? there : numbers;
  }

  /** The channels in each output. */
  #onward(input: number, track: Track): (Track | undefined)[] | undefined {
    const { node, operator } = this;
    const { place, before, reason } = track.at;
    const { channels } = operator;
    if (place === undefined) {
      if (channels === 'reshaped' && before !== undefined) return [{ ...track, at: this.#reshapedAgain(before) }];
      // A place that is not known is no better behind operators that move numbers.
      const isInPlace = channels === undefined || channels === 'combined';
      const at = isInPlace ? track.at : unknown(reason ?? rankUnknown);
      const outputs = channels === 'moved' ? node.outputs : node.outputs.slice(0, 1);
      const isJoined = channels === 'moved' && node.inputs.filter((value) => value !== undefined).length > 1;
      const shared = isJoined && operator.inputs === Infinity ? this.#sharedBy() : track.shared;
      return outputs.map(() => ({ ...track, at, ...(shared === undefined ? {} : { shared }) }));
    }
    if (operator.inputs === Infinity && channels === 'moved' && node.inputs.length === 1) return [track];
    const wiring = this.#wiringOf(input, place);
    const outputs = node.outputs.map((_, output) => this.#inOutput(wiring, input, track, place, output));
    return outputs.every((each) => each === 'ends')
      ? undefined
      : outputs.map((each) => (each === 'ends' ? undefined : each));
  }

  #inOutput(wiring: Wiring, input: number, track: Track, place: Place, output: number): Track | undefined | 'ends' {
    const { node, operator } = this;
    const { axis, offset: start, count } = place;
    const arrived = wiring.arrived({ input, axis, start, count }, output, title(node));
    if (arrived === 'elsewhere') return undefined;
    if (arrived === 'lost') {
      if (operator.channels === 'reduced') return 'ends';
      if (operator.channels !== 'moved' && output > 0) return undefined;
      const reason = place.size === 1 ? 'its only channel is repeated' : `${title(node)} moves the channels`;
      return { ...track, at: unknown(reason) };
    }
    const isMoved = operator.channels === 'moved';
    if ('reason' in arrived) {
      if (operator.channels !== 'reshaped') return { ...track, at: arrived };
      const before = { value: node.inputs[0]!, place };
      return { ...track, at: { ...arrived, before, split: splitOf(before, node.outputs[output]!, this.sizes) } };
    }
    const { skipped, ...rest } = arrived;
    const isSame = rest.axis === axis && rest.size === place.size && rest.start === start && rest.count === count;
    const at = isSame
      ? track.at
      : {
          place: {
            axis: rest.axis,
            size: rest.size,
            offset: rest.start,
            first: place.first + skipped,
            count: rest.count,
          },
        };
    return { ...track, at, ...(isMoved && arrived.isShared ? { shared: this.#sharedBy() } : {}) };
  }

  #sharedBy(): string {
    return `it also applies to the other inputs of ${title(this.node)}`;
  }

  #wiringOf(input: number, place: Place): Wiring {
    const key = `${input},${place.axis}`;
    const known = this.#wirings.get(key);
    if (known !== undefined) return known;
    // All inputs at once, since there may be thousands.
    const carried = new Map([[input, axisOf(place, placesOf(this.arriving[input]))]]);
    for (const [other, tracks] of this.arriving.entries()) {
      const places = placesOf(tracks);
      const first = places.find(({ axis }) => !this.#wirings.has(`${other},${axis}`));
      if (other !== input && first !== undefined) carried.set(other, axisOf(first, places));
    }
    const wiring = this.lookups.wirings.of(this.node, this.operator, carried);
    for (const [each, { axis }] of carried) this.#wirings.set(`${each},${axis}`, wiring);
    return wiring;
  }

  /** Where channels are behind a change of shape, given where they were before an earlier one. */
  #reshapedAgain(before: NonNullable<Location['before']>): Location {
    const { node, sizes } = this;
    const { axis, offset: start, count, first } = before.place;
    const reshape = sizes.operators.get('Reshape')!;
    const carried = new Map([[0, axisOf(before.place, [before.place])]]);
    const wiring = this.lookups.wirings.of(node, reshape, carried, new Map([[0, sizes.of(before.value)]]));
    const arrived = wiring.arrived({ input: 0, axis, start, count }, 0, title(node));
    if (typeof arrived === 'string') return { before, reason: `${title(node)} moves the channels` };
    if ('reason' in arrived) return { before, ...arrived };
    const place = { axis: arrived.axis, size: arrived.size, offset: arrived.start, first, count: arrived.count };
    return { place: { ...place, first: first + arrived.skipped } };
  }
}

/** The axes of a value that count channels which one axis counted before a change of shape. */
function splitOf({ value, place }: NonNullable<Location['before']>, after: Value, sizes: Sizes): Split | undefined {
  const { axis, size, count, first, offset } = place;
  if (size !== count || first !== 0 || offset !== 0) return undefined;
  const found = ([0, 1] as const).map((choice): Split | undefined => {
    const [before, shape] = [sizes.of(value)[choice]?.shape, sizes.of(after)[choice]?.shape];
    if (before === undefined || shape === undefined) return undefined;
    const outer = productOf(before.slice(0, before.length - axis));
    const from = shape.findIndex((each, at) => each > 1 && productOf(shape.slice(0, at)) === outer);
    const to = shape.findIndex((_, at) => at >= from && productOf(shape.slice(from, at + 1)) === count);
    return from < 0 || to < 0 ? undefined : { axis: shape.length - to, count, sizes: shape.slice(from, to + 1) };
  });
  const [one, other] = found;
  return one !== undefined && one.axis === other?.axis && one.sizes.join() === other.sizes.join() ? one : undefined;
}

/** What is known of an input where channels are: stored numbers are `given`. */
type State = 'zero' | 'given' | 'unknown';

type Sample = 'least' | 'greatest';

const samples: readonly Sample[] = ['least', 'greatest'];

const isUnknown = (value: Value | undefined): boolean => value !== undefined && numbersOf(value) === undefined;

/** A number that stands for those of a constant: one of them if they are known, or else any. */
function numberIn(value: Value, sample: Sample): number {
  const numbers = numbersOf(value);
  if (numbers !== undefined && numbers.length > 0) return extremesOf(numbers)[sample];
  return sample === 'least' ? 0.73 : -1.37;
}

/** What is known of numbers does not depend on it. */
const nowhere = { coupling: new Coupling(), readers: [] };

const placesOf = (tracks: ReadonlyMap<string, Track> | undefined): Place[] =>
  tracks === undefined ? [] : [...tracks.values()].flatMap(({ at }) => at.place ?? []);

function axisOf({ axis, size }: Place, places: readonly Place[]) {
  const ends = places.filter((each) => each.axis === axis).map(({ offset, count }) => offset + count);
  return { axis, size: typeof size === 'number' ? size : Math.max(...ends) + 1 };
}

function placed(
  { place, reason }: Location,
  within: NonNullable<Parameter['within']>,
  size: number | undefined,
): Location {
  const at = place && within(place, size);
  return at === undefined ? unknown(reason ?? 'the size of query, key and value is unknown') : { place: at };
}

/** Numbers for one axis: those of other channels are none of this track's. */
function alongAxis(at: Location, axis: number, rank: number | undefined): Location {
  const { place } = at;
  if (place === undefined) return at;
  if (rank === undefined) return unknown(rankUnknown);
  if (rank - place.axis !== axis)
    return unknown(`its entries are along axis ${axis}, and the channels are on axis ${rank - place.axis}`);
  // A list aligns with the axis of the channels, whatever follows.
  return { place: { ...place, axis: 1 } };
}
