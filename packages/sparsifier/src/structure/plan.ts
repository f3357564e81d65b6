import { Channels, groupsOf, Places, type Place } from './channels.js';
import { isAlike, isConstant, isSameRatio, isZero, sizeAt } from './constants.js';
import type { Axis, Cell, Coupling } from './coupling.js';
import type { Reader } from './network.js';
import type { Stored } from './stored.js';
import type { Weights } from './weights.js';

/** Numbers that an operator no longer gets from channels that go, added to its outputs. */
interface Fold {
  readonly reader: Reader;
  /** By output. */
  readonly sums: Float64Array;
}

/** Weights that are added to those of another index, whose channel stays. */
export interface Carry {
  readonly weights: Weights;
  readonly from: number;
  readonly to: number;
  readonly factor: number;
}

/** Channels that lie on the same axes. */
interface Group {
  readonly channels: readonly number[];
  readonly gone: readonly number[];
}

/**
 * Why a channel stays that could go as far as the operators are concerned: what it holds is `used`; it is a `carrier` of
 * the constants of others, the `last` one of an axis, or one of those that `rounding` keeps.
 */
export type Keeping = 'used' | 'carrier' | 'last' | 'rounding';

export interface Removal {
  readonly gone: ReadonlySet<number>;
  readonly kept: ReadonlyMap<number, Keeping>;
  readonly folds: readonly Fold[];
  readonly carries: readonly Carry[];
  readonly groups: readonly Group[];
}

export interface PlanOptions {
  /** How many channels of a group stay: a multiple of this, if it has as many. */
  readonly roundTo: number;
  /** Operators whose weights and biases cannot take what channels that go have added. */
  readonly full?: ReadonlySet<Reader>;
}

