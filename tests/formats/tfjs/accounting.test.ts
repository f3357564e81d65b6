import fc from 'fast-check';
import type { Model } from 'sparsifier';
import { fromTfjs, readTfjs, type FileModel } from 'sparsifier/formats/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { readBytes } from '../../support/files.js';
import { countedIn } from '../../support/tfjs-count.js';
import { filesOf, graphOf, handlerOf, jsonOf, saved, textOf, tf, type Entry, type Files } from '../../support/tfjs.js';

beforeAll(async () => {
  await tf.setBackend('cpu');
  await tf.ready();
});

const read = ({ json, shards }: Files, content: unknown = json): Promise<FileModel> =>
  readTfjs(textOf(content), { shards: (name) => shards.get(name)! as Uint8Array<ArrayBuffer> });

const product = (shape: readonly number[]) => shape.reduce((all, size) => all * size, 1);

/** Expects layers and skipped tensors to have the numbers of the model. */
function expectAccount({ tensors, skipped, weights }: Model, count: number, what = ''): void {
  const inLayers = tensors.reduce((all, { values }) => all + values.length, 0);
  const left = skipped.reduce((all, each) => all + each.weights, 0);
  expect([inLayers + left, weights], what).toEqual([count, count]);
  for (const { name, reason, shape, weights: own } of skipped) {
    expect(reason.length, name).toBeGreaterThan(10);
    expect(own === 0 || own === product(shape), name).toBe(true);
  }
  for (const { name, shape, values } of tensors) expect(product(shape), name).toBe(values.length);
  expect(new Set(tensors.map(({ name }) => name)).size).toBe(tensors.length);
}

const entry = (name: string, shape: readonly number[], dtype = 'float32'): Entry => ({
  name,
  shape,
  dtype,
  bytes: new Uint8Array(4 * product(shape)),
});
const lists = (name: string, ...integers: number[]): Entry => ({
  name,
  shape: [integers.length],
  dtype: 'int32',
  bytes: new Uint8Array(Int32Array.from(integers).buffer),
});

