import type { Kind } from '../model/model.js';
import { counted, formatted, listed, percent } from './text.js';

/** Something that a call did beyond the request, did not do, or that is likely to break the model. */
export type Warning = {
  readonly [Code in WarningCode]: {
    readonly code: Code;
    /** The layer that it is about, where it is about one. */
    readonly layer?: string;
    /** The facts, for programs. */
    readonly details: WarningDetails[Code];
    /** The facts as a sentence, with the options of the library. */
    readonly message: string;
  };
}[WarningCode];

export type WarningCode = keyof WarningDetails;

/** The facts of each kind of warning. */
export interface WarningDetails {
  /** Layers of other kinds than those of `layerType`, which the call left as they are. */
  'layers-left-alone': {
    readonly layers: readonly string[];
    readonly kinds: readonly Kind[];
    /** How many weights they have, and how many percent of the model's weights that is. */
    readonly weights: number;
    readonly percent: number;
  };
}

/** What a warning says, before it is a sentence. */
export type Finding = {
  readonly [Code in WarningCode]: Pick<Extract<Warning, { readonly code: Code }>, 'code' | 'layer' | 'details'>;
}[WarningCode];

/** How a front end writes an option, by its name in the library. Without a value: the option as such. */
export type Words = (option: string, value?: string | number | boolean) => string;

/** `layerType: 'all'` */
export const libraryWords: Words = (option, value) =>
  value === undefined ? option : `${option}: ${typeof value === 'string' ? `'${value}'` : value}`;

/** A finding as a sentence. */
export const sentenceOf = ({ code, details }: Finding, words: Words): string => sentences[code](details, words);

export const warningOf = (finding: Finding): Warning => ({ ...finding, message: sentenceOf(finding, libraryWords) });

const sentences: { readonly [Code in WarningCode]: (details: WarningDetails[Code], words: Words) => string } = {
  'layers-left-alone': ({ layers, kinds, weights, percent: share }, words) =>
    `${counted(layers.length, 'layer')} of other kinds (${kinds.join(', ')}) ${layers.length === 1 ? 'was' : 'were'} ` +
    `left alone, with ${percent(share)} of the weights (${formatted(weights)}): ${listed(layers)}; ` +
    `${words('layerType', 'all')} takes all kinds`,
};
