import { BinaryWriter } from '@bufbuild/protobuf/wire';
import { SparsifyError } from '../../errors.js';
import { pathInFolder } from '../sources.js';
import {
  childOf,
  fields,
  integer,
  text,
  WireType,
  type Field,
  type Message,
  type ModelFile,
  type Range,
} from './wire.js';

/** The `TensorProto.data_location` of a tensor with external data. */
export const externalFlag = 1;

/** Protobuf's limit for the nesting of messages. */
const deepest = 100;

/** Bytes that replace a range of a file. */
export interface Edit extends Range {
  readonly bytes: Uint8Array;
}

/** A key of `TensorProto.external_data`, and where its value is. */
export function readEntry(file: ModelFile, range: Range): { readonly key: string; readonly value: Field | undefined } {
  let key = '';
  let value: Field | undefined;
  for (const field of fields(file, range, 'entry')) {
    if (field.type !== WireType.LengthDelimited) continue;
    if (field.number === 1) key = text(file, field);
    else if (field.number === 2) value = field;
  }
  return { key, value };
}

/**
 * The location of external data, without empty parts. @throws SparsifyError `file` if it leaves the folder of the model
 */
export const plainLocation = (location: string): string => pathInFolder(location, 'the external data of the model');

/** The external data files of all tensors of the model. */
export function locationsIn(file: ModelFile): Set<string> {
  const locations = new Set<string>();
  relocate(file, (location) => {
    locations.add(location);
    return location;
  });
  return locations;
}

/**
 * The edits that rename the external data files in a model file: each location, and the lengths of all messages that
 * contain it.
 * @param rename returns the new location, given one as {@link plainLocation} returns it
 */
export function relocate(file: ModelFile, rename: (location: string) => string): Edit[] {
  const edits: Edit[] = [];
  relocateIn(file, { start: 0, end: file.bytes.length }, 'model', rename, edits, 0);
  return edits;
}

/**
 * Appends the edits of one message to `edits`, in the order of the file. Returns by how many bytes the message grows.
 */
function relocateIn(
  file: ModelFile,
  range: Range,
  message: Message,
  rename: (location: string) => string,
  edits: Edit[],
  depth: number,
): number {
  if (depth > deepest) {
    throw new SparsifyError('format', `messages are nested more than ${deepest} levels deep`, { subject: file.name });
  }
  if (message === 'tensor' && !isExternal(file, range)) return 0;
  let growth = 0;
  for (const field of fields(file, range, message)) {
    const child = childOf(message, field.number);
    if (child === undefined || field.type !== WireType.LengthDelimited) continue;
    const inner: Edit[] = [];
    const innerGrowth =
      child === 'entry'
        ? renameEntry(file, field, rename, inner)
        : relocateIn(file, field, child, rename, inner, depth + 1);
    if (inner.length === 0) continue;
    growth += innerGrowth + resize(field, innerGrowth, edits);
    for (const edit of inner) edits.push(edit);
  }
  return growth;
}

function isExternal(file: ModelFile, tensor: Range): boolean {
  let flag = 0;
  for (const field of fields(file, tensor, 'tensor')) {
    if (field.number === 14 && field.type === WireType.Varint) flag = integer(file, field, 'tensor');
  }
  return flag === externalFlag;
}

function renameEntry(file: ModelFile, entry: Field, rename: (location: string) => string, edits: Edit[]): number {
  const { key, value } = readEntry(file, entry);
  if (key !== 'location' || value === undefined) return 0;
  const before = plainLocation(text(file, value));
  const after = rename(before);
  if (after === before) return 0;
  const bytes = new TextEncoder().encode(after);
  const growth = bytes.length - (value.end - value.start);
  const lengthGrowth = resize(value, growth, edits);
  edits.push({ start: value.start, end: value.end, bytes });
  return growth + lengthGrowth;
}

/** Appends the edit of the length of a field whose value grows. Returns by how many bytes the length itself grows. */
function resize(field: Field, growth: number, edits: Edit[]): number {
  if (growth === 0) return 0;
  const bytes = new BinaryWriter().uint32(field.end - field.start + growth).finish();
  edits.push({ start: field.lengthStart, end: field.start, bytes });
  return bytes.length - (field.start - field.lengthStart);
}
