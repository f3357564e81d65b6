// Prunes and repairs a model: in Node.js and in a page.
import { loadEngine, Sparsifier } from 'sparsifier';
import { readStatistics } from 'sparsifier/calibration';
import { readOnnx } from 'sparsifier/formats/onnx';

/** Returns milliseconds, and how many layers are better than with the mask alone. */
export async function solve(bytes, statisticsBytes) {
  const model = await readOnnx(bytes);
  const statistics = await readStatistics(statisticsBytes);
  const options = { layerType: 'all', exclude: [{ depthwise: true }], criteria: 'fluctuation', statistics };
  const sparsifier = new Sparsifier(model, options);
  const begun = performance.now();
  await sparsifier.sparsifyModel(50);
  const pruned = performance.now();
  const { layers } = await sparsifier.repair();
  const done = performance.now();
  const { threads } = await loadEngine();
  sparsifier.clear();
  model.close();
  return {
    prune: pruned - begun,
    repair: done - pruned,
    layers: layers.length,
    repaired: layers.filter(({ isRepaired }) => isRepaired).length,
    threads,
  };
}
