// Whatever a caller gives to a function of the package, it works or is refused with an error of the package, ends, and
// leaves everything as usable as before.
import { rm } from 'node:fs/promises';
import fc from 'fast-check';
import { SparsifyError } from 'sparsifier';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { entryPoints } from '../../scripts/entry-points.mjs';
import { doorsOf, type Door } from '../support/doors.js';
import { makeObjects, type Objects } from '../support/objects.js';
import { odd, own, wrapped } from '../support/odd-values.js';

const unhandled: unknown[] = [];
const note = (error: unknown) => void unhandled.push(error);

const objects: Objects = await makeObjects();
const doors = doorsOf(objects);
const names = Object.keys(doors);

beforeAll(() => void process.on('unhandledRejection', note).on('uncaughtException', note));
afterAll(async () => {
  process.off('unhandledRejection', note).off('uncaughtException', note);
  await objects.close();
  // A text may also be a path to write to.
  await rm('__proto__', { force: true });
});
afterEach(async () => {
  // Promises that nobody handles are reported before the next timer.
  await new Promise((resolve) => setTimeout(resolve));
  if (unhandled.length > 0) throw new AggregateError(unhandled.splice(0), 'nobody handles these errors');
});

/** Whether it is an error of the package, the caller's own, or one of a runtime or a function that the caller passes. */
const isExpected = (error: unknown): boolean =>
  error instanceof SparsifyError ||
  error === own ||
  /@tensorflow|onnxruntime|odd-values/.test(placeOf(error)) ||
  // Functions of the caller that nobody can call, and lists that nobody can iterate.
  /^TypeError: (Class constructor|Cannot perform ('apply'|%TypedArray%.prototype.values) on)/.test(String(error));

/** The module in which an error was made. */
const placeOf = (error: unknown): string =>
  /^ {4}at .*\/.*$/m.exec(error instanceof Error ? (error.stack ?? '') : '')?.[0] ?? String(error);

/** Frees what a call returned. */
function discard(result: unknown): void {
  const { close, clear, free, model } = (result ?? {}) as Readonly<Record<string, unknown>>;
  if (typeof free === 'function') free.call(result);
  else if (typeof close === 'function' && result !== objects.read) close.call(result);
  else if (typeof clear === 'function') clear.call(result);
  else if (typeof result === 'object' && model !== result) if (model) discard(model);
}

/** Calls a function, and returns what it failed with, if that is neither an error of the package nor the caller's. */
async function failureOf({ call }: Door, args: readonly unknown[]): Promise<unknown> {
  try {
    discard(await call(...(args as never[])));
    return undefined;
  } catch (error) {
    return isExpected(error) ? undefined : error;
  }
}

interface Place {
  readonly at: number;
  /** That of an option; undefined for the whole argument. */
  readonly name: string | undefined;
}

const placesOf = ({ args, options }: Door): Place[] => [
  ...args().map((_, at) => ({ at, name: undefined })),
  ...(options?.names ?? []).map((name) => ({ at: options!.at, name })),
];

function replaced({ args }: Door, { at, name }: Place, value: unknown): unknown[] {
  const given = [...args()];
  given[at] = name === undefined ? value : { ...(given[at] as object), [name]: value };
  return given;
}

/** Whether it may be a function, which returns something. */
const isCalled = ({ name }: Place): boolean => name === undefined || functions.includes(name);
const functions = [
  ...['criteria', 'schedule', 'evaluate', 'onProgress'],
  ...['batches', 'createSession', 'external', 'shards'],
];

const inWords = (place: Place, value: string, how: string) =>
  `argument ${place.at}${place.name === undefined ? '' : `, ${place.name}`}: ${value} ${how}`;

