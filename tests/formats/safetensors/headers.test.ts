import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
// Inner modules, which the package keeps to itself.
import { SparsifyError } from 'sparsifier';
import {
  readHeader,
  safetensorsChunks,
  writeStream,
  type Header,
  type Source,
  type TensorToWrite,
} from '../../support/internal.js';
import { differsAt } from '../../support/bytes.js';
import { readBytes, safetensors } from '../../support/files.js';
import { concat } from '../../support/onnx-builder.js';

/** A file in memory, which may say that more bytes follow. */
const sourceOf = (bytes: Uint8Array, size = bytes.length): Source => ({
  name: 'some.safetensors',
  size,
  read: async (target, position) => {
    if (position + target.length > size)
      throw new Error(`bytes ${position} to ${position + target.length} are asked for`);
    target.set(bytes.subarray(position, position + target.length));
  },
  sibling: () => Promise.reject(new Error('there is none')),
  close: async () => {},
});

const utf8 = (text: string) => new TextEncoder().encode(text);

/** The length of a header. */
function lengthOf(length: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, length, true);
  return bytes;
}

/** A file with a header and so many bytes of data. */
function file(header: string | Uint8Array, data = 0): Uint8Array {
  const bytes = typeof header === 'string' ? utf8(header) : header;
  return concat(lengthOf(BigInt(bytes.length)), bytes, new Uint8Array(data));
}

const read = (bytes: Uint8Array, size?: number) => readHeader(sourceOf(bytes, size));

/** Header and data together, by JSON's own reader. */
function naive(bytes: Uint8Array): { tensors: unknown[]; metadata: unknown } {
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  const { __metadata__: metadata = {}, ...tensors } = JSON.parse(
    new TextDecoder().decode(bytes.subarray(8, 8 + length)),
  );
  const found = Object.entries(tensors as Record<string, { dtype: string; shape: number[]; data_offsets: number[] }>);
  return {
    tensors: found
      .sort(
        ([, { data_offsets: first }], [, { data_offsets: second }]) => first[0]! - second[0]! || first[1]! - second[1]!,
      )
      .map(([name, { dtype, shape, data_offsets: offsets }]) => {
        return { name, dtype, shape, start: 8 + length + offsets[0]!, end: 8 + length + offsets[1]! };
      }),
    metadata,
  };
}

const plain = ({ tensors, metadata }: Header) => ({ tensors, metadata: Object.fromEntries(metadata) });

