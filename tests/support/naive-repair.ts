import type { InputStatistics, LayerInputStatistics } from 'sparsifier';
import type { ArrayLayer } from 'sparsifier/formats/arrays';
import { channelsOf, product, xorshift } from './layers.js';
import { coordinates, numbersOf } from './oracle.js';

// Moments and least squares as they are defined, in 64 bits, one output after the other.

/** Rows of inputs of each group of a layer: numbers by group, row and column. */
export type Rows = readonly (readonly (readonly number[])[])[];

/** The sizes of the matrices of a layer, one for each group. */
export interface Sizes {
  readonly groups: number;
  readonly outputs: number;
  readonly columns: number;
}

export function sizesOf(layer: ArrayLayer): Sizes {
  const { shape, groups = 1 } = layer;
  const outputs = channelsOf(layer) / groups;
  return { groups, outputs, columns: product(shape) / groups / outputs };
}

/** Where each weight of a layer is: its group, its output in the group, and its column. */
export function placesOf(layer: ArrayLayer): { group: number; output: number; column: number }[] {
  const { outputs } = sizesOf(layer);
  const sizeOf = (role: 'depth' | 'height' | 'width') =>
    layer.roles.includes(role) ? layer.shape[layer.roles.indexOf(role)]! : 1;
  return Array.from(layer.data, (_, position) => {
    const [out, input, depth, height, width] = coordinates(layer, position) as [number, number, number, number, number];
    const column = ((input * sizeOf('depth') + depth) * sizeOf('height') + height) * sizeOf('width') + width;
    return { group: Math.floor(out / outputs), output: out % outputs, column };
  });
}

/** Numbers of the weights of a layer, by group, output and column. */
export function matricesOf(layer: ArrayLayer, numbers: ArrayLike<number> = numbersOf(layer)): number[][][] {
  const { groups, outputs, columns } = sizesOf(layer);
  const matrices = Array.from({ length: groups }, () =>
    Array.from({ length: outputs }, () => Array<number>(columns).fill(0)),
  );
  for (const [position, { group, output, column }] of placesOf(layer).entries()) {
    matrices[group]![output]![column] = numbers[position]!;
  }
  return matrices;
}

/** Made-up rows: columns of different scales and means that depend on each other. */
export function rowsFor({ groups, columns }: Sizes, count: number, seed = 1): Rows {
  const next = xorshift(seed * 7919 + columns);
  const draw = () => (next() % 2001) / 1000 - 1;
  return Array.from({ length: groups }, () =>
    Array.from({ length: count }, () => {
      const common = draw();
      return Array.from({ length: columns }, (_, column) =>
        Math.fround((1 + (column % 3)) * (draw() + common) + (column % 4) - 1),
      );
    }),
  );
}

export const meansOf = (rows: readonly (readonly number[])[]): number[] =>
  rows[0]!.map((_, column) => rows.reduce((sum, row) => sum + row[column]!, 0) / rows.length);

/** The mean of the products of two columns, of one set of rows and another. */
export const momentsOf = (
  first: readonly (readonly number[])[],
  second: readonly (readonly number[])[] = first,
): number[][] =>
  first[0]!.map((_, a) =>
    second[0]!.map((_, b) => first.reduce((sum, row, index) => sum + row[a]! * second[index]![b]!, 0) / first.length),
  );

function inputMoments(rows: Rows, isDiagonal: boolean) {
  const moments = rows.map((group) => momentsOf(group));
  return {
    rows: rows[0]!.length,
    moment: Float32Array.from(moments.flatMap((each) => (isDiagonal ? each.map((row, at) => row[at]!) : each.flat()))),
    mean: Float32Array.from(rows.flatMap(meansOf)),
  };
}

/** Statistics of one layer. */
export function layerStatistics(
  layer: ArrayLayer,
  rows: Rows,
  { heldOut, isDiagonal = false }: { readonly heldOut?: Rows | undefined; readonly isDiagonal?: boolean } = {},
): LayerInputStatistics {
  const { groups, columns } = sizesOf(layer);
  return {
    ...{ ...inputMoments(rows, isDiagonal), groups, columns, isDiagonal, norm: undefined, sha256: undefined },
    heldOut: heldOut && inputMoments(heldOut, isDiagonal),
  };
}

/** Statistics that fit any model. */
export const statisticsOf = (
  layers: Readonly<Record<string, LayerInputStatistics>>,
  notes: readonly string[] = [],
): InputStatistics => ({ layers: new Map(Object.entries(layers)), check: async () => notes });

