import { productOf } from '../../../model/numbers.js';
import type { Node, Value } from '../../onnx/graph.js';
import { fitsSplit } from '../../onnx/structure/masks/claims.js';
import type { Split } from '../../onnx/structure/masks/tracks.js';
import type { BiasInput, Translation } from './translation.js';

/** The operators that add up what they read. */
const adding: ReadonlySet<string> = new Set(['Conv', 'MatMul']);

/**
 * Finds where numbers can be added to what nodes add up that have no bias: in a bias that is added behind them, or the moving
 * mean of a batch normalisation.
 */
export function findBiases(translation: Translation): void {
  const isStored = (value: Value | undefined) => value?.producer === undefined && isWeightIn(translation, value);
  for (const node of translation.graph.nodes) {
    if (!adding.has(node.op) || translation.biases.has(node)) continue;
    const rank = translation.rankOf(node.outputs[0]);
    const axis = node.op === 'MatMul' ? 1 : rank && rank - 1;
    const count = node.inputs[1]?.view?.constant.tensor.shape.at(-1) ?? NaN;
    const found = axis && biasBehind(translation, node, { axis, sizes: [count], count }, isStored);
    if (found) translation.biases.set(node, found);
  }
}

/**
 * The only input behind a node to which one number for each of its channels can be added.
 * @param channels the axes of its output that count them
 * @param isWeight whether numbers can be added to those of an input
 */
export function biasBehind(
  translation: Translation,
  from: Node,
  channels: Split,
  isWeight: (value: Value | undefined) => boolean = (value) => isWeightIn(translation, value),
): BiasInput | undefined {
  let split = channels;
  for (let at = from.outputs[0]!; at.readers.length === 1 && !at.isOutput;) {
    const { node, input } = at.readers[0]!;
    const rank = translation.rankOf(at);
    const isWhole = split.sizes.length === 1;
    if (node.op === 'BatchNormalization') {
      const isAlong = isWhole && input === 0 && rank !== undefined && rank - split.axis === 1;
      return isAlong && isWeight(node.inputs[3]) ? { node, input: 3, sign: -1 } : undefined;
    }
    if (node.op === 'Add' || (node.op === 'Sub' && input === 0)) {
      const value = node.inputs[1 - input];
      const isEach =
        value?.view !== undefined && fitsSplit(value.view, split) && value.view.axes.length <= (rank ?? Infinity);
      return isEach && isWeight(value) ? { node, input: 1 - input, sign: node.op === 'Add' ? 1 : -1 } : undefined;
    }
    const after = input > 0 ? undefined : splitAfter(node, split, rank);
    if (after === undefined) return undefined;
    split = after;
    at = node.outputs[0]!;
  }
  return undefined;
}

/** The axes that count channels behind a node which only moves axes. */
function splitAfter({ op, attributes, inputs }: Node, split: Split, rank: number | undefined): Split | undefined {
  const { axis, sizes, count } = split;
  const list = (name: string) => attributes.get(name)?.integers ?? [];
  if (op === 'Identity') return split;
  // They move axes in front of that of the channels.
  if (op === 'SpaceToBatch' || op === 'BatchToSpace') return axis === 1 ? split : undefined;
  if (op === 'Reshape' && axis === 1) {
    const target = inputs[1]?.view?.constant.tensor.integers ?? [];
    const from = target.map((_, at) => productOf(target.slice(at))).lastIndexOf(count);
    return from < 0 ? undefined : { axis, count, sizes: target.slice(from) };
  }
  if (sizes.length > 1 || rank === undefined) return undefined;
  const place = rank - axis;
  if (op === 'Transpose') return { ...split, axis: rank - list('perm').indexOf(place) };
  // Only axes behind it count.
  if (op === 'Squeeze') return { ...split, axis: axis - list('axes').filter((each) => each > place).length };
  if (op !== 'Unsqueeze') return undefined;
  const after = list('axes').reduce((at, each) => (each <= at ? at + 1 : at), place);
  return { ...split, axis: rank + list('axes').length - after };
}

/** The shape of a constant as a node reads it. */
export const shapeIn = (value: Value | undefined): readonly number[] | undefined =>
  value?.view?.axes.map((axis) => value.view!.constant.tensor.shape[axis] ?? 1);

/** Whether a value is a weight whose numbers are floats. */
const isWeightIn = ({ weights }: Translation, value: Value | undefined): boolean => {
  const constant = value?.view?.constant;
  return constant !== undefined && weights.has(constant) && constant.tensor.type.startsWith('float');
};
