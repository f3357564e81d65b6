import { SparsifyError } from '../../errors.js';
import { pathInFolder } from '../sources.js';
import { Edits } from './edits.js';
import {
  childOf,
  fields,
  integer,
  text,
  wholeFile,
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
  relocate(new Edits(file), (location) => {
    locations.add(location);
    return location;
  });
  return locations;
}

/**
 * Renames the external data files in a model file.
 * @param rename returns the new location, given one as {@link plainLocation} returns it
 */
export function relocate(edits: Edits, rename: (location: string) => string): void {
  relocateIn(edits, wholeFile(edits.file), 'model', rename, 0);
}

function relocateIn(
  edits: Edits,
  range: Range,
  message: Message,
  rename: (location: string) => string,
  depth: number,
): void {
  const { file } = edits;
  if (depth > deepest) {
    throw new SparsifyError('format', `messages are nested more than ${deepest} levels deep`, { subject: file.name });
  }
  if (message === 'tensor' && !isExternal(file, range)) return;
  for (const field of fields(file, range, message)) {
    const child = childOf(message, field.number);
    if (child === undefined || field.type !== WireType.LengthDelimited) continue;
    if (child === 'entry') renameEntry(edits, field, rename);
    else relocateIn(edits, field, child, rename, depth + 1);
  }
}

function isExternal(file: ModelFile, tensor: Range): boolean {
  let flag = 0;
  for (const field of fields(file, tensor, 'tensor')) {
    if (field.number === 14 && field.type === WireType.Varint) flag = integer(file, field, 'tensor');
  }
  return flag === externalFlag;
}

function renameEntry(edits: Edits, entry: Field, rename: (location: string) => string): void {
  const { key, value } = readEntry(edits.file, entry);
  if (key !== 'location' || value === undefined) return;
  const before = plainLocation(text(edits.file, value));
  const after = rename(before);
  if (after !== before) edits.replace(value, value, new TextEncoder().encode(after));
}
