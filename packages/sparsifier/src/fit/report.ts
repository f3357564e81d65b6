import type { ByteCounts } from '../formats/sizes.js';
import type { JudgedBy } from './judge.js';
import type { FitForm, FitSetting } from './make.js';
import type { FitRecipe } from './recipe.js';
import type { FittedLayer } from './steps.js';
import type { Encoding } from './target.js';

/** A model that was made, or whose size was estimated. */
export interface FitPoint extends FitSetting {
  /** All files together in the encoding of the call. */
  readonly bytes: number;
  /** Whether the bytes are an estimate; nothing was repaired and judged then. */
  readonly isEstimate: boolean;
  /** What it was judged to be in the search; undefined if it was not judged. */
  readonly outcome: number | undefined;
  /** How much worse that is than the original model; below 0 if it is better. */
  readonly drop: number | undefined;
}

/** What a model was judged to be before and after. */
export interface FitOutcome {
  readonly dense: number;
  readonly fitted: number;
  /** How much worse it is now; below 0 if it is better. */
  readonly drop: number;
}

/** What {@link fit} found. */
export interface FitReport {
  /** In bytes. */
  readonly target: number | undefined;
  readonly encoding: Encoding;
  readonly maxDrop: number | undefined;
  readonly sizes: { readonly before: ByteCounts; readonly after: ByteCounts };
  /** The setting of the result. */
  readonly chosen: FitSetting;
  /** In model order. */
  readonly layers: readonly FittedLayer[];
  /**
   * What the search saw. For `evaluate` its numbers; otherwise relative errors, which are 0 for the original model.
   */
  readonly outcome: FitOutcome & {
    readonly by: JudgedBy;
    readonly higherIsBetter: boolean;
    /** A sentence that says what such an outcome is worth. */
    readonly meaning: string;
  };
  /** What `evaluate` returned at the end, for the part `final`. */
  readonly final: FitOutcome | undefined;
  /** Everything that was sized or judged, by form and amount. */
  readonly curve: readonly FitPoint[];
  /** Forms that were not tried, and why. */
  readonly skippedForms: readonly { readonly form: FitForm; readonly reason: string }[];
  /** What was done, so that `repeat` can do it again. */
  readonly recipe: FitRecipe;
  readonly notes: readonly string[];
  /** What is likely to break the model. */
  readonly warnings: readonly string[];
  /** The report as text. */
  table(): string;
  /** The same as {@link table}. */
  toString(): string;
}

/** What {@link repeat} did. */
export interface RepeatReport {
  /** What was repeated. */
  readonly recipe: FitRecipe;
  /** All files together. */
  readonly bytes: { readonly before: number; readonly after: number };
  /** In model order. */
  readonly layers: readonly FittedLayer[];
  /** Whether the files are those that the recipe was made with, as far as it says which those were. */
  readonly isSame: boolean;
  readonly notes: readonly string[];
  /** What is likely to break the model. */
  readonly warnings: readonly string[];
  /** The report as text. */
  table(): string;
  /** The same as {@link table}. */
  toString(): string;
}
