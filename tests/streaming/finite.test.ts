// A model with a weight that is not finite ends in the same error, or becomes the same bytes, in memory and from file to
// file: by every criterion, in every granularity, however the weight is stored and whatever its bits are.
import fc from 'fast-check';
import { Criteria, Granularity, type CriteriaName, type SparsifierOptions, type SparsifyError } from 'sparsifier';
import { sparsifyFile } from 'sparsifier/file';
import { expect, test } from 'vitest';
import { granularitiesOf } from '../support/internal.js';
import { errorOf, expectNoMemoryInUse, product, values } from '../support/layers.js';
import { layerStatistics, rowsFor, statisticsOf } from '../support/naive-repair.js';
import { integerAttribute, model, node, tensor, type DataType } from '../support/onnx-builder.js';
import { safetensorsFile } from '../support/safetensors-builder.js';
import { inMemory, keeping, reading, type Kept, type Source } from '../support/streams.js';
import { filesOf, graphOf, textOf, type Entry } from '../support/tfjs.js';

const floatTypes = {
  float32: { bytes: 4, fraction: 23, name: 'F32' },
  float16: { bytes: 2, fraction: 10, name: 'F16' },
  bfloat16: { bytes: 2, fraction: 7, name: 'BF16' },
} as const;
type FloatType = keyof typeof floatTypes;

/** A number that is not finite: with these fractions of all payloads, 0 for infinity, and either sign. */
interface Odd {
  readonly sign: 0 | 1;
  /** Of the fraction, the first bit is that of quiet numbers. */
  readonly isQuiet: boolean;
  readonly payload: number;
}

function bitsOf({ sign, isQuiet, payload }: Odd, dtype: FloatType): number {
  const { bytes, fraction } = floatTypes[dtype];
  const quiet = 2 ** (fraction - 1);
  const exponent = 2 ** (8 * bytes - 1 - fraction) - 1;
  return sign * 2 ** (8 * bytes - 1) + exponent * 2 ** fraction + (isQuiet ? quiet : 0) + (payload % quiet);
}

const convShape = [4, 3, 2, 2];
const headShape = [12, 4];
const place = 7;

/** Small numbers of a type, one of which may be odd. */
function numbers(shape: readonly number[], dtype: FloatType, odd?: Odd): Uint8Array<ArrayBuffer> {
  const { bytes } = floatTypes[dtype];
  const all = new Uint8Array(product(shape) * bytes);
  const view = new DataView(all.buffer);
  const set = (index: number, bits: number) =>
    bytes === 4 ? view.setUint32(index * 4, bits, true) : view.setUint16(index * 2, bits, true);
  // Finite ones: any bits below the exponent of infinity, and away from the smallest.
  for (let index = 0; index < product(shape); index++) {
    const bits = (bytes === 4 ? 0x3f80_0000 : dtype === 'float16' ? 0x3c00 : 0x3f80) + ((index * 37) % 61);
    set(index, bits);
  }
  if (odd) set(place, bitsOf(odd, dtype));
  return all;
}

const onnxOf = (nodes: readonly Uint8Array[], initializers: readonly Uint8Array[], opset = 21): Source => ({
  bytes: model(
    {
      nodes: [node('Conv', 'x u', 'c', { name: 'conv' }), ...nodes, node('MatMul', 'f v', 'y', { name: 'head' })],
      initializers,
      inputs: { x: [1, 3, 3, 3], f: 2 },
      outputs: { y: 2, c: 4 },
    },
    opset,
  ),
  give: 'external',
});

const inOnnx = (dtype: FloatType, odd?: Odd): Source =>
  onnxOf(
    [],
    [
      tensor('u', convShape, { dtype: dtype as DataType, data: numbers(convShape, dtype, odd) }),
      tensor('v', headShape, { dtype: dtype as DataType, data: numbers(headShape, dtype) }),
    ],
  );

