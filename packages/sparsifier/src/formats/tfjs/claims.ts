import type { Leak, Partner } from '../../model/model.js';
import { isFloat, lengthOf, type PartnerWeight, type WeightEntry } from './description.js';
import type { Channels } from './flow.js';

/** The weights whose entries are removed with the output channels of a layer, found on the way of the channels. */
export class Claims<Node> {
  readonly #taken = new Map<WeightEntry, PartnerWeight & { readonly readers: Set<Node> }>();
  readonly #refused: ReadonlyMap<WeightEntry, string>;
  readonly #count: number;

  /**
   * @param refused weights that must not be taken, and why
   * @param count how many channels the layer has
   */
  constructor(refused: ReadonlyMap<WeightEntry, string>, count: number) {
    this.#refused = refused;
    this.#count = count;
  }

  /** Takes the entries of these channels. @returns why that is not possible */
  take(part: Partner['part'], node: Node, entry: WeightEntry, { start, total }: Channels): string | undefined {
    const refused = this.#refused.get(entry);
    if (refused !== undefined) return refused;
    if (!isFloat(entry)) return `its type is ${entry.dtype}`;
    if (lengthOf(entry) !== total) return 'it does not have one number per output channel';
    const isWhole = total === this.#count;
    if (!isWhole && entry.isDivisible !== true) return 'its entries for several layers are stored as one';
    const range = isWhole ? undefined : { start, count: this.#count };
    const before = this.#taken.get(entry);
    if (before === undefined) {
      this.#taken.set(entry, { part, weight: entry.name, ...(range && { range }), readers: new Set([node]) });
    } else if (before.range?.start !== range?.start) return 'it is used for two places of the channels';
    else before.readers.add(node);
    return undefined;
  }

  /** @param otherUse describes what else uses a weight, apart from nodes that belong to the layer */
  foreign(
    otherUse: (entry: WeightEntry, readers: ReadonlySet<Node>) => string | undefined,
  ): [entry: WeightEntry, reason: string][] {
    return [...this.#taken].flatMap(([entry, { readers }]) => {
      const reason = otherUse(entry, readers);
      return reason === undefined ? [] : [[entry, reason]];
    });
  }

  get partners(): PartnerWeight[] {
    return [...this.#taken.values()].map(({ readers: _, ...partner }) => partner);
  }
}

/**
 * Finds the partners of a layer. Whether something else uses one of them is known only when the channels have been
 * followed to their end. Then they are followed again without it.
 * @param walk follows the channels, and returns what keeps removed ones from being zero
 */
export function findPartners<Node>(
  count: number,
  walk: (claims: Claims<Node>) => readonly Leak[],
  otherUse: (entry: WeightEntry, readers: ReadonlySet<Node>) => string | undefined,
): { partners: PartnerWeight[]; leaks: Leak[] } {
  const refused = new Map<WeightEntry, string>();
  for (;;) {
    const claims = new Claims<Node>(refused, count);
    const leaks = walk(claims);
    const foreign = claims.foreign(otherUse);
    if (foreign.length > 0) {
      for (const [entry, reason] of foreign) refused.set(entry, reason);
      continue;
    }
    const distinct = new Map(leaks.map((leak) => [`${leak.name}\0${leak.reason}`, leak]));
    return { partners: claims.partners, leaks: [...distinct.values()] };
  }
}
