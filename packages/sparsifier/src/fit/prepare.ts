import { calibrate } from '../calibration/onnx.js';
import type { Statistics } from '../calibration/statistics.js';
import { SparsifyError } from '../errors.js';
import { storageOf, type FileModel } from '../formats/file-model.js';
import type { ByteCounts, FileCompressor } from '../formats/sizes.js';
import type { InputStatistics } from '../options/options.js';
import { decisionsOf, type Rules } from '../options/rules.js';
import { planFor } from '../quantization/quantize.js';
import type { Budget } from '../options/budgets.js';
import { byBestBudget, candidates } from './budgets.js';
import { checkInputShapes } from './channels.js';
import { cutterFor, type Cutter, type Start } from './cutter.js';
import { withoutGain, window } from './gains.js';
import { byEvaluate, byLayers, byOutputs, splitBatches, type Judge } from './judge.js';
import { Maker, type FitForm, type Made } from './make.js';
import type { FitData, FitRequest } from './options.js';
import { Work } from './progress.js';
import { compressions, rawBytes } from './target.js';

/** How much work the parts are, about. */
export const sizeOf = { sizes: 4, calibrate: 6, measure: 20, form: 12, again: 20, channels: 120, check: 4 } as const;

/** What a search needs. */
export interface Prepared<Feeds> {
  readonly request: FitRequest<Feeds>;
  /** The original model. */
  readonly start: Start<Feeds>;
  /** Removes channels; a sentence says why that is not possible, undefined that it is not allowed. */
  readonly cutter: Cutter<Feeds> | string | undefined;
  readonly judge: Judge;
  readonly work: Work;
  readonly compressor: FileCompressor;
  /** The original model. */
  readonly dense: { readonly made: Made; readonly sizes: ByteCounts; readonly outcome: number };
  readonly forms: readonly FitForm[];
  readonly skippedForms: readonly { readonly form: FitForm; readonly reason: string }[];
  /** Whether what is kept is solved for, by statistics, and for the inputs of the pruned model. */
  readonly canRepair: boolean;
  readonly canRun: boolean;
  /** Whether models are judged by batches that are used for nothing else. */
  readonly isSplit: boolean;
  /** How removed weights are divided among layers, if that was compared. */
  readonly note: string | undefined;
  readonly statistics: (InputStatistics & { readonly notes?: readonly string[] }) | undefined;
  /** The statistics, if they were measured. */
  readonly measured: Statistics | undefined;
  close(): void;
}

/**
 * Measures the original model.
 * @param copy of the model, which is used for nothing else
 * @param files those of the model
 */
