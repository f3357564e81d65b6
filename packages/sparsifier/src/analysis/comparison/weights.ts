import { inSlices, stepsAtATime } from '../../host/slices.js';
import { widened } from '../../model/numbers.js';
import {
  bytesOf,
  type DataType,
  type Kind,
  type Model,
  type Partner,
  type Skipped,
  type Values,
  type WeightTensor,
} from '../../model/model.js';
import { counted, formatted } from '../../pruning/text.js';
import { positionsOf } from './axes.js';
import { DifferenceSum, type Difference } from './difference.js';

/** What differs in one layer. */
export interface LayerDifference extends Difference {
  readonly name: string;
  readonly kind: Kind;
  /** As stored in `a`. */
  readonly shape: readonly number[];
  /** The biases and norms of the output channels. */
  readonly partners: readonly (Difference & { readonly part: Partner['part'] })[];
}

export interface WeightComparison {
  /** The layers that both models have, in the order of `a`. */
  readonly layers: readonly LayerDifference[];
  /** What was not compared, and why. */
  readonly skipped: readonly Pick<Skipped, 'name' | 'reason'>[];
  readonly notes: readonly string[];
}

/** A model whose numbers can be copied, one tensor at a time. */
export interface Weights extends Pick<Model, 'tensors' | 'skipped'> {
  copy(values: Values): Uint8Array<ArrayBuffer> | Promise<Uint8Array<ArrayBuffer>>;
}

/** Compares the weights of layers with the same name. Two tensors are in memory at a time. */
export async function compareWeights(a: Weights, b: Weights): Promise<WeightComparison> {
  const layers: LayerDifference[] = [];
  const skipped: Pick<Skipped, 'name' | 'reason'>[] = [];
  const others = new Map(b.tensors.flatMap((tensor) => namesOf(tensor).map((name) => [name, tensor] as const)));
  const matched = new Set<WeightTensor>();
  const [leftInA, leftInB] = [leftIn(a), leftIn(b)];
  for (const tensor of a.tensors) {
    const { name, kind, shape } = tensor;
    const other = namesOf(tensor)
      .map((each) => others.get(each))
      .find((each) => each !== undefined);
    if (other === undefined) {
      skipped.push({ name, reason: missing(tensor, 'a', leftInB, 'b') });
      continue;
    }
    matched.add(other);
    const order = orderOf(tensor, other);
    if (order === undefined) {
      skipped.push({ name, reason: `its shape is ${inWords(tensor)} in a and ${inWords(other)} in b` });
      continue;
    }
    layers.push({
      name,
      kind,
      shape,
      ...(await differenceOf(a, tensor.values, b, other.values, (numbers) =>
        isSorted(order) ? numbers : Float32Array.from(positionsOf(other.shape, order), (from) => numbers[from]!),
      )),
      partners: await comparePartners(a, tensor, b, other, skipped),
    });
  }
  for (const tensor of b.tensors) {
    if (!matched.has(tensor)) skipped.push({ name: tensor.name, reason: missing(tensor, 'b', leftInA, 'a') });
  }
  return { layers, skipped, notes: notesOn(a) };
}

/** Why a layer of one model is not compared. In the other model its weights may be stored so that they are no layer. */
function missing(tensor: WeightTensor, own: 'a' | 'b', left: ReadonlyMap<string, string>, other: 'a' | 'b'): string {
  const name = namesOf(tensor).find((each) => left.has(each));
  return name === undefined ? `this layer is only in ${own}` : `it is no layer of ${other}: ${left.get(name)}`;
}

/** Why tensors are no layers, by their names. */
const leftIn = ({ skipped }: Weights): ReadonlyMap<string, string> =>
  new Map(skipped.map(({ name, reason }) => [name, reason]));

const namesOf = ({ name, aliases }: WeightTensor): readonly string[] => [name, ...aliases];

const inWords = ({ shape, roles }: WeightTensor): string => `[${shape.join(', ')}] (${roles.join(', ')})`;

/** For each axis of `a`, the axis of `b` with the same role and size; undefined if there is none. */
function orderOf(a: WeightTensor, b: WeightTensor): number[] | undefined {
  if (String(a.shape) === String(b.shape) && String(a.roles) === String(b.roles)) return a.shape.map((_, axis) => axis);
  const order = a.roles.map((role) => b.roles.indexOf(role));
  const fits = order.every((axis, index) => b.shape[axis] === a.shape[index]);
  return fits && new Set(order).size === b.shape.length ? order : undefined;
}

const isSorted = (order: readonly number[]): boolean => order.every((axis, index) => axis === index);

async function differenceOf(
  a: Weights,
  first: Values,
  b: Weights,
  second: Values,
  arranged = (numbers: Float32Array) => numbers,
): Promise<Difference> {
  const sum = new DifferenceSum();
  const ours = await numbersIn(await a.copy(first), first.dtype);
  await sum.add(ours, arranged(await numbersIn(await b.copy(second), second.dtype)));
  return sum.result();
}

/** The numbers in these little-endian bytes. */
async function numbersIn(bytes: Uint8Array<ArrayBuffer>, dtype: DataType): Promise<Float32Array> {
  const size = bytesOf[dtype];
  const length = bytes.length / size;
  if (dtype === 'float32' && bytes.byteOffset % size === 0)
    return new Float32Array(bytes.buffer, bytes.byteOffset, length);
  const numbers = new Float32Array(length);
  const widen = (from: number, to: number) => numbers.set(widened(bytes.subarray(from * size, to * size), dtype), from);
  await inSlices(length, widen, stepsAtATime);
  return numbers;
}

/** Pairs the partners of two layers by their part and length, and adds those without a counterpart to `skipped`. */
async function comparePartners(
  a: Weights,
  { name, partners }: WeightTensor,
  b: Weights,
  other: WeightTensor,
  skipped: Pick<Skipped, 'name' | 'reason'>[],
): Promise<LayerDifference['partners']> {
  const differences: (Difference & { part: Partner['part'] })[] = [];
  const rest = [...other.partners];
  const only = (part: string, where: 'a' | 'b') => skipped.push({ name, reason: `its ${part} is only in ${where}` });
  for (const { part, values } of partners) {
    const at = rest.findIndex((each) => each.part === part && each.values.length === values.length);
    if (at < 0) {
      only(part, 'a');
      continue;
    }
    const [partner] = rest.splice(at, 1);
    differences.push({ part, ...(await differenceOf(a, values, b, partner!.values)) });
  }
  for (const { part } of rest) only(part, 'b');
  return differences;
}

/** What is in the file and in no layer. */
function notesOn({ skipped }: Weights): string[] {
  const weights = skipped.reduce((sum, each) => sum + each.weights, 0);
  if (weights === 0) return [];
  const tensors = skipped.filter((each) => each.weights > 0).length;
  return [
    `${formatted(weights)} numbers in ${counted(tensors, 'tensor')} of a were not compared, since they are in no layer.`,
  ];
}
