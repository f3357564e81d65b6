import { isKept, storedUnits, type Squares } from '../engine/record.js';
import type { Kind, Leak, Model, WeightTensor } from '../model/model.js';
import { sumOf } from '../model/numbers.js';
import { fits, type Amount } from '../options/amounts.js';
import type { RowMask, Units } from '../options/units.js';
import type { Removed } from './job.js';
import { percentOf } from './text.js';
import { errorLimits, type Finding, type Reason } from './warnings.js';

/** What was asked of the layers of a ranking, which are given by their places in the call. */
export interface Requested {
  readonly name: string;
  readonly members: readonly number[];
  readonly units: number;
  /** Undefined where a pattern fixes how much is removed. */
  readonly amount?: Amount;
  /** The amount in units, and how many the limits allow. */
  readonly asked?: number;
  readonly limit?: number;
}

/** A layer of a call. */
interface Layer {
  readonly tensor: WeightTensor;
  readonly units: Units;
  /** Where whole channels are removed, which nothing reads any more. */
  readonly rows?: RowMask | undefined;
  readonly outcome: Removed;
}

/** What was ranked as a layer is: a layer, or channels of several. */
export interface RankedUnits extends Pick<Removed, 'removedUnits' | 'zeros'> {
  readonly weights: number;
  /** Whether any of the removed weights was not 0. */
  readonly isChanged: boolean;
}

/** What warnings are found from: what was asked, and what was done. */
export interface Facts {
  readonly layers: readonly Layer[];
  readonly model: Pick<Model, 'weights'>;
  readonly requested: readonly Requested[];
  /** What the members of rankings are; undefined if these are the layers. */
  readonly ranked?: readonly RankedUnits[] | undefined;
  readonly leftAlone: readonly WeightTensor[];
  readonly roundTo?: number | undefined;
  /** The options that limit what is removed, as far as they were given. */
  readonly limits: readonly ('minKeep' | 'maxSparsity')[];
}

/** The relative error of a layer: see {@link LayerReport.error}. */
export function errorOf({ kept, removed }: Pick<Squares, 'kept' | 'removed'>): number | undefined {
  if (removed === 0) return 0;
  return Number.isFinite(kept + removed) ? Math.sqrt(removed / (kept + removed)) : undefined;
}

/** What a user should know about a call, the worst first. */
export function findingsOf(facts: Facts): Finding[] {
  const outcomes = outcomesOf(facts);
  return [
    highError(facts),
    channelsNotSilent(facts),
    channelsUncoupled(facts),
    nothingRemoved(outcomes, facts),
    alreadyZero(outcomes),
    amountChanged(outcomes, facts),
    layersLeftAlone(facts),
  ].filter((finding) => finding !== undefined);
}

/** The name of the only layer, for a finding about one. */
const only = (names: readonly string[]): { readonly layer?: string } =>
  names.length === 1 ? { layer: names[0]! } : {};

function highError({ layers }: Facts): Finding | undefined {
  const errors = layers
    .map(({ tensor: { name, kind }, outcome }) => ({ name, kind, error: errorOf(outcome.squares) ?? 0 }))
    .filter(({ error }) => error > 0)
    .sort((first, second) => second.error - first.error);
  const isConvolution = ({ kind }: { readonly kind: Kind }) => kind.startsWith('conv');
  const combined = (some: typeof errors) => Math.sqrt(sumOf(some.map(({ error }) => error ** 2)));
  const convolutions = combined(errors.filter(isConvolution));
  const others = combined(errors.filter((each) => !isConvolution(each)));
  const isHigh =
    convolutions > errorLimits.convolutions ||
    others > errorLimits.others ||
    (errors[0]?.error ?? 0) > errorLimits.layer;
  if (!isHigh) return undefined;
  return {
    code: 'high-error',
    ...only(errors.map(({ name }) => name)),
    details: { layers: errors, convolutions, others },
  };
}

function channelsNotSilent({ layers }: Facts): Finding | undefined {
  const found = layers.flatMap(({ tensor, units, rows, outcome }) => {
    if (!units.isChannels || rows || outcome.removedUnits === 0) return [];
    const partners = units.isChannel
      ? []
      : tensor.partners.map(({ part }): Leak => ({ name: part, reason: withSingleChannels }));
    const leaks = [...(tensor.leaks ?? []), ...partners];
    return leaks.length > 0 ? [{ name: tensor.name, leaks }] : [];
  });
  if (found.length === 0) return undefined;
  return { code: 'channels-not-silent', ...only(found.map(({ name }) => name)), details: { layers: found } };
}

const withSingleChannels = 'it is only removed if each unit is one output channel';

