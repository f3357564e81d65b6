// Zeroes the weights of an ONNX file by the rules of the README, in the most literal way and without the library.
import { numbersOf, readGraphOf, type ReadConstant, type ReadGraph, type ReadNode } from './onnx-reader.js';

export type Granularity = 'weight' | 'vector' | 'kernel' | 'filter';

export interface NaiveLayer {
  readonly name: string;
  readonly weight: ReadConstant;
  /** Constants with one entry per output channel, which go with the channel. */
  readonly partners: readonly ReadConstant[];
}

/** The two-dimensional convolutions with a constant weight, in the order of the file; once where several share it. */
export function convolutionsOf(graph: ReadGraph): NaiveLayer[] {
  const layers = new Map<string, NaiveLayer>();
  for (const { op, name, inputs } of graph.nodes) {
    const weightName = inputs[1]!;
    const weight = graph.constants.get(weightName);
    if (op !== 'Conv' || weight?.shape.length !== 4 || layers.has(weightName)) continue;
    const partners = partnersOf(graph, graph.readersOf(weightName), weight.shape[0]!);
    layers.set(weightName, { name: name || weightName, weight, partners });
  }
  return [...layers.values()];
}

function partnersOf(graph: ReadGraph, convolutions: readonly ReadNode[], channels: number): ReadConstant[] {
  /** By name, each with the nodes that may read it. */
  const found = new Map<string, Set<ReadNode>>();
  const find = (reader: ReadNode, name: string | undefined, axisFromEnd: number): boolean => {
    const constant = graph.constants.get(name ?? '');
    if (constant?.length !== channels || constant.shape.at(-axisFromEnd) !== channels) return false;
    found.set(name!, (found.get(name!) ?? new Set()).add(reader));
    return true;
  };
  for (const convolution of convolutions) {
    find(convolution, convolution.inputs[2], 1);
    let output = convolution.outputs[0]!;
    const [add, ...others] = graph.readersOf(output);
    if (
      add?.op === 'Add' &&
      others.length === 0 &&
      find(
        add,
        add.inputs.find((input) => input !== output),
        3,
      )
    ) {
      output = add.outputs[0]!;
    }
    for (const reader of graph.readersOf(output)) {
      if (reader.op !== 'BatchNormalization' || reader.inputs[0] !== output) continue;
      find(reader, reader.inputs[1], 1);
      find(reader, reader.inputs[2], 1);
    }
  }
  // Those that a node of another layer reads too stay as they are.
  const own = [...found].filter(([name, readers]) => graph.readersOf(name).every((reader) => readers.has(reader)));
  return own.map(([name]) => graph.constants.get(name)!);
}

/** Which unit each weight belongs to, units numbered in canonical order. */
function unitsOf([, channels, height, width]: readonly number[], length: number, granularity: Granularity): Int32Array {
  const area = height! * width!;
  const unit = {
    weight: (index: number) => index,
    vector: (index: number) => Math.floor(index / area) * width! + (index % width!),
    kernel: (index: number) => Math.floor(index / area),
    filter: (index: number) => Math.floor(index / (area * channels!)),
  }[granularity];
  return Int32Array.from({ length }, (_, index) => unit(index));
}

/** Zeroes in the file `percent` of the units of a matrix, the lowest mean magnitudes first; its last axis is `in`. */
export function pruneMatrixNaively(
  file: Uint8Array<ArrayBuffer>,
  matrix: ReadConstant,
  percent: number,
  granularity: 'weight' | 'row' | 'column',
): void {
  const columns = matrix.shape.at(-1)!;
  const units = new Map<number, number[]>();
  for (let index = 0; index < matrix.length; index++) {
    const unit = { weight: index, row: Math.floor(index / columns), column: index % columns }[granularity];
    units.set(unit, [...(units.get(unit) ?? []), index]);
  }
  const numbers = numbersOf(file, matrix);
  const score = (unit: readonly number[]) => unit.reduce((sum, index) => sum + Math.abs(numbers[index]!), 0);
  const ranking = [...units.values()].sort((a, b) => score(a) - score(b));
  for (const index of ranking.slice(0, halfToEven((percent * units.size) / 100)).flat()) {
    file.fill(0, matrix.start + 4 * index, matrix.start + 4 * index + 4);
  }
}

function halfToEven(value: number): number {
  const below = Math.floor(value);
  if (value - below === 0.5) return below % 2 === 0 ? below : below + 1;
  return Math.round(value);
}

/** A copy of the file without `percent` of the units, the lowest mean magnitudes first; every layer keeps one unit. */
export function prunedNaively(
  file: Uint8Array<ArrayBuffer>,
  percent: number,
  granularity: Granularity,
  context: 'local' | 'global',
): Uint8Array<ArrayBuffer> {
  const layers = convolutionsOf(readGraphOf(file)).map(({ weight, partners }) => {
    const numbers = numbersOf(file, weight);
    const units = unitsOf(weight.shape, numbers.length, granularity);
    const count = units.at(-1)! + 1;
    const sums = new Float64Array(count);
    for (let index = 0; index < numbers.length; index++) sums[units[index]!]! += Math.abs(numbers[index]!);
    const scores = Float32Array.from(sums, (sum) => sum / (numbers.length / count));
    return { weight, partners, units, scores, isRemoved: new Uint8Array(count), kept: count };
  });

  for (const group of context === 'local' ? layers.map((layer) => [layer]) : [layers]) {
    const places = group.map(({ scores }) => scores.length);
    const starts = places.map((_, index) => places.slice(0, index).reduce((sum, count) => sum + count, 0));
    const scores = new Float32Array(starts.at(-1)! + places.at(-1)!);
    group.forEach((layer, index) => scores.set(layer.scores, starts[index]));
    // Equal scores stay in the order of layers and units.
    const ranking = Uint32Array.from(scores.keys()).sort((a, b) => scores[a]! - scores[b]! || a - b);
    let rest = halfToEven((percent * ranking.length) / 100);
    for (const place of ranking) {
      const index = starts.reduce((found, start, index) => (start <= place ? index : found), 0);
      const layer = group[index]!;
      if (rest === 0) break;
      if (layer.kept === 1) continue;
      layer.isRemoved[place - starts[index]!] = 1;
      layer.kept--;
      rest--;
    }
  }

  const pruned = file.slice();
  for (const { weight, partners, units, scores, isRemoved } of layers) {
    const zero = ({ start }: ReadConstant, index: number) => pruned.fill(0, start + 4 * index, start + 4 * index + 4);
    units.forEach((unit, index) => isRemoved[unit] && zero(weight, index));
    // A kernel, too, may be all that there is of its channel.
    if (scores.length !== weight.shape[0]) continue;
    for (const partner of partners) isRemoved.forEach((gone, unit) => gone && zero(partner, unit));
  }
  return pruned;
}
