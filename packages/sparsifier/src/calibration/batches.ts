import { SparsifyError } from '../errors.js';

/** Batches, one after the other. */
export type Batches<Batch> = Iterable<Batch> | AsyncIterable<Batch>;

export const noBatches = (): SparsifyError =>
  new SparsifyError('criteria', 'there is no batch', { hint: 'Pass some typical inputs of the model' });
