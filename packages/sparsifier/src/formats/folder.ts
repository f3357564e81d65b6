import * as host from '#host';
import { SparsifyError } from '../errors.js';
import { convertSavedModel, modelEndings } from './recognise.js';
import type { ModelSource } from './sources.js';

/**
 * The main file of a model that is given as a folder: its model.json. Anything but a folder is returned as it is.
 * @throws SparsifyError `format` for the folder of a SavedModel; `file` for one that contains no model.json
 */
export async function modelIn(source: ModelSource): Promise<ModelSource> {
  if (typeof source !== 'string' && !(source instanceof URL)) return source;
  const names = await host.namesIn(source);
  if (names === undefined) return source;
  const folder = source.toString();
  if (names.includes('model.json')) {
    const isAddress = source instanceof URL || folder.startsWith('file:');
    return isAddress ? new URL(`${folder.replace(/\/$/, '')}/model.json`) : host.join(folder, 'model.json');
  }
  if (names.includes('saved_model.pb')) {
    throw new SparsifyError('format', 'the folder is a SavedModel of TensorFlow, which cannot be read', {
      subject: folder,
      hint: convertSavedModel,
    });
  }
  // An index stands for its shards.
  const models = names.filter(isModel).sort((first, second) => Number(isIndex(second)) - Number(isIndex(first)));
  const [first] = models;
  throw new SparsifyError('file', 'a folder is read only if it contains a model.json', {
    subject: folder,
    found: first === undefined ? `no file of a model${among(names)}` : `the files ${listed(models)}`,
    hint: first === undefined ? 'Pass the file of a model' : `Pass one of its files, such as ${first}`,
  });
}

const isIndex = (name: string): boolean => name.toLowerCase().endsWith('.index.json');

/** Whether a file has the name of a model. Most JSON beside a model is its configuration. */
const isModel = (name: string): boolean =>
  isIndex(name) || modelEndings.some((ending) => ending !== '.json' && name.toLowerCase().endsWith(ending));

const among = (names: readonly string[]): string => (names.length > 0 ? ` among ${listed(names)}` : '; it is empty');

const listed = (names: readonly string[]): string =>
  names.length > 8 ? `${names.slice(0, 8).join(', ')} and ${names.length - 8} more` : names.join(', ');
