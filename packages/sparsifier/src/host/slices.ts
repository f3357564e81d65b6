/** The number of bytes that are copied at a time, which takes a millisecond or two. */
const bytesAtATime = 1 << 20;

/** The number of steps that loops over bits or numbers take at a time. They are slow until they are compiled. */
export const stepsAtATime = 1 << 18;

/**
 * Splits a list into consecutive parts. Each ends once the sizes of its items add up to `enough`, or at the end of the
 * list.
 */
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
 * Ends the current task, so that a page can paint and a server can respond. Browsers delay timers by at least 4 ms, so
 * this does not use one.
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

/** When this thread last yielded. */
let paused = 0;

/** Does the work for `length` items slice by slice, and yields often enough for a page to stay responsive. */
export async function inSlices(
  length: number,
  work: (from: number, to: number) => Promise<void> | void,
  size = bytesAtATime,
): Promise<void> {
  for (let from = 0; from < length; from += size) {
    await work(from, Math.min(length, from + size));
    // A longer time may include other tasks. An unnecessary pause costs only microseconds.
    if (performance.now() - paused < 4) continue;
    await pause();
    paused = performance.now();
  }
}
