import { sumOf } from '../model/numbers.js';
import type { Activation, Activations, OpenProbe, Probe } from './probe.js';

/** Values of one batch that are kept. */
type Kept = Map<string, Activation & { readonly bytes: number }>;

/**
 * A probe that computes values before they are asked for, and keeps them. A model that is asked for one value after the other,
 * with the same batches each time, then runs as often as memory requires.
 * @param order the values that will be asked for, in this order
 * @param memory how many bytes may be kept
 */
export function remembered<Batch>(probe: Probe<Batch>, order: readonly string[], memory: number): Probe<Batch> {
  /** For each batch. */
  let kept: Kept[] = [];
  const places = new Map(order.map((value, place) => [value, place]));
  return {
    usesOf: (tensor) => probe.usesOf(tensor),
    open: async (values) => {
      const rest = order.slice(values.reduce((first, value) => Math.min(first, places.get(value) ?? -1), order.length));
      // Those that are asked for now come first, and are kept in any case.
      let wanted = [...new Set([...values, ...rest])];
      let live: OpenProbe<Batch> | undefined;
      let index = 0;
      return {
        run: async (batch) => {
          const at = index++;
          const known = kept[at];
          if (known && values.every((value) => known.has(value))) return activationsOf(known);
          if (at === 0) kept = [];
          live ??= await probe.open(wanted);
          const computed = await live.run(batch);
          try {
            kept[at] = await copiesOf(computed, wanted);
          } finally {
            computed.release();
          }
          wanted = fitting(kept, wanted, values.length, memory);
          return activationsOf(kept[at]);
        },
        release: async () => live?.release(),
      };
    },
  };
}

async function copiesOf(computed: Activations, values: readonly string[]): Promise<Kept> {
  const kept: Kept = new Map();
  for (const value of values) {
    const activation = computed.get(value);
    if (!activation) continue;
    const { shape, type } = activation;
    const numbers = (await activation.numbers())?.slice();
    kept.set(value, { shape: [...shape], type, numbers: () => numbers, bytes: numbers?.byteLength ?? 0 });
  }
  return kept;
}

/** Discards the last values of all batches until the rest fits into memory. Returns those that are left. */
function fitting(kept: readonly Kept[], wanted: readonly string[], needed: number, memory: number): string[] {
  const left = [...wanted];
  let bytes = sumOf(kept.flatMap((each) => [...each.values()].map((value) => value.bytes)));
  while (left.length > needed && bytes > memory) {
    const last = left.pop()!;
    for (const each of kept) {
      bytes -= each.get(last)?.bytes ?? 0;
      each.delete(last);
    }
  }
  return left;
}

const activationsOf = (kept: Kept): Activations => ({ get: (value) => kept.get(value), release: () => {} });
