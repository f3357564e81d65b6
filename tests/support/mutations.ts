// Files with damages of all kinds, which depend on nothing but a seed.
import { concat, varint } from './onnx-builder.js';
import { philox } from './philox.js';

type Bytes = Uint8Array<ArrayBuffer>;

/** A whole number from 0 up to a bound, the next one at each call. */
type Draw = (bound: number) => number;

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
  ...[null, true, 0, -1, 1.5, 2 ** 31, 2 ** 53, 1e308, '', 'x', '../x', '\0', '\ud800', '__proto__', 'constructor'],
  ...[[], {}, [[]], [null], [-1], [0], [2 ** 31, 2 ** 31], { '': 1 }, 'float32', 'int32', 'string', 'Dense'],
];

/** JSON with one to three values replaced, left out, or taken from elsewhere in it. */
export function withValuesChanged(json: unknown, draw: Draw): unknown {
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
  for (let left = 1 + draw(3); left > 0 && places.length > 0; left--) {
    const [parent, key] = places[draw(places.length)]!;
    const [other, from] = places[draw(places.length)]!;
    const kind = draw(4);
    if (kind === 0) delete parent[key];
    else if (kind === 1) parent[key] = structuredClone(other[from]);
    else parent[key] = odd[draw(odd.length)];
  }
  return changed;
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

/** A protobuf message with one to three of its fields, at any depth, left out, repeated, or moved elsewhere. */
export function withFieldsChanged(file: Bytes, draw: Draw): Bytes {
  const message = partsOf(file)!;
  const places: { readonly within: Part[]; readonly part: Part }[] = [];
  const walk = (within: Part[]) => {
    for (const part of within) {
      places.push({ within, part });
      if (part.parts) walk(part.parts);
    }
  };
  walk(message);
  for (let left = 1 + draw(3); left > 0; left--) {
    const [{ within, part }, other] = [places[draw(places.length)]!, places[draw(places.length)]!];
    const at = within.indexOf(part);
    const kind = draw(3);
    // A field that was left out before is at no place.
    if (kind === 0) within.splice(Math.max(at, 0), 1);
    else if (kind === 1) within.splice(Math.max(at, 0), 1, { ...other.part, parts: undefined });
    else other.within.push({ ...part, parts: undefined });
  }
  return joined(message);
}
