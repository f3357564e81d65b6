import { overLimit, type Reading } from '../../host/reading.js';
import { childOf, fields, wholeFile, WireType, type Field, type Message, type ModelFile, type Range } from './wire.js';

/** Protobuf's limit for the nesting of messages. */
const deepest = 100;

/** The fields of a `TensorProto` that hold its numbers or texts. */
const numbers: ReadonlySet<number> = new Set([4, 5, 6, 7, 9, 10, 11]);

/**
 * Checks a model file before more of it is read.
 * @throws SparsifyError `format` if it has too many tensors, messages that are nested too deeply, or too much besides the
 *   numbers of its tensors; and if it is damaged
 */
export function checkLimits(file: ModelFile, { limits }: Reading): void {
  const { headerBytes, tensors } = limits;
  const depth = Math.min(limits.depth, deepest);
  let [header, count] = [0, 0];
  const check = (range: Range | Field, message: Message, level: number): void => {
    if (level > depth) throw overLimit('depth', file.name, depth);
    if (message === 'tensor' && ++count > tensors) throw overLimit('tensors', file.name, tensors);
    for (const field of fields(file, range, message)) {
      const child = field.type === WireType.LengthDelimited ? childOf(message, field.number) : undefined;
      const isNumbers = message === 'tensor' && numbers.has(field.number);
      if (!isNumbers) header += (child === undefined ? field.end : field.start) - field.tagStart;
      if (header > headerBytes) throw overLimit('headerBytes', file.name, headerBytes);
      if (child !== undefined) check(field, child, level + 1);
    }
  };
  check(wholeFile(file), 'model', 0);
}
