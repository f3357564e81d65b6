import { printable } from '../printable.js';
import type { Kind, Leak } from '../model/model.js';
import { counted, formatted, listed, percent, percentOf } from './text.js';

/** Something that a call did beyond the request, did not do, or that is likely to break the model. */
export type Warning = {
  readonly [Code in WarningCode]: {
    readonly code: Code;
    /** The layer that it is about; undefined if it is about several. */
    readonly layer?: string;
    /** The facts, for programs. */
    readonly details: WarningDetails[Code];
    /** The facts as a sentence, with options of the library in backticks. */
    readonly message: string;
  };
}[WarningCode];

export type WarningCode = keyof WarningDetails;

/** The facts of each kind of warning. Lists of layers begin with the worst. */
export interface WarningDetails {
  /**
   * So much was removed that networks rarely work without training afterwards. The errors of the layers (see
   * {@link LayerReport.error}) are combined as the square root of the sum of their squares, since those of layers that
   * follow each other add up. The warning comes above 0.5 for convolutions, above 1.5 for all other layers, or if a
   * single error is above 0.9. Of the networks that were measured without training, those below the limits work, except
   * some that are deep and narrow: measure the accuracy in any case.
   */
  'high-error': {
    readonly layers: readonly { readonly name: string; readonly kind: Kind; readonly error: number }[];
    /** The combined errors. */
    readonly convolutions: number;
    readonly others: number;
  };
  /** Removed output channels that are not zero, because of constants that the network adds afterwards. */
  'channels-not-silent': {
    readonly layers: readonly { readonly name: string; readonly leaks: readonly Leak[] }[];
  };
  /**
   * Depthwise layers that lost other channels than the layer before, so that more channels are lost than each of them
   * was to lose.
   */
  'channels-uncoupled': {
    readonly layers: readonly {
      readonly name: string;
      /** The layer before. */
      readonly from: string;
      /** Output channels of the depthwise layer: all, those that it lost, and those that either layer lost. */
      readonly channels: number;
      readonly removed: number;
      readonly lost: number;
    }[];
  };
  /** Nothing was removed though something was asked for. */
  'nothing-removed': {
    /** Layers, or several that are ranked together, with the number of their units. */
    readonly rankings: readonly { readonly name: string; readonly units: number; readonly because: Reason }[];
    /** Whether these are all that the call was to prune. */
    readonly isEverything: boolean;
  };
  /** All removed weights were zero already: the amount is not larger than that of an earlier call or in the file. */
  'already-zero': {
    readonly rankings: readonly {
      readonly name: string;
      readonly units: number;
      readonly removed: number;
      readonly weights: number;
      /** How many weights are zero, before and after the call. */
      readonly zeros: number;
    }[];
  };
  /** Another number of units was removed than asked. */
  'amount-changed': {
    readonly rankings: readonly {
      readonly name: string;
      readonly units: number;
      /** Units that were to be removed, and those that were. */
      readonly asked: number;
      readonly removed: number;
      readonly because: Reason;
    }[];
  };
  /** Layers of other kinds than those of `layerType`, which a call on the whole model left as they are. */
  'layers-left-alone': {
    readonly layers: readonly string[];
    readonly kinds: readonly Kind[];
    /** How many weights they have, and how many percent of the model's weights that is. */
    readonly weights: number;
    readonly percent: number;
  };
}

/** Why another number of units was removed than asked. */
export type Reason =
  | { readonly name: 'roundTo'; readonly roundTo: number }
  /** These options limit what a layer loses. */
  | { readonly name: 'limits'; readonly options: readonly ('minKeep' | 'maxSparsity')[] }
  /** Without `allowEmpty`, each layer keeps a unit. */
  | { readonly name: 'allowEmpty' }
  /** The amount names so many units, which are more than there are. */
  | { readonly name: 'units'; readonly named: number }
  /** The amount is less than one unit. */
  | { readonly name: 'small' }
  /** The layer has too few input channels for the pattern. */
  | { readonly name: 'pattern' };

/** The combined errors of a call, and the error of one layer, from which `high-error` warns. */
export const errorLimits = { convolutions: 0.5, others: 1.5, layer: 0.9 } as const;

/** What a warning says, before it is a sentence. */
export type Finding = {
  readonly [Code in WarningCode]: Pick<Extract<Warning, { readonly code: Code }>, 'code' | 'layer' | 'details'>;
}[WarningCode];

/** How a front end writes options. */
export interface Words {
  /** An option by its name in the library, alone or with a value. */
  readonly option: (name: string, value?: string | number | boolean) => string;
  /** What leaves depthwise layers out. */
  readonly withoutDepthwise: string;
}

