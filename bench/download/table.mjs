// The tables of docs/smaller.md, from the record that bench/download.mjs keeps.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../../scripts/steps.mjs';
import { head, machineOf, milliseconds, row } from '../report.mjs';

export const recordFile = join(root, 'bench', 'download', 'record.json');

const recorded = () => JSON.parse(readFileSync(recordFile, 'utf8'));

/** The bytes after brotli and the outcome of each network in the forms that matter most. */
export function expected() {
  const columns = {
    float32: [0, (forms) => forms[0]],
    float16: [0, (forms) => forms[1]],
    '8 bits': [0, (forms) => forms.at(-1)],
    '50 % zeros, 8 bits': [50, (forms) => forms.at(-1)],
    '70 % zeros, 8 bits': [70, (forms) => forms.at(-1)],
  };
  const lines = Object.values(recorded().networks).map(({ title, outcome, rows }) =>
    row([
      `${title}: ${outcome}`,
      ...Object.values(columns).map(([sparsity, choose]) => {
        const found = choose(rows[sparsity]);
        return `${kilobytes(found.brotli)}: ${found.outcome.toFixed(1)}`;
      }),
    ]),
  );
  return [...head(['network: outcome', ...Object.keys(columns)]), ...lines].join('\n');
}

/** A table for each network. */
export function downloads() {
  const record = recorded();
  const tables = Object.values(record.networks).map((network) => `**${network.title}**\n\n${tableOf(network)}`);
  return [...tables, `${machineOf(record)}.`].join('\n\n');
}

/** A row for each form and percentage of zeros. */
export function tableOf({ outcome, rows }) {
  const all = Object.entries(rows).flatMap(([sparsity, forms]) => forms.map((each) => ({ sparsity, ...each })));
  const runtimes = Object.keys(all[0].times);
  const lines = all.map(({ sparsity, form, isCorrected, raw, gzip, brotli, outcome, times }) =>
    row([
      `${sparsity} %`,
      isCorrected ? `${form}, corrected` : form,
      ...[raw, gzip, brotli].map(kilobytes),
      outcome.toFixed(1),
      ...runtimes.map((runtime) => `${milliseconds(times[runtime].time)} (${times[runtime].ratio.toFixed(2)} x)`),
    ]),
  );
  const [zeros, ...others] = ['zeros', 'form', 'bytes', '`gzip -9`', '`brotli -q 11`', outcome, ...runtimes];
  return [...head([zeros, ...others]), ...lines].join('\n');
}

export const kilobytes = (bytes) => `${Math.round(bytes / 1000).toLocaleString('en')} kB`;
