import type { Value } from '../../../onnx/graph.js';
import type { NodeRule, NodeSite } from '../node.js';
import { Float } from '../making.js';
import { Untranslated } from '../translation.js';
import { shapeIn } from '../biases.js';
import { fused } from './elementwise.js';

/** The size of an axis of a weight. */
const sizeOf = (weight: Value, axis: number): number | undefined => shapeIn(weight)?.at(axis);

/** The numbers of a list for the axes of space. */
function inSpace(site: NodeSite, attribute: string): number[] {
  const list = site.integers(attribute);
  if (list.length === 0) return [1, 1];
  const [first, ...own] = site.isChannelsFirst ? [list[1], list[2]!, list[3]!] : [list[3], list[1]!, list[2]!];
  if (list.length !== 4 || list[0] !== 1 || first !== 1) throw new Untranslated(`its attribute ${attribute}`);
  return own;
}

/** The attributes of a window that moves over the input. */
function windowOf(site: NodeSite, hasDilations = true): Record<string, number[] | string> {
  const strides = inSpace(site, 'strides');
  const own: Record<string, number[]> = hasDilations ? { strides, dilations: inSpace(site, 'dilations') } : { strides };
  const padding = site.text('padding');
  if (padding === 'SAME') return { ...own, auto_pad: 'SAME_UPPER' };
  if (padding === 'VALID') return { ...own, auto_pad: 'VALID' };
  const list = site.integers('explicit_paddings');
  if (padding !== 'EXPLICIT' || list.length !== 8) throw new Untranslated('its padding');
  const first = site.isChannelsFirst ? 4 : 2;
  return { ...own, pads: [list[first]!, list[first + 2]!, list[first + 1]!, list[first + 3]!] };
}

const windowAttributes = ['strides', 'padding', 'explicit_paddings', 'data_format', 'dilations'];

/** The attributes of what is fused into a node. */
const fusedAttributes = ['fused_ops', 'leakyrelu_alpha'];

/** What is fused into a node: whether it has a bias, and what follows. */
export function fusedIn(site: NodeSite): { readonly bias: Value | undefined; readonly rest: readonly string[] } {
  const ops = site.texts('fused_ops');
  const hasBias = ops[0] === 'BiasAdd';
  return { bias: hasBias ? site.input(2) : undefined, rest: hasBias ? ops.slice(1) : ops };
}

/** A convolution, to whose bias numbers can be added, and what is fused into it. */
function convolved(
  site: NodeSite,
  weight: Value,
  attributes: Readonly<Record<string, number[] | string | number>>,
): Value {
  const { bias, rest } = fusedIn(site);
  const value = site.node('Conv', [site.channelsFirst(site.input(0)), weight, bias], attributes);
  if (bias?.view !== undefined && bias.producer === undefined)
    site.foldsInto(value, site.translation.makerOf(value)!, 2);
  return fused(site, site.channelsLast(value), rest);
}

const conv2D: NodeRule = {
  attributes: [...windowAttributes, ...fusedAttributes],
  translate: (site) => {
    site.needsRank(4);
    site.assumeSize(0, site.isChannelsFirst ? 1 : 3, sizeOf(site.input(1), 2));
    return convolved(site, site.node('Transpose', [site.input(1)], { perm: [3, 2, 0, 1] }), windowOf(site));
  },
};

const depthwise: NodeRule = {
  attributes: [...windowAttributes, ...fusedAttributes],
  translate: (site) => {
    site.needsRank(4);
    const filter = site.input(1);
    const shape = filter.view?.constant.tensor.shape;
    if (filter.producer !== undefined || shape?.length !== 4) throw new Untranslated('its filter is not a weight');
    const [height, width, channels, multiplier] = shape as [number, number, number, number];
    site.assumeSize(0, site.isChannelsFirst ? 1 : 3, channels);
    // All channels have as many filters.
    const kernel = site.node('Identity', [filter], { stays: [3] });
    const flat = site.translation.derived([height, width, 1, channels * multiplier]);
    const weight = site.node('Transpose', [site.node('Reshape', [kernel, flat], {}, 4)], { perm: [3, 2, 0, 1] });
    return convolved(site, weight, { ...windowOf(site), group: channels });
  },
};

