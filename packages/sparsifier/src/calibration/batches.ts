import { SparsifyError } from '../errors.js';
import { typeOf } from '../model/model.js';
import type { Check } from '../options/check.js';
import { handled, readable } from '../options/listener.js';

/** Batches, one after the other. */
export type Batches<Batch> = Iterable<Batch> | AsyncIterable<Batch>;

/** A function that returns batches; `usage` for anything else, also where it is missing. */
export const givesBatches: Check<() => Batches<never>> = (value) => {
  if (typeof value === 'function') return value as () => Batches<never>;
  throw new SparsifyError('usage', '`batches` is a function that returns the batches, each time it is called', {
    found: typeOf(value),
    hint: 'Such as `batches: () => list`',
  });
};

export const noBatches = (): SparsifyError =>
  new SparsifyError('criteria', 'there is no batch', { hint: 'Pass some typical inputs of the model' });

/**
 * The batches of one pass.
 * @throws SparsifyError `usage` if what the function returns is no list and no generator
 */
export function batchesOf<Batch>(batches: () => Batches<Batch>): Batches<Batch> {
  const given = readable('`batches`', batches()) as Partial<Iterable<Batch> & AsyncIterable<Batch>> | undefined;
  if (typeof (given?.[Symbol.asyncIterator] ?? given?.[Symbol.iterator]) === 'function') return given as Batches<Batch>;
  handled(given);
  throw new SparsifyError('usage', '`batches` returns a list or a generator, and no promise of one', {
    found: given instanceof Promise ? 'a promise' : typeof given,
    hint: 'Such as `batches: () => list`, or `async function* () { ... }`',
  });
}
