// Runs models in ONNX Runtime, and compares what two of them compute.
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { bytesField, concat, textField } from '../onnx-builder.js';

export type Feeds = Readonly<Record<string, Tensor>>;

export interface Output {
  readonly dims: readonly number[];
  readonly numbers: Float32Array | Float64Array;
}

export type Outputs = ReadonlyMap<string, Output>;

/** A model with more outputs. Messages that follow each other are one. */
export const withOutputs = (bytes: Uint8Array, names: readonly string[]): Uint8Array<ArrayBuffer> =>
  concat(bytes, bytesField(7, concat(...names.map((name) => bytesField(12, textField(1, name))))));

/** Runs a model once for each set of inputs. `files` are those with its external data, by path. */
export async function run(
  bytes: Uint8Array,
  feeds: readonly Feeds[],
  isOptimised: boolean,
  files: ReadonlyMap<string, Uint8Array> = new Map(),
): Promise<Outputs[]> {
  const session = await InferenceSession.create(bytes, {
    ...(files.size > 0 && { externalData: Array.from(files, ([path, data]) => ({ path, data })) }),
    graphOptimizationLevel: isOptimised ? 'all' : 'disabled',
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    logSeverityLevel: 4,
  });
  try {
    const all: Outputs[] = [];
    for (const each of feeds) {
      const results = await session.run(each);
      const read = Object.entries(results).map(
        ([name, { dims, data }]) => [name, { dims, numbers: numbersIn(data) }] as const,
      );
      all.push(new Map(read));
    }
    return all;
  } finally {
    await session.release();
  }
}

/** Integers of 64 bits, booleans and others as numbers. */
const numbersIn = (data: Tensor['data']): Output['numbers'] =>
  data instanceof Float32Array ? data : Float64Array.from(data as Iterable<unknown>, Number);

export const isFinite = (runs: readonly Outputs[]): boolean =>
  runs.every((outputs) => [...outputs.values()].every(({ numbers }) => numbers.every(Number.isFinite)));

/** The largest difference of an output over all runs; Infinity if sizes differ. */
export function differenceOf(name: string, runs: readonly Outputs[], others: readonly Outputs[]): number {
  let worst = 0;
  for (const [place, outputs] of runs.entries()) {
    const [one, other] = [outputs.get(name), others[place]!.get(name)];
    if (one === undefined || one.dims.join() !== other?.dims.join()) return Infinity;
    for (const [index, number] of one.numbers.entries()) {
      const difference = Math.abs(number - other.numbers[index]!);
      if (!(difference <= worst)) worst = Number.isNaN(difference) ? Infinity : difference;
    }
  }
  return worst;
}

export const largestOf = (name: string, runs: readonly Outputs[]): number =>
  Math.max(0, ...runs.flatMap((outputs) => [...outputs.get(name)!.numbers].map(Math.abs)));
