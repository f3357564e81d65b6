import type { FileModel } from '../formats/file-model.js';
import type { Form } from '../model/forms.js';
import { isDepthwise } from '../model/channels.js';
import { layoutOf } from '../model/rows.js';
import type { WeightTensor } from '../model/model.js';
import type { InputStatistics, Progress, SparsifierOptions } from '../options/options.js';
import type { Budget } from '../options/budgets.js';
import type { Rule, Rules } from '../options/rules.js';
import { inspect } from '../pruning/inspect.js';
import type { LayerReport } from '../pruning/report.js';
import { Sparsifier } from '../pruning/sparsifier.js';
import type { Cut } from './channels.js';
import type { FitRecipe, RecipeInputs, RecipePruning } from './recipe.js';
import { fittedLayersOf, inputsFor, repaired, storedIn, type FittedLayer, type Inputs } from './steps.js';

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
  readonly inputs: RecipeInputs | undefined;
  /** How many of the channels of each group are removed before, in percent. Their number is rounded. */
  readonly channels: number;
}

/** Whether nothing is done. */
export const isOriginal = ({ form, amount, channels }: FitSetting): boolean =>
  form === 'stored' && amount === 0 && channels === 0;

/** A model that was made. */
export interface Made {
  readonly setting: FitSetting;
  readonly files: Map<string, Uint8Array<ArrayBuffer>>;
  readonly layers: readonly FittedLayer[];
  readonly notes: readonly string[];
  readonly warnings: readonly string[];
  /** What was done, layer by layer. */
  readonly steps: Pick<FitRecipe, 'remove' | 'prune' | 'quantize'>;
}

interface Making<Feeds> extends Inputs<Feeds> {
  readonly rules: Rules;
  readonly isPruning: boolean;
  /** Layers that are not pruned although rules select them, and why. */
  readonly spared: ReadonlyMap<string, string>;
  /** How removed weights are divided among the layers, where there are no statistics. */
  readonly budget: Budget;
  /** How the model came about, if it is one without channels. */
  readonly cut: Cut | undefined;
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
    const setting = { form: 'stored', amount: 0, inputs: undefined, channels: 0 } as const;
    const layers = this.#layers({ pruned: [], repair: undefined, stored: [] });
    return { setting, files, layers, notes: [], warnings: [], steps: {} };
  }

  /** About the files of a model: nothing is repaired, and nothing measured anew. */
  async sketch({ form, amount }: Pick<FitSetting, 'form' | 'amount'>): Promise<Map<string, Uint8Array<ArrayBuffer>>> {
    await this.#prune(amount);
    if (form === 'stored') return this.#model.toFiles();
    const { files } = await storedIn(this.#model, form, this.#making.rules, 'dense', this.#making);
    return files;
  }

  async make(setting: FitSetting): Promise<Made> {
    const { form, amount, inputs } = setting;
    const pruned = await this.#prune(amount);
    const repair = inputs && (await repaired(this.#sparsifier!, inputs, this.#making));
    const { cut } = this.#making;
    const removed = {
      ...(cut && { remove: cut.step }),
      ...(amount > 0 && { prune: this.#pruning(pruned, inputs) }),
    };
    const notes = [...(cut?.notes ?? []), ...(repair?.notes ?? [])];
    if (form === 'stored') {
      const files = await this.#model.toFiles();
      const layers = this.#layers({ pruned, repair, stored: [] });
      return { setting, files, layers, notes, warnings: [], steps: removed };
    }
    // Biases make up for what rounding changes, given the inputs that layers have now.
    const seen = inputsFor(form, amount > 0, this.#making);
    const { rules, statistics } = this.#making;
    const { files, report } = await storedIn(this.#model, form, rules, seen, this.#making);
    const stored = report.layers.map(({ name }) => name);
    return {
      ...{ setting, files },
      layers: this.#layers({ pruned, repair, stored: report.layers }),
      notes: [...notes, ...(statistics ? report.notes : [])],
      warnings: report.warnings.map(({ message }) => message),
      steps: {
        ...removed,
        ...(stored.length === 0 ? {} : { quantize: { weights: form, layers: stored, ...(seen && { inputs: seen }) } }),
      },
    };
  }

  /** Makes the model what it was. */
  async restore(): Promise<void> {
    await this.#prune(0);
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

  #pruning(pruned: readonly LayerReport[], inputs: FitSetting['inputs']): RecipePruning {
    return {
      ...{ granularity: 'weight', context: 'local', criteria: criteriaFor(this.#making.statistics) },
      amounts: Object.fromEntries(pruned.map(({ name, removedUnits }) => [name, removedUnits])),
      ...(inputs && { repair: { method: 'solve', inputs } }),
    };
  }

  #layers(done: Omit<Parameters<typeof fittedLayersOf>[0], 'dense' | 'reasons' | 'cut'>): FittedLayer[] {
    const { cut } = this.#making;
    return fittedLayersOf({ ...done, dense: this.#dense, reasons: this.#reasons, cut: cut?.layers });
  }
}

const criteriaFor = (statistics: InputStatistics | undefined) => (statistics ? 'fluctuation' : 'largeFinal');

/** How layers are pruned, and why those are not that no rule of the caller leaves out. */
function pruningOf<Feeds>({ tensors }: FileModel, { rules, statistics, spared, budget }: Making<Feeds>) {
  const reasons = new Map(
    tensors.flatMap((tensor) => {
      const reason = whyNot(tensor, statistics) ?? spared.get(tensor.name);
      return reason === undefined ? [] : [[tensor.name, reason] as const];
    }),
  );
  const { exclude = [] } = rules;
  const options: SparsifierOptions = {
    ...rules,
    exclude: [...([exclude].flat() as Rule[]), ...reasons.keys()],
    context: 'global',
    criteria: criteriaFor(statistics),
    ...(statistics ? { budget: 'error', statistics } : { budget, restorable: true }),
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
