import type { Leak, Partner } from '../../../../model/model.js';
import type { Place, Split, Track } from './tracks.js';
import type { Constant, Node, Reader, Value } from '../../graph.js';
import { brief, title } from '../../titles.js';
import { extremesOf } from '../../shapes.js';
import { mostAxes, shapeOf, type View } from '../../views.js';

/** An input of a node that may have one number per channel. */
interface Candidate extends Reader {
  readonly part: Partner['part'];
  /** Whether a removed channel is 0 only without these numbers. */
  readonly isNeeded: boolean;
}

/** A weight whose output channels are followed. */
export interface Owner {
  readonly name: string;
  readonly channels: number;
}

/** Some entries of a constant, one after another. */
export interface Entries {
  readonly start: number;
  readonly count: number;
}

/**
 * Where the numbers of a constant are, or those of some of its entries; or why they cannot be changed by themselves. For all
 * entries it is the same object each time.
 */
export type NumbersOf<Numbers extends object> = (constant: Constant, entries?: Entries) => Numbers | string;

/** Numbers that are removed with the channels of a weight. */
export interface Taken<Numbers extends object> extends Pick<Partner, 'part'> {
  readonly values: Numbers;
}

/** Entries of a constant that are numbers of the channels of one weight. */
interface Claim extends Entries {
  readonly constant: Constant;
  readonly owner: number;
  /** The inputs that read them as numbers of these channels. */
  readonly uses: Set<number>;
  /** Another weight whose channels have some of the same entries. */
  rival: number | undefined;
  /** Why they are left alone, once that is known. */
  obstacle?: { readonly reason: string | undefined };
}

/** More inputs than any node has. */
const mostInputs = 2 ** 28;

/**
 * The constants that are removed with output channels. Which entries are those of one weight alone is known after all
 * channels have been followed, when {@link settle} is called. If some are not, the channels are followed once more.
 */
export class Claims<Numbers extends object = object> {
  readonly #owners: readonly Owner[];
  readonly #numbersOf: NumbersOf<Numbers>;
  readonly #numbers: ReadonlyMap<Node, number>;
  readonly #claims = new Map<Constant, Map<string, Claim>>();
  /** The claims that are taken unless others have the same entries. */
  readonly #taken = new Set<Claim>();
  /** What is taken for each owner, and as which part. */
  readonly #partners = new Map<number, Map<Claim, Partner['part']>>();
  #isSettled = false;

  constructor(nodes: readonly Node[], owners: readonly Owner[], numbersOf: NumbersOf<Numbers>) {
    this.#owners = owners;
    this.#numbersOf = numbersOf;
    this.#numbers = new Map(nodes.map((node, number) => [node, number]));
  }

  /**
   * Takes the numbers of these channels from an input of a node.
   * @returns why they are not removed with the channels
   */
  take({ owner, at, shared }: Track, { part, node, input, isNeeded }: Candidate): Leak | undefined {
    const value = node.inputs[input];
    if (value === undefined) return undefined;
    const { view } = value;
    const isSplit = at.split !== undefined && view !== undefined && fitsSplit(view, at.split);
    const place = isSplit ? { offset: 0, first: 0, count: at.split!.count } : at.place;
    const reason =
      this.#reasonWithout(value) ??
      (place === undefined
        ? (at.reason ?? 'the axis of the channels is unknown')
        : isSplit || fits(view!, at.place!)
          ? shared
          : 'it does not have one entry per output channel') ??
      this.#takeEntries(view!.constant, owner, place!, { part, node, input, isNeeded });
    if (reason === undefined) return undefined;
    return isZero(view) ? undefined : { name: value.name, reason };
  }

