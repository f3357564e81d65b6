import { type Operator, type Site, Unknown } from '../site.js';
import { along, asKnown } from './known.js';
import { zerosOfPool } from './pools.js';

/** The pads of each axis at its beginning and end. */
function padsOf(site: Site): readonly (readonly [number, number])[] {
  const rank = site.input(0).shape.length;
  const given = site.listAt('pads', 1);
  if (given === undefined) throw new Unknown('its pads are unknown');
  const axes = site.list(3)?.map((axis) => site.axis(axis, rank)) ?? Array.from({ length: rank }, (_, axis) => axis);
  const pads = Array.from({ length: rank }, (): [number, number] => [0, 0]);
  for (const [place, axis] of axes.entries()) pads[axis] = [given[place]!, given[place + axes.length]!];
  return pads;
}

const pad: Operator = {
  attributes: ['mode', 'pads', 'value'],
  inputs: 4,
  shape: (site) => {
    const pads = padsOf(site);
    return [site.input(0).shape.map((size, axis) => size + pads[axis]![0] + pads[axis]![1])];
  },
  couple: (site, [shape]) => {
    const x = site.input(0);
    const pads = padsOf(site);
    const padded = [...pads.keys()].filter((axis) => pads[axis]!.some((count) => count !== 0));
    site.block(x, padded);
    const isConstant = site.text('mode', 'constant') === 'constant';
    return [
      x.axes.map((axis, place) => {
        if (!padded.includes(place)) return axis;
        const [before] = pads[place]!;
        const after = site.coupling.fixed(shape![place]!, site.title);
        // They stay, and are in the middle.
        if (isConstant && pads[place]!.every((count) => count >= 0)) after.set(axis, before);
        return after;
      }),
    ];
  },
  constant: (site) => {
    const { known } = site.input(0);
    if (known === undefined) return undefined;
    const pads = padsOf(site);
    const [before, after] = pads[known.axis]!;
    if (before < 0 || after < 0) return undefined;
    const isAlong = before > 0 || after > 0;
    const isBeside = pads.some((pair, axis) => axis !== known.axis && pair.some((count) => count !== 0));
    if (site.text('mode', 'constant') !== 'constant') {
      if (!isAlong) return known;
      // The border has numbers of other channels, which are 0, too.
      const isZero = known.numbers.every((number) => number === 0);
      return isZero
        ? { axis: known.axis, numbers: new Float64Array(before + known.numbers.length + after) }
        : undefined;
    }
    if (!isAlong && !isBeside) return known;
    const written = site.node.inputs[2] === undefined ? site.float('value', 0) : site.list(2)![0]!;
    const numbers = new Float64Array(before + known.numbers.length + after).fill(written);
    for (const [index, number] of known.numbers.entries())
      numbers[before + index] = !isBeside || number === written ? number : NaN;
    return asKnown(known.axis, numbers);
  },
};

const scalesOf = (site: Site): readonly number[] | undefined => {
  if (site.node.op === 'Upsample' || site.opset < 11) return site.node.attributes.get('scales')?.floats ?? site.list(1);
  return site.list(2);
};

const resizedShape = (site: Site): number[] => {
  const { shape } = site.input(0);
  const isUpsample = site.node.op === 'Upsample';
  const scales = scalesOf(site);
  const sizes = isUpsample || site.opset < 11 ? undefined : site.list(3);
  const axes = site.integers('axes') ?? [...shape.keys()];
  const after = [...shape];
  for (const [place, given] of axes.entries()) {
    const axis = site.axis(given, shape.length);
    if (sizes !== undefined && sizes.length > 0) after[axis] = sizes[place]!;
    else if (scales !== undefined && scales.length > 0)
      after[axis] = Math.floor(Math.fround(shape[axis]! * scales[place]!));
    else throw new Unknown('its sizes are unknown');
  }
  return after;
};

