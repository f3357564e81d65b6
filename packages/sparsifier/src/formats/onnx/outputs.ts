import * as host from '#host';
import type { Block } from '../../engine/engine.js';
import { SparsifyError } from '../../errors.js';
import type { OutputFile } from '../../host/host.js';
import type { Skipped, Values, WeightTensor } from '../../model/model.js';
import { isFolder, slices } from '../sources.js';
import { recognise } from '../recognise.js';
import { locationsIn, relocate, type Edit } from './external.js';
import { readGraph } from './graph.js';
import { readLayers } from './layers.js';
import { StoredValues } from './tensor.js';
import type { ModelFile } from './wire.js';

/** The bytes of a model file to look at: its block where the memory is shared with this thread, else a copy. */
export async function modelFile(block: Block, name: string): Promise<ModelFile> {
  return { name, bytes: block.view() ?? (await block.read(0, new Uint8Array(block.bytes))) };
}

interface Contents {
  readonly tensors: readonly WeightTensor[];
  readonly skipped: readonly Skipped[];
  readonly locations: ReadonlySet<string>;
}

export function parse(file: ModelFile): Contents {
  try {
    // First, since it refuses files whose messages lie too deep within each other.
    const locations = locationsIn(file);
    return { ...readLayers(readGraph(file)), locations };
  } catch (error) {
    const found = error instanceof SparsifyError && error.code === 'format' ? recognise(file.bytes) : undefined;
    if (found === undefined || found === 'an ONNX model') throw error;
    const hints: Partial<Record<typeof found, string>> = {
      'a safetensors file':
        'Read it with readSafetensors, on the command line under a name that ends with .safetensors',
      JSON: 'Read a TensorFlow.js model.json with readTfjs, on the command line under a name that ends with .json. Export others to ONNX',
    };
    const hint = hints[found] ?? 'Export the model to ONNX and read that file';
    throw new SparsifyError(
      'format',
      'the file is not an ONNX model',
      { subject: file.name, found, hint },
      { cause: error },
    );
  }
}

/** Fails if the data of a tensor lie beyond the end of their file. */
export function checkExternal({ name, values, partners }: WeightTensor, bytesOf: (location: string) => number): void {
  for (const { location, range } of [values, ...partners.map((partner) => partner.values)].map(stored)) {
    const bytes = location === undefined ? Infinity : bytesOf(location);
    if (range.end <= bytes) continue;
    throw new SparsifyError('format', `the external data ${location} end too early`, {
      subject: name,
      asked: `bytes ${range.start} to ${range.end}`,
      found: `${bytes} bytes`,
      hint: 'The file is cut off or belongs to another model: copy or download it again',
    });
  }
}

/** The values of a tensor of an ONNX model, which know where they lie. */
export function stored(values: Values): StoredValues {
  if (values instanceof StoredValues) return values;
  throw new SparsifyError('usage', 'the values are not those of an ONNX model');
}

/**
 * What a model is written to: the model file, then its external data. In a folder all have their own names; beside a file
 * `out.onnx` data go to `out.onnx.data` (further files to `out.onnx.2.data` and so on).
 * @param chunks the bytes of external data by their location
 */
export async function outputsOf(
  path: string,
  name: string,
  file: Block,
  locations: Iterable<string>,
  chunks: (location: string) => AsyncIterable<Uint8Array>,
): Promise<OutputFile[]> {
  if (await isFolder(path)) {
    return [
      { path: host.join(path, name), chunks: () => slices(file) },
      ...Array.from(locations, (location) => ({ path: host.join(path, location), chunks: () => chunks(location) })),
    ];
  }
  const names = new Map<string, string>();
  const data: OutputFile[] = [];
  for (const location of locations) {
    const dataPath = data.length === 0 ? `${path}.data` : `${path}.${data.length + 1}.data`;
    names.set(location, host.baseName(dataPath));
    data.push({ path: dataPath, chunks: () => chunks(location) });
  }
  const edits = relocate(await modelFile(file, name), (location) => names.get(location)!);
  return [{ path, chunks: () => edited(file, edits) }, ...data];
}

/** The bytes of a block, slice by slice, with some replaced. */
async function* edited(block: Block, edits: readonly Edit[]): AsyncGenerator<Uint8Array> {
  let position = 0;
  for (const edit of edits) {
    yield* slices(block, position, edit.start);
    yield edit.bytes;
    position = edit.end;
  }
  yield* slices(block, position, block.bytes);
}