const inSafetensors = (dtype: FloatType, odd?: Odd): Source => {
  const { name } = floatTypes[dtype];
  return {
    bytes: safetensorsFile({
      'conv.weight': { dtype: name, shape: convShape, data: numbers(convShape, dtype, odd) },
      'head.weight': { dtype: name, shape: headShape, data: numbers(headShape, dtype) },
    }),
  };
};

/** The weights of the product as codes (of 8 bits: 4-bit ones are not pruned), whose scale of one output is odd. */
function inCodes(type: 'int8' | 'uint8', how: 'DequantizeLinear' | 'Mul', odd?: Odd): Source {
  const scales = new Uint8Array(numbers([headShape[1]!], 'float32'));
  if (odd) new DataView(scales.buffer).setUint32(4, bitsOf(odd, 'float32'), true);
  const count = product(headShape);
  const codes = tensor('codes', headShape, {
    dtype: type,
    data: Uint8Array.from({ length: count }, (_, index) => 1 + ((index * 5) % 100)),
  });
  const decode =
    how === 'Mul'
      ? [node('Cast', 'codes', 'wide', { attributes: [integerAttribute('to', 1)] }), node('Mul', 'wide scales', 'v')]
      : [node('DequantizeLinear', 'codes scales', 'v', { attributes: [integerAttribute('axis', 1)] })];
  return onnxOf(decode, [
    tensor('u', convShape, { data: numbers(convShape, 'float32') }),
    codes,
    tensor('scales', [headShape[1]!], { data: scales }),
  ]);
}

/** A TensorFlow.js model of one product; in half precision, its numbers are stored as such. */
function inTfjs(dtype: 'float32' | 'float16', odd?: Odd): Source {
  const entry: Entry = {
    ...{ name: 'v', shape: headShape, dtype: 'float32', bytes: numbers(headShape, dtype, odd) },
    ...(dtype === 'float16' && { quantization: { dtype } }),
  };
  const { json, shards } = filesOf(
    graphOf(
      [entry],
      [
        ['x', 'Placeholder', []],
        ['head', 'MatMul', ['x', 'v']],
      ],
    ),
    [entry],
  );
  return {
    bytes: textOf(json) as Uint8Array<ArrayBuffer>,
    further: Object.fromEntries(shards) as Record<string, Uint8Array<ArrayBuffer>>,
  };
}

interface Storage {
  /** Of the layer with the odd number, or the odd scale. */
  readonly kind: 'conv2d' | 'dense';
  make(odd?: Odd): Source;
}

const storages: Readonly<Record<string, Storage>> = {
  ...Object.fromEntries(
    (Object.keys(floatTypes) as FloatType[]).flatMap((dtype): [string, Storage][] => [
      [`${dtype} of ONNX`, { kind: 'conv2d', make: (odd) => inOnnx(dtype, odd) }],
      [`${dtype} of safetensors`, { kind: 'conv2d', make: (odd) => inSafetensors(dtype, odd) }],
    ]),
  ),
  ...Object.fromEntries(
    (['float32', 'float16'] as const).map((dtype): [string, Storage] => [
      `${dtype} of TensorFlow.js`,
      { kind: 'dense', make: (odd) => inTfjs(dtype, odd) },
    ]),
  ),
  ...Object.fromEntries(
    (['int8', 'uint8'] as const).flatMap((type) =>
      (['DequantizeLinear', 'Mul'] as const).map((how): [string, Storage] => [
        `${type} codes of ${how}`,
        { kind: 'dense', make: (odd) => inCodes(type, how, odd) },
      ]),
    ),
  ),
};
const names = Object.keys(storages);

/** What each criterion needs: numbers for the layers, one for each weight or input channel. */
const arrays = { conv: values(48, 2), head: values(48, 3) };
const activations = { conv: values(3, 4).map(Math.abs), head: values(12, 5).map(Math.abs) };
const layerOf = (columns: number) =>
  layerStatistics(
    { kind: 'dense', roles: ['out', 'in'], shape: [4, columns], data: values(4 * columns) },
    rowsFor({ groups: 1, outputs: 4, columns }, 9),
  );
const statistics = statisticsOf({ conv: layerOf(12), head: layerOf(12) });

