import { measure, type Measured } from '../calibration/measure.js';
import { probeOfOnnx, type SessionData } from '../calibration/onnx.js';
import { defaultMemory } from '../calibration/options.js';
import type { Use } from '../calibration/probe.js';
import { remembered } from '../calibration/remembered.js';
import { held, write } from '../model/kept.js';
import type { FileModel } from '../formats/file-model.js';
import { joinedFiles } from '../formats/joined.js';
import type { WeightTensor } from '../model/model.js';
import { changedBy, repairedLayer, type MaskedLayer, type Repairing } from './layer.js';
import type { RepairOptions } from './options.js';
import { Outcome } from './repair.js';

/** A repair of an ONNX model, which can be run. */
export interface Walking extends Repairing {
  readonly model: FileModel;
  /**
   * Removes as many units of a layer as its mask does, by the inputs that were measured, while the model has its dense
   * weights. Undefined if masks stay.
   */
  readonly select: ((layer: MaskedLayer, measured: Measured) => Promise<Uint8Array>) | undefined;
}

/** What a walk is asked for. */
type WalkOptions<Feeds> = SessionData<Feeds> & Pick<RepairOptions, 'holdOut' | 'memory' | 'signal' | 'onProgress'>;

/**
 * Repairs layers from the front of the network to the back, those with the same inputs together. Their inputs are measured
 * in the dense model and in the one whose layers before them are repaired already. If that fails, or is aborted, the model
 * has what it had before.
 * @returns the masks of the layers that were repaired, too
 */
export async function repairAlong<Feeds>(
  walking: Walking,
  layers: readonly MaskedLayer[],
  options: WalkOptions<Feeds>,
): Promise<{ readonly outcome: Outcome; readonly masks: ReadonlyMap<WeightTensor, Uint8Array> }> {
  const { engine, dense } = walking;
  const tensors = layers.map(({ tensor }) => tensor);
  const backs = new Map<WeightTensor, () => Promise<void>>();
  for (const tensor of tensors) backs.set(tensor, await heldLayer(walking, tensor));
  try {
    await dense.restore(engine, tensors, options.signal);
    return await walk(walking, layers, backs, options);
  } catch (error) {
    // Biases that were added on the way, too.
    await dense.restore(engine, tensors);
    for (const back of backs.values()) await back();
    throw error;
  }
}

/** @param backs give layers back what they had before the repair */
async function walk<Feeds>(
  { select, ...repairing }: Walking,
  layers: readonly MaskedLayer[],
  backs: ReadonlyMap<WeightTensor, () => Promise<void>>,
  { createSession, batches, holdOut, memory = defaultMemory, signal, onProgress }: WalkOptions<Feeds>,
): ReturnType<typeof repairAlong> {
  const { engine, model } = repairing;
  const outcome = new Outcome(layers, onProgress);
  const masks = new Map<WeightTensor, Uint8Array>();
  const probe = async () => probeOfOnnx(await joinedFiles(await model.outputs()), createSession);
  const dense = await probe();
  const measurable: { readonly layer: MaskedLayer; readonly uses: readonly Use[] }[] = [];
  for (const layer of layers) {
    const uses = dense.usesOf(layer.tensor);
    if (typeof uses !== 'string') {
      measurable.push({ layer, uses });
      continue;
    }
    await backs.get(layer.tensor)!();
    outcome.add(layer, uses);
  }
  const order = measurable.flatMap(({ uses }) => uses.map(({ value }) => value));
  const known = remembered(dense, [...new Set(order)], memory);
  for (const block of blocksOf(measurable)) {
    signal?.throwIfAborted();
    const tensors = block.map(({ tensor }) => tensor);
    const pruned = await probe();
    const measured = await measure(tensors, batches, { pruned, dense: known }, { holdOut, memory, signal });
    for (const layer of block) {
      signal?.throwIfAborted();
      const { tensor } = layer;
      const inputs = measured.get(tensor)!;
      if (!select) await backs.get(tensor)!();
      const mask = select ? await select(layer, inputs) : layer.mask;
      const { seen, heldOut, isDiagonal } = inputs;
      const result = await repairedLayer(repairing, { ...layer, mask }, { rows: seen.rows, seen, heldOut, isDiagonal });
      if (typeof result === 'string') await backs.get(tensor)!();
      else masks.set(tensor, mask);
      await write(engine, model, await changedBy(repairing, layer, result));
      outcome.add(layer, result);
    }
  }
  await outcome.settle();
  return { outcome, masks };
}

/** Layers with the same inputs, in the order of the first ones: that of the nodes of the network. */
function blocksOf(layers: readonly { readonly layer: MaskedLayer; readonly uses: readonly Use[] }[]): MaskedLayer[][] {
  const blocks = new Map<string, MaskedLayer[]>();
  for (const { layer, uses } of layers) {
    const key = JSON.stringify(uses.map(({ value }) => value));
    const block = blocks.get(key);
    if (block === undefined) blocks.set(key, [layer]);
    else block.push(layer);
  }
  return [...blocks.values()];
}

/** Keeps what a layer has now; the function that comes back restores it. */
async function heldLayer({ engine, model, dense }: Repairing, tensor: WeightTensor): Promise<() => Promise<void>> {
  const backs = await Promise.all(dense.arraysOf(tensor).map((values) => held(engine, model, values)));
  return async () => {
    for (const back of backs) await back();
  };
}
