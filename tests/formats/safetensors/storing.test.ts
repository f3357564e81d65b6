import fc from 'fast-check';
import { readSafetensors, type FileModel } from 'sparsifier/formats/safetensors';
import { describe, expect, test } from 'vitest';
import { storageOf } from '../../support/internal.js';
import { anyWanted, naive16, naiveNumbers, rewritten } from '../../support/new-numbers.js';
import { safetensorsFile, type TensorsToStore, type TensorToStore } from '../../support/safetensors-builder.js';

type Bytes = Uint8Array<ArrayBuffer>;
type Files = ReadonlyMap<string, Bytes>;

const read = (files: Files): Promise<FileModel> =>
  readSafetensors([...files.values()][0]!, { shards: (name) => files.get(name)! });

interface Found {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: Bytes;
  /** The offset in the file. */
  readonly start: number;
  readonly file: string;
}

const jsonOf = (bytes: Uint8Array): Record<string, unknown> =>
  JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;

/** The header of a file as JSON, and where the data begin. */
function headerOf(bytes: Bytes): { readonly header: Record<string, unknown>; readonly data: number } {
  const data = 8 + Number(new DataView(bytes.buffer).getBigUint64(0, true));
  return { header: jsonOf(bytes.subarray(8, data)), data };
}

/** The tensors of all files by name, in the order of their bytes. */
function tensorsIn(files: Files): Map<string, Found> {
  const found: (readonly [string, Found])[] = [];
  for (const [file, bytes] of files) {
    if (file.endsWith('.json')) continue;
    const { header, data } = headerOf(bytes);
    for (const [name, entry] of Object.entries(header)) {
      if (name === '__metadata__') continue;
      const { dtype, shape, data_offsets: offsets } = entry as Found & { data_offsets: [number, number] };
      const [start, end] = offsets.map((offset) => data + offset) as [number, number];
      found.push([name, { dtype, shape, bytes: bytes.slice(start, end), start, file }]);
    }
  }
  return new Map(found.sort(([, first], [, second]) => (first.file === second.file ? first.start - second.start : 0)));
}

const widths: Readonly<Record<string, number>> = {
  ...{ F64: 8, I64: 8, F32: 4, I32: 4, F16: 2, BF16: 2, I16: 2, U8: 1, I8: 1, BOOL: 1, F8_E4M3: 1 },
};
const spelled: Readonly<Record<string, string>> = { float16: 'F16', bfloat16: 'BF16' };
const narrow: Readonly<Record<string, 'float16' | 'bfloat16'>> = { F16: 'float16', BF16: 'bfloat16' };

const naiveFloats = ({ dtype, bytes }: Found): Float32Array =>
  dtype === 'F32'
    ? new Float32Array(bytes.slice().buffer)
    : Float32Array.from(new Uint16Array(bytes.slice().buffer), (bits) => naive16(bits, narrow[dtype]!));

/** The bits of numbers, so that -0 and 0 differ. NaN has one pattern of bits, whichever it was. */
const bitsOf = (numbers: Float32Array): number[] => [
  ...new Uint32Array(numbers.map((each) => (Number.isNaN(each) ? NaN : each)).buffer),
];

const anyTensor: fc.Arbitrary<TensorToStore> = fc
  .record({
    dtype: fc.oneof({ weight: 3, arbitrary: fc.constant('F32') }, fc.constantFrom(...Object.keys(widths))),
    shape: fc.oneof(
      { weight: 3, arbitrary: fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 2, maxLength: 4 }) },
      fc.array(fc.nat(4), { maxLength: 2 }),
    ),
  })
  .chain(({ dtype, shape }) => {
    const length = shape.reduce((product, size) => product * size, 1) * widths[dtype]!;
    return fc
      .uint8Array({ minLength: length, maxLength: length })
      .map((data) => ({ dtype, shape, data: Uint8Array.from(data) }));
  });

const endings = ['weight', 'bias', 'running_mean'];

