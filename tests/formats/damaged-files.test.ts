// Files that were damaged at random: each is read, pruned, stored in fewer bytes and written, or refused.
import { inspect, Sparsifier, SparsifyError } from 'sparsifier';
import { sparsifyFile } from 'sparsifier/file';
import { readModel, type FileModel, type ReadModelOptions } from 'sparsifier/formats';
import { dequantize, quantize } from 'sparsifier/quantize';
import { expect, test } from 'vitest';
import { readBytes } from '../support/files.js';
import { expectNoMemoryInUse } from '../support/layers.js';
import { drawing, withBytesChanged, withFieldsChanged, withValuesChanged } from '../support/mutations.js';
import { smallModels } from '../support/small-models.js';
import { reading, type Source } from '../support/streams.js';
import { jsonOf, textOf } from '../support/tfjs.js';

type Bytes = Uint8Array<ArrayBuffer>;
type Change = (file: Bytes, draw: ReturnType<typeof drawing>) => Bytes;

const inJson: Change = (file, draw) => textOf(withValuesChanged(jsonOf(file), draw) ?? null) as Bytes;
const onnxCase = async (name: string): Promise<Source> => ({
  bytes: await readBytes(`cases/${name}`),
  give: 'external',
});

const files: readonly (readonly [name: string, source: Source, change: Change])[] = [
  ['a quantised ONNX model', await onnxCase('quantised/static_16_bits.onnx'), withFieldsChanged],
  ['an ONNX model with dynamic quantisation', await onnxCase('quantised/dynamic.onnx'), withFieldsChanged],
  ['an ONNX model with a function', await onnxCase('fn_weight_passed.onnx'), withFieldsChanged],
  ['an index of safetensors files', smallModels.safetensors, inJson],
  ['a TensorFlow.js model', smallModels.tfjs, inJson],
];

/** Awaits a call, which may fail with nothing but an error of this library. */
async function attempt<Value>(seed: number, call: () => Promise<Value>): Promise<Value | undefined> {
  try {
    return await call();
  } catch (error) {
    if (error instanceof SparsifyError) return undefined;
    throw new Error(`seed ${seed}: ${String(error)}`, { cause: error });
  }
}

/** @returns whether the model could be read */
async function walk(seed: number, bytes: Bytes, options: ReadModelOptions): Promise<boolean> {
  const rule = { layerType: 'all' } as const;
  await attempt(seed, () => sparsifyFile(bytes, () => new WritableStream(), { ...options, ...rule, sparsity: 50 }));
  const model = await attempt(seed, () => readModel(bytes, options));
  if (model === undefined) return false;
  await attempt(seed, () => inspect(model));
  for (const make of [quantize, dequantize] as readonly ((from: FileModel) => Promise<{ model: FileModel }>)[]) {
    const made = await attempt(seed, () => make(model));
    if (made === undefined) continue;
    await attempt(seed, () => made.model.toFiles());
    made.model.close();
  }
  await attempt(seed, () => new Sparsifier(model, rule).sparsifyModel(50));
  await attempt(seed, () => model.toFiles());
  model.close();
  return true;
}

const count = 60;

test.each(files)('Each of many damages of %s leaves a model or an error', async (_, source, change) => {
  let read = 0;
  for (let seed = 0; seed < count; seed++) {
    const draw = drawing(seed);
    const damage = draw(4) === 0 ? withBytesChanged : change;
    if (await walk(seed, damage(source.bytes, draw), reading(source))) read++;
  }
  // Both ends were reached.
  expect(read).toBeGreaterThan(0);
  expect(read).toBeLessThan(count);
  await expectNoMemoryInUse();
});
