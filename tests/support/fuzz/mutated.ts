// Inputs made of others: files of each kind are changed in their own structure.
import { inflateRawSync } from 'node:zlib';
import { zip } from '../npz-builder.js';
import { concat } from '../onnx-builder.js';
import { withBytesChanged, withFieldsChanged, withValuesChanged, withWordsChanged, type Draw } from '../mutations.js';
import { safetensorsFile, type TensorToStore } from '../safetensors-builder.js';
import { filesOf, type Input } from './input.js';

type Bytes = Uint8Array<ArrayBuffer>;

/**
 * An input with one of its files changed, or left out, or in the place of another one.
 * @param other an input of which parts may be taken
 */
export function mutated({ bytes, further = {} }: Input, other: Input, draw: Draw): Input {
  const names = Object.keys(further);
  const others = filesOf(other);
  const from = others[draw(others.length)]!;
  if (names.length === 0 || draw(4) > 0) return { bytes: changed(bytes, draw, from), further };
  const name = names[draw(names.length)]!;
  const kind = draw(8);
  if (kind === 0) return { bytes, further: withFile(further, name, new Uint8Array(0)) };
  if (kind === 1) return { bytes, further: withFile(further, name, further[names[draw(names.length)]!]!) };
  const change = kind < 5 ? withNumbersChanged : changed;
  return { bytes, further: withFile(further, name, change(further[name]!, draw, from)) };
}

/** Whatever the name is, `__proto__` too. */
const withFile = (files: Readonly<Record<string, Bytes>>, name: string, file: Bytes): Record<string, Bytes> =>
  Object.fromEntries([...Object.entries(files).filter(([each]) => each !== name), [name, file]]);

