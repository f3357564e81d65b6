import { Sparsifier } from 'sparsifier';
import { readOnnx } from 'sparsifier/formats/onnx';

// Tests and benchmarks use this. A model without about half of the channels of each group: they are zero, as are all weights
// that read them.
export async function halved(bytes, inputShapes, roundTo = 1) {
  const model = await readOnnx(bytes);
  const sparsifier = new Sparsifier(model, { granularity: 'filter', coupled: { inputShapes }, criteria: 'random' });
  const { groups } = await sparsifier.sparsifyModel(0);
  const left = (count) => roundTo * Math.max(1, Math.ceil(count / 2 / roundTo - 0.5));
  await sparsifier.sparsifyModel(Object.fromEntries(groups.map(({ name, units }) => [name, { keep: left(units) }])));
  const result = await model.bytes();
  model.close();
  return result;
}
