import fc from 'fast-check';
import { Sparsifier } from 'sparsifier';
import { readTfjs, type FileModel } from 'sparsifier/formats/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { differsAt } from '../../support/bytes.js';
import { readBytes } from '../../support/files.js';
import { storageOf, type NewNumbers } from '../../support/internal.js';
import { anyWanted, naive16, naiveNumbers, nearby, rewritten, type Wanted } from '../../support/new-numbers.js';
import {
  filesOf,
  floats,
  graphOf,
  handlerOf,
  jsonOf,
  saved,
  textOf,
  tf,
  type Entry,
  type Files as Stored,
} from '../../support/tfjs.js';

beforeAll(async () => {
  await tf.setBackend('cpu');
  await tf.ready();
});

type Bytes = Uint8Array<ArrayBuffer>;
type Files = ReadonlyMap<string, Bytes>;

interface Spec {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: string;
  readonly quantization?: { readonly dtype: string; readonly scale?: number; readonly min?: number };
}

interface Group {
  readonly paths: readonly string[];
  readonly weights: readonly Spec[];
}

/** The files of a model, the main one first, and perhaps its bare manifest in its place. */
const all = ({ json, shards }: Stored, isBare = false): Files =>
  new Map([['model.json', textOf(isBare ? json.weightsManifest : json)], ...shards] as [string, Bytes][]);

const read = (files: Files): Promise<FileModel> => {
  const [main, ...others] = files;
  const shards = new Map(others);
  return readTfjs(main![1], { shards: (name) => shards.get(name)! });
};

const groupsIn = (files: Files): readonly Group[] => {
  const content = jsonOf([...files.values()][0]!) as unknown;
  return (Array.isArray(content) ? content : (content as { weightsManifest: Group[] }).weightsManifest) as Group[];
};

const count = ({ shape }: Pick<Spec, 'shape'>): number => shape.reduce((product, size) => product * size, 1);

const widths: Readonly<Record<string, number>> = { float32: 4, int32: 4, float16: 2, uint16: 2, uint8: 1, bool: 1 };

/** Each weight as the manifest describes it, and its bytes, found by adding up lengths. */
function weightsIn(files: Files): Map<string, { readonly spec: Spec; readonly bytes: Bytes }> {
  const found = new Map<string, { spec: Spec; bytes: Bytes }>();
  for (const { paths, weights } of groupsIn(files)) {
    const whole = Uint8Array.from(paths.flatMap((path) => [...files.get(path)!]));
    let at = 0;
    for (const spec of weights) {
      let length = count(spec) * widths[spec.quantization?.dtype ?? spec.dtype]!;
      if (spec.dtype === 'string') {
        length = 0;
        for (let each = 0; each < count(spec); each++)
          length += 4 + new DataView(whole.buffer).getUint32(at + length, true);
      }
      found.set(spec.name, { spec, bytes: whole.slice(at, at + length) });
      at += length;
    }
    expect(at).toBe(whole.length);
  }
  return found;
}

/** The numbers that quantised bytes stand for. */
function naiveDecoded({ dtype, quantization }: Spec, bytes: Bytes): Float32Array {
  const { dtype: stored, scale = 1, min = 0 } = quantization ?? { dtype };
  if (stored === 'float32') return new Float32Array(bytes.slice().buffer);
  if (stored === 'float16')
    return Float32Array.from(new Uint16Array(bytes.slice().buffer), (bits) => naive16(bits, stored));
  const codes = stored === 'uint8' ? bytes : new Uint16Array(bytes.slice().buffer);
  return Float32Array.from(codes, (code) => code * scale + min);
}

/** The numbers that TensorFlow.js itself reads. */
async function tfjsNumbers(files: Files): Promise<Map<string, Float32Array | Int32Array | Uint8Array>> {
  const specs = groupsIn(files).flatMap(({ weights }) => weights) as tf.io.WeightsManifestEntry[];
  const bytes = groupsIn(files).flatMap(({ paths }) => paths.flatMap((path) => [...files.get(path)!]));
  const tensors = tf.io.decodeWeights(Uint8Array.from(bytes).buffer, specs);
  const numbers = new Map<string, Float32Array | Int32Array | Uint8Array>();
  for (const [name, tensor] of Object.entries(tensors)) {
    if (tensor.dtype !== 'string') numbers.set(name, await tensor.data());
    tensor.dispose();
  }
  return numbers;
}

