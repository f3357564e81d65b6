import type { Block, Engine } from '../engine/engine.js';
import { weightsOf } from '../engine/record.js';
import { StoredModel } from '../formats/file-model.js';
import { stored, type CurrentFiles, type StoredValues } from '../formats/format.js';
import type { OpenModel } from '../formats/open-model.js';
import { readInto, slices } from '../formats/sources.js';
import type { SizedFiles } from '../formats/sizes.js';
import { parts } from '../host/slices.js';
import { bytesOf, type Model, type Region, type Skipped, type Values, type WeightTensor } from '../model/model.js';
import { largestOf } from '../model/numbers.js';
import { remove, score } from '../pruning/call.js';
import { removalReport } from '../pruning/call-report.js';
import type { Plan, Removed } from '../pruning/job.js';
import { Listener } from '../options/listener.js';
import type { CallOptions, Progress } from '../options/options.js';
import type { Units } from '../options/units.js';
import { leastScore, type Planner, type Request, type Shares } from '../pruning/plan.js';
import type { Report } from '../pruning/report.js';
import { comparedWith, type Snapshots } from '../pruning/snapshots.js';
import { changedChunks, Parts, runsOf, storedBytes } from './chunks.js';
import { search, type Member, type Ranked, type Room } from './search.js';

/** Layers that are held in memory are pruned together, up to this many weights, which limits their scratch memory. */
const togetherWeights = 1 << 22;

/** A layer of the call. */
interface Layer {
  readonly tensor: WeightTensor;
  readonly units: Units;
  /** The most units that may be removed. */
  readonly limit: number;
  /** The number of units to remove; undefined until the common ranking is done, and for patterns. */
  remove: number | undefined;
  done: Removed | undefined;
}

/**
 * One call on a model whose files are streamed. Pruning sees it as the model, of which one layer is in memory at a
 * time; writing sees it as the source of the bytes of each file. A layer is pruned when its bytes are about to be
 * written.
 */
export class StreamingCall implements Model, CurrentFiles {
  readonly tensors: readonly WeightTensor[];
  readonly skipped: readonly Skipped[];
  readonly weights: number;
  readonly #engine: Engine;
  readonly #open: OpenModel;
  /** The part of the model whose files are entirely in memory. */
  readonly #held: StoredModel;
  readonly #planner: Planner;
  readonly #layers: readonly Layer[];
  readonly #layerOf = new Map<Values, Layer>();
  /** The values that may change, by the files that are streamed. */
  readonly #valuesIn = new Map<string, StoredValues[]>();
  readonly #weights: ReadonlySet<Values>;
  readonly #request: Request;
  readonly #shares: Shares;
  readonly #snapshots: Snapshots | undefined;
  readonly #options: CallOptions;
  readonly #listener: Listener<Progress>;
  readonly #least: number;
  readonly #total: number;
  /** Holds the weights of one layer at a time. All layers use the same block, so that memory is not fragmented. */
  #window: Block | undefined;
  /** The new bytes of values that are not in the window: biases, normalisations and codes. */
  readonly #changed = new Map<Values, Uint8Array>();
  readonly #meanings = new Map<Values, unknown>();
  readonly #files = new Map<string, Parts>();
  /** The number of weights in the layers that are done. */
  #done = 0;

