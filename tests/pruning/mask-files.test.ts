import { Granularity, Sparsifier, SparsifyError, type SparsifierOptions } from 'sparsifier';
import { fromArrays } from 'sparsifier/formats/arrays';
import { describe, expect, test } from 'vitest';
import { differsAt } from '../support/bytes.js';
import { safetensorsChunks } from '../support/internal.js';
import { values } from '../support/layers.js';

const options: SparsifierOptions = {
  granularity: 'kernel',
  context: 'local',
  criteria: 'largeFinal',
  layerType: 'conv2d',
};

/** Two convolutions in different layouts, and a dense layer that calls leave alone. */
function layers() {
  const roles = ['out', 'in', 'height', 'width'] as const;
  return {
    'enc/1': { kind: 'conv2d', roles, shape: [5, 7, 3, 3], data: values(315, 1), bias: values(5, 2) },
    'enc/2': {
      kind: 'conv2d',
      roles: ['height', 'width', 'in', 'out'],
      shape: [3, 3, 7, 5],
      data: values(315, 3),
    },
    head: { kind: 'dense', roles: ['out', 'in'], shape: [4, 5], data: values(20, 4) },
  } as const;
}

/** What a stream is given, in one piece. */
async function collected(write: (stream: WritableStream<Uint8Array>) => Promise<void>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  await write(new WritableStream({ write: (chunk) => void chunks.push(chunk) }));
  return new Uint8Array(await new Blob(chunks as BlobPart[]).arrayBuffer());
}

async function saved(overrides: Partial<SparsifierOptions> = {}) {
  const arrays = layers();
  const sparsifier = new Sparsifier(fromArrays(arrays), { ...options, ...overrides });
  await sparsifier.sparsifyModel(40);
  return { arrays, sparsifier, bytes: await collected((stream) => sparsifier.saveMasks(stream)) };
}

const refusal = async (call: () => unknown): Promise<SparsifyError> => {
  try {
    await call();
  } catch (error) {
    if (error instanceof SparsifyError) return error;
    throw error;
  }
  throw new Error('no error');
};

