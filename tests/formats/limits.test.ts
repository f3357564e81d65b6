import { Sparsifier } from 'sparsifier';
import { readStatistics } from 'sparsifier/calibration';
import { sparsifyFile } from 'sparsifier/file';
import { readModel, type ReadLimits, type ReadModelOptions } from 'sparsifier/formats';
import { readOnnx } from 'sparsifier/formats/onnx';
import { readSafetensors } from 'sparsifier/formats/safetensors';
import { readTfjs } from 'sparsifier/formats/tfjs';
import { quantize } from 'sparsifier/quantize';
import { describe, expect, test } from 'vitest';
import { errorOf, expectNoMemoryInUse } from '../support/layers.js';
import { bytesField, graphAttribute, graph, model as onnxModel, node, tensor } from '../support/onnx-builder.js';
import { indexOf, safetensorsFile } from '../support/safetensors-builder.js';
import { keeping } from '../support/streams.js';
import { filesOf, floats, textOf } from '../support/tfjs.js';

type Bytes = Uint8Array<ArrayBuffer>;

const weights = { 'd.weight': [3, 2], 'e.weight': [3, 2] } as const;
const safetensors = safetensorsFile(weights);
const index = indexOf({ 'd.weight': 'd', 'e.weight': 'e' });
const dense = { class_name: 'Sequential', config: [{ class_name: 'Dense', config: { name: 'd', units: 2 } }] };
const tfjs = filesOf(dense, [
  { name: 'd/kernel', shape: [3, 2], dtype: 'float32', bytes: floats(1, -2, 3, -4, 5, -6) },
  { name: 'd/bias', shape: [2], dtype: 'float32', bytes: floats(1, 2) },
]);
const [shard] = [...tfjs.shards.values()] as [Bytes];
const json = textOf(tfjs.json) as Bytes;
const bare = textOf(tfjs.json.weightsManifest) as Bytes;
/** A branch of an `If`, which has a weight of its own. */
const branch = graph({ nodes: [node('MatMul', 'x v', 'z')], initializers: [tensor('v', [3, 2])], outputs: { z: 2 } });
const onnx = onnxModel({
  nodes: [
    node('MatMul', 'x w', 'y', { name: 'd' }),
    node('If', 'c', 'z', {
      attributes: [graphAttribute('then_branch', branch), graphAttribute('else_branch', branch)],
    }),
  ],
  initializers: [tensor('w', [3, 2])],
  inputs: { x: 2, c: 0 },
});
const external = onnxModel({
  nodes: [node('MatMul', 'x w', 'y', { name: 'd' })],
  initializers: [
    tensor('w', [3, 2], { external: { location: 'w.bin' } }),
    tensor('v', [3, 2], { external: { location: 'v.bin' } }),
  ],
  inputs: { x: 2 },
});
const further: Readonly<Record<string, Bytes>> = {
  d: safetensorsFile({ 'd.weight': [3, 2] }),
  e: safetensorsFile({ 'e.weight': [3, 2] }),
  'w.bin': floats(1, -2, 3, -4, 5, -6) as Bytes,
  'v.bin': floats(1, -2, 3, -4, 5, -6) as Bytes,
  [[...tfjs.shards.keys()][0]!]: shard,
};
const give = (name: string) => further[name]!;

/** Sources, what they need, and the function of their format. */
const sources = {
  safetensors: { bytes: safetensors, options: {}, read: readSafetensors },
  index: { bytes: index, options: { shards: give }, read: readSafetensors },
  'TensorFlow.js': { bytes: json, options: { shards: give }, read: readTfjs },
  'a bare manifest': { bytes: bare, options: { shards: give }, read: readTfjs },
  ONNX: { bytes: onnx, options: {}, read: readOnnx },
  'ONNX with external data': { bytes: external, options: { external: give }, read: readOnnx },
} satisfies Record<string, { bytes: Bytes; options: ReadModelOptions; read: unknown }>;
type Title = keyof typeof sources;
const titles = Object.keys(sources) as Title[];

/** All ways to read a source. */
const ways: Record<string, (title: Title, options: ReadModelOptions) => Promise<unknown>> = {
  readModel: async (title, options) => {
    using model = await readModel(sources[title].bytes, { ...sources[title].options, ...options });
    return model.tensors;
  },
  'the function of the format': async (title, options) => {
    const read = sources[title].read as typeof readModel;
    using model = await read(sources[title].bytes, { ...sources[title].options, ...options });
    return model.tensors;
  },
  sparsifyFile: async (title, options) => {
    const { bytes, options: own } = sources[title];
    return sparsifyFile(bytes, () => keeping().stream, { ...own, ...options, sparsity: 50, layerType: 'all' });
  },
};
const wayNames = Object.keys(ways);

