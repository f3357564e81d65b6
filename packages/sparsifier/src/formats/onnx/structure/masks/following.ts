import { isRecurrent, leftToGates } from '../../../../model/channels.js';
import { bytesOf, type WeightTensor } from '../../../../model/model.js';
import { StoredValues } from '../../../format.js';
import type { Constant, Graph, Node } from '../../graph.js';
import { brief, title } from '../../titles.js';
import type { Layer } from '../../layers.js';
import { operators } from '../../operators.js';
import { valuesOf } from '../../quantised.js';
import { Sizes } from '../sizes.js';
import type { Claims, Entries } from './claims.js';
import { followOwned, type SourcesOf } from './owned.js';
import { rankUnknown, unknown, type Location } from './tracks.js';
import type { Source } from './walk.js';

/** A weight that can be pruned, and all nodes that read it. */
interface Weight {
  readonly names: readonly string[];
  readonly layers: readonly Layer[];
}

/** What is known of the output channels of a weight. */
export type Partners = Pick<WeightTensor, 'partners' | 'notes' | 'leaks' | 'channelsFrom'>;

/**
 * Finds what is removed with an output channel of each weight: biases and normalisations that the channels come to on
 * their way through the graph. What is left alone there and keeps a removed channel from being 0 is a leak.
 */
export function findPartners<Each extends Weight>(
  graph: Pick<Graph, 'nodes' | 'constants'>,
  weights: readonly Each[],
  opset: number,
): Map<Each, Partners> {
  const layersOf = new Map<Node, { readonly layer: Layer; readonly owner: number }[]>();
  for (const [owner, { layers }] of weights.entries()) {
    for (const layer of layers) {
      if (!layersOf.has(layer.node)) layersOf.set(layer.node, []);
      layersOf.get(layer.node)!.push({ layer, owner });
    }
  }
  const owners = weights.map(({ names, layers }) => ({
    name: names[0]!,
    channels: layers[0]!.layout.channels?.count ?? 0,
  }));
  const sourcesIn: SourcesOf<StoredValues> = (node, claims) =>
    (layersOf.get(node) ?? []).flatMap(({ layer, owner }) => sourcesOf(layer, owner, claims));
  const { owned, filtered } = followOwned(graph, owners, sourcesIn, new Sizes(graph, opset), numbersOf);
  const results = new Map<Each, Partners>();
  for (const [owner, weight] of weights.entries()) {
    const { layers } = weight;
    const { partners, leaks, notes } = owned[owner]!;
    const from = new Set(layers.flatMap(({ node }) => filtered.get(node) ?? []));
    results.set(weight, {
      partners,
      notes: [...new Set([...layers.flatMap(besideGates), ...notes])],
      ...(leaks.length > 0 ? { leaks } : {}),
      ...(from.size > 0 ? { channelsFrom: [...from] } : {}),
    });
  }
  return results;
}

/** Where the numbers of a constant are, or those of some of its entries. */
function numbersOf(constant: Constant, entries?: Entries): StoredValues | string {
  const values = valuesOf(constant);
  if (typeof values === 'string' || entries === undefined || entries.count === values.length) return values;
  const { dtype, file, start, coding } = values;
  if (coding !== undefined) return 'its numbers are not stored as an array';
  return new StoredValues(dtype, entries.count, file, start + entries.start * bytesOf[dtype]);
}

/** The output channels of a layer, which begin with its own bias and activation. */
function sourcesOf({ node, layout: { channels } }: Layer, owner: number, claims: Claims): Source[] {
  if (channels === undefined) return [];
  const { count, axis } = channels;
  const at = (axis: number): Location => ({ place: { axis, size: count, offset: 0, first: 0, count } });
  const here = axis === undefined ? unknown(rankUnknown) : at(axis);
  const track = { owner, at: here, leaks: [] };
  const input = operators.get(node.op)?.bias;
  if (input === undefined) return [{ track, isAlone: true }];
  // That of a product aligns with the output. Others are lists, whatever axis the channels are on.
  const aligned = node.op.endsWith('Gemm') ? here : at(1);
  const bias = claims.take({ ...track, at: aligned }, { part: 'bias', node, input, isNeeded: true });
  const isNonzero = /^(Hard)?Sigmoid$/.test(node.attributes.get('activation')?.text ?? '');
  const activation = { name: title(node), reason: 'the output of its activation for 0 is not 0' };
  const leaks = [...(bias === undefined ? [] : [bias]), ...(isNonzero ? [activation] : [])];
  // A FusedConv may add another value to its output, and that of Attention has other channels.
  const isAlone = node.op !== 'com.microsoft.Attention' && node.inputs[3] === undefined;
  return [{ track: { ...track, leaks }, isAlone }];
}

/** Notes about the inputs of a recurrent layer other than its two weights, which are left alone. */
function besideGates({ node, layout: { kind } }: Layer): string[] {
  if (!isRecurrent(kind)) return [];
  const parts = { bias: node.inputs[3], peephole: node.inputs[7] };
  return Object.entries(parts).flatMap(([part, value]) =>
    value === undefined ? [] : [leftToGates(`${part} ${brief(value.name)}`)],
  );
}
