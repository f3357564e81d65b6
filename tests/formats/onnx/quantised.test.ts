import { Sparsifier } from 'sparsifier';
import { readOnnx } from 'sparsifier/formats/onnx';
import { describe, expect, test } from 'vitest';
import { furtherFiles } from '../../support/model-files.js';
import {
  bytesField,
  concat,
  constant,
  floatAttribute,
  floatsAttribute,
  integerAttribute,
  integerField,
  integersAttribute,
  model,
  node,
  numbers,
  tensor,
  textField,
  type GraphOptions,
} from '../../support/onnx-builder.js';
import { storageOf } from '../../support/internal.js';
import { countWeights } from '../../support/onnx-count.js';
import { codesOf, keptBytes, naiveCodes, type Affine, type CodeType } from '../../support/onnx-codes.js';

const axis = (value: number) => integerAttribute('axis', value);
const dequantise = (codes: string, output: string, ...attributes: Uint8Array[]) =>
  node('DequantizeLinear', `${codes} s z`, output, { attributes });
const cast = (codes: string, output: string, to = 1) =>
  node('Cast', codes, output, { attributes: [integerAttribute('to', to)] });
const conv = (weight: string, more = '') => node('Conv', `x ${weight}${more}`, 'y', { name: 'conv' });
const matMul = (weight: string) => node('MatMul', `x ${weight}`, 'y', { name: 'fc' });
const parameters = (
  type: CodeType | 'float32',
  scales: readonly number[],
  zeros: readonly number[],
  shape: readonly number[],
) => [
  tensor('s', shape, { data: numbers('float32', scales) }),
  tensor('z', shape, { dtype: type, data: numbers(type, zeros) }),
];

/** A model whose weight is stored as codes. */
interface Case extends Affine {
  readonly type: CodeType;
  readonly shape: readonly number[];
  readonly nodes: readonly Uint8Array[];
  /** That of scale and zero point; by default they are vectors. */
  readonly scaleShape?: readonly number[];
  /** By default that of the codes. */
  readonly zeroType?: 'float32' | CodeType;
  readonly roles: string;
  readonly kind: string;
}

const scales = (count: number) => Array.from({ length: count }, (_, index) => 0.01 * (1 + ((7 * index) % 5)));
const byTensor = (scale: number, zero: number) => ({
  scales: [scale],
  zeros: [zero],
  scaleOf: () => 0,
  scaleShape: [],
});
const fourInRows = { scales: scales(4), zeros: [0, 1, -2, 3] };

