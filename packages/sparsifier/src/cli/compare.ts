import {
  compareStored,
  made,
  withOutputs,
  type ComparedSizes,
  type Comparison,
  type Side,
} from '../analysis/comparison/compare.js';
import type { Difference } from '../analysis/comparison/difference.js';
import { runModel, type OutputDifference } from '../analysis/comparison/outputs.js';
import { sessionModelOf, type SessionModel } from '../calibration/onnx.js';
import type { SparsifyError } from '../errors.js';
import { formats, type ReadModelOptions } from '../formats/all.js';
import { formatOf } from '../formats/format.js';
import { joinedFiles } from '../formats/joined.js';
import { openModel, unchanged, type OpenModel } from '../formats/open-model.js';
import { filesOfOpen } from '../formats/sizes.js';
import { chooseInputs, type InputOptions } from './inputs.js';
import { textOf } from '../printable.js';
import { grouped, ruled, section } from '../pruning/table.js';
import { counted, formatted, percent } from '../pruning/text.js';
import { print } from './print.js';
import { readingOptions, type ReadingOptions } from './reading.js';
import { RuntimeFailure, runtimeOf } from './runtime.js';
import { startSpinner } from './spinner.js';

/** The options of the command, without `--threads`. */
export interface CompareOptions extends Pick<ReadingOptions, 'layer'>, InputOptions {
  readonly json?: boolean;
  /** Whether each layer that differs is listed. */
  readonly layers?: boolean;
  /** False with `--no-sizes`. */
  readonly sizes?: boolean;
}

/** The command `compare`. @param engine is still loading */
export async function compare(
  a: string,
  b: string,
  { layer, json, layers = false, sizes: compress = true, ...given }: CompareOptions,
  engine: Promise<unknown>,
): Promise<void> {
  await engine;
  const spinner = startSpinner(json);
  const sizesIn = async (found: Comparison) =>
    compress ? found.sizes({ layers, onProgress: ({ model, ...rest }) => spinner.onProgress(rest, model) }) : undefined;
  const { found, sizes, failure } = await compareFiles(
    a,
    async () => b,
    readingOptions({ layer }),
    given,
    sizesIn,
  ).finally(spinner.stop);
  if (json) print(JSON.stringify({ a, b, ...found, sizes }, null, 2));
  else {
    const tables = [...(sizes ? sizesTable(sizes) : []), ...(layers ? layerTable(found, sizes) : [])];
    print(textOf([`a: ${a}`, `b: ${b}`, '', ...tables, ...inWords(found)]));
  }
  if (failure) throw failure;
}

/** A comparison of files. */
interface Compared {
  readonly found: Comparison;
  readonly sizes: ComparedSizes | undefined;
  /** Why a model could not be run. Then only the weights are compared. */
  readonly failure?: SparsifyError;
}

/**
 * Compares two files, of which only parts are in memory. The first one is run before the second one is needed, so that
 * whatever is wrong with the inputs is known before `other` writes a file.
 * @param other returns the path of the second file, given the first model
 * @param sizesIn compresses the files, if their sizes are to be known
 */
export async function compareFiles(
  file: string,
  other: (model: OpenModel) => Promise<string>,
  reading: ReadModelOptions,
  given: InputOptions,
  sizesIn: (found: Comparison) => Promise<ComparedSizes | undefined> = async () => undefined,
): Promise<Compared> {
  const open = (path: string) => openModel(path, (main) => formatOf(formats, main, reading), reading);
  let failure: SparsifyError | undefined;
  const attempt = async <Result>(work: () => Promise<Result>): Promise<Result | undefined> => {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof RuntimeFailure)) throw error;
      failure = error;
      return undefined;
    }
  };
  const choose = await chooseInputs(given);
  const a = await open(file);
  try {
    const { createSession, reason } = await runtimeOf(a);
    const runs = createSession && (await attempt(async () => runModel(await copyOf(a), createSession, choose)));
    const b = await open(await other(a));
    try {
      const second = await runtimeOf(b);
      const compared = await compareStored(sideOf(a), sideOf(b));
      if (runs !== undefined && second.createSession !== undefined) {
        const runnable = { createSession: second.createSession, copy: () => copyOf(b) };
        const found = await attempt(() => withOutputs(compared, runs, runnable));
        if (found !== undefined) return { found, sizes: await sizesIn(found) };
      }
      const found = made(compared, failure ? [] : [(reason ?? second.reason)!]);
      return { found, sizes: await sizesIn(found), ...(failure && { failure }) };
    } finally {
      await b.close();
    }
  } finally {
    await a.close();
  }
}

const sideOf = (model: OpenModel): Side => ({
  model,
  outputs: () => model.outputs(undefined, unchanged(model)),
  sized: () => filesOfOpen(model),
});

/** The files of a model as they are. */
async function copyOf(model: OpenModel): Promise<SessionModel> {
  return sessionModelOf(model.format, await joinedFiles(await model.outputs(undefined, unchanged(model))));
}

