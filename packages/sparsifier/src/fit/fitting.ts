import { SparsifyError } from '../errors.js';
import type { ByteCounts } from '../formats/sizes.js';
import type { Compression } from '../host/compressor.js';
import { formatted } from '../pruning/text.js';
import type { FitForm, FitSetting, Made } from './make.js';
import { figure, settingInWords } from './made-report.js';
import { rawBytes, sizeOf, type Prepared } from './prepare.js';
import type { FitOutcome, FitPoint } from './report.js';
import { AmountSearch } from './search.js';
import { compressions, countOf, encodingInWords } from './target.js';

/** From this share of removed weights on, in percent, solving for the inputs of the pruned model is tried, too. */
const solvedAgainFrom = 50;

/** How exactly the largest amount within a drop is found, in hundredths of a percent. */
const amountStep = 100;

/** A model that was made, with its exact bytes. */
interface Sized extends Made {
  readonly bytes: number;
}

/** A model that was judged. */
interface Judged extends Sized {
  readonly outcome: number;
}

/** The search of one call. */
export class Fitting<Feeds> {
  readonly #prepared: Prepared<Feeds>;
  readonly #searches = new Map<FitForm, AmountSearch>();
  readonly #points: FitPoint[] = [];

  constructor(prepared: Prepared<Feeds>) {
    this.#prepared = prepared;
  }

