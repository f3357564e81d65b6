import type { ReadModelOptions } from '../formats/all.js';
import { parseLayers } from './parse.js';

/** The options of the command line for reading a model. */
export interface ReadingOptions {
  readonly layer?: string[] | undefined;
  readonly keepScale?: boolean | undefined;
}

/** The same options as the library takes them. */
export const readingOptions = ({ layer, keepScale }: ReadingOptions): ReadModelOptions => ({
  ...(layer ? { layers: parseLayers(layer) } : {}),
  ...(keepScale ? { keepScale } : {}),
});
