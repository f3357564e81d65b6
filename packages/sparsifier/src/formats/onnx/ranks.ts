import type { Node } from './graph.js';

/** Operators whose output has the rank of these inputs, or the highest of their ranks. */
const keeping: ReadonlyMap<string, readonly number[]> = new Map([
  ...[
    ...['Relu', 'LeakyRelu', 'PRelu', 'Elu', 'Selu', 'Celu', 'ThresholdedRelu', 'Clip', 'Sigmoid', 'HardSigmoid'],
    ...['HardSwish', 'Mish', 'Gelu', 'Swish', 'Softplus', 'Softsign', 'Softmax', 'LogSoftmax', 'Tanh', 'Erf', 'Exp'],
    ...['Log', 'Sqrt', 'Reciprocal', 'Abs', 'Neg', 'Floor', 'Ceil', 'Round', 'Sign', 'Not', 'Cast', 'Identity'],
    ...['Dropout', 'Transpose', 'Pad', 'Slice', 'BatchNormalization', 'InstanceNormalization', 'LayerNormalization'],
    ...['GroupNormalization', 'LpNormalization', 'LRN', 'MaxPool', 'AveragePool', 'LpPool', 'GlobalMaxPool'],
    ...['GlobalAveragePool', 'GlobalLpPool', 'QuantizeLinear', 'DequantizeLinear', 'Resize', 'DepthToSpace'],
    ...['SpaceToDepth', 'CumSum', 'Trilu', 'Concat'],
  ].map((op): [string, readonly number[]] => [op, [0]]),
  ...['Add', 'Sub', 'Mul', 'Div', 'Pow'].map((op): [string, readonly number[]] => [op, [0, 1]]),
]);

/** The number of axes of the first output of a node, if it follows from the inputs. */
export function rankAfter({ op, inputs }: Node): number | undefined {
  const rankOf = (input: number) => inputs[input]?.rank;
  const longest = keeping.get(op)?.map(rankOf);
  if (longest !== undefined) return longest.includes(undefined) ? undefined : Math.max(...(longest as number[]));
  // The weight of a convolution has as many axes as its input.
  if (op === 'Conv' || op === 'ConvTranspose') return rankOf(1) ?? rankOf(0);
  if (op === 'Gemm' || op === 'Flatten') return 2;
  if (op === 'MatMul') return rankOfProduct(rankOf(0), rankOf(1));
  if (op === 'Gather') {
    const [data, indices] = [rankOf(0), rankOf(1)];
    return data === undefined || indices === undefined ? undefined : data + indices - 1;
  }
  // The new shape is a vector with one entry per axis.
  if (op === 'Reshape') return inputs[1]?.view?.constant.tensor.shape[0];
  return undefined;
}

/** A product with a vector has one axis less than the other factor. */
function rankOfProduct(left: number | undefined, right: number | undefined): number | undefined {
  if (left === undefined || right === undefined) return undefined;
  if (left === 1) return right - 1;
  return right === 1 ? left - 1 : Math.max(left, right);
}
