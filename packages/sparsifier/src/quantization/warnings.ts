import type { Form } from '../model/forms.js';
import type { Kind } from '../model/model.js';
import { listed } from '../pruning/text.js';
import type { Words } from '../pruning/warnings.js';
import { libraryWords } from '../pruning/warnings.js';
import type { QuantizedLayer } from './report.js';

/** Something that is likely to break a quantised model. */
export type QuantizeWarning = {
  readonly [Code in QuantizeWarningCode]: {
    readonly code: Code;
    /** The layer that it is about; undefined if it is about several. */
    readonly layer?: string;
    /** The facts, for programs. */
    readonly details: QuantizeWarningDetails[Code];
    /** The facts as a sentence, with options of the library in backticks. */
    readonly message: string;
  };
}[QuantizeWarningCode];

export type QuantizeWarningCode = keyof QuantizeWarningDetails;

/** The facts of each kind of warning. Lists of layers begin with the worst. */
export interface QuantizeWarningDetails {
  /** Layers in the form `uint8`, whose channels all have one scale. */
  'one-scale': {
    readonly layers: readonly { readonly name: string; readonly kind: Kind; readonly error: number }[];
  };
  /**
   * Layers whose weights changed so much that the model may not work: the relative error of the weights is above 0.05
   * with 8 bits, or above 0.25 with 4. It is usually below 0.02, or 0.15. A few weights of a channel are then much larger
   * than the others.
   */
  'high-error': {
    readonly layers: readonly {
      readonly name: string;
      readonly kind: Kind;
      readonly form: Form;
      readonly error: number;
    }[];
  };
}

/** The errors of a layer above which `high-error` warns, for the forms that can have such errors. */
const errorLimits: Partial<Readonly<Record<Form, number>>> = { int8: 0.05, 'int8-dynamic': 0.05, int4: 0.25 };

type Finding = {
  readonly [Code in QuantizeWarningCode]: {
    readonly code: Code;
    readonly details: QuantizeWarningDetails[Code];
  };
}[QuantizeWarningCode];

/** What a user should know about quantised layers, the worst first. */
export function warningsOf(layers: readonly QuantizedLayer[]): QuantizeWarning[] {
  const sorted = [...layers].sort((first, second) => second.error - first.error);
  const withOneScale = sorted.filter(({ form }) => form === 'uint8');
  const withHighError = sorted.filter(({ form, error }) => error > (errorLimits[form] ?? Infinity));
  const findings: Finding[] = [
    {
      code: 'high-error',
      details: { layers: withHighError.map(({ name, kind, form, error }) => ({ name, kind, form, error })) },
    },
    { code: 'one-scale', details: { layers: withOneScale.map(({ name, kind, error }) => ({ name, kind, error })) } },
  ];
  return findings
    .filter(({ details }) => details.layers.length > 0)
    .map(
      (finding) =>
        ({
          ...finding,
          ...(finding.details.layers.length === 1 ? { layer: finding.details.layers[0]!.name } : {}),
          message: quantizeSentence(finding, libraryWords),
        }) as QuantizeWarning,
    );
}

/** A warning as a sentence. */
export const quantizeSentence = (
  { code, details: { layers } }: Pick<Finding, 'code' | 'details'>,
  { option }: Words,
): string => {
  const errors = listed(layers.map(({ name, error }) => `${error.toFixed(3)} in ${name}`));
  return code === 'one-scale'
    ? `uint8 has one scale for all channels of a layer, which often costs accuracy: the relative error is ${errors}; ` +
        `measure the accuracy, or use ${option('weights', 'uint16')} or ${option('weights', 'float16')}`
    : `weights changed so much that the model may not work: the relative error is ${errors}; ` +
        `measure the accuracy, or leave layers out with ${option('exclude')}`;
};
