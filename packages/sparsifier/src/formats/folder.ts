import * as host from '#host';
import { attempt, SparsifyError } from '../errors.js';
import { convertSavedModel, modelEndings } from './recognise.js';
import type { ModelSource } from './sources.js';

/**
 * The main file of a model that is given as a folder: its model.json. Anything but a folder is returned as it is.
 * @throws SparsifyError `format` for the folder of a SavedModel; `file` for one that contains no model.json
 */
export async function modelIn(source: ModelSource): Promise<ModelSource> {
  if (!isAddress(source)) return source;
  const names = await host.namesIn(source);
  if (names === undefined) return source;
  const folder = source.toString();
  if (names.includes('model.json')) {
    const isUrl = source instanceof URL || folder.startsWith('file:');
    return isUrl ? new URL(`${folder.replace(/\/$/, '')}/model.json`) : host.join(folder, 'model.json');
  }
  if (names.includes('saved_model.pb')) {
    throw new SparsifyError('format', 'the folder is a SavedModel of TensorFlow, which cannot be read', {
      subject: folder,
      hint: convertSavedModel,
    });
  }
  const models = names.filter(isModel).sort((first, second) => placeOf(first) - placeOf(second));
  const [first] = models;
  throw new SparsifyError('file', 'a folder is read only if it contains a model.json', {
    subject: folder,
    found: first === undefined ? `no file of a model${among(names)}` : `the files ${listed(models)}`,
    hint: first === undefined ? 'Pass the file of a model' : `Pass one of its files, such as ${first}`,
  });
}

const isAddress = (source: ModelSource): source is string | URL =>
  attempt('the source', () => typeof source === 'string' || source instanceof URL);

/** Endings of the files that can be read, the first ones first: an index stands for its shards. */
const readable = ['.index.json', '.onnx', '.safetensors'] as const;

const placeOf = (name: string): number => {
  const place = readable.findIndex((ending) => name.toLowerCase().endsWith(ending));
  return place < 0 ? readable.length : place;
};

/** Whether a file has the name of a model. Other JSON beside a model is its configuration. */
const isModel = (name: string): boolean =>
  placeOf(name) < readable.length || modelEndings.some((end) => end !== '.json' && name.toLowerCase().endsWith(end));

const among = (names: readonly string[]): string => (names.length > 0 ? ` among ${listed(names)}` : '; it is empty');

const listed = (names: readonly string[]): string =>
  names.length > 8 ? `${names.slice(0, 8).join(', ')} and ${names.length - 8} more` : names.join(', ');
