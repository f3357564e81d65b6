import { SparsifyError } from '../errors.js';
import type { Evaluate } from '../fit/options.js';
import { typeOf } from '../model/model.js';
import { failure } from './failure.js';
import { loadModule } from './module-inputs.js';

/** How a module judges models. */
export interface Evaluating {
  readonly evaluate: Evaluate;
  readonly higherIsBetter: boolean;
}

/**
 * Loads a JavaScript module whose default export judges the files of a model: `async (files, { signal, part }) => number`.
 * Larger is better, unless the module exports `higherIsBetter = false`.
 * @throws SparsifyError as `loadModule` does, `usage` for other exports; while models are judged, `format` for what the
 *   function throws
 */
export async function readEvaluate(path: string): Promise<Evaluating> {
  const { default: evaluate, higherIsBetter = true } = await loadModule(path);
  if (typeof evaluate !== 'function') {
    throw new SparsifyError('usage', 'the default export of the module must be a function that judges a model', {
      subject: path,
      found: evaluate === undefined ? 'nothing' : typeOf(evaluate),
      hint: 'Such as export default async (files) => accuracyOf(files)',
    });
  }
  if (typeof higherIsBetter !== 'boolean') {
    throw new SparsifyError('usage', 'higherIsBetter must be true or false', {
      subject: path,
      given: higherIsBetter,
    });
  }
  return {
    higherIsBetter,
    evaluate: async (...given) => {
      try {
        return (await evaluate(...given)) as number;
      } catch (cause) {
        throw failure(path, 'the module could not be run', cause);
      }
    },
  };
}
