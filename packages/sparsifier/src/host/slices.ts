/** Bytes are copied so many at a time, in a millisecond or two. */
const bytesAtATime = 1 << 20;

/** Loops over bits or numbers take so many steps at a time, since they are slow until they are compiled. */
export const stepsAtATime = 1 << 18;

/** A list in parts of neighbours; each ends with the item that brings the sum of its sizes to `enough`, or with the list. */
export function* parts<Item>(
  items: readonly Item[],
  sizeOf: (item: Item) => number,
  enough: number,
): Generator<{ readonly from: number; readonly part: readonly Item[]; readonly size: number }> {
  let [from, size] = [0, 0];
  for (const [index, item] of items.entries()) {
    size += sizeOf(item);
    if (size < enough && index + 1 < items.length) continue;
    yield { from, part: items.slice(from, index + 1), size };
    [from, size] = [index + 1, 0];
  }
}

/**
 * Ends the current task, so that a page can paint and a server can answer. Not by a timer in pages: those wait 4 ms and
 * more.
 */
function pause(): Promise<void> {
  return new Promise((resolve) => {
    if (typeof setImmediate === 'function') return void setImmediate(resolve);
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(undefined);
  });
}

/** When this thread last let others have their turn. */
let paused = 0;

/** Covers `length` slice by slice, and lets the page breathe before 16 ms are over. */
export async function inSlices(
  length: number,
  work: (from: number, to: number) => Promise<void> | void,
  size = bytesAtATime,
): Promise<void> {
  for (let from = 0; from < length; from += size) {
    await work(from, Math.min(length, from + size));
    // What is longer ago is not known to have been one task; a pause too many costs microseconds.
    if (performance.now() - paused < 4) continue;
    await pause();
    paused = performance.now();
  }
}
