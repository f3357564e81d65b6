import * as host from '#host';
import type { Block } from '../../engine/engine.js';
import type { CurrentFiles, ModelOutput } from '../format.js';
import { isFolder } from '../sources.js';
import { addBiases, type Plan } from './adding.js';
import { Edits, growthOf, woven, type Edit } from './edits.js';
import { followOwnData, relocate } from './external.js';
import type { ModelFile } from './wire.js';

/** The bytes of a model file: a view if this thread shares the memory, or else a copy. */
export async function bytesIn(block: Block, name: string): Promise<ModelFile> {
  return { name, bytes: block.view() ?? (await block.read(0, new Uint8Array(block.bytes))) };
}

/** A model file in memory, and its external data. */
interface Parts {
  readonly name: string;
  readonly block: Block;
  /** Without the model file itself, which may contain external data. */
  readonly locations: Iterable<string>;
  /** How its layers are given a bias. */
  readonly plans: () => Promise<ReadonlyMap<string, Plan | string>>;
}

/**
 * The files that a model is written to: the model file, then its external data. In a folder these keep their names.
 * With a file `out.onnx` they are named `out.onnx.data`, `out.onnx.2.data` and so on, and the model file is changed to
 * refer to these names. It also gets the biases that were added.
 */
export async function outputsOf(
  path: string | undefined,
  { name, block, locations, plans }: Parts,
  current: CurrentFiles,
): Promise<readonly ModelOutput[]> {
  const folder = path !== undefined && (await isFolder(path)) ? path : undefined;
  const isRenamed = path !== undefined && folder === undefined;
  const names = new Map(
    Array.from(locations, (location, place) => [location, isRenamed ? dataPath(path, place) : location]),
  );
  let edits: readonly Edit[] = [];
  if (isRenamed || current.biases?.size) {
    const planned = new Edits(await bytesIn(block, name));
    if (isRenamed) relocate(planned, (location) => host.baseName(location === name ? path : names.get(location)!));
    followOwnData(planned);
    if (current.biases?.size) await addBiases(planned, await plans(), current);
    edits = planned.list();
  }
  const at = (file: string) => (folder === undefined ? file : host.join(folder, file));
  const main = (start: number, end?: number) => current.chunks(name, start, end);
  return [
    {
      path: isRenamed ? path : at(name),
      from: name,
      size: () => current.sizeOf(name) + growthOf(edits),
      chunks: () => woven(edits, main),
    },
    ...Array.from(names, ([location, to]) => ({
      path: at(to),
      from: location,
      size: () => current.sizeOf(location),
      chunks: () => current.chunks(location),
    })),
  ];
}

/** The path of the external data file in this place, beside a model file. */
const dataPath = (path: string, place: number): string => (place === 0 ? `${path}.data` : `${path}.${place + 1}.data`);
