import { loadEngine } from '../engine/engine.js';
import { SparsifyError } from '../errors.js';
import { decoded } from '../formats/decoded.js';
import { readLike, storageOf, type FileModel, type NewFiles } from '../formats/file-model.js';
import { stored, type CurrentFiles } from '../formats/format.js';
import { sizesOf } from '../formats/sizes.js';
import type { Form, NewNumbers } from '../model/forms.js';
import { write } from '../model/kept.js';
import { checkModel, type Values, type WeightTensor } from '../model/model.js';
import { firstNotFinite, sumOf } from '../model/numbers.js';
import { withClosed } from '../model/closing.js';
import { addSourceFiles, sourceFilesOf } from '../model/source-files.js';
import { Listener } from '../options/listener.js';
import type { InputStatistics } from '../options/options.js';
import { counted, listed } from '../pruning/text.js';
import { withShift } from '../repair/layer.js';
import { biasOf, lostOutputs } from './bias.js';
import { channelLossOf } from './channels.js';
import { storedAs } from './codes.js';
import { checkInputs, importanceOf, inputsOf } from './inputs.js';
import { quantizeReportOf } from './made-report.js';
import { quantizeOptionsOf, type QuantizeOptions } from './options.js';
import { othersIn, tooLarge } from './others.js';
import { planOf, type PlannedLayer, type QuantizePlan } from './plan.js';
import type { LeftTensor, QuantizedLayer, QuantizeReport } from './report.js';

/** A model whose weights are stored in another form. */
export interface Quantized {
  /** A model of its own. */
  readonly model: FileModel;
  readonly report: QuantizeReport;
}

/**
 * Makes a model whose weights take fewer bytes. Zero is exact in each form, so weights that were removed stay 0. Runtimes
 * decode the weights when they load the model or while they run it; the format says how.
 * @param model a model that was read from files; it is not changed
 * @throws SparsifyError `usage` for options that the model's format does not have, and for models that were not read from
 *   files; `criteria` for statistics of layers of other shapes; `weights` for weights that are infinite or not numbers;
 *   `layer` and `kind` as rules do; `memory`
 */
export async function quantize(model: FileModel, options: QuantizeOptions = {}): Promise<Quantized> {
  const asked = planFor(model, options).options;
  const { statistics } = asked;
  if (statistics) addSourceFiles(model, sourceFilesOf(statistics));
  const files = await model.toFiles();
  return withClosed(await readLike(model, files), (copy) => quantizedFrom(copy, bytesOfAll(files), asked));
}

/**
 * @param copy of a model: its biases change
 * @param bytesBefore those of the files of the model
 */
async function quantizedFrom(copy: FileModel, bytesBefore: number, asked: QuantizeOptions): Promise<Quantized> {
  const { statistics, others: otherForm, signal } = asked;
  const { storage, current } = storageOf(copy);
  const plan = planOf(copy, storage, asked);
  const notes = statistics ? await checkInputs(statistics, copy) : [];
  const { layers, skipped, numbers, biases } = await quantizedLayers(copy, current, plan.layers, asked);
  await write(await loadEngine(), copy, biases);
  const rewritten = async (corrected: FileModel) => {
    const { storage, current } = storageOf(corrected);
    const others = otherForm && (await othersIn(otherForm, storage, current, signal));
    signal?.throwIfAborted();
    return { others, files: await storage.rewritten(numbers, others?.numbers ?? new Map(), current) };
  };
  // Biases that were added are among the other numbers only once the model is read again.
  const { others, files } =
    biases.size > 0 ? await withClosed(await readLike(copy, await copy.toFiles()), rewritten) : await rewritten(copy);
  // Skipped tensors that are no layers are listed only once, among the others if those were asked for.
  const listedAlready = new Set(others?.others.map(({ name }) => name));
  for (const { name } of copy.tensors) listedAlready.delete(name);
  const small = await readLike(copy, files);
  const report = quantizeReportOf({
    layers,
    skipped: [...skipped, ...plan.skipped.filter(({ name }) => !listedAlready.has(name))],
    others: others?.others ?? [],
    bytes: { before: bytesBefore, after: bytesOfAll(files) },
    notes: [...notes, ...notesOn(layers, statistics)],
    sizes: (options) => sizesOf(small, options),
  });
  return { model: small, report };
}

