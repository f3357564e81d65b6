import { withBlocks } from '../engine/blocks.js';
import type { Engine } from '../engine/engine.js';
import { isKept, plainEntry, storedUnits, unitsOf } from '../engine/record.js';
import { fit, type Moments, type Seen } from '../engine/repair.js';
import { run, writeTable } from '../engine/verbs.js';
import { SparsifyError } from '../errors.js';
import { bytesOf, type Bias, type DataType, type Model, type Values, type WeightTensor } from '../model/model.js';
import { firstNotFinite, narrowed, productOf, widened } from '../model/numbers.js';
import { columnPlaces, layoutOf } from '../model/rows.js';
import type { RowMask, Units } from '../options/units.js';
import { isCoded, type DenseNumbers } from './dense.js';
import type { Settings } from './options.js';
import type { RepairedLayer } from './report.js';

/** A layer that has a mask. */
export interface MaskedLayer {
  readonly tensor: WeightTensor;
  readonly units: Units;
  readonly mask: Uint8Array;
  /** The output channels that are removed, if units are parts of them. */
  readonly rows?: RowMask | undefined;
}

/** The output channels that are kept, in canonical order, if the mask removes whole ones. */
function channelsKept({ units, mask, rows }: MaskedLayer): readonly boolean[] | undefined {
  const whole = rows ?? (units.isChannel ? { units, mask } : undefined);
  return whole && storedUnits(whole.units.axes).map((unit) => isKept(whole.mask, unit));
}

/** What is known of the inputs of a layer. */
export interface KnownInputs {
  readonly rows: number;
  readonly seen: Seen;
  readonly heldOut: (Seen & { readonly rows: number }) | undefined;
  /** Whether moments are only those of each column with itself. */
  readonly isDiagonal: boolean;
}

/** What a repair is about. */
export interface Repairing {
  readonly engine: Engine;
  readonly model: Model;
  /** What it aims at. */
  readonly dense: DenseNumbers;
  readonly settings: Settings;
}

/** The new numbers of a layer, which the model does not have yet. */
export interface Repaired {
  readonly layer: RepairedLayer;
  readonly numbers: ReadonlyMap<Values, Uint8Array>;
}

/** What comes of the weights and of the outputs of a layer. */
interface Solution extends Pick<RepairedLayer, 'masked' | 'repaired' | 'isRepaired'> {
  /** Undefined if the weights stay as they are. */
  readonly weights: Uint8Array | undefined;
  /** What is added to each output, in canonical order. */
  readonly shift: ArrayLike<number>;
}

/**
 * Computes new numbers of a layer that bring its outputs closer to those of the dense layer.
 * @returns why that is not possible, as a string
 * @throws SparsifyError `criteria` for what are no statistics of this layer, `weights` for weights that are not finite,
 *   `memory`
 */
