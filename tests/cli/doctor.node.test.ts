import { describe, expect, test } from 'vitest';
import { foldersWith, printed, sparsifier } from '../support/folder.js';
import { facts, runtimeNames } from '../support/internal.js';
import { mixedNumbers, model, node, tensor } from '../support/onnx-builder.js';
import { weight } from '../support/removal/small-graphs.js';
import * as models from '../support/runtime-models.js';
import { npz } from '../support/npz-builder.js';
import { safetensorsFile } from '../support/safetensors-builder.js';

const network = (opset: number) =>
  model(
    {
      nodes: [node('MatMul', 'x w', 'h', { name: 'layer' }), node('Relu', 'h', 'y')],
      initializers: [tensor('w', [64, 256], { data: mixedNumbers(64 * 256, 1) })],
      inputs: { x: { shape: ['n', 64] } },
      outputs: { y: 2 },
    },
    opset,
  );
const net = network(13);

/** A layer of 24 channels, of which these have no weights, and one that reads them. */
const withDead = (channels: readonly number[]) =>
  model({
    nodes: [node('MatMul', 'x a', 'h'), node('Relu', 'h', 'r'), node('MatMul', 'r b', 'y')],
    initializers: [weight('a', [64, 24], [], channels), weight('b', [24, 32])],
    inputs: { x: { shape: ['n', 64] } },
    outputs: { y: 2 },
  });

const inFolder = foldersWith({
  'dead.onnx': withDead([0, 2, 3, 5, 7, 11, 13, 17]),
  // Of which all stay, since a multiple of 8 does.
  'few.onnx': withDead([0, 2, 3]),
  'net.onnx': net,
  'my net.onnx': net,
  'opset10.onnx': network(10),
  'opset11.onnx': network(11),
  'codes.onnx': models.dequantizeLinear(),
  'sparse.onnx': models.sparseModel(),
  'weights.safetensors': safetensorsFile({ w: [1, 2, 3] }),
  'inputs.npz': npz({ x: { shape: [8, 64], data: new Float32Array(mixedNumbers(512, 3).buffer) } }),
});

/** The lines about a runtime. */
const about = (text: string, name: string) =>
  text
    .trimEnd()
    .split('\n\n')
    .find((paragraph) => paragraph.split('\n')[0]!.endsWith(`(${name})`))!
    .split('\n')
    .slice(1);

interface Next {
  readonly command: readonly string[];
  readonly why: string;
}
interface Given {
  readonly runtimes: readonly { readonly runtime: string; readonly loads: string; readonly next?: Next }[];
}
const given = async (...words: readonly string[]) => JSON.parse(await printed('doctor', ...words, '--json')) as Given;

test(
  'Every runtime has its paragraph: whether it loads the model, whether that is smaller and faster, and what helps',
  inFolder(async () => {
    const text = await printed('doctor', 'net.onnx');
    expect(text.split('\n')[0]).toBe('net.onnx: ONNX, opset 13, 16,384 weights, 0.00 % zero, 0.07 MB float32');
    expect(about(text, 'ort-node')).toEqual([
      '  loads    yes',
      '  smaller  no: 100 % of the stored bytes are float32 or float64: such numbers hardly compress',
      '  faster   no',
      '  next     sparsifier quantize net.onnx -o net-int8.onnx',
      expect.stringContaining('a quarter of the bytes'),
    ]);
    expect(about(text, 'tfjs-wasm')).toEqual([
      expect.stringMatching(/^ {2}loads {4}no: it runs TensorFlow\.js models; this one is ONNX/),
    ]);
  }),
);

test(
  'What one runtime refuses, another one may load',
  inFolder(async () => {
    const { runtimes } = await given('sparse.onnx', '--for', 'ort-web-webgpu,ort-node');
    expect(runtimes.map(({ runtime, loads }) => [runtime, loads])).toEqual([
      ['ort-web-webgpu', 'no'],
      ['ort-node', 'yes'],
    ]);
  }),
);

test(
  'JSON has the facts that apply, with their source, version and date',
  inFolder(async () => {
    const { runtimes } = await given('codes.onnx', '--for', 'ort-web-wasm');
    const fact = facts.find(({ id }) => id === 'dequantize-linear-wasm')!;
    expect(runtimes[0]).toMatchObject({
      faster: 'slower',
      facts: expect.arrayContaining([
        {
          ...{ id: fact.id, about: fact.about, effect: fact.effect, sentence: fact.sentence, source: fact.source },
          ...{ concerns: '1 constant of type int8', version: '1.30.0', date: fact.date },
        },
      ]),
    });
  }),
);

