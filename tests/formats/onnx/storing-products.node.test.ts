import { describe, expect, test } from 'vitest';
import {
  constant,
  floatAttribute,
  graph,
  graphAttribute,
  integerAttribute,
  integersAttribute,
  node,
  numbers,
  tensor,
} from '../../support/onnx-builder.js';
import { readGraphOf } from '../../support/onnx-reader.js';
import {
  bytesOf,
  expectNear,
  files,
  optimised,
  run,
  stored,
  weight,
  type Files,
  type Network,
} from '../../support/stored-models.js';

interface Product extends Network {
  /** The operators of the written file for each form, and of what onnxruntime makes of them. */
  readonly dynamic: readonly string[];
  readonly fused: readonly string[];
  readonly blocked: readonly string[];
  /** The initializers that onnxruntime wants among the inputs before version 4: those that only a branch reads. */
  readonly listed?: Readonly<Record<string, readonly number[]>>;
}

const dynamicProduct = ['DynamicQuantizeLinear', 'MatMulInteger', 'Cast', 'Mul', 'Mul'];
const fused = ['DynamicQuantizeMatMul'];
const blocked = ['MatMulNBits'];
const product = { dynamic: dynamicProduct, fused, blocked };
const biased = { dynamic: [...dynamicProduct, 'Add'], fused, blocked: [...blocked, 'Add'] };

const one = (nodes: readonly Uint8Array[], initializers: readonly Uint8Array[], from = [3, 40]): Network => ({
  options: { nodes, initializers, inputs: { x: from }, outputs: { y: undefined } },
  inputs: { x: from },
});
const gemm = (inputs: string, ...attributes: readonly Uint8Array[]) =>
  node('Gemm', inputs, 'y', { name: 'layer', attributes });
const matMul = (inputs: string, name = 'layer', output = 'y') => node('MatMul', inputs, output, { name });
const transposed = integerAttribute('transB', 1);

/** A branch that multiplies the input from outside it. */
const branch = (name: string, by: string) =>
  graphAttribute(
    name,
    graph({
      nodes: [
        ...(by === 'inner' ? [constant('inner', [40, 7], bytesOf(280, 9))] : []),
        node('MatMul', `x ${by}`, `${by}.product`, { name: `layer.${by}` }),
        node('Relu', `${by}.product`, `${by}.y`),
      ],
      outputs: { [`${by}.y`]: undefined },
    }),
  );

