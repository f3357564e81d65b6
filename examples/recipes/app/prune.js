import { loadEngine, Sparsifier } from 'sparsifier';
import { readModel } from 'sparsifier/formats';

/** Removes half of the weights of the model at a path or URL. Gives its bytes, and how many threads did it and why. */
export async function prune(source) {
  const model = await readModel(source);
  await new Sparsifier(model, { layerType: 'all' }).sparsifyModel(50);
  const bytes = await model.bytes();
  model.close();
  const { threads, why } = await loadEngine();
  return { bytes: [...bytes], threads, why };
}