/** How deeply text is nested, counted in the simplest way. */
function depthOf(text: string): number {
  let [level, deepest] = [0, 0];
  for (const character of text) {
    if (character === '{' || character === '[') deepest = Math.max(deepest, ++level);
    if (character === '}' || character === ']') level--;
  }
  return deepest;
}
const decoded = (bytes: Bytes) => new TextDecoder().decode(bytes);
const headerOf = (file: Bytes) => file.subarray(8, 8 + new DataView(file.buffer, file.byteOffset).getUint32(0, true));
/** All bytes of the ONNX files but the numbers of float32 that their tensors hold. */
const withoutNumbers = (file: Bytes, tensors: number) =>
  file.length - tensors * bytesField(9, new Uint8Array(24)).length;

/** What the sources need, counted by hand. */
const needs: Record<Title, Required<Pick<ReadLimits, 'headerBytes' | 'depth' | 'tensors' | 'fileBytes'>>> = {
  safetensors: { headerBytes: headerOf(safetensors).length, depth: 3, tensors: 2, fileBytes: safetensors.length },
  index: {
    headerBytes: Math.max(index.length, headerOf(further.d!).length),
    depth: 3,
    tensors: 2,
    fileBytes: Math.max(index.length, further.d!.length),
  },
  'TensorFlow.js': { headerBytes: json.length, depth: depthOf(decoded(json)), tensors: 2, fileBytes: json.length },
  'a bare manifest': { headerBytes: bare.length, depth: depthOf(decoded(bare)), tensors: 2, fileBytes: bare.length },
  // The graph, a node, an attribute, a graph and a tensor.
  ONNX: { headerBytes: withoutNumbers(onnx, 3), depth: 5, tensors: 3, fileBytes: onnx.length },
  // The graph, the tensor and an entry of its external data.
  'ONNX with external data': { headerBytes: external.length, depth: 3, tensors: 2, fileBytes: external.length },
};

