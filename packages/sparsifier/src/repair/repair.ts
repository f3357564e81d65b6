import { write } from '../model/kept.js';
import type { Values } from '../model/model.js';
import { Listener } from '../options/listener.js';
import type { InputMoments, InputStatistics, LayerInputStatistics } from '../options/options.js';
import {
  changedBy,
  repairedLayer,
  type KnownInputs,
  type MaskedLayer,
  type Repaired,
  type Repairing,
} from './layer.js';
import type { RepairOptions, RepairProgress } from './options.js';
import type { RepairedLayer, RepairReport } from './report.js';

/** What has come of the layers so far. */
export class Outcome {
  readonly #layers: readonly MaskedLayer[];
  readonly #listener: Listener<RepairProgress>;
  readonly #total: number;
  readonly #results = new Map<MaskedLayer, Repaired | string>();
  #done = 0;

  constructor(layers: readonly MaskedLayer[], onProgress: RepairOptions['onProgress']) {
    this.#layers = layers;
    this.#listener = new Listener(onProgress);
    this.#total = layers.reduce((sum, { tensor }) => sum + tensor.values.length, 0);
  }

  /** @param result a string says why the layer is not repaired */
  add(layer: MaskedLayer, result: Repaired | string): void {
    // What is reported needs no numbers.
    this.#results.set(layer, typeof result === 'string' ? result : { ...result, numbers: new Map() });
    this.#done += layer.tensor.values.length;
    this.#listener.tell({ stage: 'repair', done: this.#done, total: this.#total });
  }

  /** @throws what the listener threw */
  settle(): Promise<void> {
    return this.#listener.settle();
  }

  /** In model order. */
  get layers(): RepairedLayer[] {
    return this.#layers.flatMap((layer) => {
      const result = this.#results.get(layer)!;
      return typeof result === 'string' ? [] : [result.layer];
    });
  }

  get skipped(): RepairReport['skipped'] {
    return this.#layers.flatMap((layer) => {
      const result = this.#results.get(layer)!;
      return typeof result === 'string' ? [{ name: layer.tensor.name, reason: result }] : [];
    });
  }
}

/** Repairs layers for the inputs of the dense model. They are changed once all of them are computed. */
export async function repairByStatistics(
  repairing: Repairing,
  layers: readonly MaskedLayer[],
  statistics: InputStatistics,
  { signal, onProgress }: Pick<RepairOptions, 'signal' | 'onProgress'>,
): Promise<Outcome> {
  const outcome = new Outcome(layers, onProgress);
  const numbers = new Map<Values, Uint8Array>();
  for (const layer of layers) {
    signal?.throwIfAborted();
    const known = statistics.layers.get(layer.tensor.name);
    if (!known) {
      outcome.add(layer, 'there are no statistics of it');
      continue;
    }
    const result = await repairedLayer(repairing, layer, knownFrom(known));
    for (const [values, bytes] of await changedBy(repairing, layer, result)) numbers.set(values, bytes);
    outcome.add(layer, result);
  }
  await outcome.settle();
  signal?.throwIfAborted();
  await write(repairing.engine, repairing.model, numbers);
  return outcome;
}

/** What a repair takes of statistics. */
export function knownFrom({ isDiagonal, heldOut, ...seen }: LayerInputStatistics): KnownInputs {
  const pruned = ({ moment, mean }: InputMoments) => ({ pruned: { moment, mean } });
  return {
    rows: seen.rows,
    seen: pruned(seen),
    heldOut: heldOut && heldOut.rows > 0 ? { ...pruned(heldOut), rows: heldOut.rows } : undefined,
    isDiagonal,
  };
}