/**
 * Checks the options, and chooses the form of each layer.
 * @throws SparsifyError `usage`, `layer` and `kind` as {@link quantize} does; the signal's reason if it is aborted
 */
export function planFor(
  model: FileModel,
  given: QuantizeOptions,
): { readonly plan: QuantizePlan; readonly options: QuantizeOptions } {
  checkModel(model);
  const { storage } = storageOf(model);
  const options = quantizeOptionsOf(given, storage, model.format);
  return { plan: planOf(model, storage, options), options };
}

export const bytesOfAll = (files: NewFiles): number =>
  sumOf(Array.from(files.values(), (file) => (file instanceof Uint8Array ? file.length : file.size)));

/** The weights of all layers in their forms, and the biases that make up for what that changes. */
async function quantizedLayers(
  copy: FileModel,
  current: CurrentFiles,
  planned: readonly PlannedLayer[],
  { statistics, signal, onProgress }: QuantizeOptions,
) {
  const layers: QuantizedLayer[] = [];
  const skipped: LeftTensor[] = [];
  const numbers = new Map<string, NewNumbers>();
  const biases = new Map<Values, Uint8Array>();
  const total = sumOf(planned.map(({ tensor }) => tensor.values.length));
  const listener = new Listener(onProgress);
  let done = 0;
  for (const { tensor, form, reason, bytesBefore, bytesAfter } of planned) {
    signal?.throwIfAborted();
    const { name, kind, shape, values } = tensor;
    const weights = await decoded(stored(values), current);
    await checkFinite(tensor, weights);
    const large = isFloat(form) ? await tooLarge(form, weights) : undefined;
    if (large !== undefined) {
      skipped.push({ name, reason: large, weights: values.length });
    } else {
      const known = isCorrected(form) ? statistics?.layers.get(name) : undefined;
      const inputs = known && inputsOf(known);
      const found = inputs && (await biasOf(copy, tensor));
      const bias = typeof found === 'string' ? undefined : found;
      const importance = inputs && importanceOf(inputs, bias !== undefined);
      const { numbers: own, values: after, loss } = await storedAs(form, tensor, weights, importance);
      numbers.set(name, own);
      if (bias && inputs) {
        const lost = await lostOutputs(tensor, weights, after, inputs.mean);
        biases.set(bias.bias.values, withShift(await copy.copy(bias.bias.values), bias.bias, lost));
      }
      layers.push({
        ...{ name, kind, shape, weights: values.length, form },
        ...(reason === undefined ? {} : { reason }),
        ...loss,
        ...(await channelLossOf(tensor, weights, after, importance)),
        bias: bias?.origin ?? 'none',
        ...(typeof found === 'string' ? { biasReason: found } : {}),
        ...{ bytesBefore, bytesAfter },
      });
    }
    done += values.length;
    listener.tell({ stage: 'quantize', done, total });
  }
  await listener.settle();
  return { layers, skipped, numbers, biases };
}

const isFloat = (form: Form) => form === 'float16' || form === 'bfloat16';

/** Whether a form changes weights so much that biases can make up for it. */
export const isCorrected = (form: Form): boolean => !isFloat(form) && form !== 'uint16';

/** @throws SparsifyError `weights` for weights that are infinite or not numbers */
async function checkFinite({ name, shape }: WeightTensor, weights: Float32Array): Promise<void> {
  const found = await firstNotFinite(weights);
  if (found === undefined) return;
  throw new SparsifyError('weights', 'a weight is infinite or not a number', {
    subject: name,
    found: `at index ${found} of shape [${shape.join(', ')}]`,
    hint: 'Correct the weights, or `exclude` this layer',
  });
}

/** Sentences about what would make the model better. */
function notesOn(layers: readonly QuantizedLayer[], statistics: InputStatistics | undefined): string[] {
  const rounded = layers.filter(({ form }) => isCorrected(form));
  if (rounded.length === 0) return [];
  if (statistics === undefined) return [offer];
  const unknown = rounded.filter(({ name }) => !statistics.layers.has(name)).map(({ name }) => name);
  if (unknown.length === 0) return [];
  return [
    `${counted(unknown.length, 'layer')} had no statistics, so their scales follow from the largest weights and their biases ` +
      `were not corrected: ${listed(unknown)}`,
  ];
}

const offer =
  'with `statistics` of the inputs of layers, scales and biases make up for much of what rounding changes; `calibrate` measures them';
