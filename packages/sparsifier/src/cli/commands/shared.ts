import { Option, type Command } from 'commander';
import { loadEngine } from '../../engine/engine.js';
import type { Topic } from '../../options/words.js';
import { reducerNames } from '../../options/criteria.js';
import { defaults } from '../../options/defaults.js';
import { granularityNames } from '../../options/granularity.js';
import {
  above0,
  collect,
  criteriaOfCommand,
  criterionOf,
  granularityOf,
  nameOf,
  oneOf,
  share,
  whole,
} from '../parse.js';
import type { Say } from '../phrasing.js';

/** A command of the command line. */
export interface CommandEntry {
  /** What to write where an argument is missing. */
  readonly example: string;
  /** Adds it to the program. @param say for the messages of the library */
  add(program: Command, say: Say): void;
}

/** The option of all commands that sets the number of threads. */
export interface Threads {
  readonly threads?: number;
}

/** Starts to load the engine, so that the modules that use it load at the same time. */
export function begin(threads: number | undefined): Promise<unknown> {
  const engine = loadEngine(threads === undefined ? {} : { threads });
  // A failure is reported where the engine is awaited, unless another error comes first.
  engine.catch(() => {});
  return engine;
}

/** An option whose value is one of several names. @param topic what other words may mean */
export const choice = (flags: string, description: string, names: readonly string[], topic?: Topic): Option =>
  new Option(flags, description).choices(names).argParser(oneOf(names, topic));

/** Options of all commands. */
export const common = (command: Command): Command =>
  command
    .option('--threads <n>', 'number of threads (default: one per core)', whole)
    .option('--json', 'print the report as JSON, and nothing else');

/** The options of commands that read models of any format. */
export const anyModel = (command: Command): Command =>
  common(
    command.option(
      '--layer <name=kind>',
      'describe a tensor of a safetensors file: name-or-glob=dense:in,out (the roles of its axes), =conv2d/32 (groups), =none (exclude it); repeatable',
      collect,
    ),
  );

/** What is removed together. */
export const [granularity, coupled] = [
  new Option(
    '-g, --granularity <name>',
    `which weights are removed together: ${granularityNames.join(', ')}; a pattern such as 2:4, block:out=1,in=4, or spanning:in,height`,
  )
    .argParser(granularityOf)
    .default(defaults.granularity),
  new Option(
    '--coupled',
    'with -g filter: remove whole channels of the network, with all that makes, follows and reads them',
  ),
] as const;

/** How the network is followed. */
export const followedInput = new Option(
  '--input <name:sizes>',
  'with --coupled: the shape of an input with axes of any size: x:1,3,48,320; repeatable',
).argParser(collect);

/** What counts as useful. */
export const [criteria, reducer, seed] = [
  new Option(
    '--criteria <name>',
    `what makes a weight useful: ${criteriaOfCommand.join(', ')}. wanda, fluctuation and flap need --calibrate or --statistics; flap needs --coupled. Those that need gradients or earlier calls are in the library`,
  )
    .argParser(criterionOf)
    .default(defaults.criteria),
  choice('--reducer <name>', "how a unit's scores are combined into one", reducerNames).default(defaults.reducer),
  new Option('--seed <n>', 'for --criteria random').argParser(whole),
] as const;

/** The inputs of models that are run. */
export const [inputShape, inputValues] = [
  new Option(
    '--input <name:sizes>',
    'the shape of an input for seeded random values, needed if an axis has any size: x:1,3,48,320; repeatable',
  ).argParser(collect),
  new Option(
    '--inputs <file>',
    'the values of the inputs: an .npz, .npy or .safetensors file, or a JavaScript module',
  ).argParser(nameOf),
] as const;

/** Where statistics of the inputs of layers come from. */
export const [calibrating, measured] = [
  new Option(
    '--calibrate <inputs>',
    'measure the inputs of layers: run the ONNX model on an .npz, .npy or .safetensors file, or on what a JavaScript module gives',
  ).argParser(nameOf),
  new Option('--statistics <file>', 'what sparsifier calibrate measured, or PyTorch, as safetensors').argParser(nameOf),
] as const;

/** What judges models. */
export const evaluating = new Option(
  '--evaluate <module>',
  'a JavaScript module whose default export judges a model: async (files, { signal, part }) => number',
).argParser(nameOf);

/** What a report tells besides the totals. */
export const [listedLayers, sizes] = [
  new Option('--layers', 'list every layer, also where all lost about the same share'),
  new Option('--sizes', 'compress the files as gzip -9 and brotli -q 11 do, and print their sizes (2 s per megabyte)'),
] as const;

/** A report as a page. */
export const reportPage = new Option(
  '--report <file>',
  'also write an HTML page about what was done: a map of the layers, weights and masks, and all of the report',
).argParser(nameOf);

/** How the inputs of layers are measured. */
export const [holdOut, memory] = [
  new Option(
    '--hold-out <share>',
    'the share of the batches on which repaired layers are checked (default: 0.25)',
  ).argParser(share),
  new Option(
    '--memory <MB>',
    'how many megabytes measuring may take (default: 1024); of layers that need more, only biases can be repaired',
  ).argParser(above0),
] as const;

/** How layers make up for what is removed. */
export const [repair, repairInputs, noAddBias] = [
  choice(
    '--repair <method>',
    'make up for what is removed: solve for the weights that are kept and for biases, or change biases only (bias)',
    ['solve', 'bias'],
  ),
  choice(
    '--repair-inputs <model>',
    'repair layers for the inputs that they get in the dense model (the default), or in the pruned one, measured layer by layer: better, and slower',
    ['dense', 'pruned'],
  ),
  new Option('--no-add-bias', 'do not give a bias to layers that have none when they are repaired'),
] as const;
