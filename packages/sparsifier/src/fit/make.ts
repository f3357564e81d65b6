import { calibrate } from '../calibration/onnx.js';
import type { FileModel } from '../formats/file-model.js';
import { withClosed } from '../model/closing.js';
import type { Form } from '../model/forms.js';
import { isDepthwise } from '../model/channels.js';
import { layoutOf } from '../model/rows.js';
import type { Kind, WeightTensor } from '../model/model.js';
import type { InputStatistics, Progress, SparsifierOptions } from '../options/options.js';
import type { Rule, Rules } from '../options/rules.js';
import { inspect } from '../pruning/inspect.js';
import type { LayerReport } from '../pruning/report.js';
import { Sparsifier } from '../pruning/sparsifier.js';
import { percentOf } from '../pruning/text.js';
import { quantize } from '../quantization/quantize.js';
import type { RepairReport } from '../repair/report.js';
import type { FitData } from './options.js';

/** How the weights of layers are stored: in a form of `quantize`, or as in the original model. */
export type FitForm = 'stored' | Form;

/** A way to make a model smaller. */
export interface FitSetting {
  readonly form: FitForm;
  /** How many of the weights of the layers that may be pruned are removed, in percent. */
  readonly amount: number;
  /**
   * The inputs that the kept weights were solved for: those in the original model, or those in the pruned one. Undefined if
   * nothing was solved.
   */
  readonly inputs: 'dense' | 'pruned' | undefined;
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
  /** Why the layer was not to be pruned. */
  readonly reason?: string;
}

/** A model that was made. */
export interface Made {
  readonly setting: FitSetting;
  readonly files: Map<string, Uint8Array<ArrayBuffer>>;
  readonly layers: readonly FittedLayer[];
  readonly notes: readonly string[];
  readonly warnings: readonly string[];
}

interface Making<Feeds> {
  readonly rules: Rules;
  readonly statistics: InputStatistics | undefined;
  /** For measuring models that are pruned. */
  readonly data: FitData<Feeds> | undefined;
  readonly isPruning: boolean;
  readonly signal: AbortSignal | undefined;
}

/** Makes models of one model: it is pruned, repaired and stored in another form, and restored for the next one. */
export class Maker<Feeds> {
  readonly #model: FileModel;
  readonly #making: Making<Feeds>;
  /** Undefined if no layer can be pruned. */
  readonly #sparsifier: Sparsifier | undefined;
  readonly #reasons: ReadonlyMap<string, string>;
  readonly #dense: readonly LayerReport[];
  #isPruned = false;

  /** @param model must not be used elsewhere */
  static async of<Feeds>(model: FileModel, making: Making<Feeds>): Promise<Maker<Feeds>> {
    const { layers } = await inspect(model);
    const { options, reasons } = pruningOf(model, making);
    const sparsifier = new Sparsifier(model, options);
    const explained = await sparsifier.explain();
    const left = explained.filter(({ selected }) => !selected);
    const why = new Map(left.map(({ name, reason }) => [name, reasons.get(name) ?? reason]));
    const isNone = !making.isPruning || left.length === explained.length;
    if (isNone) sparsifier.clear();
    return new Maker(model, making, isNone ? undefined : sparsifier, making.isPruning ? why : new Map(), layers);
  }

  private constructor(
    model: FileModel,
    making: Making<Feeds>,
    sparsifier: Sparsifier | undefined,
    reasons: ReadonlyMap<string, string>,
    dense: readonly LayerReport[],
  ) {
    this.#model = model;
    this.#making = making;
    this.#sparsifier = sparsifier;
    this.#reasons = reasons;
    this.#dense = dense;
  }

  /** Whether any layer can be pruned. */
  get canPrune(): boolean {
    return this.#sparsifier !== undefined;
  }

  /** Measures what layers lose, once for all amounts. */
  async measure(onShare: (share: number) => void): Promise<void> {
    const onProgress = ({ stage, done, total }: Progress) => stage === 'measure' && onShare(done / total);
    await this.#sparsifier?.explain(0, { signal: this.#making.signal, onProgress: (each) => void onProgress(each) });
  }

