import {
  checkInputs,
  seededInputs,
  type InputHints,
  type Inputs,
  type SessionTensor,
} from '../analysis/comparison/inputs.js';
import type { ChooseInputs } from '../analysis/comparison/outputs.js';
import { SparsifyError } from '../errors.js';
import { readTensors, type LazyTensors } from './tensor-files.js';

/** The options of the command line for the inputs of models. */
export interface InputOptions {
  readonly input?: string[] | undefined;
  readonly inputs?: string | undefined;
}

const hints: InputHints = {
  shapes: (all) => {
    const options = all.map(([name, sizes]) => `--input ${name}:${sizes.join()}`);
    return `Add ${options.join(' ')} with numbers for N`;
  },
  inputs: 'Give the inputs: --inputs file.npz',
};

/** The inputs that the options describe. Files are read at once. */
export async function chooseInputs({ input, inputs }: InputOptions): Promise<ChooseInputs> {
  if (inputs === undefined) {
    const shapes = parseShapes(input ?? []);
    return (metadata) => [seededInputs(metadata, shapes, hints)];
  }
  if (input !== undefined) {
    throw new SparsifyError('usage', '--input is for random values, and --inputs for those of a file', {
      hint: 'Give one of them',
    });
  }
  const tensors = await readTensors(inputs);
  return (metadata) => {
    const names = metadata.map(({ name }) => name);
    const samples = samplesIn(tensors, new Set(names));
    if (samples.length === 0) {
      throw new SparsifyError('usage', 'the file has none of the inputs', {
        subject: inputs,
        found: [...tensors.keys()].join(', ') || 'no array',
        allowed: names,
      });
    }
    for (const sample of samples) checkInputs(metadata, sample);
    return samples;
  };
}

/** `x:1,3,48,320`, any number of times, split at the last `:`. */
function parseShapes(texts: readonly string[]): Record<string, number[]> {
  return Object.fromEntries(
    texts.map((text) => {
      const [, name, sizes] = /^(.+):(\d+(?:,\d+)*)?$/.exec(text) ?? [];
      if (name !== undefined) return [name, sizes === undefined ? [] : sizes.split(',').map(Number)];
      throw new SparsifyError('usage', 'the shape of an input is written name:1,3,48,320', {
        given: text || 'nothing',
      });
    }),
  );
}

/** The inputs as one sample, or as several if their names are those of inputs behind numbers: `0.x`, `1.x`. */
function samplesIn(tensors: LazyTensors, inputs: ReadonlySet<string>): Inputs[] {
  const samples = new Map<string, Record<string, SessionTensor>>();
  for (const [name, tensor] of tensors) {
    const [, number = '', rest = ''] = /^(\d+)\.(.+)$/.exec(name) ?? [];
    const [key, own] = inputs.has(name) ? ['', name] : [number, rest];
    // What is not an input, such as labels, may be in the file, too.
    if (inputs.has(own)) samples.set(key, { ...samples.get(key), [own]: tensor() });
  }
  return [...samples.values()];
}
