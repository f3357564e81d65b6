// ONNX models of codes, and verbs that change how numbers are stored.
import { dequantize, quantize } from 'sparsifier/quantize';
import {
  codes,
  decoded,
  floatAttribute,
  lookups,
  matrix,
  model,
  node,
  ownWeights,
  product,
  reading,
  scale,
  sharedMatrix,
  tensor,
  times,
} from '../onnx-models.mjs';

export const kinds = [
  {
    name: 'n weights with one scale',
    n: 5000,
    make: (n) =>
      model({
        nodes: [...decoded(n), ...times(n, (index) => product('x', `w${index}`, `y${index}`))],
        initializers: [...codes(n), ...scale(1)],
        inputs: ['x'],
      }),
  },
  {
    name: 'n weights with a scale of n entries',
    n: 3000,
    make: (n) =>
      model({
        nodes: [...decoded(n), ...times(n, (index) => product('x', `w${index}`, `y${index}`))],
        initializers: [...codes(n), ...scale(n)],
        inputs: ['x'],
      }),
  },
  { name: 'n layers that share one weight, quantized', n: 5000, run: reading(sharedMatrix, (read) => quantize(read)) },
  {
    name: 'n layers that share a weight, with n factors, quantized',
    n: 2000,
    run: reading(
      (n) =>
        model({
          nodes: times(n, (index) =>
            node('Gemm', ['x', 'w'], [`y${index}`], { attributes: [floatAttribute('alpha', index + 1)] }),
          ),
          initializers: [tensor('w', [4, n])],
          inputs: ['x'],
        }),
      (read) => quantize(read, { weights: 'int8-dynamic' }),
    ),
  },
  { name: 'n layers, quantized', n: 2000, run: reading((n) => ownWeights(n, () => []), quantize) },
  {
    name: 'n values of one name, quantized',
    n: 20_000,
    run: reading(
      (n) =>
        model({
          nodes: [product('x', 'w', 'y')],
          initializers: [matrix('w')],
          inputs: ['x'],
          values: times(n, () => 'w'),
        }),
      quantize,
    ),
  },
  {
    name: 'n weights with one scale, dequantized',
    n: 3000,
    run: reading(
      (n) =>
        model({
          nodes: [...decoded(n), ...times(n, (index) => product('x', `w${index}`, `y${index}`))],
          initializers: [...codes(n), ...scale(1)],
          inputs: ['x'],
        }),
      dequantize,
    ),
  },
  {
    name: 'n lookups with one output, decoded n times, dequantized',
    n: 3000,
    run: reading(lookups, dequantize),
  },
];
