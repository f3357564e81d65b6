import type { Partner } from '../../tensor.js';
import { shapeOf, type Node, type Reader, type Value } from './graph.js';
import type { Channels, Layer } from './layers.js';

/** An input of a node that may hold one number per output channel of a layer. */
interface Candidate extends Reader {
  readonly part: Partner['part'];
  readonly value: Value;
  readonly fits: boolean;
}

/**
 * What goes with an output channel of a weight: biases of the layers that read it, and their batch normalisations.
 * @param layers all nodes that read the weight
 * @returns the partners, and a sentence about each that is left alone
 */
export function findPartners(layers: readonly Layer[]): { partners: Partner[]; notes: string[] } {
  const candidates = layers.flatMap(({ node, layout: { channels } }) =>
    channels === undefined ? [] : [...ownBias(node, channels), ...afterwards(node, channels)],
  );
  const partners: Partner[] = [];
  const notes = new Set(layers.flatMap(besideGates));
  for (const candidate of candidates) {
    const { part, value } = candidate;
    const values = value.view?.constant.tensor.values;
    const obstacle = obstacleOf(candidate, candidates);
    if (values === undefined || obstacle !== undefined) notes.add(`${part} ${value.name} is left alone: ${obstacle}`);
    else if (!partners.some((partner) => partner.values === values)) partners.push({ part, values });
  }
  return { partners, notes: [...notes] };
}

function obstacleOf({ value, fits }: Candidate, candidates: readonly Candidate[]): string | undefined {
  if (value.view === undefined) {
    return value.isConstant ? 'it is not stored as a tensor' : 'it is computed while the model runs';
  }
  const { constant } = value.view;
  if (constant.tensor.values === undefined) return `its numbers are ${constant.tensor.type}`;
  if (!fits) return 'it does not have one entry per output channel';
  const isOwn = (use: Reader) => candidates.some(({ node, input }) => node === use.node && input === use.input);
  const other = constant.uses.find((use) => !isOwn(use));
  if (other !== undefined) return `${title(other.node)} uses it too`;
  if (constant.isOutput) return 'it is an output of the graph';
  if (constant.overlaps !== undefined) return `its bytes are also those of ${constant.overlaps.name}`;
  return undefined;
}

function title({ op, name }: Node): string {
  return name === '' ? op : `${op} ${name}`;
}

/** Sentences about what a recurrent layer has beside its two weights, which stays as it is. */
function besideGates({ node, layout: { kind } }: Layer): string[] {
  if (kind !== 'lstm' && kind !== 'gru') return [];
  const parts = { bias: node.inputs[3], peephole: node.inputs[7] };
  return Object.entries(parts).flatMap(([part, value]) =>
    value === undefined
      ? []
      : [`${part} ${value.name} is left alone: a row of these weights is not all that its gate adds up`],
  );
}

/** The third input of a convolution or Gemm. */
function ownBias(node: Node, channels: Channels): Candidate[] {
  const value = node.op === 'MatMul' ? undefined : node.inputs[2];
  if (value === undefined) return [];
  const fits = node.op === 'Gemm' ? isPerChannel(value, channels) : isList(value, channels);
  return [{ part: 'bias', node, input: 2, value, fits }];
}

/** The Add and the batch normalisations that the output of a layer goes to, by itself or through Identity and Cast. */
function afterwards(layer: Node, channels: Channels): Candidate[] {
  const candidates: Candidate[] = [];
  const followed = new Set(layer.outputs.slice(0, 1));
  let hasAdd = false;
  for (const value of followed) {
    for (const { node, input } of value.readers) {
      const [output] = node.outputs;
      if (node.op === 'Identity' || node.op === 'Cast') {
        if (output !== undefined) followed.add(output);
      } else if (node.op === 'BatchNormalization' && input === 0 && isNormalised(channels)) {
        candidates.push(...scaleAndShift(node, channels));
      } else if (node.op === 'Add' && !hasAdd && value.readers.length === 1 && !value.isOutput) {
        const addend = node.inputs[1 - input];
        if (addend?.view === undefined || !isPerChannel(addend, channels)) continue;
        hasAdd = true;
        candidates.push({ part: 'bias', node, input: 1 - input, value: addend, fits: true });
        if (output !== undefined) followed.add(output);
      }
    }
  }
  return candidates;
}

function scaleAndShift(node: Node, channels: Channels): Candidate[] {
  const [, gamma, beta] = node.inputs;
  const candidates: Candidate[] = [];
  if (gamma !== undefined)
    candidates.push({ part: 'gamma', node, input: 1, value: gamma, fits: isList(gamma, channels) });
  if (beta !== undefined) candidates.push({ part: 'beta', node, input: 2, value: beta, fits: isList(beta, channels) });
  return candidates;
}

/** Batch normalisation works on the second axis from the front. */
function isNormalised({ axis, rank }: Channels): boolean {
  return rank === undefined || rank - axis === 1;
}

/** Whether a constant is a list with an entry for each channel. */
function isList({ view }: Value, { count }: Channels): boolean {
  const shape = view === undefined ? [] : shapeOf(view);
  return shape.length === 1 && shape[0] === count;
}

/** Whether a constant, its shape aligned from the right, has an entry for each channel and is broadcast otherwise. */
function isPerChannel({ view }: Value, { count, axis }: Channels): boolean {
  const shape = view === undefined ? [] : shapeOf(view);
  const channelIndex = shape.length - axis;
  return (shape[channelIndex] ?? 1) === count && shape.every((size, index) => index === channelIndex || size === 1);
}