/** A transposed convolution, which is given the shape of its output. */
const transposed: NodeRule = {
  attributes: windowAttributes,
  translate: (site) => {
    const [sizes, filter, x] = [site.input(0), site.input(1), site.input(2)];
    if (site.translation.rankOf(x) !== 4) throw new Untranslated('the number of axes of its input is unknown');
    const { strides, dilations } = windowOf(site) as { strides: number[]; dilations: number[] };
    if (dilations.some((dilation) => dilation !== 1)) throw new Untranslated('its attribute dilations');
    const weight = site.node('Transpose', [filter], { perm: [3, 2, 0, 1] });
    const value = site.node('ConvTranspose', [site.channelsFirst(x), weight], { strides });
    return site.node('Sized', [site.channelsLast(value), sizes]);
  },
};

/** A product of matrices of which each may be transposed. */
const product = (left: string, right: string): NodeRule => ({
  attributes: [left, right, ...fusedAttributes],
  translate: (site) => {
    const factor = (place: number, isSwapped: boolean): Value => {
      const value = site.input(place);
      if (left === 'transpose_a') site.translation.assumeRank(value, 2);
      if (place === 0) site.assumeSize(0, isSwapped ? -2 : -1, sizeOf(site.input(1), site.isTrue(right) ? -1 : -2));
      if (!isSwapped) return value;
      const rank = site.rank(place);
      const order = Array.from({ length: rank }, (_, axis) => (axis < rank - 2 ? axis : 2 * rank - 3 - axis));
      return site.node('Transpose', [value], { perm: order });
    };
    const factors = [factor(0, site.isTrue(left)), factor(1, site.isTrue(right))];
    const ranks = factors.map((value) => site.translation.rankOf(value));
    const rank = ranks.includes(undefined) ? undefined : Math.max(...(ranks as number[]));
    const value = site.node('MatMul', factors, {}, rank);
    const { bias, rest } = fusedIn(site);
    if (bias === undefined) return fused(site, value, rest);
    const sum = site.node('Add', [value, bias]);
    if (bias.view !== undefined && bias.producer === undefined)
      site.foldsInto(value, site.translation.makerOf(sum)!, 1);
    return fused(site, sum, rest);
  },
});

const batchNorm: NodeRule = {
  attributes: ['data_format', 'epsilon', 'exponential_avg_factor'],
  translate: (site) => {
    site.needsRank(4);
    const parts = [1, 2, 3, 4].map((place) => site.input(place));
    if (site.translation.isForMasks && !parts.every(({ isConstant }) => isConstant))
      throw new Untranslated('its statistics are computed');
    const value = site.node('BatchNormalization', [site.channelsFirst(site.input(0)), ...parts], {
      epsilon: new Float(site.float('epsilon', 1e-4)),
    });
    return site.channelsLast(value);
  },
};

const pool = (op: 'MaxPool' | 'AveragePool'): NodeRule => ({
  attributes: [...windowAttributes, 'ksize'],
  translate: (site) => {
    site.needsRank(4);
    const attributes = { ...windowOf(site, false), kernel_shape: inSpace(site, 'ksize') };
    return site.channelsLast(site.node(op, [site.channelsFirst(site.input(0))], attributes));
  },
});

export const convolutionNodes: Readonly<Record<string, NodeRule>> = {
  Conv2D: conv2D,
  _FusedConv2D: conv2D,
  DepthwiseConv2dNative: depthwise,
  FusedDepthwiseConv2dNative: depthwise,
  Conv2DBackpropInput: transposed,
  MatMul: product('transpose_a', 'transpose_b'),
  _FusedMatMul: product('transpose_a', 'transpose_b'),
  BatchMatMul: product('adj_x', 'adj_y'),
  BatchMatMulV2: product('adj_x', 'adj_y'),
  FusedBatchNorm: batchNorm,
  FusedBatchNormV2: batchNorm,
  FusedBatchNormV3: batchNorm,
  MaxPool: pool('MaxPool'),
  AvgPool: pool('AveragePool'),
};
