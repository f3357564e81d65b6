// The table of docs/smaller.md that compares with onnxruntime's tools, from the record that bench/quantise.mjs keeps.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../../scripts/steps.mjs';
import { kilobytes } from '../download/table.mjs';
import { head, machineOf, milliseconds, row } from '../report.mjs';

export const recordFile = join(root, 'bench', 'quantise', 'record.json');

/** A table for each network. */
export function quantisers() {
  const record = JSON.parse(readFileSync(recordFile, 'utf8'));
  return [...Object.values(record.networks).map(tableOf), `${machineOf(record)}.`].join('\n\n');
}

/** A row for each file. The first one is float32. */
export function tableOf({ title, outcome, rows }) {
  const runtimes = Object.keys(rows[0].times);
  const lines = rows.map(({ name, raw, gzip, outcome, times }) => {
    const cells = runtimes.map((runtime) =>
      times[runtime] === undefined
        ? 'does not run'
        : `${milliseconds(times[runtime])} (${(times[runtime] / rows[0].times[runtime]).toFixed(2)} x)`,
    );
    return row([name, kilobytes(raw), kilobytes(gzip), outcome.toFixed(1), ...cells]);
  });
  return [...head([title, 'bytes', '`gzip -9`', outcome, ...runtimes]), ...lines].join('\n');
}
