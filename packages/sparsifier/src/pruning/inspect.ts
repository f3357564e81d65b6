import { load } from '../engine/engine.js';
import { countZeros } from './call.js';
import { reportOf, type Report } from './report.js';
import type { Model } from '../model/model.js';

/** What a model holds: each layer that can be pruned with its zeros, units being weights; and what cannot, and why. */
export async function inspect(model: Model): Promise<Report> {
  const engine = await load();
  const zeros = await countZeros(engine, model);
  const layers = model.tensors.map(({ name, kind, shape, values }, index) => ({
    name,
    kind,
    shape,
    weights: values.length,
    zeros: zeros[index]!,
    removed: 0,
    units: values.length,
    kept: values.length,
  }));
  return reportOf(
    layers,
    model.skipped,
    engine,
    model.tensors.flatMap(({ name, notes, storage }) =>
      [...notes, ...(storage ? [storage] : [])].map((note) => `${name}: ${note}`),
    ),
  );
}
