import { BinaryWriter } from '@bufbuild/protobuf/wire';
import type { Source } from '../../host/host.js';
import { inSlices } from '../../host/slices.js';
import { noSibling } from '../../host/source.js';
import { joined } from '../files.js';
import { WireType, type Field, type ModelFile, type Range } from './wire.js';

/** Bytes that an edit writes: an array, or what is only asked for when the file is written. */
export type Piece = Uint8Array | MadeBytes | { readonly length: number; chunks(): AsyncIterable<Uint8Array> };

/** Bytes that are made each time that they are needed. */
export interface MadeBytes {
  readonly length: number;
  bytes(): Uint8Array;
}

/** Bytes that replace a range of a file. */
export interface Edit extends Range {
  readonly bytes: readonly Piece[];
}

/**
 * Edits of a model file. Each names the message that directly contains it: a length-delimited field, or undefined for
 * the model itself. The lengths of all messages around an edit follow, and all other bytes stay as they are.
 */
export class Edits {
  readonly #planned: (Edit & { readonly message: Field | undefined })[] = [];
  readonly #followed: { readonly position: number; readonly digits: Uint8Array }[] = [];

  constructor(readonly file: ModelFile) {}

  /** Replaces a range of the content of a message. To replace all of it, the range is the message. */
  replace(message: Field | undefined, { start, end }: Range, ...bytes: readonly Piece[]): void {
    this.#planned.push({ message, start, end, bytes });
  }

  /** Inserts bytes. Those that are inserted at the same place of a message keep their order. */
  insert(message: Field | undefined, at: number, ...bytes: readonly Piece[]): void {
    this.replace(message, { start: at, end: at }, ...bytes);
  }

  /** Drops a field from the message that contains it. */
  drop(field: Field): void {
    this.replace(field.within, { start: field.tagStart, end: field.end });
  }

  /** Writes into a field, in decimal digits, where a byte of the file is after all edits. */
  follow(field: Field, position: number): void {
    const digits = new Uint8Array(String(Number.MAX_SAFE_INTEGER).length);
    this.#followed.push({ position, digits });
    this.replace(field, field, digits);
  }

  /**
   * All edits with those of lengths, in the order of the file.
   * @throws Error if two edits replace the same bytes
   */
  list(): Edit[] {
    const edits = this.#planned.map((edit) => ({ ...edit, depth: depthOf(edit.message) }));
    for (const edit of this.#lengths()) edits.push({ ...edit, message: undefined, depth: 0 });
    // Where a message and those around it end at one place, what is inserted into it comes first.
    edits.sort((one, other) => one.start - other.start || one.end - other.end || other.depth - one.depth);
    let last = 0;
    for (const { start, end } of edits) {
      if (start < last) throw new Error(`two edits replace byte ${start} of ${this.file.name}`);
      last = end;
    }
    this.#follow(edits);
    return edits.map(({ start, end, bytes }) => ({ start, end, bytes }));
  }

  /** The number of digits does not depend on the position, so that following moves nothing. */
  #follow(edits: readonly Edit[]): void {
    let [growth, next] = [0, 0];
    for (const { position, digits } of this.#followed.sort((one, other) => one.position - other.position)) {
      for (; next < edits.length && edits[next]!.end <= position; next++) growth += growthOf([edits[next]!]);
      digits.set(new TextEncoder().encode(String(position + growth).padStart(digits.length, '0')));
    }
  }

  /** The edits of the lengths of all messages that become longer or shorter. */
  #lengths(): Edit[] {
    // By the place of the length, since a message may have been read several times.
    const growths = new Map<number, { readonly message: Field; growth: number }>();
    for (const { message, start, end, bytes } of this.#planned) {
      let growth = sizeOf(bytes) - (end - start);
      for (let each = message; each !== undefined; each = each.within) {
        const known = growths.get(each.lengthStart);
        if (known === undefined) growths.set(each.lengthStart, { message: each, growth });
        else known.growth += growth;
        growth = 0;
      }
    }
    const edits: Edit[] = [];
    // A message begins after those that contain it, so what is inside is known before the length outside.
    for (const at of [...growths.keys()].sort((one, other) => other - one)) {
      const { message, growth } = growths.get(at)!;
      if (growth === 0) continue;
      const { start, end, within } = message;
      const length = new BinaryWriter().uint32(end - start + growth).finish();
      edits.push({ start: at, end: start, bytes: [length] });
      if (within !== undefined) growths.get(within.lengthStart)!.growth += growth + length.length - (start - at);
    }
    return edits;
  }
}

