import type { Leak } from '../../../../model/model.js';
import type { Graph, Node } from '../../graph.js';
import type { Sizes } from '../sizes.js';
import { Claims, type NumbersOf, type Owner, type Taken } from './claims.js';
import { Lookups } from './passing.js';
import { followChannels, type Source } from './walk.js';

/** What is known of the output channels of a weight. */
interface Owned<Numbers extends object> {
  /** What is removed with them. */
  readonly partners: readonly Taken<Numbers>[];
  /** What keeps a removed channel from being 0. */
  readonly leaks: readonly Leak[];
  /** What {@link besideFollowed} says, if they were not followed to the end. */
  readonly notes: readonly string[];
}

/** What comes of following the output channels of weights. */
export interface Followed<Numbers extends object> {
  /** In the order of the weights. */
  readonly owned: readonly Owned<Numbers>[];
  /** For each depthwise convolution, the names of the weights whose channels it filters, in that order. */
  readonly filtered: ReadonlyMap<Node, readonly string[]>;
}

const besideFollowed = 'its channels are followed through a part of the graph only, which is very large';

/** The output channels of weights where they begin, given what their own biases are. */
export type SourcesOf<Numbers extends object> = (node: Node, claims: Claims<Numbers>) => readonly Source[];

/**
 * Follows the output channels of weights through a graph.
 * @param numbersOf where the numbers of constants are, of which some are removed with channels
 */
export function followOwned<Numbers extends object>(
  { nodes }: Pick<Graph, 'nodes'>,
  owners: readonly Owner[],
  sourcesOf: SourcesOf<Numbers>,
  sizes: Sizes,
  numbersOf: NumbersOf<Numbers>,
): Followed<Numbers> {
  const claims = new Claims(nodes, owners, numbersOf);
  const lookups = new Lookups(sizes);
  const follow = () => followChannels(nodes, (node) => sourcesOf(node, claims), claims, lookups);
  const first = follow();
  // What was not followed to the end may be now, since what is known of nodes is not looked up again.
  const isWhole = claims.settle() && first.unfinished.size === 0;
  const { leaks, filtered, unfinished } = isWhole ? first : follow();
  const owned = owners.map((_, owner) => ({
    partners: claims.partnersOf(owner),
    leaks: [...(leaks.get(owner)?.values() ?? [])],
    notes: unfinished.has(owner) ? [besideFollowed] : [],
  }));
  const namesOf = (from: ReadonlySet<number>) => [...from].sort((a, b) => a - b).map((owner) => owners[owner]!.name);
  return { owned, filtered: new Map(Array.from(filtered, ([node, from]) => [node, namesOf(from)] as const)) };
}
