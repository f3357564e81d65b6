import { loadEngine, type Engine } from '../engine/engine.js';
import { plainEntry, type Entry } from '../engine/record.js';
import { run, writeTable } from '../engine/verbs.js';
import { filesOfAny } from '../formats/sizes.js';
import { addressOf, checkModel, type Model } from '../model/model.js';
import { inTurn } from '../model/turns.js';
import { parts } from '../host/slices.js';
import { reportOf } from './made-report.js';
import type { Report } from './report.js';

/**
 * What a model holds: each layer that can be pruned with its zeros, where units are weights; and what cannot, and why.
 */
export async function inspect(model: Model): Promise<Report> {
  checkModel(model);
  return inTurn(model, () => inspected(model));
}

async function inspected(model: Model): Promise<Report> {
  const engine = await loadEngine();
  const zeros = await countZeros(engine, model);
  const layers = model.tensors.map(({ name, kind, shape, values, fixed }, index) => ({
    name,
    kind,
    shape,
    ...(fixed === undefined ? {} : { fixed }),
    weights: values.length,
    zeros: zeros[index]!,
    removedWeights: 0,
    units: values.length,
    removedUnits: 0,
  }));
  const notes = model.tensors.flatMap(({ name, notes, storage }) =>
    [...notes, ...(storage ? [storage] : [])].map((note) => `${name}: ${note}`),
  );
  return reportOf({ layers, model, files: await filesOfAny(model), engine, notes, warnings: [], isCall: false });
}

/** The zeros of small tensors are counted together, up to this many weights, which limits the memory of decoded ones. */
const togetherWeights = 1 << 20;

/** Counts the zeros of each tensor. */
async function countZeros(engine: Engine, model: Model): Promise<number[]> {
  const zeros: number[] = [];
  for (const { part } of parts(model.tensors, ({ values }) => values.length, togetherWeights)) {
    const held: { release(): void }[] = [];
    try {
      const entries: Entry[] = [];
      for (const { values } of part) {
        const region = await model.load(engine, values);
        held.push(region);
        const axes = [{ size: values.length, block: 1, order: 0 }];
        entries.push({ ...plainEntry, weights: addressOf(region), dtype: values.dtype, axes });
      }
      const table = await writeTable(engine, entries);
      held.push(table);
      await run(engine, [['inspect', table.block.address, entries.length]]);
      for (const outcome of await table.read()) zeros.push(outcome.zeros);
    } finally {
      for (const each of held) each.release();
    }
  }
  return zeros;
}
