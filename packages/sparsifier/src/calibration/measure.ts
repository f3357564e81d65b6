import { loadEngine, type Engine } from '../engine/engine.js';
import { SparsifyError } from '../errors.js';
import type { WeightTensor } from '../model/model.js';
import { productOf, sumOf } from '../model/numbers.js';
import { Listener } from '../options/listener.js';
import { batchesOf, noBatches, type Batches } from './batches.js';
import { Inputs } from './inputs.js';
import { defaultHoldOut, defaultMemory, type CalibrateProgress, type MeasureOptions } from './options.js';
import type { Activations, OpenProbe, Probe, Use } from './probe.js';
import { bytesOfSums, SumsByLayer, type LayerSeen, type SumsOptions } from './sums.js';

/** What was measured of a layer. */
export interface Measured {
  /** Whether moments are those of each column with itself only, `[groups, columns]`. */
  readonly isDiagonal: boolean;
  readonly seen: LayerSeen;
  /** Of the batches that were held out, if there were any. */
  readonly heldOut: LayerSeen | undefined;
}

/** The models that are looked into. */
export interface Probes<Batch> {
  /** The model whose inputs are measured. */
  readonly pruned: Probe<Batch>;
  /** The same model with other weights, if its moments, and those of the inputs of both, are asked for, too. */
  readonly dense?: Probe<Batch> | undefined;
}

const sides = ['pruned', 'dense'] as const;
/** What belongs to the one model and, if there are two, to the other. */
type Of<Thing> = { readonly pruned: Thing; readonly dense?: Thing | undefined };

/** A layer to measure. */
interface Plan extends SumsOptions {
  readonly tensor: WeightTensor;
  readonly uses: readonly Of<Use>[];
  /** Of its sums. */
  readonly bytes: number;
}

/**
 * Measures the inputs of layers, in as many passes over the batches as `memory` requires. The results do not depend on
 * the number of passes.
 * @param layers all have uses in the probes
 * @param batches is called for each pass, and gives the same batches each time
 * @throws SparsifyError `criteria` if there is no batch, or an activation is not finite; `usage` if a pass has another
 *   number of batches, or for a wrong option; what the probes and `batches` throw
 */
export async function measure<Batch>(
  layers: readonly WeightTensor[],
  batches: () => Batches<Batch>,
  probes: Probes<Batch>,
  options: MeasureOptions,
): Promise<Map<WeightTensor, Measured>> {
  const measuring = new Measuring(await loadEngine(), layers, batches, probes, {
    ...options,
    holdOut: options.holdOut ?? defaultHoldOut,
    memory: options.memory ?? defaultMemory,
  });
  return measuring.run();
}

interface Resolved extends MeasureOptions {
  readonly holdOut: number;
  readonly memory: number;
}

class Measuring<Batch> {
  readonly #engine: Engine;
  readonly #batches: () => Batches<Batch>;
  readonly #probes: Probes<Batch>;
  readonly #options: Resolved;
  readonly #listener: Listener<CalibrateProgress>;
  readonly #plans: readonly Plan[];
  /** The bytes of values, as far as they are known, by model. */
  readonly #sizes = { pruned: new Map<string, number>(), dense: new Map<string, number>() };
  readonly #measured = new Map<WeightTensor, Measured>();
  /** How many batches there are, once it is known. */
  #count: number | undefined;

  constructor(
    engine: Engine,
    layers: readonly WeightTensor[],
    batches: () => Batches<Batch>,
    probes: Probes<Batch>,
    options: Resolved,
  ) {
    this.#engine = engine;
    this.#batches = batches;
    this.#probes = probes;
    this.#options = options;
    this.#listener = new Listener(options.onProgress);
    this.#plans = layers.map((tensor) => planOf(tensor, probes, options));
  }

  async run(): Promise<Map<WeightTensor, Measured>> {
    for (let rest = this.#plans; rest.length > 0; rest = this.#plans.slice(this.#measured.size)) {
      await this.#pass(this.#fitting(rest));
    }
    await this.#listener.settle();
    return this.#measured;
  }

  /** As many of the first layers as fit into memory, as far as the sizes of their inputs are known; at least one. */
  #fitting(plans: readonly Plan[]): readonly Plan[] {
    const counted = { pruned: new Set<string>(), dense: new Set<string>() };
    let sum = 0;
    for (const [index, { bytes, uses }] of plans.entries()) {
      sum += bytes;
      for (const side of sides) {
        for (const use of uses) {
          const value = use[side]?.value;
          if (value === undefined || counted[side].has(value)) continue;
          counted[side].add(value);
          sum += this.#sizes[side].get(value) ?? 0;
        }
      }
      if (sum > this.#options.memory) return plans.slice(0, Math.max(1, index));
    }
    return plans;
  }

