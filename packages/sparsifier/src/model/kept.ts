import type { Engine } from '../engine/engine.js';
import type { Kept, Model, Values } from './model.js';

/** Keeps the current numbers: as the model does it, or as a copy. */
export function keptIn(model: Model, values: Values): Kept {
  const kept = model.keep?.(values);
  if (kept) return kept;
  const copy = model.copy(values);
  // An error is for those who ask for the numbers.
  void Promise.resolve(copy).catch(() => {});
  return { bytes: () => copy, release: () => {} };
}

/** Keeps the numbers as they are stored now; the function that comes back restores them. */
export async function held(engine: Engine, model: Model, values: Values): Promise<() => Promise<void>> {
  if (model.hold) return model.hold(values);
  const bytes = await model.copy(values);
  return () => write(engine, model, new Map([[values, bytes]]));
}

/** Replaces numbers, little-endian. What needs memory comes before the first change. */
export async function write(engine: Engine, model: Model, numbers: ReadonlyMap<Values, Uint8Array>): Promise<void> {
  const regions: Awaited<ReturnType<Model['load']>>[] = [];
  try {
    for (const values of numbers.keys()) regions.push(await model.load(engine, values));
    for (const [index, [values, bytes]] of [...numbers].entries()) {
      const region = regions[index]!;
      await region.block.write(bytes, region.offset);
      await model.store(engine, values, region);
    }
  } finally {
    for (const region of regions) region.release();
  }
}
