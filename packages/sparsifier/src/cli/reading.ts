import type { ReadModelOptions } from '../formats/all.js';
import { parseLayers } from './parse.js';

/** What is said of files that are read. */
export interface ReadingOptions {
  readonly layer?: string[] | undefined;
  readonly keepScale?: boolean | undefined;
}

/** The same for the library. */
export const readingOptions = ({ layer, keepScale }: ReadingOptions): ReadModelOptions => ({
  ...(layer ? { layers: parseLayers(layer) } : {}),
  ...(keepScale ? { keepScale } : {}),
});
