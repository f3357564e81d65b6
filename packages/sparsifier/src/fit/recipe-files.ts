import * as host from '#host';
import { digestOf } from '../calibration/statistics.js';
import { SparsifyError } from '../errors.js';
import { readingOf, readingShape, type ReadOptions } from '../formats/reading.js';
import type { ModelSource } from '../formats/sources.js';
import { overLimit } from '../host/reading.js';
import { parseJson } from '../model/json.js';
import { optionsOf } from '../options/check.js';
import { recipeOf, type FitRecipe, type RecipeFile } from './recipe.js';

/**
 * Reads a recipe that was written as JSON.
 * @param source a path or URL in Node; a URL, a Blob or bytes anywhere
 * @throws SparsifyError `file` if it cannot be read; `format` for what is no recipe: no JSON, an unknown key, a wrong type, or
 *   another version; `usage` for unknown options; the signal's reason if aborted
 */
export async function readRecipe(source: ModelSource, options: ReadOptions = {}): Promise<FitRecipe> {
  const reading = readingOf(optionsOf(options, readingShape));
  const opened = await host.open(source, reading);
  try {
    const { name: subject = 'the recipe', size } = opened;
    const { headerBytes } = reading.limits;
    if (size > headerBytes) throw overLimit('headerBytes', subject, headerBytes, size);
    const bytes = new Uint8Array(size);
    await opened.read(bytes, 0);
    return recipeOf(jsonIn(bytes, (content) => parseJson(content, subject, reading), subject));
  } finally {
    await opened.close();
  }
}

function jsonIn(bytes: Uint8Array, parse: (content: string) => unknown, subject: string): unknown {
  try {
    return parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    if (cause instanceof SparsifyError) throw cause;
    const found = (cause as Error).message.slice(0, 100);
    throw new SparsifyError('format', 'a recipe is JSON', { subject, found }, { cause });
  }
}

/** What a recipe says about files. */
export async function recipeFilesOf(files: ReadonlyMap<string, Uint8Array<ArrayBuffer>>): Promise<RecipeFile[]> {
  const all: RecipeFile[] = [];
  for (const [name, bytes] of files) {
    const sha256 = await digestOf(bytes);
    all.push({ name, bytes: bytes.length, ...(sha256 === undefined ? {} : { sha256 }) });
  }
  return all;
}
