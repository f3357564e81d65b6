import type { Partner } from '../../model/model.js';
import { shapeOf, type Node, type Reader, type Value } from './graph.js';
import type { Channels, Layer } from './layers.js';
import { valuesOf } from './quantised.js';

/** An input of a node that may have one number per output channel of a layer. */
interface Candidate extends Reader {
  readonly part: Partner['part'];
  readonly value: Value;
  readonly fits: boolean;
  /**
   * Whether the graph proves that its entries correspond to the channels; false if it does not say enough about axes.
   */
  readonly isProven: boolean;
}

/**
 * Finds what is removed with an output channel of a weight: biases and batch normalisations of the layers that read it.
 * @param layers all nodes that read the weight
 * @returns the partners, and a note about each candidate that is left alone
 */
export function findPartners(layers: readonly Layer[]): { partners: Partner[]; notes: string[] } {
  const candidates = layers.flatMap(({ node, layout: { channels } }) =>
    channels === undefined ? [] : [...ownBias(node, channels), ...afterwards(node, channels)],
  );
  const partners: Partner[] = [];
  const notes = new Set(layers.flatMap(besideGates));
  for (const candidate of candidates) {
    const { part, value } = candidate;
    const values = value.view && valuesOf(value.view.constant);
    const obstacle = obstacleOf(candidate, candidates);
    if (typeof values !== 'object' || obstacle !== undefined)
      notes.add(`${part} ${value.name} is left alone: ${obstacle}`);
    else if (!partners.some((partner) => partner.values === values)) partners.push({ part, values });
  }
  return { partners, notes: [...notes] };
}

function obstacleOf({ value, fits, isProven }: Candidate, candidates: readonly Candidate[]): string | undefined {
  if (value.view === undefined) {
    return value.isConstant ? 'it is not stored as a tensor' : 'it is computed while the model runs';
  }
  const { constant } = value.view;
  const values = valuesOf(constant);
  if (typeof values === 'string') return values;
  if (!fits) return 'it does not have one entry per output channel';
  if (!isProven) return 'the file does not say how many axes the output has, so the channel axis is unknown';
  const isOwn = (use: Reader) => candidates.some(({ node, input }) => node === use.node && input === use.input);
  const other = constant.uses.find((use) => !isOwn(use));
  if (other !== undefined) return `${title(other.node)} also uses it`;
  if (constant.isOutput) return 'it is an output of the graph';
  if (constant.overlaps !== undefined) return `it shares bytes with ${constant.overlaps.name}`;
  return undefined;
}

function title({ op, name }: Node): string {
  return name === '' ? op : `${op} ${name}`;
}

/** Notes about the inputs of a recurrent layer other than its two weights, which are left alone. */
function besideGates({ node, layout: { kind } }: Layer): string[] {
  if (kind !== 'lstm' && kind !== 'gru' && kind !== 'rnn') return [];
  const parts = { bias: node.inputs[3], peephole: node.inputs[7] };
  return Object.entries(parts).flatMap(([part, value]) =>
    value === undefined
      ? []
      : [`${part} ${value.name} is left alone: a row of this weight is only one of the terms that its gate adds up`],
  );
}

/** The third input of a convolution or Gemm. */
function ownBias(node: Node, channels: Channels): Candidate[] {
  const value = node.op === 'MatMul' ? undefined : node.inputs[2];
  if (value === undefined) return [];
  const fits = node.op === 'Gemm' ? isPerChannel(value, channels) : isList(value, channels);
  return [{ part: 'bias', node, input: 2, value, fits, isProven: true }];
}

/** The Add and the batch normalisations that read the output of a layer, directly or through Identity and Cast. */
function afterwards(layer: Node, channels: Channels): Candidate[] {
  const { axis } = channels;
  const candidates: Candidate[] = [];
  const followed = new Set(layer.outputs.slice(0, 1));
  let hasAdd = false;
  for (const value of followed) {
    for (const { node, input } of value.readers) {
      const [output] = node.outputs;
      if (node.op === 'Identity' || node.op === 'Cast') {
        if (output !== undefined) followed.add(output);
      } else if (node.op === 'BatchNormalization' && input === 0) {
        candidates.push(...scaleAndShift(node, value.rank, channels));
      } else if (node.op === 'Add' && !hasAdd && value.readers.length === 1 && !value.isOutput) {
        const addend = node.inputs[1 - input];
        if (addend?.view === undefined || !isPerChannel(addend, channels)) continue;
        hasAdd = true;
        candidates.push({
          part: 'bias',
          node,
          input: 1 - input,
          value: addend,
          fits: true,
          isProven: axis !== undefined,
        });
        if (output !== undefined) followed.add(output);
      }
    }
  }
  return candidates;
}

/** Batch normalisation works on the second axis from the front. */
function scaleAndShift(node: Node, rank: number | undefined, channels: Channels): Candidate[] {
  const isProven = rank !== undefined && channels.axis !== undefined;
  if (isProven && rank - channels.axis !== 1) return [];
  return (['gamma', 'beta'] as const).flatMap((part, index) => {
    const input = index + 1;
    const value = node.inputs[input];
    return value === undefined ? [] : [{ part, node, input, value, fits: isList(value, channels), isProven }];
  });
}

/** Whether a constant is a vector with one entry per channel. */
function isList({ view }: Value, { count }: Channels): boolean {
  const shape = view === undefined ? [] : shapeOf(view);
  return shape.length === 1 && shape[0] === count;
}

/**
 * Whether a constant, its shape aligned from the right, has one entry per channel and is broadcast along all other
 * axes. If the channel axis is unknown, it is one of the last two.
 */
function isPerChannel({ view }: Value, { count, axis }: Channels): boolean {
  const shape = view === undefined ? [] : shapeOf(view);
  return (axis === undefined ? [1, 2] : [axis]).some((axis) => {
    const channelIndex = shape.length - axis;
    return (shape[channelIndex] ?? 1) === count && shape.every((size, index) => index === channelIndex || size === 1);
  });
}
