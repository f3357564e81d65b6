import { givesBatches } from '../calibration/batches.js';
import { calibrate } from '../calibration/onnx.js';
import { fileDigestOf, type Statistics } from '../calibration/statistics.js';
import { SparsifyError } from '../errors.js';
import { readLike, type FileModel } from '../formats/file-model.js';
import { withClosed } from '../model/closing.js';
import { checkModel } from '../model/model.js';
import { addSourceFiles, sourceFilesOf } from '../model/source-files.js';
import { aFunction, aSignal, optionsOf, type Shape } from '../options/check.js';
import { someStatistics, type InputStatistics } from '../options/options.js';
import { inspect } from '../pruning/inspect.js';
import { Sparsifier } from '../pruning/sparsifier.js';
import { formatted, listed } from '../pruning/text.js';
import { cut } from './channels.js';
import { splitBatches } from './judge.js';
import { repeatReportOf } from './made-repeat-report.js';
import { dataFrom, type FitData, type FitSession } from './options.js';
import { recipeFilesOf } from './recipe-files.js';
import { needsOf, recipeOf, version, type FitRecipe, type RecipeFile, type RecipePruning } from './recipe.js';
import type { RepeatReport } from './report.js';
import { fittedLayersOf, repaired, storedIn, type FittedLayer, type Inputs, type LayerCut } from './steps.js';
import { rawBytes } from './target.js';

