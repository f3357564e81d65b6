import { SparsifyError } from '../errors.js';
import { typeOf } from '../model/model.js';

/** Batches, one after the other. */
export type Batches<Batch> = Iterable<Batch> | AsyncIterable<Batch>;

export const noBatches = (): SparsifyError =>
  new SparsifyError('criteria', 'there is no batch', { hint: 'Pass some typical inputs of the model' });

/** @throws SparsifyError `usage` for anything but a function */
export function checkBatches(batches: unknown): void {
  if (typeof batches === 'function') return;
  throw new SparsifyError('usage', '`batches` is a function that returns the batches, each time it is called', {
    found: typeOf(batches),
    hint: 'Such as `batches: () => list`',
  });
}

/**
 * The batches of one pass.
 * @throws SparsifyError `usage` if what the function returns is no list and no generator
 */
export function batchesOf<Batch>(batches: () => Batches<Batch>): Batches<Batch> {
  const given = batches() as Partial<Iterable<Batch> & AsyncIterable<Batch>> | undefined;
  if (typeof (given?.[Symbol.asyncIterator] ?? given?.[Symbol.iterator]) === 'function') return given as Batches<Batch>;
  throw new SparsifyError('usage', '`batches` returns a list or a generator, and no promise of one', {
    found: given instanceof Promise ? 'a promise' : typeof given,
    hint: 'Such as `batches: () => list`, or `async function* () { ... }`',
  });
}
