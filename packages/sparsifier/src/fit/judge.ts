import { DifferenceSum } from '../analysis/comparison/difference.js';
import { numbersOf } from '../analysis/comparison/outputs.js';
import { batchesOf, type Batches } from '../calibration/batches.js';
import { sessionModelOf, type OnnxTensorLike, type SessionData } from '../calibration/onnx.js';
import { SparsifyError } from '../errors.js';
import { outputsIn } from '../formats/onnx/incoming.js';
import { typeOf } from '../model/model.js';
import { sumOf } from '../model/numbers.js';
import { readable } from '../options/listener.js';
import type { Made } from './make.js';
import type { Evaluate, EvaluateOptions } from './options.js';
import type { FittedLayer } from './steps.js';

/**
 * What models are judged by. `evaluate`: the function of the caller. `outputs`: the relative error of the model's outputs on
 * batches that are used for nothing else. `layers`: the errors of the outputs of layers, by statistics of their inputs.
 * `weights`: those of the weights.
 */
export type JudgedBy = 'evaluate' | 'outputs' | 'layers' | 'weights';

/** Says how good models are. */
export interface Judge {
  readonly by: JudgedBy;
  readonly higherIsBetter: boolean;
  /** @throws SparsifyError `criteria` for what is no number; what functions of the caller throw */
  judge(model: Pick<Made, 'files' | 'layers'>, part: EvaluateOptions['part']): Promise<number>;
}

/** A judge by the function of the caller. */
export function byEvaluate(evaluate: Evaluate, higherIsBetter: boolean, signal: AbortSignal | undefined): Judge {
  return {
    by: 'evaluate',
    higherIsBetter,
    judge: async ({ files }, part) => {
      signal?.throwIfAborted();
      // Copies, which the function may change.
      const copies = new Map([...files].map(([name, bytes]) => [name, bytes.slice()]));
      const value: unknown = await readable('`evaluate`', evaluate(copies, { signal, part }));
      signal?.throwIfAborted();
      if (typeof value === 'number' && Number.isFinite(value)) return value;
      throw new SparsifyError('criteria', '`evaluate` must return one finite number', {
        found: value ?? typeOf(value),
      });
    },
  };
}

/** A judge by the errors of layers: the root of the mean of their squares, of all layers alike. */
export const byLayers = (by: 'layers' | 'weights'): Judge => ({
  by,
  higherIsBetter: false,
  judge: async ({ layers }) => errorOf(layers),
});

const errorOf = (layers: readonly FittedLayer[]): number =>
  layers.length === 0 ? 0 : Math.sqrt(sumOf(layers.map(({ error }) => error ** 2)) / layers.length);

type Outputs = Readonly<Record<string, OnnxTensorLike>>;

/**
 * A judge by the outputs of an ONNX model: of each, the norm of the differences of all batches, divided by the norm of what
 * the original model gives; of these, the root of the mean of the squares.
 * @param dense the files of the original model
 * @param batches what judges
 */
export async function byOutputs<Feeds>(
  dense: Made['files'],
  { createSession, batches }: SessionData<Feeds>,
  signal: AbortSignal | undefined,
): Promise<Judge> {
  const [[name, bytes]] = [...dense] as [[string, Uint8Array<ArrayBuffer>]];
  const names = outputsIn({ name, bytes });
  const running = { createSession, batches, names, signal };
  const expected: Outputs[] = [];
  await runOn(dense, running, async (outputs) => void expected.push(copyOf(outputs)));
  return {
    by: 'outputs',
    higherIsBetter: false,
    judge: async ({ files }) => {
      const errors = names.map(() => new OutputError());
      let index = 0;
      await runOn(files, running, async (outputs) => {
        const before = expected[index++];
        for (const [place, output] of names.entries()) await errors[place]!.add(before?.[output], outputs[output]);
      });
      return Math.sqrt(sumOf(errors.map((each) => each.relative ** 2)) / Math.max(1, errors.length));
    },
  };
}

/** How far one output moves. */
class OutputError {
  readonly #sum = new DifferenceSum();
  #isOther = false;

  async add(before: OnnxTensorLike | undefined, after: OnnxTensorLike | undefined): Promise<void> {
    if (before === undefined || after === undefined || String(before.dims) !== String(after.dims)) this.#isOther = true;
    else if (before.type === 'string') this.#isOther ||= String(before.data) !== String(after.data);
    else await this.#sum.add(numbersOf(before), numbersOf(after));
  }

  /** An output of another size, and one that is no longer finite, has nothing in common with what it was. */
  get relative(): number {
    const { relativeRms = 1, notFinite } = this.#sum.result();
    return this.#isOther || notFinite.a !== notFinite.b ? Math.max(1, relativeRms) : relativeRms;
  }
}

interface Running<Feeds> extends SessionData<Feeds> {
  readonly names: readonly string[];
  readonly signal: AbortSignal | undefined;
}

/** Runs a model on all batches. @param use must not keep the outputs */
async function runOn<Feeds>(
  files: Made['files'],
  { createSession, batches, names, signal }: Running<Feeds>,
  use: (outputs: Outputs) => Promise<void>,
): Promise<void> {
  const model = sessionModelOf('ONNX', new Map([...files].map(([name, bytes]) => [name, bytes.slice()])));
  const session = await readable('`createSession`', createSession(model.bytes, model.files));
  try {
    for await (const batch of batchesOf(batches)) {
      signal?.throwIfAborted();
      const outputs = await session.run(batch, names);
      try {
        await use(outputs);
      } finally {
        for (const name of names) outputs[name]?.dispose?.();
      }
    }
  } finally {
    await session.release?.();
  }
}

const copyOf = (outputs: Outputs): Outputs =>
  Object.fromEntries(
    Object.entries(outputs).map(([name, { type, dims, data }]) => [
      name,
      { type, dims: [...dims], data: (data as Uint8Array).slice() },
    ]),
  );

/** One batch of this many judges. */
const judgingEvery = 4;

/** Batches for calibration, and every fourth one, which judges. With fewer than four, all are for both. */
export async function splitBatches<Feeds>(batches: () => Batches<Feeds>): Promise<{
  readonly solving: () => Batches<Feeds>;
  readonly judging: () => Batches<Feeds>;
  readonly isSplit: boolean;
}> {
  const those = (isJudging: boolean) =>
    async function* () {
      let index = 0;
      for await (const batch of batchesOf(batches)) {
        if ((++index % judgingEvery === 0) === isJudging) yield batch;
      }
    };
  const first = those(true)();
  const { done: isNone } = await first.next();
  // What the function returned is ended, too.
  await first.return();
  if (isNone) return { solving: batches, judging: batches, isSplit: false };
  return { solving: those(false), judging: those(true), isSplit: true };
}