/** Options as code in backticks: `layerType: 'all'`. */
export const libraryWords: Words = {
  option: (name, value) =>
    value === undefined ? `\`${name}\`` : `\`${name}: ${typeof value === 'string' ? `'${value}'` : value}\``,
  withoutDepthwise: '`exclude: { depthwise: true }`',
};

export const warningOf = (finding: Finding): Warning => ({ ...finding, message: sentenceOf(finding, libraryWords) });

/** A finding as a sentence. */
export const sentenceOf = <Code extends WarningCode>(
  { code, details }: { readonly code: Code; readonly details: WarningDetails[Code] },
  words: Words,
): string => printable(sentences[code](details, words));

const sentences: { readonly [Code in WarningCode]: (details: WarningDetails[Code], words: Words) => string } = {
  'high-error': ({ layers, convolutions, others }, { option }) => {
    const errors = listed(layers.map(({ name, error }) => `${error.toFixed(2)} in ${name}`));
    const combined =
      convolutions > errorLimits.convolutions
        ? ` is ${convolutions.toFixed(2)} over all convolutions, with`
        : others > errorLimits.others
          ? ` is ${others.toFixed(2)} over all layers other than convolutions, with`
          : ' is';
    const isOne = layers.length === 1;
    return (
      `so much was removed that networks rarely work without training: the relative error${isOne ? ' is' : combined} ` +
      `${errors}; measure the accuracy, and ${option('repair')} the model, remove less or protect layers with ${option('exclude')}`
    );
  },

  'channels-not-silent': ({ layers }) => {
    const because = layers.map(
      ({ name, leaks }) => `${name} because of ${listed(leaks.map((leak) => `${leak.name} (${leak.reason})`))}`,
    );
    return `removed output channels are not zero: ${listed(because)}`;
  },

  'channels-uncoupled': ({ layers }, { withoutDepthwise }) => {
    const lost = layers.map(
      ({ name, from, channels, removed, lost }) =>
        `${name} after ${from} (${formatted(lost)} of ${counted(channels, 'channel')} instead of ${formatted(removed)})`,
    );
    return (
      `depthwise layers lost other channels than the layers before them, so that more are lost than asked: ` +
      `${listed(lost)}; ${withoutDepthwise} leaves depthwise layers out`
    );
  },

  'nothing-removed': ({ rankings, isEverything }, words) => {
    const names = rankings.map(({ name, units }) => `${name} (${counted(units, 'unit')})`);
    const from = isEverything && names.length > 1 ? `any of ${formatted(names.length)} layers: ` : '';
    return `nothing was removed from ${from}${listed(names)}, since ${reasons(rankings, words)}`;
  },

  'already-zero': ({ rankings }) => {
    const shares = rankings.map(
      ({ name, units, removed, weights, zeros }) =>
        `${name} (${percent(percentOf(removed, units))} removed, ${percent(percentOf(zeros, weights))} zero)`,
    );
    return (
      `all that was to be removed was zero already, so that no weight was changed: ${listed(shares)}; ` +
      `zeros count as removed, and a lower amount does not bring weights back`
    );
  },

  'amount-changed': ({ rankings }, words) => {
    const amounts = rankings.map(({ name, units, asked, removed }) => {
      const share = (count: number) => `${formatted(count)} (${percent(percentOf(count, units))})`;
      return `${name} lost ${share(removed)} of ${counted(units, 'unit')} instead of ${share(asked)}`;
    });
    return `the amount removed is not the one asked for: ${listed(amounts)}, since ${reasons(rankings, words)}`;
  },

  'layers-left-alone': ({ layers, kinds, weights, percent: share }, { option }) => {
    const left =
      layers.length === 1
        ? `1 layer of another kind (${kinds[0]}) was`
        : `${formatted(layers.length)} layers of other kinds (${kinds.join(', ')}) were`;
    return (
      `${left} left alone, with ${percent(share)} of the weights (${formatted(weights)}): ${listed(layers)}; ` +
      `${option('layerType', 'all')} prunes all kinds`
    );
  },
};

const reasons = (rankings: readonly { readonly because: Reason }[], words: Words): string =>
  [...new Set(rankings.map(({ because }) => inWords(because, words)))].join(', and ');

function inWords(reason: Reason, { option }: Words): string {
  switch (reason.name) {
    case 'roundTo':
      return `${option('roundTo', reason.roundTo)} keeps a multiple of ${reason.roundTo} units in each layer`;
    case 'limits':
      return `${reason.options.map((name) => option(name)).join(' and ')} ${reason.options.length === 1 ? 'keeps' : 'keep'} more`;
    case 'allowEmpty':
      return `each layer keeps a unit without ${option('allowEmpty', true)}`;
    case 'units':
      return `there are not ${formatted(reason.named)} units`;
    case 'small':
      return 'the amount is less than one unit';
    case 'pattern':
      return 'there are too few input channels for the pattern';
  }
}
