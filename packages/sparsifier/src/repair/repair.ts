import { write } from '../model/kept.js';
import type { Values } from '../model/model.js';
import type { InputMoments, InputStatistics, LayerInputStatistics } from '../options/options.js';
import { repairedLayer, type KnownInputs, type MaskedLayer, type Repairing } from './layer.js';
import type { RepairOptions } from './options.js';
import type { RepairedLayer, RepairReport } from './report.js';

/** What came of a repair, without its notes. */
export interface Outcome {
  /** In model order. */
  readonly layers: readonly RepairedLayer[];
  readonly skipped: RepairReport['skipped'];
}

/** Repairs layers for the inputs of the dense model. They are changed once all of them are computed. */
export async function repairByStatistics(
  repairing: Repairing,
  layers: readonly MaskedLayer[],
  statistics: InputStatistics,
  { signal, onProgress }: Pick<RepairOptions, 'signal' | 'onProgress'>,
): Promise<Outcome> {
  const repaired: RepairedLayer[] = [];
  const skipped: RepairReport['skipped'][number][] = [];
  const numbers = new Map<Values, Uint8Array>();
  const progress = progressOf(layers, onProgress);
  for (const layer of layers) {
    signal?.throwIfAborted();
    const { name } = layer.tensor;
    const known = statistics.layers.get(name);
    const result = known ? await repairedLayer(repairing, layer, knownFrom(known)) : 'there are no statistics of it';
    if (typeof result === 'string') skipped.push({ name, reason: result });
    else {
      repaired.push(result.layer);
      for (const [values, bytes] of result.numbers) numbers.set(values, bytes);
    }
    progress(layer);
  }
  signal?.throwIfAborted();
  await write(repairing.engine, repairing.model, numbers);
  return { layers: repaired, skipped };
}

function knownFrom({ isDiagonal, heldOut, ...seen }: LayerInputStatistics): KnownInputs {
  const pruned = ({ moment, mean }: InputMoments) => ({ pruned: { moment, mean } });
  return {
    rows: seen.rows,
    seen: pruned(seen),
    heldOut: heldOut && heldOut.rows > 0 ? { ...pruned(heldOut), rows: heldOut.rows } : undefined,
    isDiagonal,
  };
}

/** Counts layers that are finished. */
export function progressOf(
  layers: readonly MaskedLayer[],
  onProgress: RepairOptions['onProgress'],
): (layer: MaskedLayer) => void {
  const total = layers.reduce((sum, { tensor }) => sum + tensor.values.length, 0);
  let done = 0;
  return ({ tensor }) => onProgress?.({ stage: 'repair', done: (done += tensor.values.length), total });
}