const resize: Operator = {
  channels: 'moved',
  attributes: [
    ...['antialias', 'axes', 'coordinate_transformation_mode', 'cubic_coeff_a', 'exclude_outside', 'mode'],
    // Of a mode that crops.
    'extrapolation_value',
    ...['nearest_mode', 'keep_aspect_ratio_policy', 'scales', 'height_scale', 'width_scale'],
  ],
  inputs: 4,
  shape: (site) => {
    if (site.text('keep_aspect_ratio_policy', 'stretch') !== 'stretch') throw new Unknown('it keeps the aspect ratio');
    if (site.text('coordinate_transformation_mode', 'half_pixel') === 'tf_crop_and_resize')
      throw new Unknown('it crops');
    return [resizedShape(site)];
  },
  couple: (site, [shape]) => {
    const x = site.input(0);
    const scales = scalesOf(site) ?? [];
    const axes = site.integers('axes')?.map((axis) => site.axis(axis, x.shape.length)) ?? [...shape!.keys()];
    // A scale near 1 may leave a size, but not the numbers.
    const isScaled = (axis: number) => (scales[axes.indexOf(axis)] ?? 1) !== 1;
    const changed = [...shape!.keys()].filter((axis) => axis > 1 || shape![axis] !== x.shape[axis] || isScaled(axis));
    site.block(x, changed);
    return [
      x.axes.map((axis, place) => (changed.includes(place) ? site.coupling.fixed(shape![place]!, site.title) : axis)),
    ];
  },
  constant: (site) => {
    const { known } = site.input(0);
    return known && known.axis < 2 ? { ...known, spread: undefined } : undefined;
  },
  rewrite: (site, [output], cut) => {
    if (site.node.op === 'Upsample' || site.opset < 11 || site.node.inputs[3] === undefined) return {};
    const { shape } = site.input(0);
    const axes = site.integers('axes') ?? [...shape.keys()];
    const sizes = axes.map((axis) => cut.sizeOf(output!.axes[site.axis(axis, shape.length)]!));
    return { lists: new Map([[3, sizes]]) };
  },
};

const depthToSpace: Operator = {
  channels: 'moved',
  attributes: ['blocksize', 'mode'],
  inputs: 1,
  shape: (site) => {
    const [n, c, h, w] = site.input(0).shape;
    const block = site.integer('blocksize', 1);
    return [[n!, c! / block ** 2, h! * block, w! * block]];
  },
  couple: (site, [shape]) => {
    const x = site.input(0);
    site.block(x, [2, 3]);
    const channels = shape![1]!;
    const outputs = new Int32Array(channels).fill(-1);
    for (const [index, id] of x.axes[1]!.entries()) {
      const channel = channelOf(site, index, channels);
      if (outputs[channel]! < 0) outputs[channel] = id;
      else site.coupling.join(outputs[channel]!, id);
    }
    return [[x.axes[0]!, outputs, ...site.fixed(shape!.slice(2))]];
  },
  constant: (site, [{ shape }]) => {
    const known = along(site.input(0), 1);
    const numbers = new Float64Array(shape[1]!);
    const seen = new Uint8Array(shape[1]!);
    for (const [index, number] of known?.numbers.entries() ?? []) {
      const channel = channelOf(site, index, shape[1]!);
      if (seen[channel] === 0) [numbers[channel], seen[channel]] = [number, 1];
      else if (numbers[channel] !== number) numbers[channel] = NaN;
    }
    return known && { axis: 1, numbers };
  },
};

/** The output channel that an input channel of DepthToSpace becomes a part of. */
const channelOf = (site: Site, index: number, channels: number): number =>
  site.text('mode', 'DCR') === 'CRD' ? Math.floor(index / site.integer('blocksize', 1) ** 2) : index % channels;

const spaceToDepth: Operator = {
  channels: 'moved',
  attributes: ['blocksize'],
  inputs: 1,
  shape: (site) => {
    const [n, c, h, w] = site.input(0).shape;
    const block = site.integer('blocksize', 1);
    return [[n!, c! * block ** 2, h! / block, w! / block]];
  },
  couple: (site, [shape]) => {
    const x = site.input(0);
    site.block(x, [2, 3]);
    const channels = x.axes[1]!;
    const outputs = Int32Array.from({ length: shape![1]! }, (_, index) => channels[index % channels.length]!);
    return [[x.axes[0]!, outputs, ...site.fixed(shape!.slice(2))]];
  },
  constant: (site, [{ shape }]) => {
    const known = along(site.input(0), 1)?.numbers;
    return (
      known && {
        axis: 1,
        numbers: Float64Array.from({ length: shape[1]! }, (_, index) => known[index % known.length]!),
      }
    );
  },
};

/** What is at places that another value gives. Outside of it is 0, or what is at its border. */
const gridSample: Operator = {
  channels: 'reduced',
  attributes: ['align_corners', 'mode', 'padding_mode'],
  inputs: 2,
  shape: (site) => [[...site.input(0).shape.slice(0, 2), ...site.input(1).shape.slice(1, -1)]],
  couple: (site, [shape]) => {
    const [x, grid] = [site.input(0), site.input(1)];
    site.block(x, [...x.axes.keys()].slice(2));
    site.block(grid, [...grid.axes.keys()].slice(1));
    site.coupling.couple(x.axes[0]!, grid.axes[0]!);
    return [[...x.axes.slice(0, 2), ...site.fixed(shape!.slice(2))]];
  },
  constant: zerosOfPool,
};

export const space: ReadonlyMap<string, Operator> = new Map<string, Operator>([
  ['Pad', pad],
  ['Resize', resize],
  ['Upsample', resize],
  ['GridSample', gridSample],
  ['DepthToSpace', depthToSpace],
  ['SpaceToDepth', spaceToDepth],
]);
