import type { InferenceSession, Tensor } from 'onnxruntime-node';
import type { RepairOptions, RepairReport, SparsifierOptions, Sparsity } from 'sparsifier';
import type { Statistics } from 'sparsifier/calibration';

interface Lines {
  readonly data: {
    readonly createSession: (bytes: Uint8Array) => Promise<InferenceSession>;
    readonly batches: () => readonly Readonly<Record<string, Tensor>>[];
  };
  readonly kept: (model: string | Uint8Array) => Promise<number>;
}

export function linesOf(seed: number, count?: number): Promise<Lines>;
export function calibrated(
  lines: Lines,
  options?: object,
): Promise<{ readonly statistics: Statistics; readonly seconds: number }>;
export function recovered(
  lines: Pick<Lines, 'kept'>,
  options: SparsifierOptions,
  sparsity: Sparsity,
  repair?: RepairOptions,
): Promise<{
  readonly characters: number;
  readonly seconds: number;
  readonly zeros: number;
  readonly report: RepairReport | undefined;
}>;