describe('The next command', () => {
  test(
    'runs as it is printed, and so does the one after it',
    inFolder(async () => {
      for (const [file, runtime] of [
        ['net.onnx', 'ort-web-wasm'],
        ['codes.onnx', 'ort-web-wasm'],
        ['my net.onnx', 'ort-web-webgpu'],
      ] as const) {
        const { next } = (await given(file, '--for', runtime)).runtimes[0]!;
        await printed(...next!.command);
        const after = next!.command.at(-1)!;
        expect((await given(after, '--for', runtime)).runtimes[0]).toMatchObject({ loads: 'yes' });
      }
    }),
  );

  test(
    'has names in quotes that a shell would split',
    inFolder(async () => {
      expect(await printed('doctor', 'my net.onnx', '--for', 'ort-node')).toContain(
        "sparsifier quantize 'my net.onnx' -o 'my net-int8.onnx'\n",
      );
    }),
  );

  test(
    'promises faster matrix products only if the opset has them',
    inFolder(async () => {
      const whyOf = async (opset: number) => {
        const { runtimes } = await given(`opset${opset}.onnx`, '--for', 'ort-node');
        return runtimes[0]!.next!.why;
      };
      expect(await whyOf(11)).toContain('matrix products get faster');
      expect(await whyOf(10)).toBe('a quarter of the bytes at the same speed');
    }),
  );

  test(
    'prunes the float32 model with repair once a model is quantised',
    inFolder(async () => {
      await printed('quantize', 'net.onnx', '--weights', 'int8', '-o', 'small.onnx');
      const { next } = (await given('small.onnx', '--for', 'ort-node')).runtimes[0]!;
      expect(next!.command.slice(0, 2)).toEqual(['prune', 'float32.onnx']);
      expect(next!.command.slice(-3)).toEqual(['--quantize', '-o', 'small-sparse.onnx']);
      await printed('dequantize', 'small.onnx', '-o', 'float32.onnx');
      await printed(...next!.command);
    }),
  );
});

test(
  'A file that has only weights is loaded by no runtime',
  inFolder(async () => {
    const { runtimes } = await given('weights.safetensors');
    expect(runtimes.map(({ loads }) => loads)).toEqual(runtimeNames.map(() => 'no'));
  }),
);

test.each([
  ['ort-wasm', 'ort-web-wasm'],
  ['node', 'ort-node'],
  ['WebGPU', 'ort-web-webgpu'],
  ['onnxruntime-web', 'ort-web-wasm or ort-web-webgpu'],
])(
  'The unknown runtime %s is an error that asks for %s',
  inFolder(async (word: string, meant: string) => {
    const { code, stderr } = await sparsifier('doctor', 'net.onnx', '--for', word);
    expect(code).toBe(2);
    expect(stderr).toContain(`Allowed choices are ${runtimeNames.join(', ')}. Did you mean ${meant}?`);
  }),
);

test(
  'A missing file is the usual error',
  inFolder(async () => {
    const { code, stderr } = await sparsifier('doctor', 'no.onnx');
    expect(code).toBe(1);
    expect(stderr).toContain('no.onnx');
  }),
);

test(
  'Where channels can leave the network, that is what helps most',
  inFolder(async () => {
    const text = await printed('doctor', 'dead.onnx');
    for (const name of ['ort-node', 'ort-web-wasm', 'ort-web-webgpu']) {
      expect(about(text, name).slice(-2)).toEqual([
        '  next     sparsifier remove-channels dead.onnx -o dead-small.onnx',
        '           8 channels that nothing needs go, and with them 33.33 % of the numbers: smaller and faster, with the same outputs',
      ]);
    }
    await printed('remove-channels', 'dead.onnx', '-o', 'dead-small.onnx', '--no-verify');
    for (const file of ['dead-small.onnx', 'few.onnx'])
      expect((await given(file)).runtimes.map(({ next }) => next?.command[0])).not.toContain('remove-channels');
  }),
);

test(
  'For speed, filters are pruned and taken out',
  inFolder(async () => {
    const [runtime] = (await given('codes.onnx', '--for', 'ort-web-webgpu')).runtimes;
    expect(runtime!.next!.why).toContain(
      'For speed, prune whole filters (--granularity filter), then take them out with remove-channels',
    );
  }),
);
