import type { Report, Sparsity, SparsifierOptions } from 'sparsifier';
import { Sparsifier } from 'sparsifier';
import { readModel, type ReadModelOptions } from 'sparsifier/formats';
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
  /** What reads further files: `shards` by default, for ONNX `external`. */
  readonly give?: 'shards' | 'external';
  readonly layers?: ReadModelOptions['layers'];
}

/** How a source is read. */
export function reading({ further = {}, give = 'shards', layers }: Source): ReadModelOptions {
  return { [give]: (name: string) => further[name]!, ...(layers && { layers }) };
}

/** What becomes of a model in memory, which is what must become of it on its way from file to file. */
export async function inMemory(
  source: Source,
  options: SparsifierOptions,
  sparsity: Sparsity | undefined,
  roundTo?: number,
): Promise<Became> {
  using model = await readModel(source.bytes, reading(source));
  const report = await new Sparsifier(model, options).sparsifyModel(sparsity, { roundTo });
  return { files: Object.fromEntries(await model.toFiles()), report };
}