  /** The model as it was given. */
  original(files: Made['files']): Made {
    const setting = { form: 'stored', amount: 0, inputs: undefined } as const;
    return { setting, files, layers: this.#layers({ pruned: [], repair: undefined }, []), notes: [], warnings: [] };
  }

  /** About the files of a model: nothing is repaired, and nothing measured anew. */
  async sketch({ form, amount }: FitSetting): Promise<Map<string, Uint8Array<ArrayBuffer>>> {
    await this.#prune(amount);
    if (form === 'stored') return this.#model.toFiles();
    const { rules, statistics, signal } = this.#making;
    const { model } = await quantize(this.#model, { weights: form, rules, statistics, signal });
    return withClosed(model, (small) => small.toFiles());
  }

  async make(setting: FitSetting): Promise<Made> {
    const { form, amount, inputs } = setting;
    const { rules, statistics, data, signal } = this.#making;
    const pruned = await this.#prune(amount);
    const repair = await this.#repair(inputs);
    const known = { pruned, repair };
    if (form === 'stored') {
      const files = await this.#model.toFiles();
      return { setting, files, layers: this.#layers(known, []), notes: notesOf(repair), warnings: [] };
    }
    // Biases make up for what rounding changes, given the inputs that layers have now.
    const seen = amount > 0 && data ? await calibrate(this.#model, { ...data, holdOut: 0, signal }) : statistics;
    const { model, report } = await quantize(this.#model, { weights: form, rules, statistics: seen, signal });
    return {
      setting,
      files: await withClosed(model, (small) => small.toFiles()),
      layers: this.#layers(known, report.layers),
      notes: [...notesOf(repair), ...(statistics ? report.notes : [])],
      warnings: report.warnings.map(({ message }) => message),
    };
  }

  close(): void {
    this.#sparsifier?.clear();
  }

  /** What was removed, from the original weights. */
  async #prune(amount: number): Promise<readonly LayerReport[]> {
    const { statistics, signal } = this.#making;
    if (this.#isPruned) await this.#sparsifier!.restore({ signal });
    this.#isPruned = false;
    if (amount === 0) return [];
    const { layers, total } = await this.#sparsifier!.sparsifyModel(amount, { signal });
    // Of layers without statistics, only what is removed can be restored.
    this.#isPruned = statistics !== undefined || total.removedUnits > 0;
    return layers;
  }

  async #repair(inputs: FitSetting['inputs']): Promise<RepairReport | undefined> {
    if (inputs === undefined) return undefined;
    const { data, signal } = this.#making;
    return this.#sparsifier!.repair<Feeds>(inputs === 'pruned' ? { inputs, ...data, signal } : { signal });
  }

  #layers(
    { pruned, repair }: { readonly pruned: readonly LayerReport[]; readonly repair: RepairReport | undefined },
    stored: Awaited<ReturnType<typeof quantize>>['report']['layers'],
  ): FittedLayer[] {
    const byName = <Layer extends { readonly name: string }>(layers: readonly Layer[]) =>
      new Map(layers.map((layer) => [layer.name, layer]));
    const [removed, repaired, rounded] = [byName(pruned), byName(repair?.layers ?? []), byName(stored)];
    return this.#dense.map(({ name, kind, shape, weights, zeros: before }) => {
      const [own, solved, form] = [removed.get(name), repaired.get(name), rounded.get(name)];
      const zeros = form?.zeros ?? own?.zeros ?? before;
      const removing = solved?.repaired ?? own?.error ?? 0;
      const rounding = form ? (form.outputError ?? form.error) : 0;
      const reason = this.#reasons.get(name);
      return {
        ...{ name, kind, shape, weights, zeros, sparsity: percentOf(zeros, weights), form: form?.form },
        error: Math.hypot(removing, rounding),
        ...(reason === undefined ? {} : { reason }),
      };
    });
  }
}

const notesOf = (repair: RepairReport | undefined): readonly string[] => repair?.notes ?? [];

/** How layers are pruned, and why those are not that no rule of the caller leaves out. */
function pruningOf<Feeds>({ tensors }: FileModel, { rules, statistics }: Making<Feeds>) {
  const reasons = new Map(
    tensors.flatMap((tensor) => {
      const reason = whyNot(tensor, statistics);
      return reason === undefined ? [] : [[tensor.name, reason] as const];
    }),
  );
  const { layerType = 'all', include, exclude = [] } = rules;
  const options: SparsifierOptions = {
    layerType,
    ...(include === undefined ? {} : { include }),
    exclude: [...([exclude].flat() as Rule[]), ...reasons.keys()],
    context: 'global',
    ...(statistics
      ? { criteria: 'fluctuation', budget: 'error', statistics }
      : { criteria: 'largeFinal', budget: 'lamp', restorable: true }),
  };
  return { options, reasons };
}

function whyNot(tensor: WeightTensor, statistics: InputStatistics | undefined): string | undefined {
  if (isDepthwise(tensor)) return 'a depthwise convolution, which has nothing that makes up for a removed weight';
  if (statistics === undefined) return undefined;
  const known = statistics.layers.get(tensor.name);
  if (known === undefined) return 'there are no statistics of its inputs';
  if (known.isDiagonal) return 'its moments would take more memory than the limit';
  return layoutOf(tensor) === undefined ? 'its weights are not a matrix for each group of inputs' : undefined;
}