const products: Readonly<Record<string, Product>> = {
  'a MatMul': { ...one([matMul('x w')], [weight('w', [40, 7])]), ...product },
  'a MatMul of a stack of inputs': { ...one([matMul('x w')], [weight('w', [40, 7])], [2, 3, 40]), ...product },
  'a MatMul of blocks that are full': { ...one([matMul('x w')], [weight('w', [64, 7])], [3, 64]), ...product },
  'a MatMul with few inputs': { ...one([matMul('x w')], [weight('w', [5, 7])], [3, 5]), ...product },
  'a MatMul with an odd number of inputs': { ...one([matMul('x w')], [weight('w', [33, 7])], [3, 33]), ...product },
  'a MatMul with one output': { ...one([matMul('x w')], [weight('w', [40, 1])]), ...product },
  'a MatMul of opset 11': { ...one([matMul('x w')], [weight('w', [40, 7])]), opset: 11, ...product },
  'a MatMul whose bias is added behind it': {
    ...one([matMul('x w', 'layer', 'z'), node('Add', 'z b', 'y')], [weight('w', [40, 7]), weight('b', [7])]),
    ...biased,
  },
  'a Gemm': { ...one([gemm('x w')], [weight('w', [40, 7])]), ...product },
  'a Gemm with a transposed weight': { ...one([gemm('x w', transposed)], [weight('w', [7, 40])]), ...product },
  'a Gemm with a bias': { ...one([gemm('x w b')], [weight('w', [40, 7]), weight('b', [7])]), ...biased },
  'a Gemm with a bias and a factor': {
    ...one([gemm('x w b', transposed, floatAttribute('alpha', 0.3))], [weight('w', [7, 40]), weight('b', [7])]),
    ...biased,
  },
  'a Gemm with a bias for each row': {
    ...one([gemm('x w b')], [weight('w', [40, 7]), weight('b', [3, 1])]),
    ...biased,
    fused: ['DynamicQuantizeMatMul', 'Add'],
  },
  'a weight in a Constant node': {
    ...one([node('Relu', 'x', 'z'), constant('w', [40, 7], bytesOf(280, 3)), matMul('z w')], []),
    ...product,
    dynamic: ['Relu', ...dynamicProduct],
    fused: ['Relu', ...fused],
    blocked: ['Relu', ...blocked],
  },
  'a weight behind nodes that arrange it': {
    ...one(
      [
        constant('shape', [2], { dtype: 'int64', data: numbers('int64', [40, -1]) }),
        node('Identity', 'w', 'i'),
        node('Transpose', 'i', 't', { attributes: [integersAttribute('perm', [1, 0])] }),
        node('Reshape', 't shape', 'r'),
        matMul('x r'),
      ],
      [weight('w', [7, 40])],
    ),
    ...product,
  },
  'a weight that two nodes share': {
    ...one([matMul('x w', 'first', 'h'), matMul('h w', 'second')], [weight('w', [40, 40])]),
    dynamic: [...dynamicProduct, ...dynamicProduct],
    fused: [...fused, ...fused],
    blocked: [...blocked, ...blocked],
  },
  'products with the same input, the first of which is quantised last': {
    ...one(
      [matMul('x v', 'first', 'h'), node('Relu', 'h', 'i'), matMul('x w', 'second', 'j'), node('Add', 'i j', 'y')],
      [weight('v', [40, 7]), weight('w', [40, 7])],
    ),
    dynamic: [...dynamicProduct, 'Relu', ...dynamicProduct.slice(1), 'Add'],
    fused: ['DynamicQuantizeLinear', 'MatMulIntegerToFloat', 'Relu', 'MatMulIntegerToFloat', 'Add'],
    blocked: [...blocked, 'Relu', ...blocked, 'Add'],
  },
  'a product in each branch, with a weight of its own and one from outside': {
    ...one(
      [
        node('ReduceMax', 'x', 'most', { attributes: [integerAttribute('keepdims', 0)] }),
        node('Greater', 'most zero', 'condition'),
        node('If', 'condition', 'y', { attributes: [branch('then_branch', 'inner'), branch('else_branch', 'outer')] }),
      ],
      [weight('outer', [40, 7]), tensor('zero', [], { data: new Uint8Array(4) })],
    ),
    dynamic: ['ReduceMax', 'Greater', 'If'],
    fused: ['ReduceMax', 'Greater', 'If'],
    blocked: ['ReduceMax', 'Greater', 'If'],
    listed: { outer: [40, 7] },
  },
  'a shared weight with two factors': {
    ...one(
      [
        node('Gemm', 'x w', 'h', { name: 'first', attributes: [floatAttribute('alpha', 0.5)] }),
        node('Gemm', 'h w', 'y', { name: 'second' }),
      ],
      [weight('w', [40, 40])],
    ),
    dynamic: [...dynamicProduct, ...dynamicProduct],
    fused: [...fused, ...fused],
    blocked: [...blocked, ...blocked],
  },
};

const operatorsOf = (found: Files) => readGraphOf([...found.values()][0]!).nodes.map(({ op }) => op);

/** The root of the mean of squares. */
const size = (numbers: readonly number[]) =>
  Math.sqrt(numbers.reduce((sum, number) => sum + number * number, 0) / numbers.length);

describe.each(Object.entries(products))('%s', (_name, network) => {
  test.each([8, 3])(
    'An int8 product with inputs of 8 bits is fused and near to that of floats (IR %i)',
    async (version) => {
      const options = { ...network.options, inputs: { ...network.options.inputs, ...(version < 4 && network.listed) } };
      const { after, reference } = await stored(files({ ...network, options, version }), 'int8-dynamic');
      const constants = (op: string) => op !== 'Constant';
      expect(operatorsOf(after).filter(constants)).toEqual(network.dynamic);
      expect((await optimised(after)).sort()).toEqual([...network.fused].sort());
      for (const level of ['disabled', 'all'] as const) {
        const [{ y: found }, { y: expected }] = [
          await run(after, network.inputs, level),
          await run(reference, network.inputs, level),
        ];
        expect(found).toHaveLength(expected!.length);
        expect(size(expected!.map((number, index) => number - found![index]!))).toBeLessThan(0.015 * size(expected!));
      }
    },
  );

  test('An int4 product is that of the numbers that its codes stand for', async () => {
    const { after, reference } = await stored(files(network), 'int4');
    expect(operatorsOf(after).filter((op) => op !== 'Constant')).toEqual(network.blocked);
    for (const level of ['disabled', 'all'] as const) {
      expectNear(await run(after, network.inputs, level), await run(reference, network.inputs, level));
    }
  });
});
