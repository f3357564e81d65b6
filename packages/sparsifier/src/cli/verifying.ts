import { textOf } from '../printable.js';
import type { Comparison } from '../analysis/comparison/compare.js';
import { SparsifyError } from '../errors.js';
import type { ReadModelOptions } from '../formats/all.js';
import { unchanged } from '../formats/open-model.js';
import type { InputOptions } from './inputs.js';
import { checkOutputs, pathsOf } from './outputs.js';

/** The options of commands that compare what they write with what they read. */
export interface VerifyOptions extends InputOptions {
  readonly verify?: boolean;
}

/** @throws SparsifyError `usage` for inputs without a comparison, and for a comparison without an output */
export function checkVerifying({ verify = false, input, inputs }: VerifyOptions, isWritten = true): void {
  const given = [...(verify ? ['--verify'] : []), ...(input ? ['--input'] : []), ...(inputs ? ['--inputs'] : [])];
  if (given.length === 0 || (isWritten && verify)) return;
  throw new SparsifyError('usage', `${given[0]} is for comparing the new model with the input`, {
    hint: isWritten ? 'Add --verify' : '--explain writes no model',
  });
}

/** What a command did, and how the model that it wrote differs from the one that it read. */
interface Verified<Done> {
  readonly done: Done;
  readonly found: Comparison;
  /** Why a model could not be run. Then only the weights are compared. */
  readonly failure?: SparsifyError;
  /** The comparison as text. */
  readonly text: string;
}

/**
 * Runs a command between running the model that it reads and the one that it writes.
 * @param file the model that it reads
 * @param out the path that it writes to
 * @param work the command
 */
export async function verified<Done>(
  file: string,
  out: string,
  {
    reading,
    given,
    force,
  }: { readonly reading: ReadModelOptions; readonly given: InputOptions; readonly force: boolean | undefined },
  work: () => Promise<Done>,
): Promise<Verified<Done>> {
  const { compareFiles, inWords } = await import('./compare.js');
  let done: { readonly of: Done } | undefined;
  const compared = await compareFiles(
    file,
    async (model) => {
      const outputs = pathsOf(await model.outputs(out, unchanged(model)));
      await checkOutputs(model, outputs, { force, read: [given.inputs] });
      done = { of: await work() };
      return outputs[0]!;
    },
    reading,
    given,
  );
  const text = textOf(['', `compared: a is ${file}, b is ${out}`, ...inWords(compared.found)]);
  return { done: done!.of, ...compared, text };
}
