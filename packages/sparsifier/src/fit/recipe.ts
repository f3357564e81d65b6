import { attempt } from '../errors.js';
import { forms, type Form } from '../model/forms.js';
import type { InputShapes } from '../options/coupled.js';
import {
  among,
  byName,
  count,
  digest,
  flag,
  listOf,
  object,
  optional,
  positive,
  share,
  text,
  type Part,
} from './schema.js';

/** The version of this package; a test compares it with that in `package.json`. */
export const version = '0.1.0';

/** A file that a recipe is for, or that it makes. */
export interface RecipeFile {
  readonly name: string;
  readonly bytes: number;
  /** Missing where there is none: in pages that are no secure contexts. */
  readonly sha256?: string | undefined;
}

/** The inputs that something was solved for: those of the original model, or those of the model as it is then. */
export type RecipeInputs = 'dense' | 'pruned';

/** Which weights are removed. Options are those of a Sparsifier. */
export interface RecipePruning {
  readonly granularity: 'weight';
  readonly context: 'local';
  readonly criteria: 'fluctuation' | 'largeFinal';
  /** For each layer, how many weights are removed. */
  readonly amounts: Readonly<Record<string, number>>;
  /** How the kept weights make up for them; missing if nothing does. */
  readonly repair?: { readonly method: 'solve'; readonly inputs: RecipeInputs } | undefined;
}

/** Which channels are removed. Options are those of a Sparsifier with `coupled: true`, and of `planRemoval`. */
export interface RecipeRemoval {
  readonly granularity: 'filter';
  readonly context: 'local';
  readonly criteria: 'flap';
  /** For each group of channels, how many it loses. */
  readonly amounts: Readonly<Record<string, number>>;
  readonly roundTo: number;
  /** The shapes of inputs for which the network was followed; missing if none were given. */
  readonly inputShapes?: InputShapes | undefined;
  /** How the layers that read them make up for them. */
  readonly repair: { readonly method: 'solve'; readonly inputs: RecipeInputs };
  /** Where the statistics for what comes then come from: measured, or those of the original model without these channels. */
  readonly statistics: 'measured' | 'cut';
}

/** In which form weights are stored. */
export interface RecipeQuantization {
  readonly weights: Form;
  readonly layers: readonly string[];
  /** The inputs by which scales are chosen and biases corrected; missing if none are. */
  readonly inputs?: RecipeInputs | undefined;
}

/** What {@link fit} did, as plain JSON: {@link repeat} does the same again. Nothing in it is random, so it has no seed. */
export interface FitRecipe {
  /** Where editors find the schema. */
  readonly $schema?: string | undefined;
  /** The version of this form of recipes. */
  readonly version: 1;
  /** The version of the package that made the recipe. */
  readonly sparsifier: string;
  /** The files of the model, the main one first. */
  readonly model: readonly RecipeFile[];
  /** The file of the statistics that weights are chosen and solved by; missing if none are needed. */
  readonly statistics?: { readonly sha256?: string | undefined } | undefined;
  /** How the inputs were used; missing if there were none. */
  readonly data?:
    | {
        /** Whether every fourth batch judged models, and was used for nothing else. */
        readonly isSplit: boolean;
        readonly holdOut: number;
        readonly memory: number;
      }
    | undefined;
  /** What is done first. Statistics for what comes then are those of the model without these channels. */
  readonly remove?: RecipeRemoval | undefined;
  readonly prune?: RecipePruning | undefined;
  readonly quantize?: RecipeQuantization | undefined;
  /** The files that come out, the main one first. */
  readonly result: readonly RecipeFile[];
}

const file = object<RecipeFile>(
  {
    name: text('Its name in the model'),
    bytes: count('Its size'),
    sha256: optional(digest('The SHA-256 of its bytes')),
  },
  'A file',
);
const inputs = among<RecipeInputs>(
  ['dense', 'pruned'],
  'The inputs of layers: those in the original model (dense), or those in the model as it is then (pruned)',
);

const repairing = (description: string) =>
  object<RecipeRemoval['repair']>({ method: among(['solve'], 'How the kept weights change'), inputs }, description);

