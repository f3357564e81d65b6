import { SparsifyError } from '../errors.js';
import type { ByteCounts } from '../formats/sizes.js';
import type { Compression } from '../host/compressor.js';
import { formatted } from '../pruning/text.js';
import { withClosed } from '../model/closing.js';
import type { Cutter, Start } from './cutter.js';
import { isOriginal, type FitForm, type FitSetting, type Made } from './make.js';
import { figure, isSetting, settingInWords } from './made-report.js';
import { sizeOf, type Prepared } from './prepare.js';
import type { FitOutcome, FitPoint } from './report.js';
import { AmountSearch } from './search.js';
import { compressions, countOf, encodingInWords, rawBytes } from './target.js';

/** From this share of removed weights on, in percent, solving for the inputs of the pruned model is tried, too. */
const solvedAgainFrom = 50;

/** How many of the channels of each group are removed, in percent: the next share is tried if one is better. */
const shares = [10, 20, 30, 40, 50, 60, 70, 80, 90] as const;

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

const keyOf = ({ form, channels, amount }: FitSetting): string => `${form} ${channels} ${amount}`;

/** A search along one dimension of settings: zeros in one form, or channels. */
interface Line {
  readonly search: AmountSearch;
  /** @param amount in hundredths of a percent */
  settingAt(amount: number): FitSetting;
}

/** The search of one call. */
export class Fitting<Feeds> {
  readonly #prepared: Prepared<Feeds>;
  readonly #lines = new Map<string, Line>();
  readonly #points: FitPoint[] = [];

  constructor(prepared: Prepared<Feeds>) {
    this.#prepared = prepared;
  }

  /** Everything that was sized or judged: by form, from few removed channels and zeros to many. */
  get curve(): FitPoint[] {
    const made = new Set(this.#points.map(keyOf));
    const estimates = [...this.#lines.values()].flatMap(({ search, settingAt }) =>
      search.estimates.map(({ amount, bytes }): FitPoint => ({
        ...settingAt(amount),
        ...{ inputs: undefined, bytes, isEstimate: true, outcome: undefined, drop: undefined },
      })),
    );
    const rest = estimates.filter((point) => !made.has(keyOf(point)));
    const { forms } = this.#prepared;
    return [...this.#points, ...rest].sort(
      (a, b) => forms.indexOf(a.form) - forms.indexOf(b.form) || a.channels - b.channels || a.amount - b.amount,
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
    const { forms, start, request } = this.#prepared;
    const found = await this.#within(start, forms, target, sizeOf.form);
    const best = await this.#withoutChannels(target, found);
    if (!('outcome' in best)) throw this.#unreachable(target, best);
    const { drop } = this.outcomeOf(best.outcome);
    const { maxDrop = Infinity } = request;
    if (drop <= maxDrop) return best;
    throw new SparsifyError('sparsity', 'the best model that meets the target is worse than is allowed', {
      given: `\`maxDrop: ${maxDrop}\``,
      found: `${figure(drop)}, with ${formatted(best.bytes)} bytes: ${settingInWords(best.setting)}`,
      hint: 'Choose a larger target, or allow more',
    });
  }

  /** The best model within a target of those that begin with the same channels, or the one that comes nearest. */
  async #within(start: Start<Feeds>, forms: readonly FitForm[], target: number, size = 0): Promise<Judged | Sized> {
    const { work, canRun } = this.#prepared;
    let best: Judged | Sized | undefined;
    const consider = async (form: FitForm, inputs: FitSetting['inputs']) => {
      const { search, settingAt } = await this.#line(start, form);
      const { model, fits } = await search.within(target, (amount) =>
        this.#make(start, { ...settingAt(amount), inputs }),
      );
      best = this.#better(best, fits ? await this.#judged(model) : model);
    };
    for (const form of forms) {
      if (size > 0) work.begin(size);
      await consider(form, 'dense');
    }
    if (canRun) {
      if (size > 0) work.begin(sizeOf.again);
      const { setting } = best!;
      if ('outcome' in best! && setting.amount >= solvedAgainFrom) await consider(setting.form, 'pruned');
    }
    return best!;
  }

  /** The better of two models: one that was judged before one that is too large. */
  #better(one: Judged | Sized | undefined, other: Judged | Sized): Judged | Sized {
    if (one === undefined) return other;
    if ('outcome' in one && 'outcome' in other) return this.#isBetter(other, one) ? other : one;
    if ('outcome' in one || 'outcome' in other) return 'outcome' in one ? one : other;
    return other.bytes < one.bytes ? other : one;
  }