describe('the numbers of a file', () => {
  test.each([
    ['tfjs_g_while', ['y: dense 8x4', 'body/mm1: dense 8x8', 'body/mm2: dense 8x8'], []],
    ['tfjs_g_einsum', ['e: dense 8x6', 'y: dense 6x4'], []],
    ['tfjs_g_conv1d', ['c: conv1d 3x3x6'], []],
    ['tfjs_g_conv1d_folded', ['c: conv2d 1x3x3x6'], []],
    ['tfjs_g_muladd', ['c: conv2d 3x3x3x6'], []],
    ['tfjs_g_tensordot', ['mm: dense 8x6'], []],
    ['tfjs_stacked', ['k1: lstm 3x16', 'k1.recurrent: lstm 4x16', 'k2: gru 4x9', 'k2.recurrent: gru 3x9'], []],
    ['tfjs_keras3_vars', ['conv2d: conv2d 3x3x3x4', 'dense: dense 144x2'], []],
    [
      'tfjs_densenet_names',
      ['conv1/conv: conv2d 3x3x3x6', 'conv2_block1_1_conv: conv2d 1x1x6x4', 'predictions: dense 144x2'],
      [],
    ],
    ['tfjs_foreign_bias', ['dense: dense 8x6'], ['blk/dense/kernel']],
  ])('Layers and skipped tensors have all numbers of a file: %s', async (name, layers, skipped) => {
    const json = jsonOf(await readBytes(`cases/${name}/model.json`));
    using model = await read({ json, shards: new Map([['w.bin', await readBytes(`cases/${name}/w.bin`)]]) });
    expect(model.tensors.map(({ name, kind, shape }) => `${name}: ${kind} ${shape.join('x')}`)).toEqual(layers);
    expect(model.skipped.map((each) => each.name)).toEqual(skipped);
    expectAccount(model, countedIn(json));
  });

  test('The filters of a face-api.js manifest are layers', async () => {
    const manifest = jsonOf(await readBytes('cases/faceapi/m-weights_manifest.json'));
    const shards = new Map([['m.bin', await readBytes('cases/faceapi/m.bin')]]);
    using model = await read({ json: {}, shards }, manifest);
    expect(model.tensors.map(({ name, kind, partners }) => [name, kind, partners.length])).toEqual([
      ['conv0/filters', 'conv2d', 1],
      ['conv1/depthwise_filter', 'conv2d', 0],
      ['conv1/pointwise_filter', 'conv2d', 1],
      ['conv2/conv/filters', 'conv2d', 1],
      ['fc/weights', 'dense', 1],
    ]);
    expectAccount(model, countedIn(manifest));
  });

  test('Layers and skipped tensors have all numbers that a random graph reads', async () => {
    const ops = ['Conv2D', 'DepthwiseConv2dNative', 'MatMul', 'BatchMatMulV2', '_FusedMatMul', 'Einsum', 'GatherV2']
      .concat('AddV2', 'Mul', 'Own', 'Identity', 'ExpandDims', 'Transpose', 'Reshape', 'Squeeze', 'Cast', 'ConcatV2')
      .concat('StatelessWhile', 'FusedBatchNormV3', 'BiasAdd', 'Conv1D', 'Conv2DBackpropInput');
    const usual = fc.constantFrom([2, 3], [3, 2], [1, 2, 3], [3, 2, 2], [1, 1, 2, 3]);
    const shape = fc.oneof(usual, usual, fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 5 }));
    const weight = fc.tuple(shape, fc.constantFrom('float32', 'float32', 'int32'));
    const node = fc.record({
      op: fc.constantFrom(...ops),
      inputs: fc.array(fc.nat(29), { minLength: 2, maxLength: 4 }),
      isControl: fc.boolean(),
      isTransposed: fc.boolean(),
      equation: fc.constantFrom('abc,cd->abd', 'ab,cb->ac', 'ab,bcd->acd', 'abc,abd->acd', 'a...,ab->b...', 'ii,ij->j'),
    });
    const graph = fc.record({
      weights: fc.array(weight, { minLength: 1, maxLength: 8 }),
      nodes: fc.array(node, { maxLength: 12 }),
      body: fc.array(node, { maxLength: 6 }),
    });
    let layers = 0;
    await fc.assert(
      fc.asyncProperty(graph, async ({ weights, nodes, body }) => {
        const entries = [
          ...weights.map(([shape, dtype], at) => entry(`w${at}`, shape, dtype)),
          lists('axes', 0, 1),
          lists('order', 1, 0),
        ];
        // Names that may be those of weights, of nodes, or of neither.
        const names = [...entries.map(({ name }) => name), ...nodes.map((_, at) => `n${at}`), 'nobody'];
        const nodesOf = (list: typeof nodes, end = '') =>
          list.map(({ op, inputs, isControl, isTransposed, equation }, at) => ({
            name: `n${at}`,
            op,
            input: inputs.map(
              (each, place) => `${isControl && place > 1 ? '^' : ''}${names[each % names.length]}${end}`,
            ),
            attr: { transpose_b: { b: isTransposed }, equation: { s: btoa(equation) } },
          }));
        const library = {
          function: [
            {
              signature: { name: 'body', inputArg: [{ name: 'w0' }] },
              nodeDef: nodesOf(body, ':output:0'),
              ret: { r: 'w1:output:0' },
            },
          ],
        };
        const files = filesOf({ ...graphOf(entries, []), node: nodesOf(nodes), library }, entries);
        using model = await read(files);
        expectAccount(model, countedIn(files.json));
        layers += model.tensors.length;
      }),
      { numRuns: 400, seed: 1 },
    );
    expect(layers).toBeGreaterThan(20);
  });

  test('Layers and skipped tensors have all numbers of a random list of Keras layers', async () => {
    const layers: readonly (() => tf.layers.Layer)[] = [
      () => tf.layers.dense({ units: 3 }),
      () => tf.layers.conv1d({ filters: 4, kernelSize: 1 }),
      () => tf.layers.prelu(),
      () => tf.layers.layerNormalization(),
      () => tf.layers.batchNormalization(),
      () => tf.layers.lstm({ units: 2, returnSequences: true }),
      () => tf.layers.gru({ units: 2, returnSequences: true, useBias: false }),
      () => tf.layers.simpleRNN({ units: 3, returnSequences: true }),
      () =>
        tf.layers.bidirectional({
          layer: tf.layers.simpleRNN({ units: 2, returnSequences: true }) as never,
          mergeMode: 'concat',
        }),
      () => tf.layers.timeDistributed({ layer: tf.layers.dense({ units: 2 }) as never }),
      () =>
        tf.layers.rnn({
          cell: [tf.layers.lstmCell({ units: 2 }), tf.layers.simpleRNNCell({ units: 3 })] as never,
          returnSequences: true,
        }),
      () => tf.sequential({ layers: [tf.layers.dense({ units: 2, inputShape: [4, 3] })] }),
    ];
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(layers.length - 1), { minLength: 1, maxLength: 5 }), async (chosen) => {
        const built = tf.sequential();
        built.add(tf.layers.dense({ units: 3, inputShape: [4, 2] }));
        for (const index of chosen) {
          // The nested model takes three numbers each.
          if (index === layers.length - 1) built.add(tf.layers.dense({ units: 3 }));
          built.add(layers[index]!());
        }
        const files = await saved(built);
        using model = await read(files);
        const count = countedIn(files.json);
        expectAccount(model, count);
        expectAccount(fromTfjs(tf, built), count, 'live');
        built.dispose();
      }),
      { numRuns: 60 },
    );
  });
});

