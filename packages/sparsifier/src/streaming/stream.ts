import * as host from '#host';
import { load, type Engine } from '../engine/engine.js';
import { weightsOf } from '../engine/record.js';
import { SparsifyError } from '../errors.js';
import { StreamedModel, type OpenModel } from './model.js';
import type { OutputFile } from '../host/host.js';
import { remove, survey as score, type Done, type Job, type Plan } from '../pruning/call.js';
import { checkCallOptions, type CallOptions, type SparsifierOptions } from '../options/options.js';
import { leastScore, Planner, type Request, type Shares } from '../pruning/plan.js';
import type { Report } from '../pruning/report.js';
import { parts } from '../host/slices.js';
import type { Sparsity } from '../options/amounts.js';
import { comparedWith, given, snapshotOf, sourceFilesOf, type Snapshots } from '../pruning/snapshots.js';
import { survey, usualRoom, type Member, type Ranked, type Room } from './search.js';
import type { Values, WeightTensor } from '../model/model.js';

/** A stream for a file of the model, by its name. */
export type GiveStream = (
  name: string,
) => WritableStream<Uint8Array<ArrayBuffer>> | Promise<WritableStream<Uint8Array<ArrayBuffer>>>;

/** Where a sparse model goes: to a path, or to streams. */
export type Output = string | WritableStream<Uint8Array<ArrayBuffer>> | GiveStream;

export interface StreamOptions extends CallOptions {
  readonly sparsity?: Sparsity | undefined;
  readonly force?: boolean | undefined;
  /** How much is in memory at once; results do not depend on it. */
  readonly room?: Room;
}

/**
 * Makes an open model sparse while its files pass by, with one layer in memory at a time: the same bits and the same
 * report as `Sparsifier.sparsifyModel`.
 *
 * How many units each layer loses is known first: by arithmetic, or where layers are ranked together by a look at each.
 * Then each layer is ranked by itself when its bytes are next, which comes to the same.
 */
export async function stream(
  open: OpenModel,
  output: Output,
  options: SparsifierOptions,
  { sparsity, force = false, room = usualRoom, ...call }: StreamOptions,
): Promise<Report> {
  checkCallOptions(call);
  const engine = await load();
  const model = new StreamedModel(open);
  const planner = new Planner(model, options);
  const request = planner.request(sparsity, call);
  const snapshots = snapshotsFor(planner, options, request.tensors, model);
  const work = new Work(engine, model, planner, request, snapshots, call);
  const files = await targetsOf(open, output, work);
  const targetOptions = { force, sourceFiles: sourceFilesOf(model, options) };
  if (typeof output === 'string') {
    await host.checkTargets(
      files.map(({ path }) => path),
      targetOptions,
    );
  }
  try {
    await model.reserve(engine, request.tensors);
    await work.survey(room);
    if (typeof output === 'string') await host.writeFiles(files, targetOptions);
    else {
      for (const { path, chunks } of files) {
        await host.writeStream(typeof output === 'function' ? await output(path) : output, chunks());
      }
    }
    return work.report();
  } finally {
    model.free();
  }
}

/** The files to write, the main one last. */
async function targetsOf(open: OpenModel, output: Output, work: Work): Promise<OutputFile[]> {
  const [main, ...further] = await open.outputs(typeof output === 'string' ? output : undefined, (file) =>
    work.chunks(file),
  );
  if (typeof output === 'object') {
    host.checkStream(output);
    if (further.length > 0) {
      throw new SparsifyError('usage', 'a model of several files needs a stream for each', {
        found: [main!, ...further].map(({ path }) => path).join(', '),
        hint: 'Give a function that gives a stream by the name of a file, or a path',
      });
    }
  }
  if (open.whole === undefined) return [...further, main!];
  // What is in memory is ready when all layers are done.
  const last = async function* () {
    await work.finish();
    yield* main!.chunks();
  };
  return [...further, { path: main!.path, chunks: last }];
}

/** What the criterion compares weights with, by tensor. */
function snapshotsFor(
  { recipe: { needs } }: Planner,
  options: SparsifierOptions,
  tensors: readonly WeightTensor[],
  model: StreamedModel,
): Snapshots | undefined {
  if (typeof needs !== 'string') return undefined;
  const source = options[needs];
  if (source === undefined && (needs === 'initial' || needs === 'previous')) {
    throw new SparsifyError(
      'criteria',
      `the criterion compares weights with ${needs} ones, which would have to be kept of all layers at once`,
      {
        asked: options.criteria,
        found: 'one layer in memory at a time',
        hint: `Give them: { ${needs}: arrays by layer name, or another model }`,
      },
    );
  }
  const snapshots = source && given(source, model.tensors, needs, true);
  for (const tensor of tensors) snapshotOf(tensor, needs, snapshots);
  return snapshots;
}

/** Layers that are in memory anyway are changed together up to this many weights, which bounds their scratch memory. */
const togetherWeights = 1 << 22;

/** A layer of the call. */
interface Layer {
  readonly job: Job;
  /** How many units go; undefined as long as the common ranking has not said it, and where a pattern does. */
  remove: number | undefined;
  done: Pick<Done, 'zeros' | 'removed' | 'removedWeights'> | undefined;
}