  /** Measures layers, or nothing if their inputs turn out not to fit into memory. Then their sizes are known. */
  async #pass(plans: readonly Plan[]): Promise<void> {
    const { holdOut, signal } = this.#options;
    const seen = new SumsByLayer(this.#engine);
    const heldOut = new SumsByLayer(this.#engine);
    const open = await openAll(this.#probes, plans);
    try {
      let index = 0;
      for await (const batch of batchesOf(this.#batches)) {
        signal?.throwIfAborted();
        const computed = await runAll(open, batch);
        try {
          if (index === 0 && !this.#fits(plans, computed)) return;
          const isHeldOut = Math.floor((index + 1) * holdOut) > Math.floor(index * holdOut);
          await this.#add(plans, computed, isHeldOut ? heldOut : seen);
        } finally {
          await releaseAll(computed);
        }
        index++;
        this.#report(plans, index);
      }
      this.#checkCount(index);
      for (const { tensor, isDiagonal } of plans) {
        const own = await seen.finish(tensor);
        if (!own) throw new SparsifyError('criteria', 'its inputs have no rows', { subject: tensor.name });
        this.#measured.set(tensor, { isDiagonal, seen: own, heldOut: await heldOut.finish(tensor) });
      }
      this.#report([], 0);
    } finally {
      seen.free();
      heldOut.free();
      await releaseAll(open);
    }
  }

  /** Whether these layers still fit into memory, now that the sizes of their inputs are known. */
  #fits(plans: readonly Plan[], computed: Of<Activations>): boolean {
    for (const side of sides) {
      for (const value of valuesOf(plans, side)) {
        const bytes = 4 * productOf(computed[side]?.get(value)?.shape ?? [0]);
        this.#sizes[side].set(value, Math.max(bytes, this.#sizes[side].get(value) ?? 0));
      }
    }
    return this.#fitting(plans).length === plans.length;
  }

  async #add(plans: readonly Plan[], computed: Of<Activations>, sums: SumsByLayer): Promise<void> {
    const readers = plans.flatMap((plan) => plan.uses.map((use) => ({ plan, use })));
    /** The last reader of each value. */
    const last = { pruned: new Map<string, number>(), dense: new Map<string, number>() };
    for (const [index, { use }] of readers.entries()) {
      for (const side of sides) if (use[side]) last[side].set(use[side].value, index);
    }
    const inputs = { pruned: new Inputs(this.#engine), dense: new Inputs(this.#engine) };
    try {
      for (const [index, { plan, use }] of readers.entries()) {
        this.#options.signal?.throwIfAborted();
        const { tensor } = plan;
        const pruned = await inputs.pruned.take(computed.pruned, use.pruned.value, tensor.name);
        const dense = use.dense && (await inputs.dense.take(computed.dense!, use.dense.value, tensor.name));
        if (pruned) await (await sums.of(tensor, plan)).add(use.pruned.geometry, pruned, dense);
        // A copy in shared memory stays until the last of its readers.
        for (const side of sides) {
          const value = use[side]?.value;
          if (value !== undefined && last[side].get(value) === index) inputs[side].drop(value);
        }
      }
    } finally {
      for (const side of sides) inputs[side].free();
    }
  }

  #checkCount(count: number): void {
    if (count === 0) throw noBatches();
    this.#count ??= count;
    if (count === this.#count) return;
    throw new SparsifyError('usage', '`batches` must give the same batches each time it is called', {
      given: `${this.#count} batches at first`,
      found: `${count} later`,
    });
  }

  /** @param index how many batches the pass over these layers has finished */
  #report(plans: readonly Plan[], index: number): void {
    const weightsOf = (some: readonly Plan[]) => sumOf(some.map(({ tensor }) => tensor.values.length));
    const share = this.#count === undefined ? 0 : Math.min(1, index / this.#count);
    const done = weightsOf(this.#plans.slice(0, this.#measured.size)) + Math.floor(share * weightsOf(plans));
    this.#listener.tell({ stage: 'calibrate', done, total: weightsOf(this.#plans) });
  }
}

function planOf<Batch>(tensor: WeightTensor, probes: Probes<Batch>, { holdOut, memory }: Resolved): Plan {
  const usesIn = (probe: Probe<Batch>) => {
    const uses = probe.usesOf(tensor);
    if (typeof uses !== 'string') return uses;
    throw new SparsifyError('criteria', uses, { subject: tensor.name });
  };
  const dense = probes.dense && usesIn(probes.dense);
  const uses = usesIn(probes.pruned).map((pruned, index) => ({ pruned, dense: dense?.[index] }));
  const isPair = dense !== undefined;
  const bytesIf = (isDiagonal: boolean) => bytesOfSums(tensor, { isDiagonal, isPair }) * (holdOut > 0 ? 2 : 1);
  const isDiagonal = bytesIf(false) > memory;
  return { tensor, uses, isDiagonal, isPair, bytes: bytesIf(isDiagonal) };
}

/** The values that layers read, each once. */
const valuesOf = (plans: readonly Plan[], side: (typeof sides)[number]): string[] => [
  ...new Set(plans.flatMap(({ uses }) => uses.flatMap((use) => use[side]?.value ?? []))),
];

async function openAll<Batch>({ pruned, dense }: Probes<Batch>, plans: readonly Plan[]): Promise<Of<OpenProbe<Batch>>> {
  const open = { pruned: await pruned.open(valuesOf(plans, 'pruned')) };
  try {
    return { ...open, dense: await dense?.open(valuesOf(plans, 'dense')) };
  } catch (error) {
    await open.pruned.release();
    throw error;
  }
}

async function runAll<Batch>({ pruned, dense }: Of<OpenProbe<Batch>>, batch: Batch): Promise<Of<Activations>> {
  const computed = { pruned: await pruned.run(batch) };
  try {
    return { ...computed, dense: await dense?.run(batch) };
  } catch (error) {
    computed.pruned.release();
    throw error;
  }
}

/** The second is released even if that of the first one fails. */
async function releaseAll({ pruned, dense }: Of<{ release(): Promise<void> | void }>): Promise<void> {
  try {
    await pruned.release();
  } finally {
    await dense?.release();
  }
}
