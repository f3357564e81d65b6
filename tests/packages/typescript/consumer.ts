// What the types of all entry points are used for, in a program that knows as little as possible of its host.
import {
  Criteria,
  Granularity,
  loadEngine,
  Sparsifier,
  SparsifyError,
  type ErrorCode,
  type Model,
  type Report,
} from 'sparsifier';
import { calibrate, type Statistics } from 'sparsifier/calibration';
import { criteria } from 'sparsifier/catalogue';
import { compare } from 'sparsifier/compare';
import { sparsifyFile } from 'sparsifier/file';
import { readModel, type FileModel } from 'sparsifier/formats';
import { fromArrays } from 'sparsifier/formats/arrays';
import { readOnnx } from 'sparsifier/formats/onnx';
import { readSafetensors } from 'sparsifier/formats/safetensors';
import { readTfjs } from 'sparsifier/formats/tfjs';
import { quantize } from 'sparsifier/quantize';
import { planRemoval, removeChannels } from 'sparsifier/removal';
import { sensitivity } from 'sparsifier/sensitivity';
import { Schedule, sparsifyCallback } from 'sparsifier/training';

export const all = {
  calibrate,
  compare,
  criteria,
  fromArrays,
  quantize,
  readOnnx,
  readSafetensors,
  readTfjs,
  Schedule,
  sensitivity,
  sparsifyCallback,
  sparsifyFile,
};

export async function prune(bytes: Uint8Array<ArrayBuffer>): Promise<Blob> {
  const read: FileModel = await readModel(bytes);
  const model: Model = read;
  const sparsifier = new Sparsifier(model, { granularity: Granularity.filter, criteria: Criteria.largeFinal });
  const report: Report = await sparsifier.sparsifyModel({ 'encoder.*': 50, head: { keep: 2 } }, { roundTo: 8 });
  const { model: small } = await removeChannels(read, await planRemoval(read, { inputShapes: { x: [1, 3, 48, 320] } }));
  const { threads, why } = await loadEngine();
  const parts = [await small.bytes(), ...(await read.toFiles()).values(), sparsifier.mask('head').data];
  read.close();
  // Bytes are never shared, so that all of them make a Blob.
  return new Blob([...parts, `${report.total.zeros} ${threads} ${why}`]);
}

export const codeOf = (error: SparsifyError): ErrorCode => error.code;
export const merged = (statistics: Statistics): Promise<void> =>
  statistics.write('statistics.safetensors', { force: true });

// @ts-expect-error an amount is a number
export const wrong = (sparsifier: Sparsifier) => sparsifier.sparsifyModel('half');
