import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as node from 'onnxruntime-node';
import * as web from 'onnxruntime-web';
import { Sparsifier } from 'sparsifier';
import { sparsifyFile } from 'sparsifier/file';
import { readOnnx } from 'sparsifier/formats/onnx';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  integerAttribute,
  integersAttribute,
  model,
  node as operator,
  numbers,
  tensor,
} from '../../support/onnx-builder.js';
import { differsAt } from '../../support/bytes.js';
import { codesOf, keptBytes, naiveCodes, type CodeType } from '../../support/onnx-codes.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sparsifier-codes-'));
});
afterAll(() => rm(folder, { recursive: true }));

/** A network whose output contains its weights: an input of ones and zeros picks each of them. */
interface Network {
  readonly op: 'Conv' | 'MatMul' | 'Gemm';
  readonly type: CodeType;
  readonly zero: number;
  readonly isPerChannel: boolean;
  /** What decodes the codes: `DequantizeLinear`, or `Mul` behind `Cast` and, if there is a zero point, `Sub`. */
  readonly decoder: 'DequantizeLinear' | 'Mul';
}

const rows = 6;
const columns = 8;
const networks = (['DequantizeLinear', 'Mul'] as const).flatMap((decoder) =>
  (['Conv', 'MatMul', 'Gemm'] as const).flatMap((op) =>
    ([true, false] as const).flatMap((isPerChannel): Network[] => [
      { op, type: 'int8', zero: 0, isPerChannel, decoder },
      { op, type: 'uint8', zero: 128, isPerChannel, decoder },
    ]),
  ),
);

/** (out, in) in Conv and Gemm, (in, out) in MatMul. */
function describeNetwork({ op, type, zero, isPerChannel, decoder }: Network) {
  const outputs = op === 'MatMul' ? columns : rows;
  const inputs = op === 'MatMul' ? rows : columns;
  const channels = isPerChannel ? outputs : 1;
  const scales = Array.from({ length: channels }, (_, index) => 0.05 / Math.sqrt(index + 2));
  const matrix = [rows, columns];
  const affine = {
    type,
    shape: matrix,
    scales,
    zeros: scales.map(() => zero),
    scaleOf: ([row, column]: readonly number[]) => (isPerChannel ? (op === 'MatMul' ? column! : row!) : 0),
  };
  const shape = op === 'Conv' ? [...matrix, 1, 1] : matrix;
  const isLinear = decoder === 'DequantizeLinear';
  const behind = isLinear || op === 'MatMul' ? [] : shape.slice(1).map(() => 1);
  const scaleShape = isPerChannel ? [channels, ...behind] : [];
  const decoding = isLinear
    ? [operator(decoder, 'w s z', 'd', { attributes: [integerAttribute('axis', op === 'MatMul' ? 1 : 0)] })]
    : [
        operator('Cast', 'w', 'f', { attributes: [integerAttribute('to', 1)] }),
        ...(zero === 0 ? [] : [operator('Sub', 'f z', 'g')]),
        operator(decoder, `${zero === 0 ? 'f' : 'g'} s`, 'd'),
      ];
  const zeroType = isLinear ? type : 'float32';
  const data = codesOf(type, matrix);
  const file = (external: boolean) =>
    model(
      {
        nodes: [
          ...decoding,
          operator(op, 'x d', 'y', {
            name: 'layer',
            attributes: op === 'Gemm' ? [integerAttribute('transB', 1)] : [],
          }),
        ],
        initializers: [
          external
            ? tensor('w', shape, { dtype: type, external: { location: 'codes.bin', offset: 0, length: data.length } })
            : tensor('w', shape, { dtype: type, data }),
          tensor('s', scaleShape, { data: numbers('float32', scales) }),
          ...(isLinear || zero !== 0
            ? [tensor('z', scaleShape, { dtype: zeroType, data: numbers(zeroType, affine.zeros) })]
            : []),
        ],
        inputs: { x: op === 'Conv' ? 4 : 2 },
        outputs: { y: op === 'Conv' ? 4 : 2 },
      },
      17,
    );
  return { affine, data, file, inputs, inputShape: op === 'Conv' ? [inputs, inputs, 1, 1] : [inputs, inputs] };
}

