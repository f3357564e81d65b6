import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';
import { SparsifyError } from '../../errors.js';

export { WireType };

/** The bytes of a file, and its name in errors. */
export interface ModelFile {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** A range of a file, in bytes from its beginning. */
export interface Range {
  readonly start: number;
  readonly end: number;
}

/** A field of a protobuf message. The range is that of its value, without tag and length. */
export interface Field extends Range {
  readonly number: number;
  readonly type: WireType;
  /** The message that contains it; undefined for the model itself. */
  readonly within: Field | undefined;
  readonly tagStart: number;
  /** The offset of the length of a length-delimited value, which ends at `start`. */
  readonly lengthStart: number;
}

/**
 * The messages of onnx.proto that are read, and the fields of each that contain messages with tensors or external data.
 */
const messages = {
  model: { 7: 'graph', 20: 'training', 25: 'function' },
  graph: { 1: 'node', 5: 'tensor', 15: 'sparseTensor' },
  node: { 5: 'attribute' },
  attribute: { 5: 'tensor', 6: 'graph', 10: 'tensor', 11: 'graph', 22: 'sparseTensor', 23: 'sparseTensor' },
  tensor: { 13: 'entry' },
  sparseTensor: { 1: 'tensor', 2: 'tensor' },
  entry: {},
  training: { 1: 'graph', 2: 'graph' },
  function: { 7: 'node', 11: 'attribute' },
  opset: {},
  valueInfo: {},
  type: {},
  tensorType: {},
  shape: {},
  axis: {},
} as const;
export type Message = keyof typeof messages;

/** The type of message in a field of `message`, if it can contain tensors. */
export function childOf(message: Message, field: number): Message | undefined {
  return (messages[message] as Readonly<Record<number, Message>>)[field];
}

/** The message of the whole file. */
export const wholeFile = ({ bytes }: ModelFile): Range => ({ start: 0, end: bytes.length });

/**
 * The fields of the message in `range`, in file order. @throws SparsifyError `format` if the bytes are not a message
 */
export function* fields(file: ModelFile, range: Range | Field, message: Message): Generator<Field> {
  const reader = new BinaryReader(file.bytes.subarray(range.start, range.end));
  while (reader.pos < reader.len) {
    yield nextField(reader, file, range, message);
  }
}

function nextField(reader: BinaryReader, file: ModelFile, range: Range | Field, message: Message): Field {
  const at = reader.pos;
  let number: number | undefined;
  try {
    let type: WireType;
    [number, type] = reader.tag();
    const lengthStart = reader.pos;
    const length = type === WireType.LengthDelimited ? reader.uint32() : undefined;
    const start = reader.pos;
    if (length === undefined) reader.skip(type, number);
    else reader.pos += length;
    if (reader.pos > reader.len) throw new RangeError('the value extends beyond the message');
    return {
      number,
      type,
      within: 'within' in range ? range : undefined,
      tagStart: range.start + at,
      lengthStart: range.start + lengthStart,
      start: range.start + start,
      end: range.start + reader.pos,
    };
  } catch (cause) {
    if (message === 'model' && reader.pos > reader.len) throw cutOff(file, number, reader.pos - reader.len, cause);
    throw broken(file, message, range.start + at, cause);
  }
}

function cutOff(file: ModelFile, field: number | undefined, missing: number, cause: unknown): SparsifyError {
  const part = (field !== undefined && childOf('model', field)) || 'header';
  return new SparsifyError(
    'format',
    `the file ends inside the ${part} at byte ${file.bytes.length}`,
    {
      subject: file.name,
      found: `${missing} bytes are missing`,
      hint: 'The file is truncated or is not an ONNX model. Copy or download it again',
    },
    { cause },
  );
}

/** The error for bytes that are not valid in a message. */
export function broken(file: ModelFile, message: Message, at: number, cause?: unknown): SparsifyError {
  return new SparsifyError(
    'format',
    `the file is damaged at byte ${at}, inside its ${message}`,
    { subject: file.name, hint: 'Export or download it again. It may also not be an ONNX model' },
    { cause },
  );
}

/** The integers in a varint or packed field. Those above 2^53 are rounded. */
export function integers(file: ModelFile, { start, end }: Range, message: Message): number[] {
  const reader = new BinaryReader(file.bytes.subarray(start, end));
  const found: number[] = [];
  try {
    while (reader.pos < reader.len) found.push(Number(reader.int64()));
  } catch (cause) {
    throw broken(file, message, start, cause);
  }
  return found;
}

/** The integer in a varint field. */
export function integer(file: ModelFile, field: Field, message: Message): number {
  return integers(file, field, message)[0]!;
}

/** The name in a `ValueInfoProto`; empty if it has none. */
export function valueName(file: ModelFile, value: Field): string {
  const names = [...fields(file, value, 'valueInfo')].filter(
    ({ number, type }) => number === 1 && type === WireType.LengthDelimited,
  );
  return names.length === 0 ? '' : text(file, names.at(-1)!);
}

const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

/** The text of a string field. TextDecoder refuses shared memory in browsers, so the bytes are copied first. */
export function text(file: ModelFile, { start, end }: Range): string {
  return decoder.decode(file.bytes.slice(start, end));
}
