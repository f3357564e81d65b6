import {
  checkInputs,
  seededInputs,
  type InputHints,
  type InputMetadata,
  type Inputs,
  type SessionTensor,
} from '../analysis/comparison/inputs.js';
import type { ChooseInputs } from '../analysis/comparison/outputs.js';
import { SparsifyError } from '../errors.js';
import { inputsOf, readModule, tensorOf } from './module-inputs.js';
import { nameless, readTensors, type LazyTensors } from './tensor-files.js';

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
  const batches = await readBatches(inputs);
  return async (metadata) => {
    const all: Inputs[] = [];
    for await (const batch of batches(metadata)) all.push(batch);
    return all;
  };
}

/** Gives batches of the inputs that a model has, from the first one on whenever it is called. */
export type Batches = (metadata: readonly InputMetadata[]) => AsyncIterable<Inputs>;

/**
 * The batches in a file of arrays, or those that a JavaScript module gives. The file or module is loaded at once.
 * @throws SparsifyError as {@link readTensors} and {@link readModule} do; and while batches are read, `usage` if there is
 *   none, and for inputs that do not fit the model
 */
export async function readBatches(path: string): Promise<Batches> {
  const batchesFor = /\.[cm]?js$/i.test(path)
    ? batchesOf(path, await readModule(path))
    : batchesIn(path, await readTensors(path));
  return async function* (metadata) {
    let isEmpty = true;
    for await (const batch of batchesFor(metadata)) {
      checkInputs(metadata, batch);
      isEmpty = false;
      yield batch;
    }
    if (isEmpty) throw new SparsifyError('usage', 'there is no batch of inputs', { subject: path });
  };
}

/** The batches of a module. */
const batchesOf = (path: string, read: () => AsyncIterable<unknown>): Batches =>
  async function* (metadata) {
    for await (const batch of read()) {
      const given = inputsOf(batch, path);
      const known = metadata.filter(({ name }) => Object.hasOwn(given, name));
      if (known.length === 0) throw noInput(path, Object.keys(given), metadata);
      yield Object.fromEntries(known.map((input) => [input.name, tensorOf(given[input.name], input)]));
    }
  };

/** The arrays of a file as one batch, or as several if their names are those of inputs behind numbers: `0.x`, `1.x`. */
const batchesIn = (path: string, tensors: LazyTensors): Batches =>
  async function* (metadata) {
    const inputs = new Set(metadata.map(({ name }) => name));
    const batches = new Map<number, Record<string, () => SessionTensor>>();
    for (const [name, tensor] of tensors) {
      const [, number, rest = ''] = /^(\d+)\.(.+)$/.exec(name) ?? [];
      const [key, own] =
        number === undefined || inputs.has(name) ? [-1, named(name, path, metadata)] : [Number(number), rest];
      // What is not an input, such as labels, may be in the file, too.
      if (inputs.has(own)) batches.set(key, { ...batches.get(key), [own]: tensor });
    }
    if (batches.size === 0) throw noInput(path, [...tensors.keys()], metadata);
    for (const [, batch] of [...batches].sort(([a], [b]) => a - b)) {
      yield Object.fromEntries(Object.entries(batch).map(([name, tensor]) => [name, tensor()]));
    }
  };

/** The name of an array, which in an .npy file is that of the only input. */
function named(name: string, subject: string, metadata: readonly InputMetadata[]): string {
  if (name !== nameless) return name;
  if (metadata.length === 1) return metadata[0]!.name;
  throw new SparsifyError('usage', 'an .npy file has one array, without a name, and the model has several inputs', {
    subject,
    found: metadata.map(({ name }) => name).join(', '),
    hint: 'Save them by their names with numpy.savez',
  });
}

const noInput = (subject: string, names: readonly string[], metadata: readonly InputMetadata[]): SparsifyError =>
  new SparsifyError('usage', 'the file has none of the inputs', {
    subject,
    found: names.join(', ') || 'no array',
    allowed: metadata.map(({ name }) => name),
  });

/** How the channels of a network are followed, with the shapes of inputs that were given. */
export const coupledOf = (coupled: boolean | undefined, input: readonly string[] | undefined) =>
  coupled && input !== undefined ? { inputShapes: parseShapes(input) } : coupled;

/** `x:1,3,48,320`, any number of times, split at the last `:`. */
export function parseShapes(texts: readonly string[]): Record<string, number[]> {
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
