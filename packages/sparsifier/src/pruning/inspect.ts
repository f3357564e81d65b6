import { loadEngine, type Engine } from '../engine/engine.js';
import { plainEntry } from '../engine/record.js';
import { run, writeTable, type Table } from '../engine/verbs.js';
import { filesOfAny } from '../formats/sizes.js';
import { addressOf, checkModel, type Model } from '../model/model.js';
import { inTurn } from '../model/turns.js';
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

/** Counts the zeros of each tensor. */
async function countZeros(engine: Engine, model: Model): Promise<number[]> {
  const zeros: number[] = [];
  for (const { values } of model.tensors) {
    const region = await model.load(engine, values);
    let table: Table | undefined;
    try {
      const axes = [{ size: values.length, block: 1, order: 0 }];
      table = await writeTable(engine, [{ ...plainEntry, weights: addressOf(region), dtype: values.dtype, axes }]);
      await run(engine, [['inspect', table.block.address, 1]]);
      zeros.push((await table.read())[0]!.zeros);
    } finally {
      table?.release();
      region.release();
    }
  }
  return zeros;
}
