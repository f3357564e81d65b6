import { textOf } from '../printable.js';
import { calibrate as measure } from '../calibration/onnx.js';
import type { Statistics } from '../calibration/statistics.js';
import { readModel } from '../formats/read-model.js';
import { grouped, ruled, section } from '../pruning/table.js';
import { counted, formatted } from '../pruning/text.js';
import { measuringOptions, sessionDataOf, type MeasuringOptions } from './calibration.js';
import { readBatches } from './inputs.js';
import { checkOutputs } from './outputs.js';
import { outMissing } from './parse.js';
import { allSaid, type Say } from './phrasing.js';
import { print, writtenTo } from './print.js';
import { startSpinner } from './spinner.js';

/** The options of the command, without `--threads`. */
export interface CalibrateOptions extends MeasuringOptions {
  readonly out?: string;
  readonly force?: boolean;
  readonly json?: boolean;
}

/**
 * The command `calibrate`.
 * @param engine is still loading
 * @param say for the messages of the library
 */
export async function calibrate(
  file: string,
  inputs: string,
  { out, force = false, json = false, ...measuring }: CalibrateOptions,
  engine: Promise<unknown>,
  say: Say,
): Promise<void> {
  if (out === undefined) throw outMissing('sparsifier calibrate model.onnx inputs.npz -o statistics.safetensors');
  const batches = await readBatches(inputs);
  await engine;
  const spinner = startSpinner(json);
  try {
    using model = await readModel(file);
    // Before anything is measured.
    await checkOutputs(model, [out], { force, read: [inputs] });
    const statistics = await measure(model, {
      ...(await sessionDataOf(model, file, batches)),
      ...measuringOptions(measuring),
      onProgress: spinner.onProgress,
    });
    spinner.show('writing');
    await statistics.write(out, { force });
    spinner.stop();
    const facts = { ...inData(statistics), notes: allSaid(statistics.notes, say) };
    print(json ? JSON.stringify({ ...facts, out }, null, 2) : `${inWords(facts)}\n\n${writtenTo(out)}`);
  } finally {
    spinner.stop();
  }
}

/** What statistics are about, without their numbers. */
const inData = ({ layers, skipped }: Statistics) => ({
  layers: Array.from(layers, ([name, { groups, columns, isDiagonal, rows, heldOut }]) => ({
    name,
    groups,
    columns,
    isDiagonal,
    rows,
    heldOutRows: heldOut?.rows ?? 0,
  })),
  skipped,
});

function inWords({ layers, skipped, notes }: ReturnType<typeof inData> & Pick<Statistics, 'notes'>): string {
  const rows = layers.map(({ name, rows, heldOutRows, columns, groups, isDiagonal }) => [
    name,
    formatted(rows),
    formatted(heldOutRows),
    formatted(columns),
    formatted(groups),
    isDiagonal ? 'diagonal' : 'all',
  ]);
  const head = ['layer', 'rows', 'held out', 'columns', 'groups', 'moments'];
  return textOf([
    ...ruled([head, ...rows, [counted(rows.length, 'layer')]], { head: 1, body: rows.length, from: 1, to: 5 }),
    ...section('not measured', grouped(skipped, 'layer')),
    ...section('notes', notes),
  ]);
}
