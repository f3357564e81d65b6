import type { Budget } from '../options/budgets.js';
import type { Judge } from './judge.js';
import type { Maker } from './make.js';

/** How removed weights may be divided among layers of whose inputs nothing is known, the usual way first. */
export const candidates = ['lamp', 'uniform', 'erk'] as const satisfies readonly Budget[];

/** How many of the weights are removed to compare these, in percent. */
const amounts = [50, 70] as const;

/** The maker of the budget that is best for a judge, and what says so. */
interface Chosen<Feeds> {
  readonly maker: Maker<Feeds>;
  readonly note: string | undefined;
}

/**
 * Chooses how removed weights are divided among layers. The budget with the least drops at a few amounts is taken.
 * @param makerOf of models that are pruned by a budget
 * @param onShare is told how much of the work is done
 */
export async function byBestBudget<Feeds>(
  makerOf: (budget: Budget) => Promise<Maker<Feeds>>,
  judge: Judge,
  onShare: (share: number) => void,
): Promise<Chosen<Feeds>> {
  let best: { readonly budget: Budget; readonly maker: Maker<Feeds>; readonly value: number } | undefined;
  for (const [index, budget] of candidates.entries()) {
    const maker = await makerOf(budget);
    if (!maker.canPrune) return { maker, note: undefined };
    try {
      let value = 0;
      for (const [place, amount] of amounts.entries()) {
        const made = await maker.make({ form: 'stored', amount, inputs: undefined, channels: 0 });
        value += (judge.higherIsBetter ? 1 : -1) * (await judge.judge(made, 'search'));
        onShare((index + (place + 1) / amounts.length) / candidates.length);
      }
      await maker.restore();
      if (best === undefined || value > best.value) {
        best?.maker.close();
        best = { budget, maker, value };
      } else maker.close();
    } catch (error) {
      maker.close();
      best?.maker.close();
      throw error;
    }
  }
  const others = candidates.filter((each) => each !== best!.budget);
  const note = `removed weights were divided among the layers by the budget ${best!.budget}, which was better than ${others.join(' and ')}`;
  return { maker: best!.maker, note };
}
