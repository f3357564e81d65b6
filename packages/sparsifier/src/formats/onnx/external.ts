import { pathInFolder } from '../sources.js';
import type { Edits } from './edits.js';
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

/** A tensor with external data. */
export interface ExternalTensor {
  readonly tensor: Field;
  /** The values of `TensorProto.external_data`, by their keys. */
  readonly entries: ReadonlyMap<string, Field>;
}

/** All tensors of the model with external data. */
export function* externalTensors(
  file: ModelFile,
  range: Range | Field = wholeFile(file),
  message: Message = 'model',
): Generator<ExternalTensor> {
  if (message === 'tensor') {
    const entries = isExternal(file, range) ? entriesIn(file, range) : undefined;
    if (entries !== undefined) yield { tensor: range as Field, entries };
    return;
  }
  for (const field of fields(file, range, message)) {
    const child = childOf(message, field.number);
    if (child === undefined || field.type !== WireType.LengthDelimited) continue;
    yield* externalTensors(file, field, child);
  }
}

/** The external data file of a tensor; undefined if the tensor names none. */
export function locationOf(file: ModelFile, { entries }: ExternalTensor): string | undefined {
  const location = entries.get('location');
  return location && plainLocation(text(file, location));
}

/** The external data files of all tensors of the model. */
export function locationsIn(file: ModelFile): Set<string> {
  const locations = new Set<string>();
  for (const each of externalTensors(file)) {
    const location = locationOf(file, each);
    if (location !== undefined) locations.add(location);
  }
  return locations;
}

/**
 * Renames the external data files in a model file.
 * @param rename returns the new location, given one as {@link plainLocation} returns it
 */
export function relocate(edits: Edits, rename: (location: string) => string): void {
  for (const each of externalTensors(edits.file)) {
    const before = locationOf(edits.file, each);
    const after = before === undefined ? undefined : rename(before);
    if (after === before) continue;
    const value = each.entries.get('location')!;
    edits.replace(value, value, new TextEncoder().encode(after));
  }
}

/**
 * Lets the offsets of external data that are in the model file itself follow the edits of the file.
 * @param isKept whether a tensor remains
 */
export function followOwnData(edits: Edits, isKept: (tensor: Field) => boolean = () => true): void {
  for (const each of ownData(edits.file)) {
    const offset = each.entries.get('offset');
    if (offset !== undefined && isKept(each.tensor)) edits.follow(offset, Number(text(edits.file, offset)));
  }
}

/** The tensors whose external data are in the model file itself. */
export function* ownData(file: ModelFile): Generator<ExternalTensor> {
  for (const each of externalTensors(file)) if (locationOf(file, each) === file.name) yield each;
}

/** Whether the model has external data that are in the model file itself. */
export const hasOwnData = (file: ModelFile): boolean => !ownData(file).next().done;

function isExternal(file: ModelFile, tensor: Range): boolean {
  let flag = 0;
  for (const field of fields(file, tensor, 'tensor')) {
    if (field.number === 14 && field.type === WireType.Varint) flag = integer(file, field, 'tensor');
  }
  return flag === externalFlag;
}

function entriesIn(file: ModelFile, tensor: Range): Map<string, Field> {
  const entries = new Map<string, Field>();
  for (const field of fields(file, tensor, 'tensor')) {
    if (field.number !== 13 || field.type !== WireType.LengthDelimited) continue;
    const { key, value } = readEntry(file, field);
    if (value !== undefined) entries.set(key, value);
  }
  return entries;
}
