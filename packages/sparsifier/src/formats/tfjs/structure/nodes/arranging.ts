import type { Value } from '../../../onnx/graph.js';
import type { NodeRule, NodeSite } from '../node.js';
import { Untranslated } from '../translation.js';

const whole = Number.MAX_SAFE_INTEGER;

const reduction = (op: string): NodeRule => ({
  attributes: ['keep_dims', 'keepdims'],
  translate: (site) => {
    const rank = site.rank();
    const axes = [...new Set(site.constant(1).map((axis) => site.axis(axis)))];
    const keeps = site.isTrue('keep_dims') || site.isTrue('keepdims');
    // Without axes, it does nothing.
    if (axes.length === 0) return site.node('Identity', [site.input(0)]);
    return site.node(op, [site.input(0)], { axes, keepdims: keeps ? 1 : 0 }, keeps ? rank : rank - axes.length);
  },
});

const reshape: NodeRule = {
  attributes: [],
  translate: (site) => {
    const [value, shape] = [site.input(0), site.input(1)];
    const rank = site.translation.lengthOf(shape);
    if (rank === undefined) throw new Untranslated('the number of axes of its output is unknown');
    // Unlike in ONNX, a size of 0 is one.
    return site.node('Reshape', [value, shape], { allowzero: 1 }, rank);
  },
};

const squeeze: NodeRule = {
  attributes: ['squeeze_dims', 'axis'],
  translate: (site) => {
    const given = [...site.integers('squeeze_dims'), ...site.integers('axis')];
    if (given.length === 0) throw new Untranslated('it does not say which axes go');
    const axes = [...new Set(given.map((axis) => site.axis(axis)))];
    return site.node('Squeeze', [site.input(0)], { axes }, site.rank() - axes.length);
  },
};

const expandDims: NodeRule = {
  attributes: [],
  translate: (site) => {
    const rank = site.rank() + 1;
    const axis = site.axis(site.constant(1)[0], rank);
    return site.node('Unsqueeze', [site.input(0)], { axes: [axis] }, rank);
  },
};

const transpose: NodeRule = {
  attributes: [],
  translate: (site) => {
    site.needsRank(site.constant(1).length);
    const order = site.constant(1).map((axis) => site.axis(axis));
    return site.node('Transpose', [site.input(0)], { perm: order });
  },
};

const pack: NodeRule = {
  attributes: ['axis'],
  translate: (site) => {
    const rank = site.rank() + 1;
    const axis = site.axis(site.integer('axis', 0), rank);
    const parts = site.inputs.map((input) => site.node('Unsqueeze', [input], { axes: [axis] }, rank));
    const value = site.node('Concat', parts, { axis });
    if (rank === 1) site.translation.setLength(value, parts.length);
    return value;
  },
};

/** @param axisAt the input that is the axis, given how many inputs there are */
const concat = (axisAt: (inputs: number) => number): NodeRule => ({
  attributes: [],
  translate: (site) => {
    const place = axisAt(site.inputs.length);
    const parts = site.inputs.filter((_, at) => at !== place);
    const rank = site.translation.rankOf(parts[0]);
    const axis = site.axis(site.constant(place)[0], rank);
    const value = site.node('Concat', parts, { axis }, rank);
    const lengths = parts.map((part) => site.translation.lengthOf(part));
    if (rank === 1 && !lengths.includes(undefined))
      site.translation.setLength(
        value,
        (lengths as number[]).reduce((sum, length) => sum + length, 0),
      );
    return value;
  },
});

const shape: NodeRule = {
  attributes: [],
  translate: (site) => {
    const value = site.node('Shape', [site.input(0)], {}, 1);
    const rank = site.translation.rankOf(site.input(0));
    if (rank !== undefined) site.translation.setLength(value, rank);
    return value;
  },
};

/** Parts of equal size. If channels of them go, they may not be equal any more. */
const split: NodeRule = {
  attributes: ['num_split'],
  translate: (site) => {
    const axis = site.axis(site.constant(0)[0], site.rank(1));
    const count = site.integer('num_split', 0);
    if (!(count > 0 && count < 2 ** 12)) throw new Untranslated('its attribute num_split');
    const ranks = Array<number>(count).fill(site.rank(1));
    return site.translation.nodes('Split', site.name, [site.input(1)], { axis, num_outputs: count }, ranks);
  },
};

const splitV: NodeRule = {
  attributes: ['num_split'],
  translate: (site) => {
    const axis = site.axis(site.constant(2)[0]);
    const sizes = site.constant(1);
    if (sizes.includes(-1)) throw new Untranslated('its sizes');
    const ranks = sizes.map(() => site.rank());
    return site.translation.nodes('Split', site.name, [site.input(0), site.input(1)], { axis }, ranks);
  },
};

