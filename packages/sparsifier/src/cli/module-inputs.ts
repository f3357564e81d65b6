import * as host from '#host';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { arrayOf, type InputMetadata, type NumberType, type SessionTensor } from '../analysis/comparison/inputs.js';
import { SparsifyError } from '../errors.js';
import { usualReading } from '../host/reading.js';
import { isObject } from '../model/json.js';
import { typeOf } from '../model/model.js';
import { productOf } from '../model/numbers.js';
import { failure } from './failure.js';

/** Batches, each of which has its inputs by name. */
type Batches = Iterable<unknown> | AsyncIterable<unknown>;

const howToExport = 'Such as export default [{ x: { data: new Float32Array(6), dims: [2, 3] } }]';

/**
 * Loads a JavaScript module whose default export is an iterable or async iterable of batches, or a function that gives
 * one.
 * @returns a function that gives the batches from the first one on, whenever it is called
 * @throws SparsifyError `file` if there is no such file, `format` if the module cannot be loaded, `usage` if its default
 *   export gives no batches; while batches are read, `format` for what the module throws
 */
export async function readModule(path: string): Promise<() => AsyncIterable<unknown>> {
  const { default: exported } = await loadModule(path);
  if (typeof exported !== 'function') checkReadable(path, exported);
  let size: number | undefined;
  return async function* () {
    const given = typeof exported === 'function' ? await attempt(path, 'run', async () => exported()) : exported;
    checkIterable(path, given);
    let count = 0;
    try {
      for await (const batch of given) {
        count++;
        yield batch;
      }
    } catch (cause) {
      throw failure(path, 'the module could not be run', cause);
    }
    size ??= count;
    if (count === size) return;
    throw new SparsifyError('usage', 'the module must give the same batches each time it is called', {
      subject: path,
      given: `${size} batches at first`,
      found: `${count} later`,
    });
  };
}

/**
 * Loads a JavaScript module of the user.
 * @throws SparsifyError `file` if there is no such file, `format` if it cannot be loaded
 */
export async function loadModule(path: string): Promise<Readonly<Record<string, unknown>>> {
  // A missing file is told as that of any other kind.
  await (await host.open(path, usualReading)).close();
  return attempt(
    path,
    'loaded',
    async () => (await import(pathToFileURL(resolve(path)).href)) as Readonly<Record<string, unknown>>,
  );
}

/** @throws SparsifyError `usage` for what is no iterable, or can be read only once */
function checkReadable(path: string, exported: unknown): void {
  checkIterable(path, exported);
  const iterator = Symbol.asyncIterator in exported ? exported[Symbol.asyncIterator]() : exported[Symbol.iterator]();
  if (iterator !== (exported as unknown)) return;
  throw new SparsifyError('usage', 'the default export can be read only once, but inputs are read several times', {
    subject: path,
    hint: 'Export the generator function itself',
  });
}

function checkIterable(path: string, given: unknown): asserts given is Batches {
  if (isObject(given) || Array.isArray(given)) {
    if (Symbol.asyncIterator in given || Symbol.iterator in given) return;
  }
  throw new SparsifyError('usage', 'the default export of the module must give a list of batches', {
    subject: path,
    found: given === undefined ? 'nothing' : typeOf(given),
    hint: howToExport,
  });
}

async function attempt<Result>(path: string, what: string, work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (cause) {
    throw failure(path, `the module could not be ${what}`, cause);
  }
}

/** The inputs of a batch, whose names are those of a model, or other ones. */
export function inputsOf(batch: unknown, path: string): Readonly<Record<string, unknown>> {
  if (isObject(batch)) return batch;
  throw new SparsifyError('usage', 'a batch must have its inputs by name', {
    subject: path,
    found: typeOf(batch),
    hint: howToExport,
  });
}

/**
 * An input that a module gives, whose type is that of its array.
 * @throws SparsifyError `usage` unless it has `data`, which is a typed array or a list of texts, and `dims` that fit
 */
export function tensorOf(given: unknown, { name: subject, type: wanted }: InputMetadata): SessionTensor {
  const { data, dims } = (isObject(given) ? given : {}) as { readonly data?: unknown; readonly dims?: unknown };
  const isShape = Array.isArray(dims) && dims.every((size) => Number.isSafeInteger(size) && (size as number) >= 0);
  if (data === undefined || !isShape) {
    throw new SparsifyError('usage', 'an input must have data and dims, the sizes of its axes', {
      subject,
      found: isObject(given) ? Object.keys(given).join(', ') || 'neither' : typeOf(given),
      hint: howToExport,
    });
  }
  const type = typeOfArray(data, wanted);
  if (type === undefined) {
    throw new SparsifyError('usage', 'the numbers of an input must be in a typed array', {
      subject,
      found: typeOf(data),
      allowed: [...new Set(Object.values(arrayOf))].map((array) => array.name),
    });
  }
  const { length } = data as ArrayLike<unknown>;
  if (length !== productOf(dims as number[])) {
    throw new SparsifyError('usage', 'data and dims do not fit', {
      subject,
      given: `dims [${dims.join(', ')}]`,
      found: `data of length ${length}`,
    });
  }
  return { type, dims: dims as number[], data, location: 'cpu' };
}

/** The type of the numbers in an array; of several that it may have, that of the model. */
function typeOfArray(data: unknown, wanted = ''): string | undefined {
  if (Array.isArray(data)) return data.every((text) => typeof text === 'string') ? 'string' : undefined;
  // Bytes are also those of booleans, and 16 bits those of half precision.
  const types = [wanted, 'uint8', 'uint16', ...Object.keys(arrayOf)] as NumberType[];
  return types.find((type) => Object.hasOwn(arrayOf, type) && data instanceof arrayOf[type]);
}
