import { sparsifyFile } from 'sparsifier/file';
import { readModel, type ReadModelOptions } from 'sparsifier/formats';
import { readOnnx } from 'sparsifier/formats/onnx';
import { readSafetensors } from 'sparsifier/formats/safetensors';
import { readTfjs } from 'sparsifier/formats/tfjs';
import { expect, test } from 'vitest';
import { errorOf, expectNoMemoryInUse } from '../support/layers.js';
import { bytesField, concat, graph, integerField, model, node, tensor, textField } from '../support/onnx-builder.js';
import { indexOf, safetensorsFile } from '../support/safetensors-builder.js';
import { keeping } from '../support/streams.js';
import { textOf } from '../support/tfjs.js';

type Bytes = Uint8Array<ArrayBuffer>;

const dense = safetensorsFile({ 'd.weight': [3, 2] });
const index = indexOf({ 'd.weight': 'shard.safetensors' });
const manifest = [{ paths: ['w.bin'], weights: [{ name: 'd/kernel', shape: [3, 2], dtype: 'float32' }] }];
const tfjs = textOf({
  modelTopology: {
    class_name: 'Sequential',
    config: [{ class_name: 'Dense', config: { name: 'd', units: 2, use_bias: false } }],
  },
  weightsManifest: manifest,
}) as Bytes;
const onnx = model({
  nodes: [node('MatMul', 'x w', 'y', { name: 'd' })],
  initializers: [tensor('w', [3, 2], { external: { location: 'w.bin' } })],
  inputs: { x: 2 },
});
const weights = new Uint8Array(24).fill(64);

test.each<[title: string, bytes: Bytes, option: 'shards' | 'external', whole: unknown]>([
  ['safetensors', index, 'shards', dense],
  ['TensorFlow.js', tfjs, 'shards', weights],
  ['ONNX', onnx, 'external', weights],
])(
  '%s: a function that gives no file, or nothing that is one, is an error that says so',
  async (_, bytes, option, whole) => {
    const failing = async (give: unknown) => {
      const options = { [option]: give };
      const error = await errorOf(() => readModel(bytes, options));
      const kept = keeping();
      const streamed = await errorOf(() =>
        sparsifyFile(new Blob([bytes]), kept.stream, { ...options, layerType: 'all' }),
      );
      expect(streamed.message).toBe(error.message);
      expect(kept.reason).toBe(streamed);
      await expectNoMemoryInUse();
      return error;
    };
    for (const nothing of [undefined, null]) {
      expect(await failing(async () => nothing)).toMatchObject({
        code: 'file',
        message: expect.stringMatching(/missing/),
      });
    }
    for (const given of [5, {}, new Float32Array(6), new DataView(new ArrayBuffer(24)), new Response('')])
      expect(await failing(() => given)).toMatchObject({
        code: 'usage',
        message: expect.stringMatching(/Blob or bytes/),
      });
    for (const given of [null, new Map([['w.bin', whole]]), 'w.bin'])
      expect(await failing(given)).toMatchObject({ code: 'usage', message: expect.stringContaining(option) });
    const mine = new Error('no such shard');
    await expect(readModel(bytes, { [option]: () => Promise.reject(mine) })).rejects.toBe(mine);
    await expectNoMemoryInUse();
  },
);

test.each([undefined, null, 7, true, {}, [1, 2], new Float32Array(2), new DataView(new ArrayBuffer(8))])(
  'what is neither bytes nor their address is refused: %o',
  async (source) => {
    const error = await errorOf(() => readModel(source as never));
    expect(error).toMatchObject({
      code: 'usage',
      message: expect.stringMatching(/path or URL, or as a Blob or bytes/),
    });
  },
);

test('An index that names itself as one of its shards is refused: one of both would be lost', async () => {
  const index = new File([indexOf({ 'd.weight': 'a.index.json' })], 'a.index.json');
  const error = await errorOf(() => readModel(index, { shards: () => safetensorsFile({ 'd.weight': [3, 2] }) }));
  expect(error).toMatchObject({
    code: 'format',
    details: { subject: 'a.index.json' },
    message: expect.stringMatching(/one name/),
  });
  await expectNoMemoryInUse();
});

test('External data that would be the description of their own ONNX model are refused', async () => {
  const bytes = model({ initializers: [tensor('w', [3, 2], { external: { location: './a.onnx' } })] });
  const error = await errorOf(() => readModel(new File([bytes], 'a.onnx'), { external: () => weights }));
  expect(error).toMatchObject({ code: 'format', message: expect.stringMatching(/not data.*model file itself/) });
  await expectNoMemoryInUse();
});