/** The options of {@link repeat}. */
export interface RepeatOptions<Feeds = never> {
  /** The statistics that the recipe was made with. Without them they are measured with `data`. */
  readonly statistics?: InputStatistics | undefined;
  /** The inputs that the recipe was made with, and what runs the model. Recipes say whether they need them. */
  readonly data?: FitSession<Feeds> | undefined;
  /** Ends the call with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** What a recipe makes. */
export interface Repeated {
  /** A model of its own. */
  readonly model: FileModel;
  readonly report: RepeatReport;
}

const repeatShape: Shape<RepeatOptions> = {
  statistics: someStatistics,
  data: (value) => dataFrom(value as FitSession<never>, { createSession: aFunction, batches: givesBatches }),
  signal: aSignal,
};

/**
 * Does to a model what `fit` did, without a search. With the same statistics, and the same inputs where the recipe needs them,
 * the files are the same; the report says whether they are. The given model is not changed.
 * @param model the one that the recipe is for, read from files
 * @param recipe the `recipe` of `fit`, or what `readRecipe` reads
 * @throws SparsifyError `format` for what is no recipe; `usage` for wrong options, for a recipe of another model, and where
 *   statistics or inputs are missing that it needs; `criteria` for other statistics; `layer` if its layers are not
 *   those of the model; otherwise what `calibrate`, `Sparsifier` and `quantize` throw; the signal's reason if aborted
 */
export async function repeat<Feeds = never>(
  model: FileModel,
  recipe: FitRecipe,
  options: RepeatOptions<Feeds> = {},
): Promise<Repeated> {
  checkModel(model);
  const asked = recipeOf(recipe);
  const given = optionsOf(options, repeatShape as Shape<RepeatOptions<Feeds>>);
  given.signal?.throwIfAborted();
  checkNeeds(model, asked, given);
  if (given.statistics) addSourceFiles(model, sourceFilesOf(given.statistics));
  const files = await model.toFiles();
  await checkFiles(asked, files);
  const inputs = await withClosed(await readLike(model, files), (copy) => knownInputs(copy, asked, given));
  const made = asked.remove
    ? await withoutChannels(model, files, asked, inputs)
    : await madeFrom(model, files, asked, inputs);
  const isSame = areSame(await recipeFilesOf(made.files), asked.result);
  return {
    model: await readLike(model, made.files),
    report: repeatReportOf({
      recipe: asked,
      bytes: { before: rawBytes(files), after: rawBytes(made.files) },
      layers: made.layers,
      isSame,
      notes: [...notesOn(asked, given, isSame), ...made.notes],
      warnings: made.warnings,
    }),
  };
}

/** Removes channels, and does the other steps to the model that is left, with statistics of its own. */
async function withoutChannels<Feeds>(
  model: FileModel,
  files: Files,
  recipe: FitRecipe,
  inputs: Inputs<Feeds>,
): Promise<Result> {
  const { amounts, roundTo, inputShapes, repair, statistics: source } = recipe.remove!;
  const next = needsOf({ ...recipe, remove: undefined }).statistics ? source : undefined;
  const cutting = {
    ...inputs,
    rules: { layerType: 'all' as const },
    inputShapes,
    roundTo,
    repair: repair.inputs,
    next,
  };
  const made = await cut(model, files, removing(amounts), cutting);
  return withClosed(made.model, async (small) => {
    const result = await madeBy(small, recipe, { ...inputs, statistics: made.statistics }, made.layers);
    return { ...result, notes: [...made.notes, ...result.notes] };
  });
}

const madeFrom = async <Feeds>(
  model: FileModel,
  files: Files,
  recipe: FitRecipe,
  inputs: Inputs<Feeds>,
): Promise<Result> => withClosed(await readLike(model, files), (copy) => madeBy(copy, recipe, inputs));

type Files = Map<string, Uint8Array<ArrayBuffer>>;

/** What the steps of a recipe give. */
interface Result {
  readonly files: Files;
  readonly layers: readonly FittedLayer[];
  readonly notes: readonly string[];
  readonly warnings: readonly string[];
}

/** How many units each layer or group loses. A Map, in which names may be any. */
const removing = (amounts: Readonly<Record<string, number>>) =>
  new Map(Object.entries(amounts).map(([name, remove]) => [name, { remove }]));

function checkNeeds<Feeds>(model: FileModel, recipe: FitRecipe, { statistics, data }: RepeatOptions<Feeds>): void {
  const needs = needsOf(recipe);
  const fail = (summary: string, hint: string, found?: string) => {
    throw new SparsifyError('usage', summary, { ...(found === undefined ? {} : { found }), hint });
  };
  if (needs.statistics && statistics === undefined && data === undefined) {
    fail(
      'the recipe needs statistics of the inputs of layers',
      'Give the `statistics` that it was made with, or their `data`',
    );
  }
  if ((needs.data || (needs.statistics && statistics === undefined)) && recipe.data === undefined) {
    fail('the recipe was not made with inputs', 'Give the `statistics` that it was made with');
  }
  if (needs.data && data === undefined) {
    const hint = 'Give the `data` that it was made with';
    fail(
      'the recipe needs inputs, since it solves for those of layers once the model has lost weights or channels',
      hint,
    );
  }
  if (data !== undefined && model.format !== 'ONNX') {
    fail('`data` runs the model, which is possible for ONNX models only', 'Leave it out', `${model.format} model`);
  }
}

async function checkFiles({ model }: FitRecipe, files: Files): Promise<void> {
  const found = await recipeFilesOf(files);
  if (areSame(found, model)) return;
  throw new SparsifyError('usage', 'the recipe is for another model', {
    given: filesInWords(found),
    found: `a recipe for ${filesInWords(model)}`,
    hint: 'Give the model that it was made with, as it was then',
  });
}

/** Whether files have the same bytes. Their names may differ, and digests that are not known are not compared. */
const areSame = (one: readonly RecipeFile[], other: readonly RecipeFile[]): boolean =>
  one.length === other.length &&
  one.every(({ bytes, sha256 }, index) => {
    const { bytes: size, sha256: digest } = other[index]!;
    return bytes === size && (sha256 === digest || sha256 === undefined || digest === undefined);
  });

const filesInWords = (files: readonly RecipeFile[]): string =>
  listed(
    files.map(
      ({ name, bytes, sha256 }) => `${name}: ${formatted(bytes)} bytes${sha256 ? ` with SHA-256 ${sha256}` : ''}`,
    ),
  );

/** The statistics that the recipe was made with, measured again if need be, and the inputs that it solves for. */
async function knownInputs<Feeds>(
  model: FileModel,
  recipe: FitRecipe,
  { statistics: given, data, signal }: RepeatOptions<Feeds>,
): Promise<Inputs<Feeds>> {
  const used = data && recipe.data ? await dataOf(data, recipe.data) : undefined;
  if (!needsOf(recipe).statistics) return { statistics: undefined, data: used, signal };
  const statistics = given ?? ((await calibrate(model, { ...used!, signal })) as Statistics);
  const [sha256, expected] = [await fileDigestOf(statistics), recipe.statistics?.sha256];
  if (sha256 === expected || sha256 === undefined || expected === undefined) return { statistics, data: used, signal };
  throw new SparsifyError('criteria', 'the recipe was made with other statistics', {
    given: `statistics with SHA-256 ${sha256}`,
    found: `a recipe for SHA-256 ${expected}`,
    hint:
      given === undefined
        ? 'Give the `statistics` of that run, since other inputs, and other machines, give other statistics'
        : 'Give those of that run',
  });
}

async function dataOf<Feeds>(
  data: FitSession<Feeds>,
  { isSplit, holdOut, memory }: NonNullable<FitRecipe['data']>,
): Promise<FitData<Feeds>> {
  const batches = isSplit ? (await splitBatches(data.batches)).solving : data.batches;
  return { ...data, batches, holdOut, memory };
}

/** Removes weights, and stores the others in another form. @param model changes @param cut what layers have lost before */
async function madeBy<Feeds>(
  model: FileModel,
  { prune, quantize }: FitRecipe,
  inputs: Inputs<Feeds>,
  cut?: ReadonlyMap<string, LayerCut>,
): Promise<Result> {
  const { layers: dense } = await inspect(model);
  const { pruned, repair } = prune ? await prunedBy(model, prune, inputs) : { pruned: [], repair: undefined };
  const known = { dense, pruned, repair, reasons: new Map<string, string>(), cut };
  if (quantize === undefined) {
    const layers = fittedLayersOf({ ...known, stored: [] });
    return { files: await model.toFiles(), layers, notes: repair?.notes ?? [], warnings: [] };
  }
  const rules = { include: quantize.layers };
  const { files, report } = await storedIn(model, quantize.weights, rules, quantize.inputs, inputs);
  return {
    files,
    layers: fittedLayersOf({ ...known, stored: report.layers }),
    notes: [...(repair?.notes ?? []), ...(inputs.statistics ? report.notes : [])],
    warnings: report.warnings.map(({ message }) => message),
  };
}

async function prunedBy<Feeds>(
  model: FileModel,
  { granularity, context, criteria, amounts, repair }: RecipePruning,
  inputs: Inputs<Feeds>,
) {
  const { statistics, signal } = inputs;
  const include = Object.keys(amounts);
  const sparsifier = new Sparsifier(model, {
    ...{ granularity, context, criteria, include },
    ...(statistics && { statistics }),
  });
  try {
    const { layers: pruned } = await sparsifier.sparsifyModel(removing(amounts), { signal });
    return { pruned, repair: repair && (await repaired(sparsifier, repair.inputs, inputs)) };
  } finally {
    sparsifier.clear();
  }
}

/** Sentences about what came out, and what was not needed. */
function notesOn<Feeds>(recipe: FitRecipe, { statistics, data }: RepeatOptions<Feeds>, isSame: boolean): string[] {
  const needs = needsOf(recipe);
  const isDataUsed = needs.data || (needs.statistics && statistics === undefined);
  const causes = [
    ...(recipe.sparsifier === version ? [] : [`it was made with version ${recipe.sparsifier}, and this is ${version}`]),
    ...(needs.data ? ['the inputs, or what ran the model, were others'] : []),
    'the recipe, or how the model is read, was changed',
  ];
  return [
    ...(isSame
      ? []
      : [`the files are not those that the recipe was made with; one of these is why: ${causes.join('; ')}`]),
    ...(isSame && [...recipe.model, ...recipe.result].some(({ sha256 }) => sha256 === undefined)
      ? ['only sizes were compared: the recipe was made where no SHA-256 could be computed']
      : []),
    ...(statistics && !needs.statistics ? ['the statistics were not needed'] : []),
    ...(data && !isDataUsed ? ['the inputs were not needed: the statistics have all that is used of them'] : []),
  ];
}
