import type { Value } from '../../../onnx/graph.js';
import type { LayerRule, LayerSite } from '../layer.js';
import { Float } from '../making.js';
import { Untranslated } from '../translation.js';
import { windowOf } from './convolutions.js';

const pool = (op: 'MaxPool' | 'AveragePool', axes: number): LayerRule => ({
  keys: ['pool_size', 'strides', 'padding', 'data_format'],
  translate: (site) => {
    site.needsRank(axes + 2);
    const size = site.perAxis('pool_size', axes, 2);
    const { dilations: _, ...window } = windowOf(site, size, size);
    const x = site.channelsFirst(site.input, axes + 2);
    return site.channelsLast(site.node(op, [x], { kernel_shape: size, ...window }), axes + 2);
  },
});

const globalPool = (op: 'ReduceMean' | 'ReduceMax', axes: number): LayerRule => ({
  keys: ['data_format', 'keepdims'],
  translate: (site) => {
    site.needsRank(axes + 2);
    const first = site.isChannelsFirst ? 2 : 1;
    const keeps = site.config.keepdims === true;
    const space = Array.from({ length: axes }, (_, axis) => first + axis);
    return site.node(op, [site.input], { axes: space, keepdims: keeps ? 1 : 0 }, keeps ? axes + 2 : 2);
  },
});

const upSampling = (axes: number): LayerRule => ({
  keys: ['size', 'data_format', 'interpolation'],
  translate: (site) => {
    site.needsRank(axes + 2);
    const mode = site.text('interpolation', 'nearest');
    if (mode !== 'nearest' && mode !== 'bilinear') throw new Untranslated('its option interpolation');
    const x = site.channelsFirst(site.input, axes + 2);
    const scales = new Float([1, 1, ...site.perAxis('size', axes, 2)]);
    return site.channelsLast(site.node('Upsample', [x], { mode, scales }), axes + 2);
  },
});

/** How many numbers a layer adds or takes away at the beginning and the end of each axis of space. */
function pairsOf(site: LayerSite, key: string, axes: number): (readonly [number, number])[] {
  const value = site.config[key] ?? 1;
  const list: readonly unknown[] =
    Array.isArray(value) && (value.length === axes || axes === 1) ? (value as unknown[]) : Array(axes).fill(value);
  const items = axes === 1 && Array.isArray(value) ? [value] : list;
  return items.map((item) => {
    const pair: readonly unknown[] = Array.isArray(item) ? (item as unknown[]) : [item, item];
    if (pair.length !== 2 || !pair.every((each) => Number.isSafeInteger(each) && (each as number) >= 0))
      throw new Untranslated(`its option ${key}`);
    return pair as unknown as readonly [number, number];
  });
}

const zeroPadding = (axes: number): LayerRule => ({
  keys: ['padding', 'data_format'],
  translate: (site) => {
    site.needsRank(axes + 2);
    const pairs = pairsOf(site, 'padding', axes);
    const all = site.isChannelsFirst ? [[0, 0], [0, 0], ...pairs] : [[0, 0], ...pairs, [0, 0]];
    return site.node('Pad', [site.input], { pads: [0, 1].flatMap((end) => all.map((pair) => pair[end]!)) });
  },
});

const cropping = (axes: number): LayerRule => ({
  keys: ['cropping', 'data_format'],
  translate: (site): Value => {
    site.needsRank(axes + 2);
    const pairs = pairsOf(site, 'cropping', axes);
    const first = site.isChannelsFirst ? 2 : 1;
    return site.node('Slice', [site.input], {
      axes: pairs.map((_, axis) => first + axis),
      starts: pairs.map(([before]) => before),
      ends: pairs.map(([, after]) => (after === 0 ? Number.MAX_SAFE_INTEGER : -after)),
    });
  },
});

export const spaceLayers: Readonly<Record<string, LayerRule>> = Object.fromEntries([
  ...[1, 2, 3].flatMap((axes) => [
    [`MaxPooling${axes}D`, pool('MaxPool', axes)],
    [`AveragePooling${axes}D`, pool('AveragePool', axes)],
    [`GlobalMaxPooling${axes}D`, globalPool('ReduceMax', axes)],
    [`GlobalAveragePooling${axes}D`, globalPool('ReduceMean', axes)],
    [`UpSampling${axes}D`, upSampling(axes)],
    [`ZeroPadding${axes}D`, zeroPadding(axes)],
    [`Cropping${axes}D`, cropping(axes)],
  ]),
]) as Record<string, LayerRule>;