describe.each(titles)('the limits of %s', (title) => {
  test.each(
    wayNames.flatMap((way) => Object.entries(needs[title]).map(([limit, most]) => [way, limit, most] as const)),
  )('%s reads a model that just has the limit %s, and refuses it with less', async (way, limit, most) => {
    await ways[way]!(title, { limits: { [limit]: most } });
    const error = await errorOf(() => ways[way]!(title, { limits: { [limit]: most - 1 } }));
    expect(error.code).toBe(limit === 'fileBytes' ? 'file' : 'format');
    expect(error.details.allowed?.[0]).toMatch(new RegExp(`^up to ${most - 1} `));
    expect(error.message).toContain(`pass limits: { ${limit}: … }`);
    await expectNoMemoryInUse();
  });

  test.each(wayNames)('%s ends with the reason of a signal that is aborted before it begins', async (way) => {
    const reason = new Error('enough');
    await expect(ways[way]!(title, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    await expectNoMemoryInUse();
  });
});

/** Sources with further files. */
const several = titles.filter((title) => Object.keys(sources[title].options).length > 0);

test.each(several.flatMap((title) => wayNames.map((way) => [way, title] as const)))(
  '%s ends as soon as its signal is aborted, while a further file of %s never comes',
  async (way, title) => {
    const controller = new AbortController();
    const reason = new Error('enough');
    const [option] = Object.keys(sources[title].options);
    const never = () => {
      queueMicrotask(() => controller.abort(reason));
      return new Promise<Bytes>(() => {});
    };
    await expect(ways[way]!(title, { [option!]: never, signal: controller.signal })).rejects.toBe(reason);
    await expectNoMemoryInUse();
  },
);

test.each(several.flatMap((title) => wayNames.map((way) => [way, title] as const)))(
  '%s ends with the reason of a signal that is aborted between two reads of %s',
  async (way, title) => {
    const controller = new AbortController();
    const reason = new Error('enough');
    const [option] = Object.keys(sources[title].options);
    const aborting = (name: string) => {
      controller.abort(reason);
      return give(name);
    };
    await expect(ways[way]!(title, { [option!]: aborting, signal: controller.signal })).rejects.toBe(reason);
    await expectNoMemoryInUse();
  },
);

test.each<[limits: unknown, message: RegExp]>([
  [{ depth: 0 }, /`depth` is a whole number from 1 to 1000\. given: 0/],
  [{ depth: 1001 }, /`depth`/],
  [{ depth: Infinity }, /`depth`/],
  [{ headerBytes: 1.5 }, /`headerBytes` is a whole number above 0\. given: 1\.5/],
  [{ tensors: -1 }, /`tensors`/],
  [{ tensors: NaN }, /`tensors`/],
  [{ fileBytes: '4 GiB' }, /`fileBytes`/],
  [{ fileBytes: null }, /`fileBytes`/],
  [{ idleSeconds: 0 }, /`idleSeconds` is a number above 0/],
  [{ header: 5 }, /unknown option\. given: header\..*headerBytes/],
  [null, /options are given as an object/],
  [5, /options are given as an object/],
])('The limits %j are refused', async (limits, message) => {
  for (const way of wayNames) {
    const error = await errorOf(() => ways[way]!('safetensors', { limits: limits as ReadLimits }));
    expect(error).toMatchObject({ code: 'usage', message: expect.stringMatching(message) });
  }
});

test('A signal or followLinks of another type is refused', async () => {
  for (const options of [
    { signal: {} },
    { signal: new AbortController() },
    { followLinks: 1 },
    { followLinks: 'no' },
  ]) {
    for (const way of wayNames) {
      expect((await errorOf(() => ways[way]!('safetensors', options as ReadModelOptions))).code).toBe('usage');
    }
  }
});

test('Limits may be undefined or endless', async () => {
  const limits = { headerBytes: undefined, tensors: Infinity, fileBytes: Infinity, idleSeconds: Infinity };
  for (const way of wayNames) await ways[way]!('safetensors', { limits, signal: undefined, followLinks: false });
});

test.each(['readModel', 'sparsifyFile'])(
  '%s: a Blob that can no longer be read is an error of the file',
  async (way) => {
    const read = (source: Blob) =>
      way === 'readModel'
        ? readModel(source, { shards: give })
        : sparsifyFile(source, () => keeping().stream, { shards: give, sparsity: 50, layerType: 'all' });
    for (const [title, bytes] of [
      ['the main file', safetensors],
      ['an index', index],
    ] as const) {
      const blob = new File([bytes], 'chosen');
      // As of a file on disk that was changed or deleted.
      const failing = new DOMException('the file changed', 'NotReadableError');
      blob.slice = () => ({ arrayBuffer: () => Promise.reject(failing) }) as Blob;
      expect(await errorOf(() => read(blob)), title).toMatchObject({
        code: 'file',
        details: { subject: 'chosen', found: 'the file changed' },
        cause: failing,
      });
    }
  },
);

test('A bare manifest given as bytes is recognised by all that read models, with the same layers', async () => {
  const options = { sparsity: 50, layerType: 'all', granularity: 'weight' } as const;
  const written = new Map<string, ReturnType<typeof keeping>>();
  const output = (name: string) => {
    written.set(name, keeping());
    return written.get(name)!.stream as WritableStream<Bytes>;
  };
  await sparsifyFile(bare, output, { shards: give, ...options });
  for (const read of [readModel, readTfjs]) {
    using model = await read(bare, { shards: give });
    const { sparsity, ...others } = options;
    await new Sparsifier(model, others).sparsifyModel(sparsity);
    expect(new Map([...written].map(([name, kept]) => [name, kept.bytes()]))).toEqual(await model.toFiles());
  }
});

test('The limits hold for initial weights too', async () => {
  const options = { criteria: 'movement', sparsity: 50, layerType: 'all' } as const;
  const run = (tensors: number) =>
    sparsifyFile(further.d!, keeping().stream, {
      ...options,
      initial: new Blob([safetensors]),
      limits: { tensors },
    });
  await run(2);
  expect(await errorOf(() => run(1))).toMatchObject({ code: 'format', details: { allowed: ['up to 1 tensors'] } });
});

test('A deeply nested key that is not read is refused, so that what can be read can also be written', async () => {
  const nested = '['.repeat(5000) + ']'.repeat(5000);
  const deep = new TextEncoder().encode(`${decoded(json).slice(0, -1)},"more":${nested}}`) as Bytes;
  const error = await errorOf(() => readTfjs(deep, { shards: give }));
  expect(error).toMatchObject({ code: 'format', message: expect.stringMatching(/nested too deeply/) });
});

describe('masks and statistics', () => {
  const masksOf = async (): Promise<Bytes> => {
    using model = await readSafetensors(safetensors);
    const sparsifier = new Sparsifier(model, { layerType: 'all', granularity: 'weight' });
    await sparsifier.sparsifyModel(50);
    const kept = keeping();
    await sparsifier.saveMasks(kept.stream as WritableStream<Bytes>);
    return kept.bytes() as Bytes;
  };
  const load = async (bytes: Bytes, options: object) => {
    using model = await readSafetensors(safetensors);
    await new Sparsifier(model, { layerType: 'all', granularity: 'weight' }).loadMasks(bytes, options);
  };

  test('Masks are read within limits, and not once the signal is aborted', async () => {
    const masks = await masksOf();
    const exact = { headerBytes: headerOf(masks).length, tensors: 2, fileBytes: masks.length };
    await load(masks, { limits: exact });
    for (const [limit, most] of Object.entries(exact)) {
      const error = await errorOf(() => load(masks, { limits: { [limit]: most - 1 } }));
      expect(error.details.allowed?.[0]).toMatch(new RegExp(`^up to ${most - 1} `));
    }
    const reason = new Error('enough');
    await expect(load(masks, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    expect((await errorOf(() => load(masks, { limit: {} }))).code).toBe('usage');
  });

  test('Deep nesting in the metadata of masks is an error of the format', async () => {
    const deep = '['.repeat(5000) + ']'.repeat(5000);
    for (const metadata of [
      { granularity: deep, roles: '{}' },
      { granularity: '"weight"', roles: deep },
    ]) {
      const file = safetensorsFile({}, { metadata: { format: 'sparsifier masks', version: '1', ...metadata } });
      expect(await errorOf(() => load(file, {}))).toMatchObject({
        code: 'format',
        message: expect.stringMatching(/nested too deeply/),
      });
    }
  });

  test('Statistics are read within limits, and not once the signal is aborted', async () => {
    const floats32 = (shape: number[]) => ({ dtype: 'F32', shape });
    const file = safetensorsFile(
      { 'd/rows': { dtype: 'I64', shape: [] }, 'd/moment': floats32([1, 2]), 'd/mean': floats32([1, 2]) },
      { metadata: { format: 'sparsifier statistics', version: '1' } },
    );
    const exact = { headerBytes: headerOf(file).length, fileBytes: file.length, tensors: 3 };
    for (const [limit, most] of Object.entries(exact)) {
      const error = await errorOf(() => readStatistics(file, { limits: { [limit]: most - 1 } }));
      expect(error.details.allowed?.[0]).toMatch(new RegExp(`^up to ${most - 1} `));
    }
    const reason = new Error('enough');
    await expect(readStatistics(file, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    expect((await errorOf(() => readStatistics(file, { limit: {} } as object))).code).toBe('usage');
  });
});

test('A model that this package made is read again without the limits and the signal of the first reading', async () => {
  const controller = new AbortController();
  const { bytes, options } = sources['TensorFlow.js'];
  using model = await readTfjs(bytes, {
    ...options,
    signal: controller.signal,
    limits: { headerBytes: needs['TensorFlow.js'].headerBytes },
  });
  controller.abort();
  const quantized = await quantize(model, { weights: 'float16' });
  using again = quantized.model;
  expect(again.tensors.map(({ name }) => name)).toEqual(['d']);
});

// It would be read as Infinity, and written as null.
test.each(['1e999', '-1e999', '9'.repeat(400)])('JSON with the number %s is refused', async (number) => {
  const edited = (from: string, to: string) =>
    new Uint8Array(new TextEncoder().encode(decoded(json).replace(from, to)));
  const error = await errorOf(() => readModel(edited('"units":2', `"units":2,"x":[${number}]`), { shards: give }));
  expect(error.code).toBe('format');
  expect(error.message).toContain('a number that is too large');
  // In a text, or small enough, it is none.
  for (const other of [`"${number}"`, '1e300', '1e-999']) {
    const model = await readModel(edited('"units":2', `"units":2,"x":[${other}]`), { shards: give });
    expect(decoded(await model.bytes())).toContain(
      `"x":[${other === '1e300' ? '1e+300' : other === '1e-999' ? 0 : other}]`,
    );
    model.close();
  }
});