const cases: readonly (readonly [title: string, layer: Case])[] = [
  [
    'Conv with int8 codes, one scale per output channel',
    {
      type: 'int8',
      shape: [4, 3, 2, 2],
      nodes: [dequantise('w', 'd', axis(0)), conv('d')],
      ...fourInRows,
      scaleOf: ([out]) => out!,
      kind: 'conv2d',
      roles: 'out in height width',
    },
  ],
  [
    'Conv with uint8 codes around 128, one scale',
    {
      type: 'uint8',
      shape: [4, 3, 2, 2],
      nodes: [dequantise('w', 'd'), conv('d')],
      ...byTensor(0.02, 128),
      kind: 'conv2d',
      roles: 'out in height width',
    },
  ],
  [
    'MatMul with one scale per column',
    {
      type: 'int8',
      shape: [6, 4],
      nodes: [dequantise('w', 'd', axis(1)), matMul('d')],
      ...fourInRows,
      scaleOf: ([, out]) => out!,
      kind: 'dense',
      roles: 'in out',
    },
  ],
  [
    'MatMul with the axis counted from the end',
    {
      type: 'int8',
      shape: [6, 4],
      nodes: [dequantise('w', 'd', axis(-1)), matMul('d')],
      ...fourInRows,
      scaleOf: ([, out]) => out!,
      kind: 'dense',
      roles: 'in out',
    },
  ],
  [
    'MatMul whose codes are transposed before they are decoded',
    {
      type: 'int8',
      shape: [4, 6],
      nodes: [node('Transpose', 'w', 't'), dequantise('t', 'd', axis(1)), matMul('d')],
      ...fourInRows,
      scaleOf: ([out]) => out!,
      kind: 'dense',
      roles: 'out in',
    },
  ],
  [
    'MatMul whose codes are decoded before they are transposed',
    {
      type: 'int8',
      shape: [4, 6],
      nodes: [dequantise('w', 'd', axis(0)), node('Transpose', 'd', 't'), matMul('t')],
      ...fourInRows,
      scaleOf: ([out]) => out!,
      kind: 'dense',
      roles: 'out in',
    },
  ],
  [
    'Gemm with transB',
    {
      type: 'uint8',
      shape: [4, 6],
      nodes: [
        dequantise('w', 'd', axis(0)),
        node('Gemm', 'x d', 'y', { name: 'gemm', attributes: [integerAttribute('transB', 1)] }),
      ],
      scales: scales(4),
      zeros: [128, 127, 0, 255],
      scaleOf: ([out]) => out!,
      kind: 'dense',
      roles: 'out in',
    },
  ],
  [
    'Gather',
    {
      type: 'uint8',
      shape: [8, 3],
      nodes: [dequantise('w', 'd'), node('Gather', 'd i', 'y', { name: 'table' })],
      ...byTensor(0.5, 17),
      kind: 'embedding',
      roles: 'out in',
    },
  ],
  ...(['int16', 'uint16', 'int32'] as const).map((type): [string, Case] => [
    `MatMul with ${type} codes`,
    {
      type,
      shape: [6, 4],
      nodes: [dequantise('w', 'd'), matMul('d')],
      ...byTensor(0.001, 5),
      kind: 'dense',
      roles: 'in out',
    },
  ]),
  [
    'MatMul with blocks of two rows that share a scale',
    {
      type: 'int8',
      shape: [5, 4],
      nodes: [dequantise('w', 'd', axis(0), integerAttribute('block_size', 2)), matMul('d')],
      scales: scales(12),
      zeros: Array.from({ length: 12 }, (_, index) => index - 6),
      scaleShape: [3, 4],
      scaleOf: ([row, column]) => 4 * Math.floor(row! / 2) + column!,
      kind: 'dense',
      roles: 'in out',
    },
  ],
  [
    'MatMul with blocks of three columns that share a scale',
    {
      type: 'int8',
      shape: [6, 4],
      nodes: [dequantise('w', 'd', axis(1), integerAttribute('block_size', 3)), matMul('d')],
      scales: scales(12),
      zeros: Array.from({ length: 12 }, (_, index) => index - 6),
      scaleShape: [6, 2],
      scaleOf: ([row, column]) => 2 * row! + Math.floor(column! / 3),
      kind: 'dense',
      roles: 'in out',
    },
  ],
  [
    'Gather of codes that are decoded afterwards',
    {
      type: 'uint8',
      shape: [8, 3],
      nodes: [node('Gather', 'w i', 'g', { name: 'table' }), dequantise('g', 'y')],
      ...byTensor(0.5, 17),
      kind: 'embedding',
      roles: 'out in',
    },
  ],
  [
    'Conv with int8 codes that are cast and multiplied, one scale per output channel',
    {
      type: 'int8',
      shape: [4, 3, 2, 2],
      nodes: [cast('w', 'f'), node('Mul', 'f s', 'd'), conv('d')],
      scales: scales(4),
      zeros: [0, 0, 0, 0],
      scaleShape: [4, 1, 1, 1],
      scaleOf: ([out]) => out!,
      kind: 'conv2d',
      roles: 'out in height width',
    },
  ],
  [
    'MatMul with int8 codes that are cast and multiplied from the left, one scale per column, then half precision',
    {
      type: 'int8',
      shape: [6, 4],
      nodes: [cast('w', 'f'), node('Mul', 's f', 'e'), cast('e', 'd', 10), matMul('d')],
      scales: scales(4),
      zeros: [0, 0, 0, 0],
      scaleOf: ([, out]) => out!,
      kind: 'dense',
      roles: 'in out',
    },
  ],
  [
    'ConvTranspose in groups with a scale for each index of two axes',
    {
      type: 'int8',
      shape: [2, 2, 3],
      nodes: [
        cast('w', 'f'),
        node('Mul', 'f s', 'd'),
        node('ConvTranspose', 'x d', 'y', { name: 'conv', attributes: [integerAttribute('group', 2)] }),
      ],
      scales: scales(4),
      zeros: [0, 0, 0, 0],
      scaleShape: [2, 2, 1],
      scaleOf: ([group, out]) => 2 * group! + out!,
      kind: 'convTranspose1d',
      roles: 'in out width',
    },
  ],
  [
    'MatMul with a scale for each index of the first and the last of three axes',
    {
      type: 'int8',
      shape: [2, 3, 2],
      nodes: [cast('w', 'f'), node('Mul', 'f s', 'd'), matMul('d')],
      scales: scales(4),
      zeros: [0, 0, 0, 0],
      scaleShape: [2, 1, 2],
      scaleOf: ([matrix, , out]) => 2 * matrix! + out!,
      kind: 'dense',
      roles: 'out in multiplier',
    },
  ],
  [
    'Gemm with uint8 codes that are cast, shifted and multiplied, with scales and zero points along one axis',
    {
      type: 'uint8',
      shape: [4, 6],
      nodes: [
        cast('w', 'f'),
        node('Sub', 'f z', 'g'),
        node('Mul', 'g s', 'd'),
        node('Gemm', 'x d', 'y', { name: 'gemm', attributes: [integerAttribute('transB', 1)] }),
      ],
      scales: scales(4),
      zeros: [128, 127, 0, 255],
      zeroType: 'float32',
      scaleShape: [4, 1],
      scaleOf: ([out]) => out!,
      kind: 'dense',
      roles: 'out in',
    },
  ],
  [
    'MatMul whose codes are transposed between Cast, Sub and Mul, with a zero point that is cast too',
    {
      type: 'uint8',
      shape: [4, 6],
      nodes: [
        cast('w', 'f'),
        cast('z', 'zf'),
        node('Sub', 'f zf', 'g'),
        node('Transpose', 'g', 't'),
        node('Unsqueeze', 's', 'u', { attributes: [integersAttribute('axes', [0])] }),
        node('Squeeze', 'u', 'v', { attributes: [integersAttribute('axes', [2])] }),
        node('Mul', 'v t', 'd'),
        matMul('d'),
      ],
      scales: scales(4),
      zeros: [128, 127, 0, 255],
      scaleShape: [4, 1],
      scaleOf: ([out]) => out!,
      kind: 'dense',
      roles: 'out in',
    },
  ],
  [
    'Gather of codes that are cast, shifted and multiplied, one scale',
    {
      type: 'uint8',
      shape: [8, 3],
      nodes: [
        cast('w', 'f'),
        node('Sub', 'f z', 'g'),
        node('Mul', 'g s', 'd'),
        node('Gather', 'd i', 'y', { name: 'table' }),
      ],
      ...byTensor(0.5, 17),
      zeroType: 'float32',
      kind: 'embedding',
      roles: 'out in',
    },
  ],
  ...(['int16', 'uint16', 'int32'] as const).map((type): [string, Case] => [
    `MatMul with ${type} codes that are cast and multiplied`,
    {
      type,
      shape: [6, 4],
      nodes: [cast('w', 'f'), node('Mul', 'f s', 'd'), matMul('d')],
      ...byTensor(0.001, 0),
      kind: 'dense',
      roles: 'in out',
    },
  ]),
  [
    'an operator of com.microsoft',
    {
      type: 'uint16',
      shape: [6, 4],
      nodes: [node('DequantizeLinear', 'w s z', 'd', { domain: 'com.microsoft' }), matMul('d')],
      ...byTensor(0.001, 32_768),
      kind: 'dense',
      roles: 'in out',
    },
  ],
];

