/** Amounts are counted in hundredths of a percent. */
const hundredths = (percent: number): number => Math.round(100 * percent);

/** The largest amount, beyond which the errors of layers are not measured. */
const most = hundredths(95);

/** How close to the target an estimate, and a model, must be: at least this share of it. */
const [nearEstimate, nearTarget] = [0.997, 0.99];

/** How many models are made at most once one of them meets the target. */
const makesAtMost = 5;

/** A search for the fewest zeros in one form. */
export class AmountSearch {
  readonly #estimates = new Map<number, number>();
  readonly #estimate: (amount: number) => Promise<number>;
  readonly #most: number;
  /** Exact bytes for each estimated one, once they are known. */
  #ratio = 1;

  /** @param estimate about how many bytes a model has @param canPrune whether any amount but 0 is allowed */
  constructor(estimate: (amount: number) => Promise<number>, canPrune: boolean) {
    this.#estimate = estimate;
    this.#most = canPrune ? most : 0;
  }

  /** Of the estimates so far, what they say about exact bytes. */
  get estimates(): { readonly amount: number; readonly bytes: number }[] {
    return [...this.#estimates].map(([amount, bytes]) => ({ amount, bytes: Math.round(bytes * this.#ratio) }));
  }

  /** The largest amount that is tried. */
  get most(): number {
    return this.#most;
  }

  /** Learns from the exact bytes of a model. */
  async learn(amount: number, bytes: number): Promise<void> {
    this.#ratio = bytes / (await this.#at(amount));
  }

  /**
   * Makes models until one meets the target and leaves hardly anything unused, or has no more zeros than necessary.
   * @param make a model and its exact bytes
   * @returns the model that meets the target with the fewest zeros, or the one that came nearest
   */
  async within<Model extends { readonly bytes: number }>(
    target: number,
    make: (amount: number) => Promise<Model>,
  ): Promise<{ readonly model: Model; readonly fits: boolean }> {
    let best: { readonly amount: number; readonly model: Model } | undefined;
    let tooFew = -1;
    let nearest: Model | undefined;
    for (let count = 1; ; count++) {
      const [first, last] = [tooFew + 1, best === undefined ? this.#most : best.amount - 1];
      // The more models were too large, the smaller the next one.
      const goal = target * (best === undefined ? 1 - 0.002 * (2 ** (count - 1) - 1) : 1);
      const amount = Math.min(last, Math.max(first, await this.#amountFor(goal / this.#ratio)));
      const model = await make(amount);
      await this.learn(amount, model.bytes);
      if (model.bytes <= target) best = { amount, model };
      else tooFew = amount;
      if (nearest === undefined || model.bytes < nearest.bytes) nearest = model;
      if (best === undefined && amount === this.#most) return { model: nearest, fits: false };
      const isNear = best !== undefined && best.model.bytes >= nearTarget * target;
      if (best && (isNear || best.amount === tooFew + 1 || count >= makesAtMost))
        return { model: best.model, fits: true };
    }
  }

  /** The smallest amount whose estimate is at most the goal; the largest of all if there is none. */
  async #amountFor(goal: number): Promise<number> {
    if ((await this.#at(0)) <= goal) return 0;
    if ((await this.#at(this.#most)) > goal) return this.#most;
    let [low, high] = [0, this.#most];
    // What is known already narrows the search.
    for (const [amount, bytes] of this.#estimates) {
      if (bytes > goal) low = Math.max(low, amount);
    }
    for (const [amount, bytes] of this.#estimates) {
      if (bytes <= goal && amount > low) high = Math.min(high, amount);
    }
    while (high - low > 1 && (await this.#at(high)) < nearEstimate * goal) {
      const [more, fewer] = [await this.#at(low), await this.#at(high)];
      const wanted = ((1 + nearEstimate) / 2) * goal;
      const share = Math.min(0.9, Math.max(0.1, (more - wanted) / (more - fewer)));
      const middle = Math.min(high - 1, Math.max(low + 1, Math.round(low + share * (high - low))));
      if ((await this.#at(middle)) <= goal) high = middle;
      else low = middle;
    }
    return high;
  }

  async #at(amount: number): Promise<number> {
    const known = this.#estimates.get(amount);
    if (known !== undefined) return known;
    const bytes = await this.#estimate(amount);
    this.#estimates.set(amount, bytes);
    return bytes;
  }
}