async function errorOf(promise: Promise<unknown>): Promise<SparsifyError> {
  const error = await promise.then(
    () => expect.fail('no error'),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(SparsifyError);
  return error as SparsifyError;
}

/** An entry of a header. */
const entry = (name: string, shape: string, offsets: string, dtype = '"F32"') =>
  `${JSON.stringify(name)}:{"dtype":${dtype},"shape":${shape},"data_offsets":${offsets}}`;

describe('reading', () => {
  test.each(['inputs', 'masks'])(
    'The file golden/%s, from the reference implementation, is read and written again with the same bytes',
    async (name) => {
      const bytes = await readBytes(`golden/${name}.safetensors`);
      const expected = safetensors(bytes);
      const { tensors, metadata } = await read(bytes);
      expect([...tensors].map((tensor) => tensor.name).sort()).toEqual([...expected.keys()].sort());
      const wrong = tensors.filter(({ name, dtype, shape, start, end }) => {
        const { shape: wanted, data } = expected.get(name)!;
        const isSame = differsAt(bytes.subarray(start, end), new Uint8Array(data.buffer)) < 0;
        return !isSame || String(shape) !== String(wanted) || dtype !== (data instanceof Float32Array ? 'F32' : 'U8');
      });
      expect(wrong).toEqual([]);
      expect(tensors.length).toBeGreaterThan(100);
      expect(metadata.size).toBe(0);

      const again = tensors.map(({ start, end, ...tensor }) => ({ ...tensor, bytes: bytes.subarray(start, end) }));
      expect(differsAt(concat(...safetensorsChunks(again, metadata)), bytes)).toBe(-1);
    },
  );

  test('Tensors are in the order of their bytes, whatever the order of the header', async () => {
    const header = `{${entry('c', '[2]', '[8,16]')},${entry('b', '[0]', '[8,8]')},${entry('a', '[2]', '[0,8]')}}`;
    const { tensors } = await read(file(header, 16));
    const start = 8 + header.length;
    expect(tensors).toEqual([
      { name: 'a', dtype: 'F32', shape: [2], start, end: start + 8 },
      { name: 'b', dtype: 'F32', shape: [0], start: start + 8, end: start + 8 },
      { name: 'c', dtype: 'F32', shape: [2], start: start + 8, end: start + 16 },
    ]);
  });

  test.each<[title: string, header: string, data: number, names: string[]]>([
    ['no tensors', '{}', 0, []],
    [
      'spaces wherever JSON allows them',
      ` { "a" :\t{ "dtype" : "U8" ,\n"shape" : [ 1 , 2 ]\r,"data_offsets":[ 0,2 ] } } `.slice(1),
      2,
      ['a'],
    ],
    [
      'escapes in names',
      '{"\\"\\\\\\u0041\\ud83d\\ude00\\\\":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}',
      1,
      ['"\\A😀\\'],
    ],
    [
      'names of object properties',
      ['__proto__', 'constructor', ''].map((name) => entry(name, '[0]', '[0,0]')).join(),
      0,
      ['__proto__', 'constructor', ''],
    ],
    ['an unknown dtype of any size', entry('a', '[3]', '[0,5]', '"Q5"'), 5, ['a']],
    ['numbers of half a byte', entry('a', '[3,2]', '[0,3]', '"F4"'), 3, ['a']],
    ['numbers of six bits', entry('a', '[4]', '[0,3]', '"F6_E2M3"'), 3, ['a']],
    ['eight-bit floats', entry('a', '[3]', '[0,3]', '"F8_E4M3"'), 3, ['a']],
    ['complex numbers', entry('a', '[3]', '[0,24]', '"C64"'), 24, ['a']],
  ])('A header can have %s', async (_title, header, data, names) => {
    const { tensors } = await read(file(header.startsWith('{') ? header : `{${header}}`, data));
    expect(tensors.map(({ name }) => name)).toEqual(names);
  });

  test('Only the header is read, even of files above 4 GiB', async () => {
    const bytes = file(
      `{${entry('a', '[1099511627776]', '[0,4398046511104]')},${entry('b', '[]', '[4398046511104,4398046511108]')}}`,
    );
    const { tensors } = await read(bytes, bytes.length + 4398046511108);
    expect(tensors.map(({ start, end }) => [start - bytes.length, end - bytes.length])).toEqual([
      [0, 4398046511104],
      [4398046511104, 4398046511108],
    ]);
  });

  test('Metadata are read', async () => {
    const { metadata } = await read(file('{"__metadata__":{"format":"pt","__proto__":"x","":"\\n"}}'));
    expect([...metadata]).toEqual([
      ['format', 'pt'],
      ['__proto__', 'x'],
      ['', '\n'],
    ]);
  });
});

describe('files that are not complete safetensors files', () => {
  const one = `{${entry('a', '[2]', '[0,8]')}}`;
  test.each<[title: string, bytes: Uint8Array, message: RegExp]>([
    ['that is empty', new Uint8Array(), /too short.*found: 0 bytes/],
    ['of 7 bytes', new Uint8Array(7), /too short.*found: 7 bytes/],
    ['without a header', lengthOf(0n), /does not begin with '\{'.*found: nothing/],
    ['that is HTML', utf8('<!DOCTYPE html>'), /does not begin with the length.*found: \d+ bytes.*up to 100000000/],
    ['with the longest length', lengthOf(2n ** 64n - 1n), /does not begin with the length.*18446744073709551615/],
    ['with a header above 100 MB', lengthOf(100_000_001n), /does not begin with the length/],
    [
      'with a length of 100 MB but no header',
      lengthOf(100_000_000n),
      /ends inside its header.*found: 8 bytes.*100000008/,
    ],
    ['that is truncated inside the header', file(one, 8).subarray(0, 20), /ends inside its header.*found: 20 bytes/],
    ['that is truncated inside the data', file(one, 7), /ends inside tensor 'a'.*found: 7 bytes of data.*8 or more/],
    ['with extra data', file(one, 9), /belongs to no tensor.*bytes 8 to 9/],
    ['with data and no tensors', file('{}', 1), /belongs to no tensor.*bytes 0 to 1/],
    ['whose header is not UTF-8', file(Uint8Array.of(...utf8('{"'), 0xff, ...utf8('"}'))), /not UTF-8/],
    [
      'with a lone surrogate encoded as UTF-8',
      file(Uint8Array.of(...utf8('{"'), 0xed, 0xa0, 0x80, ...utf8('"}'))),
      /not UTF-8/,
    ],
    ['with a byte order mark', file('\ufeff{}'), /does not begin with '\{'.*byte 239/],
    ['with a space before the header', file(' {}'), /does not begin with '\{'.*byte 32/],
    ['with an array', file('[]'), /does not begin with '\{'/],
    ['whose header is not JSON', file('{a:1}'), /not JSON/],
    ['whose header is not closed', file('{"a":{'), /not JSON/],
    ['with an unterminated string', file('{"a'), /not JSON/],
    ['with a string that ends with a backslash', file('{"a\\"}'), /not JSON/],
    ['with an invalid escape sequence', file('{"\\x":1}'), /not JSON/],
    ['with a line break in a name', file('{"a\nb":1}'), /not JSON/],
    ['with a trailing comma', file(`{${entry('a', '[0]', '[0,0]')},}`), /not JSON/],
    ['with text after the header', file('{} {}'), /not JSON/],
    ['that is padded with zeros', file('{}\0\0'), /not JSON/],
    [
      'with a tensor that is a number',
      file('{"a":1}'),
      /description of tensor 'a' is not valid.*dtype, shape, data_offsets/,
    ],
    [
      'with a tensor that is null',
      file('{"a":null}'),
      /description of tensor 'a' is not valid.*dtype, shape, data_offsets/,
    ],
    [
      'with a dtype that is a number',
      file(`{${entry('a', '[]', '[0,4]', '32')}}`, 4),
      /description of tensor 'a' is not valid.*dtype, shape, data_offsets/,
    ],
    [
      'with a shape that is a number',
      file(`{${entry('a', '1', '[0,4]')}}`, 4),
      /description of tensor 'a' is not valid.*dtype, shape, data_offsets/,
    ],
    [
      'with a fraction as a size',
      file(`{${entry('a', '[1.5]', '[0,6]')}}`, 6),
      /description of tensor 'a' is not valid.*dtype, shape, data_offsets/,
    ],
    ['with a zero byte before the header', file(`{${entry('a', '[01]', '[0,4]')}}`, 4), /not JSON/],
    [
      'with a negative size',
      file(`{${entry('a', '[-1,-1]', '[0,4]')}}`, 4),
      /description of tensor 'a' is not valid.*dtype, shape, data_offsets/,
    ],
    [
      'with a size of 2^53',
      file(`{${entry('a', '[9007199254740992]', '[0,4]')}}`, 4),
      /description of tensor 'a' is not valid.*dtype, shape, data_offsets/,
    ],
    [
      'with a size of 100 digits',
      file(`{${entry('a', `[${'9'.repeat(100)}]`, '[0,4]')}}`, 4),
      /description of tensor 'a' is not valid.*dtype, shape, data_offsets/,
    ],
    [
      'with a string as a size',
      file(`{${entry('a', '["1"]', '[0,4]')}}`, 4),
      /description of tensor 'a' is not valid.*dtype, shape, data_offsets/,
    ],
    [
      'with a list as a size',
      file(`{${entry('a', '[[1]]', '[0,4]')}}`, 4),
      /description of tensor 'a' is not valid.*dtype, shape, data_offsets/,
    ],
    [
      'with sizes whose product is too large for a number',
      file(`{${entry('a', `[${Array(40).fill(2 ** 52)}]`, '[0,4]')}}`, 4),
      /'a' disagree.*4 bytes/,
    ],
    [
      'with negative offsets',
      file(`{${entry('a', '[1]', '[-4,0]')}}`, 4),
      /description of tensor 'a' is not valid.*dtype, shape, data_offsets/,
    ],
    [
      'with one offset',
      file(`{${entry('a', '[1]', '[4]')}}`, 4),
      /description of tensor 'a' is not valid.*dtype, shape, data_offsets/,
    ],
    [
      'with three offsets',
      file(`{${entry('a', '[1]', '[0,4,8]')}}`, 4),
      /description of tensor 'a' is not valid.*dtype, shape, data_offsets/,
    ],
    [
      'with offsets in the wrong order',
      file(`{${entry('a', '[1]', '[4,0]')}}`, 4),
      /description of tensor 'a' is not valid.*dtype, shape, data_offsets/,
    ],
    [
      'with offsets beyond the file',
      file(`{${entry('a', '[1]', '[0,9007199254740991]')}}`, 4),
      /ends inside tensor 'a'/,
    ],
    [
      'without a dtype',
      file('{"a":{"shape":[],"data_offsets":[0,4]}}', 4),
      /description of tensor 'a' is not valid.*dtype, shape, data_offsets/,
    ],
    [
      'without a shape',
      file('{"a":{"dtype":"F32","data_offsets":[0,4]}}', 4),
      /description of tensor 'a' is not valid.*dtype, shape, data_offsets/,
    ],
    [
      'without offsets',
      file('{"a":{"dtype":"F32","shape":[]}}', 4),
      /description of tensor 'a' is not valid.*dtype, shape, data_offsets/,
    ],
    [
      'with a hole',
      file(`{${entry('a', '[1]', '[0,4]')},${entry('b', '[1]', '[8,12]')}}`, 12),
      /belongs to no tensor.*bytes 4 to 8/,
    ],
    ['with a hole at the beginning', file(`{${entry('a', '[1]', '[4,8]')}}`, 8), /belongs to no tensor.*bytes 0 to 4/],
    [
      'with an overlap',
      file(`{${entry('a', '[2]', '[0,8]')},${entry('b', '[2]', '[4,12]')}}`, 12),
      /'b' overlaps.*bytes 4 to 12.*ends at 8/,
    ],
    [
      'in which two tensors share their bytes',
      file(`{${entry('a', '[1]', '[0,4]')},${entry('b', '[1]', '[0,4]')}}`, 4),
      /'b' overlaps/,
    ],
    [
      'with an empty tensor inside another',
      file(`{${entry('a', '[2]', '[0,8]')},${entry('b', '[0]', '[4,4]')}}`, 8),
      /'b' overlaps/,
    ],
    [
      'with more bytes than the shape',
      file(`{${entry('a', '[2,3]', '[0,28]')}}`, 28),
      /'a' disagree.*\[2, 3\] of F32 and 28 bytes/,
    ],
    ['with fewer bytes than the shape', file(`{${entry('a', '[2,3]', '[0,20]')}}`, 20), /'a' disagree.*20 bytes/],
    ['with bytes for an empty shape', file(`{${entry('a', '[0]', '[0,4]')}}`, 4), /'a' disagree/],
    ['with half a byte left over', file(`{${entry('a', '[3]', '[0,2]', '"F4"')}}`, 2), /'a' disagree.*\[3\] of F4/],
    [
      'with a duplicate name',
      file(`{${entry('a', '[1]', '[0,4]')},${entry('a', '[1]', '[4,8]')}}`, 8),
      /belongs to no tensor.*bytes 0 to 4/,
    ],
    ['with metadata of numbers', file('{"__metadata__":{"a":1}}'), /metadata are not an object of strings/],
    ['with metadata of objects', file('{"__metadata__":{"a":{}}}'), /metadata are not an object of strings/],
    ['with metadata that are a string', file('{"__metadata__":"a"}'), /metadata are not an object of strings/],
    [
      'with metadata that are a tensor',
      file(`{${entry('__metadata__', '[1]', '[0,4]')}}`, 4),
      /metadata are not an object of strings/,
    ],
    ['with a very long name', file(`{"${'n'.repeat(1e6)}":{}}`), /description of tensor 'n{100}…' is not valid/],
  ])('A safetensors file %s is refused', async (_title, bytes, message) => {
    const { code, message: found, details } = await errorOf(read(bytes));
    expect(found).toMatch(message);
    expect(found.length).toBeLessThan(500);
    expect({ code, subject: details.subject }).toEqual({ code: 'format', subject: 'some.safetensors' });
    expect(details.hint).toMatch(/\w/);
  });

  test.each<[title: string, header: (length: number) => string]>([
    ['lists in lists', (length) => `{"a":${'['.repeat(length)}`],
    ['objects in objects', (length) => `{"a":${'{"a":'.repeat(length / 5)}`],
    ['empty lists', (length) => `{"a":{"shape":[${'[],'.repeat(length / 3)}`],
    ['quotes in a string', (length) => `{"a":{"dtype":"${'\\"'.repeat(length / 2)}`],
    ['backslashes in a string', (length) => `{"a":{"dtype":"${'\\'.repeat(length)}`],
    ['digits', (length) => `{"a":{"shape":[${'1'.repeat(length)}`],
    ['spaces', (length) => `{${' '.repeat(length)}`],
  ])('A header with a million %s is an error', async (_title, header) => {
    expect((await errorOf(read(file(header(1e6))))).message).toMatch(/not JSON|nested too deeply/);
  });

  test('A file with changed bytes is an error, or has the content that its JSON describes', async () => {
    const [head, ...rest] = safetensorsChunks(
      [
        { name: 'a', dtype: 'U8', shape: [2, 3], bytes: new Uint8Array(6) },
        { name: 'b', dtype: 'F16', shape: [], bytes: new Uint8Array(2) },
      ],
      new Map([['k', 'v']]),
    );
    const whole = concat(head!, ...rest);
    let readable = 0;
    const change = fc.tuple(
      fc.nat(head!.length - 1),
      fc.oneof(fc.nat(255), fc.constantFrom(...'{}[]":,0123456789\\ '.split('').map((letter) => letter.charCodeAt(0)))),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(change, { maxLength: 3 }), fc.nat(3), async (changes, cut) => {
        const bytes = whole.slice(0, whole.length - Math.max(0, cut - 2));
        for (const [position, byte] of changes) bytes[position] = byte;
        const found = await read(bytes).catch((error: unknown) => {
          if (error instanceof SparsifyError && error.code === 'format') return undefined;
          throw error;
        });
        if (found === undefined) return;
        readable++;
        expect(plain(found)).toEqual(naive(bytes));
      }),
      { numRuns: 2000 },
    );
    expect(readable).toBeGreaterThan(50);
  });
});