/** The name of a layer's weight. Without a topology, it is that of the layer. */
const kernelOf = (layer: string): string => (layer.endsWith('/kernel') ? layer : `${layer}/kernel`);

/** The new numbers by the names of weights. */
const byWeight = (wanted: Wanted): Map<string, NewNumbers> =>
  new Map([...[...wanted.layers].map(([layer, numbers]) => [kernelOf(layer), numbers] as const), ...wanted.others]);

/** Any bytes: `length` numbers of a type. */
const anyBytes = (length: number, width: number): fc.Arbitrary<Bytes> =>
  fc
    .uint8Array({ minLength: length * width, maxLength: length * width })
    .map((bytes) => Uint8Array.from(bytes) as Bytes);

const anyFloats = (length: number): fc.Arbitrary<Bytes> =>
  fc
    .array(fc.float({ noNaN: true }), { minLength: length, maxLength: length })
    .map((numbers) => floats(...numbers) as Bytes);

/** A weight that is not that of a layer: of any type, quantised or not. */
const anyFurther = (name: string): fc.Arbitrary<Entry> => {
  const shapes = fc.array(fc.nat(7), { maxLength: 3 });
  const scaled = { scale: 0.25, min: -3.1 };
  return fc.oneof(
    shapes.chain((shape) => anyFloats(count({ shape })).map((bytes) => ({ name, shape, dtype: 'float32', bytes }))),
    fc
      .record({
        shape: shapes,
        type: fc.constantFrom(
          { dtype: 'int32' },
          { dtype: 'bool' },
          { dtype: 'int32', quantization: { dtype: 'uint8', ...scaled } },
          { dtype: 'float32', quantization: { dtype: 'uint8', ...scaled } },
          { dtype: 'float32', quantization: { dtype: 'uint16', ...scaled } },
          { dtype: 'float32', quantization: { dtype: 'float16' } },
        ),
      })
      .chain(({ shape, type }) => {
        const width = widths['quantization' in type ? type.quantization!.dtype : type.dtype]!;
        return anyBytes(count({ shape }), width).map((bytes) => ({ name, shape, ...type, bytes }));
      }),
    fc.array(fc.string({ maxLength: 5 }), { maxLength: 3 }).map((texts) => {
      const parts = texts.map((text) => new TextEncoder().encode(text));
      const bytes = parts.flatMap((part) => [...new Uint8Array(Uint32Array.of(part.length).buffer), ...part]);
      return { name, shape: [texts.length], dtype: 'string', bytes: Uint8Array.from(bytes) };
    }),
  );
};

/** A layer's own weight, quantised or not. */
const anyKernel = (name: string): fc.Arbitrary<Entry> =>
  fc
    .record({
      shape: fc.oneof(
        fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 2, maxLength: 2 }),
        fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 4, maxLength: 4 }),
      ),
      isCoded: fc.nat(4),
    })
    .chain(({ shape, isCoded }) =>
      isCoded === 0
        ? anyBytes(count({ shape }), 1).map((bytes) => ({
            ...{ name, shape, dtype: 'float32', bytes },
            quantization: { dtype: 'uint8', scale: 0.5, min: -3 },
          }))
        : anyFloats(count({ shape })).map((bytes) => ({ name, shape, dtype: 'float32', bytes })),
    );

