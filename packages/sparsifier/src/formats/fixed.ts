import { bytesOf, type WeightTensor } from '../model/model.js';
import { widened } from '../model/numbers.js';
import type { ModelFiles } from './files.js';
import { stored, type Contents, type StoredValues } from './format.js';
import { lineLength, mayBeSine, mayContinue, strideOf, tableIn } from './tables.js';

/** How many numbers a table of fixed numbers has. A smaller tensor proves nothing; larger ones are not read for this. */
const sizes = { from: 8, to: 2 ** 20 } as const;

/** How many numbers of each tensor are read at first. Most learned weights are told from tables by these. */
const prefixLength = 1024;

/** How many tensors are read at a time, since each waits for its file. */
const atATime = 16;

/**
 * The tensors, of which those that are tables of fixed numbers say so in `fixed`. Of a tensor that is none, in general
 * only the beginning is read, and a few numbers along each axis.
 */
export async function withFixed({ tensors, learned }: Contents, files: ModelFiles): Promise<readonly WeightTensor[]> {
  const marked: WeightTensor[] = [];
  for (let from = 0; from < tensors.length; from += atATime) {
    const mark = async (tensor: WeightTensor): Promise<WeightTensor> => {
      const { length } = tensor.values;
      if (length < sizes.from || length > sizes.to || learned?.has(tensor)) return tensor;
      const table = await tableOf(tensor, files);
      return table === undefined ? tensor : { ...tensor, fixed: reasonOf(table) };
    };
    marked.push(...(await Promise.all(tensors.slice(from, from + atATime).map(mark))));
  }
  return marked;
}

/** Why these numbers of a tensor are a table of fixed numbers; undefined if they may be learned. */
export function fixedTable(numbers: Float32Array, shape: readonly number[]): string | undefined {
  const isCandidate = numbers.length >= sizes.from && numbers.length <= sizes.to;
  const table = isCandidate ? tableIn(numbers, shape) : undefined;
  return table && reasonOf(table);
}

const reasonOf = (table: string): string => `it is a table of fixed numbers: ${table}`;

async function tableOf({ values, shape }: WeightTensor, files: ModelFiles): Promise<string | undefined> {
  const place = stored(values);
  // Codes that vary in width are only decoded together.
  const isWhole = place.length <= prefixLength || (place.coding !== undefined && place.coding.width === undefined);
  const prefix = await numbersAt(files, place, 0, isWhole ? place.length : prefixLength);
  if (isWhole) return tableIn(prefix, shape);
  const isCandidate = mayContinue(prefix, shape) || (await hasLineOfSine(files, place, shape, prefix));
  return isCandidate ? tableIn(await numbersAt(files, place, 0, place.length), shape) : undefined;
}

/** Whether the first line along some axis is that of a sine. */
async function hasLineOfSine(
  files: ModelFiles,
  place: StoredValues,
  shape: readonly number[],
  prefix: Float32Array,
): Promise<boolean> {
  for (const [axis, size] of shape.entries()) {
    if (size < lineLength) continue;
    const stride = strideOf(shape, axis);
    // Rows of padding come first.
    const first = Math.min(2, size - lineLength);
    const line = await Promise.all(
      Array.from({ length: lineLength }, async (_, step) => {
        const at = (first + step) * stride;
        return prefix[at] ?? (await numbersAt(files, place, at, 1))[0]!;
      }),
    );
    if (mayBeSine(Float32Array.from(line))) return true;
  }
  return false;
}

/** `count` numbers of a tensor, from a place on. */
async function numbersAt(
  { held, sources }: ModelFiles,
  { file, start, bytes, length, dtype, coding }: StoredValues,
  from: number,
  count: number,
): Promise<Float32Array> {
  const isAll = count === length;
  const width = coding ? coding.width! : bytesOf[dtype];
  const target = new Uint8Array(isAll ? bytes : count * width);
  const position = isAll ? start : start + from * width;
  const block = held.get(file);
  if (block) await block.read(position, target);
  else await sources.get(file)!.read(target, position);
  return widened(coding ? await coding.decode(target, undefined, from) : target, dtype);
}
