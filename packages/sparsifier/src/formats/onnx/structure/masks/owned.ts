import type { Leak } from '../../../../model/model.js';
import type { Graph, Node } from '../../graph.js';
import type { Sizes } from '../sizes.js';
import { Claims, type NumbersOf, type Owner, type Taken } from './claims.js';
import { Lookups } from './passing.js';
import { followChannels, type Source } from './walk.js';

/** What is known of the output channels of a weight. */
export interface Owned<Numbers extends object> {
  /** What is removed with them. */
  readonly partners: readonly Taken<Numbers>[];
  /** What keeps a removed channel from being 0. */
  readonly leaks: readonly Leak[];
  /** What {@link besideFollowed} says, if they were not followed to the end. */
  readonly notes: readonly string[];
  /** The depthwise convolutions that filter them. */
  readonly filters: ReadonlySet<Node>;
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
): Owned<Numbers>[] {
  const claims = new Claims(nodes, owners, numbersOf);
  const lookups = new Lookups(sizes);
  const follow = () => followChannels(nodes, (node) => sourcesOf(node, claims), claims, lookups);
  follow();
  claims.settle();
  const { leaks, filtered, unfinished } = follow();
  const filters = owners.map(() => new Set<Node>());
  for (const [node, from] of filtered) for (const owner of from) filters[owner]!.add(node);
  return owners.map((_, owner) => ({
    partners: claims.partnersOf(owner),
    leaks: [...(leaks.get(owner)?.values() ?? [])],
    notes: unfinished.has(owner) ? [besideFollowed] : [],
    filters: filters[owner]!,
  }));
}