const topologies = {
  'a LayersModel': (kernels: readonly Entry[]) => ({
    modelTopology: {
      class_name: 'Sequential',
      config: {
        name: 'model',
        layers: kernels.map(({ name, shape }) => ({
          class_name: shape.length === 2 ? 'Dense' : 'Conv2D',
          config: { name: name.replace('/kernel', ''), use_bias: false },
        })),
      },
    },
  }),
  'a GraphModel': (kernels: readonly Entry[], all: readonly Entry[]) => ({
    format: 'graph-model',
    modelTopology: graphOf(
      all,
      kernels.map(({ name, shape }) => [
        name.replace('/kernel', ''),
        shape.length === 2 ? 'MatMul' : 'Conv2D',
        ['x', name],
      ]),
    ),
    userDefinedMetadata: { signature: { outputs: {} } },
  }),
  'a bare manifest': undefined,
};

/** A model of one or several groups, each in one or several files. */
const anyModel = (kind: keyof typeof topologies): fc.Arbitrary<Files> =>
  fc
    .record({
      kernels: fc.integer({ min: 1, max: 3 }),
      further: fc.nat(4),
      groups: fc.integer({ min: 1, max: 3 }),
      shard: fc.integer({ min: 1, max: 90 }),
    })
    .chain(({ kernels, further, groups, shard }) => {
      const names = Array.from({ length: kernels }, (_, at) => `layer${at}/kernel`);
      const others = Array.from({ length: further }, (_, at) => `other${at}`);
      return fc
        .tuple(fc.tuple(...names.map(anyKernel)), fc.tuple(...others.map(anyFurther)))
        .chain(([kernels, others]) =>
          fc
            .shuffledSubarray([...kernels, ...others], { minLength: kernels.length + others.length })
            .map((entries) => modelOf(kind, kernels, entries, groups, shard)),
        );
    });

function modelOf(
  kind: keyof typeof topologies,
  kernels: readonly Entry[],
  entries: readonly Entry[],
  groups: number,
  shard: number,
): Files {
  const size = Math.ceil(entries.length / groups);
  const files = new Map<string, Bytes>();
  const manifest: object[] = [];
  for (let group = 0; group < groups; group++) {
    const { json, shards } = filesOf(undefined, entries.slice(group * size, (group + 1) * size), shard);
    const [own] = json.weightsManifest as Group[];
    const rename = (path: string) => `g${group}-${path}`;
    manifest.push({ ...own, paths: own!.paths.map(rename), comment: `group ${group}` });
    for (const [path, bytes] of shards) files.set(rename(path), bytes as Bytes);
  }
  const json = topologies[kind]?.(kernels, entries);
  const content = json === undefined ? manifest : { ...json, weightsManifest: manifest, generatedBy: 'a test' };
  return new Map([['model.json', textOf(content) as Bytes], ...files]);
}

/** The bits of numbers, so that -0 and 0 differ. NaN has one pattern of bits, whichever it was. */
const bitsOf = (numbers: ArrayLike<number>): number[] => [
  ...new Uint32Array(Float32Array.from(numbers, (each) => (Number.isNaN(each) ? NaN : each)).buffer),
];

