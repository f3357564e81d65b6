import { scoresOnTheFly, type Recipe } from '../options/criteria.js';
import type { Block, Engine } from '../engine/engine.js';
import { infinityKey, largestKey, surveyBins, surveyWord as word, surveyWords } from '../engine/codes.js';
import { plainEntry, unitsOf, weightsOf, type Entry } from '../engine/record.js';
import { run, select, writeTable } from '../engine/verbs.js';
import type { Units } from '../options/units.js';
import type { Values } from '../model/model.js';

/** A layer that is ranked together with others, of which one at a time is in memory. */
export interface Member {
  /** Its index among the layers of the call. */
  readonly index: number;
  readonly values: Values;
  readonly units: Units;
  /** The most units that may be removed. */
  readonly limit: number;
}

/** Layers that are ranked together, and how many of their units are removed. */
export interface Ranked {
  readonly members: readonly Member[];
  readonly remove: number;
}

/** How much is kept in memory at once, and the size of samples. Results do not depend on it. */
export interface Room {
  /** The number of scores that can be gathered. */
  readonly scores: number;
  /** The number of runs of consecutive weights in a sample. */
  readonly runs: number;
  /** The number of weights in a run. */
  readonly run: number;
}

export const usualRoom: Room = { scores: 2 ** 24, runs: 2 ** 11, run: 2 ** 8 };

/** The keys from `low` to `high`, both included. */
interface Bracket {
  readonly low: number;
  readonly high: number;
}

const everything: Bracket = { low: 0, high: largestKey };

/** The key of a score by its bits, as the kernels have it. */
export function keyOf(bits: number): number {
  if ((bits & 0x7fff_ffff) > 0x7f80_0000) return infinityKey;
  return (bits === 0x8000_0000 ? bits : bits >>> 31 ? ~bits : bits + 0x8000_0000) >>> 0;
}

/** How the search reads layers. */
export interface Looker {
  /**
   * Loads a layer, scores it and calls `look` with the address of its record. `look` returns whether a score may be
   * infinite or NaN.
   */
  score(member: Member, look: (record: number) => Promise<boolean>): Promise<void>;
  /** Concatenated runs of `length` consecutive weights in stored order, one from each of `starts`. */
  runs(member: Member, starts: readonly number[], length: number): Promise<Uint8Array>;
}

/**
 * Finds how many units each layer loses, by its index, when layers are ranked together but only one at a time is in
 * memory. Ranked separately, each layer then loses the same units as in the common ranking. Reads all layers once,
 * counts the scores below a bracket around the cut and gathers those inside it, among which the cut is found. The
 * bracket comes from a sample. If it does not contain the cut, or contains more scores than there is room for, counts
 * of its parts decide what the next pass looks at: all keys on the other side, or a 2048th of the bracket. So there are
 * at most four passes.
 */
export async function search(
  engine: Engine,
  rankings: readonly Ranked[],
  recipe: Recipe,
  looker: Looker,
  room: Room,
): Promise<Map<number, number>> {
  const removed = new Map<number, number>();
  const searches: Search[] = [];
  for (const { members, remove } of rankings) {
    if (remove === 0) for (const { index } of members) removed.set(index, 0);
    else searches.push(new Search(members, remove, await bracketOf(engine, { members, remove }, recipe, looker, room)));
  }
  if (searches.length === 0) return removed;
  const units = searches.flatMap(({ members }) => members).reduce((sum, member) => sum + countOf(member), 0);
  const counts = await engine.allocate(surveyWords * 4);
  let scores: Block | undefined;
  try {
    scores = await engine.allocate(Math.min(units, room.scores) * 4);
    const { address, bytes } = scores;
    while (searches.some(({ isFound }) => !isFound)) {
      const open = searches.filter(({ isFound }) => !isFound);
      // In model order, which is usually the order of the file.
      const looks = open.flatMap((search) => search.members.map((member, place) => ({ search, member, place })));
      looks.sort((first, second) => first.member.index - second.member.index);
      let taken = 0;
      for (const search of open) search.begin();
      for (const { search, member, place } of looks) {
        const length = search.isWhole ? bytes / 4 - taken : 0;
        const target = address + taken * 4;
        await looker.score(member, async (record) => {
          const { low, high } = search.bracket;
          await run(engine, [['survey', record, low, high, counts.address, target, length]]);
          const words = new Uint32Array((await counts.read(0, new Uint8Array(counts.bytes))).buffer);
          taken += search.take(place, words, target, length);
          return words[word.highest]! >= infinityKey;
        });
      }
      for (const search of open) await search.narrow(engine);
    }
    for (const { members, removed: found } of searches) {
      for (const [place, { index }] of members.entries()) removed.set(index, found[place]!);
    }
    return removed;
  } finally {
    counts.free();
    scores?.free();
  }
}