function depthOf(message: Field | undefined): number {
  let depth = 0;
  for (let each = message; each !== undefined; each = each.within) depth++;
  return depth;
}

/**
 * The bytes of the edited file.
 * @param chunks the bytes of the file before, whose parts are asked for in order
 */
export async function* woven(
  edits: readonly Edit[],
  chunks: (start: number, end?: number) => AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  let position = 0;
  for (const { start, end, bytes } of edits) {
    if (start > position) yield* chunks(position, start);
    for (const piece of bytes) {
      if ('chunks' in piece) yield* piece.chunks();
      else yield bytesIn(piece);
    }
    position = end;
  }
  yield* chunks(position);
}

/** The bytes of a piece that is an array or is made. */
export const bytesIn = (piece: Uint8Array | MadeBytes): Uint8Array =>
  piece instanceof Uint8Array ? piece : piece.bytes();

/** The parts of the edited file, whose edits write no chunks. */
function partsOf(edits: Edits): (Uint8Array | MadeBytes)[] {
  const { bytes } = edits.file;
  const parts: (Uint8Array | MadeBytes)[] = [];
  let position = 0;
  for (const { start, end, bytes: pieces } of edits.list()) {
    parts.push(bytes.subarray(position, start), ...(pieces as (Uint8Array | MadeBytes)[]));
    position = end;
  }
  parts.push(bytes.subarray(position));
  return parts.filter(({ length }) => length > 0);
}

/** The bytes of the edited file, whose edits write no chunks. */
export function edited(edits: Edits): Uint8Array<ArrayBuffer> {
  const parts = partsOf(edits);
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(bytesIn(part), at);
    at += part.length;
  }
  return whole;
}

/** The edited file, whose edits write no chunks. Its bytes are made while it is read. */
export const editedSource = (edits: Edits): Source => joined(partsOf(edits).map(sourceOf));

/** A part of a file. Bytes that are made are kept until all of them were read. */
function sourceOf(part: Uint8Array | MadeBytes): Source {
  let made: Uint8Array | undefined;
  let left = part.length;
  return {
    name: undefined,
    size: part.length,
    read: async (target, position) => {
      const bytes = (made ??= bytesIn(part));
      left -= target.length;
      if (left <= 0) [made, left] = [undefined, part.length];
      await inSlices(target.length, (from, to) => target.set(bytes.subarray(position + from, position + to), from));
    },
    sibling: noSibling,
    close: async () => {},
  };
}

/** How many bytes longer the edited file is. */
export const growthOf = (edits: readonly Edit[]): number =>
  edits.reduce((sum, { start, end, bytes }) => sum + sizeOf(bytes) - (end - start), 0);

/** A length-delimited field. */
export function lengthDelimited(number: number, ...content: readonly Piece[]): Piece[] {
  const writer = new BinaryWriter().tag(number, WireType.LengthDelimited).uint32(sizeOf(content));
  return [writer.finish(), ...content];
}

export const textField = (number: number, value: string): Uint8Array =>
  new BinaryWriter().tag(number, WireType.LengthDelimited).string(value).finish();

export const integerField = (number: number, value: number): Uint8Array =>
  new BinaryWriter().tag(number, WireType.Varint).int64(value).finish();

/** A repeated field of integers. They are one piece, since there may be more than a call can have arguments. */
export function integerFields(number: number, values: readonly number[]): Uint8Array {
  const writer = new BinaryWriter();
  for (const value of values) writer.tag(number, WireType.Varint).int64(value);
  return writer.finish();
}

const sizeOf = (pieces: readonly Piece[]): number => pieces.reduce((sum, { length }) => sum + length, 0);
