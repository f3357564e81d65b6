import type { Known } from '../../../../structure/numbers.js';
import type { Operator, Site } from '../site.js';
import { onlyZeros } from './known.js';
import { checked, mayPad, windowed, paddedSizes } from './windows.js';

/** The axes of space are others behind a pool. */
const coupleSpace: Operator['couple'] = (site, [shape]) => {
  const x = site.input(0);
  site.block(x, [...x.axes.keys()].slice(2));
  return [[...x.axes.slice(0, 2), ...site.fixed(shape!.slice(2))]];
};

/** @param attributes the names of its own ones */
const pool = (
  constant: (site: Site, isPadded: boolean, known: Known) => Known | undefined,
  attributes: readonly string[] = [],
): Operator => ({
  channels: 'reduced',
  attributes: [...paddedSizes, 'ceil_mode', ...attributes],
  inputs: 1,
  shape: (site) => {
    const { shape } = site.input(0);
    return [checked([...shape.slice(0, 2), ...windowed(site, shape.slice(2), site.integers('kernel_shape')!).sizes])];
  },
  couple: coupleSpace,
  constant: (site) => {
    const x = site.input(0);
    const known = x.known && x.known.axis < 2 ? { ...x.known, spread: undefined } : undefined;
    const { pads } = windowed(site, x.shape.slice(2), site.integers('kernel_shape')!);
    return known && constant(site, pads.some((pad) => pad !== 0) || mayPad(site), known);
  },
});

const globalPool: Operator = {
  channels: 'reduced',
  attributes: [],
  inputs: 1,
  shape: (site) => {
    const { shape } = site.input(0);
    return [[...shape.slice(0, 2), ...shape.slice(2).map(() => 1)]];
  },
  couple: coupleSpace,
  constant: (site) => {
    const { known } = site.input(0);
    return known && known.axis < 2 ? { ...known, spread: undefined } : undefined;
  },
};

/** The norm of zeros is 0; that of other numbers depends on how many there are. */
export const zerosOfPool: Operator['constant'] = (site) => {
  const { known } = site.input(0);
  return known && known.axis < 2 ? onlyZeros(known) : undefined;
};

export const pools: ReadonlyMap<string, Operator> = new Map<string, Operator>([
  // Windows with gaps may lie in the padding altogether.
  [
    'MaxPool',
    pool(
      (site, isPadded, known) => {
        const hasGaps = site.integers('dilations')?.some((step) => step > 1) === true;
        return hasGaps && isPadded ? undefined : known;
      },
      ['storage_order'],
    ),
  ],
  [
    'AveragePool',
    pool(
      (site, isPadded, known) =>
        (isPadded || site.integer('ceil_mode', 0) !== 0) && site.integer('count_include_pad', 0) !== 0
          ? onlyZeros(known)
          : known,
      ['count_include_pad'],
    ),
  ],
  // A sum, of which the number of its parts is not known.
  ['LpPool', pool((_site, _isPadded, known) => onlyZeros(known), ['p'])],
  ['GlobalAveragePool', globalPool],
  ['GlobalMaxPool', globalPool],
  ['GlobalLpPool', { ...globalPool, attributes: ['p'], constant: zerosOfPool }],
]);