/** The weights as a runtime sees them, one row for each input. */
async function seenBy(
  runtime: typeof node | typeof web,
  graphOptimizationLevel: 'disabled' | 'all',
  bytes: Uint8Array,
  size: number,
  shape: readonly number[],
) {
  const identity = Float32Array.from({ length: size * size }, (_, index) => (index % (size + 1) === 0 ? 1 : 0));
  const session = await runtime.InferenceSession.create(bytes, { graphOptimizationLevel });
  const { y } = await session.run({ x: new runtime.Tensor('float32', identity, shape) as node.Tensor & web.Tensor });
  await session.release();
  return [...(y!.data as Float32Array)];
}

const transposed = (values: readonly number[]) =>
  Array.from({ length: rows * columns }, (_, index) => values[(index % rows) * columns + Math.floor(index / rows)]!);

const options = { context: 'local', criteria: 'largeFinal', layerType: 'all', granularity: 'weight' } as const;

describe.each(networks)('$op behind $decoder of $type codes around $zero (per channel: $isPerChannel)', (network) => {
  const { affine, data, file, inputs, inputShape } = describeNetwork(network);
  const { pruned, zeros } = naiveCodes(affine, data, 50);
  const { values } = naiveCodes(affine, pruned);

  test('The runtimes see the zeros, and every kept weight as it was', async () => {
    web.env.wasm.numThreads = 1;
    using read = await readOnnx(file(false));
    const report = await new Sparsifier(read, options).sparsifyModel(50);
    expect(report.total.zeros).toBe(zeros);
    const bytes = await read.bytes();
    expect(bytes).toEqual(keptBytes(file(false), data, pruned));
    const expected = network.op === 'MatMul' ? values : transposed(values);
    expect(expected.filter((value) => value === 0)).toHaveLength(zeros);
    for (const runtime of [node, web]) {
      const exact = await seenBy(runtime, 'disabled', bytes, inputs, inputShape);
      expect(exact.map((value) => value + 0)).toEqual(expected.map((value) => value + 0));
      // Its optimised kernels may round sums in which the zero point cancels.
      const fast = await seenBy(runtime, 'all', bytes, inputs, inputShape);
      const far = expected.findIndex((value, index) => Math.abs(fast[index]! - value) > 1e-5);
      expect(far, 'the first weight that differs').toBe(-1);
    }
  });

  test.each([50, 0, 90])('A file that is streamed has the same bytes as in memory at %i %%', async (sparsity) => {
    const [input, output] = [join(folder, 'model.onnx'), join(folder, 'sparse.onnx')];
    for (const external of [false, true]) {
      await writeFile(input, file(external));
      if (external) await writeFile(join(folder, 'codes.bin'), data);
      using read = await readOnnx(input);
      const report = await new Sparsifier(read, options).sparsifyModel(sparsity);
      const streamed = await sparsifyFile(input, output, { ...options, sparsity, force: true });
      expect(streamed.total).toEqual(report.total);
      const files = [...(await read.toFiles()).values()];
      const found = external ? await readFile(`${output}.data`) : await readFile(output);
      expect(new Uint8Array(found)).toEqual(files.at(-1));
    }
  });
});

