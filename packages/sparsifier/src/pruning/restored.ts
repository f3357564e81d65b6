import type { Engine } from '../engine/engine.js';
import { widenedInSlices, zerosIn } from '../model/numbers.js';
import type { DenseNumbers } from '../repair/dense.js';
import type { Counts, Plan } from './job.js';

/** Gives the layers of a plan back all numbers that they had. */
export async function restoreDense(
  engine: Engine,
  { jobs, signal, listener }: Plan,
  dense: DenseNumbers,
): Promise<Counts[]> {
  const tensors = jobs.map(({ tensor }) => tensor);
  const total = tensors.reduce((sum, { values }) => sum + values.length, 0);
  // Nothing that needs memory may come after the change.
  const zeros: number[] = [];
  for (const { values } of tensors)
    zeros.push(await zerosIn(await widenedInSlices(await dense.bytes(values), values.dtype)));
  await dense.restore(engine, tensors, signal);
  listener.tell({ stage: 'store', done: total, total }, true);
  return zeros.map((count) => ({ zeros: count, removedUnits: 0, removedWeights: 0 }));
}
