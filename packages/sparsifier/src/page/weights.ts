import { inSlices, stepsAtATime } from '../host/slices.js';
import type { Model, Role, WeightTensor } from '../model/model.js';
import { largestItems, productOf, widenedInSlices } from '../model/numbers.js';
import { inTurn } from '../model/turns.js';
import { percentOf } from '../pruning/text.js';
import { areaOf, type PageLayer, type PageModels } from './layers.js';

/** How the weights of a layer are distributed, and which of them were removed. */
export interface Histogram {
  readonly name: string;
  /** Whether it is of the weights as they were. If the layer has other axes now, it is of those that it has. */
  readonly isBefore: boolean;
  /** Bars are of the same width, from -range to range. The outermost ones also have what lies beyond. */
  readonly range: number;
  /** How many weights lie beyond. */
  readonly beyond: number;
  /** For each bar how many weights were kept, and how many became 0. Those that were 0 already are in neither. */
  readonly kept: readonly number[];
  readonly removed: readonly number[];
  /** How many were 0 already. */
  readonly zeros: number;
  /** The absolute value of the largest weight that was removed, and of the smallest that was kept. */
  readonly largestRemoved: number | undefined;
  readonly smallestKept: number | undefined;
}

/** Which weights of a layer are 0, of the first outputs and inputs. */
export interface MaskPicture {
  readonly name: string;
  readonly kind: string;
  /** The sizes of all, and of what is shown. */
  readonly outs: readonly [all: number, shown: number];
  readonly ins: readonly [all: number, shown: number];
  readonly kernel: readonly [height: number, width: number];
  /** Whether a weight is 0: kernels by output and input, each row by row. */
  readonly isZero: readonly boolean[];
}

const bars = 48;
/** How far bars go, in root mean squares of the weights: a few large ones would hide the others. */
const farthest = 5;
const mostHistograms = 6;
const mostMasks = 4;
/** Kernels larger than that are not small. */
const largestKernel = 7;
/** A picture of fewer zeros, in percent, shows nothing. */
const fewestZeros = 10;
/** How many outputs and inputs are shown: of kernels, and of matrices. */
const shownKernels = [12, 16] as const;
const shownNumbers = [32, 64] as const;

/** The histograms of the largest layers in which something changed, and pictures of small kernels. */
export async function weightsOf(
  layers: readonly PageLayer[],
  { before, after }: PageModels,
  signal: AbortSignal | undefined,
): Promise<{ readonly histograms: readonly Histogram[]; readonly masks: readonly MaskPicture[] }> {
  if (after === undefined) return { histograms: [], masks: [] };
  return inTurn(before ? [before, after] : [after], async () => {
    const [old, now] = [before, after].map((model) => new Map(model?.tensors.map((each) => [each.name, each])));
    const changed = layers.filter(({ name, zeros = 0, error = 0 }) => now!.has(name) && (zeros > 0 || error > 0));
    const histograms: Histogram[] = [];
    for (const { name } of largestItems(changed, mostHistograms, areaOf)) {
      signal?.throwIfAborted();
      const [was, is] = [old!.get(name), now!.get(name)!];
      const current = await numbersIn(after, is);
      const isPaired = was !== undefined && hasSameAxes(was, is);
      const histogram = await histogramOf(isPaired ? await numbersIn(before!, was) : current, current);
      histograms.push({ name, isBefore: isPaired, ...histogram });
    }
    const masks: MaskPicture[] = [];
    for (const tensor of chosenFor(changed, now!)) {
      signal?.throwIfAborted();
      masks.push(maskOf(tensor, await numbersIn(after, tensor)));
    }
    return { histograms, masks };
  });
}

