import { addTo } from '../description.js';

/**
 * Items in an order in which those that others need come first. Items in a circle come last.
 * @param needs the keys of what an item needs; those of no item do not count
 */
export function inOrder<Item>(
  items: readonly Item[],
  keyOf: (item: Item) => string,
  needs: (item: Item) => readonly string[],
): Item[] {
  const own = new Set(items.map(keyOf));
  const waiting = new Map<Item, number>();
  const needing = new Map<string, Item[]>();
  for (const item of items) {
    const needed = [...new Set(needs(item))].filter((key) => own.has(key));
    waiting.set(item, needed.length);
    for (const key of needed) addTo(needing, key, item);
  }
  const ready = items.filter((item) => waiting.get(item) === 0);
  // The list grows while it is read.
  for (const done of ready) {
    for (const item of needing.get(keyOf(done)) ?? []) {
      waiting.set(item, waiting.get(item)! - 1);
      if (waiting.get(item) === 0) ready.push(item);
    }
  }
  const all = new Set(ready);
  return [...ready, ...items.filter((item) => !all.has(item))];
}