  constructor(
    engine: Engine,
    open: OpenModel,
    planner: Planner,
    request: Request,
    snapshots: Snapshots | undefined,
    options: CallOptions,
  ) {
    const units = planner.unitsOf(request.tensors);
    const shares = planner.shares(request, units);
    this.tensors = open.tensors;
    this.skipped = open.skipped;
    this.weights = open.weights;
    this.#engine = engine;
    this.#open = open;
    this.#held = new StoredModel(open, new Map(open.files.held));
    this.#planner = planner;
    this.#request = request;
    this.#shares = shares;
    this.#snapshots = snapshots;
    this.#options = options;
    this.#listener = new Listener(options.onProgress);
    this.#least = leastScore(request);
    this.#weights = new Set(open.tensors.map(({ values }) => values));
    this.#layers = request.tensors.map((tensor, index) => ({
      tensor,
      units: units[index]!,
      limit: shares.limits[index]!,
      remove: undefined,
      done: undefined,
    }));
    for (const layer of this.#layers) {
      const { tensor, units } = layer;
      this.#layerOf.set(tensor.values, layer);
      if (units.isChannel) for (const { values } of tensor.partners) this.#layerOf.set(values, layer);
    }
    for (const values of [...this.#layerOf.keys()].map(stored)) {
      const others = this.#valuesIn.get(values.file);
      if (others === undefined) this.#valuesIn.set(values.file, [values]);
      else others.push(values);
    }
    this.#total = this.#layers.reduce((sum, { units }) => sum + weightsOf(units.axes), 0);
  }

  /** Finds out how many units each layer loses: by arithmetic, or by reading the layers that are ranked together. */
  async rank(room: Room): Promise<void> {
    const streamed = this.#layers.map(({ tensor }) => tensor.values).filter((values) => !this.#isHeld(values));
    this.#window = await this.#engine.allocate(largestOf(streamed.map(numberBytes), 0));
    const together: Ranked[] = [];
    let scored = this.#total;
    for (const { members, remove } of this.#shares.selections) {
      if (members.length === 1) {
        this.#layers[members[0]!]!.remove = remove;
        continue;
      }
      const ranked = members.map((index): Member => {
        const { tensor, units, limit } = this.#layers[index]!;
        scored -= weightsOf(units.axes);
        return { index, values: tensor.values, units, limit };
      });
      together.push({ members: ranked, remove });
    }
    const looker = {
      score: async ({ index }: Member, look: (record: number) => Promise<boolean>) => {
        const layer = this.#layers[index]!;
        await score(this.#engine, await this.#plan([layer], []), look);
        // Further passes are rare and report no progress.
        scored = Math.min(this.#total, scored + weightsOf(layer.units.axes));
        this.#listener.tell({ stage: 'score', done: scored, total: this.#total });
      },
      runs: ({ values }: Member, starts: readonly number[], length: number) =>
        this.#isHeld(values)
          ? this.#heldRuns(values, starts, length)
          : runsOf(this.#open.files, stored(values), starts, length),
    };
    const counts = await search(this.#engine, together, this.#planner.recipe, looker, room);
    for (const [index, remove] of counts) this.#layers[index]!.remove = remove;
  }

  /** To be awaited before the call ends. @throws what the listener threw */
  settle(): Promise<void> {
    return this.#listener.settle();
  }

  /** Prunes the layers that are held in memory, several at a time, since each exchange with the engine takes time. */
  async pruneHeld(): Promise<void> {
    const held = this.#layers.filter(({ tensor }) => this.#isHeld(tensor.values));
    for (const { part } of parts(held, ({ units }) => weightsOf(units.axes), togetherWeights)) await this.#prune(part);
  }

  /** The new bytes of a file. The parts of a streamed file must be requested in order. */
  async *chunks(file: string, start = 0, end = Infinity): AsyncGenerator<Uint8Array> {
    for await (const chunk of this.#chunks(file, start, end)) {
      this.#options.signal?.throwIfAborted();
      yield chunk;
    }
  }

  sizeOf(file: string): number {
    return this.#open.files.sizeOf(file);
  }

  meaning(values: StoredValues): unknown {
    return this.#isHeld(values) ? this.#held.meaning(values) : this.#meanings.get(values);
  }

  async load(engine: Engine, values: Values): Promise<Region> {
    if (this.#isHeld(values)) return this.#held.load(engine, values);
    const place = stored(values);
    const bytes = numberBytes(values);
    const isWeights = this.#weights.has(values);
    const block = isWeights ? this.#window! : await engine.allocate(bytes);
    const release = () => {
      if (!isWeights) block.free();
    };
    try {
      if (place.coding) await block.write(await this.copy(values));
      else await readInto(block, this.#open.files.sources.get(place.file)!, place.start, bytes);
    } catch (error) {
      release();
      throw error;
    }
    return { block, offset: 0, bytes, release };
  }

  async store(engine: Engine, values: Values, region: Region): Promise<number | undefined> {
    if (this.#isHeld(values)) return this.#held.store(engine, values, region);
    const place = stored(values);
    if (this.#weights.has(values) && !place.coding) return undefined;
    const numbers = await region.block.read(region.offset, new Uint8Array(region.bytes));
    if (!place.coding) {
      this.#changed.set(values, numbers);
      return undefined;
    }
    const codes = await storedBytes(this.#open.files, place);
    const { meaning, zeros } = await place.coding.encode(numbers, codes, undefined);
    this.#changed.set(values, codes);
    if (meaning !== undefined) this.#meanings.set(values, meaning);
    return zeros;
  }

  /** The numbers as they are in the files. */
  copy(values: Values): Promise<Uint8Array<ArrayBuffer>> {
    return this.#open.copy(values);
  }

  /** @param files those that were written */
  report(files: SizedFiles): Report {
    const jobs = this.#layers;
    const counts = jobs.map(({ done }) => done!);
    const asked = { ...this.#shares, leftAlone: this.#request.leftAlone ?? [], roundTo: this.#options.roundTo };
    return removalReport(this.#open, this.#planner.given, { jobs, counts, engine: this.#engine, files }, asked);
  }

  free(): void {
    this.#window?.free();
    this.#window = undefined;
  }

  #isHeld(values: Values): boolean {
    return this.#open.files.held.has(stored(values).file);
  }

  async #heldRuns(values: Values, starts: readonly number[], length: number): Promise<Uint8Array<ArrayBuffer>> {
    const size = bytesOf[values.dtype];
    const numbers = new Uint8Array(starts.length * length * size);
    const { block, offset, release } = await this.#held.load(this.#engine, values);
    for (const [run, start] of starts.entries()) {
      await block.read(offset + start * size, numbers.subarray(run * length * size, (run + 1) * length * size));
    }
    release();
    return numbers;
  }

  #chunks(file: string, start: number, end: number): AsyncGenerator<Uint8Array> {
    const held = this.#open.files.held.get(file);
    if (held) return this.#held.chunks(file, start, Math.min(end, held.bytes));
    let parts = this.#files.get(file);
    if (parts === undefined) this.#files.set(file, (parts = new Parts(this.#changedChunks(file))));
    return parts.take(start, end);
  }

  /** All bytes of a file that is streamed; a layer is pruned when its bytes, or those of a partner, are next. */
  #changedChunks(file: string): AsyncGenerator<Uint8Array> {
    const values = this.#valuesIn.get(file) ?? [];
    return changedChunks(this.#open.files.sources.get(file)!, values, async (next) => {
      const layer = this.#layerOf.get(next)!;
      const isWeights = this.#weights.has(next);
      // A layer whose partners come before its weights is ranked twice, which takes less memory than keeping either.
      if (isWeights || layer.done === undefined) await this.#prune([layer]);
      if (isWeights && !next.coding) return slices(this.#window!, 0, next.bytes);
      const changed = this.#changed.get(next);
      this.#changed.delete(next);
      return changed && [changed];
    });
  }

  async #prune(layers: readonly Layer[]): Promise<void> {
    const removes = layers.flatMap(({ remove }) => remove ?? []);
    const all = await remove(this.#engine, await this.#plan(layers, removes));
    for (const [index, { zeros, removedUnits, removedWeights, squares, channels }] of all.entries()) {
      const layer = layers[index]!;
      if (layer.done === undefined) this.#done += weightsOf(layer.units.axes);
      // Without the masks, which would accumulate over all layers; those of whole channels are small.
      layer.done = { zeros, removedUnits, removedWeights, squares, channels };
    }
    this.#listener.tell({ stage: 'store', done: this.#done, total: this.#total });
  }

  async #plan(layers: readonly Layer[], removes: readonly number[]): Promise<Plan> {
    const { recipe, given } = this.#planner;
    const { signal, roundTo } = this.#options;
    const jobs: Plan['jobs'][number][] = [];
    for (const [group, { tensor, units, limit }] of layers.entries()) {
      const known = { least: this.#least, statistics: given.statistics };
      const other = await comparedWith(tensor, recipe.needs, this, this.#snapshots, known);
      jobs.push(this.#planner.job(tensor, units, { earlier: undefined, saved: undefined, other, group, limit }));
    }
    return { model: this, jobs, removes, roundTo, restorable: false, signal, listener: new Listener() };
  }
}

const numberBytes = ({ dtype, length }: Values): number => length * bytesOf[dtype];