/** One call on a model that passes by. */
class Work {
  readonly #engine: Engine;
  readonly #model: StreamedModel;
  readonly #planner: Planner;
  readonly #layers: readonly Layer[];
  readonly #layerOf = new Map<Values, Layer>();
  readonly #shares: Shares;
  readonly #snapshots: Snapshots | undefined;
  readonly #options: CallOptions;
  readonly #least: number;
  readonly #total: number;
  /** Weights of the layers that are done. */
  #stored = 0;

  constructor(
    engine: Engine,
    model: StreamedModel,
    planner: Planner,
    request: Request,
    snapshots: Snapshots | undefined,
    call: CallOptions,
  ) {
    const units = planner.unitsOf(request.tensors);
    const shares = planner.shares(request, units);
    this.#engine = engine;
    this.#model = model;
    this.#planner = planner;
    this.#shares = shares;
    this.#snapshots = snapshots;
    this.#options = call;
    this.#least = leastScore(request);
    this.#layers = request.tensors.map((tensor, index) => ({
      job: { ...planner.job(tensor, units[index]!), limit: shares.limits[index]! },
      remove: undefined,
      done: undefined,
    }));
    for (const layer of this.#layers) {
      const { tensor, units } = layer.job;
      this.#layerOf.set(tensor.values, layer);
      if (units.isChannel) for (const { values } of tensor.partners) this.#layerOf.set(values, layer);
    }
    this.#total = this.#layers.reduce((sum, { job }) => sum + weightsOf(job.units.axes), 0);
  }

  /** Finds out how many units each layer loses. */
  async survey(room: Room): Promise<void> {
    const together: Ranked[] = [];
    let done = this.#total;
    for (const { members, remove } of this.#shares.selections) {
      if (members.length === 1) {
        this.#layers[members[0]!]!.remove = remove;
        continue;
      }
      const ranked = members.map((index): Member => {
        const { tensor, units, limit } = this.#layers[index]!.job;
        done -= weightsOf(units.axes);
        return { index, values: tensor.values, units, limit };
      });
      together.push({ members: ranked, remove });
    }
    const looker = {
      score: async ({ index }: Member, look: (record: number) => Promise<boolean>) => {
        const { job } = this.#layers[index]!;
        await score(this.#engine, await this.#plan([job], []), look);
        // Further looks are rare, and show no progress.
        done = Math.min(this.#total, done + weightsOf(job.units.axes));
        this.#options.onProgress?.({ stage: 'score', done, total: this.#total });
      },
      runs: ({ values }: Member, starts: readonly number[], length: number) =>
        this.#model.runs(this.#engine, values, starts, length),
    };
    const counts = await survey(this.#engine, together, this.#planner.recipe, looker, room);
    for (const [index, remove] of counts) this.#layers[index]!.remove = remove;
  }

  /** The bytes of a file as they are to be written. */
  async *chunks(file: string): AsyncGenerator<Uint8Array> {
    const change = async (values: Values) => {
      const layer = this.#layerOf.get(values)!;
      // A layer whose partners came before its weights is ranked twice, which takes less memory than to keep either.
      if (values === layer.job.tensor.values || layer.done === undefined) await this.#change([layer]);
    };
    for await (const chunk of this.#model.changed(file, [...this.#layerOf.keys()], change)) {
      this.#options.signal?.throwIfAborted();
      yield chunk;
    }
  }

  /** Changes the layers that no file brought by, some together, since each exchange with the engine takes time. */
  async finish(): Promise<void> {
    const rest = this.#layers.filter(({ done }) => done === undefined);
    const weights = ({ job }: Layer) => weightsOf(job.units.axes);
    for (const { part } of parts(rest, weights, togetherWeights)) await this.#change(part);
  }

  report(): Report {
    const jobs = this.#layers.map(({ job }) => job);
    return this.#planner.report(
      jobs,
      this.#layers.map(({ done }) => done!),
      this.#engine,
      this.#shares.notes,
    );
  }

  async #change(layers: readonly Layer[]): Promise<void> {
    const jobs = layers.map(({ job }, group) => ({ ...job, group }));
    const removes = layers.flatMap(({ remove }) => remove ?? []);
    const all = await remove(this.#engine, await this.#plan(jobs, removes));
    for (const [index, { zeros, removed, removedWeights }] of all.entries()) {
      const layer = layers[index]!;
      if (layer.done === undefined) this.#stored += weightsOf(layer.job.units.axes);
      layer.done = { zeros, removed, removedWeights };
    }
    this.#options.onProgress?.({ stage: 'store', done: this.#stored, total: this.#total });
  }

  async #plan(jobs: readonly Job[], removes: readonly number[]): Promise<Plan> {
    const { needs } = this.#planner.recipe;
    const { signal, roundTo } = this.#options;
    const compared: Job[] = [];
    for (const job of jobs) {
      const other = await comparedWith(job.tensor, needs, this.#model, this.#snapshots, this.#least);
      compared.push({ ...job, other });
    }
    const plan = { model: this.#model, removes, roundTo, restorable: false, signal, onProgress: undefined };
    return { ...plan, jobs: compared };
  }
}