test('Codes in external data that are ranked together are streamed with the same bytes as in memory', async () => {
  const shape = [600, 500];
  const layers = ['v', 'w'].map((name, index) => ({ name, data: codesOf('int8', shape), file: `${name}.bin`, index }));
  const bytes = model({
    nodes: layers.flatMap(({ name, index }) => [
      operator('DequantizeLinear', `${name} ${name}s`, `${name}d`, { attributes: [integerAttribute('axis', index)] }),
      operator('MatMul', `x ${name}d`, `${name}y`, { name }),
    ]),
    initializers: layers.flatMap(({ name, file, index }) => [
      tensor(name, shape, { dtype: 'int8', external: { location: file } }),
      tensor(`${name}s`, [shape[index]!], {
        data: numbers(
          'float32',
          Array.from({ length: shape[index]! }, (_, channel) => 1 + Math.sin(channel)),
        ),
      }),
    ]),
  });
  const input = join(folder, 'large.onnx');
  await writeFile(input, bytes);
  for (const { file, data } of layers) await writeFile(join(folder, file), data);
  for (const granularity of ['weight', 'row'] as const) {
    const asked = { ...options, granularity, context: 'global' } as const;
    using read = await readOnnx(input);
    const report = await new Sparsifier(read, asked).sparsifyModel(60);
    const streamed = await sparsifyFile(input, join(folder, 'large') + '/', { ...asked, sparsity: 60, force: true });
    expect(streamed.total).toEqual(report.total);
    expect(report.total.zeros).toBeGreaterThan(0.6 * 600_000 - 600);
    for (const [name, expected] of await read.toFiles()) {
      expect(differsAt(await readFile(join(folder, 'large', name)), expected), name).toBe(-1);
    }
  }
});

test('A network whose activations are quantised too runs, and its removed filters give zeros', async () => {
  const activation = (name: string, at: string) => [
    operator('QuantizeLinear', `${name} as az`, `${name}q`),
    operator('DequantizeLinear', `${name}q as az`, at),
  ];
  const data = codesOf('int8', [4, 3, 2, 2]);
  const bias = codesOf('int32', [4]);
  const bytes = model({
    nodes: [
      ...activation('x', 'xd'),
      operator('DequantizeLinear', 'w s z', 'd', { attributes: [integerAttribute('axis', 0)] }),
      operator('DequantizeLinear', 'b bs', 'c', { attributes: [integerAttribute('axis', 0)] }),
      operator('Conv', 'xd d c', 'v', { name: 'conv', attributes: [integersAttribute('kernel_shape', [2, 2])] }),
      ...activation('v', 'y'),
    ],
    initializers: [
      tensor('as', [], { data: numbers('float32', [0.0625]) }),
      tensor('az', [], { dtype: 'uint8', data: numbers('uint8', [100]) }),
      tensor('w', [4, 3, 2, 2], { dtype: 'int8', data }),
      tensor('s', [4], { data: numbers('float32', [0.01, 0.02, 0.01, 0.005]) }),
      tensor('z', [4], { dtype: 'int8', data: numbers('int8', [0, 0, 0, 0]) }),
      tensor('b', [4], { dtype: 'int32', data: bias }),
      tensor('bs', [4], { data: numbers('float32', [0.000625, 0.00125, 0.000625, 0.0003125]) }),
    ],
    inputs: { x: 4 },
    outputs: { y: 4 },
  });
  using read = await readOnnx(bytes);
  const { layers } = await new Sparsifier(read, { ...options, granularity: 'filter' }).sparsifyModel(50);
  expect(layers).toMatchObject([{ keptUnits: 2, zeros: 24 }]);
  const session = await node.InferenceSession.create(await read.bytes());
  const input = Float32Array.from({ length: 27 }, (_, index) => Math.sin(index));
  const { y } = await session.run({ x: new node.Tensor('float32', input, [1, 3, 3, 3]) });
  await session.release();
  const output = [...(y!.data as Float32Array)];
  const isZero = [0, 1, 2, 3].map((channel) => output.slice(4 * channel, 4 * channel + 4).every((each) => each === 0));
  const values = new Float32Array((await read.copy(read.tensors[0]!.values)).buffer);
  const isRemoved = [0, 1, 2, 3].map((channel) =>
    values.slice(12 * channel, 12 * channel + 12).every((each) => each === 0),
  );
  expect(isZero).toEqual(isRemoved);
  expect(isRemoved.filter(Boolean)).toHaveLength(2);
});
