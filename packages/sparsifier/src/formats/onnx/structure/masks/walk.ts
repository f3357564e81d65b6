import type { Leak } from '../../../../model/model.js';
import type { Node, Value } from '../../graph.js';
import type { Claims } from './claims.js';
import type { Arrival, Track } from './tracks.js';
import { Passing, type Lookups } from './passing.js';

/** The output channels of a layer where they begin. */
export interface Source {
  readonly track: Track;
  /** Whether nothing else is in the output of the node. */
  readonly isAlone: boolean;
}

/**
 * The most steps that channels are followed, given the number of nodes. The largest DenseNet takes 15 per node; only graphs
 * in which nearly all layers meet in nearly all nodes take more.
 */
const mostSteps = (nodes: number): number => 20_000 + 32 * nodes;

/** The most indices of axes that are looked at. */
const mostIndices = (nodes: number): number => 20_000_000 + 10_000 * nodes;

const nothing: ReadonlyMap<string, Track> = new Map();

/** What comes of following the channels of all layers. */
export interface Flow {
  /** For each owner, what keeps its removed channels from being 0 where another layer reads them. */
  readonly leaks: ReadonlyMap<number, ReadonlyMap<string, Leak>>;
  /** For each node that is a depthwise convolution, the owners of its input channels. */
  readonly filtered: ReadonlyMap<Node, ReadonlySet<number>>;
  /** The owners that were not followed to the end. */
  readonly unfinished: ReadonlySet<number>;
}

/**
 * Follows the output channels of layers through the graph, from each node to those that read its outputs.
 * @param sources the channels that a node gives, by node
 * @param claims the constants that are removed with channels
 * @param lookups what the rules of operators say of nodes
 */
export function followChannels(
  nodes: readonly Node[],
  sources: (node: Node) => readonly Source[],
  claims: Claims,
  lookups: Lookups,
): Flow {
  const tracks = new Map<Value, Map<string, Track>>();
  const leaks = new Map<number, Map<string, Leak>>();
  const filtered = new Map<Node, Set<number>>();
  const unfinished = new Set<number>();
  const left = new Set<ReadonlyMap<string, Track>>();
  const limit = mostSteps(nodes.length);
  const { wirings } = lookups;
  const { sizes } = wirings;
  const work = wirings.work;
  let steps = 0;

  const report = ({ owner, leaks: found }: Track) => {
    let known = leaks.get(owner);
    if (known === undefined) leaks.set(owner, (known = new Map<string, Leak>()));
    for (const leak of found) known.set(`${leak.name}: ${leak.reason}`, leak);
  };
  const put = (value: Value | undefined, track: Track, key = keyOf(track)) => {
    if (value === undefined) return;
    let known = tracks.get(value);
    if (known === undefined) tracks.set(value, (known = new Map<string, Track>()));
    const other = known.get(key);
    known.set(key, other === undefined ? track : both(other, track));
    if (value.isOutput || value.readers.length === 0) report(track);
  };

  // Many nodes may read what is left.
  const leave = (some: ReadonlyMap<string, Track>) => {
    if (left.has(some)) return;
    left.add(some);
    for (const { owner } of some.values()) unfinished.add(owner);
  };

  for (const node of nodes) {
    const arriving = node.inputs.map((value) => (value === undefined ? undefined : tracks.get(value)));
    if (arriving.some((each) => each !== undefined)) {
      const operator = sizes.operators.get(node.op);
      const isDepthwise = operator?.filtersEach?.(node, sizes.of(node.inputs[1])[0]?.shape) === true;
      const passing = operator && new Passing(node, operator, lookups, arriving);
      const isLeft = () => steps > limit || wirings.work - work > mostIndices(nodes.length);
      for (const [input, each] of arriving.entries()) {
        for (const [key, track] of each ?? nothing) {
          steps++;
          if (isLeft()) break;
          if (isDepthwise && input === 0) {
            if (!filtered.has(node)) filtered.set(node, new Set());
            filtered.get(node)!.add(track.owner);
          }
          const twin = (place: number) => sameChannels(track, arriving[place]?.get(key));
          const arrival: Arrival = { input, track, claims, twin };
          const passed = passing?.pass(arrival);
          if (passed === undefined) report(track);
          else if ('ends' in passed) report(passed.ends);
          else {
            // Each further output is a step as well.
            steps += Math.max(0, passed.length - 1);
            for (const [output, onward] of passed.entries())
              if (onward !== undefined) put(node.outputs[output], onward, onward.at === track.at ? key : keyOf(onward));
          }
        }
        if (each !== undefined && isLeft()) leave(each);
      }
    }
    for (const { track, isAlone } of sources(node)) {
      if (isAlone) put(node.outputs[0], track);
      else report(track);
    }
  }
  return { leaks, filtered, unfinished };
}

function keyOf({ owner, at: { place } }: Track): string {
  if (place === undefined) return `${owner}`;
  return `${owner},${place.axis},${place.offset},${place.first},${place.count}`;
}

/** The same channels in the same place of another value, if they are there. */
function sameChannels({ at }: Track, other: Track | undefined): Track | undefined {
  return at.place !== undefined || at === other?.at ? other : undefined;
}

/** Channels that reach a value in two ways. */
function both(one: Track, other: Track): Track {
  const isSame = one.at.place !== undefined || one.at === other.at;
  return {
    ...one,
    at: isSame ? one.at : { reason: one.at.reason ?? 'its channels come in several ways' },
    ...(other.shared === undefined ? {} : { shared: other.shared }),
    leaks: one.leaks.length > 0 ? one.leaks : other.leaks,
  };
}
