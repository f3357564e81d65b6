// Writes safetensors files for tests, independently of the library under test.
import { concat, rawNumbers } from './onnx-builder.js';

type Bytes = Uint8Array<ArrayBuffer>;

export interface TensorToStore {
  /** `F32` by default. */
  readonly dtype?: string;
  readonly shape: readonly number[];
  /** The numbers 1, 2, 3, ... by default; of types that are not pruned any bytes. */
  readonly data?: Uint8Array;
}

/** Tensors by name, in the order of their bytes; of those with numbers by default just the shape. */
export type TensorsToStore = Readonly<Record<string, TensorToStore | readonly number[]>>;

export interface FileOptions {
  readonly metadata?: Readonly<Record<string, string>>;
  /** How many spaces stand behind the header: 0 by default, so that numbers lie at any alignment. */
  readonly padding?: number;
}

const names = { F32: 'float32', F16: 'float16', BF16: 'bfloat16' } as const;
const sizes: Readonly<Record<string, number>> = { I64: 8, F64: 8, I32: 4, I16: 2 };

function dataOf({ dtype = 'F32', shape, data }: TensorToStore): Uint8Array {
  if (data !== undefined) return data;
  const count = shape.reduce((product, size) => product * size, 1);
  if (dtype in names) return rawNumbers(names[dtype as keyof typeof names], count);
  return Uint8Array.from({ length: count * (sizes[dtype] ?? 1) }, (_, index) => 1 + (index % 251));
}

const inFull = (tensor: TensorToStore | readonly number[]): TensorToStore =>
  'shape' in tensor ? tensor : { shape: tensor };

export function safetensorsFile(tensors: TensorsToStore, { metadata, padding = 0 }: FileOptions = {}): Bytes {
  const header: Record<string, unknown> = metadata ? { __metadata__: metadata } : {};
  const data: Uint8Array[] = [];
  let end = 0;
  for (const [name, given] of Object.entries(tensors)) {
    const tensor = inFull(given);
    const bytes = dataOf(tensor);
    header[name] = { dtype: tensor.dtype ?? 'F32', shape: tensor.shape, data_offsets: [end, (end += bytes.length)] };
    data.push(bytes);
  }
  const text = new TextEncoder().encode(JSON.stringify(header) + ' '.repeat(padding));
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(text.length), true);
  return concat(length, text, ...data);
}

export interface Sharded {
  /** `model.safetensors.index.json`, its tensors in the reverse order of those in the shards. */
  readonly index: Bytes;
  readonly shards: Readonly<Record<string, Bytes>>;
}

export function shardedFiles(shards: Readonly<Record<string, TensorsToStore>>): Sharded {
  const map = Object.entries(shards).flatMap(([file, tensors]) => Object.keys(tensors).map((name) => [name, file]));
  return {
    index: indexOf(Object.fromEntries(map.reverse()) as Record<string, string>),
    shards: Object.fromEntries(Object.entries(shards).map(([file, tensors]) => [file, safetensorsFile(tensors)])),
  };
}

export const indexOf = (weightMap: Readonly<Record<string, unknown>>): Bytes =>
  new TextEncoder().encode(`${JSON.stringify({ metadata: { total_size: 7 }, weight_map: weightMap }, null, 2)}\n`);
