import type { Value } from '../../../onnx/graph.js';
import type { WeightEntry } from '../../description.js';
import type { LayerRule, LayerSite } from '../layer.js';
import { type Attributes } from '../making.js';
import { Untranslated } from '../translation.js';
import { activated } from './activations.js';

const keys = [
  ...['kernel_size', 'strides', 'padding', 'data_format', 'dilation_rate', 'groups', 'activation', 'use_bias', 'rank'],
];

/** The attributes of a window that moves over the input. */
export function windowOf(
  site: LayerSite,
  sizes: readonly number[],
  strides: unknown = 1,
): Record<string, number[] | string> {
  const axes = sizes.length;
  const dilations = site.perAxis('dilation_rate', axes);
  const own = { strides: site.perAxis('strides', axes, strides), dilations };
  const padding = site.text('padding', 'valid');
  if (padding === 'same') return { ...own, auto_pad: 'SAME_UPPER' };
  if (padding === 'valid') return { ...own, auto_pad: 'VALID' };
  if (padding !== 'causal' || axes !== 1) throw new Untranslated('its option padding');
  return { ...own, pads: [(sizes[0]! - 1) * dilations[0]!, 0] };
}

/** A convolution of a value with channels first, to whose bias numbers can be added. */
function convolved(
  site: LayerSite,
  op: 'Conv' | 'ConvTranspose',
  inputs: readonly [x: Value, weight: Value, bias: Value | undefined],
  attributes: Attributes,
): Value {
  const value = site.node(op, inputs, attributes);
  if (inputs[2] !== undefined) site.foldsInto(value, site.translation.makerOf(value)!, 2);
  return value;
}

/** A kernel [...space, one, other] as [other, one, ...space]. */
function transposed(site: LayerSite, kernel: Value): Value {
  const rank = site.translation.rankOf(kernel)!;
  const space = Array.from({ length: rank - 2 }, (_, axis) => axis);
  return site.node('Transpose', [kernel], { perm: [rank - 1, rank - 2, ...space] });
}

function kernelOf(site: LayerSite, axes: number, ...names: readonly string[]): WeightEntry {
  const entry = site.entry(...names);
  if (entry.shape.length !== axes + 2) throw new Untranslated(`its weight has ${entry.shape.length} axes`);
  site.needsRank(axes + 2);
  return entry;
}

const convolution = (axes: number): LayerRule => ({
  keys: [...keys, 'filters'],
  translate: (site) => {
    if (site.number('groups', 1) !== 1) throw new Untranslated('its groups');
    const entry = kernelOf(site, axes, 'kernel');
    site.sized('filters', entry, axes + 1);
    const weight = transposed(site, site.translation.weight(entry));
    const x = site.channelsFirst(site.input, axes + 2);
    const value = convolved(site, 'Conv', [x, weight, site.bias()], windowOf(site, entry.shape.slice(0, axes)));
    return activated(site, site.channelsLast(value, axes + 2));
  },
});

/** A depthwise convolution of a value with channels first. */
function depthwiseOf(site: LayerSite, x: Value, entry: WeightEntry, bias: Value | undefined, axes: number): Value {
  const sizes = entry.shape.slice(0, axes);
  const [channels, multiplier] = entry.shape.slice(axes) as [number, number];
  // All channels have as many filters.
  const kernel = site.node('Identity', [site.translation.weight(entry)], { stays: [axes + 1] });
  const flat = site.translation.derived([...sizes, 1, channels * multiplier]);
  const weight = transposed(site, site.node('Reshape', [kernel, flat], {}, axes + 2));
  return convolved(site, 'Conv', [x, weight, bias], { ...windowOf(site, sizes), group: channels });
}

const depthwise = (axes: number): LayerRule => ({
  keys: [...keys, 'depth_multiplier'],
  translate: (site) => {
    // TensorFlow.js ignores them.
    if (site.perAxis('dilation_rate', axes).some((dilation) => dilation !== 1))
      throw new Untranslated('its option dilation_rate');
    const entry = kernelOf(site, axes, 'depthwise_kernel', 'kernel');
    const value = depthwiseOf(site, site.channelsFirst(site.input, axes + 2), entry, site.bias(), axes);
    return activated(site, site.channelsLast(value, axes + 2));
  },
});

const separable = (axes: number): LayerRule => ({
  keys: [...keys, 'filters', 'depth_multiplier'],
  translate: (site) => {
    const entry = kernelOf(site, axes, 'depthwise_kernel');
    const pointwise = kernelOf(site, axes, 'pointwise_kernel');
    site.sized('filters', pointwise, axes + 1);
    const filtered = depthwiseOf(site, site.channelsFirst(site.input, axes + 2), entry, undefined, axes);
    const weight = transposed(site, site.translation.weight(pointwise));
    const value = convolved(site, 'Conv', [filtered, weight, site.bias()], {});
    return activated(site, site.channelsLast(value, axes + 2));
  },
});

const transposedConvolution = (axes: number): LayerRule => ({
  keys: [...keys, 'filters', 'output_padding'],
  translate: (site) => {
    if (site.perAxis('dilation_rate', axes).some((dilation) => dilation !== 1))
      throw new Untranslated('its option dilation_rate');
    const entry = kernelOf(site, axes, 'kernel');
    site.sized('filters', entry, axes);
    const sizes = entry.shape.slice(0, axes);
    const strides = site.perAxis('strides', axes);
    const padding = site.text('padding', 'valid');
    if (padding !== 'same' && padding !== 'valid') throw new Untranslated('its option padding');
    // The output is `strides` times as long as the input; without padding, what the kernel has more is added.
    const more = sizes.map((size, axis) => size - strides[axis]!);
    const before = more.map((size) => (padding === 'same' ? Math.floor(Math.max(0, size) / 2) : 0));
    const after = more.map((size, axis) => (padding === 'same' ? Math.max(0, size) - before[axis]! : 0));
    const weight = transposed(site, site.translation.weight(entry));
    const x = site.channelsFirst(site.input, axes + 2);
    const value = convolved(site, 'ConvTranspose', [x, weight, site.bias()], {
      strides,
      pads: [...before, ...after],
      output_padding: more.map((size) => Math.max(0, -size)),
    });
    return activated(site, site.channelsLast(value, axes + 2));
  },
});

export const convolutionLayers: Readonly<Record<string, LayerRule>> = {
  Conv1D: convolution(1),
  Conv2D: convolution(2),
  Conv3D: convolution(3),
  Conv1DTranspose: transposedConvolution(1),
  Conv2DTranspose: transposedConvolution(2),
  Conv3DTranspose: transposedConvolution(3),
  DepthwiseConv1D: depthwise(1),
  DepthwiseConv2D: depthwise(2),
  SeparableConv1D: separable(1),
  SeparableConv2D: separable(2),
};
