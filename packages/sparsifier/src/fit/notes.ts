import type { JudgedBy } from './judge.js';
import { figure } from './made-report.js';
import { isOriginal, type Made } from './make.js';
import type { Prepared } from './prepare.js';
import type { FitOutcome } from './report.js';

const meanings: Readonly<Record<JudgedBy, string>> = {
  evaluate: 'the outcome is what `evaluate` returned: it is worth as much as the data that it was measured on',
  outputs:
    'the outcome is the relative error of the outputs on inputs that were used for nothing else: it tells how far outputs move, ' +
    'not how often the model is wrong; `evaluate` would',
  layers:
    'the outcome is the error of the outputs of layers, each by itself: it compares settings, but does not tell how far the ' +
    'outputs of the model move; `data` or `evaluate` would',
  weights:
    'the outcome is the relative error of the weights: it compares settings roughly, and says little about what the model does; ' +
    '`data` or `evaluate` would',
};

/** What the outcome is worth, as a sentence. */
export function meaningOf({ judge: { by }, isSplit }: Prepared<never> | Prepared<unknown>): string {
  if (by !== 'outputs' || isSplit) return meanings[by];
  return (
    'the outcome is the relative error of the outputs on the inputs of the calibration, of which there are fewer than four, so ' +
    'it is too low; give more batches, or `evaluate`'
  );
}

/** Sentences about what surprises, or would make the model better. */
export function notesOn<Feeds>(
  { request, statistics, cutter, note }: Prepared<Feeds>,
  best: Made,
  { outcome, final }: { readonly outcome: FitOutcome; readonly final: FitOutcome | undefined },
): string[] {
  const { allow, encoding, maxDrop = Infinity } = request;
  const isUnchanged = isOriginal(best.setting);
  const isSame = final && final.dense === outcome.dense && final.fitted === outcome.fitted;
  return [
    ...(isUnchanged ? ['the model is as it was: nothing was better and allowed'] : []),
    ...(statistics === undefined && !isUnchanged
      ? [
          'nothing made up for what was removed or rounded, and amounts follow from the weights alone: with `data`, or ' +
            '`statistics`, much more of the accuracy is kept',
        ]
      : []),
    ...(note !== undefined && best.setting.amount > 0 ? [note] : []),
    ...(allow.includes('prune') && encoding === 'raw'
      ? ['no weights were removed, since zeros make only compressed files smaller']
      : []),
    ...(typeof cutter === 'string' ? [`no channels were removed: ${cutter}`] : []),
    ...(final && final.drop > maxDrop
      ? [
          `for the part final the drop is ${figure(final.drop)}, which is more than was allowed: the search saw other data. ` +
            'Allow less, or let `evaluate` use more data',
        ]
      : []),
    ...(isSame && maxDrop !== Infinity
      ? ['`evaluate` returned the same for both parts, so the outcome may be that of the data that the search has seen']
      : []),
    ...(statistics?.notes ?? []),
    ...best.notes,
  ];
}
