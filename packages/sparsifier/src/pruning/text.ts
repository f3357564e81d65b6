import { shortened } from '../printable.js';

/** A whole number with thousands separators. The first `Intl.NumberFormat` of a process takes 10 ms. */
export const formatted = (value: number): string => String(value).replace(/\B(?=(\d{3})+$)/g, ',');

export const percent = (value: number): string => `${value.toFixed(2)} %`;

/** A part of a whole in percent; that of nothing is 0. */
export const percentOf = (part: number, whole: number): number => (whole === 0 ? 0 : (100 * part) / whole);

/** `1 layer`, `2 layers` */
export const counted = (count: number, noun: string): string => `${formatted(count)} ${noun}${count === 1 ? '' : 's'}`;

/** The first items, and how many more there are: `a, b, c and 9 more`. */
export function listed(items: readonly string[], most = 3): string {
  // Instead of "and 1 more" there is room for the item.
  const shown = items.length === most + 1 ? items.length : most;
  const rest = items.length - shown;
  return items.slice(0, shown).map(shortened).join(', ') + (rest > 0 ? ` and ${formatted(rest)} more` : '');
}