function channelsUncoupled({ layers }: Facts): Finding | undefined {
  const removedOf = new Map<string, readonly boolean[]>();
  for (const { tensor, units, outcome } of layers) {
    const { channels } = outcome;
    if (channels)
      removedOf.set(
        tensor.name,
        storedUnits(units.axes).map((unit) => !isKept(channels, unit)),
      );
  }
  const found = layers.flatMap(({ tensor: { name, channelsFrom = [] } }) =>
    channelsFrom.flatMap((from) => {
      const [own, given] = [removedOf.get(name), removedOf.get(from)];
      // Each channel may have several filters, which follow each other.
      if (!own?.some(Boolean) || !given?.some(Boolean) || own.length % given.length > 0) return [];
      const filters = own.length / given.length;
      const either = own.map((isRemoved, filter) => isRemoved || given[Math.floor(filter / filters)]!);
      const count = (flags: readonly boolean[]) => flags.filter(Boolean).length;
      const both = count(own) + count(given) * filters - count(either);
      return both === count(either)
        ? []
        : [{ name, from, channels: own.length, removed: count(own), lost: count(either) }];
    }),
  );
  if (found.length === 0) return undefined;
  return { code: 'channels-uncoupled', ...only(found.map(({ name }) => name)), details: { layers: found } };
}

/** What was asked of a ranking, and what it lost. */
interface Outcome {
  readonly request: Requested;
  readonly removed: number;
  readonly weights: number;
  readonly zeros: number;
  readonly isChanged: boolean;
}

function outcomesOf({ requested, layers, ranked = layers.map(rankedAlone) }: Facts): Outcome[] {
  return requested.map((request) => {
    const own = request.members.map((member) => ranked[member]!);
    const total = (key: 'removedUnits' | 'weights' | 'zeros') => sumOf(own.map((each) => each[key]));
    return {
      request,
      ...{ removed: total('removedUnits'), weights: total('weights'), zeros: total('zeros') },
      isChanged: own.some(({ isChanged }) => isChanged),
    };
  });
}

const rankedAlone = ({ tensor, outcome: { removedUnits, zeros, squares } }: Layer): RankedUnits => ({
  ...{ removedUnits, zeros, weights: tensor.values.length, isChanged: squares.isChanged },
});

/** Whether something was to be removed, however little. */
const isAsked = ({ amount, asked, units }: Requested): boolean =>
  typeof amount === 'number' ? amount > 0 : amount === undefined || asked! > 0 || !fits(amount, units);

/** Why a ranking loses another number of units than the amount gives. */
function reasonOf({ amount, asked, limit, units }: Requested, { roundTo, limits }: Facts): Reason {
  if (amount === undefined) return { name: 'pattern' };
  if (!fits(amount, units)) return { name: 'units', named: Object.values(amount)[0]! };
  if (asked! > limit!) return limits.length > 0 ? { name: 'limits', options: limits } : { name: 'allowEmpty' };
  return asked === 0 || roundTo === undefined ? { name: 'small' } : { name: 'roundTo', roundTo };
}

function nothingRemoved(outcomes: readonly Outcome[], facts: Facts): Finding | undefined {
  const found = outcomes.filter(({ request, removed }) => isAsked(request) && removed === 0);
  if (found.length === 0) return undefined;
  const rankings = found.map(({ request }) => ({
    name: request.name,
    units: request.units,
    because: reasonOf(request, facts),
  }));
  const isEverything = found.length === outcomes.length;
  return { code: 'nothing-removed', ...only(rankings.map(({ name }) => name)), details: { rankings, isEverything } };
}

function alreadyZero(outcomes: readonly Outcome[]): Finding | undefined {
  const found = outcomes.filter(({ removed, isChanged }) => removed > 0 && !isChanged);
  if (found.length === 0) return undefined;
  const rankings = found.map(({ request: { name, units }, removed, weights, zeros }) => ({
    ...{ name, units, removed, weights, zeros },
  }));
  return { code: 'already-zero', ...only(rankings.map(({ name }) => name)), details: { rankings } };
}

function amountChanged(outcomes: readonly Outcome[], facts: Facts): Finding | undefined {
  const found = outcomes.flatMap(({ request, removed }) => {
    const { name, units, amount, asked } = request;
    const isOther = amount !== undefined && removed > 0 && removed !== wanted(amount, asked!);
    return isOther ? [{ name, units, asked: wanted(amount, asked!), removed, because: reasonOf(request, facts) }] : [];
  });
  if (found.length === 0) return undefined;
  const off = ({ units, asked, removed }: (typeof found)[number]) => Math.abs(percentOf(asked - removed, units));
  const rankings = found.sort((first, second) => off(second) - off(first));
  return { code: 'amount-changed', ...only(rankings.map(({ name }) => name)), details: { rankings } };
}

/** How many units an amount names, even if there are fewer. */
const wanted = (amount: Amount, asked: number): number =>
  typeof amount === 'object' && 'remove' in amount ? amount.remove : asked;

function layersLeftAlone({ leftAlone, model }: Facts): Finding | undefined {
  if (leftAlone.length === 0) return undefined;
  const layers = leftAlone.map(({ name }) => name);
  const kinds = [...new Set(leftAlone.map(({ kind }) => kind))];
  const weights = sumOf(leftAlone.map(({ values }) => values.length));
  return {
    code: 'layers-left-alone',
    ...only(layers),
    details: { layers, kinds, weights, percent: percentOf(weights, model.weights) },
  };
}
