// The small files among `tests/cases`, as inputs to begin with. Node only.
import { readdir, readFile } from 'node:fs/promises';
import type { Input } from './input.js';

const cases = new URL('../../cases/', import.meta.url);

/** Larger files would take most of the time. */
const mostBytes = 6000;

const bytesAt = async (path: string | URL): Promise<Uint8Array<ArrayBuffer>> =>
  new Uint8Array(await readFile(new URL(path, cases)));

/** The files of some folders whose names have an ending. */
export async function casesIn(folders: readonly string[], ending: string): Promise<Record<string, Input>> {
  const inputs: Record<string, Input> = {};
  for (const folder of folders) {
    for (const name of (await readdir(new URL(folder, cases))).filter((each) => each.endsWith(ending)).sort()) {
      const bytes = await bytesAt(`${folder}${name}`);
      if (bytes.length <= mostBytes) inputs[`${folder}${name}`] = { bytes };
    }
  }
  return inputs;
}

/** The folders whose names begin like this, each with a model.json and the files beside it. */
export async function foldersOf(beginning: RegExp): Promise<Record<string, Input>> {
  const inputs: Record<string, Input> = {};
  for (const folder of (await readdir(cases)).filter((each) => beginning.test(each)).sort()) {
    const names = (await readdir(new URL(`${folder}/`, cases))).filter((name) => name !== 'model.json');
    const further = await Promise.all(names.map(async (name) => [name, await bytesAt(`${folder}/${name}`)] as const));
    inputs[folder] = { bytes: await bytesAt(`${folder}/model.json`), further: Object.fromEntries(further) };
  }
  return inputs;
}