test('Each function, class and method that the package exports is called here', async () => {
  const found: string[] = [];
  for (const entry of entryPoints) {
    const path = ['onnx', 'safetensors', 'tfjs', 'arrays'].includes(entry) ? `formats/${entry}` : entry;
    const module = (await import(entry === 'index' ? 'sparsifier' : `sparsifier/${path}`)) as Record<string, unknown>;
    for (const [name, value] of Object.entries(module)) {
      const members = typeof value === 'object' ? Object.entries(value as object) : [];
      const makers = members.filter(([, member]) => typeof member === 'function').map(([key]) => `${name}.${key}`);
      found.push(...[...(typeof value === 'function' ? [name] : []), ...makers].map((each) => `${path}.${each}`));
    }
  }
  // Errors are made by the package, and take what it gives them.
  expect(found.filter((name) => !(name in doors))).toEqual(['index.SparsifyError']);

  const { read, statistics, pruned, report, repaired, quantized, dequantized, comparison, analysed } = objects;
  const { engine, block, array, liveModel, callback, removalPlan, removed } = objects;
  const made = {
    ...{ Sparsifier: pruned, Report: report, RepairReport: repaired, Statistics: statistics, Engine: engine },
    ...{ QuantizeReport: quantized.report, DequantizeReport: dequantized.report, Comparison: comparison },
    ...{ RemovalPlan: removalPlan, RemovalReport: removed.report },
    ...{ Sensitivity: analysed, FileModel: read, Block: block, LiveModel: liveModel },
    ...{ 'Model of fromArrays': array, SparsifyCallback: callback },
  };
  // What `model.fit` calls, and what the package uses of its own objects.
  const inner = ['setModel', 'setParams', 'onTrainBegin', 'onBatchBegin', 'onBatchEnd', 'onEpochEnd', 'onTrainEnd'];
  const unlisted = ['constructor', 'calls', 'chunks', 'sizeOf', 'meaning', ...inner];
  const methods = Object.entries(made).flatMap(([type, object]) => {
    const levels = [object, Object.getPrototypeOf(object) as object];
    const keys = levels.flatMap((level) => (level === Object.prototype ? [] : Object.getOwnPropertyNames(level)));
    const isMethod = (key: string) => typeof Reflect.get(object, key) === 'function';
    return [...new Set(keys)].filter((key) => isMethod(key) && !unlisted.includes(key)).map((key) => `${type}.${key}`);
  });
  expect(methods.filter((name) => !(name in doors))).toEqual([]);
});

describe.each(names)('%s', (name) => {
  const door = doors[name]!;
  const places = placesOf(door);

  test('It takes its arguments', async () => {
    discard(await door.call(...(door.args() as never[])));
  });

  if (places.length === 0) return;

  test('Odd values in the place of an argument or an option are taken or refused', async () => {
    const failures: string[] = [];
    for (const place of places) {
      for (const [what, make] of Object.entries(odd)) {
        for (const how of isCalled(place) ? ['itself', 'from a function'] : ['itself']) {
          const error = await failureOf(door, replaced(door, place, wrapped[how]!(make())));
          if (error !== undefined) failures.push(`${inWords(place, what, how)}: ${String(error)}${placeOf(error)}`);
        }
      }
    }
    expect(failures).toEqual([]);
  });

  const hasListener = door.options?.names.includes('onProgress');
  test.each(hasListener ? ['a function that throws', 'a function that rejects'] : [])(
    'A listener that is %s ends the call with its error, and the next call works',
    async (what) => {
      const place = { at: door.options!.at, name: 'onProgress' };
      await expect(door.call(...(replaced(door, place, odd[what]!()) as never[]))).rejects.toBe(own);
      let count = 0;
      const listener = () => void count++;
      discard(await door.call(...(replaced(door, place, listener) as never[])));
      expect(count).toBeGreaterThan(0);
    },
  );

  test('Odd values inside of others are, too', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...places),
        fc.constantFrom(...Object.keys(odd)),
        fc.constantFrom(...Object.keys(wrapped)),
        fc.constantFrom(...Object.keys(wrapped)),
        async (place, what, how, around) => {
          const error = await failureOf(door, replaced(door, place, wrapped[around]!(wrapped[how]!(odd[what]!()))));
          if (error !== undefined) throw error;
        },
      ),
      { numRuns: 200 },
    );
  });
});