describe('mask files', () => {
  test('A mask file is a safetensors file with a U8 tensor per layer, and granularity, roles and version as metadata', async () => {
    const { sparsifier, bytes } = await saved();
    const length = Number(new DataView(bytes.buffer).getBigUint64(0, true));
    const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length))) as Record<string, any>;
    expect(Object.keys(header)).toEqual(['__metadata__', 'enc/1', 'enc/2']);
    expect(header['__metadata__']).toEqual({
      format: 'sparsifier masks',
      version: '1',
      granularity: '"kernel"',
      roles: JSON.stringify({
        'enc/1': ['out', 'in', 'height', 'width'],
        'enc/2': ['height', 'width', 'in', 'out'],
      }),
    });
    for (const [name, { shape, data }] of sparsifier.masks()) {
      const [start, end] = header[name].data_offsets as [number, number];
      expect({ dtype: header[name].dtype, shape: header[name].shape }).toEqual({ dtype: 'U8', shape });
      expect(differsAt(bytes.subarray(8 + length + start, 8 + length + end), data)).toBe(-1);
    }
    expect(sparsifier.mask('enc/1').shape).toEqual([5, 7, 1, 1]);
    expect(sparsifier.mask('enc/2').shape).toEqual([1, 1, 7, 5]);
  });

  test.each<[title: string, as: (bytes: Uint8Array) => Uint8Array | ArrayBuffer | Blob]>([
    ['bytes', (bytes) => bytes],
    ['an ArrayBuffer', (bytes) => bytes.slice().buffer],
    ['a Blob', (bytes) => new Blob([bytes as BlobPart])],
  ])(
    'Masks loaded from %s change nothing until they are applied, and then zero the same weights',
    async (_title, as) => {
      const { arrays, sparsifier, bytes } = await saved();
      const dense = layers();
      const other = new Sparsifier(fromArrays(dense), options);
      await other.loadMasks(as(bytes));
      expect(dense).toEqual(layers());
      expect(other.masks()).toEqual(sparsifier.masks());
      await other.apply();
      expect(dense).toEqual(arrays);
      // They count as removed by an earlier call: more go on top of them.
      await other.sparsifyModel(60);
      for (const [name, { data }] of sparsifier.masks())
        expect(other.mask(name).data.findIndex((kept, unit) => kept > data[unit]!)).toBe(-1);
    },
  );

  test.each([Granularity.nm(2, 4), Granularity.block({ out: 2, in: 3 }), Granularity.spanning('in', 'height')])(
    'Masks of the granularity %j can be saved and loaded',
    async (granularity) => {
      const arrays = layers();
      const sparsifier = new Sparsifier(fromArrays(arrays), { ...options, granularity });
      await ('nm' in granularity ? sparsifier.sparsifyModel() : sparsifier.sparsifyModel(50));
      const bytes = await collected((stream) => sparsifier.saveMasks(stream));
      const dense = layers();
      const other = new Sparsifier(fromArrays(dense), { ...options, granularity });
      await other.loadMasks(bytes);
      await other.apply();
      expect(dense).toEqual(arrays);
    },
  );

  test('Loaded masks replace the current ones, unless the file is refused', async () => {
    const { bytes } = await saved();
    const sparsifier = new Sparsifier(fromArrays(layers()), options);
    await sparsifier.sparsifyLayer('enc/1', 80);
    const before = sparsifier.masks();
    await refusal(() => sparsifier.loadMasks(bytes.slice(0, -1)));
    expect(sparsifier.masks()).toEqual(before);
    await sparsifier.loadMasks(bytes);
    expect([...sparsifier.masks().keys()]).toEqual(['enc/1', 'enc/2']);
    expect(sparsifier.masks()).not.toEqual(before);
  });

  test('Masks of another granularity, layer, layout or shape are refused, and so are other files', async () => {
    const { bytes } = await saved();
    const load = (overrides: Partial<SparsifierOptions>, arrays: Parameters<typeof fromArrays>[0] = layers()) =>
      refusal(() => new Sparsifier(fromArrays(arrays), { ...options, ...overrides }).loadMasks(bytes));
    expect(await load({ granularity: 'filter' })).toMatchObject({
      code: 'granularity',
      details: { given: 'filter', found: 'kernel' },
    });
    const { 'enc/1': first, 'enc/2': second } = layers();
    expect(await load({}, { 'enc/1': first })).toMatchObject({ code: 'layer', details: { given: 'enc/2' } });
    const wider = { ...first, shape: [7, 5, 3, 3], bias: values(7) };
    expect(await load({}, { 'enc/1': wider, 'enc/2': second })).toMatchObject({
      code: 'format',
      details: { subject: 'enc/1', given: { shape: [7, 5, 1, 1] }, found: { shape: [5, 7, 1, 1] } },
    });
    const turned = { ...first, roles: ['out', 'in', 'width', 'height'] as const };
    expect(await load({}, { 'enc/1': turned, 'enc/2': second })).toMatchObject({ code: 'format' });

    const sparsifier = new Sparsifier(fromArrays(layers()), options);
    const file = async (metadata: Record<string, string>, mask = new Uint8Array(35)) => {
      const tensors = [{ name: 'enc/1', dtype: 'U8', shape: [5, 7, 1, 1], bytes: mask }];
      const chunks = safetensorsChunks(tensors, new Map(Object.entries(metadata)));
      return refusal(() => sparsifier.loadMasks(new Blob([...chunks] as BlobPart[])));
    };
    const good = {
      format: 'sparsifier masks',
      version: '1',
      granularity: '"kernel"',
      roles: '{"enc/1":["out","in","height","width"]}',
    };
    expect(await file({})).toMatchObject({ code: 'format', message: expect.stringMatching(/not a mask file/) });
    expect(await file({ ...good, version: '2' })).toMatchObject({ code: 'format' });
    expect(await file({ ...good, granularity: '{' })).toMatchObject({ code: 'format' });
    expect(await file({ ...good, roles: '' })).toMatchObject({ code: 'format' });
    expect(await file({ ...good, roles: 'null' })).toMatchObject({ code: 'format' });
    expect(await file(good, new Uint8Array(35).fill(2))).toMatchObject({
      code: 'format',
      message: expect.stringMatching(/0 and 1/),
    });
    expect(await refusal(() => sparsifier.loadMasks(new Uint8Array(3)))).toMatchObject({ code: 'format' });
    expect(sparsifier.masks().size).toBe(0);
  });

  test('Saving fails if there are no masks, for an unknown option, and when the stream fails', async () => {
    const sparsifier = new Sparsifier(fromArrays(layers()), options);
    const stream = () => new WritableStream<Uint8Array>();
    expect(await refusal(() => sparsifier.saveMasks(stream()))).toMatchObject({ code: 'layer' });
    await sparsifier.sparsifyModel(50);
    expect(await refusal(() => sparsifier.saveMasks(stream(), { forced: true } as never))).toMatchObject({
      code: 'usage',
    });
    const failing = new WritableStream<Uint8Array>({
      write: () => {
        throw new Error('full');
      },
    });
    expect(await refusal(() => sparsifier.saveMasks(failing))).toMatchObject({ code: 'file' });
  });

  test('Weights removed before masks were loaded can no longer be restored', async () => {
    const { bytes } = await saved();
    const sparsifier = new Sparsifier(fromArrays(layers()), { ...options, restorable: true });
    await sparsifier.sparsifyModel(20);
    await sparsifier.loadMasks(bytes);
    expect(await refusal(() => sparsifier.restore())).toMatchObject({ code: 'layer' });
  });

  test('Weights that loaded masks remove can be restored', async () => {
    const { arrays: sparse, bytes } = await saved();
    const arrays = layers();
    const sparsifier = new Sparsifier(fromArrays(arrays), { ...options, restorable: true });
    await sparsifier.loadMasks(bytes);
    await sparsifier.apply();
    expect(arrays).toEqual(sparse);
    await sparsifier.restore();
    expect(arrays).toEqual(layers());
  });
});