function changed(file: Bytes, draw: Draw, from: Bytes): Bytes {
  if (draw(8) === 0) return withBytesChanged(file, draw);
  const text = textOf(file);
  if (/^[{[]/.test(text)) return withJsonChanged(text, textOf(from), draw);
  if (/^.{8}\{/s.test(text)) return withHeaderChanged(file, from, draw);
  if (text.startsWith('\x93NUMPY')) return withArrayChanged(file, from, draw);
  if (text.startsWith('PK')) return withZipChanged(file, from, draw);
  return withFieldsChanged(file, draw, from);
}

/** A character for each byte, so that headers that are no text are kept. */
const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');
const bytesOf = (text: string): Bytes => new Uint8Array(Buffer.from(text, 'latin1'));

function withJsonChanged(text: string, from: string, draw: Draw): Bytes {
  const json = parsed(text);
  if (json === undefined || draw(4) === 0) return bytesOf(withWordsChanged(text, draw, from));
  return new Uint8Array(Buffer.from(JSON.stringify(withValuesChanged(json, draw, parsed(from) ?? json)) ?? ''));
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(Buffer.from(text, 'latin1').toString());
  } catch {
    return undefined;
  }
}

/** A safetensors file with a changed header, of whose length its first bytes mostly still are. */
function withHeaderChanged(file: Bytes, from: Bytes, draw: Draw): Bytes {
  const [header, data] = partsOf(file);
  const kind = draw(6);
  if (kind < 3) return withTensorsChanged(file, from, draw);
  const isData = kind === 3;
  const text = isData ? header : withJsonChanged(textOf(header), textOf(partsOf(from)[0]), draw);
  const length = new Uint8Array(8);
  const stated = draw(16) === 0 ? oddLengths[draw(oddLengths.length)]! : BigInt(text.length);
  new DataView(length.buffer).setBigUint64(0, stated, true);
  return concat(length, text, isData ? withBytesChanged(data, draw) : data);
}

/** A safetensors file with a tensor left out, added, or changed in its name, type, sizes or numbers, and all else in order. */
function withTensorsChanged(file: Bytes, from: Bytes, draw: Draw): Bytes {
  const tensors = tensorsIn(file);
  const own = Object.keys(tensors.given);
  const others = tensorsIn(from).given;
  const name = own[draw(Math.max(own.length, 1))];
  const donor = Object.keys(others)[draw(Math.max(Object.keys(others).length, 1))];
  if (name === undefined || donor === undefined) return withBytesChanged(file, draw);
  const { [name]: tensor, ...rest } = tensors.given as Record<string, TensorToStore>;
  const kind = draw(6);
  const sizes = tensor!.shape.map((size) => (draw(2) === 0 ? draw(5) : size));
  const changes: readonly (() => Record<string, TensorToStore>)[] = [
    () => rest,
    () => ({ ...rest, [donor]: tensor! }),
    () => ({ ...tensors.given, [donor]: others[donor]! }),
    () => ({ ...rest, [name]: { dtype: tensor!.dtype!, shape: draw(3) === 0 ? [...sizes, 1 + draw(3)] : sizes } }),
    () => ({ ...rest, [name]: { ...others[donor]! } }),
    () => ({ ...rest, [name]: { ...tensor!, data: withNumbersChanged(tensor!.data!, draw) } }),
  ];
  try {
    return safetensorsFile(changes[kind]!(), { metadata: tensors.metadata });
  } catch {
    return withBytesChanged(file, draw);
  }
}

/** As many bytes, of which some are those of infinite numbers, or of none. */
const withNumbersChanged = (data: Uint8Array, draw: Draw): Bytes =>
  Uint8Array.from(data, (byte) => (draw(8) === 0 ? [0, 127, 128, 255][draw(4)]! : byte));

interface Tensors {
  readonly given: Readonly<Record<string, TensorToStore>>;
  readonly metadata: Readonly<Record<string, string>>;
}

/** The tensors of a safetensors file, as far as they can be found. */
function tensorsIn(file: Bytes): Tensors {
  const [header, data] = partsOf(file);
  const json = (parsed(textOf(header)) ?? {}) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: number[] }
  >;
  const { __metadata__: metadata, ...described } = json;
  const given = Object.entries(described).flatMap(([name, each]) => {
    if (!Array.isArray(each?.shape) || !Array.isArray(each.data_offsets)) return [];
    const { dtype, shape, data_offsets: offsets } = each;
    return [[name, { dtype, shape, data: data.slice(...offsets.map(Number)) }] as const];
  });
  return { given: Object.fromEntries(given), metadata: (metadata ?? {}) as never };
}

/** Lengths beyond the file, the limit of the format, 53 bits, and that of any file. */
const oddLengths = [0n, 1n, 100_000_000n, 100_000_001n, 2n ** 32n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n];

/** The header of a safetensors file, and the data behind it. */
function partsOf(file: Bytes): [header: Bytes, data: Bytes] {
  if (file.length < 8) return [file, new Uint8Array(0)];
  const end = 8 + Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
  return [file.slice(8, end), file.slice(end)];
}

/** An .npy file with a changed header. */
function withArrayChanged(file: Bytes, from: Bytes, draw: Draw): Bytes {
  const text = textOf(file);
  const end = text.indexOf('\n', 10);
  if (end < 0 || draw(6) === 0) return withBytesChanged(file, draw);
  const header = withWordsChanged(text.slice(10, end), draw, textOf(from).slice(10, 200));
  // As long as it was, so that its length and what follows it stay where they are.
  const fits = draw(4) === 0 ? header : header.padEnd(end - 10).slice(0, end - 10);
  return bytesOf(text.slice(0, 10) + fits + text.slice(end));
}

/** A ZIP file with one of its files changed, twice in it, or with another name. */
function withZipChanged(file: Bytes, from: Bytes, draw: Draw): Bytes {
  const files = unpacked(file);
  const entry = files[draw(Math.max(files.length, 1))];
  if (entry === undefined) return withBytesChanged(file, draw);
  const [name, content] = entry;
  const kind = draw(8);
  if (kind === 0) files.push([`${draw(3)}.${name}`, content]);
  else if (kind === 1) files.push(['__proto__.npy', content]);
  else entry[1] = withArrayChanged(content, unpacked(from)[0]?.[1] ?? content, draw);
  return zip(Object.fromEntries(files));
}

/** The files in a ZIP file, as far as they can be found. */
function unpacked(file: Bytes): [name: string, content: Bytes][] {
  const files: [string, Bytes][] = [];
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  for (let at = 0; at + 30 <= file.length && view.getUint32(at, true) === 0x04034b50;) {
    const start = at + 30 + view.getUint16(at + 26, true);
    const end = start + view.getUint32(at + 18, true);
    try {
      files.push([textOf(file.subarray(at + 30, start)), new Uint8Array(inflateRawSync(file.subarray(start, end)))]);
    } catch {
      break;
    }
    at = end + view.getUint16(at + 28, true);
  }
  return files;
}