  /**
   * Compares what all layers claim. From then on {@link take} says which numbers are those of one weight alone.
   * @returns whether all that were taken are
   */
  settle(): boolean {
    this.#isSettled = true;
    for (const claims of this.#claims.values()) {
      const [first, ...others] = [...claims.values()].sort((one, other) => one.start - other.start);
      let last = first!;
      for (const next of others) {
        if (next.start < last.start + last.count) [next.rival, last.rival] = [last.owner, next.owner];
        if (next.start + next.count > last.start + last.count) last = next;
      }
    }
    const areAll = [...this.#taken].every((claim) => this.#reasonAgainst(claim) === undefined);
    if (!areAll) this.#partners.clear();
    return areAll;
  }

  /** What was taken for a weight. */
  partnersOf(owner: number): Taken<Numbers>[] {
    const found = this.#partners.get(owner) ?? new Map<Claim, Partner['part']>();
    return Array.from(found, ([claim, part]) => ({ part, values: this.#entriesOf(claim) as Numbers }));
  }

  /** @returns why the entries are left alone */
  #takeEntries(
    constant: Constant,
    owner: number,
    { offset, first, count }: Pick<Place, 'offset' | 'first' | 'count'>,
    { part, node, input, isNeeded }: Candidate,
  ): string | undefined {
    let claims = this.#claims.get(constant);
    if (claims === undefined) this.#claims.set(constant, (claims = new Map<string, Claim>()));
    const key = `${owner},${offset},${count}`;
    let claim = claims.get(key);
    if (claim === undefined) {
      claims.set(key, (claim = { constant, owner, start: offset, count, uses: new Set(), rival: undefined }));
    }
    claim.uses.add(this.#keyOf({ node, input }));
    if (first !== 0 || count !== this.#owners[owner]!.channels) return 'it belongs to a part of the channels';
    if (!this.#isSettled) this.#taken.add(claim);
    const reason = this.#isSettled ? this.#reasonAgainst(claim) : undefined;
    if (reason === undefined && isNeeded) this.#add(part, claim);
    return reason;
  }

  /** Why the entries are left alone, now that all claims are known. */
  #reasonAgainst(claim: Claim): string | undefined {
    claim.obstacle ??= { reason: this.#obstacleTo(claim) };
    return claim.obstacle.reason;
  }

  #obstacleTo(claim: Claim): string | undefined {
    const { constant, uses, rival } = claim;
    const obstacle = obstacleTo(constant, (use) => uses.has(this.#keyOf(use)));
    if (obstacle !== undefined) return obstacle;
    if (rival !== undefined) return `${brief(this.#owners[rival]!.name)} also has it`;
    const numbers = this.#entriesOf(claim);
    return typeof numbers === 'string' ? numbers : undefined;
  }

  #add(part: Partner['part'], claim: Claim): void {
    let partners = this.#partners.get(claim.owner);
    if (partners === undefined) this.#partners.set(claim.owner, (partners = new Map<Claim, Partner['part']>()));
    if (!partners.has(claim)) partners.set(claim, part);
  }

  #entriesOf({ constant, start, count }: Claim): Numbers | string {
    return this.#numbersOf(constant, count === constant.tensor.length ? undefined : { start, count });
  }

  /** Why a value cannot be removed entry by entry, wherever the channels are. */
  #reasonWithout({ isConstant, view }: Value): string | undefined {
    if (view === undefined) return isConstant ? 'it is not stored as a tensor' : 'it is computed while the model runs';
    const numbers = this.#numbersOf(view.constant);
    return typeof numbers === 'string' ? numbers : undefined;
  }

  #keyOf({ node, input }: Reader): number {
    return this.#numbers.get(node)! * mostInputs + input;
  }
}

/** Why the numbers of a constant are not those of these inputs alone. */
export function obstacleTo(constant: Constant, isOwn: (use: Reader) => boolean): string | undefined {
  const other = constant.uses.find((use) => !isOwn(use));
  if (other !== undefined) return `${title(other.node)} also uses it`;
  if (constant.isOutput) return 'it is an output of the graph';
  return constant.overlaps === undefined ? undefined : `it shares bytes with ${brief(constant.overlaps.name)}`;
}

/** Whether a constant is known to consist of zeros. */
function isZero(view: View | undefined): boolean {
  const floats = view?.constant.tensor.floats?.();
  if (floats === undefined) return false;
  const { least, greatest } = extremesOf(floats);
  return least >= 0 && greatest <= 0;
}

/** Whether a constant, its shape aligned from the right, has one entry per channel and is broadcast along other axes. */
export function fits(view: View, { axis, size, offset, count }: Place): boolean {
  if (view.axes.length > mostAxes) return false;
  const shape = shapeOf(view);
  const at = shape.length - axis;
  const entries = shape[at] ?? 1;
  // The size of the axis is that of the constant if it is above 1, even where the file does not give it.
  const isAll = typeof size === 'number' ? entries === size : entries > 1 && entries >= offset + count;
  return isAll && shape.every((length, index) => index === at || length === 1);
}

/** Whether a constant has one entry per channel, in the order of the axes that count them, and is broadcast along others. */
export function fitsSplit({ constant, axes }: View, { axis, sizes }: Split): boolean {
  if (axes.length > mostAxes) return false;
  const shape = shapeOf({ constant, axes });
  const first = shape.length - axis - sizes.length + 1;
  const isOwn = (place: number) => place >= first && place < first + sizes.length;
  if (first < 0 || !shape.every((size, place) => size === (isOwn(place) ? sizes[place - first] : 1))) return false;
  const stored = axes.filter((_, place) => isOwn(place) && shape[place] !== 1);
  return stored.every((each, place) => place === 0 || each > stored[place - 1]!);
}
