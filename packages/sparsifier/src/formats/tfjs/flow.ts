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

/** What a value contains in place of removed channels: zeros, or other numbers if it is loud. */
interface State {
  readonly channels: Channels;
  readonly isLoud: boolean;
}

/** What a node makes of the channels of its inputs. */
export interface Step extends State {
  /** Why the node's output is loud although no input is. */
  readonly leaks?: readonly Leak[];
}

/** How many inputs of a node carry the channels. */
export interface Inputs {
  /** The channels of the input that changed last. */
  readonly channels: Channels;
  readonly isLoud: boolean;
  readonly zero: number;
  readonly loud: number;
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
  readonly loud = new Set<Node>();

  add(node: Node, isLoud: boolean): this {
    if (isLoud) this.loud.add(node);
    else {
      this.loud.delete(node);
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
  // Grows while it is gone through. A node is queued again when its loud output turns out to be zero.
  for (const from of queue) {
    const { channels, isLoud } = steps.get(from)!;
    for (const node of network.readersOf(from)) {
      if (starts.has(node)) continue;
      const own = sources.get(node) ?? new Sources<Node>();
      sources.set(node, own.add(from, isLoud));
      const before = steps.get(node);
      if (before !== undefined && !before.isLoud) continue;
      if (budget.left-- <= 0) return [{ name: network.nameOf(node), reason: 'what follows it is too long to be read' }];
      const step = network.step(node, from, { channels, isLoud, zero: own.zero.size, loud: own.loud.size });
      if (step === undefined || (before !== undefined && step.isLoud)) continue;
      steps.set(node, step);
      queue.push(node);
    }
  }
  return heard(steps, sources, network);
}

/** The leaks of loud values that reach a node where the channels end, or the output of the network. */
function heard<Node>(
  steps: ReadonlyMap<Node, Step>,
  sources: ReadonlyMap<Node, Sources<Node>>,
  network: Network<Node>,
): Leak[] {
  const found = new Set<Node>();
  for (const [node, { isLoud }] of steps) {
    const readers = network.readersOf(node);
    if (isLoud && (readers.length === 0 || readers.some((reader) => !steps.has(reader)))) found.add(node);
  }
  // Grows while it is gone through.
  for (const node of found) for (const source of sources.get(node)?.loud ?? []) found.add(source);
  return [...steps].flatMap(([node, { leaks }]) => (found.has(node) ? (leaks ?? []) : []));
}
