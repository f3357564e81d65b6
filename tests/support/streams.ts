import type { Report, Sparsity, SparsifierOptions } from 'sparsifier';
import { Sparsifier } from 'sparsifier';
import { readOnnx } from 'sparsifier/formats/onnx';
import { readSafetensors, type ReadSafetensorsOptions } from 'sparsifier/formats/safetensors';
import { concat } from './onnx-builder.js';

/** A stream that keeps what is written to it. */
export interface Kept {
  readonly stream: WritableStream<Uint8Array>;
  /** All bytes so far. */
  bytes(): Uint8Array;
  isClosed: boolean;
  /** What it was aborted with. */
  reason: unknown;
}

export function keeping(): Kept {
  const chunks: Uint8Array[] = [];
  const kept: Kept = {
    stream: new WritableStream<Uint8Array>({
      write: (chunk) => void chunks.push(chunk.slice()),
      close: () => void (kept.isClosed = true),
      abort: (reason) => void (kept.reason = reason),
    }),
    bytes: () => concat(...chunks),
    isClosed: false,
    reason: undefined,
  };
  return kept;
}

/** What a model becomes: its files by name, and the report. */
export interface Became {
  readonly files: Record<string, Uint8Array>;
  readonly report: Report;
}

export interface Source {
  /** The bytes of the one file, of the index, or of the ONNX file. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Shards, or external data, by name. */
  readonly further?: Readonly<Record<string, Uint8Array<ArrayBuffer>>>;
  readonly layers?: ReadSafetensorsOptions['layers'];
  readonly isOnnx?: boolean;
}

/** What becomes of a model in memory, which is what must become of it on its way from file to file. */
export async function inMemory(
  { bytes, further = {}, layers, isOnnx }: Source,
  options: SparsifierOptions,
  sparsity: Sparsity | undefined,
  roundTo?: number,
): Promise<Became> {
  const give = (name: string) => further[name]!;
  using model = isOnnx
    ? await readOnnx(bytes, { external: give })
    : await readSafetensors(bytes, { shards: give, ...(layers && { layers }) });
  const report = await new Sparsifier(model, options).sparsifyModel(sparsity, { roundTo });
  const name = isOnnx
    ? 'model.onnx'
    : Object.keys(further).length > 0
      ? 'model.safetensors.index.json'
      : 'model.safetensors';
  return { files: { [name]: await model.bytes(), ...Object.fromEntries(await model.files()) }, report };
}