const removal = object<RecipeRemoval>(
  {
    granularity: among(['filter'], 'What is removed'),
    context: among(
      ['local'],
      'Where channels are compared: each group by itself, since the amounts are those of groups',
    ),
    criteria: among(['flap'], 'What makes a channel useful'),
    amounts: byName(
      count('A number of channels'),
      'How many channels each group loses, by the first layer that makes them',
    ),
    roundTo: count('The number of channels that stay in a group is a multiple of this', 1),
    inputShapes: optional(
      byName(
        listOf(count('The size of an axis', 1), 'The shape of an input', 0),
        'The shapes of inputs for which the network was followed',
      ),
    ),
    repair: repairing('How the layers that read them make up for them'),
    statistics: among(
      ['measured', 'cut'],
      'Where the statistics for what comes then come from: measured, or those of the original model without these channels',
    ),
  },
  'Which channels are removed, before anything else',
);

const pruning = object<RecipePruning>(
  {
    granularity: among(['weight'], 'What is removed'),
    context: among(
      ['local'],
      'Where weights are compared: each layer by itself, since the amounts are those of layers',
    ),
    criteria: among(['fluctuation', 'largeFinal'], 'What makes a weight useful'),
    amounts: byName(count('A number of weights'), 'How many weights each layer loses'),
    repair: optional(repairing('How the kept weights make up for the others')),
  },
  'Which weights are removed',
);

const quantization = object<RecipeQuantization>(
  {
    weights: among(forms, 'The form of the weights'),
    layers: listOf(text('The name of a layer'), 'The layers whose weights have that form'),
    inputs: optional(inputs),
  },
  'In which form weights are stored',
);

const recipe: Part<FitRecipe> = object<FitRecipe>(
  {
    $schema: optional(text('Where the schema is, for editors')),
    version: among([1], 'The version of this form of recipes'),
    sparsifier: text('The version of sparsifier that made the recipe'),
    model: listOf(file, 'The files of the model that the recipe is for, the main one first'),
    statistics: optional(
      object(
        { sha256: optional(digest('The SHA-256 of the file')) },
        'The file of the statistics of the inputs of layers',
      ),
    ),
    data: optional(
      object(
        {
          isSplit: flag('Whether every fourth batch judged models, and was used for nothing else'),
          holdOut: share('The share of the other batches that was held out, to check repairs'),
          memory: positive('How many bytes the sums of layers could take'),
        },
        'How inputs were used that the model was run on',
      ),
    ),
    remove: optional(removal),
    prune: optional(pruning),
    quantize: optional(quantization),
    result: listOf(file, 'The files that come out, the main one first'),
  },
  'What sparsifier fit did to a model. sparsifier fit --recipe does it again',
);

/** The published schema, which the build writes to `recipe.schema.json`. */
export const recipeSchema = {
  $schema: 'http://json-schema.org/draft-07/schema#',
  title: 'Recipe of sparsifier fit',
  ...recipe.schema,
};

/** Where editors find it once the package is installed. */
export const schemaPath = './node_modules/sparsifier/recipe.schema.json';

/** @throws SparsifyError `format` for what is no recipe */
export const recipeOf = (given: unknown): FitRecipe => attempt('the recipe', () => recipe.read(given, ''));

/** What else than the model a recipe needs. */
export function needsOf({ remove, prune, quantize }: Pick<FitRecipe, 'remove' | 'prune' | 'quantize'>) {
  const solvedFor = [prune?.repair?.inputs, quantize?.inputs];
  const isByStatistics =
    prune?.criteria === 'fluctuation' || prune?.repair !== undefined || solvedFor.includes('dense');
  return {
    /** Statistics of the inputs of layers in the original model. */
    statistics: remove !== undefined || isByStatistics,
    /** Inputs on which a model is run that has lost channels or weights. */
    data:
      solvedFor.includes('pruned') ||
      remove?.repair.inputs === 'pruned' ||
      (remove?.statistics === 'measured' && isByStatistics),
  };
}