  /** The best model within a target, also of those without some of the channels. @param found the best with all of them */
  async #withoutChannels(target: number, found: Judged | Sized): Promise<Judged | Sized> {
    const { cutter, start, forms, work } = this.#prepared;
    if (typeof cutter !== 'object') return found;
    work.begin(sizeOf.channels);
    if (!start.maker.canPrune) return this.#byChannelsAlone(cutter, found, target);
    return this.#alongShares(cutter, found, async (from, best) => {
      const tried = 'outcome' in best ? [best.setting.form] : forms;
      return this.#better(best, await this.#within(from, tried, target));
    });
  }

  /** Removes more and more channels, until that is no better. @param next the better one of a model and those that begin so */
  async #alongShares<Model extends Judged | Sized>(
    cutter: Cutter<Feeds>,
    found: Model,
    next: (start: Start<Feeds>, best: Model) => Promise<Model>,
  ): Promise<Model> {
    let best = found;
    for (const share of shares) {
      const start = await cutter.without(share);
      if (start === undefined) continue;
      const better = await withClosed(start, () => next(start, best));
      if (better === best && 'outcome' in best) break;
      best = better;
    }
    return best;
  }

  /** The fewest channels that meet a target, for each form, where no weights are removed. */
  async #byChannelsAlone(cutter: Cutter<Feeds>, found: Judged | Sized, target: number): Promise<Judged | Sized> {
    const { forms, start } = this.#prepared;
    let best = found;
    for (const form of forms) {
      // With all channels, a form that fits was judged already.
      if (this.#points.some((point) => point.form === form && point.outcome !== undefined)) continue;
      const { search, settingAt } = this.#lineOf(
        `${form} by channels`,
        (amount) => cutter.sketch(amount / 100, form),
        (amount) => ({ form, channels: amount / 100, amount: 0, inputs: undefined }),
      );
      const { model, fits } = await search.within(target, async (amount) => {
        const setting = settingAt(amount);
        const without = amount === 0 ? undefined : await cutter.without(setting.channels);
        return without ? withClosed(without, () => this.#make(without, setting)) : this.#make(start, setting);
      });
      best = this.#better(best, fits ? await this.#judged(model) : model);
    }
    return best;
  }

  /** The smallest model that is no worse than is allowed, as far as larger amounts are worse. */
  async toDrop(maxDrop: number): Promise<Judged> {
    const { forms, work, dense, start, cutter } = this.#prepared;
    // The original model has no drop.
    const original: Judged = { ...dense.made, bytes: this.#denseBytes, outcome: dense.outcome };
    const best = await this.#smallest(start, [...forms].reverse(), maxDrop, original, sizeOf.form);
    if (typeof cutter !== 'object') return best;
    work.begin(sizeOf.channels);
    return this.#alongShares(cutter, best, (from, smallest) =>
      this.#smallest(from, [smallest.setting.form], maxDrop, smallest),
    );
  }

  /** The smallest allowed model of those that begin with the same channels, if it is smaller than one that was found. */
  async #smallest(
    start: Start<Feeds>,
    forms: readonly FitForm[],
    maxDrop: number,
    found: Judged,
    size = 0,
  ): Promise<Judged> {
    const { work } = this.#prepared;
    const isAllowed = ({ outcome }: Judged) => this.outcomeOf(outcome).drop <= maxDrop;
    let best = found;
    for (const form of forms) {
      if (size > 0) work.begin(size);
      const { search, settingAt } = await this.#line(start, form);
      const make = (amount: number) => this.#make(start, { ...settingAt(amount), inputs: 'dense' });
      const { model, fits } = await search.within(best.bytes - 1, make);
      if (!fits) continue;
      // With fewer zeros it would not be smaller.
      const first = await this.#judged(model);
      if (!isAllowed(first)) continue;
      best = first;
      let [allowed, beyond] = [Math.round(100 * first.setting.amount), search.most + 1];
      while (beyond - allowed > amountStep) {
        const middle = Math.floor((allowed + beyond) / 2);
        const judged = await this.#judged(await make(middle));
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

  /** The search for zeros in a form. */
  async #line({ channels, maker }: Start<Feeds>, form: FitForm): Promise<Line> {
    const settingAt = (amount: number): FitSetting => ({ form, channels, amount: amount / 100, inputs: undefined });
    const line = this.#lineOf(
      `${form} ${channels}`,
      (amount) => maker.sketch(settingAt(amount)),
      settingAt,
      maker.canPrune,
    );
    // What the original model has is known.
    if (form === 'stored' && channels === 0) await line.search.learn(0, this.#denseBytes);
    return line;
  }

  /** A search that remembers what it has seen. */
  #lineOf(
    key: string,
    sketch: (amount: number) => Promise<Made['files']>,
    settingAt: Line['settingAt'],
    isOpen = true,
  ): Line {
    const { request, work } = this.#prepared;
    const compression = compressions[request.encoding]?.fast;
    const estimate = async (amount: number) => {
      request.signal?.throwIfAborted();
      const files = await sketch(amount);
      work.step('search');
      return this.#bytesOf(files, compression);
    };
    const line = this.#lines.get(key) ?? { search: new AmountSearch(estimate, isOpen), settingAt };
    this.#lines.set(key, line);
    return line;
  }

  async #make({ maker }: Start<Feeds>, asked: FitSetting): Promise<Sized> {
    const { request, canRepair, work, dense } = this.#prepared;
    request.signal?.throwIfAborted();
    const { form, amount, inputs, channels } = asked;
    const setting = { form, channels, amount, inputs: amount > 0 && canRepair ? inputs : undefined };
    if (isOriginal(setting)) return this.#remember({ ...dense.made, bytes: this.#denseBytes });
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

  #placeOf({ setting }: Sized): number {
    return this.#points.findIndex((point) => isSetting(point, setting));
  }

  /** Whether a model is better than another; of equal ones, the smaller is. */
  #isBetter(one: Judged, other: Judged): boolean {
    const [a, b] = [this.outcomeOf(one.outcome).drop, this.outcomeOf(other.outcome).drop];
    return a < b || (a === b && one.bytes < other.bytes);
  }

  #unreachable(target: number, { setting, bytes }: Sized): SparsifyError {
    const { request, start, cutter } = this.#prepared;
    const { canPrune } = start.maker;
    const { encoding, allow } = request;
    const hints = [
      ...(allow.includes('quantize') ? [] : ['Add quantize to `allow`.']),
      ...(allow.includes('prune') ? [] : ['Add prune to `allow`.']),
      ...(allow.includes('prune') && encoding === 'raw' ? ['Zeros make only compressed files smaller.'] : []),
      ...(allow.includes('prune') && encoding !== 'raw' && !canPrune ? ['No layer could be pruned.'] : []),
      ...(allow.includes('remove') ? [] : ['Add remove to `allow`.']),
      ...(typeof cutter === 'string' ? [`No channels could go: ${cutter}.`] : []),
      'Choose a larger target',
    ];
    return new SparsifyError('sparsity', 'no allowed setting makes the model that small', {
      given: `${formatted(target)} bytes ${encodingInWords[encoding]}`,
      found: `${formatted(bytes)} bytes: ${settingInWords(setting)}`,
      hint: hints.join(' '),
    });
  }
}
