import fc from 'fast-check';
import { expect, test } from 'vitest';
import { model, node, tensor } from '../../support/onnx-builder.js';
import { readGraphOf } from '../../support/onnx-reader.js';
import { bytesOf, expectNear, run, stored, type Files } from '../../support/stored-models.js';

/** A tensor in a data file. */
interface Item {
  /** How many bytes lie between the data of the one before and its own, apart from those that align it. */
  readonly gap: number;
  readonly alignment: number;
  /** Whether it begins with the second half of the one before, where both are kept. */
  readonly isShared: boolean;
  readonly form: 'int8' | 'float16' | undefined;
  readonly location: string;
  /** Whether the file states where data begin, where they need not say so, and how long they are. */
  readonly isStated: boolean;
}

const [rows, columns] = [6, 4];
const length = 4 * rows * columns;

/** A network with one output for each item, and where the data of each are. */
function networkOf(items: readonly Item[]): { files: Files; places: { location: string; offset: number }[] } {
  const data = new Map<string, Uint8Array<ArrayBuffer>>();
  const places: { location: string; offset: number }[] = [];
  items.forEach(({ gap, alignment, isShared, form, location }, index) => {
    const before = data.get(location) ?? new Uint8Array(0);
    const last = items[index - 1];
    const isOverlap = isShared && form === undefined && last?.form === undefined && last?.location === location;
    const offset = isOverlap
      ? places[index - 1]!.offset + length / 2
      : Math.ceil((before.length + gap) / alignment) * alignment;
    const own = new Uint8Array(Math.max(before.length, offset + length)).fill(255);
    own.set(bytesOf(rows * columns, index).data, offset);
    own.set(before);
    data.set(location, own);
    places.push({ location, offset });
  });
  const external = (index: number): Readonly<Record<string, string | number>> => {
    const { location, offset } = places[index]!;
    const { isStated } = items[index]!;
    if (isStated) return { location, offset, length };
    return offset > 0 ? { location, offset } : { location };
  };
  const bytes = model({
    nodes: items.map(({ form }, index) =>
      form === undefined
        ? node('Add', `c w${index}`, `y${index}`)
        : node('MatMul', `x w${index}`, `y${index}`, { name: `layer${index}` }),
    ),
    initializers: items.map((_, index) => tensor(`w${index}`, [rows, columns], { external: external(index) })),
    inputs: { x: [3, rows], c: [1, columns] },
    outputs: Object.fromEntries(items.map((_, index) => [`y${index}`, undefined])),
  });
  return { files: new Map([['model.onnx', bytes], ...data]), places };
}

const inputs = { x: [3, rows], c: [1, columns] };

const item = fc.record({
  gap: fc.integer({ min: 0, max: 70 }),
  alignment: fc.constantFrom(1, 4, 64, 4096),
  isShared: fc.boolean(),
  form: fc.constantFrom('int8' as const, 'float16' as const, undefined),
  location: fc.constantFrom('a.bin', 'b.bin'),
  isStated: fc.boolean(),
});

test('External data are written anew without what is no longer used, and everything else stays as it is', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(item, { minLength: 1, maxLength: 6 }), async (items) => {
      const { files, places } = networkOf(items);
      fc.pre(items.some(({ form }) => form !== undefined));
      const { after, reference } = await stored(files, ({ name }) => items[Number(name.slice('layer'.length))]!.form!);
      expectNear(await run(after, inputs, 'all'), await run(reference, inputs, 'all'));
      const found = readGraphOf([...after.values()][0]!).external;
      expect(found.size).toBe(items.length);
      for (const location of new Set(items.map(({ location }) => location))) {
        const own = items.flatMap((each, index) => (each.location === location ? [{ ...each, index }] : []));
        if (own.every(({ form }) => form === undefined)) {
          expect(after.get(location)).toEqual(files.get(location));
          continue;
        }
        let [end, most] = [0, 0];
        for (const { index, form } of own) {
          const entries = found.get(
            `w${index}${form === undefined ? '' : form === 'int8' ? '_quantized' : '_float16'}`,
          )!;
          const place = { offset: Number(entries.offset ?? 0), length: Number(entries.length ?? length) };
          expect(entries.location).toBe(location);
          const before = places[index]!.offset;
          // It follows what is before it and is as aligned as it was, or it shares bytes and is where the other one puts it.
          let alignment = 1;
          while (alignment < 64 && before % (2 * alignment) === 0) alignment *= 2;
          if (place.offset < end) expect(place.offset).toBe(end - length / 2);
          else {
            expect(place.offset % alignment).toBe(0);
            expect(place.offset - end).toBeLessThan(alignment);
          }
          expect(place.length).toBe(form === undefined ? length : form === 'int8' ? length / 4 : length / 2);
          end = place.offset + place.length;
          most = Math.max(most, end);
        }
        expect(after.get(location)).toHaveLength(most);
      }
    }),
    { numRuns: 60 },
  );
});

test('Large data stay aligned to pages', async () => {
  const sizes = [512, 513] as const;
  const external = (offset: number, length: number) => ({ location: 'a.bin', offset, length });
  const [first, second] = [4 * 512 * 513, 4 * 512 * 512];
  const at = Math.ceil(first / 4096) * 4096;
  const bytes = model({
    nodes: [node('MatMul', 'x w', 'y', { name: 'layer' }), node('Add', 'x kept', 'z')],
    initializers: [
      tensor('w', sizes, { external: external(0, first) }),
      tensor('kept', [512, 512], { external: external(at, second) }),
    ],
    inputs: { x: [1, 512] },
    outputs: { y: undefined, z: undefined },
  });
  const data = new Uint8Array(at + second);
  data.set(bytesOf(512 * 513, 1).data);
  data.set(bytesOf(512 * 512, 2).data, at);
  const { after } = await stored(
    new Map([
      ['model.onnx', bytes],
      ['a.bin', data],
    ]),
    'int8',
  );
  const moved = Math.ceil((512 * 513) / 4096) * 4096;
  expect(readGraphOf(after.get('model.onnx')!).external.get('kept')!.offset).toBe(String(moved));
  expect(Buffer.compare(after.get('a.bin')!.subarray(moved), data.subarray(at))).toBe(0);
});