/** A range [begin, begin + size) of each axis, of which -1 is all that is left. */
const slice: NodeRule = {
  attributes: [],
  translate: (site) => {
    const [begins, sizes] = [site.constant(1), site.constant(2)];
    site.needsRank(begins.length);
    if (sizes.length !== begins.length) throw new Untranslated('its ranges');
    const axes = [...begins.keys()].filter((axis) => begins[axis] !== 0 || sizes[axis] !== -1);
    return site.node('Slice', [site.input(0)], {
      axes,
      starts: axes.map((axis) => begins[axis]!),
      ends: axes.map((axis) => (sizes[axis] === -1 ? whole : begins[axis]! + sizes[axis]!)),
    });
  },
};

/** How many numbers a range of a list has. */
function lengthWithin(length: number, start: number, end: number, step: number): number {
  const [least, most] = step > 0 ? [0, length] : [-1, length - 1];
  const clamp = (limit: number) => Math.min(most, Math.max(least, limit < 0 ? limit + length : limit));
  return Math.max(0, Math.ceil((clamp(end) - clamp(start)) / step));
}

const hasBit = (mask: number, bit: number): boolean => Math.floor(mask / 2 ** bit) % 2 === 1;

/** Which range of which axis each entry of the lists stands for. */
const stridedSlice: NodeRule = {
  attributes: ['begin_mask', 'end_mask', 'ellipsis_mask', 'new_axis_mask', 'shrink_axis_mask'],
  translate: (site) => {
    const rank = site.rank();
    const [begins, ends, steps] = [site.constant(1), site.constant(2), site.constant(3)];
    const mask = (name: string) => site.integer(`${name}_mask`, 0);
    const [added, left] = [mask('new_axis'), mask('ellipsis')];
    const isNew = (entry: number) => hasBit(added, entry) && !hasBit(left, entry);
    const taken = [...begins.keys()].filter((entry) => !isNew(entry) && !hasBit(left, entry)).length;
    const [cut, removed, inserted]: [number[], number[], number[]] = [[], [], []];
    const axisOf = new Map<number, number>();
    let [axis, place] = [0, 0];
    for (const entry of begins.keys()) {
      if (hasBit(left, entry)) {
        axis += rank - taken;
        place += rank - taken;
      } else if (isNew(entry)) inserted.push(place++);
      else {
        const isRemoved = hasBit(mask('shrink_axis'), entry);
        const isWhole = hasBit(mask('begin'), entry) && hasBit(mask('end'), entry) && steps[entry] === 1;
        if (isRemoved || !isWhole) cut.push(entry);
        axisOf.set(entry, axis);
        if (isRemoved) removed.push(axis);
        else place++;
        axis++;
      }
    }
    if (axis > rank) throw new Untranslated('its ranges');
    const isRemoved = (entry: number) => removed.includes(axisOf.get(entry)!);
    const step = (entry: number) => (isRemoved(entry) ? 1 : steps[entry]!);
    const start = (entry: number) => {
      if (isRemoved(entry) || !hasBit(mask('begin'), entry)) return begins[entry]!;
      return step(entry) > 0 ? 0 : whole;
    };
    const end = (entry: number) => {
      if (isRemoved(entry)) return begins[entry] === -1 ? whole : begins[entry]! + 1;
      return hasBit(mask('end'), entry) ? (step(entry) > 0 ? whole : -whole) : ends[entry]!;
    };
    let value = site.input(0);
    if (cut.length > 0) {
      const lists = [
        site.translation.part(site.input(1), cut, cut.map(start)),
        site.translation.part(site.input(2), cut, cut.map(end)),
        site.translation.integers(cut.map((entry) => axisOf.get(entry)!)),
        site.translation.integers(cut.map(step)),
      ];
      value = site.node('Slice', [value, ...lists]);
      const length = site.translation.lengthOf(site.input(0));
      if (length !== undefined && cut.length === 1)
        site.translation.setLength(value, lengthWithin(length, start(cut[0]!), end(cut[0]!), step(cut[0]!)));
    }
    if (removed.length > 0) value = site.node('Squeeze', [value], { axes: removed }, rank - removed.length);
    for (const at of inserted)
      value = site.node('Unsqueeze', [value], { axes: [at] }, site.translation.rankOf(value)! + 1);
    return value;
  },
};

