import type { Value } from '../../onnx/graph.js';
import type { BiasInput, Translation } from './translation.js';

/** The operators that add up what they read. */
const adding: ReadonlySet<string> = new Set(['Conv', 'MatMul']);

/**
 * Finds where numbers can be added to what nodes add up that have no bias: in a bias that is added behind them, or the moving
 * mean of a batch normalisation.
 */
export function findBiases(translation: Translation): void {
  for (const node of translation.graph.nodes) {
    if (!adding.has(node.op) || translation.biases.has(node)) continue;
    const [output] = node.outputs as readonly [Value];
    const rank = translation.rankOf(output);
    const axis = node.op === 'MatMul' ? rank && rank - 1 : 1;
    const count = node.inputs[1]?.view?.constant.tensor.shape.at(-1);
    const found = axis === undefined ? undefined : behind(translation, output, axis, count);
    if (found !== undefined) translation.biases.set(node, found);
  }
}

/** The only input behind a value to which one number for each index of an axis can be added. */
function behind(
  translation: Translation,
  value: Value,
  axis: number,
  count: number | undefined,
): BiasInput | undefined {
  let place = axis;
  for (let at = value; at.readers.length === 1 && !at.isOutput;) {
    const { node, input } = at.readers[0]!;
    const isWeight = (other: number) => isWeightIn(translation, node.inputs[other]);
    if (node.op === 'BatchNormalization')
      return input === 0 && place === 1 && isWeight(3) ? { node, input: 3, sign: -1 } : undefined;
    if (node.op === 'Add') {
      const size = node.inputs[1 - input]?.shape;
      const isAlong = size !== undefined && size.length - 1 <= place && place === (translation.rankOf(at) ?? NaN) - 1;
      const isOne = size?.at(-1) === count && size?.slice(0, -1).every((each) => each === 1) === true;
      return isAlong && isOne && isWeight(1 - input) ? { node, input: 1 - input, sign: 1 } : undefined;
    }
    if (node.op === 'Transpose') place = node.attributes.get('perm')!.integers.indexOf(place);
    else if (node.op !== 'Identity') return undefined;
    at = node.outputs[0]!;
  }
  return undefined;
}

/** Whether a value is a weight as it is stored, whose numbers are floats. */
function isWeightIn({ weights }: Translation, value: Value | undefined): boolean {
  const constant = value?.producer === undefined ? value?.view?.constant : undefined;
  return constant !== undefined && weights.has(constant) && constant.tensor.type.startsWith('float');
}