const storages = ['raw', 'packed', 'unpacked', 'external'] as const;

/** The parts of a model in which codes are stored in this way. */
function stored(
  { type, shape, nodes, scales, zeros, scaleShape = [scales.length], zeroType = type }: Case,
  storage: (typeof storages)[number],
) {
  const data = codesOf(type, shape);
  const weight =
    storage === 'external'
      ? tensor('w', shape, { dtype: type, external: { location: 'codes', offset: 3 } })
      : tensor('w', shape, { dtype: type, data, storage });
  const bytes = model({ nodes, initializers: [weight, ...parameters(zeroType, scales, zeros, scaleShape)] });
  return { bytes, data, external: () => concat(Uint8Array.of(1, 2, 3), data) };
}

const options = { context: 'local', criteria: 'largeFinal', layerType: 'all' } as const;

describe('codes that are decoded', () => {
  test.each(cases)('Codes are a layer of the values that they stand for: %s', async (_title, layer) => {
    const { bytes, data } = stored(layer, 'raw');
    using read = await readOnnx(bytes);
    const { kind, roles, shape } = layer;
    expect(read.skipped.filter(({ weights }) => weights === data.length)).toEqual([]);
    expect(read.tensors).toMatchObject([{ kind, roles: roles.split(' '), shape, values: { dtype: 'float32' } }]);
    const values = new Float32Array((await read.copy(read.tensors[0]!.values)).buffer);
    expect([...values]).toEqual(naiveCodes(layer, data).values);
  });

  test.each(cases)('Removed codes become the zero point, and all other bytes stay: %s', async (_title, layer) => {
    const { bytes, data } = stored(layer, 'raw');
    using read = await readOnnx(bytes);
    const report = await new Sparsifier(read, { ...options, granularity: 'weight' }).sparsifyModel(50);
    const { pruned, zeros } = naiveCodes(layer, data, 50);
    expect(await read.bytes()).toEqual(keptBytes(bytes, data, pruned));
    expect(report.total.zeros).toBe(zeros);
    expect(report.notes).toEqual([]);
  });

  test.each(cases.filter(([, { zeros }]) => zeros.every((zero) => zero >= 0 && zero < 128)))(
    'Codes that are not contiguous are pruned in place: %s',
    async (_title, layer) => {
      for (const storage of ['packed', 'unpacked'] as const) {
        const { bytes, data } = stored(layer, storage);
        using read = await readOnnx(bytes);
        expect(await read.bytes()).toEqual(bytes);
        await new Sparsifier(read, { ...options, granularity: 'weight' }).sparsifyModel(50);
        const after = await read.bytes();
        expect(after).toHaveLength(bytes.length);
        using again = await readOnnx(after);
        const values = new Float32Array((await again.copy(again.tensors[0]!.values)).buffer);
        expect([...values]).toEqual(naiveCodes(layer, naiveCodes(layer, data, 50).pruned).values);
      }
    },
  );

  test.each(cases)('Codes in external data are pruned in place: %s', async (_title, layer) => {
    const { bytes, data, external } = stored(layer, 'external');
    using read = await readOnnx(bytes, { external });
    await new Sparsifier(read, { ...options, granularity: 'weight' }).sparsifyModel(50);
    const { pruned } = naiveCodes(layer, data, 50);
    expect((await furtherFiles(read)).get('codes')).toEqual(concat(Uint8Array.of(1, 2, 3), pruned));
    expect(await read.bytes()).toEqual(bytes);
  });

  test.each(cases)('Pruning 0 % changes nothing, and so does pruning the same again: %s', async (_title, layer) => {
    const { bytes } = stored(layer, 'raw');
    using read = await readOnnx(bytes);
    const sparsifier = new Sparsifier(read, { ...options, granularity: 'weight' });
    await sparsifier.sparsifyModel(0);
    expect(await read.bytes()).toEqual(bytes);
    await sparsifier.sparsifyModel(50);
    const once = await read.bytes();
    await sparsifier.sparsifyModel(50);
    expect(await read.bytes()).toEqual(once);
  });

  test.each(cases)('restore() brings every code back: %s', async (_title, layer) => {
    const { bytes } = stored(layer, 'raw');
    using read = await readOnnx(bytes);
    const sparsifier = new Sparsifier(read, { ...options, granularity: 'weight', restorable: true });
    await sparsifier.sparsifyModel(50);
    expect(await read.bytes()).not.toEqual(bytes);
    await sparsifier.restore();
    expect(await read.bytes()).toEqual(bytes);
  });

  test.each(cases)(
    'Dequantised, they are floats with these values, wherever they are stored: %s',
    async (_title, layer) => {
      const isVarying = layer.zeros.every((zero) => zero >= 0 && zero < 128);
      for (const storage of isVarying ? storages : (['raw', 'external'] as const)) {
        const { bytes, data, external } = stored(layer, storage);
        using read = await readOnnx(bytes, { external });
        const { storage: forms, current } = storageOf(read);
        const { files, changed, skipped } = await forms.dequantized(current);
        expect([changed.map(({ from }) => from), skipped]).toEqual([[layer.type], []]);
        const [main, ...others] = [...files.values()];
        expect(others).toHaveLength(storage === 'external' ? 1 : 0);
        using again = await readOnnx(main!, { external: () => others[0]! });
        const { kind, roles, shape } = layer;
        expect(again.tensors).toMatchObject([{ kind, roles: roles.split(' '), shape }]);
        expect(again.skipped).toEqual([]);
        const values = new Float32Array((await again.copy(again.tensors[0]!.values)).buffer);
        expect([...values]).toEqual(naiveCodes(layer, data).values);
      }
    },
  );

  test('Scales and zero points may be external data, too', async () => {
    const layer = cases[0]![1];
    const data = codesOf('int8', layer.shape);
    const external = (offset: number, length: number) => ({ external: { location: 'd', offset, length } });
    const bytes = model({
      nodes: layer.nodes,
      initializers: [
        tensor('w', layer.shape, { dtype: 'int8', ...external(0, 48) }),
        tensor('s', [4], external(48, 16)),
        tensor('z', [4], { dtype: 'int8', ...external(64, 4) }),
      ],
    });
    const parameters = concat(numbers('float32', layer.scales), numbers('int8', layer.zeros));
    using read = await readOnnx(bytes, { external: () => concat(data, parameters) });
    await new Sparsifier(read, { ...options, granularity: 'weight' }).sparsifyModel(50);
    const { pruned } = naiveCodes(layer, data, 50);
    expect((await furtherFiles(read)).get('d')).toEqual(concat(pruned, parameters));
    const short = readOnnx(bytes, { external: () => concat(data, parameters.subarray(1)) });
    await expect(short).rejects.toMatchObject({ code: 'format' });
  });

  test('A zero point that is left out is 0', async () => {
    const data = codesOf('int8', [6, 4]);
    const nodes = [node('DequantizeLinear', 'w s', 'd'), matMul('d')];
    const weight = tensor('w', [6, 4], { dtype: 'int8', data });
    const bytes = model({ nodes, initializers: [weight, tensor('s', [], { data: numbers('float32', [0.5]) })] });
    using read = await readOnnx(bytes);
    await new Sparsifier(read, { ...options, granularity: 'weight' }).sparsifyModel(50);
    const layer = { type: 'int8', shape: [6, 4], ...byTensor(0.5, 0) } as const;
    expect(await read.bytes()).toEqual(keptBytes(bytes, data, naiveCodes(layer, data, 50).pruned));
  });

  test.each([
    ['one number', floatAttribute('value_float', 0.5), [0.5, 0.5, 0.5, 0.5]],
    ['a list', floatsAttribute('value_floats', [0.5, 1, 2, 4]), [0.5, 1, 2, 4]],
  ])('Scales in an attribute of a Constant node are read: %s', async (_title, attribute, expected) => {
    const codes = [-3, 1, 2, -1, 5, 4, -2, 7];
    using read = await readOnnx(
      model({
        nodes: [
          node('Constant', '', 's', { attributes: [attribute] }),
          node('DequantizeLinear', 'w s', 'd', { attributes: [axis(0)] }),
          node('Gemm', 'x d', 'y', { name: 'fc', attributes: [integerAttribute('transB', 1)] }),
        ],
        initializers: [tensor('w', [4, 2], { dtype: 'int8', data: numbers('int8', codes) })],
      }),
    );
    const [layer] = read.tensors;
    const values = new Float32Array((await read.copy(layer!.values)).buffer);
    expect([...values]).toEqual(codes.map((code, index) => code * expected[index >> 1]!));
  });

  test('The codes of a bias become the zero point with their output channel', async () => {
    const layer = cases[0]![1];
    const data = codesOf('int8', layer.shape);
    const bias = codesOf('int32', [4]);
    const bytes = model({
      nodes: [
        dequantise('w', 'd', axis(0)),
        node('DequantizeLinear', 'b t', 'c', { attributes: [axis(0)] }),
        conv('d', ' c'),
      ],
      initializers: [
        tensor('w', layer.shape, { dtype: 'int8', data }),
        ...parameters('int8', layer.scales, layer.zeros, [4]),
        tensor('b', [4], { dtype: 'int32', data: bias }),
        tensor('t', [4], { data: numbers('float32', [0.1, 0.2, 0.3, 0.4]) }),
      ],
    });
    using read = await readOnnx(bytes);
    expect(read.tensors).toMatchObject([{ partners: [{ part: 'bias', values: { length: 4 } }] }]);
    await new Sparsifier(read, { ...options, granularity: 'filter' }).sparsifyModel(50);
    const { values } = naiveCodes(layer, data);
    const sums = [0, 1, 2, 3].map((out) =>
      values.slice(12 * out, 12 * out + 12).reduce((sum, value) => sum + Math.abs(value), 0),
    );
    const isRemoved = sums.map((sum) => sums.filter((other) => other < sum).length < 2);
    const pruned = data.map((code, index) => {
      const out = Math.floor(index / 12);
      return isRemoved[out] ? layer.zeros[out]! : code;
    });
    const prunedBias = bias.map((byte, index) => (isRemoved[index >> 2] ? 0 : byte));
    expect(await read.bytes()).toEqual(keptBytes(keptBytes(bytes, data, pruned), bias, prunedBias));
  });

  test('A layer whose codes Cast and Mul decode has a geometry and a bias, or can be given one', async () => {
    const layer = [cast('w', 'f'), node('Mul', 'f s', 'd')];
    const initializers = [
      tensor('w', [4, 3, 2, 2], { dtype: 'int8' }),
      tensor('s', [4, 1, 1, 1], { data: numbers('float32', scales(4)) }),
      tensor('b', [4]),
    ];
    using biased = await readOnnx(model({ nodes: [...layer, conv('d', ' b')], initializers }));
    expect(biased.tensors).toMatchObject([{ geometry: { strides: [1, 1] }, bias: { sign: 1, values: { length: 4 } } }]);
    expect(biased.tensors[0]!.partners).toMatchObject([{ part: 'bias' }]);
    using plain = await readOnnx(model({ nodes: [...layer, conv('d')], initializers: initializers.slice(0, 2) }));
    expect(plain.tensors[0]!.bias).toBeUndefined();
    expect(await plain.addBias(plain.tensors[0]!)).toMatchObject({ sign: 1, values: { length: 4, dtype: 'float32' } });
  });

  test('Codes in a Constant node are a layer', async () => {
    const nodes = [constant('w', [6, 4], { dtype: 'int8' }), dequantise('w', 'd'), matMul('d')];
    using read = await readOnnx(model({ nodes, initializers: parameters('int8', [0.5], [0], []) }));
    expect(read.tensors).toMatchObject([{ name: 'fc', shape: [6, 4] }]);
  });

  const weight = (type: 'int8' | 'uint8' = 'int8') => tensor('w', [6, 4], { dtype: type });
  const fourBits = (name: string, shape: readonly number[]) =>
    concat(
      ...shape.map((size) => integerField(1, size)),
      integerField(2, 22),
      textField(8, name),
      bytesField(9, new Uint8Array(Math.ceil(shape.reduce((product, size) => product * size, 1) / 2))),
    );
  const skipped: (readonly [title: string, options: GraphOptions, reason: RegExp])[] = [
    [
      'two scales for one tensor of codes',
      {
        nodes: [dequantise('w', 'd'), matMul('d'), node('DequantizeLinear', 'w t z', 'e'), node('MatMul', 'x e', 'v')],
        initializers: [weight(), ...parameters('int8', [1], [0], []), tensor('t', [])],
      },
      /different scales/,
    ],
    [
      'a scale that is an input of the model',
      { nodes: [dequantise('w', 'd'), matMul('d')], initializers: [weight()], inputs: { s: 0, z: 0 } },
      /scale is not a stored tensor/,
    ],
    [
      'a zero point that is computed',
      {
        nodes: [node('Relu', 'z0', 'z'), dequantise('w', 'd'), matMul('d')],
        initializers: [weight(), tensor('s', []), tensor('z0', [], { dtype: 'int8' })],
      },
      /zero point is not a stored tensor/,
    ],
    [
      'a scale that is not a number',
      {
        nodes: [dequantise('w', 'd'), matMul('d')],
        initializers: [weight(), ...parameters('int8', [NaN], [0], [])],
      },
      /scale is not finite/,
    ],
    [
      'a vector of scales of another length',
      {
        nodes: [dequantise('w', 'd', axis(0)), matMul('d')],
        initializers: [weight(), ...parameters('int8', [1, 1, 1, 1], [0, 0, 0, 0], [4])],
      },
      /shapes of its scale/,
    ],
    [
      'an axis that the codes do not have',
      {
        nodes: [dequantise('w', 'd', axis(7)), matMul('d')],
        initializers: [weight(), ...parameters('int8', [1, 1, 1, 1], [0, 0, 0, 0], [4])],
      },
      /shapes of its scale/,
    ],
    [
      'a zero point beside the codes',
      {
        nodes: [dequantise('w', 'd'), matMul('d')],
        initializers: [weight(), tensor('s', []), tensor('z', [], { dtype: 'int32', data: numbers('int32', [300]) })],
      },
      /zero point is not one of its codes/,
    ],
    [
      'transposed blocks',
      {
        nodes: [
          node('Transpose', 'w', 't', { attributes: [integersAttribute('perm', [1, 0])] }),
          dequantise('t', 'd', axis(0), integerAttribute('block_size', 2)),
          matMul('d'),
        ],
        initializers: [weight(), ...parameters('int8', Array(12).fill(1), Array(12).fill(0), [2, 6])],
      },
      /blocks that are transposed/,
    ],
    [
      'numbers of varying length that are too short for the zero point',
      {
        nodes: [dequantise('w', 'd'), matMul('d')],
        initializers: [
          tensor('w', [6, 4], { dtype: 'uint8', storage: 'packed' }),
          ...parameters('uint8', [1], [128], []),
        ],
      },
      /varying length/,
    ],
    [
      'codes that another node reads as integers',
      {
        nodes: [dequantise('w', 'd'), matMul('d'), node('Add', 'w w', 'v')],
        initializers: [weight(), ...parameters('int8', [1], [0], [])],
      },
      /Add reads it too/,
    ],
    [
      'codes of 4 bits',
      {
        nodes: [dequantise('w', 'd'), matMul('d')],
        initializers: [fourBits('w', [6, 4]), tensor('s', []), fourBits('z', [])],
      },
      /type int4; only integers of 8, 16 and 32 bits/,
    ],
    [
      'floats as codes',
      {
        nodes: [dequantise('w', 'd'), matMul('d')],
        initializers: [tensor('w', [6, 4], { dtype: 'float8e4m3fn' }), ...parameters('int8', [1], [0], [])],
      },
      /type float8e4m3fn; only integers of 8, 16 and 32 bits/,
    ],
    [
      'codes of QLinearConv',
      {
        nodes: [node('QLinearConv', 'x s z w s z', 'y', { name: 'conv' })],
        initializers: [tensor('w', [4, 4, 1], { dtype: 'int8' }), ...parameters('int8', [1], [0], [])],
      },
      /QLinearConv computes with integers/,
    ],
    [
      'codes that are looked up, and decoded with a vector of scales',
      {
        nodes: [node('Gather', 'w i', 'g'), dequantise('g', 'y')],
        initializers: [weight(), ...parameters('int8', [1, 1, 1, 1], [0, 0, 0, 0], [4])],
      },
      /shapes of its scale/,
    ],
    [
      'codes that are looked up, and used as integers too',
      {
        nodes: [node('Gather', 'w i', 'g'), dequantise('g', 'y'), node('Add', 'g g', 'v')],
        initializers: [weight(), ...parameters('int8', [1], [0], [])],
      },
      /arranged by Gather before they are decoded/,
    ],
    [
      'codes that are reshaped before they are decoded',
      {
        nodes: [node('Reshape', 'w shape', 'r'), dequantise('r', 'd'), matMul('d')],
        initializers: [
          weight(),
          tensor('shape', [2], { dtype: 'int64', data: numbers('int64', [4, 6]) }),
          ...parameters('int8', [1], [0], []),
        ],
      },
      /arranged by Reshape before they are decoded/,
    ],
  ];
  const multiplied = (...more: Uint8Array[]) => [cast('w', 'f'), ...more, node('Mul', 'f s', 'd'), matMul('d')];
  const vectorOf = (name: string, ...values: readonly number[]) =>
    tensor(name, [values.length], { data: numbers('float32', values) });
  skipped.push(
    [
      'a scale of Mul that is computed from constants',
      { nodes: multiplied(node('Exp', 't', 's')), initializers: [weight(), tensor('t', [])] },
      /scale is not a stored tensor/,
    ],
    [
      'a scale of Mul that is stored as codes itself',
      {
        nodes: multiplied(node('DequantizeLinear', 't u', 's')),
        initializers: [weight(), tensor('t', [4], { dtype: 'int8' }), tensor('u', [])],
      },
      /scale is not a stored tensor/,
    ],
    [
      'a scale of Mul that is not finite',
      { nodes: multiplied(), initializers: [weight(), vectorOf('s', Infinity)] },
      /finite/,
    ],
    [
      'two scales of Mul for one tensor of codes',
      {
        nodes: [...multiplied(), node('Mul', 'f t', 'e'), node('MatMul', 'x e', 'v')],
        initializers: [weight(), vectorOf('s', 1, 2, 3, 4), vectorOf('t', 1, 2, 3, 5)],
      },
      /different scales/,
    ],
    [
      'one scale along two axes',
      {
        nodes: [
          ...multiplied(),
          node('Unsqueeze', 's', 't', { attributes: [integersAttribute('axes', [1])] }),
          node('Mul', 'f t', 'e'),
          node('MatMul', 'x e', 'v'),
        ],
        initializers: [tensor('w', [4, 4], { dtype: 'int8' }), vectorOf('s', 1, 2, 3, 4)],
      },
      /different scales/,
    ],
    [
      'a zero point of Sub between two codes',
      {
        nodes: [cast('w', 'f'), node('Sub', 'f z', 'g'), node('Mul', 'g s', 'd'), matMul('d')],
        initializers: [weight('uint8'), vectorOf('s', 1), vectorOf('z', 127.5)],
      },
      /zero point is not one of its codes/,
    ],
    [
      'codes that are multiplied with a number for each of them, as a mask of weights is',
      { nodes: multiplied(), initializers: [weight(), tensor('s', [6, 4], { dtype: 'int32' })] },
      /an operand of Mul, not the weight of a layer/,
    ],
    [
      'codes whose Cast another node reads too',
      { nodes: [...multiplied(), node('Add', 'f x', 'v')], initializers: [weight(), vectorOf('s', 1)] },
      /Add reads it too/,
    ],
    [
      'codes that are reshaped before they are cast and multiplied',
      {
        nodes: [node('Reshape', 'w shape', 'r'), cast('r', 'f'), node('Mul', 'f s', 'd'), matMul('d')],
        initializers: [
          weight(),
          tensor('shape', [2], { dtype: 'int64', data: numbers('int64', [4, 6]) }),
          vectorOf('s', 1),
        ],
      },
      /arranged by Reshape before they are decoded/,
    ],
  );
  test.each(skipped)('Codes are skipped with a reason, and counted: %s', async (_title, graph, reason) => {
    using read = await readOnnx(model(graph));
    expect(read.tensors).toEqual([]);
    const entries = read.skipped.filter(({ weights }) => weights > 12);
    expect(entries).toMatchObject([{ reason: expect.stringMatching(reason) as string }]);
    expect(read.weights).toBe(countWeights(model(graph)));
  });

  test.each([
    ['a Cast alone', [cast('w', 'd'), matMul('d')], /computed from constants by Cast/],
    ['a Cast and a Sub', [cast('w', 'f'), node('Sub', 'f s', 'd'), matMul('d')], /computed from constants by Sub/],
  ])('Integers that nothing decodes are not counted: %s', async (_title, nodes, reason) => {
    const bytes = model({ nodes, initializers: [weight(), vectorOf('s', 1)] });
    using read = await readOnnx(bytes);
    expect(read.tensors).toEqual([]);
    expect(read.skipped).toMatchObject([{ name: 'fc', weights: 0, reason: expect.stringMatching(reason) as string }]);
    expect([read.weights, countWeights(bytes)]).toEqual([0, 0]);
  });

  test('Floats that are multiplied with a scale are not codes', async () => {
    const nodes = [node('Mul', 'w s', 'd'), matMul('d')];
    using read = await readOnnx(model({ nodes, initializers: [tensor('w', [6, 4]), vectorOf('s', 2)] }));
    expect(read.tensors).toEqual([]);
    expect(read.skipped).toMatchObject([
      { name: 'fc', weights: 0, reason: 'its weight is computed from constants by Mul' },
      { name: 'w', weights: 24, reason: 'it is an operand of Mul, not the weight of a layer' },
    ]);
  });

  test('A scale and a zero point of several axes are no weights', async () => {
    const nodes = [cast('w', 'f'), node('Sub', 'f z', 'g'), node('Mul', 's g', 'd'), matMul('d')];
    const initializers = [weight(), tensor('s', [6, 1]), tensor('z', [1, 4])];
    using read = await readOnnx(model({ nodes, initializers }));
    expect(read.tensors).toMatchObject([{ name: 'fc' }]);
    expect([read.skipped, read.weights]).toEqual([[], 24]);
    // If something else reads them too, they are.
    const both = model({ nodes: [...nodes, node('Add', 's x', 'v')], initializers });
    using other = await readOnnx(both);
    expect(other.skipped).toMatchObject([{ name: 's', weights: 6 }]);
    expect([other.weights, countWeights(both)]).toEqual([30, 30]);
    const values = new Float32Array((await read.copy(read.tensors[0]!.values)).buffer);
    const expected = Array.from({ length: 24 }, (_, at) => (at + 1 - ((at % 4) + 1)) * (Math.floor(at / 4) + 1));
    expect([...values]).toEqual(expected);
  });
});
