import { SparsifyError } from '../../errors.js';
import type { Range } from './wire.js';
import { ownData } from './external.js';
import { readTensor } from './tensor.js';
import { childOf, fields, wholeFile, WireType, type Field, type Message, type ModelFile } from './wire.js';

/** The fields of a `ModelProto` in onnx.proto. */
const known: ReadonlySet<number> = new Set([1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26]);

/**
 * Checks external data that are in the model file itself. They are changed in place, so they must be where the file has
 * nothing else: in the `raw_data` of a tensor, or in a field that onnx.proto does not know.
 * @throws SparsifyError `format` if they are not
 */
export function checkOwnData(file: ModelFile): void {
  for (const { tensor } of ownData(file)) {
    const { values, codes, packedCodes, name } = readTensor(file, tensor);
    const place = values ?? codes ?? packedCodes;
    if (place === undefined || place.bytes === 0) continue;
    const range = { start: place.start, end: place.start + place.bytes };
    if (isData(file, wholeFile(file), 'model', range)) continue;
    throw new SparsifyError('format', `the external data of tensor '${name}' are not data`, {
      subject: file.name,
      found: `bytes ${range.start} to ${range.end} of the model file itself, which describe the model or are not there`,
      hint: 'The file is damaged. Export or download it again',
    });
  }
}

/** Whether a range of a message is inside a field that is nothing but data. */
function isData(file: ModelFile, message: Range | Field, type: Message, { start, end }: Range): boolean {
  for (const field of fields(file, message, type)) {
    if (field.end < end || field.type !== WireType.LengthDelimited) continue;
    if (field.start > start) return false;
    const child = childOf(type, field.number);
    if (child !== undefined) return isData(file, field, child, { start, end });
    return type === 'tensor' ? field.number === 9 : type === 'model' && !known.has(field.number);
  }
  return false;
}