/** @param mode how the border is filled */
const pad = (mode: (site: NodeSite) => string): NodeRule => ({
  attributes: ['mode'],
  translate: (site) => {
    const pairs = site.constant(1);
    const rank = pairs.length / 2;
    site.needsRank(rank);
    const [before, after] = [0, 1].map((end) => Array.from({ length: rank }, (_, axis) => pairs[2 * axis + end]!));
    const own = mode(site);
    const filling = own === 'constant' ? site.inputs[2] : undefined;
    const pads = site.translation.integers([...before!, ...after!]);
    return site.node('Pad', [site.input(0), pads, filling], { mode: own });
  },
});

const mirror = (site: NodeSite): string => {
  const mode = site.text('mode');
  if (mode !== 'REFLECT' && mode !== 'SYMMETRIC') throw new Untranslated('its attribute mode');
  // Both fill the border with numbers of the same channel.
  return 'reflect';
};

const tile: NodeRule = {
  attributes: [],
  translate: (site) => {
    site.constant(1);
    return site.node('Tile', [site.input(0), site.input(1)]);
  },
};

const gather: NodeRule = {
  attributes: ['batch_dims', 'validate_indices'],
  translate: (site) => {
    if (site.integer('batch_dims', 0) !== 0) throw new Untranslated('its attribute batch_dims');
    const given = site.inputs.length > 2 ? site.constant(2)[0] : 0;
    const rank = site.rank() + site.rank(1) - 1;
    return site.node('Gather', [site.input(0), site.input(1)], { axis: site.axis(given) }, rank);
  },
};

const resize = (mode: 'nearest' | 'linear'): NodeRule => ({
  attributes: ['align_corners', 'half_pixel_centers'],
  translate: (site) => {
    site.needsRank(4);
    const [height, width] = site.constant(1);
    if (height === undefined || width === undefined) throw new Untranslated('its sizes');
    const x = site.node('Transpose', [site.input(0)], { perm: [0, 3, 1, 2] });
    const sizes = site.translation.integers([height, width]);
    const value = site.node('Resize', [x, undefined, undefined, sizes], { mode, axes: [2, 3] });
    return site.node('Transpose', [value], { perm: [0, 2, 3, 1] });
  },
});

const depthToSpace = (op: 'DepthToSpace' | 'SpaceToDepth'): NodeRule => ({
  attributes: ['block_size', 'data_format'],
  translate: (site) => {
    site.needsRank(4);
    const attributes = { blocksize: site.integer('block_size', 1) };
    return site.channelsLast(site.node(op, [site.channelsFirst(site.input(0))], attributes));
  },
});

/** Moves places of space to the batch, or back, around dilated convolutions. The borders may be computed from sizes. */
const betweenSpaceAndBatch = (op: 'SpaceToBatch' | 'BatchToSpace'): NodeRule => ({
  attributes: [],
  translate: (site) => {
    const block = site.constant(1);
    const borders =
      site.integersAt(2) ?? (site.translation.isForMasks ? block.flatMap(() => [0, 0]) : site.constant(2));
    if (borders.length !== 2 * block.length) throw new Untranslated('its borders');
    return site.node(op, [site.input(0)], { block: [...block], borders: [...borders] }, site.rank());
  },
});

const fill: NodeRule = {
  attributes: ['index_type'],
  translate: (site): Value => {
    const rank = site.translation.lengthOf(site.input(0));
    return site.node('Expand', [site.input(1), site.input(0)], {}, rank);
  },
};

export const arrangingNodes: Readonly<Record<string, NodeRule>> = {
  Mean: reduction('ReduceMean'),
  Sum: reduction('ReduceSum'),
  Max: reduction('ReduceMax'),
  Min: reduction('ReduceMin'),
  Prod: reduction('ReduceProd'),
  Reshape: reshape,
  Squeeze: squeeze,
  ExpandDims: expandDims,
  Transpose: transpose,
  Pack: pack,
  ConcatV2: concat((inputs) => inputs - 1),
  Concat: concat(() => 0),
  Shape: shape,
  Split: split,
  SplitV: splitV,
  Slice: slice,
  StridedSlice: stridedSlice,
  Pad: pad(() => 'constant'),
  PadV2: pad(() => 'constant'),
  MirrorPad: pad(mirror),
  Tile: tile,
  GatherV2: gather,
  Gather: gather,
  ResizeBilinear: resize('linear'),
  ResizeNearestNeighbor: resize('nearest'),
  DepthToSpace: depthToSpace('DepthToSpace'),
  SpaceToDepth: depthToSpace('SpaceToDepth'),
  SpaceToBatchND: betweenSpaceAndBatch('SpaceToBatch'),
  BatchToSpaceND: betweenSpaceAndBatch('BatchToSpace'),
  Fill: fill,
};