export async function repairedLayer(
  repairing: Repairing,
  layer: MaskedLayer,
  known: KnownInputs,
): Promise<Repaired | string> {
  const { tensor } = layer;
  const layout = layoutOf(tensor);
  if (!layout) return 'its weights are not a matrix for each group of inputs';
  const [groups, outputs, ...inner] = layout.sizes;
  const columns = productOf(inner);
  await checkKnown(tensor.name, groups, columns, known);
  const { bias, origin, reason } = await biasFor(repairing, tensor);
  const why = isCoded(tensor.values)
    ? 'its weights are stored as codes, so only its bias can change'
    : known.isDiagonal
      ? 'its moments would take more memory than the limit, so only its bias can change'
      : undefined;
  const reasons = [...(why ? [why] : []), ...(reason ? [reason] : [])];
  if (why && !bias) return reasons.join('; ');
  const shape = { layout, groups, outputs, columns };
  const solution = await (why
    ? shifted(repairing, layer, known, shape)
    : solved(repairing, layer, known, shape, bias !== undefined));
  const { masked, repaired, isRepaired, weights, shift } = solution;
  if (!isRepaired) {
    reasons.push(
      !known.seen.dense && keepsWholeChannels(layer)
        ? 'the output channels that are left have all their weights, so there is nothing to repair'
        : 'no solution was better than the mask alone',
    );
  }
  const numbers = new Map<Values, Uint8Array>();
  const channels = channelsKept(layer);
  if (weights) numbers.set(tensor.values, weights);
  if (channels) {
    for (const { values } of tensor.partners)
      numbers.set(values, withoutChannels(await repairing.dense.bytes(values), channels));
  }
  if (bias) {
    const before = await repairing.dense.bytes(bias.values);
    const goes = bias.sign > 0 && tensor.partners.some(({ part }) => part === 'bias');
    numbers.set(bias.values, withShift(goes && channels ? withoutChannels(before, channels) : before, bias, shift));
  }
  const { name, kind, shape: sizes } = tensor;
  return {
    layer: {
      ...{ name, kind, shape: sizes, rows: known.rows, heldOutRows: known.heldOut?.rows ?? 0, columns },
      ...{ masked, repaired, isRepaired, bias: origin },
      ...(reasons.length > 0 ? { reason: reasons.join('; ') } : {}),
    },
    numbers,
  };
}

/** Whether all weights of the output channels that are kept are. */
function keepsWholeChannels({ units, mask, rows }: MaskedLayer): boolean {
  if (rows === undefined) return units.isChannel;
  const kept = (mask: Uint8Array, { axes }: Units) => {
    let count = 0;
    for (let unit = 0; unit < unitsOf(axes); unit++) if (isKept(mask, unit)) count++;
    return count;
  };
  return kept(mask, units) * unitsOf(rows.units.axes) === kept(rows.mask, rows.units) * unitsOf(units.axes);
}

/**
 * All numbers that a repair of a layer changes. A bias that an earlier repair added, and that this one may not use, is as it
 * began.
 */
export async function changedBy(
  { dense }: Repairing,
  { tensor }: MaskedLayer,
  result: Repaired | string,
): Promise<ReadonlyMap<Values, Uint8Array>> {
  return new Map([...(await dense.addedTo(tensor)), ...(typeof result === 'string' ? [] : result.numbers)]);
}

/**
 * The squared error of a layer's outputs after a repair, divided by the squares of its outputs, without the bias. Nothing is
 * changed. Numbers that are stored as codes count as if they could change.
 * @returns why that is not known, as a string
 * @throws SparsifyError as {@link repairedLayer} does
 */
export async function errorAfterRepair(
  repairing: Repairing,
  layer: MaskedLayer,
  known: KnownInputs,
): Promise<number | string> {
  const { tensor } = layer;
  const layout = layoutOf(tensor);
  if (!layout) return 'its weights are not a matrix for each group of inputs';
  if (known.isDiagonal) return 'its moments would take more memory than the limit of `calibrate`';
  const [groups, outputs, ...inner] = layout.sizes;
  const shape = { layout, groups, outputs, columns: productOf(inner) };
  await checkKnown(tensor.name, groups, shape.columns, known);
  const { model, settings } = repairing;
  const hasBias = tensor.bias !== undefined || (settings.addBias && model.addBias !== undefined);
  const { repaired } = await solved(repairing, layer, known, shape, hasBias);
  return repaired! ** 2;
}

/** Where the weights of a layer are, and how many there are. */
interface Shape {
  readonly layout: NonNullable<ReturnType<typeof layoutOf>>;
  readonly groups: number;
  readonly outputs: number;
  readonly columns: number;
}

