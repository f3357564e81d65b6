// Files with damages of all kinds, which depend on nothing but a seed.
import { concat, varint } from './onnx-builder.js';
import { philox } from './philox.js';

type Bytes = Uint8Array<ArrayBuffer>;

/** A whole number from 0 up to a bound, the next one at each call. */
export type Draw = (bound: number) => number;

export function drawing(seed: number): Draw {
  let count = 0;
  return (bound) => philox([count++, 0, 0, 0], [seed, 0])[0]! % bound;
}

/** A file with one to four bytes changed, runs of bytes left out or repeated, or its end cut off. */
export function withBytesChanged(file: Uint8Array, draw: Draw): Bytes {
  let bytes = new Uint8Array(file);
  for (let left = 1 + draw(4); left > 0 && bytes.length > 0; left--) {
    const [kind, at, length] = [draw(5), draw(bytes.length), 1 + draw(30)];
    if (kind === 0) bytes[at]! ^= 1 << draw(8);
    else if (kind === 1) bytes[at] = draw(256);
    else if (kind === 2) bytes = concat(bytes.subarray(0, at), bytes.subarray(at + length));
    else if (kind === 3) bytes = concat(bytes.subarray(0, at + length), bytes.subarray(at));
    else bytes = bytes.slice(0, at);
  }
  return bytes;
}

const odd: readonly unknown[] = [
  ...[null, true, 0, 7, -1, 1.5, 2 ** 16, 2 ** 31, 2 ** 32 - 4, 2 ** 53, 1e308, [], {}, [[]], [null], [-1], [0]],
  ...['', 'x', '../x', '\0', '\ud800', '__proto__', 'constructor', 'float32', 'int32', 'string', 'Dense', '@0', '@1+2'],
  ...[[2 ** 31, 2 ** 31], { '': 1 }],
];

/**
 * JSON with one to three values replaced, left out, or taken from elsewhere.
 * @param from where they are taken from: the same JSON by default
 */
export function withValuesChanged(json: unknown, draw: Draw, from = json): unknown {
  const changed = structuredClone(json);
  const places: (readonly [parent: Record<string, unknown>, key: string])[] = [];
  const walk = (value: unknown) => {
    if (typeof value !== 'object' || value === null) return;
    for (const [key, each] of Object.entries(value)) {
      places.push([value as Record<string, unknown>, key]);
      walk(each);
    }
  };
  walk(changed);
  const own = places.length;
  if (own === 0) return changed;
  if (from !== json) walk(from);
  for (let left = 1 + draw(3); left > 0; left--) {
    const [parent, key] = places[draw(own)]!;
    const [other, name] = places[draw(places.length)]!;
    const kind = draw(4);
    if (kind === 0) delete parent[key];
    else if (kind === 1) parent[key] = structuredClone(other[name]);
    else parent[key] = structuredClone(odd[draw(odd.length)]);
  }
  return changed;
}

/** What stands in a text for a number, a name or a value; some of it is no JSON. */
const oddTokens: readonly string[] = [
  ...['0', '-0', '-1', '1', '2', '3', '1.5', '1e999', '-1e999', '1e-999', 'NaN', 'Infinity', '01', '2147483647'],
  ...['4294967296', '9007199254740993', '18446744073709551616', '1e308', '""', '"x"', '"../x"', '"__proto__"', '"-1"'],
  ...[
    '"\\ud800"',
    '"\\u0000"',
    '"constructor"',
    'null',
    'true',
    '[]',
    '{}',
    '[[]]',
    '{"__proto__":{"a":1}}',
    '[0]',
    '[-1]',
  ],
  ...[
    '[4294967296,4294967296]',
    '[9007199254740991,2]',
    '"float32"',
    '"F32"',
    '"BF16"',
    '"int32"',
    '"string"',
    "'<f8'",
  ],
];

/** Numbers, texts and words, brackets, and what is between them. */
const token = /"(?:[^"\\]|\\.)*"|'[^']*'|[\w.+-]+|[^]/g;

/** JSON, or text like it, with one to three of its words replaced, left out, repeated, or taken from elsewhere. */
export function withWordsChanged(text: string, draw: Draw, other = text): string {
  const words = text.match(token) ?? [''];
  const others = other.match(token) ?? [''];
  for (let left = 1 + draw(3); left > 0; left--) {
    const at = draw(words.length);
    const kind = draw(8);
    if (kind === 0) words.splice(at, 1 + draw(6));
    // Members of an object twice, for example.
    else if (kind === 1) words.splice(at, 0, ...words.slice(at, at + 1 + draw(40)));
    else if (kind === 2) words.splice(at, 1, others[draw(others.length)]!);
    else if (kind === 3) words.splice(at, 1, '['.repeat(1 + draw(300)));
    else words.splice(nearest(words, at), 1, oddTokens[draw(oddTokens.length)]!);
  }
  return words.join('');
}

