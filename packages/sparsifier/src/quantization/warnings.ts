import { printable } from '../printable.js';
import type { Form } from '../model/forms.js';
import type { Kind } from '../model/model.js';
import { formatted, listed } from '../pruning/text.js';
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
   * Layers whose weights changed so much that the model may not work: the relative error of the outputs that is expected
   * with statistics, or else that of the weights, is above 0.05 with 8 bits, above 0.25 with 4, or above 0.01 with 16. It is
   * usually below 0.02, 0.15 or 0.001. A few weights of a channel are then much larger than the others, or all are too small
   * for `float16`.
   */
  'high-error': {
    readonly layers: readonly {
      readonly name: string;
      readonly kind: Kind;
      readonly form: Form;
      readonly error: number;
      readonly outputError?: number;
    }[];
  };
  /**
   * Layers of whose output channels some have no weights any more: they were not 0, and all are now. They are much
   * smaller than those of other channels with `uint8` and `uint16`, or too small for `float16`.
   */
  'lost-channels': {
    readonly layers: readonly {
      readonly name: string;
      readonly kind: Kind;
      readonly form: Form;
      readonly lostChannels: number;
      readonly channels: number;
    }[];
  };
}

/** The errors of a layer above which `high-error` warns. Of `uint8` there always is a warning. */
const errorLimits: Readonly<Record<Form, number>> = {
  ...{ int8: 0.05, 'int8-dynamic': 0.05, int4: 0.25, uint8: Infinity },
  ...{ uint16: 0.01, float16: 0.01, bfloat16: 0.01 },
};

/** The error that matters: that of the outputs, if their inputs are known. Inputs need not care about large errors of weights. */
const errorOf = ({ error, outputError = error }: Pick<QuantizedLayer, 'error' | 'outputError'>): number => outputError;

type Finding = {
  readonly [Code in QuantizeWarningCode]: {
    readonly code: Code;
    readonly details: QuantizeWarningDetails[Code];
  };
}[QuantizeWarningCode];

/** What a user should know about quantised layers, the worst first. */
export function warningsOf(layers: readonly QuantizedLayer[]): QuantizeWarning[] {
  const sorted = [...layers].sort((first, second) => errorOf(second) - errorOf(first));
  const withOneScale = [...layers]
    .sort((first, second) => second.error - first.error)
    .filter(({ form }) => form === 'uint8');
  const withHighError = sorted.filter((layer) => errorOf(layer) > errorLimits[layer.form]);
  const withLostChannels = layers
    .filter(({ lostChannels }) => lostChannels > 0)
    .sort((first, second) => second.lostChannels / second.channels - first.lostChannels / first.channels);
  const findings: Finding[] = [
    {
      code: 'lost-channels',
      details: {
        layers: withLostChannels.map(({ name, kind, form, lostChannels, channels }) => ({
          ...{ name, kind, form, lostChannels, channels },
        })),
      },
    },
    {
      code: 'high-error',
      details: {
        layers: withHighError.map(({ name, kind, form, error, outputError }) => ({
          ...{ name, kind, form, error },
          ...(outputError === undefined ? {} : { outputError }),
        })),
      },
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
export function quantizeSentence({ code, details }: Pick<Finding, 'code' | 'details'>, words: Words): string {
  return printable(sentences[code](details as never, words));
}

const sentences: {
  readonly [Code in QuantizeWarningCode]: (details: QuantizeWarningDetails[Code], words: Words) => string;
} = {
  'one-scale': ({ layers }, { option }) => {
    const errors = listed(layers.map(({ name, error }) => `${error.toFixed(3)} in ${name}`));
    return (
      `uint8 has one scale for all channels of a layer, which often costs accuracy: the relative error is ${errors}; ` +
      `measure the accuracy, or use ${option('weights', 'uint16')} or ${option('weights', 'float16')}`
    );
  },
  'high-error': ({ layers }, { option }) => {
    const errors = listed(
      layers.map((layer) => {
        const ofOutputs = layer.outputError === undefined ? '' : ' of the outputs';
        return `${errorOf(layer).toFixed(3)}${ofOutputs} in ${layer.name}`;
      }),
    );
    return (
      `weights changed so much that the model may not work: the relative error is ${errors}; ` +
      `measure the accuracy, or leave layers out with ${option('exclude')}`
    );
  },
  'lost-channels': ({ layers }, { option }) => {
    const lost = layers.map(
      ({ name, form, lostChannels, channels }) =>
        `${formatted(lostChannels)} of ${formatted(channels)} in ${name} (${form})`,
    );
    const hasOneScale = layers.some(({ form }) => form === 'uint8' || form === 'uint16');
    const other = hasOneScale ? `use ${option('weights', 'float16')}, or ` : '';
    return (
      `output channels lost all of their weights, which are too small for the form: ${listed(lost)}; ` +
      `${other}leave layers out with ${option('exclude')}`
    );
  },
};
