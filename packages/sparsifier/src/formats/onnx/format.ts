import { loadEngine } from '../../engine/engine.js';
import { SparsifyError } from '../../errors.js';
import { readAs, type FileModel } from '../file-model.js';
import type { ModelFiles } from '../files.js';
import { joinedOutput } from '../joined.js';
import { valuesIn } from '../../model/model.js';
import { stored, type Contents, type CurrentFiles, type Format } from '../format.js';
import { recognise } from '../recognise.js';
import { emptyFile, type ModelSource } from '../sources.js';
import { anatomyOf } from './anatomy.js';
import { newBias, plansIn, type Plan } from './adding.js';
import { locationsIn } from './external.js';
import { readGraph } from './graph.js';
import { readLayers } from './layers.js';
import { checkOwnData } from './own-data.js';
import { checkLimits } from './limits.js';
import { bytesIn, outputsOf } from './outputs.js';
import { decodeConstants } from './quantised.js';
import { storageIn } from './storing.js';
import { signature, type ReadOnnxOptions } from './signature.js';
import { versionsIn } from './versions.js';
import type { ModelFile } from './wire.js';

/**
 * ONNX: a protobuf message, and files with external data. The message is held in memory, since it contains the graph
 * and small weights. External data are read in parts.
 */
export const onnx: Format<ReadOnnxOptions> = { ...signature, open };

/**
 * Reads an ONNX model with its external data.
 * @param source a path or URL in Node; a URL, a Blob or bytes anywhere. In browsers a string is a URL.
 * @throws SparsifyError `file` if a file is missing or is outside the folder of the model; `format` if the file is not
 *   a complete ONNX model, or exceeds a limit; `memory` if the model does not fit; the signal's reason if aborted
 */
export const readOnnx = (source: ModelSource, options: ReadOnnxOptions = {}): Promise<FileModel> =>
  readAs(onnx, source, options);

async function open(files: ModelFiles, { external }: ReadOnnxOptions): Promise<Contents> {
  const { main } = files;
  const name = main.name ?? 'model.onnx';
  const engine = await loadEngine();
  const block = await files.hold(engine, name, main.source);
  const file = await bytesIn(block, name);
  const { graph, locations } = parse(file, files);
  // External data may be in the model file itself.
  if (locations.delete(name)) checkOwnData(file);
  for (const location of locations) {
    const source = await files.further(location, external, 'external');
    if (source.size === 0) throw emptyFile(location);
    files.add(location, source);
  }
  await decodeConstants(graph.nodes, async (place, subject) => {
    if (place.file === name) return file.bytes.slice(place.start, place.start + place.bytes);
    checkExternal(subject, place, files);
    const bytes = new Uint8Array(place.bytes);
    await files.sources.get(place.file)!.read(bytes, place.start);
    return bytes;
  });
  const versions = versionsIn(file);
  const { tensors, skipped, weights } = readLayers(graph, versions.opset);
  for (const tensor of tensors) for (const each of valuesIn(tensor)) checkExternal(tensor.name, stored(each), files);
  let plans: ReadonlyMap<string, Plan | string> | undefined;
  const planned = async () => (plans ??= plansIn(await bytesIn(block, name)));
  const outputs = (path: string | undefined, current: CurrentFiles) =>
    outputsOf(path, { name, block, locations, plans: planned }, current);
  const fileNow = async (current: CurrentFiles): Promise<ModelFile> => {
    if (!current.biases?.size) return bytesIn(block, name);
    const [main] = await outputs(undefined, current);
    return { name, bytes: await joinedOutput(main!) };
  };
  return {
    tensors,
    skipped,
    weights,
    newBias: async (tensor, current) => {
      const plan = (await planned()).get(tensor.name)!;
      if (typeof plan === 'string') return plan;
      if (plan.copied !== undefined) checkExternal(tensor.name, plan.copied, files);
      return newBias(plan, current);
    },
    outputs,
    anatomy: () => anatomyOf(graph, versions, [...locations]),
    // Loaded once it is needed.
    removal: () => {
      const removal = async () => {
        const { removalIn } = await import('./structure/removal.js');
        return removalIn(fileNow, (current) => outputs(undefined, current));
      };
      return {
        plan: async (request, current) => (await removal()).plan(request, current),
        channels: async (request, current) => (await removal()).channels(request, current),
      };
    },
    storage: () => storageIn(graph, versions, (current) => outputs(undefined, current)),
  };
}

/** The graph of a model file and the locations of its external data. */
function parse(file: ModelFile, { main, reading }: ModelFiles) {
  try {
    checkLimits(file, reading);
    return { graph: readGraph(file), locations: locationsIn(file) };
  } catch (error) {
    const known = recognise(main);
    const isOther = known.found !== undefined && known.found !== 'an ONNX model';
    if (!isOther || !(error instanceof SparsifyError) || error.code !== 'format') throw error;
    throw new SparsifyError(
      'format',
      'the file is not an ONNX model',
      { subject: file.name, ...known },
      { cause: error },
    );
  }
}

/** Fails if the data of a tensor extend beyond the end of their file. */
function checkExternal(
  subject: string,
  { file, start, bytes }: { readonly file: string; readonly start: number; readonly bytes: number },
  { sources }: ModelFiles,
): void {
  const size = sources.get(file)?.size ?? Infinity;
  if (start + bytes <= size) return;
  throw new SparsifyError('format', `the external data file ${file} is too short`, {
    subject,
    given: `bytes ${start} to ${start + bytes}`,
    found: `${size} bytes`,
    hint: 'The file is truncated or belongs to another model. Copy or download it again',
  });
}