describe('writing', () => {
  const name = fc.oneof(
    fc.string(),
    fc.string({ unit: 'binary' }),
    fc.constantFrom('', '"', '\\', '__proto__', 'ä/ö.😀', '\0'),
  );
  const bits: Record<string, number> = {
    F4: 4,
    F6_E3M2: 6,
    BOOL: 8,
    U8: 8,
    F8_E5M2: 8,
    F16: 16,
    BF16: 16,
    F32: 32,
    I64: 64,
  };
  const tensor = fc
    .record({
      name: name.filter((text) => text !== '__metadata__'),
      dtype: fc.constantFrom(...Object.keys(bits), 'Q5'),
      shape: fc.array(fc.nat(4), { maxLength: 4 }),
      seed: fc.nat(255),
    })
    .map(({ name, dtype, shape, seed }): TensorToWrite => {
      const size = bits[dtype] ?? 8;
      const whole = size < 8 ? [...shape, 4] : shape;
      const length = (whole.reduce((product, next) => product * next, 1) * size) / 8;
      return { name, dtype, shape: whole, bytes: Uint8Array.from({ length }, (_, index) => seed + index) };
    });
  const tensors = fc.uniqueArray(tensor, { selector: (each) => each.name, maxLength: 6 });
  const metadata = fc.array(fc.tuple(name, name)).map((pairs) => new Map(pairs));

  test('Reading a written file gives the same tensors', async () => {
    await fc.assert(
      fc.asyncProperty(tensors, metadata, async (written, given) => {
        const bytes = concat(...safetensorsChunks(written, given));
        const found = await read(bytes);
        const values = found.tensors.map(({ name, dtype, shape, start, end }) => {
          return { name, dtype, shape, bytes: bytes.slice(start, end) };
        });
        // By name, since JSON has whole numbers come first among names whose order nothing else tells.
        const byName = (list: readonly TensorToWrite[]) => new Map(list.map((each) => [each.name, each]));
        expect(byName(values)).toEqual(byName(written));
        expect(found.metadata).toEqual(given);
      }),
    );
  });

  test('A written file has the header of the format and the bytes that were given', () => {
    const bytes = [Uint8Array.of(1), new Uint8Array(8)];
    const [header, ...data] = safetensorsChunks(
      [
        { name: 'b', dtype: 'U8', shape: [], bytes: bytes[0]! },
        { name: 'a"', dtype: 'F32', shape: [2, 1], bytes: bytes[1]! },
      ],
      new Map([['format', 'pt']]),
    );
    const text =
      '{"__metadata__":{"format":"pt"},"b":{"dtype":"U8","shape":[],"data_offsets":[0,1]},' +
      '"a\\"":{"dtype":"F32","shape":[2,1],"data_offsets":[1,9]}}';
    expect(new TextDecoder().decode(header!.subarray(8)).trimEnd()).toBe(text);
    expect(header!.subarray(0, 8)).toEqual(lengthOf(BigInt(Math.ceil(text.length / 8) * 8)));
    expect(data.length).toBe(2);
    expect(data.every((chunk, index) => chunk === bytes[index])).toBe(true);
  });

  test('The data begin at a multiple of 8 bytes', () => {
    for (let length = 0; length < 16; length++) {
      const [header] = safetensorsChunks(
        [{ name: 'n'.repeat(length), dtype: 'U8', shape: [0], bytes: new Uint8Array() }],
        new Map(),
      );
      expect(header!.length % 8).toBe(0);
    }
  });

  const one = (change: Partial<TensorToWrite>): TensorToWrite => ({
    name: 'a',
    dtype: 'U8',
    shape: [1],
    bytes: new Uint8Array(1),
    ...change,
  });
  test.each<[title: string, tensors: TensorToWrite[], metadata: [string, string][], message: RegExp]>([
    ['a duplicate name', [one({}), one({})], [], /name is already taken.*'a'/],
    ['a tensor named __metadata__', [one({ name: '__metadata__' })], [], /name is already taken.*'__metadata__'/],
    ['more bytes than the shape', [one({ shape: [0] })], [], /'a' disagree.*\[0\] of U8 and 1 bytes/],
    ['a size that is a fraction of a byte', [one({ dtype: 'F4' })], [], /'a' disagree/],
    ['a negative size', [one({ dtype: 'Q5', shape: [-1] })], [], /'a' disagree/],
    ['a fraction as a size', [one({ dtype: 'Q5', shape: [0.5] })], [], /'a' disagree/],
    ['a lone surrogate in a name', [one({ name: '\ud800' })], [], /lone surrogate.*"\\ud800"/],
    ['a lone surrogate in metadata', [], [['k', 'x\udc00']], /lone surrogate/],
  ])('Writing %s is an error', async (_title, given, pairs, message) => {
    const { code, message: found } = await errorOf((async () => safetensorsChunks(given, new Map(pairs)))());
    expect({ code, found }).toEqual({ code: 'usage', found: expect.stringMatching(message) });
  });

  test('Writing a header above 100 MB is an error', () => {
    const write = () => safetensorsChunks([], new Map([['k', 'x'.repeat(1e8)]]));
    expect(write).toThrow(/header is too long.*given: 1000000\d\d bytes.*up to 100000000 bytes/);
  }, 30_000);
});