/** How large the files are. */
function sizesTable({ a, b }: ComparedSizes): string[] {
  const row = (name: string, key: 'raw' | 'gzip' | 'brotli') => [
    name,
    formatted(a[key]),
    formatted(b[key]),
    percent((100 * b[key]) / a[key]),
  ];
  const rows = [row('bytes', 'raw'), row('gzip -9', 'gzip'), row('brotli -q 11', 'brotli')];
  return [...ruled([['', 'a', 'b', 'b of a'], ...rows], { head: 1, body: rows.length, from: 1 }), ''];
}

/** A comparison in words, without the single layers. */
export function inWords({ layers, outputs, skipped, notes }: Comparison): string[] {
  return [
    ...weightsInWords(layers),
    ...(outputs.length > 0 ? ['', ...outputs.map(outputInWords)] : []),
    ...section('not compared', grouped(skipped)),
    ...(notes.length > 0 ? ['', ...notes] : []),
  ];
}

type Layer = Comparison['layers'][number];

const isChanged = ({ changed, partners }: Layer): boolean =>
  changed > 0 || partners.some((partner) => partner.changed > 0);

/** How far the weights of a layer are from those of the first model, for comparing layers. */
const moveOf = ({ relativeRms = Infinity }: Layer): number => relativeRms;

function weightsInWords(layers: readonly Layer[]): string[] {
  if (layers.length === 0) return ['weights: no layer is in both models'];
  const partners = layers.flatMap((layer) => layer.partners);
  const changed = layers.filter(isChanged).length;
  const where = changed === 0 ? counted(layers.length, 'layer') : `${changed} of ${counted(layers.length, 'layer')}`;
  const most = layers.reduce((one, other) => (moveOf(other) > moveOf(one) ? other : one));
  const farthest = moveOf(most) === 0 ? '' : `, most in ${most.name}: ${relative(most)} (relative RMS)`;
  return [
    `weights: ${sumInWords(layers)}, in ${where}${farthest}`,
    ...(partners.length === 0 ? [] : [`biases and norms: ${sumInWords(partners)}`]),
  ];
}

function sumInWords(differences: readonly Difference[]): string {
  const [changed, numbers] = (['changed', 'numbers'] as const).map((key) =>
    differences.reduce((sum, each) => sum + each[key], 0),
  );
  if (changed === 0) return `all ${formatted(numbers!)} are equal`;
  return `${formatted(changed!)} of ${formatted(numbers!)} differ`;
}

/** The layers that differ. */
function layerTable({ layers }: Comparison, sizes: ComparedSizes | undefined): string[] {
  const estimates = (['a', 'b'] as const).map(
    (side) => new Map(sizes?.[side].layers?.map(({ name, estimate }) => [name, formatted(estimate)])),
  );
  const rows = layers
    .filter(isChanged)
    .map((layer) => [
      layer.name,
      layer.kind,
      layer.shape.join(' x '),
      formatted(layer.numbers),
      formatted(layer.changed),
      relative(layer),
      size(layer.maxDifference),
      formatted(layer.zeros.a),
      formatted(layer.zeros.b),
      formatted(layer.partners.reduce((all, partner) => all + partner.changed, 0)),
      ...(sizes ? estimates.map((each) => each.get(layer.name) ?? '') : []),
    ]);
  if (rows.length === 0) return [];
  const values = ['weights', 'changed', 'relative RMS', 'at most', 'zeros in a', 'in b', 'biases, norms'];
  if (sizes) values.push('about, in brotli: a', 'b');
  return [...ruled([['layer', 'kind', 'shape', ...values], ...rows], { head: 1, body: rows.length, from: 3 }), ''];
}

function outputInWords(output: OutputDifference): string {
  const { name, type, numbers, changed, maxDifference, cosine, argmax, notFinite } = output;
  const moved = type.startsWith('float')
    ? `moved by ${relative(output)} (relative RMS)`
    : `${formatted(changed)} of ${formatted(numbers)} values changed`;
  const rows = argmax && `${formatted(argmax.changed)} of ${counted(argmax.rows, 'row')}`;
  const facts = [
    changed === 0 ? 'equal' : moved,
    changed > 0 && cosine !== undefined && `cosine ${Number(cosine.toFixed(6))}`,
    changed > 0 && maxDifference !== undefined && `by at most ${size(maxDifference)}`,
    changed > 0 && rows !== undefined && `argmax (last axis) changed in ${rows}`,
    notFinite.a + notFinite.b > 0 && `NaN or infinite: ${notFinite.a} numbers in a, ${notFinite.b} in b`,
  ];
  return `output ${name}: ${facts.filter((fact) => fact !== false).join(', ')}`;
}

const size = (value: number | undefined): string => (value === undefined ? '' : String(Number(value.toPrecision(3))));
const relative = ({ relativeRms }: Difference): string =>
  relativeRms === undefined ? 'all, from zero' : `${size(100 * relativeRms)} %`;