describe('numbers in other forms', () => {
  const kinds = Object.keys(topologies) as (keyof typeof topologies)[];
  test.each(kinds)(
    'Only what is asked for changes in %s, and it is decoded as TensorFlow.js decodes it',
    async (kind) => {
      await fc.assert(
        fc.asyncProperty(anyModel(kind), fc.integer(), async (files, seed) => {
          using model = await read(files);
          expect(model.tensors.length).toBeGreaterThan(0);
          const [wanted] = fc.sample(anyWanted(model), { numRuns: 1, seed });
          const asked = byWeight(wanted!);
          const written = await rewritten(model, wanted!);

          const before = weightsIn(files);
          const after = weightsIn(written);
          expect([...after.keys()]).toEqual([...before.keys()]);
          const decoded = await tfjsNumbers(written);
          for (const [name, { spec, bytes }] of before) {
            const numbers = asked.get(name);
            if (numbers === undefined) {
              expect(after.get(name)).toEqual({ spec, bytes });
              continue;
            }
            const meaning = 'min' in numbers ? { min: numbers.min, scale: numbers.scale } : {};
            const quantization = { dtype: numbers.form, ...meaning, original_dtype: 'float32' };
            expect(after.get(name)!.spec).toEqual({ ...spec, quantization });
            expect(bitsOf(decoded.get(name)!)).toEqual(bitsOf(naiveNumbers(numbers)));
          }

          // Everything else in the JSON stays, and the files have the usual names.
          const [jsonBefore, jsonAfter] = [files, written].map((each) => jsonOf([...each.values()][0]!) as object);
          const others = (content: object) => ({ ...content, weightsManifest: undefined });
          if (kind !== 'a bare manifest') expect(others(jsonAfter!)).toEqual(others(jsonBefore!));
          const paths = groupsIn(written).map(({ paths, ...group }) => [
            paths,
            (group as { comment?: string }).comment,
          ]);
          expect(paths).toEqual(groupsIn(files).map((_, at) => [[`group${at + 1}-shard1of1.bin`], `group ${at}`]));
          expect([...written.keys()]).toEqual(['model.json', ...groupsIn(written).flatMap(({ paths }) => paths)]);

          // What is written is read again, with the same numbers.
          using again = await read(written);
          expect(again.tensors.map(({ name, shape }) => [name, shape])).toEqual(
            model.tensors.map(({ name, shape }) => [name, shape]),
          );
          for (const [name, numbers] of wanted!.layers) {
            const tensor = again.tensors.find((each) => each.name === name)!;
            const { storage } = storageOf(again);
            expect(storage.obstacle(tensor, 'uint8')).toBe(`it is already stored as ${numbers.form}`);
          }

          // Back to 32 bits: bit for bit what was decoded.
          const { storage, current } = storageOf(again);
          const back = await storage.dequantized(current);
          const [plain, coded] = [weightsIn(back.files), weightsIn(written)];
          const isFloat = ({ dtype }: Spec) => dtype === 'float32';
          for (const [name, { spec, bytes }] of coded) {
            if (!isFloat(spec)) expect(plain.get(name)).toEqual({ spec, bytes });
            else {
              const { quantization: _, ...own } = spec;
              expect(plain.get(name)!.spec).toEqual(own);
              expect(bitsOf(naiveDecoded(own, plain.get(name)!.bytes))).toEqual(bitsOf(naiveDecoded(spec, bytes)));
            }
          }
          const quantised = [...coded.values()].filter(({ spec }) => spec.quantization);
          const names = new Map(model.tensors.map(({ name }) => [kernelOf(name), name]));
          expect(back.changed).toEqual(
            quantised
              .filter(({ spec }) => isFloat(spec))
              .map(({ spec }) => ({ name: names.get(spec.name) ?? spec.name, from: spec.quantization!.dtype })),
          );
          expect(back.skipped).toEqual(
            quantised
              .filter(({ spec }) => !isFloat(spec))
              .map(({ spec }) => ({ name: spec.name, reason: `its codes stand for numbers of type ${spec.dtype}` })),
          );
        }),
        { numRuns: 60 },
      );
    },
  );

  test('Zero is exact in TensorFlow.js, whatever its code and the scale are', async () => {
    const scales = fc.double({ min: 2 ** -1074, max: 2 ** 900, noNaN: true });
    await fc.assert(
      fc.asyncProperty(scales, fc.nat(65_535), async (scale, zero) => {
        using model = await read(all(filesOf(undefined, [entry('d/kernel', [1, 2], 1, 2)]), true));
        const codes = Uint16Array.of(zero, zero);
        const numbers = { form: 'uint16', codes, scale, min: 0 - zero * scale } as const;
        const written = await rewritten(model, { layers: new Map([['d/kernel', numbers]]), others: new Map() });
        expect(bitsOf((await tfjsNumbers(written)).get('d/kernel')!)).toEqual([0, 0]);
        using again = await read(written);
        expect([...(await again.copy(again.tensors[0]!.values))]).toEqual([0, 0, 0, 0, 0, 0, 0, 0]);
      }),
    );
  });

  test('A layer that is stored as codes or with 16 bits has an obstacle, and is not among the other numbers', async () => {
    const kernel = (name: string, more: object) => ({ ...entry(name, [2, 2], 1, 2, 3, 4), ...more });
    const half = { bytes: new Uint8Array(8) };
    const entries = [
      kernel('plain/kernel', {}),
      kernel('codes/kernel', { quantization: { dtype: 'uint16', scale: 1, min: 0 }, ...half }),
      kernel('coded/kernel', { quantization: { dtype: 'float16' }, ...half }),
      kernel('half/kernel', { dtype: 'float16', ...half }),
    ];
    const stored = filesOf(undefined, entries);
    using model = await read(all(stored, true));
    const { storage, current } = storageOf(model);
    for (const form of storage.forms) {
      expect(model.tensors.map((tensor) => [tensor.name, storage.obstacle(tensor, form)])).toEqual([
        ['plain/kernel', undefined],
        ['codes/kernel', 'it is already stored as uint16'],
        ['coded/kernel', 'it is already stored as float16'],
        ['half/kernel', 'it is already stored as float16'],
      ]);
    }
    expect(storage.others()).toEqual([]);
    // TensorFlow.js cannot read the type float16 itself, only its quantisation.
    const { files, changed } = await storage.dequantized(current);
    expect(changed.map(({ from }) => from)).toEqual(['uint16', 'float16', 'float16']);
    expect((await tfjsNumbers(files)).get('half/kernel')).toEqual(new Float32Array(4));
  });

  test('The other numbers are those that 16 bits make smaller in spite of the longer manifest', async () => {
    const lengths = [1, 30, 31, 32, 33, 100];
    const entries = lengths.map((length) => entry(`b${length}`, [length], ...Array.from({ length }, () => 1)));
    const stored = filesOf(undefined, [entry('d/kernel', [8, 8], ...Array.from({ length: 64 }, () => 1)), ...entries]);
    const files = all(stored, true);
    using model = await read(files);
    const { storage, current } = storageOf(model);
    const sizeOf = (files: Files) => [...files.values()].reduce((total, { length }) => total + length, 0);
    const before = sizeOf(await model.toFiles());
    const smaller: string[] = [];
    for (const [at, length] of lengths.entries()) {
      const half = { form: 'float16', numbers: new Uint8Array(2 * length) } as const;
      const name = entries[at]!.name;
      if (sizeOf(await storage.rewritten(new Map(), new Map([[name, half]]), current)) < before) smaller.push(name);
    }
    expect(storage.others().map(({ name }) => name)).toEqual(smaller);
    expect(smaller).toEqual(['b32', 'b33', 'b100']);
  });

  test('The usual form of convolutions is uint16, since all channels share one scale', async () => {
    using model = await read(await filesFrom('tfjs_bn_inside'));
    const { storage } = storageOf(model);
    expect(model.tensors.map(({ name, kind }) => [name, kind, storage.usualForm(kind)])).toEqual([
      ['c1', 'conv2d', 'uint16'],
      ['head', 'dense', 'uint8'],
    ]);
  });

  test('Without any numbers in another form, the files are those that a model is written to', async () => {
    using model = await read(await filesFrom('tfjs_bn_inside'));
    const nothing = { layers: new Map(), others: new Map() };
    expect(await rewritten(model, nothing)).toEqual(await model.toFiles());
    const { storage, current } = storageOf(model);
    expect(await storage.dequantized(current)).toEqual({ files: await model.toFiles(), changed: [], skipped: [] });
  });

  test('Weights are split into new files of 4 MB', async () => {
    const length = 3 * 2 ** 20;
    const kernel = { name: 'd/kernel', shape: [length, 1], dtype: 'float32', bytes: new Uint8Array(4 * length) };
    const after = entry('e/kernel', [1, 2], 5, 6);
    const paths = ['w.bin'];
    const weights = [kernel, after].map(({ bytes: _, ...spec }) => spec);
    const whole = new Uint8Array(4 * length + 8);
    whole.set(after.bytes, 4 * length);
    using model = await read(
      new Map([
        ['model.json', textOf([{ paths, weights }]) as Bytes],
        ['w.bin', whole],
      ]),
    );
    const codes = Uint16Array.from({ length }, (_, at) => at % 65_521);
    const numbers = { form: 'uint16', codes, scale: 1, min: 0 } as const;
    const written = await rewritten(model, { layers: new Map([['d/kernel', numbers]]), others: new Map() });
    const sizes = [...written].slice(1).map(([name, { length }]) => [name, length]);
    expect(sizes).toEqual([
      ['group1-shard1of2.bin', 4 * 2 ** 20],
      ['group1-shard2of2.bin', 2 * 2 ** 20 + 8],
    ]);
    const [first, second] = [...written.values()].slice(1);
    const joined = new Uint8Array(2 * length + 8);
    joined.set(first!);
    joined.set(second!, first!.length);
    expect(differsAt(joined.subarray(0, 2 * length), new Uint8Array(codes.buffer))).toBe(-1);
    expect([...joined.subarray(2 * length)]).toEqual([...after.bytes]);
  });

  test('Codes that got an exact zero keep it in the new files, and are decoded with it', async () => {
    const quantization = { dtype: 'uint8', scale: 1, min: -2.25 };
    const bytes = Uint8Array.from([0, 1, 2, 3, 4, 5]);
    const stored = filesOf(undefined, [
      { name: 'd/kernel', shape: [3, 2], dtype: 'float32', quantization, bytes },
      entry('e/kernel', [1, 2], 5, 6),
    ]);
    using model = await read(all(stored, true));
    const options = { granularity: 'weight', context: 'local', criteria: 'magnitude', include: 'd/*' } as const;
    await new Sparsifier(model, { ...options, layerType: 'all' }).sparsifyModel(50);
    const pruned = [...(await tfjsNumbers(await model.toFiles())).get('d/kernel')!];
    expect(pruned.filter((number) => number === 0)).toHaveLength(3);
    const numbers = { form: 'uint8', codes: Uint8Array.of(1, 2), scale: 1, min: 0 } as const;
    const written = await rewritten(model, { layers: new Map([['e/kernel', numbers]]), others: new Map() });
    expect([...(await tfjsNumbers(written)).get('d/kernel')!]).toEqual(pruned);
    const { storage, current } = storageOf(model);
    const { files } = await storage.dequantized(current);
    expect(weightsIn(files).get('d/kernel')!.spec.quantization).toBe(undefined);
    expect([...(await tfjsNumbers(files)).get('d/kernel')!]).toEqual(pruned);
  });
});

