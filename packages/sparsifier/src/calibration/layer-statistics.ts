import { SparsifyError } from '../errors.js';
import { isObject } from '../model/json.js';

/**
 * Moments of the inputs of a layer. Each position of the output has one row: the inputs under the kernel, with zeros
 * where the layer pads, in the order of a kernel's weights (input channel, depth, height, width).
 */
export interface LayerMoments {
  /** How many rows the means are taken over; at least 1. */
  readonly rows: number;
  /**
   * The second moments of the columns: `[groups, columns, columns]`, entry `[g, i, j]` is the mean of x_i x_j over the
   * rows. If `isDiagonal`, only those of each column with itself: `[groups, columns]`.
   */
  readonly moment: Float32Array;
  /** The means of the columns: `[groups, columns]`. */
  readonly mean: Float32Array;
  /**
   * The L2 norm of each input channel, `[input channels]`, group by group: over all positions of the input, each
   * counted once, without padding. Undefined if it was not in the file that was read.
   */
  readonly norm: Float32Array | undefined;
}

/** Statistics of the inputs of one layer. */
export interface LayerStatistics extends LayerMoments {
  readonly groups: number;
  /** How many numbers a row has: the input channels of a group times the positions of the kernel. */
  readonly columns: number;
  /** Whether `moment` is only the diagonal, which is enough to repair a bias, but not weights. */
  readonly isDiagonal: boolean;
  /** The moments of the held-out batches; undefined if none were held out. */
  readonly heldOut: LayerMoments | undefined;
  /** The SHA-256 of the layer's weights as they are stored, in hexadecimal, if it is known. */
  readonly sha256: string | undefined;
}

/** @throws SparsifyError `usage` for anything but statistics of a layer */
export function checkLayerStatistics(subject: string, value: unknown): void {
  const isMoments = (each: unknown) =>
    isObject(each) && typeof each.rows === 'number' && [each.moment, each.mean].every(isNumbers) && isNorm(each.norm);
  const isLayer =
    isMoments(value) &&
    isObject(value) &&
    [value.groups, value.columns].every((count) => typeof count === 'number') &&
    (value.heldOut === undefined || isMoments(value.heldOut));
  if (isLayer) return;
  throw new SparsifyError('usage', 'statistics of a layer have rows, groups, columns, moments and means', {
    subject,
    given: value,
  });
}

const isNumbers = (value: unknown): boolean => value instanceof Float32Array;
const isNorm = (value: unknown): boolean => value === undefined || isNumbers(value);

/** @throws SparsifyError `criteria` if they are of layers of different shapes or with different weights */
export function mergeLayers(name: string, a: LayerStatistics, b: LayerStatistics): LayerStatistics {
  if (a.groups !== b.groups || a.columns !== b.columns || lengthOf(a.norm, b) !== lengthOf(b.norm, a)) {
    throw new SparsifyError('criteria', 'statistics of layers of different shapes cannot be merged', {
      subject: name,
      given: sizesInWords(a),
      found: sizesInWords(b),
    });
  }
  if (a.sha256 !== undefined && b.sha256 !== undefined && a.sha256 !== b.sha256) {
    throw new SparsifyError('criteria', 'statistics of different weights cannot be merged', {
      subject: name,
      hint: 'Calibrate the same model with all batches',
    });
  }
  const [own, other] = a.isDiagonal === b.isDiagonal ? [a, b] : [diagonalOf(a), diagonalOf(b)];
  return {
    ...own,
    ...mergeMoments(own, other),
    heldOut: own.heldOut && other.heldOut ? mergeMoments(own.heldOut, other.heldOut) : (own.heldOut ?? other.heldOut),
    sha256: a.sha256 ?? b.sha256,
  };
}

/** Norms that are not known have any length. */
const lengthOf = (norm: Float32Array | undefined, other: LayerMoments): number | undefined =>
  (norm ?? other.norm)?.length;

/** Such as `2 groups of 18 columns`. */
export const sizesInWords = ({ groups, columns }: Pick<LayerStatistics, 'groups' | 'columns'>): string =>
  groups === 1 ? `${columns} columns` : `${groups} groups of ${columns} columns`;

function mergeMoments(a: LayerMoments, b: LayerMoments): LayerMoments {
  const rows = a.rows + b.rows;
  const mean = (own: Float32Array, other: Float32Array) =>
    own.map((number, index) => (a.rows * number + b.rows * other[index]!) / rows);
  return {
    rows,
    moment: mean(a.moment, b.moment),
    mean: mean(a.mean, b.mean),
    norm: a.norm && b.norm && a.norm.map((number, index) => Math.hypot(number, b.norm![index]!)),
  };
}

/** Without the moments of different columns. */
function diagonalOf(layer: LayerStatistics): LayerStatistics {
  if (layer.isDiagonal) return layer;
  const { columns, heldOut } = layer;
  const reduced = (each: LayerMoments): LayerMoments => ({
    ...each,
    moment: each.mean.map((_, index) => each.moment[index * columns + (index % columns)]!),
  });
  return { ...layer, ...reduced(layer), isDiagonal: true, heldOut: heldOut && reduced(heldOut) };
}