const countOf = ({ units }: Member): number => unitsOf(units.axes);

/** The search for the cut of one ranking. */
class Search {
  readonly members: readonly Member[];
  readonly #remove: number;
  bracket: Bracket;
  /** Whether all scores found so far between the ends of the bracket are gathered. */
  isWhole = true;
  isFound = false;
  /** How many units of each member are removed. */
  removed: readonly number[] = [];
  /** The counts of each member, and where its gathered scores are. */
  #counts: Uint32Array[] = [];
  #gathered: { readonly address: number; readonly length: number }[] = [];

  constructor(members: readonly Member[], remove: number, bracket: Bracket) {
    this.members = members;
    this.#remove = remove;
    this.bracket = bracket;
  }

  begin(): void {
    this.isWhole = true;
  }

  /** Takes the counts of a member; returns how many of its scores were gathered. */
  take(place: number, words: Uint32Array, address: number, room: number): number {
    const length = words.subarray(word.between, word.high).reduce((sum, count) => sum + count, 0);
    this.#counts[place] = words;
    this.#gathered[place] = { address, length };
    this.isWhole &&= length <= room;
    return this.isWhole ? length : 0;
  }

  /** Finds the cut, or the part of the bracket that contains it. */
  async narrow(engine: Engine): Promise<void> {
    const { low, high } = this.bracket;
    // How many keys of each member are smaller than those counted in the current word.
    let below = this.#counts.map((words) => words[word.below]!);
    if (this.#reached(below) >= this.#remove) {
      this.bracket = { low: 0, high: low - 1 };
      return;
    }
    for (let place: number = word.low; place <= word.high; place++) {
      const upTo = below.map((count, member) => count + this.#counts[member]![place]!);
      if (this.#reached(upTo) < this.#remove) {
        below = upTo;
        continue;
      }
      const narrowed = partOf(this.bracket, place);
      if (narrowed.low === narrowed.high) this.#settle(below, upTo);
      else if (this.isWhole) await this.#select(engine);
      else this.bracket = narrowed;
      return;
    }
    this.bracket = { low: high + 1, high: largestKey };
  }

  /** How many units are removed if each member loses its count, but no more than its limit. */
  #reached(counts: readonly number[]): number {
    return counts.reduce((sum, count, member) => sum + Math.min(this.members[member]!.limit, count), 0);
  }