describe('stock TensorFlow.js', () => {
  /** The same model with plain 32-bit floats in place of codes. */
  async function replaced(files: Files, written: Files): Promise<Files> {
    const decoded = await tfjsNumbers(written);
    const plain = groupsIn(files).map(({ weights }, group) => ({
      paths: [`${group}.bin`],
      weights: weights.map(({ quantization: _, ...spec }) => spec),
    }));
    const bytes = plain.map(({ paths, weights }) => {
      const parts = weights.flatMap((spec) => {
        const isFloat = spec.dtype === 'float32';
        return isFloat ? [...floats(...decoded.get(spec.name)!)] : [...weightsIn(files).get(spec.name)!.bytes];
      });
      return [paths[0]!, Uint8Array.from(parts) as Bytes] as const;
    });
    const json = { ...jsonOf([...files.values()][0]!), weightsManifest: plain };
    return new Map([['model.json', textOf(json) as Bytes], ...bytes]);
  }

  async function nearbyFor(model: FileModel, form: 'uint8' | 'uint16' | 'float16'): Promise<Wanted> {
    const { storage } = storageOf(model);
    const layers = new Map<string, NewNumbers>();
    for (const { name, values } of model.tensors)
      layers.set(name, nearby(new Float32Array((await model.copy(values)).slice().buffer), form));
    const plain = weightsIn(await model.toFiles());
    const others = new Map<string, NewNumbers>();
    for (const { name } of storage.others()) {
      const { spec, bytes } = plain.get(name)!;
      others.set(name, nearby(naiveDecoded(spec, bytes), 'float16'));
    }
    return { layers, others };
  }

  /** What a model gives for an input. */
  async function outputOf(files: Files, input: tf.Tensor): Promise<number[]> {
    const [main, ...others] = files;
    const handler = handlerOf(main![1], new Map(others));
    const topology = JSON.stringify(jsonOf(main![1]).modelTopology);
    const model = topology.includes('"node"') ? await tf.loadGraphModel(handler) : await tf.loadLayersModel(handler);
    const isLoop = topology.includes('While');
    const output = isLoop ? await (model as tf.GraphModel).executeAsync(input) : model.predict(input);
    return [...(await (output as tf.Tensor).data())];
  }

  const layersModel = async (): Promise<Files> => {
    const input = tf.input({ shape: [8, 8, 4] });
    const conv = tf.layers.conv2d({ filters: 40, kernelSize: 3, name: 'conv', useBias: true }).apply(input);
    const norm = tf.layers.batchNormalization({ name: 'norm' }).apply(conv);
    const depthwise = tf.layers.depthwiseConv2d({ kernelSize: 3, depthMultiplier: 2, name: 'dw' }).apply(norm);
    const separable = tf.layers.separableConv2d({ filters: 5, kernelSize: 1, name: 'sep' }).apply(depthwise);
    const up = tf.layers.conv2dTranspose({ filters: 3, kernelSize: 2, name: 'up' }).apply(separable);
    const flat = tf.layers.reshape({ targetShape: [25, 3] }).apply(up);
    const lstm = tf.layers.lstm({ units: 4, name: 'cell' }).apply(flat);
    const out = tf.layers.dense({ units: 2, name: 'head' }).apply(lstm);
    const built = tf.model({ inputs: input, outputs: out as never });
    const weights = built.getWeights();
    built.setWeights(
      weights.map((each, seed) => (each.rank > 1 ? tf.randomNormal(each.shape, 0, 0.3, 'float32', seed + 1) : each)),
    );
    return all(await saved(built));
  };
  const random = (...shape: number[]) => tf.randomNormal(shape, 0, 1, 'float32', 3);

  const cases: [title: string, files: () => Promise<Files>, input: () => tf.Tensor][] = [
    ['a LayersModel with layers of all kinds', layersModel, () => random(2, 8, 8, 4)],
    ['a LayersModel with stacked recurrent cells', () => filesFrom('tfjs_stacked'), () => random(2, 5, 3)],
    ['a GraphModel with a convolution', () => filesFrom('tfjs_g_conv1d'), () => random(2, 7, 3)],
    ['a GraphModel with matrices', () => filesFrom('tfjs_g_einsum'), () => random(2, 5, 8)],
    ['a GraphModel with a loop', () => filesFrom('tfjs_g_while'), () => random(2, 8)],
  ];
  for (const form of ['uint8', 'uint16', 'float16'] as const) {
    test.each(cases)(`${form} runs in %s as the decoded numbers do, bit for bit`, async (_, load, input) => {
      const files = await load();
      using model = await read(files);
      const wanted = await nearbyFor(model, form);
      expect(wanted.layers.size).toBeGreaterThan(0);
      const written = await rewritten(model, wanted);
      const given = input();
      const expected = await outputOf(await replaced(files, written), given);
      const dense = await outputOf(files, given);
      const got = await outputOf(written, given);
      expect(got).toEqual(expected);
      expect(got).not.toEqual(dense);
      const largest = (numbers: readonly number[]) => Math.max(...numbers.map(Math.abs));
      expect(largest(got.map((number, at) => number - dense[at]!))).toBeLessThan(largest(dense) / 20);
    });
  }
});

const entry = (name: string, shape: number[], ...numbers: number[]): Entry => ({
  name,
  shape,
  dtype: 'float32',
  bytes: floats(...numbers),
});

/** The files of a model in the folder of test cases. */
async function filesFrom(name: string): Promise<Files> {
  const [json, weights] = await Promise.all([readBytes(`cases/${name}/model.json`), readBytes(`cases/${name}/w.bin`)]);
  return new Map([
    ['model.json', json],
    ['w.bin', weights],
  ]);
}
