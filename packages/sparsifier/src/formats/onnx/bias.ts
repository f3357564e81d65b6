import type { Bias } from '../../model/model.js';
import type { Node, Reader, Value } from './graph.js';
import type { Layer } from './layers.js';
import { operators } from './operators.js';
import { valuesOf } from './quantised.js';
import { fits, obstacleTo } from './structure/masks/claims.js';
import { rankUnknown } from './structure/masks/tracks.js';

/** Where the output channels of a layer are before anything else is done with them. */
interface LayerOutput {
  readonly value: Value;
  /** The axis of the channels, counted from the end: the last axis is 1. */
  readonly axis: number;
  readonly count: number;
}

export const withoutChannels = 'the output channels of this weight are not those of the output';

/** The output of a layer, to which a number per channel can be added; or why it cannot. */
export function outputOf({ node, layout: { channels } }: Layer): LayerOutput | string {
  const { op, outputs, attributes } = node;
  const [value] = outputs;
  if (channels === undefined || value === undefined || op === 'com.microsoft.Attention') {
    return withoutChannels;
  }
  if (channels.axis === undefined) return rankUnknown;
  if (attributes.get('activation')?.text) return 'its node applies an activation to the output';
  if (factorOf(node, 'alpha') !== 1) return 'its node multiplies the output by a factor';
  return { value, axis: channels.axis, count: channels.count };
}

/** An input of a node that has one number per output channel. */
interface Candidate extends Reader {
  readonly sign: Bias['sign'];
}

/** Where the bias of a layer may be, the best place first. */
const places: readonly ((layer: Layer) => Candidate | undefined)[] = [ownBias, sumBehind, meanBehind];

/**
 * Finds the numbers that are added to the output channels of a weight and to nothing else.
 * @param layers all nodes that read the weight; they must have the same numbers
 */
export function biasOf(layers: readonly Layer[]): Bias | undefined {
  for (const place of places) {
    const found = layers.map(place).filter((candidate) => candidate !== undefined);
    const bias = found.length === layers.length ? numbersAt(found) : undefined;
    if (bias !== undefined) return bias;
  }
  return undefined;
}

/** The numbers that all of these inputs read, unless others read them too, or they are stored as codes. */
function numbersAt(found: readonly Candidate[]): Bias | undefined {
  const [{ node, input, sign }] = found as [Candidate];
  const view = node.inputs[input]?.view;
  if (view === undefined || view.quantisation !== undefined) return undefined;
  const { constant } = view;
  // No node is there twice: it reads a weight as one layer.
  const own = new Map(found.map((each) => [each.node, each.input]));
  const isOwn = (use: Reader) => own.get(use.node) === use.input;
  const values = valuesOf(constant);
  const isSame = found.every((each) => each.sign === sign && each.node.inputs[each.input]?.view?.constant === constant);
  if (typeof values === 'string' || !isSame || obstacleTo(constant, isOwn) !== undefined) return undefined;
  // All readers are only looked at once no other layer has the constant, since many layers may read it.
  const isRounded = constant.readers.some((reader) => reader.node.op.endsWith('QuantizeLinear'));
  return isRounded ? undefined : { values, sign };
}

/** The numbers of an input, if it is a constant with one for each channel, which are on this axis, counted from the end. */
function perChannel(reader: Reader, sign: Bias['sign'], axis: number, count: number): Candidate | undefined {
  const view = reader.node.inputs[reader.input]?.view;
  const isFitting = view !== undefined && fits(view, { axis, size: count, offset: 0, first: 0, count });
  return isFitting ? { ...reader, sign } : undefined;
}

function ownBias({ node, layout: { channels } }: Layer): Candidate | undefined {
  const input = operators.get(node.op)?.bias;
  if (channels === undefined || input === undefined) return undefined;
  if (factorOf(node, 'alpha') !== 1 || factorOf(node, 'beta') !== 1) return undefined;
  // That of a product aligns with the output. Others are lists, whatever axis the channels are on.
  const axis = node.op.endsWith('Gemm') ? channels.axis : 1;
  return axis === undefined ? undefined : perChannel({ node, input }, 1, axis, channels.count);
}

/** The other operand of an `Add` that alone reads the output. */
function sumBehind(layer: Layer): Candidate | undefined {
  const output = outputOf(layer);
  const reader = typeof output === 'string' ? undefined : onlyReader(output.value);
  if (typeof output === 'string' || reader?.node.op !== 'Add') return undefined;
  return perChannel({ node: reader.node, input: 1 - reader.input }, 1, output.axis, output.count);
}

/** The mean of a normalisation that alone reads the output, and normalises along its channels. */
function meanBehind(layer: Layer): Candidate | undefined {
  const output = outputOf(layer);
  const reader = typeof output === 'string' ? undefined : onlyReader(output.value);
  if (typeof output === 'string' || reader?.node.op !== 'BatchNormalization' || reader.input !== 0) return undefined;
  const { value, axis, count } = output;
  // In training it also gives its statistics.
  const isTraining = reader.node.outputs.length > 1;
  const isAlong = value.rank !== undefined && value.rank - axis === 1;
  return isTraining || !isAlong ? undefined : perChannel({ node: reader.node, input: 3 }, -1, 1, count);
}

function onlyReader({ readers, isOutput }: Value): Reader | undefined {
  return readers.length === 1 && !isOutput ? readers[0] : undefined;
}

/** What an operator multiplies the product or the bias with. */
export const factorOf = ({ attributes }: Node, name: 'alpha' | 'beta'): number => attributes.get(name)?.float ?? 1;
