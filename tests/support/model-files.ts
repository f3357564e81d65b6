import type { FileModel } from 'sparsifier/formats';

/** The files of a model beside its main one, by name. */
export async function furtherFiles(model: FileModel): Promise<Map<string, Uint8Array<ArrayBuffer>>> {
  return new Map([...(await model.toFiles())].slice(1));
}