/** What `V` and a bias that gains `shift` are off, relative to the outputs of `W` on the dense rows. */
export function errorOfFit(
  dense: readonly number[][][],
  weights: readonly number[][][],
  shift: readonly (readonly number[])[],
  denseRows: Rows,
  prunedRows: Rows = denseRows,
): number {
  let [off, whole] = [0, 0];
  const dot = (weights: readonly number[], row: readonly number[]) =>
    weights.reduce((sum, weight, column) => sum + weight * row[column]!, 0);
  for (const [group, rows] of denseRows.entries()) {
    for (const [index, row] of rows.entries()) {
      for (const [output, own] of dense[group]!.entries()) {
        const expected = dot(own, row);
        whole += expected ** 2;
        const found = dot(weights[group]![output]!, prunedRows[group]![index]!) + shift[group]![output]!;
        off += (expected - found) ** 2;
      }
    }
  }
  return whole > 0 ? Math.sqrt(off / whole) : 0;
}

/** How many times larger the squares of the outputs would be if no products of `W` cancelled each other. */
export function cancellationOf(weights: readonly number[][][], rows: Rows): number {
  let [most, whole] = [0, 0];
  for (const [group, matrix] of weights.entries()) {
    for (const row of rows[group]!) {
      for (const own of matrix) {
        const products = own.map((weight, column) => weight * row[column]!);
        whole += products.reduce((sum, each) => sum + each, 0) ** 2;
        most += products.reduce((sum, each) => sum + Math.abs(each), 0) ** 2;
      }
    }
  }
  return whole > 0 ? most / whole : 1;
}

/** What the outputs of `W` gain on average over those of `V`. */
export const shiftOf = (
  dense: readonly number[][][],
  weights: readonly number[][][],
  denseRows: Rows,
  prunedRows: Rows = denseRows,
): number[][] =>
  dense.map((matrix, group) => {
    const [first, second] = [meansOf(denseRows[group]!), meansOf(prunedRows[group]!)];
    return matrix.map((row, output) =>
      row.reduce((sum, weight, at) => sum + weight * first[at]! - weights[group]![output]![at]! * second[at]!, 0),
    );
  });

/** The kept weights that minimise the error, by normal equations and Gaussian elimination. */
export function exactFit(
  dense: readonly number[][][],
  isKept: readonly boolean[][][],
  { rows, prunedRows = rows, ridge, hasBias }: FitOptions,
): number[][][] {
  return dense.map((matrix, group) => {
    const [first, second] = [rows[group]!, prunedRows[group]!];
    const [m0, m1] = [meansOf(first), meansOf(second)];
    const centre = (moments: number[][], a: number[], b: number[]) =>
      hasBias ? moments.map((row, i) => row.map((each, j) => each - a[i]! * b[j]!)) : moments;
    const h = centre(momentsOf(second), m1, m1);
    const cross = centre(momentsOf(first, second), m0, m1);
    const damping = (ridge * h.reduce((sum, row, at) => sum + row[at]!, 0)) / h.length;
    for (const [at, row] of h.entries()) {
      row[at]! += damping;
      if (cross !== h) cross[at]![at]! += damping;
    }
    return matrix.map((weights, output) => {
      const kept = weights.flatMap((_, at) => (isKept[group]![output]![at] ? [at] : []));
      const g = kept.map((to) => weights.reduce((sum, weight, from) => sum + weight * cross[from]![to]!, 0));
      const solution = solve(
        kept.map((a) => kept.map((b) => h[a]![b]!)),
        g,
      );
      const result = Array<number>(weights.length).fill(0);
      for (const [place, at] of kept.entries()) result[at] = solution[place]!;
      return result;
    });
  });
}

interface FitOptions {
  readonly rows: Rows;
  readonly prunedRows?: Rows;
  readonly ridge: number;
  readonly hasBias: boolean;
}

/** Solves `a x = b` for a positive definite `a`. */
function solve(a: number[][], b: number[]): number[] {
  const rows = a.map((row, at) => [...row, b[at]!]);
  for (const [at, row] of rows.entries()) {
    for (const other of rows.slice(at + 1)) {
      const factor = other[at]! / row[at]!;
      for (let column = at; column < row.length; column++) other[column]! -= factor * row[column]!;
    }
  }
  const x = Array<number>(b.length).fill(0);
  for (let at = b.length - 1; at >= 0; at--) {
    const rest = x.reduce((sum, each, column) => (column > at ? sum + rows[at]![column]! * each : sum), 0);
    x[at] = (rows[at]![b.length]! - rest) / rows[at]![at]!;
  }
  return x;
}
