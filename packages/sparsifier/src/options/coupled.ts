import { SparsifyError } from '../errors.js';
import { isObject } from '../model/json.js';
import { isListOf, optionsOf, type Check, type Shape } from './check.js';

/** The shapes of inputs by their names. */
export type InputShapes = Readonly<Record<string, readonly number[]>>;

/** How the channels of a network are followed. */
export interface CoupledOptions {
  /** The shapes of inputs with axes of any size, by name: `{ x: [1, 3, 48, 320] }`. More channels may be coupled then. */
  readonly inputShapes?: InputShapes | undefined;
  /** Names and globs of layers, tensors or values whose channels stay. */
  readonly protect?: string | readonly string[] | undefined;
}

/** Lists of sizes of at least 1, by name. */
export const inputShapesOf: Check<InputShapes> = (value) => {
  const entries: [string, unknown][] = isObject(value) ? Object.entries(value) : [['inputShapes', value]];
  const wrong = entries.find(
    ([, sizes]) => !isListOf(sizes, (size) => Number.isSafeInteger(size) && (size as number) > 0),
  );
  if (wrong === undefined) return { ...(value as InputShapes) };
  throw new SparsifyError('usage', '`inputShapes` are lists of sizes by the names of inputs', {
    subject: wrong[0],
    given: wrong[1],
    hint: 'Give each input a list of sizes of at least 1',
  });
};

/** A name or a glob, or a list of them; as a list. */
export const somePatterns: Check<readonly string[]> = (value) => {
  const isText = (item: unknown) => typeof item === 'string';
  if (isText(value)) return [value as string];
  if (isListOf(value, isText)) return [...(value as readonly string[])];
  throw new SparsifyError('usage', '`protect` is a name or a glob, or a list of them', { given: value });
};

const coupledShape: Shape<CoupledOptions> = { inputShapes: inputShapesOf, protect: somePatterns };

/** True, false or options. @throws SparsifyError `usage` */
export const someCoupled: Check<boolean | CoupledOptions> = (value) => {
  if (typeof value === 'boolean') return value;
  if (isObject(value)) return optionsOf(value as CoupledOptions, coupledShape);
  throw new SparsifyError('usage', '`coupled` is true or false, or options of how channels are followed', {
    given: value,
    allowed: ['true', 'false', '{ inputShapes, protect }'],
  });
};