describe('GraphModels', () => {
  test('The functions of a GraphModel in use are pruned, too', async () => {
    const json = jsonOf(await readBytes('cases/tfjs_g_while/model.json'));
    const weights = await readBytes('cases/tfjs_g_while/w.bin');
    const model = await tf.loadGraphModel(handlerOf(textOf(json), new Map([['w.bin', weights]])));
    expectAccount(fromTfjs(tf, model), countedIn(json));
    model.dispose();
  });

  type Loop = {
    node: { name: string; op: string; input: string[] }[];
    library: { function: { ret: Record<string, string> }[] };
  };
  test.each<[string, (topology: Loop) => void]>([
    ['changes it', ({ library }) => (library.function[1]!.ret.w2 = 'mm1:product:0')],
    ['has its result read', ({ node }) => node.push({ name: 'z', op: 'Relu', input: ['loop:2'] })],
    [
      'is called with another weight, too',
      ({ node }) => {
        const loop = node.find(({ name }) => name === 'loop')!;
        node.push({ ...loop, name: 'again', input: ['zero', 'x', 'inner/W'] });
      },
    ],
  ])('A weight that goes into a loop is that of a layer inside, unless the loop %s', async (_title, change) => {
    const json = jsonOf(await readBytes('cases/tfjs_g_while/model.json'));
    change(json.modelTopology as unknown as Loop);
    using model = await read({ json, shards: new Map([['w.bin', await readBytes('cases/tfjs_g_while/w.bin')]]) });
    expect(model.tensors.map(({ name }) => name)).not.toContain('body/mm2');
    expect(model.skipped.find(({ name }) => name === 'Wc')).toMatchObject({
      reason: 'StatelessWhile passes it to a function',
    });
    expectAccount(model, countedIn(json));
  });

  const weight = (
    op: string,
    shape: readonly number[],
    more: object = {},
    views: readonly (readonly [string, ...number[]])[] = [],
  ) => {
    let value = 'w';
    const entries = [entry('w', shape)];
    const nodes: [string, string, string[], object?][] = [['x', 'Placeholder', []]];
    for (const [index, [view, ...integers]] of views.entries()) {
      entries.push(lists(`i${index}`, ...integers));
      nodes.push([`v${index}`, view, [value, `i${index}`], { squeeze_dims: { list: { i: integers.map(String) } } }]);
      value = `v${index}`;
    }
    const { left, ...attributes } = more as { left?: boolean };
    nodes.push(['y', op, left ? [value, 'x'] : ['x', value], attributes]);
    return filesOf(graphOf(entries, nodes), entries);
  };
  const transposed = { transpose_b: { b: true } };
  const einsum = (equation: string) => ({ equation: { s: btoa(equation) } });

  test.each<[string, Files, string]>([
    ['MatMul', weight('MatMul', [3, 5]), 'dense in,out 3x5'],
    ['MatMul, transposed', weight('MatMul', [3, 5], transposed), 'dense out,in 3x5'],
    ['MatMul on the left', weight('MatMul', [3, 5], { left: true }), 'dense out,in 3x5'],
    ['_FusedMatMul', weight('_FusedMatMul', [3, 5]), 'dense in,out 3x5'],
    ['BatchMatMulV2 with a leading 1', weight('BatchMatMulV2', [1, 3, 5]), 'dense in,out 3x5'],
    ['BatchMatMulV2 of four matrices', weight('BatchMatMulV2', [4, 3, 5]), 'dense out,in,multiplier 4x3x5'],
    [
      'BatchMatMulV2, transposed',
      weight('BatchMatMulV2', [2, 2, 3, 5], { adj_y: { b: true } }),
      'dense out,multiplier,in 4x3x5',
    ],
    ['MatMul behind Transpose', weight('MatMul', [3, 5], {}, [['Transpose', 1, 0]]), 'dense out,in 3x5'],
    ['MatMul behind Reshape', weight('MatMul', [1, 3, 5], {}, [['Reshape', 3, -1]]), 'dense in,out 3x5'],
    ['MatMul behind Squeeze', weight('MatMul', [3, 1, 5], {}, [['Squeeze', 1]]), 'dense in,out 3x5'],
    ['MatMul behind Identity', weight('MatMul', [3, 5], {}, [['Identity']]), 'dense in,out 3x5'],
    ['Einsum', weight('Einsum', [3, 5], einsum('abc,cd->abd')), 'dense in,out 3x5'],
    ['Einsum with heads', weight('Einsum', [3, 2, 5], einsum('abc,cde->abde')), 'dense in,out 3x10'],
    ['Einsum over heads', weight('Einsum', [2, 5, 3], einsum('abde,dec->abc')), 'dense in,out 10x3'],
    ['Einsum of batches', weight('Einsum', [4, 3, 5], einsum('eac,ecd->ead')), 'dense out,in,multiplier 4x3x5'],
    ['Einsum with an ellipsis', weight('Einsum', [3, 5], einsum('...c,cd->...d')), 'dense in,out 3x5'],
    ['Conv2D behind ExpandDims', weight('Conv2D', [3, 4, 5], {}, [['ExpandDims', 0]]), 'conv1d width,in,out 3x4x5'],
    ['Conv2D, width added', weight('Conv2D', [3, 4, 5], {}, [['ExpandDims', 1]]), 'conv1d width,in,out 3x4x5'],
    ['Conv2D with a stored height', weight('Conv2D', [1, 3, 4, 5]), 'conv2d height,width,in,out 1x3x4x5'],
    ['Conv2D of one place', weight('Conv2D', [4, 5], {}, [['Reshape', 1, 1, 4, 5]]), 'dense in,out 4x5'],
    [
      'depthwise behind ExpandDims',
      weight('DepthwiseConv2dNative', [3, 4, 2], {}, [['ExpandDims', -4]]),
      'conv1d width,out,multiplier 3x4x2',
    ],
    ['Conv1D', weight('Conv1D', [3, 4, 5]), 'conv1d width,in,out 3x4x5'],
    [
      'Conv3D behind ExpandDims',
      weight('Conv3D', [2, 3, 4, 5], {}, [['ExpandDims', 0]]),
      'conv2d height,width,in,out 2x3x4x5',
    ],
    [
      'transposed convolution',
      weight('Conv2DBackpropInput', [3, 2, 4, 5]),
      'convTranspose2d height,width,out,in 3x2x4x5',
    ],
  ])('A node is a layer: %s', async (_title, files, expected) => {
    using model = await read(files);
    expect(model.skipped).toEqual([]);
    expect(model.tensors.map(({ kind, roles, shape }) => `${kind} ${roles.join()} ${shape.join('x')}`)).toEqual([
      expected,
    ]);
  });

  test.each<[string, Files, RegExp]>([
    ['sums over an axis alone', weight('Einsum', [3, 5], einsum('ac,cd->a')), /sums over an axis/],
    ['takes a diagonal', weight('Einsum', [3, 3], einsum('ab,bb->a')), /not a product/],
    ['has inputs beside outputs', weight('Einsum', [2, 3, 2], einsum('abd,bcd->ac')), /not adjacent/],
    ['reshapes its axes', weight('MatMul', [3, 5], {}, [['Reshape', 5, 3]]), /Reshape reads it/],
    ['is not a layer', weight('Own', [3, 5]), /Own reads it/],
  ])('A weight that is not that of a layer is skipped with its reason: it %s', async (_title, files, expected) => {
    using model = await read(files);
    expect(model.tensors).toEqual([]);
    expect(model.skipped).toMatchObject([
      { reason: expect.stringMatching(expected) as string, weights: product(model.skipped[0]!.shape) },
    ]);
    expect(model.skipped[0]!.operator).toBeDefined();
  });
});