/** A checkpoint of one file, or of several with an index. */
const anyCheckpoint: fc.Arbitrary<Files> = fc
  .record({
    tensors: fc.array(fc.tuple(anyTensor, fc.constantFrom(...endings), fc.nat(2)), { minLength: 1, maxLength: 8 }),
    isSharded: fc.boolean(),
    metadata: fc.option(fc.dictionary(fc.string(), fc.string(), { maxKeys: 2, noNullPrototype: true })),
    padding: fc.nat(9),
    hasTotal: fc.boolean(),
  })
  .map(({ tensors, isSharded, metadata, padding, hasTotal }) => {
    const named = tensors.map(([tensor, ending, shard], at) => ({ name: `m${at}.${ending}`, tensor, shard }));
    const options = { padding, ...(metadata && { metadata }) };
    const fileOf = (members: typeof named) =>
      safetensorsFile(Object.fromEntries(members.map(({ name, tensor }) => [name, tensor])) as TensorsToStore, options);
    if (!isSharded) return new Map([['model.safetensors', fileOf(named)]]);
    const fileName = (shard: number) => `model-0000${shard + 1}-of-00003.safetensors`;
    const map = Object.fromEntries(named.map(({ name, shard }) => [name, fileName(shard)]));
    const metadataOfIndex = { total_size: 7, total_parameters: 3 };
    const content = hasTotal ? { other: 1.5, metadata: metadataOfIndex, weight_map: map } : { weight_map: map };
    const bytes = new TextEncoder().encode(JSON.stringify(content));
    const shards = [...new Set(named.map(({ shard }) => shard))].sort();
    return new Map([
      ['model.safetensors.index.json', bytes],
      ...shards.map(
        (shard) => [fileName(shard), fileOf(named.filter((each) => each.shard === shard))] as [string, Bytes],
      ),
    ]);
  });

/** Whether all numbers of a file begin at a multiple of their size. */
const isAligned = ({ dtype, start }: Found): boolean => start % (widths[dtype] ?? 1) === 0;