  /** Everything that was sized or judged: by form, from few zeros to many. */
  get curve(): FitPoint[] {
    const made = new Set(this.#points.map(({ form, amount }) => `${form} ${amount}`));
    const estimates = [...this.#searches].flatMap(([form, { estimates }]) =>
      estimates.map(({ amount, bytes }): FitPoint => ({
        ...{ form, amount: amount / 100, inputs: undefined, bytes, isEstimate: true },
        ...{ outcome: undefined, drop: undefined },
      })),
    );
    const rest = estimates.filter(({ form, amount }) => !made.has(`${form} ${amount}`));
    const { forms } = this.#prepared;
    return [...this.#points, ...rest].sort(
      (a, b) => forms.indexOf(a.form) - forms.indexOf(b.form) || a.amount - b.amount,
    );
  }

  /** How much worse a model is than the original one. */
  outcomeOf(fitted: number, dense = this.#prepared.dense.outcome): FitOutcome {
    return { dense, fitted, drop: this.#prepared.judge.higherIsBetter ? dense - fitted : fitted - dense };
  }

  /** What `evaluate` says about the result on data that the search may not have seen. */
  async final(best: Judged): Promise<FitOutcome | undefined> {
    const { judge, dense } = this.#prepared;
    if (judge.by !== 'evaluate') return undefined;
    const before = await judge.judge(dense.made, 'final');
    return this.outcomeOf(await judge.judge(best, 'final'), before);
  }

  /** All sizes of a model. */
  async sizesOf({ files, bytes }: Judged): Promise<ByteCounts> {
    const { compressor, dense, request } = this.#prepared;
    const { encoding, signal } = request;
    if (files === dense.made.files) return dense.sizes;
    return {
      raw: rawBytes(files),
      gzip: encoding === 'gzip' ? bytes : await compressor.bytesOf(files, 'gzip-9', { signal }),
      brotli: encoding === 'br' ? bytes : await compressor.bytesOf(files, 'brotli-11', { signal }),
    };
  }

  /**
   * The best model within a target. Each form has as few zeros as it needs.
   * @throws SparsifyError `sparsity` if there is none, or if it is worse than `maxDrop` allows
   */
  async toTarget(target: number): Promise<Judged> {
    const { forms, work, canRun, request } = this.#prepared;
    let best: Judged | undefined;
    let nearest: Sized | undefined;
    const consider = async (form: FitForm, inputs: FitSetting['inputs']) => {
      const search = await this.#search(form);
      const { model, fits } = await search.within(target, (amount) => this.#make(form, amount, inputs));
      if (!fits) {
        if (nearest === undefined || model.bytes < nearest.bytes) nearest = model;
        return;
      }
      const judged = await this.#judged(model);
      if (best === undefined || this.#isBetter(judged, best)) best = judged;
    };
    for (const form of forms) {
      work.begin(sizeOf.form);
      await consider(form, 'dense');
    }
    if (canRun) {
      work.begin(sizeOf.again);
      const { form = 'stored', amount = 0 } = (best as Judged | undefined)?.setting ?? {};
      if (amount >= solvedAgainFrom) await consider(form, 'pruned');
    }
    if (best === undefined) throw this.#unreachable(target, nearest!);
    const { drop } = this.outcomeOf(best.outcome);
    const { maxDrop = Infinity } = request;
    if (drop <= maxDrop) return best;
    throw new SparsifyError('sparsity', 'the best model that meets the target is worse than is allowed', {
      given: `\`maxDrop: ${maxDrop}\``,
      found: `${figure(drop)}, with ${formatted(best.bytes)} bytes: ${settingInWords(best.setting)}`,
      hint: 'Choose a larger target, or allow more',
    });
  }

  /** The smallest model that is no worse than is allowed, as far as larger amounts are worse. */
  async toDrop(maxDrop: number): Promise<Judged> {
    const { forms, work, dense } = this.#prepared;
    const isAllowed = ({ outcome }: Judged) => this.outcomeOf(outcome).drop <= maxDrop;
    const make = async (form: FitForm, amount: number) => this.#judged(await this.#make(form, amount, 'dense'));
    // The original model has no drop.
    let best: Judged = { ...dense.made, bytes: this.#denseBytes, outcome: dense.outcome };
    for (const form of [...forms].reverse()) {
      work.begin(sizeOf.form);
      const search = await this.#search(form);
      const { model, fits } = await search.within(best.bytes - 1, (amount) => this.#make(form, amount, 'dense'));
      if (!fits) continue;
      // With fewer zeros it would not be smaller.
      const first = await this.#judged(model);
      if (!isAllowed(first)) continue;
      best = first;
      let [allowed, beyond] = [Math.round(100 * first.setting.amount), search.most + 1];
      while (beyond - allowed > amountStep) {
        const middle = Math.floor((allowed + beyond) / 2);
        const judged = await make(form, middle);
        if (isAllowed(judged)) allowed = middle;
        else beyond = middle;
        if (isAllowed(judged) && judged.bytes < best.bytes) best = judged;
      }
    }
    return best;
  }

  get #denseBytes(): number {
    const { dense, request } = this.#prepared;
    return dense.sizes[countOf[request.encoding]];
  }

  async #search(form: FitForm): Promise<AmountSearch> {
    let search = this.#searches.get(form);
    if (search !== undefined) return search;
    const { maker, request, canPrune, work } = this.#prepared;
    const compression = compressions[request.encoding]?.fast;
    const estimate = async (amount: number) => {
      request.signal?.throwIfAborted();
      const files = await maker.sketch({ form, amount: amount / 100, inputs: undefined });
      work.step('search');
      return this.#bytesOf(files, compression);
    };
    search = new AmountSearch(estimate, canPrune);
    this.#searches.set(form, search);
    if (form === 'stored') await search.learn(0, this.#denseBytes);
    return search;
  }

  /** @param amount in hundredths of a percent */
  async #make(form: FitForm, amount: number, inputs: FitSetting['inputs']): Promise<Sized> {
    const { maker, request, canRepair, work, dense } = this.#prepared;
    request.signal?.throwIfAborted();
    const setting = { form, amount: amount / 100, inputs: amount > 0 && canRepair ? inputs : undefined };
    if (form === 'stored' && amount === 0) return this.#remember({ ...dense.made, bytes: this.#denseBytes });
    const made = await maker.make(setting);
    work.step('check');
    const bytes = await this.#bytesOf(made.files, compressions[request.encoding]?.exact);
    return this.#remember({ ...made, bytes });
  }

  /** All files together, compressed or as they are. */
  async #bytesOf(files: Made['files'], compression: Compression | undefined): Promise<number> {
    const { compressor, request } = this.#prepared;
    if (compression !== undefined) return compressor.bytesOf(files, compression, { signal: request.signal });
    return rawBytes(files);
  }

  #remember(sized: Sized): Sized {
    const point = { ...sized.setting, bytes: sized.bytes, isEstimate: false, outcome: undefined, drop: undefined };
    if (this.#placeOf(sized) < 0) this.#points.push(point);
    return sized;
  }

  async #judged(sized: Sized): Promise<Judged> {
    const { judge, work, dense } = this.#prepared;
    work.step('judge');
    const isDense = sized.files === dense.made.files;
    const outcome = isDense ? dense.outcome : await judge.judge(sized, 'search');
    const place = this.#placeOf(sized);
    this.#points[place] = { ...this.#points[place]!, outcome, drop: this.outcomeOf(outcome).drop };
    return { ...sized, outcome };
  }

  #placeOf({ setting: { form, amount, inputs } }: Sized): number {
    return this.#points.findIndex((point) => point.form === form && point.amount === amount && point.inputs === inputs);
  }

  /** Whether a model is better than another; of equal ones, the smaller is. */
  #isBetter(one: Judged, other: Judged): boolean {
    const [a, b] = [this.outcomeOf(one.outcome).drop, this.outcomeOf(other.outcome).drop];
    return a < b || (a === b && one.bytes < other.bytes);
  }

  #unreachable(target: number, { setting, bytes }: Sized): SparsifyError {
    const { request, canPrune } = this.#prepared;
    const { encoding, allow } = request;
    const hints = [
      ...(allow.includes('quantize') ? [] : ['Add quantize to `allow`.']),
      ...(allow.includes('prune') ? [] : ['Add prune to `allow`.']),
      ...(allow.includes('prune') && encoding === 'raw' ? ['Zeros make only compressed files smaller.'] : []),
      ...(allow.includes('prune') && encoding !== 'raw' && !canPrune ? ['No layer could be pruned.'] : []),
      'Choose a larger target',
    ];
    return new SparsifyError('sparsity', 'no allowed setting makes the model that small', {
      given: `${formatted(target)} bytes ${encodingInWords[encoding]}`,
      found: `${formatted(bytes)} bytes: ${settingInWords(setting)}`,
      hint: hints.join(' '),
    });
  }
}
