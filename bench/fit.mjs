// Makes the text recogniser small enough with `fit`: for downloads of 3 and of 2 MB, after brotli. 16 rendered lines are the
// inputs for its calibration, 48 others judge the result, which the search never sees. `npm run bench -- fit 2MB`;
// `npm run bench -- fit 2MB remove` also tries to remove channels.
import { createHash } from 'node:crypto';
import { readOnnx } from 'sparsifier/formats/onnx';
import { fit } from 'sparsifier/fit';
import * as recogniser from '../examples/support/recogniser.mjs';
import { linesOf } from '../examples/support/recovery.mjs';

const targets = process.argv.slice(2).filter((word) => /^\d/.test(word));
const allow = process.argv.includes('remove') ? ['quantize', 'prune', 'remove'] : undefined;
const lines = await linesOf(1);
for (const target of targets.length > 0 ? targets : ['3MB', '2MB']) {
  const model = await readOnnx(recogniser.file);
  const begun = performance.now();
  const { model: small, report } = await fit(model, { target, allow, data: lines.data });
  const seconds = (performance.now() - begun) / 1000;
  const bytes = await small.bytes();
  console.log(String(report));
  console.log(`\n${target}: ${(await lines.kept(bytes)).toFixed(1)} % of the characters, ${seconds.toFixed(0)} s`);
  console.log(`SHA-256 ${createHash('sha256').update(bytes).digest('hex')}\n`);
  small.close();
  model.close();
}
process.exit();
