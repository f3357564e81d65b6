import type { Engine } from '../engine/engine.js';
import type { DenseNumbers } from '../repair/dense.js';
import { countZeros } from './inspect.js';
import type { Counts, Plan } from './job.js';

/** Gives the layers of a plan back all numbers that they had. */
export async function restoreDense(
  engine: Engine,
  { model, jobs, signal, onProgress }: Plan,
  dense: DenseNumbers,
): Promise<Counts[]> {
  const tensors = jobs.map(({ tensor }) => tensor);
  const total = tensors.reduce((sum, { values }) => sum + values.length, 0);
  await dense.restore(engine, tensors, signal);
  const zeros = await countZeros(engine, model, tensors);
  onProgress?.({ stage: 'store', done: total, total });
  return zeros.map((count) => ({ zeros: count, removedUnits: 0, removedWeights: 0 }));
}