/** The place of the next word that is a value, if there is one. */
function nearest(words: readonly string[], at: number): number {
  const next = words.findIndex((word, place) => place >= at && /^["'\w+-]/.test(word));
  return next < 0 ? at : next;
}

/** A field of a protobuf message. It is a message itself, or bytes with their tag and length. */
interface Part {
  readonly number: number;
  readonly bytes: Bytes;
  parts: Part[] | undefined;
}

function varintAt(bytes: Uint8Array, at: number): readonly [value: number, end: number] | undefined {
  for (let [value, factor] = [0, 1]; at < bytes.length && factor < 2 ** 49; factor *= 128) {
    const byte = bytes[at++]!;
    value += (byte & 127) * factor;
    if (byte < 128) return [value, at];
  }
  return undefined;
}

/** The fields of a message, or undefined for bytes that are none. Whether text is a message, too, does not matter here. */
function partsOf(bytes: Bytes): Part[] | undefined {
  const parts: Part[] = [];
  for (let at = 0; at < bytes.length;) {
    const start = at;
    const [tag, content] = varintAt(bytes, at) ?? [0, 0];
    const [number, type] = [Math.floor(tag / 8), tag % 8];
    const value = type === 1 || type === 5 ? undefined : varintAt(bytes, content);
    const end = type === 1 ? content + 8 : type === 5 ? content + 4 : type === 2 ? sum(value) : value?.[1];
    if (number < 1 || number > 50 || end === undefined || end > bytes.length || ![0, 1, 2, 5].includes(type)) return;
    const inner = type === 2 && end - value![1] > 1 ? partsOf(bytes.slice(value![1], end)) : undefined;
    parts.push({ number, bytes: bytes.slice(start, end), parts: inner });
    at = end;
  }
  return parts;
}

const sum = (value: readonly [number, number] | undefined) => value && value[0] + value[1];

const joined = (parts: readonly Part[]): Bytes =>
  concat(
    ...parts.map((part) => {
      if (part.parts === undefined) return part.bytes;
      const content = joined(part.parts);
      return concat(varint(part.number * 8 + 2), varint(content.length), content);
    }),
  );

/** Numbers at which arithmetic goes wrong, as varints: sizes whose product overflows, negative ones, too many bits. */
const oddVarints: readonly Bytes[] = [
  ...[0, 1, 2, 3, 7, 16, 127, 2 ** 16, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 52, -1, -2].map(varint),
  Uint8Array.of(255, 255, 255, 255, 255, 255, 255, 255, 127),
  Uint8Array.of(255, 255, 255, 255, 255, 255, 255, 255, 255, 1),
  Uint8Array.of(255, 255, 255, 255, 255, 255, 255, 255, 255, 127),
  Uint8Array.of(129, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 0),
];

const oddTexts: readonly Bytes[] = [
  '',
  'x',
  '../x',
  '/x',
  'a/../../x',
  'c:x',
  '\0',
  '__proto__',
  '-1',
  '1e999',
  '0x10',
].map((text) => Uint8Array.from(new TextEncoder().encode(text)));

/** A field that holds something else: another number, text, or bytes that are longer, shorter, or a list of one. */
function withOtherValue({ number, bytes }: Part, draw: Draw): Part {
  const [tag = 0, at = 0] = varintAt(bytes, 0) ?? [];
  const content = bytes.slice(at);
  const field = (type: number, value: Bytes): Part => ({
    number,
    bytes: concat(varint(number * 8 + type), type === 2 ? varint(value.length) : new Uint8Array(0), value),
    parts: undefined,
  });
  const odd = oddVarints[draw(oddVarints.length)]!;
  if (tag % 8 === 0) return draw(4) === 0 ? field(2, concat(content, odd)) : field(0, odd);
  if (tag % 8 !== 2) return field(tag % 8, withBytesChanged(content, draw));
  const inside = content.subarray(varintAt(content, 0)?.[1] ?? 0);
  const kind = draw(5);
  if (kind === 0) return field(2, oddTexts[draw(oddTexts.length)]!);
  if (kind === 1) return field(2, withBytesChanged(inside, draw));
  if (kind === 2) return field(2, concat(inside, inside));
  // A length that is not that of the content.
  if (kind === 3) return { number, bytes: concat(varint(number * 8 + 2), odd, inside), parts: undefined };
  return field(0, odd);
}

/** The message within itself, so many times. */
function nested({ number, bytes, parts }: Part, times: number): Part {
  let inner = parts === undefined ? bytes : joined(parts);
  for (let left = times; left > 0; left--) inner = concat(varint(number * 8 + 2), varint(inner.length), inner);
  return { number, bytes: inner, parts: undefined };
}

/**
 * A protobuf message with one to three of its fields, at any depth, left out, repeated, moved elsewhere, or changed.
 * @param other a message of which fields may be taken
 */
export function withFieldsChanged(file: Bytes, draw: Draw, other: Bytes = file): Bytes {
  const message = partsOf(file);
  if (message === undefined || message.length === 0) return withBytesChanged(file, draw);
  const places: { readonly within: Part[]; readonly part: Part }[] = [];
  const walk = (within: Part[]) => {
    for (const part of within) {
      places.push({ within, part });
      if (part.parts) walk(part.parts);
    }
  };
  walk(message);
  const own = places.length;
  walk(partsOf(other) ?? []);
  for (let left = 1 + draw(3); left > 0; left--) {
    const { within, part } = places[draw(own)]!;
    const from = places[draw(places.length)]!;
    // A field that was left out before is at no place.
    const at = Math.max(within.indexOf(part), 0);
    const kind = draw(16);
    if (kind < 2) within.splice(at, 1);
    else if (kind < 4) within.splice(at, 1, { ...from.part, parts: undefined });
    else if (kind < 6) places[draw(own)]!.within.push({ ...from.part, parts: undefined });
    else if (kind < 15) within.splice(at, 1, withOtherValue(part, draw));
    else within.splice(at, 1, nested(part, 1 + draw(200)));
  }
  return joined(message);
}
