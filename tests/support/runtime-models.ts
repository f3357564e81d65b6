// Small models for what `sparsifier doctor` knows about runtimes. All have the input `x` of 2 x 64 floats.
import {
  bytesField,
  concat,
  integerAttribute,
  integerField,
  mixedNumbers,
  model,
  node,
  numbers,
  sparseTensor,
  tensor,
  textField,
  type DataType,
  type GraphOptions,
} from './onnx-builder.js';

export const inputShape = [2, 64] as const;
export const inputNumbers = (): Float32Array => new Float32Array(mixedNumbers(128, 1).buffer);

const product = node('MatMul', 'x w', 'y');
const weight = tensor('w', [64, 32], { data: mixedNumbers(2048, 2) });
const codes = tensor('codes', [64, 32], {
  dtype: 'int8',
  data: Uint8Array.from({ length: 2048 }, (_, place) => (place * 37) % 256),
});
const scales = tensor('scales', [32], { data: numbers('float32', Array<number>(32).fill(0.01)) });
const io = { inputs: { x: inputShape }, outputs: { y: 2 } } as const;
const graphOf = (nodes: readonly Uint8Array[], initializers: readonly Uint8Array[], rest: GraphOptions = {}) =>
  ({ ...io, nodes, initializers, ...rest }) satisfies GraphOptions;
const plain = graphOf([product], [weight]);
const cast = (from: string, to: number, output: string) =>
  node('Cast', from, output, { attributes: [integerAttribute('to', to)] });

/** Sizes of the types of `TensorProto` that the builder does not have. */
const oddTypes: Readonly<Record<string, readonly [number: number, bytes: number]>> = { int4: [22, 1024] };

/** A weight of this type behind a Cast to floats. */
export function castFrom(type: string): Uint8Array<ArrayBuffer> {
  const odd = oddTypes[type];
  const stored =
    odd === undefined
      ? tensor('stored', [64, 32], { dtype: type as DataType })
      : concat(
          ...[64, 32].map((size) => integerField(1, size)),
          integerField(2, odd[0]),
          textField(8, 'stored'),
          bytesField(9, new Uint8Array(odd[1])),
        );
  return model(graphOf([cast('stored', 1, 'w'), product], [stored]), 21);
}

export const plainModel = (opset: number): Uint8Array<ArrayBuffer> => model(plain, opset);
/** The last value of a field counts. */
export const withIr = (ir: number): Uint8Array<ArrayBuffer> => concat(model(plain), integerField(1, ir));
export const sparseModel = (): Uint8Array<ArrayBuffer> =>
  model({ ...io, nodes: [product], sparse: [sparseTensor('w', [64, 32], 5)] }, 13);
export const castMul = (): Uint8Array<ArrayBuffer> =>
  model(graphOf([cast('codes', 1, 'float'), node('Mul', 'float scales', 'w'), product], [codes, scales]), 13);
export const dequantizeLinear = (): Uint8Array<ArrayBuffer> =>
  model(
    graphOf(
      [node('DequantizeLinear', 'codes scales', 'w', { attributes: [integerAttribute('axis', 1)] }), product],
      [codes, scales],
    ),
    13,
  );
/** A convolution, whose DequantizeLinear no other operator takes in. */
export const dequantizeLinearOfConvolution = (): Uint8Array<ArrayBuffer> =>
  model(
    {
      nodes: [node('DequantizeLinear', 'codes scale', 'w'), node('Conv', 'x w', 'y')],
      initializers: [
        tensor('codes', [8, 4, 3, 3], { dtype: 'int8' }),
        tensor('scale', [], { data: numbers('float32', [0.01]) }),
      ],
      inputs: { x: [1, 4, 8, 8] },
      outputs: { y: 4 },
    },
    13,
  );
export const halfProduct = (): Uint8Array<ArrayBuffer> =>
  model(
    graphOf(
      [cast('x', 10, 'half'), node('MatMul', 'half w', 'z'), cast('z', 1, 'y')],
      [tensor('w', [64, 32], { dtype: 'float16', data: new Uint8Array(4096) })],
    ),
    13,
  );
export const externalModel = (): Uint8Array<ArrayBuffer> =>
  model(graphOf([product], [tensor('w', [64, 32], { external: { location: 'w.data' } })]), 13);
export const externalData = (): Uint8Array<ArrayBuffer> => mixedNumbers(2048, 2);