export async function prepare<Feeds>(
  copy: FileModel,
  files: Made['files'],
  request: FitRequest<Feeds>,
  compressor: FileCompressor,
): Promise<Prepared<Feeds>> {
  const { allow, rules, encoding, evaluate, higherIsBetter, signal, onProgress } = request;
  // What is wrong with rules and shapes is told before anything is measured.
  decisionsOf(rules, copy);
  await checkInputShapes(copy, request);
  const { forms, skippedForms } = formsOf(copy, request);
  const isPruning = allow.includes('prune') && encoding !== 'raw';
  const isMeasured = request.data !== undefined && request.statistics === undefined;
  const hasStatistics = isMeasured || request.statistics !== undefined;
  const isCompared = evaluate !== undefined && isPruning && !hasStatistics;
  const canRun = request.data !== undefined && isPruning;
  const total =
    sizeOf.sizes +
    (isMeasured ? sizeOf.calibrate : 0) +
    ((hasStatistics && isPruning) || isCompared ? sizeOf.measure : 0) +
    sizeOf.form * forms.length +
    (canRun && request.target !== undefined ? sizeOf.again : 0) +
    (allow.includes('remove') ? sizeOf.channels : 0) +
    sizeOf.check;
  const work = new Work(onProgress, total);

  work.begin(sizeOf.sizes);
  const raw = rawBytes(files);
  const gzip = await compressor.bytesOf(files, 'gzip-9', { signal });
  let done = 0;
  const onBytes = (bytes: number) => work.share('check', (done += bytes) / raw);
  const brotli = await compressor.bytesOf(files, 'brotli-11', { signal, onBytes });

  const { data, judging, isSplit } = await batchesOf(request);
  if (isMeasured) work.begin(sizeOf.calibrate);
  const measured = isMeasured
    ? await calibrate(copy, {
        ...data!,
        signal,
        onProgress: ({ done, total }) => work.share('calibrate', done / total),
      })
    : undefined;
  const statistics = measured ?? request.statistics;

  const compression = compressions[encoding]?.fast;
  const spared =
    isPruning && compression !== undefined && raw <= window
      ? await withoutGain(copy, files, rules, { compressor, compression, signal })
      : new Map<string, string>();
  const judge =
    evaluate !== undefined
      ? byEvaluate(evaluate, higherIsBetter, signal)
      : judging !== undefined
        ? await byOutputs(files, judging, signal)
        : byLayers(statistics ? 'layers' : 'weights');
  const makerOf = (budget: Budget) =>
    Maker.of(copy, { rules, statistics, data, isPruning, spared, budget, cut: undefined, signal });
  if (isCompared) work.begin(sizeOf.measure);
  const { maker, note } = isCompared
    ? await byBestBudget(makerOf, judge, (share) => work.share('judge', share))
    : { maker: await makerOf(candidates[0]), note: undefined };
  try {
    if (maker.canPrune && statistics) {
      work.begin(sizeOf.measure);
      await maker.measure((share) => work.share('measure', share));
    }
    const made = maker.original(files);
    const outcome = await judge.judge(made, 'search');
    return {
      ...{ request, judge, work, compressor, forms, skippedForms, isSplit, statistics, measured, note },
      start: { channels: 0, maker, close: () => {} },
      cutter: allow.includes('remove')
        ? await cutterFor(copy, files, { request, statistics, data, isPruning, spared })
        : undefined,
      dense: { made, sizes: { raw, gzip, brotli }, outcome },
      canRepair: statistics !== undefined,
      canRun,
      close: () => maker.close(),
    };
  } catch (error) {
    maker.close();
    throw error;
  }
}

/** The batches for calibration, and those that judge models where no function of the caller does. */
async function batchesOf<Feeds>({ data, evaluate }: FitRequest<Feeds>): Promise<{
  readonly data: FitData<Feeds> | undefined;
  readonly judging: FitData<Feeds> | undefined;
  readonly isSplit: boolean;
}> {
  if (data === undefined || evaluate !== undefined) return { data, judging: undefined, isSplit: false };
  const { solving, judging, isSplit } = await splitBatches(data.batches);
  return { data: { ...data, batches: solving }, judging: { ...data, batches: judging }, isSplit };
}

/** Forms that runtimes decode while they run a model, or whose inputs they round, are not tried: they change its speed. */
const slower: readonly FitForm[] = ['int8-dynamic', 'int4'];

/** The forms that are tried, from the largest to the smallest, and why others of the format are not. */
function formsOf(model: FileModel, { allow, rules }: { readonly allow: readonly string[]; readonly rules: Rules }) {
  const forms: FitForm[] = ['stored'];
  const skippedForms: { form: FitForm; reason: string }[] = [];
  if (!allow.includes('quantize')) return { forms, skippedForms };
  const bytesOf = new Map<FitForm, number>();
  for (const form of storageOf(model).storage.forms) {
    if (slower.includes(form)) continue;
    try {
      const { layers } = planFor(model, { weights: form, rules }).plan;
      if (layers.length === 0) skippedForms.push({ form, reason: 'no layer would be smaller' });
      else {
        bytesOf.set(
          form,
          layers.reduce((sum, { bytesAfter, bytesBefore }) => sum + bytesAfter - bytesBefore, 0),
        );
        forms.push(form);
      }
    } catch (error) {
      // Rules are known to be right, so no layer can have this form.
      if (!(error instanceof SparsifyError && error.code === 'usage')) throw error;
      skippedForms.push({ form, reason: String(error.details.found ?? error.message) });
    }
  }
  return { forms: forms.sort((a, b) => (bytesOf.get(b) ?? 0) - (bytesOf.get(a) ?? 0)), skippedForms };
}