/** Decides which channels go: the most that can, without a difference for the outputs. */
export function planRemoval(
  coupling: Coupling,
  readers: readonly Reader[],
  axesOfValues: ReadonlySet<Axis>,
  { roundTo, full }: PlanOptions,
): Removal {
  const cells = new Map<number, Cell[]>();
  for (const cell of coupling.cells()) {
    for (const root of new Set([cell.root, ...cell.sides])) {
      const known = cells.get(root);
      if (known === undefined) cells.set(root, [cell]);
      else known.push(cell);
    }
  }
  const axes = new Set([...axesOfValues, ...coupling.axesOfGrids]);
  const find = (id: number) => coupling.find(id);
  const gone = new Channels(coupling.size);
  const open = Array.from(axes, (axis) => coupling.open(axis));
  for (const roots of open) for (const root of roots) gone.add(root);

  const [read, written] = [new Places(coupling), new Places(coupling)];
  for (const reader of readers) {
    const { axis, weights } = reader;
    for (let index = 0; index < axis.length; index++) read.add(axis[index]!, { reader, index });
    const outputs = weights?.outputs ?? [];
    for (let index = 0; index < outputs.length; index++) written.add(outputs[index]!, { reader, index });
  }

  const queue: number[] = [];
  const kept = new Map<number, Keeping>();
  let onKept: ((root: number) => void) | undefined;
  const keep = (root: number, why: Keeping) => {
    if (!gone.delete(root)) return;
    kept.set(root, why);
    queue.push(root);
    onKept?.(root);
  };
  /** The inputs of each group of a reader that an output may still let stay. */
  const undecided = new Map<Reader, number[][]>();
  for (const reader of readers) if (reader.weights !== undefined) undecided.set(reader, []);
  /** Lets those channels stay whose numbers reach an output that stays. */
  const keepInputs = ({ reader, index: output }: Place, why: Keeping) => {
    const weights = reader.weights!;
    if (!weights.hasWeights(output)) return;
    const first = weights.firstInput(output);
    const inputs = (undecided.get(reader)![first / weights.inputsPerGroup] ??= Array.from(
      { length: weights.inputsPerGroup },
      (_, place) => first + place,
    ).filter((input) => !isConstant(reader, input)));
    let left = 0;
    for (const input of inputs) {
      const root = find(reader.axis[input]!);
      if (!gone.has(root)) continue;
      if (weights.hasWeight(input, output)) keep(root, why);
      else inputs[left++] = input;
    }
    inputs.length = left;
  };
  /** The channels that would go and whose numbers reach an output. */
  const inputsOf = ({ reader, index: output }: Place): number[] => {
    const weights = reader.weights!;
    const found: number[] = [];
    if (!weights.hasWeights(output)) return found;
    const first = weights.firstInput(output);
    for (let index = first; index < first + weights.inputsPerGroup; index++) {
      const root = find(reader.axis[index]!);
      if (gone.has(root) && !isConstant(reader, index) && weights.hasWeight(index, output)) found.push(root);
    }
    return found;
  };
  const settle = () => {
    for (let root = queue.pop(); root !== undefined; root = queue.pop()) {
      const why = kept.get(root)!;
      for (const place of written.of(root)) keepInputs(place, why);
      for (const cell of cells.get(root) ?? []) {
        // A cell stays if all of its sides do, and only then.
        if (cell.root === root) for (const side of cell.sides) keep(side, why);
        else if (!cell.sides.some((side) => gone.has(side))) keep(cell.root, why);
      }
    }
  };

  // All outputs that stay from the beginning: those of channels that cannot go.
  for (const reader of readers) {
    const { axis, weights } = reader;
    if (weights === undefined) {
      for (let index = 0; index < axis.length; index++) if (!isZero(reader, index)) keep(find(axis[index]!), 'used');
    } else {
      const { outputs } = weights;
      for (let index = 0; index < outputs.length; index++)
        if (!gone.has(find(outputs[index]!))) keepInputs({ reader, index }, 'used');
    }
    settle();
  }

  const folds = (reader: Reader): boolean => reader.folds && full?.has(reader) !== true;
  const groups = groupsOf(coupling, open);
  const stays = (id: number) => !gone.has(find(id));
  /** Where the numbers of a channel are computed, or of the cells that it is a side of. */
  const sourcesOf = (root: number): Place[] => [
    ...written.of(root),
    ...(cells.get(root) ?? []).flatMap((cell) => (cell.root === root ? [] : written.of(cell.root))),
  ];
  /** The largest constant of a channel where it cannot be folded. */
  const constantOf = (root: number): number =>
    read
      .of(root)
      .reduce(
        (most, { reader, index }) =>
          reader.weights === undefined || folds(reader) || !isConstant(reader, index)
            ? most
            : Math.max(most, sizeAt(reader, index)),
        0,
      );
  /** Those channels whose numbers come from the fewest that would have to stay with them, and that carry others best. */
  const cheapest = (roots: readonly number[], count: number): readonly number[] => {
    if (count === 0) return [];
    const costs = roots.map((root) => ({
      root,
      inputs: new Set(sourcesOf(root).flatMap(inputsOf)).size,
      constant: constantOf(root),
    }));
    return costs
      .sort((one, other) => one.inputs - other.inputs || other.constant - one.constant)
      .slice(0, count)
      .map(({ root }) => root);
  };
  /** Where constants of a channel go that cannot be folded. */
  const unfolded = (root: number): Place[] =>
    read
      .of(root)
      .filter(({ reader, index }) => !folds(reader) && !isZero(reader, index) && reader.weights?.touches(index, stays));
  /** Those that read a weight, once for each way in which constants reach it. */
  const byNumbers = new Map<Stored, Reader[]>();
  for (const reader of readers) {
    const stored = reader.weights?.view.stored;
    if (stored === undefined) continue;
    const known = byNumbers.get(stored);
    if (known === undefined) byNumbers.set(stored, [reader]);
    else if (!isAlike(known.at(-1)!, reader)) known.push(reader);
  }
  /** Whether the weights of an index can be added to those of another one. */
  const canCarry = ({ reader, index }: Place, other: number): boolean =>
    full?.has(reader) !== true &&
    isConstant(reader, other) &&
    isSameRatio(byNumbers.get(reader.weights!.view.stored)!, reader, index, other);
  /** The constants that stay, of each group of inputs of a reader: in order at first, then as they come. */
  const staying = new Map<Reader, number[][]>();
  const constantsThatStay = ({ reader, index }: Place): readonly number[] => {
    const { inputsPerGroup } = reader.weights!;
    const group = Math.floor(index / inputsPerGroup);
    let groups = staying.get(reader);
    if (groups === undefined) staying.set(reader, (groups = []));
    return (groups[group] ??= Array.from(
      { length: inputsPerGroup },
      (_, place) => group * inputsPerGroup + place,
    ).filter((other) => isConstant(reader, other) && stays(reader.axis[other]!)));
  };
  onKept = (root) => {
    for (const { reader, index } of read.of(root)) {
      if (reader.weights === undefined || !isConstant(reader, index)) continue;
      staying.get(reader)?.[Math.floor(index / reader.weights.inputsPerGroup)]?.push(index);
    }
  };
  /** How many of the constants that stay do not carry an index, as far as is known; -1 if one does. */
  const tried = new Map<Reader, Int32Array>();
  /** Whether a constant that stays carries that of another channel. Each pair is looked at once. */
  const isCarried = (place: Place): boolean => {
    const { reader, index } = place;
    if (!reader.weights!.isOwn) return false;
    let counts = tried.get(reader);
    if (counts === undefined) tried.set(reader, (counts = new Int32Array(reader.axis.length)));
    const others = constantsThatStay(place);
    while (counts[index]! >= 0 && counts[index]! < others.length) {
      counts[index] = canCarry(place, others[counts[index]!]!) ? -1 : counts[index]! + 1;
    }
    return counts[index]! < 0;
  };
  /** The index of the largest constant that stays and carries that of another channel. */
  const carrierOf = (place: Place): number | undefined => {
    const { reader } = place;
    if (!reader.weights!.isOwn) return undefined;
    let best: number | undefined;
    for (const other of constantsThatStay(place)) {
      const [size, most] = [sizeAt(reader, other), best === undefined ? -1 : sizeAt(reader, best)];
      // The first of several that are the same.
      if (size < most || (size === most && other > best!)) continue;
      if (canCarry(place, other)) best = other;
    }
    return best;
  };
  /** What stays in grids where a channel does. */
  const stayingWith = (first: number): ReadonlySet<number> => {
    const found = new Set([first]);
    const goes = (root: number) => gone.has(root) && !found.has(root);
    for (const root of found) {
      for (const cell of cells.get(root) ?? []) {
        const others = cell.root === root ? cell.sides : cell.sides.some(goes) ? [] : [cell.root];
        for (const other of others) if (goes(other)) found.add(other);
      }
    }
    return found;
  };
  /** The channel of a group that stays and carries the constants of most others; undefined if all are carried. */
  const nextCarrier = (channels: readonly number[]): number | undefined => {
    const left = channels
      .filter((root) => gone.has(root))
      .map((root) => ({ root, places: unfolded(root).filter((place) => !isCarried(place)) }))
      .filter(({ places }) => places.length > 0)
      .map((each) => ({ ...each, size: Math.max(...each.places.map(({ reader, index }) => sizeAt(reader, index))) }))
      .sort((one, other) => other.size - one.size);
    const carries = (staying: ReadonlySet<number>, { places }: { readonly places: readonly Place[] }) =>
      places.every((place) => {
        const groupOf = (index: number) => Math.floor(index / place.reader.weights!.inputsPerGroup);
        const group = groupOf(place.index);
        return [...staying].some((root) =>
          read
            .of(root)
            .some(({ reader, index }) => reader === place.reader && groupOf(index) === group && canCarry(place, index)),
        );
      });
    let best: { readonly root: number; readonly others: number } | undefined;
    // The largest constants have the smallest error.
    for (const { root } of left.slice(0, mostCandidates)) {
      const staying = stayingWith(root);
      const others = left.filter((each) => !staying.has(each.root) && !carries(staying, each)).length;
      if (best === undefined || others < best.others) best = { root, others };
    }
    return best?.root;
  };

  const isRead = (root: number) => read.of(root).length > 0;
  /** Whether what an operator adds up lies along it last: numbers of heads and of groups are fast as they are. */
  const isWidth = (root: number): boolean =>
    cells.get(root)?.some((cell) => cell.sides.at(-1) === root && isRead(cell.root)) === true;
  /** Those that are rounded. Cells stay with the channels at their sides, so that they come last. */
  const rounded = [
    ...groups.filter(({ channels }) => channels.some(isWidth)),
    ...groups.filter(({ channels }) => !channels.some(isWidth) && channels.some(isRead)),
  ];
  /** Those with which the fewest others of their grids stay. Of those that need the same sides, the others are alike. */
  const mostAlone = (roots: readonly number[]): readonly number[] => {
    const bySides = new Map<string, { readonly count: number; readonly alike: number[] }>();
    for (const root of roots) {
      const own = (cells.get(root) ?? []).filter((cell) => cell.root === root).flatMap(({ sides }) => sides);
      const needed = new Set(own.filter((side) => gone.has(side)));
      const key = [...needed].join();
      const known = bySides.get(key);
      if (known === undefined) bySides.set(key, { count: needed.size, alike: [root] });
      else known.alike.push(root);
    }
    const tried = [...bySides.values()].sort((one, other) => one.count - other.count).slice(0, mostSides);
    const sizes = tried.map(({ alike }) => ({ alike, size: stayingWith(alike[0]!).size }));
    const least = Math.min(...sizes.map(({ size }) => size));
    return sizes.flatMap(({ alike, size }) => (size === least ? alike : []));
  };
  /** Lets channels of a group stay, so that their number is rounded. */
  const roundUp = (channels: readonly number[]): void => {
    const isGrid = channels.some((root) => cells.has(root));
    for (;;) {
      const dead = channels.filter((root) => gone.has(root));
      const left = channels.length - dead.length;
      const missing = Math.min(channels.length, Math.ceil(left / roundTo) * roundTo) - left;
      // With a cell of a grid others may stay.
      const some = isGrid && missing > 0 ? cheapest(mostAlone(dead), 1) : cheapest(dead, missing);
      for (const root of some) keep(root, 'rounding');
      settle();
      if (!isGrid || missing === 0) return;
    }
  };

  for (let count = -1; count !== gone.size;) {
    count = gone.size;
    for (const { channels } of groups) {
      for (let root = nextCarrier(channels); root !== undefined; root = nextCarrier(channels)) {
        keep(root, 'carrier');
        settle();
      }
    }
    // Later ones first: what they need stays with them, and is often on earlier ones.
    for (const axis of [...axes].reverse()) {
      if (axis.length === 0 || axis.some(stays)) continue;
      keep(cheapest([...new Set([...axis].map(find))], 1)[0]!, 'last');
      settle();
    }
    for (const { channels } of rounded) roundUp(channels);
  }

  const folded: Fold[] = [];
  const carries: Carry[] = [];
  const carried = new Set<string>();
  const places = new Map<Stored, number>();
  for (const reader of readers) {
    const { axis, weights, known } = reader;
    if (weights === undefined) continue;
    const added: number[] = [];
    for (let index = 0; index < axis.length; index++) {
      if (stays(axis[index]!) || isZero(reader, index) || !weights.touches(index, stays)) continue;
      if (folds(reader)) added.push(index);
      else {
        const to = carrierOf({ reader, index })!;
        const { stored } = weights.view;
        if (!places.has(stored)) places.set(stored, places.size);
        // A weight that several operators read is changed once.
        const key = `${places.get(stored)} ${index}`;
        if (carried.has(key)) continue;
        carried.add(key);
        carries.push({ weights, from: index, to, factor: known!.numbers[index]! / known!.numbers[to]! });
      }
    }
    if (added.length === 0) continue;
    const sums = new Float64Array(weights.outputs.length);
    weights.addSums(added, known!.numbers, sums);
    folded.push({ reader, sums });
  }
  return {
    gone: gone.set(),
    kept,
    folds: folded,
    carries,
    groups: groups.map(({ channels }) => ({ channels, gone: channels.filter((root) => gone.has(root)) })),
  };
}

/** The most channels that are tried as carriers. */
const mostCandidates = 16;

/** The most sets of sides of grids that are tried. */
const mostSides = 1024;