/** The weights and the bias that fit best. */
async function solved(
  repairing: Repairing,
  layer: MaskedLayer,
  { seen, heldOut }: KnownInputs,
  { layout }: Shape,
  hasBias: boolean,
): Promise<Solution> {
  const { checks, ridge } = repairing.settings;
  const { tensor, units, mask } = layer;
  const { name, values } = tensor;
  const dense = await aimOf(repairing, layer);
  const { weights, shift, masked, solved, whole, better } = await fit(repairing.engine, {
    dtype: values.dtype,
    axes: units.axes,
    mask,
    ...{ dense, layout },
    seen,
    heldOut,
    ridge,
    checks,
    hasBias,
    withoutEmpty: layer.rows === undefined && units.isChannel,
  });
  if (!Number.isFinite(masked + whole)) throw notFinite(name, widened(dense, values.dtype));
  const relative = (error: number) => (whole > 0 ? Math.sqrt(Math.max(0, error) / whole) : 0);
  const isRepaired = better > 0;
  return { weights, shift, masked: relative(masked), repaired: relative(solved), isRepaired };
}

/** The dense weights. Those of channels that are removed as a whole are 0: nothing reads them any more, so they do not count. */
async function aimOf({ engine, dense }: Repairing, { tensor: { values }, rows }: MaskedLayer): Promise<Uint8Array> {
  const bytes = await dense.bytes(values);
  return rows ? withMask(engine, bytes, { dtype: values.dtype, axes: rows.units.axes, mask: rows.mask }) : bytes;
}

/**
 * The bias that gives the outputs the same means, with the weights as they are stored. It is taken if that holds for the
 * rows that are held out, too: what else differs does not depend on the bias.
 */
async function shifted(
  repairing: Repairing,
  layer: MaskedLayer,
  { seen, heldOut }: KnownInputs,
  shape: Shape,
): Promise<Solution> {
  const { tensor, units, mask } = layer;
  const { name, values } = tensor;
  const whole = await aimOf(repairing, layer);
  const stored = isCoded(values) ? await repairing.model.copy(values) : whole;
  const weights = await withMask(repairing.engine, stored, { dtype: values.dtype, axes: units.axes, mask });
  const [before, after] = [whole, weights].map((bytes) => widened(bytes, values.dtype)) as [Float32Array, Float32Array];
  const channels = channelsKept(layer);
  const shift = offsets(before, after, shape, seen).map((each, channel) => (channels?.[channel] === false ? 0 : each));
  if (!shift.every(Number.isFinite)) throw notFinite(name, before);
  const compared = heldOut ? offsets(before, after, shape, heldOut) : shift;
  const [without, within] = [0, 1].map((share) =>
    shift.reduce((sum, each, channel) => sum + (compared[channel]! - share * each) ** 2, 0),
  ) as [number, number];
  const isRepaired = within < without;
  return {
    weights: isCoded(values) ? undefined : weights,
    ...{ shift: isRepaired ? shift : shift.fill(0), masked: undefined, repaired: undefined, isRepaired },
  };
}

/** What the outputs gain on average from the dense weights on the dense inputs, over these weights on these inputs. */
function offsets(dense: Float32Array, weights: Float32Array, { layout, columns }: Shape, seen: Seen): Float64Array {
  const [groups, outputs] = layout.sizes;
  const [denseMean, mean] = [seen.dense?.own.mean ?? seen.pruned.mean, seen.pruned.mean];
  const places = columnPlaces(layout);
  const shift = new Float64Array(groups * outputs);
  for (let group = 0; group < groups; group++) {
    for (let output = 0; output < outputs; output++) {
      const start = group * layout.steps[0] + output * layout.steps[1];
      let sum = 0;
      for (let column = 0; column < columns; column++) {
        const [place, index] = [start + places[column]!, group * columns + column];
        sum += dense[place]! * denseMean[index]! - weights[place]! * mean[index]!;
      }
      shift[group * outputs + output] = sum;
    }
  }
  return shift;
}