describe('numbers in other forms', () => {
  test('Only what is asked for changes in a checkpoint, numbers are aligned, and dequantize gives the decoded ones', async () => {
    await fc.assert(
      fc.asyncProperty(anyCheckpoint, fc.integer(), async (files, seed) => {
        using model = await read(files);
        const [wanted] = fc.sample(anyWanted(model), { numRuns: 1, seed });
        const written = await rewritten(model, wanted!);
        const [before, after] = [tensorsIn(files), tensorsIn(written)];
        const asked = new Map([
          ...[...wanted!.layers].map(
            ([name, numbers]) => [before.has(name) ? name : `${name}.weight`, numbers] as const,
          ),
          ...wanted!.others,
        ]);
        const names = [...before.keys()];
        expect([...after.keys()].sort()).toEqual(names.sort());
        for (const [name, { dtype, shape, bytes, file }] of before) {
          const own = after.get(name)!;
          expect([own.shape, own.file]).toEqual([shape, file]);
          const numbers = asked.get(name);
          if (numbers === undefined) expect([own.dtype, own.bytes]).toEqual([dtype, bytes]);
          else {
            expect(own.dtype).toBe(spelled[numbers.form]);
            expect(bitsOf(naiveFloats(own))).toEqual(bitsOf(naiveNumbers(numbers)));
          }
        }
        checkFiles(files, written, new Set(asked.keys()));

        // Back to 32 bits: bit for bit what was decoded.
        using again = await read(written);
        const { storage, current } = storageOf(again);
        const back = await storage.dequantized(current);
        const plain = tensorsIn(back.files);
        for (const [name, tensor] of after) {
          const own = plain.get(name)!;
          if (!(tensor.dtype in narrow)) expect([own.dtype, own.bytes]).toEqual([tensor.dtype, tensor.bytes]);
          else expect([own.dtype, bitsOf(naiveFloats(own))]).toEqual(['F32', bitsOf(naiveFloats(tensor))]);
        }
        const narrowed = [...after].filter(([, { dtype }]) => dtype in narrow).map(([name]) => name);
        checkFiles(written, back.files, new Set(narrowed));
        const shortened = (name: string) => again.tensors.find(({ aliases }) => aliases.includes(name))?.name ?? name;
        expect(back.changed.map(({ name, from }) => [name, from]).sort()).toEqual(
          narrowed.map((name) => [shortened(name), narrow[after.get(name)!.dtype]]).sort(),
        );
      }),
      { numRuns: 150 },
    );
  });

  /** Checks what is not the numbers themselves: other files, metadata, order, alignment and the total of the index. */
  function checkFiles(files: Files, written: Files, changed: ReadonlySet<string>): void {
    expect([...written.keys()]).toEqual([...files.keys()]);
    const [before, after] = [tensorsIn(files), tensorsIn(written)];
    for (const [file, bytes] of files) {
      const own = written.get(file)!;
      const inFile = (tensors: ReadonlyMap<string, Found>) => [...tensors].filter(([, tensor]) => tensor.file === file);
      if (file.endsWith('.json')) {
        const { metadata, ...content } = jsonOf(bytes);
        const { metadata: metadataAfter, ...contentAfter } = jsonOf(own);
        expect(Object.entries(contentAfter)).toEqual(Object.entries(content));
        const total = [...after.values()].reduce((sum, { bytes }) => sum + bytes.length, 0);
        const isNew = metadata !== undefined && changed.size > 0;
        expect(metadataAfter).toEqual(isNew ? { ...(metadata as object), total_size: total } : metadata);
        if (!isNew) expect(own).toEqual(bytes);
      } else if (inFile(before).every(([name]) => !changed.has(name))) expect(own).toEqual(bytes);
      else {
        expect(headerOf(own).header['__metadata__'] ?? {}).toEqual(headerOf(bytes).header['__metadata__'] ?? {});
        for (const [, tensor] of inFile(after)) expect(isAligned(tensor)).toBe(true);
        // Those of one size stay in their order.
        const order = new Map(inFile(before).map(([name], place) => [name, place]));
        for (const width of [8, 4, 2, 1]) {
          const places = inFile(after)
            .filter(([, { dtype, bytes }]) => widths[dtype] === width && bytes.length > 0)
            .map(([name]) => order.get(name)!);
          expect(places).toEqual([...places].sort((first, second) => first - second));
        }
      }
    }
  }

  test('A layer that is stored with 16 bits has an obstacle, and is not among the other numbers', async () => {
    const file = safetensorsFile({
      'plain.weight': [2, 3],
      'half.weight': { dtype: 'F16', shape: [2, 3] },
      'brain.weight': { dtype: 'BF16', shape: [2, 3] },
      'brain.bias': { dtype: 'BF16', shape: [2] },
      'plain.bias': [2],
      'norm.weight': [2, 1],
      empty: [0],
      wide: { dtype: 'F64', shape: [2] },
    });
    using model = await read(new Map([['model.safetensors', file]]));
    const { storage } = storageOf(model);
    expect(storage.forms.includes(storage.usualForm('dense'))).toBe(true);
    for (const form of storage.forms) {
      expect(model.tensors.map((tensor) => [tensor.name, storage.obstacle(tensor, form)])).toEqual([
        ['plain', undefined],
        ['half', 'it is already stored as float16'],
        ['brain', 'it is already stored as bfloat16'],
      ]);
    }
    expect(storage.others().map(({ name, values }) => [name, values.length])).toEqual([
      ['plain.bias', 2],
      ['norm.weight', 2],
    ]);
  });

  test('Codes whose scale is unknown stay as they are, with the reason', async () => {
    const file = safetensorsFile({
      'a.weight': { dtype: 'F8_E4M3', shape: [2, 3] },
      'b.qweight': { dtype: 'I32', shape: [2, 3] },
      'c.weight': { dtype: 'F64', shape: [2, 3] },
      ids: { dtype: 'I64', shape: [2, 3] },
      'd.weight': { dtype: 'F16', shape: [2, 3] },
    });
    using model = await read(new Map([['model.safetensors', file]]));
    const { storage, current } = storageOf(model);
    const { changed, skipped } = await storage.dequantized(current);
    expect(changed).toEqual([{ name: 'd', from: 'float16' }]);
    expect(skipped).toEqual([
      { name: 'a.weight', reason: 'its type is F8_E4M3, and the scale of its codes is unknown' },
      { name: 'b.qweight', reason: 'its type is I32, and the scale of its codes is unknown' },
    ]);
  });
});