  /**
   * All units below the cut's key are removed; of those with that key, as many as are still needed, member by member.
   */
  #settle(below: readonly number[], upTo: readonly number[]): void {
    let rest = this.#remove - this.#reached(below);
    this.removed = this.members.map(({ limit }, member) => {
      const certain = Math.min(limit, below[member]!);
      const ties = Math.min(rest, Math.min(limit, upTo[member]!) - certain);
      rest -= ties;
      return certain + ties;
    });
    this.isFound = true;
  }

  /** Selects the cut among the gathered scores. */
  async #select(engine: Engine): Promise<void> {
    const below = this.#counts.map((words) => words[word.below]! + words[word.low]!);
    const certain = this.members.map(({ limit }, member) => Math.min(limit, below[member]!));
    const some = this.members.flatMap((_, member) => (this.#gathered[member]!.length > 0 ? [member] : []));
    const entries = some.map((member): Entry => {
      const { address, length } = this.#gathered[member]!;
      const limit = Math.min(length, this.members[member]!.limit - certain[member]!);
      const axes = [{ size: length, block: 1, order: 0 }];
      return { ...plainEntry, weights: 0, dtype: 'float32', axes, scores: address, limit };
    });
    const outcomes = await select(engine, entries, [this.#remove - this.#reached(below)]);
    for (const [place, { removed }] of outcomes.entries()) certain[some[place]!]! += removed;
    this.removed = certain;
    this.isFound = true;
  }
}

/** The keys that a word counts. */
function partOf({ low, high }: Bracket, place: number): Bracket {
  if (place === word.low) return { low, high: low };
  if (place === word.high) return { low: high, high };
  const between = high - low - 1;
  const width = 2 ** Math.max(0, 32 - Math.clz32(between - 1) - Math.log2(surveyBins));
  const first = low + 1 + (place - word.between) * width;
  return { low: first, high: Math.min(high - 1, first + width - 1) };
}

/** Where the cut most likely is. All keys if their scores fit in memory, or if they cannot be sampled. */
async function bracketOf(
  engine: Engine,
  { members, remove }: Ranked,
  recipe: Recipe,
  looker: Looker,
  room: Room,
): Promise<Bracket> {
  const units = members.reduce((sum, member) => sum + countOf(member), 0);
  const areWeights = members.every(({ units: { axes } }) => unitsOf(axes) === weightsOf(axes));
  const canSample = areWeights && scoresOnTheFly(recipe) && recipe.needs === undefined;
  if (units <= room.scores || !canSample) return everything;
  const runs = await sampleOf(engine, members, recipe, looker, room);
  const all = sorted(runs.flatMap(({ keys }) => [...keys]));
  const layers = members.map((member) => {
    const keys = sorted(runs.flatMap((run) => (run.member === member ? [...run.keys] : [])));
    return { keys, most: (keys.length * member.limit) / countOf(member) };
  });
  /** The share of the sample that is removed with all keys up to this one, where no layer exceeds its limit. */
  const reached = (key: number) => {
    const counts = layers.map(({ keys }) => placeIn(keys, (own) => own <= key));
    return layers.reduce((sum, { most }, place) => sum + Math.min(most, counts[place]!), 0) / all.length;
  };
  const keyAt = (share: number) => (share <= 0 ? 0 : (all[placeIn(all, (key) => reached(key) < share)] ?? largestKey));

  const share = remove / units;
  const cut = keyAt(share);
  // Neighbouring weights are alike, and so are the runs of a layer: only the difference from one run to the next is
  // random.
  const shares = runs.map(({ keys }) => keys.filter((key) => key < cut).length / keys.length);
  const squares = shares.slice(1).map((each, index) => (each - shares[index]!) ** 2);
  const variance = squares.reduce((sum, square) => sum + square, 0) / (2 * Math.max(1, squares.length));
  const margin = 5 * Math.sqrt(variance / runs.length) + 8 / all.length;
  return { low: keyAt(share - margin), high: keyAt(share + margin) };
}

const sorted = (keys: readonly number[]): Uint32Array => Uint32Array.from(keys).sort();

/** The number of sorted keys before the first one for which `isBefore` is false. */
function placeIn(keys: Uint32Array, isBefore: (key: number) => boolean): number {
  let [low, high] = [0, keys.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (isBefore(keys[middle]!)) low = middle + 1;
    else high = middle;
  }
  return low;
}

interface Run {
  readonly member: Member;
  readonly keys: Uint32Array;
}

/** The keys of runs of weights. The members are divided into equal stretches, with one run from each. Deterministic. */
async function sampleOf(
  engine: Engine,
  members: readonly Member[],
  recipe: Recipe,
  looker: Looker,
  room: Room,
): Promise<Run[]> {
  const units = members.reduce((sum, member) => sum + countOf(member), 0);
  const found: Run[] = [];
  let begin = 0;
  for (const member of members) {
    const count = countOf(member);
    const length = Math.min(room.run, count);
    const first = Math.ceil((begin * room.runs) / units);
    begin += count;
    const runs = Math.ceil((begin * room.runs) / units) - first;
    if (runs === 0) continue;
    const starts = Array.from({ length: runs }, (_, run) => {
      // A multiplicative hash.
      const chance = (Math.imul(first + run, 0x9e37_79b9) >>> 0) / 2 ** 32;
      return Math.floor(((run + chance) / runs) * (count - length));
    });
    const own = await keysOf(engine, await looker.runs(member, starts, length), member, runs * length, recipe);
    for (let run = 0; run < runs; run++) found.push({ member, keys: own.subarray(run * length, (run + 1) * length) });
  }
  return found;
}

/** The keys of the scores of weights. */
async function keysOf(
  engine: Engine,
  weights: Uint8Array,
  { values }: Member,
  count: number,
  recipe: Recipe,
): Promise<Uint32Array> {
  const blocks: Block[] = [];
  const allocate = async (bytes: number) => {
    blocks.push(await engine.allocate(bytes));
    return blocks.at(-1)!;
  };
  try {
    const source = await allocate(weights.length);
    await source.write(weights);
    const scores = await allocate(count * 4);
    const axes = [{ size: count, block: 1, order: 0 }];
    const entry = { ...plainEntry, weights: source.address, dtype: values.dtype, axes, recipe, scores: scores.address };
    const table = await writeTable(engine, [entry]);
    try {
      await run(engine, [['score', table.block.address, 1]]);
    } finally {
      table.release();
    }
    const bits = new Uint32Array((await scores.read(0, new Uint8Array(scores.bytes))).buffer);
    return bits.map(keyOf);
  } finally {
    for (const block of blocks) block.free();
  }
}