/** The layers whose masks are shown, in their order: of small kernels, and if these are few, of matrices. */
function chosenFor(changed: readonly PageLayer[], now: ReadonlyMap<string, WeightTensor>): WeightTensor[] {
  const shares = new Map(changed.map(({ name, zeros = 0, weights = 0 }) => [name, percentOf(zeros, weights)]));
  const shareOf = ({ name }: WeightTensor) => shares.get(name)!;
  const sparse = changed
    .map(({ name }) => now.get(name)!)
    .filter((tensor) => shareOf(tensor) >= fewestZeros && shareOf(tensor) < 100 && !tensor.roles.includes('depth'));
  const kernelOf = ({ roles, shape }: WeightTensor) =>
    (['height', 'width'] as const).map((role) => shape[roles.indexOf(role)] ?? 1);
  const kernels = sparse.filter((tensor) => kernelOf(tensor).some((size) => size > 1));
  const small = kernels.filter((tensor) => kernelOf(tensor).every((size) => size <= largestKernel));
  const matrices = sparse.filter((tensor) => !kernels.includes(tensor));
  const chosen = new Set([...small.sort((a, b) => shareOf(b) - shareOf(a)), ...matrices].slice(0, mostMasks));
  return sparse.filter((tensor) => chosen.has(tensor));
}

const hasSameAxes = (one: WeightTensor, other: WeightTensor): boolean =>
  String([one.roles, one.shape]) === String([other.roles, other.shape]);

/** The numbers as floats of 32 bits. */
async function numbersIn(model: Model, { values }: WeightTensor): Promise<Float32Array<ArrayBuffer>> {
  return widenedInSlices(await model.copy(values), values.dtype);
}

/** @param now the same weights afterwards */
async function histogramOf(were: Float32Array, now: Float32Array): Promise<Omit<Histogram, 'name' | 'isBefore'>> {
  let [largest, squares, zeros, largestRemoved, smallestKept] = [0, 0, 0, -Infinity, Infinity];
  await inSlices(
    were.length,
    (from, to) => {
      for (let index = from; index < to; index++) {
        const size = Math.abs(were[index]!);
        if (!Number.isFinite(size)) continue;
        largest = Math.max(largest, size);
        squares += size ** 2;
        if (size === 0) zeros++;
        else if (now[index] === 0) largestRemoved = Math.max(largestRemoved, size);
        else smallestKept = Math.min(smallestKept, size);
      }
    },
    stepsAtATime,
  );
  const range = Math.min(largest, farthest * Math.sqrt(squares / Math.max(1, were.length - zeros)));
  let beyond = 0;
  const [kept, removed] = [new Array<number>(bars).fill(0), new Array<number>(bars).fill(0)];
  await inSlices(
    were.length,
    (from, to) => {
      for (let index = from; index < to; index++) {
        const value = were[index]!;
        if (!Number.isFinite(value) || value === 0) continue;
        if (Math.abs(value) > range) beyond++;
        const bar = Math.max(0, Math.min(bars - 1, Math.floor((bars * (value / range + 1)) / 2)));
        (now[index] === 0 ? removed : kept)[bar]!++;
      }
    },
    stepsAtATime,
  );
  const known = (size: number) => (Number.isFinite(size) ? size : undefined);
  return {
    ...{ range, beyond, kept, removed, zeros },
    ...{ largestRemoved: known(largestRemoved), smallestKept: known(smallestKept) },
  };
}

function maskOf({ name, kind, roles, shape }: WeightTensor, numbers: Float32Array): MaskPicture {
  const size = (role: Role) => shape[roles.indexOf(role)] ?? 1;
  const step = (role: Role) => (roles.includes(role) ? productOf(shape.slice(roles.indexOf(role) + 1)) : 0);
  const kernel = [size('height'), size('width')] as const;
  const [outs, ins] = [size('out') * size('multiplier'), size('in')];
  const [mostOuts, mostIns] = productOf(kernel) > 1 ? shownKernels : shownNumbers;
  // Of depthwise kernels more fit, since there is one for each output.
  const shownIns = Math.min(ins, mostIns);
  const shownOuts = Math.min(outs, ins === 1 ? mostOuts * mostIns : mostOuts);
  const isZero: boolean[] = [];
  for (let out = 0; out < shownOuts; out++)
    for (let input = 0; input < shownIns; input++)
      for (let y = 0; y < kernel[0]; y++)
        for (let x = 0; x < kernel[1]; x++) {
          const [main, multiple] = [Math.floor(out / size('multiplier')), out % size('multiplier')];
          const place = main * step('out') + multiple * step('multiplier') + input * step('in');
          isZero.push(numbers[place + y * step('height') + x * step('width')] === 0);
        }
  return { ...{ name, kind, kernel, isZero }, outs: [outs, shownOuts], ins: [ins, shownIns] };
}
