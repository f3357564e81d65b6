// Makes the text recogniser small enough with `fit`: for downloads of 3 and of 2 MB, after brotli. 16 rendered lines are the
// inputs for its calibration, 48 others judge the result, which the search never sees. `npm run bench -- fit 2MB`;
// `npm run bench -- fit 2MB remove` also tries to remove channels. `npm run bench -- fit 0.02` finds the smallest file that loses
// no more than this share of the characters: 24 lines of another seed choose it.
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
  const goal = /[a-z]/i.test(target) ? { target } : { maxDrop: Number(target), evaluate: await evaluateOf() };
  const { model: small, report } = await fit(model, { ...goal, allow, data: lines.data });
  const seconds = (performance.now() - begun) / 1000;
  const bytes = await small.bytes();
  console.log(String(report));
  console.log(`\n${target}: ${(await lines.kept(bytes)).toFixed(1)} % of the characters, ${seconds.toFixed(0)} s`);
  console.log(`SHA-256 ${createHash('sha256').update(bytes).digest('hex')}\n`);
  small.close();
  model.close();
}
process.exit();

/** Which share of the characters is kept: of 24 lines in the search, of the 48 that judge at the end. */
async function evaluateOf() {
  const { kept } = await linesOf(2, 24);
  return async (files, { part }) => {
    const [bytes] = files.values();
    return (await (part === 'search' ? kept : lines.kept)(bytes)) / 100;
  };
}
