import type { Leak } from '../../model/model.js';

/**
 * Where the output channels of a layer are in a value of the network. They are counted by the adjacent axes of `sizes`,
 * of which `axis` is the last one, counted from the end (-1 is the last axis of the value).
 */
export interface Channels {
  /** Undefined if the channels are somewhere in the value, but it is not known where. */
  readonly axis: number | undefined;
  /** The sizes of these axes. Their product is `total`. */
  readonly sizes: readonly number[];
  /** The number of axes of the value, if known. */
  readonly rank: number | undefined;
  /** The place of the layer's first channel: more than 0 if the value is a concatenation. */
  readonly start: number;
  /** The number of channels of the value: more than the layer's if the value is a concatenation. */
  readonly total: number;
}

/** The channels are in the value, but it is not known where. */
export const somewhere = (channels: Channels): Channels => ({ ...channels, axis: undefined, rank: undefined });

interface State {
  readonly channels: Channels;
  /** Whether removed channels may be other than 0 in the value. */
  readonly isNonzero: boolean;
}

/** What a node makes of the channels of its inputs. */
export interface Step extends State {
  /** What makes the channels nonzero here, if they are 0 in the inputs. */
  readonly leaks?: readonly Leak[];
}

/** What reaches a node. */
export interface Inputs {
  /** The channels of the input that changed last, and whether they may be other than 0 there. */
  readonly channels: Channels;
  readonly isNonzero: boolean;
  /** How many inputs carry the channels: as 0, and as other numbers. */
  readonly zero: number;
  readonly nonzero: number;
}

/** A network whose nodes have one value each. */
export interface Network<Node> {
  nameOf(node: Node): string;
  /** The nodes that read the value of a node, each once. */
  readersOf(node: Node): readonly Node[];
  /**
   * What becomes of channels that reach a node. It is asked again when further inputs carry them.
   * @returns undefined if the channels end here, since the node computes something else with them
   */
  step(node: Node, from: Node, inputs: Inputs): Step | undefined;
}

/** How many steps may still be taken, over all layers of a model. It bounds the time for any file. */
export interface Budget {
  left: number;
}

/** The inputs of a node that carry the channels. */
class Sources<Node> {
  readonly zero = new Set<Node>();
  readonly nonzero = new Set<Node>();

  add(node: Node, isNonzero: boolean): this {
    if (isNonzero) this.nonzero.add(node);
    else {
      this.nonzero.delete(node);
      this.zero.add(node);
    }
    return this;
  }
}

/**
 * Follows the output channels of a layer through a network.
 * @param starts the nodes that compute the layer's output
 * @returns what keeps removed channels from being zero where they end
 */
export function follow<Node>(starts: ReadonlyMap<Node, Step>, network: Network<Node>, budget: Budget): Leak[] {
  const steps = new Map<Node, Step>(starts);
  const sources = new Map<Node, Sources<Node>>();
  const queue = [...starts.keys()];
  // Nodes are added to the queue while it is read, and again if an output that was nonzero turns out to be 0.
  for (const from of queue) {
    const { channels, isNonzero } = steps.get(from)!;
    for (const node of network.readersOf(from)) {
      if (starts.has(node)) continue;
      const own = sources.get(node) ?? new Sources<Node>();
      sources.set(node, own.add(from, isNonzero));
      const before = steps.get(node);
      if (before !== undefined && !before.isNonzero) continue;
      if (budget.left-- <= 0) return [{ name: network.nameOf(node), reason: 'what follows it is too long to be read' }];
      const step = network.step(node, from, { channels, isNonzero, zero: own.zero.size, nonzero: own.nonzero.size });
      if (step === undefined || (before !== undefined && step.isNonzero)) continue;
      steps.set(node, step);
      queue.push(node);
    }
  }
  return leaksAtEnds(steps, sources, network);
}

/** The leaks that make channels nonzero where they end, or in an output of the network. */
function leaksAtEnds<Node>(
  steps: ReadonlyMap<Node, Step>,
  sources: ReadonlyMap<Node, Sources<Node>>,
  network: Network<Node>,
): Leak[] {
  const found = new Set<Node>();
  for (const [node, { isNonzero }] of steps) {
    const readers = network.readersOf(node);
    if (isNonzero && (readers.length === 0 || readers.some((reader) => !steps.has(reader)))) found.add(node);
  }
  // Nodes are added while the set is read.
  for (const node of found) for (const source of sources.get(node)?.nonzero ?? []) found.add(source);
  return [...steps].flatMap(([node, { leaks }]) => (found.has(node) ? (leaks ?? []) : []));
}