describe('streams', () => {
  /** A stream that keeps what it gets. */
  function collector(sink: UnderlyingSink<Uint8Array> = {}) {
    const chunks: Uint8Array[] = [];
    const state = { isClosed: false, reason: undefined as unknown };
    const stream = new WritableStream<Uint8Array>({
      write: async (chunk, controller) => {
        await sink.write?.(chunk, controller);
        chunks.push(chunk);
      },
      close: async () => {
        await sink.close?.();
        state.isClosed = true;
      },
      abort: (reason) => {
        state.reason = reason;
      },
    });
    return { stream, chunks, state };
  }

  test('A stream receives the whole file and is closed', async () => {
    const tensors = [{ name: 'a', dtype: 'U8', shape: [3], bytes: Uint8Array.of(1, 2, 3) }];
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    const [bytes] = await Promise.all([
      new Response(readable as ReadableStream<Uint8Array<ArrayBuffer>>).arrayBuffer(),
      writeStream(writable, safetensorsChunks(tensors, new Map())),
    ]);
    const found = await read(new Uint8Array(bytes));
    expect(new Uint8Array(bytes).slice(found.tensors[0]!.start)).toEqual(tensors[0]!.bytes);
    expect(writable.locked).toBe(false);
  });

  test('A stream receives large chunks in slices, and no empty chunks', async () => {
    const { stream, chunks, state } = collector();
    await writeStream(stream, [new Uint8Array(2 ** 24 + 5).fill(1), new Uint8Array(), Uint8Array.of(2)]);
    expect(chunks.map(({ length }) => length)).toEqual([2 ** 24, 5, 1]);
    expect(chunks.map((chunk) => chunk.at(-1))).toEqual([1, 1, 2]);
    expect(state).toEqual({ isClosed: true, reason: undefined });
  });

  test('A stream receives copies, never views of shared memory', async () => {
    const shared = new Uint8Array(new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }).buffer, 3, 4);
    const own = Uint8Array.of(1, 2, 3);
    const buffers: number[][] = [];
    const transfer = ({ buffer }: Uint8Array) => {
      buffers.push([...new Uint8Array(structuredClone(buffer, { transfer: [buffer as ArrayBuffer] }))]);
    };
    await writeStream(new WritableStream({ write: transfer }), [shared.fill(7), own.subarray(1)]);
    expect(buffers).toEqual([
      [7, 7, 7, 7],
      [2, 3],
    ]);
    expect([...own]).toEqual([1, 2, 3]);
  });

  test('The next chunk is made only after the stream has accepted the previous one', async () => {
    let made = 0;
    async function* chunks() {
      for (; made < 5; made++) yield Uint8Array.of(made);
    }
    const waiting: (() => void)[] = [];
    const { stream, chunks: taken } = collector({ write: () => new Promise((resolve) => waiting.push(resolve)) });
    const done = writeStream(stream, chunks());
    for (let index = 0; index < 5; index++) {
      await expect.poll(() => waiting.length).toBe(index + 1);
      await new Promise((resolve) => setTimeout(resolve, 5));
      expect({ made, taken: taken.length }).toEqual({ made: index, taken: index });
      waiting[index]!();
    }
    await done;
    expect(taken.length).toBe(5);
  });

  test('A stream is aborted with the error of a chunk that fails', async () => {
    const { stream, chunks, state } = collector();
    const error = new SparsifyError('memory', 'there is no more');
    async function* failing() {
      yield Uint8Array.of(1);
      throw error;
    }
    expect(await errorOf(writeStream(stream, failing()))).toBe(error);
    expect(chunks.length).toBe(1);
    expect(state).toEqual({ isClosed: false, reason: error });
    expect(stream.locked).toBe(false);
  });

  test.each<[title: string, sink: UnderlyingSink<Uint8Array>]>([
    ['write', { write: () => Promise.reject(new Error('the disk is full')) }],
    ['close', { close: () => Promise.reject(new Error('the disk is full')) }],
  ])('A stream that fails to %s is an error, and no more chunks are requested', async (_title, sink) => {
    const { stream, state } = collector(sink);
    let isOver = false;
    function* chunks() {
      try {
        yield Uint8Array.of(1);
        yield Uint8Array.of(2);
      } finally {
        isOver = true;
      }
    }
    const { code, message, cause } = await errorOf(writeStream(stream, chunks()));
    expect({ code, message }).toEqual({
      code: 'file',
      message: expect.stringMatching(/could not be written.*the disk is full/),
    });
    expect(cause).toEqual(new Error('the disk is full'));
    expect({ isOver, locked: stream.locked, ...state }).toEqual({
      isOver: true,
      locked: false,
      isClosed: false,
      reason: undefined,
    });
  });

  test('A stream that is locked or already closed is an error', async () => {
    const { stream } = collector();
    const writer = stream.getWriter();
    const locked = await errorOf(writeStream(stream, []));
    expect({ code: locked.code, message: locked.message }).toEqual({
      code: 'file',
      message: expect.stringMatching(/stream is locked/),
    });
    await writer.close();
    writer.releaseLock();
    expect((await errorOf(writeStream(stream, [Uint8Array.of(1)]))).code).toBe('file');
    expect(stream.locked).toBe(false);
  });
});