/** A copy of the weights without those that the mask removes. */
const withMask = (
  engine: Engine,
  weights: Uint8Array,
  entry: { readonly dtype: DataType; readonly axes: Units['axes']; readonly mask: Uint8Array },
): Promise<Uint8Array<ArrayBuffer>> =>
  withBlocks(engine, async (held) => {
    const numbers = await held.copy(weights);
    const mask = await held.copy(entry.mask);
    const table = await writeTable(engine, [{ ...plainEntry, ...entry, weights: numbers.address, mask: mask.address }]);
    try {
      await run(engine, [['apply', table.block.address, 1]]);
    } finally {
      table.release();
    }
    return await numbers.read(0, new Uint8Array(weights.length));
  });

/** One number per output channel, with +0.0 for those that are removed. */
function withoutChannels(numbers: Uint8Array, isKept: readonly boolean[]): Uint8Array<ArrayBuffer> {
  const copy = numbers.slice() as Uint8Array<ArrayBuffer>;
  const bytes = copy.length / isKept.length;
  for (const [channel, kept] of isKept.entries()) if (!kept) copy.fill(0, channel * bytes, (channel + 1) * bytes);
  return copy;
}

/** A bias that changes the outputs by this much. Where that is 0 it keeps its bits. */
export function withShift(
  numbers: Uint8Array,
  { values: { dtype }, sign }: Bias,
  shift: ArrayLike<number>,
): Uint8Array {
  const copy = numbers.slice();
  const view = new DataView(copy.buffer, copy.byteOffset, copy.byteLength);
  for (const [channel, before] of widened(numbers, dtype).entries()) {
    const change = sign * shift[channel]!;
    if (change === 0) continue;
    if (dtype === 'float32') view.setFloat32(channel * 4, before + change, true);
    else view.setUint16(channel * bytesOf[dtype], narrowed(before + change, dtype), true);
  }
  return copy;
}

/** The bias of a layer, whether it was given one, and why it has none. */
async function biasFor(
  { model, dense, settings: { addBias } }: Repairing,
  tensor: WeightTensor,
): Promise<{ readonly bias?: Bias; readonly origin: RepairedLayer['bias']; readonly reason?: string }> {
  if (tensor.bias) return { bias: tensor.bias, origin: 'own' };
  const none = (reason: string) => ({ origin: 'none' as const, reason: `it has no bias: ${reason}` });
  if (!addBias) return none('`addBias: false` forbids one');
  if (!model.addBias) return none('none can be added to a model of this format');
  const added = await model.addBias(tensor);
  if (typeof added === 'string') return none(added);
  dense.add(tensor, added.values);
  return { bias: added, origin: 'added' };
}

/**
 * Refuses what are no statistics of a layer.
 * @throws SparsifyError `criteria` if they have another shape, or numbers that are not finite
 */
export async function checkKnown(
  subject: string,
  groups: number,
  columns: number,
  { seen, heldOut, isDiagonal }: KnownInputs,
): Promise<void> {
  const size = groups * columns;
  const check = async ({ moment, mean }: Moments): Promise<void> => {
    if (mean.length !== size || moment.length !== size * (isDiagonal ? 1 : columns)) {
      throw new SparsifyError('criteria', 'the statistics are those of a layer of another shape', {
        subject,
        given: `${mean.length} means and ${moment.length} moments`,
        found: `${groups} groups of ${columns} columns`,
      });
    }
    if (((await firstNotFinite(mean)) ?? (await firstNotFinite(moment))) === undefined) return;
    throw new SparsifyError('criteria', 'the statistics have numbers that are infinite or not numbers', { subject });
  };
  for (const each of heldOut ? [seen, heldOut] : [seen]) {
    await check(each.pruned);
    if (each.dense) await check(each.dense.own);
  }
}

const notFinite = (subject: string, weights: Float32Array): SparsifyError =>
  weights.every(Number.isFinite)
    ? new SparsifyError('criteria', 'the inputs of the layer are too large for a repair', {
        subject,
        hint: 'Check the statistics, or `exclude` this layer',
      })
    : new SparsifyError('weights', 'a weight is infinite or not a number, so the layer cannot be repaired', {
        subject,
        hint: 'Correct the weights, or `exclude` this layer',
      });