function givenFor(criteria: CriteriaName, kind: Storage['kind']): Partial<SparsifierOptions> {
  const own = kind === 'conv2d' ? 'conv' : 'head';
  const all = { initial: { [own]: arrays[own] }, previous: { [own]: arrays[own] }, gradient: { [own]: arrays[own] } };
  if (criteria === 'fluctuation') return { ...all, statistics: { ...statistics, check: async () => [] } as never };
  return { ...all, activations: { [own]: activations[own] } };
}

type Outcome = readonly string[] | Record<string, Uint8Array>;

const inWords = (error: SparsifyError): readonly string[] => [error.code, error.message];

async function outcomeOf(work: () => Promise<Record<string, Uint8Array>>): Promise<Outcome> {
  let files: Record<string, Uint8Array> | undefined;
  try {
    return (files = await work());
  } catch (error) {
    return inWords(await errorOf(() => Promise.reject(error)));
  } finally {
    if (files === undefined) await expectNoMemoryInUse();
  }
}

/** From file to file, with each file kept by its name. */
async function streamed(source: Source, options: SparsifierOptions, sparsity: number | undefined) {
  const kept = new Map<string, Kept>();
  const give = (name: string) => {
    const one = keeping();
    kept.set(name, one);
    return one.stream as WritableStream<Uint8Array<ArrayBuffer>>;
  };
  await sparsifyFile(source.bytes, give, {
    ...options,
    ...reading(source),
    ...(sparsity === undefined ? {} : { sparsity }),
  });
  return Object.fromEntries([...kept].map(([name, one]) => [name, one.bytes()]));
}

async function expectAgreement(source: Source, options: SparsifierOptions): Promise<Outcome> {
  const isPattern = typeof options.granularity === 'object' && 'nm' in options.granularity;
  const sparsity = isPattern ? undefined : 50;
  const memory = await outcomeOf(async () => (await inMemory(source, options, sparsity)).files);
  const files = await outcomeOf(() => streamed(source, options, sparsity));
  expect(files).toEqual(memory);
  return memory;
}

const anyOdd: fc.Arbitrary<Odd> = fc.record({
  sign: fc.constantFrom(0, 1),
  isQuiet: fc.boolean(),
  payload: fc.oneof(fc.constant(0), fc.constant(1), fc.nat(2 ** 22 - 1)),
});

test.each(names)('A finite model stored as %s is pruned to the same bytes', async (name) => {
  const { kind, make } = storages[name]!;
  expect(await expectAgreement(make(), { layerType: kind })).not.toBeInstanceOf(Array);
});

test('A weight that is not finite is the same error in memory and from file to file', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...names),
      anyOdd,
      // `flap` is for whole models.
      fc.constantFrom(...(Object.keys(Criteria) as CriteriaName[]).filter((name) => name !== 'flap')),
      fc.nat(),
      fc.constantFrom('local' as const, 'global' as const),
      fc.constantFrom('mean' as const, 'sum' as const, 'l2' as const, 'max' as const),
      async (name, odd, criteria, draw, context, reducer) => {
        const { kind, make } = storages[name]!;
        // Codes with such a scale stand for no weights: the model has no layer of this kind, whatever the criterion.
        const isCoded = name.includes('codes');
        const asked = isCoded ? { criteria: 'squaredFinal' as const } : { ...givenFor(criteria, kind), criteria };
        const granularities = [
          ...granularitiesOf(kind),
          Granularity.nm(1, 2),
          Granularity.block({ out: 2, in: 2 }),
          Granularity.spanning('in'),
        ];
        const granularity = granularities[draw % granularities.length]!;
        const isPattern = typeof granularity === 'object' && 'nm' in granularity;
        const outcome = await expectAgreement(make(odd), {
          ...asked,
          ...{ granularity, reducer, layerType: kind },
          context: granularity === 'layer' ? 'global' : isPattern ? 'local' : context,
        });
        expect(outcome).toEqual([isCoded ? 'kind' : 'weights', expect.any(String)]);
      },
    ),
    { numRuns: 400 },
  );
});
