import { isObject } from '../../model/json.js';
import { productOf } from '../../model/numbers.js';
import { isBias, type BiasWeight } from './description.js';
import type { Channels } from './flow.js';
import { moveChannels } from './graph-moves.js';
import { fusedOf, isTrue, type Constant, type Node } from './graph-node.js';
import type { Layout } from './graph-operators.js';
import { biasAxis, isPerChannel, normalisations } from './graph-partners.js';
import type { Graph } from './graph-structure.js';
import { identities } from './graph-views.js';

/** Nodes between a layer and its bias, which only move numbers. */
const moving: ReadonlySet<string> = new Set(['Reshape', 'Squeeze', 'ExpandDims', 'Transpose', 'BatchToSpaceND']);
const sums: ReadonlySet<string> = new Set(['BiasAdd', 'Add', 'AddV2']);

/** A constant that a node adds to the output channels of a layer, or subtracts from them. */
interface Added extends Pick<BiasWeight, 'sign'> {
  readonly constant: Constant;
  readonly reader: Node;
}

/**
 * The bias of the nodes that read a weight: the one that is fused into them, or that of the only node which reads their
 * output. Undefined if something else reads it, or what it is added to.
 * @param outputs the names of nodes that are outputs of the model, even if others read them
 */
export function biasOf(
  nodes: readonly Node[],
  { kind, roles, channels }: Layout,
  graph: Graph,
  outputs: ReadonlySet<string>,
): BiasWeight | undefined {
  // In a stack of matrices, the channels of several are counted together.
  if (channels === undefined || (kind === 'dense' && roles.includes('multiplier'))) return undefined;
  const total = productOf(channels.sizes);
  const all = nodes.map((node) => addedTo(node, { ...channels, start: 0, total }, graph, outputs));
  const [first] = all;
  if (first === undefined) return undefined;
  const { sign, constant } = first;
  const isSame = all.every((each) => each?.constant.entry === constant.entry && each.sign === sign);
  const readers = new Set(all.map((each) => each?.reader));
  const isOwn = graph.uses.get(constant.entry)!.every(({ node }) => readers.has(node));
  return isSame && isOwn && isBias(constant.entry, total) ? { weight: constant.entry.name, sign } : undefined;
}

function addedTo(node: Node, channels: Channels, graph: Graph, outputs: ReadonlySet<string>): Added | undefined {
  const fused = fusedOf(node.attributes);
  if (fused.length > 0) {
    const constant = fused[0] === 'BiasAdd' ? node.inputs[2]?.constant : undefined;
    return constant && { constant, reader: node, sign: 1 };
  }
  let [from, where] = [node, channels];
  const isOutput = ({ name, inside }: Node) => inside === undefined && outputs.has(name);
  while (from.readers.length === 1 && !isOutput(from)) {
    const reader = from.readers[0]!;
    const added = addedBy(reader, from, where);
    if (added !== undefined) return added;
    const isMoved = moving.has(reader.op) || identities.has(reader.op);
    const moved = isMoved ? (identities.has(reader.op) ? where : moveChannels(reader, from, where, graph)) : undefined;
    if (moved === undefined || reader.inputs[0]?.node !== from) return undefined;
    [from, where] = [reader, moved];
  }
  return undefined;
}

/** What a node adds to the channels of another, if it does nothing else, or normalises them afterwards. */
function addedBy(reader: Node, from: Node, channels: Channels): Added | undefined {
  const { op, inputs, attributes } = reader;
  const isAlong = channels.axis === biasAxis(reader, channels) && channels.sizes.length === 1;
  const isFirst = inputs[0]?.node === from;
  if (normalisations.has(op)) {
    const mean = inputs[3]?.constant;
    return isAlong && isFirst && mean && !isTrue(attributes.is_training)
      ? { constant: mean, reader, sign: -1 }
      : undefined;
  }
  const constant = inputs[isFirst ? 1 : 0]?.constant;
  const isSum = sums.has(op) || (op === 'Sub' && isFirst);
  if (!isSum || constant === undefined || inputs.length !== 2 || channels.axis === undefined) return undefined;
  const isEach = op === 'BiasAdd' ? isAlong && constant.axes.length === 1 : isPerChannel(constant, channels);
  return isEach ? { constant, reader, sign: op === 'Sub' ? -1 : 1 } : undefined;
}

/** The names of the nodes that the signature of a model.json declares as outputs. */
export function outputsIn({ signature, userDefinedMetadata }: Readonly<Record<string, unknown>>): ReadonlySet<string> {
  const declared = isObject(userDefinedMetadata) ? userDefinedMetadata.signature : undefined;
  const { outputs } = [declared, signature].find(isObject) ?? {};
  const names = Object.values(isObject(outputs) ? outputs : {}).map((output) => (isObject(output) ? output.name : ''));
  return new Set(names.filter((name) => typeof name === 'string').map((name) => name.split(':')[0]!));
}
