import * as host from '#host';
import { loadEngine } from '../engine/engine.js';
import { SparsifyError } from '../errors.js';
import type { ModelOutput } from '../formats/format.js';
import type { OpenModel } from '../formats/open-model.js';
import { bytesIn, filesOfOpen, type Sizes, type SizesOptions } from '../formats/sizes.js';
import type { WeightTensor } from '../model/model.js';
import type { Sparsity } from '../options/amounts.js';
import { readable } from '../options/listener.js';
import { callOptionsOf, type CallOptions, type SparsifierOptions } from '../options/options.js';
import { Planner } from '../pruning/plan.js';
import type { Report } from '../pruning/report.js';
import { givenBy, snapshotOf, sourceFilesIn, type Snapshots } from '../pruning/snapshots.js';
import { StreamingCall } from './call.js';
import { usualRoom, type Room } from './search.js';

/** Returns a stream for a file of the model, given its name. */
export type GiveStream = (
  name: string,
) => WritableStream<Uint8Array<ArrayBuffer>> | Promise<WritableStream<Uint8Array<ArrayBuffer>>>;

/** Where a sparse model is written: to a path, or to streams. */
export type Output = string | WritableStream<Uint8Array<ArrayBuffer>> | GiveStream;

export interface StreamOptions extends CallOptions {
  readonly sparsity?: Sparsity | undefined;
  readonly force?: boolean | undefined;
  /** Opens the model that was written to a path. */
  readonly reopen?: ((path: string) => Promise<OpenModel>) | undefined;
  /** How much is in memory at once. Results do not depend on it. */
  readonly room?: Room;
}

/**
 * Prunes an open model while its files are streamed, with one layer in memory at a time. The bits and the report are
 * the same as those of `Sparsifier.sparsifyModel`. First it finds out how many units each layer loses. Then each layer
 * is ranked separately when its bytes come next, which selects the same units.
 */
export async function stream(
  open: OpenModel,
  output: Output,
  options: SparsifierOptions,
  { sparsity, force = false, room = usualRoom, reopen, ...given }: StreamOptions,
): Promise<Report> {
  const callOptions = callOptionsOf(given);
  if (typeof output === 'string') open.checkEnding(output);
  const engine = await loadEngine();
  const planner = new Planner(open, options);
  const request = planner.request(sparsity, callOptions);
  if (request.budget === 'error') {
    throw new SparsifyError(
      'usage',
      'the budget error measures all layers, which are not in memory while a model is streamed',
      {
        hint: 'Read the model with `readModel`, and use a `Sparsifier`',
      },
    );
  }
  const snapshots = snapshotsFor(planner, request.tensors, open.tensors);
  await planner.given.statistics?.check(open);
  const call = new StreamingCall(engine, open, planner, request, snapshots, callOptions);
  const outputs = await open.outputs(typeof output === 'string' ? output : undefined, call);
  const targets = { force, sourceFiles: [...open.sourceFiles, ...sourceFilesIn(planner.given)] };
  if (typeof output === 'string') {
    await host.checkTargets(
      outputs.map(({ path }) => path),
      targets,
    );
  } else if (typeof output === 'object') checkOneStream(output, outputs);
  try {
    await call.rank(room);
    await call.pruneHeld();
    const files = inOrder(open, outputs).map((file) => settling(file, call));
    if (typeof output === 'string') await host.writeFiles(files, targets);
    else {
      for (const { path, chunks } of files) {
        await host.writeStream(
          typeof output === 'function' ? await readable('the function of outputs', output(path)) : output,
          chunks(),
        );
      }
    }
    const written = outputs[0]!.path;
    return call.report({
      bytes: bytesIn(outputs),
      sizes: (asked) => sizesAgain(reopen && (() => reopen(written)), asked),
    });
  } finally {
    call.free();
  }
}

/** A file whose bytes end once the listener of the call has not failed. */
const settling = (file: ModelOutput, call: StreamingCall): ModelOutput => ({
  ...file,
  async *chunks() {
    yield* file.chunks();
    await call.settle();
  },
});

/** The sizes of files that were written, which are read again. */
async function sizesAgain(open: (() => Promise<OpenModel>) | undefined, options?: SizesOptions): Promise<Sizes> {
  if (open === undefined) {
    throw new SparsifyError('usage', 'files that were written to streams cannot be read again', {
      hint: 'Read the model with `readModel`, and call `sizesOf(model)`',
    });
  }
  const model = await open();
  try {
    return await (await filesOfOpen(model)).sizes(options);
  } finally {
    await model.close();
  }
}

/**
 * Files in the order in which they can be written: first streamed files, since a layer in one of them may have its bias
 * in a file that is held in memory; then held files; last, files that are generated from the others.
 */
function inOrder({ files }: OpenModel, outputs: readonly ModelOutput[]): ModelOutput[] {
  const place = ({ from }: ModelOutput) => (from === undefined ? 2 : files.held.has(from) ? 1 : 0);
  const [main, ...further] = outputs;
  return [...further, main!].sort((first, second) => place(first) - place(second));
}

function checkOneStream(output: WritableStream<Uint8Array<ArrayBuffer>>, outputs: readonly ModelOutput[]): void {
  host.checkStream(output);
  if (outputs.length === 1) return;
  throw new SparsifyError('usage', 'a model of several files needs one stream per file', {
    found: outputs.map(({ path }) => path).join(', '),
    hint: 'Pass a function that returns a stream for the name of each file, or a path',
  });
}

/** The weights that the criterion compares with, by tensor. */
function snapshotsFor(
  { recipe: { needs }, given }: Planner,
  tensors: readonly WeightTensor[],
  all: readonly WeightTensor[],
): Snapshots | undefined {
  if (typeof needs !== 'string') return undefined;
  const snapshots = givenBy(given, all, needs, true);
  if (snapshots === undefined && (needs === 'initial' || needs === 'previous')) {
    throw new SparsifyError(
      'criteria',
      `the criterion needs the ${needs} weights, which cannot be recorded while a model is streamed`,
      {
        given: given.criteria,
        found: 'one layer in memory at a time',
        hint: `Give them with \`${needs}\`. In \`sparsifyFile\` that is a path, arrays by layer name, or another model`,
      },
    );
  }
  for (const tensor of tensors) snapshotOf(tensor, needs, snapshots);
  return snapshots;
}
