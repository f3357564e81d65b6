import { removalOf, type FileModel } from '../formats/file-model.js';
import { usualRounding } from '../formats/removal.js';
import { withClosed } from '../model/closing.js';
import { cut, inputsAt, rulesWithout, whyNoChannels } from './channels.js';
import { Maker, type FitForm, type Made } from './make.js';
import type { FitRequest } from './options.js';
import { storedIn, type Inputs } from './steps.js';

/** A model from which a search begins: the original one, or one without some of its channels. */
export interface Start<Feeds> {
  /** How many of the channels of each group are removed, in percent. */
  readonly channels: number;
  readonly maker: Maker<Feeds>;
  close(): void;
}

/** Makes models without some of the channels. */
export interface Cutter<Feeds> {
  /** About the files of such a model: nothing is repaired. @param share of the channels of each group, in percent */
  sketch(share: number, form: FitForm): Promise<Made['files']>;
  /** Undefined if rounding leaves all channels. */
  without(share: number): Promise<Start<Feeds> | undefined>;
}

/**
 * What removes channels from a model, or why none can go, as a sentence.
 * @param original read from these files
 * @param isPruning whether weights are removed from what is left
 */
export async function cutterFor<Feeds>(
  original: FileModel,
  files: Made['files'],
  {
    request,
    statistics,
    data,
    isPruning,
    spared,
  }: {
    readonly spared: ReadonlyMap<string, string>;
    readonly request: FitRequest<Feeds>;
    readonly isPruning: boolean;
  } & Pick<Inputs<Feeds>, 'statistics' | 'data'>,
): Promise<Cutter<Feeds> | string> {
  if (statistics === undefined) return 'that needs `data`, or `statistics`';
  const { rules, inputShapes, signal } = request;
  const cutting = { statistics, data, rules, inputShapes, signal, roundTo: usualRounding };
  const next = data ? 'measured' : 'cut';
  try {
    removalOf(original);
    const { model } = await cut(original, files, 0, { ...cutting, repair: undefined, next: undefined });
    model.close();
  } catch (error) {
    return whyNoChannels(error);
  }
  return {
    sketch: async (share, form) => {
      const made = await cut(original, files, share, { ...cutting, repair: undefined, next: undefined });
      return withClosed(made.model, async (model) => {
        if (form === 'stored') return model.toFiles();
        const unknown = { statistics: undefined, data: undefined, signal };
        return (await storedIn(model, form, rulesWithout(rules, original, made), undefined, unknown)).files;
      });
    },
    without: async (share) => {
      const made = await cut(original, files, share, { ...cutting, repair: data ? inputsAt(share) : 'dense', next });
      if (Object.values(made.step.amounts).every((count) => count === 0)) {
        made.model.close();
        return undefined;
      }
      try {
        const maker = await Maker.of(made.model, {
          ...{ rules: rulesWithout(rules, original, made), statistics: made.statistics },
          ...{ data, isPruning, spared, budget: 'lamp', cut: made, signal },
        });
        return {
          ...{ channels: share, maker },
          close: () => {
            maker.close();
            made.model.close();
          },
        };
      } catch (error) {
        made.model.close();
        throw error;
      }
    },
  };
}
