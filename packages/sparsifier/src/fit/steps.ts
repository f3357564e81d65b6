import { calibrate } from '../calibration/onnx.js';
import type { FileModel } from '../formats/file-model.js';
import { withClosed } from '../model/closing.js';
import type { Form } from '../model/forms.js';
import type { Kind } from '../model/model.js';
import type { InputStatistics } from '../options/options.js';
import type { Rules } from '../options/rules.js';
import type { LayerReport } from '../pruning/report.js';
import type { Sparsifier } from '../pruning/sparsifier.js';
import { percentOf } from '../pruning/text.js';
import { isCorrected, quantize } from '../quantization/quantize.js';
import type { QuantizeReport } from '../quantization/report.js';
import type { RepairReport } from '../repair/report.js';
import type { FitData } from './options.js';
import type { RecipeInputs } from './recipe.js';

// What is done to a model, whether a search or a recipe asks for it.

/** What is known about the inputs of layers. */
export interface Inputs<Feeds> {
  readonly statistics: InputStatistics | undefined;
  /** What the model is run on as it is then. */
  readonly data: FitData<Feeds> | undefined;
  readonly signal: AbortSignal | undefined;
}

/** Solves for the weights that are kept. */
export const repaired = <Feeds>(
  sparsifier: Sparsifier,
  inputs: RecipeInputs,
  { data, signal }: Pick<Inputs<Feeds>, 'data' | 'signal'>,
): Promise<RepairReport> => sparsifier.repair<Feeds>(inputs === 'pruned' ? { inputs, ...data, signal } : { signal });

/** A model whose weights are stored in another form. */
export interface StoredIn {
  readonly files: Map<string, Uint8Array<ArrayBuffer>>;
  readonly report: QuantizeReport;
}

/**
 * Stores weights in another form. Scales are chosen and biases corrected by the inputs of layers, where the form is so coarse
 * that this helps.
 * @param inputs those of the original model, or those that the model has as it is; undefined if there are no statistics
 */
export async function storedIn<Feeds>(
  model: FileModel,
  weights: Form,
  rules: Rules,
  inputs: RecipeInputs | undefined,
  { statistics, data, signal }: Inputs<Feeds>,
): Promise<StoredIn> {
  const seen = inputs === 'pruned' ? await calibrate(model, { ...data!, holdOut: 0, signal }) : statistics;
  const { model: made, report } = await quantize(model, {
    ...{ weights, rules, signal },
    statistics: inputs && seen,
  });
  return { files: await withClosed(made, (small) => small.toFiles()), report };
}

/** The inputs by which a form is chosen. */
export const inputsFor = (form: Form, isPruned: boolean, { statistics, data }: Omit<Inputs<unknown>, 'signal'>) =>
  statistics === undefined || !isCorrected(form) ? undefined : isPruned && data ? 'pruned' : 'dense';

/** What a layer has lost, before anything else is removed. */
export interface LayerCut {
  /** Its output channels. */
  readonly channels: { readonly before: number; readonly after: number };
  /** The relative error of its outputs, where it read channels that went. */
  readonly error: number;
}

/** What has become of one layer. */
export interface FittedLayer {
  readonly name: string;
  readonly kind: Kind;
  /** In stored order. */
  readonly shape: readonly number[];
  readonly weights: number;
  /** How many weights are 0, and their share in percent. */
  readonly zeros: number;
  readonly sparsity: number;
  /** The form of its weights; undefined if they are stored as before. */
  readonly form: Form | undefined;
  /**
   * The relative error that removing and rounding leave, as if they were independent: of the outputs where statistics and the
   * form tell it, else of the weights. 0 for a layer that is as it was.
   */
  readonly error: number;
  /** Its output channels, if it has lost some; `shape` and `weights` are then those without them. */
  readonly channels?: { readonly before: number; readonly after: number };
  /** Why the layer was not to be pruned. */
  readonly reason?: string;
}

/** What the steps report. */
interface Reported {
  /** The original layers. */
  readonly dense: readonly LayerReport[];
  readonly pruned: readonly LayerReport[];
  readonly repair: RepairReport | undefined;
  readonly stored: QuantizeReport['layers'];
  readonly reasons: ReadonlyMap<string, string>;
  /** What layers have lost before. */
  readonly cut: ReadonlyMap<string, LayerCut> | undefined;
}

export function fittedLayersOf({ dense, pruned, repair, stored, reasons, cut }: Reported): FittedLayer[] {
  const named = <Layer extends { readonly name: string }>(layers: readonly Layer[]) =>
    new Map(layers.map((layer) => [layer.name, layer]));
  const [removed, solved, rounded] = [named(pruned), named(repair?.layers ?? []), named(stored)];
  return dense.map(({ name, kind, shape, weights, zeros: before }) => {
    const [own, form] = [removed.get(name), rounded.get(name)];
    const zeros = form?.zeros ?? own?.zeros ?? before;
    const removing = solved.get(name)?.repaired ?? own?.error ?? 0;
    const rounding = form ? (form.outputError ?? form.error) : 0;
    const reason = reasons.get(name);
    const lost = cut?.get(name);
    return {
      ...{ name, kind, shape, weights, zeros, sparsity: percentOf(zeros, weights), form: form?.form },
      error: Math.hypot(lost?.error ?? 0, removing, rounding),
      ...(lost && lost.channels.after < lost.channels.before && { channels: lost.channels }),
      ...(reason === undefined ? {} : { reason }),
    };
  });
}
