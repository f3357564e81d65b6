import { printable } from '../printable.js';

/** Of text and axes: dark enough on white, and light enough on black. There is no style sheet, which a page would share. */
export const ink = '#767676';

/** Names of layers may be paths, whose ends tell more. */
export function short(name: string): string {
  const characters = [...printable(name)];
  return characters.length > 24 ? `…${characters.slice(-23).join('')}` : characters.join('');
}