test.each<[title: string, read: (bytes: Bytes, options: object) => Promise<unknown>, bytes: Bytes, others: string[]]>([
  ['ONNX', readOnnx, onnx, ['shards', 'keepScale', 'layers', 'toString']],
  ['safetensors', readSafetensors, dense, ['external', 'keepScale', 'shard', 'force']],
  ['TensorFlow.js', readTfjs, tfjs, ['external', 'layers', 'keepscale', 'shard']],
])('%s: an option that the format does not take is an error, by whichever function it is read', async (...given) => {
  const [, read, bytes, others] = given;
  for (const name of others) {
    const own = await errorOf(() => read(bytes, { [name]: undefined }));
    expect(own).toMatchObject({ code: 'usage', details: { given: name } });
    const error = await errorOf(() => readModel(bytes, { [name]: () => weights }));
    expect(error).toMatchObject({ code: 'usage', message: expect.stringContaining(name) });
  }
  // Rejected, as every failure is, rather than thrown.
  await expect(readModel(bytes, { shard: true } as object).catch((error) => error)).resolves.toBeInstanceOf(Error);
  await expectNoMemoryInUse();
});

test('options of other formats may be there where they are undefined', async () => {
  const none = { external: undefined, shards: undefined, layers: undefined, keepScale: undefined };
  using model = await readModel(dense, none);
  const { stream } = keeping();
  const report = await sparsifyFile(new Blob([dense]), stream, { ...none, layerType: 'all', sparsity: 50 });
  expect(report.layers.map(({ name }) => name)).toEqual(model.tensors.map(({ name }) => name));
});

/** A safetensors file whose first byte, the lowest of its header's length, is this one. */
const beginningWith = (byte: number): Bytes => {
  const files = Array.from({ length: 256 }, (_, padding) => safetensorsFile({ 'd.weight': [3, 2] }, { padding }));
  return files.find(([first]) => first === byte)!;
};
const text = (content: string) => new TextEncoder().encode(content);
const further = { shards: (name: string) => (name === 'w.bin' ? weights : dense) };
const graphFirst = concat(
  bytesField(7, graph({ nodes: [node('MatMul', 'x w', 'y')], initializers: [tensor('w', [3, 2])], inputs: { x: 2 } })),
  integerField(1, 8),
);

const known: [title: string, bytes: Bytes, format: string, options?: ReadModelOptions][] = [
  ...['{', '[', '\n', ' ', '"', '\b', '\u0012', ':', 'B'].map((first): (typeof known)[number] => [
    `safetensors that begin with ${JSON.stringify(first)}`,
    beginningWith(first.charCodeAt(0)),
    'safetensors',
  ]),
  ['an index behind a byte order mark', concat(text('\ufeff'), index), 'safetensors', further],
  ['an index behind white space', concat(text(' \r\n\t'), index), 'safetensors', further],
  ['a model.json behind a byte order mark and white space', concat(text('\ufeff\n '), tfjs), 'TensorFlow.js', further],
  ['a bare manifest', textOf(manifest) as Bytes, 'TensorFlow.js', further],
  ['ONNX that begins with its graph', graphFirst, 'ONNX'],
  ['ONNX that begins with a text that looks like JSON', concat(textField(6, '{}'), graphFirst), 'ONNX'],
  ['ONNX that begins with a function', concat(bytesField(25, textField(1, 'f')), graphFirst), 'ONNX'],
];
test.each(known)('%s is known by its content, whatever its name is', async (_, bytes, format, options = {}) => {
  for (const name of ['model.onnx', 'model.safetensors', 'model.json', 'model']) {
    using model = await readModel(new File([bytes], name), options);
    expect(model.format).toBe(format);
    expect(model.tensors).toHaveLength(1);
  }
});

test.each<[title: string, content: string | Bytes, message: RegExp]>([
  ['JSON of something else', '{"a":1}', /JSON with the keys a.*weightsManifest.*weight_map/],
  ['JSON that is cut off', '{"weight_map":{"d.weight"', /not JSON/],
  ['JSON that is not UTF-8', Uint8Array.of(123, 34, 0xff, 34, 58, 49, 125), /not JSON/],
  ['a list of something else', '[[1]]', /paths and weights/],
  ['a Git LFS pointer', 'version https://git-lfs.github.com/spec/v1', /git lfs pull/],
  ['nothing', '', /empty/],
])('%s is an error of the format', async (_, content, message) => {
  const error = await errorOf(() => readModel(new Blob([content])));
  expect(error).toMatchObject({ code: 'format', message: expect.stringMatching(message) });
  await expectNoMemoryInUse();
});
