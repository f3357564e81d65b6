#!/usr/bin/env node
import { createRequire } from 'node:module';
import { Command, CommanderError, Option } from 'commander';
import { normalizerNames, reducerNames } from '../options/criteria.js';
import { defaults } from '../options/defaults.js';
import { loadEngine } from '../engine/engine.js';
import { SparsifyError } from '../errors.js';
import { granularityNames } from '../options/granularity.js';
import { budgets } from '../options/budgets.js';
import { contexts } from '../options/rankings.js';
import { asked } from '../options/spelling.js';
import { meaningOf } from '../options/words.js';
import { kinds } from '../model/model.js';
import type { CalibrateOptions } from './calibrate.js';
import type { CompareOptions } from './compare.js';
import type { InspectOptions } from './inspect.js';
import {
  above0,
  collect,
  criteriaOfCommand,
  criterionOf,
  granularityOf,
  kindsOf,
  nameOf,
  oneOf,
  share,
  whole,
} from './parse.js';
import { inFlags } from './phrasing.js';
import type { PruneOptions } from './prune.js';

const { version } = createRequire(import.meta.url)('../../package.json') as { version: string };

interface Threads {
  readonly threads?: number;
}

/** Starts to load the engine, so that the modules that use it load at the same time. */
function begin(threads: number | undefined): Promise<unknown> {
  const engine = loadEngine(threads === undefined ? {} : { threads });
  // A failure is reported where the engine is awaited, unless another error comes first.
  engine.catch(() => {});
  return engine;
}

/** What to write where an argument is missing. */
const examples: ReadonlyMap<string, string> = new Map([
  ['inspect', 'sparsifier inspect model.onnx'],
  ['calibrate', 'sparsifier calibrate model.onnx inputs.npz -o statistics.safetensors'],
  ['compare', 'sparsifier compare model.onnx sparse.onnx'],
  ['prune', 'sparsifier prune model.onnx -s 50 -o sparse.onnx'],
]);

const program = new Command('sparsifier')
  .description('Prune neural networks: make the weights in a model file sparse.')
  .version(version)
  .showHelpAfterError('(--help lists the options)')
  .exitOverride()
  .configureOutput({
    outputError: (text, write) => {
      // Commander suggests what is spelt alike, which words of other libraries are not.
      const hinted = text.replace(/(unknown option '--([\w-]+)')(\n\(Did you mean.*\))?/, (all, unknown, name) => {
        const meant = (meaningOf(name as string, 'option') ?? []).flatMap((option) => flags.get(option) ?? []);
        return meant.length === 0 ? (all as string) : `${unknown}\n(${asked(meant)})`;
      });
      const [command = ''] = process.argv.slice(2);
      const example = examples.get(command);
      const file = /unknown command '(.*\.\w+)'/.exec(hinted)?.[1];
      if (file !== undefined) return write(`${hinted}(Such as: sparsifier inspect ${file})\n`);
      write(phrased(example ? hinted.replace(/missing required argument '\w+'/, `$&\n(Such as: ${example})`) : hinted));
    },
  })
  .addHelpText(
    'after',
    `
Examples:
  $ sparsifier inspect model.onnx
  $ sparsifier prune model.onnx --sparsity 50 --out sparse.onnx
  $ sparsifier help prune`,
  );

/** An option whose value is one of several names. */
const choice = (flags: string, description: string, names: readonly string[]): Option =>
  new Option(flags, description).choices(names).argParser(oneOf(names));

const common = (command: Command): Command =>
  command
    .option('--threads <n>', 'number of threads (default: one per core)', whole)
    .option('--json', 'print the report as JSON, and nothing else');

/** The options of commands that read models of any format. */
const anyModel = (command: Command): Command =>
  common(
    command.option(
      '--layer <name=kind>',
      'describe a tensor of a safetensors file: name-or-glob=dense:in,out (the roles of its axes), =conv2d/32 (groups), =none (exclude it); repeatable',
      collect,
    ),
  );

anyModel(
  program.command('inspect').argument('<model>', 'an ONNX or safetensors file, or a TensorFlow.js model.json', nameOf),
)
  .description('list the layers that can be pruned, and the tensors that cannot, with the reasons')
  .addHelpText(
    'after',
    `
Examples:
  $ sparsifier inspect model.onnx
  $ sparsifier inspect model.safetensors.index.json
  $ sparsifier inspect model.json`,
  )
  .action(async (file: string, { threads, ...options }: InspectOptions & Threads) => {
    const engine = begin(threads);
    const { inspect } = await import('./inspect.js');
    await inspect(file, options, engine);
  });

/** The inputs of models that are run. */
const [inputShape, inputValues] = [
  new Option(
    '--input <name:sizes>',
    'the shape of an input for seeded random values, needed if an axis has any size: x:1,3,48,320; repeatable',
  ).argParser(collect),
  new Option(
    '--inputs <file>',
    'the values of the inputs: an .npz, .npy or .safetensors file, or a JavaScript module',
  ).argParser(nameOf),
] as const;

anyModel(
  program
    .command('compare')
    .argument('<a>', 'an ONNX or safetensors file, or a TensorFlow.js model.json', nameOf)
    .argument('<b>', 'the model to compare with it', nameOf),
)
  .description('show which weights differ and how far each output moves')
  .addOption(inputShape)
  .addOption(inputValues)
  .addHelpText(
    'after',
    `
Outputs are compared if onnxruntime-node or @tensorflow/tfjs is installed in the working folder.

Examples:
  $ sparsifier compare model.onnx sparse.onnx
  $ sparsifier compare model.onnx sparse.onnx --input x:1,3,48,320
  $ sparsifier compare model.onnx sparse.onnx --inputs samples.npz --json`,
  )
  .action(async (a: string, b: string, { threads, ...options }: CompareOptions & Threads) => {
    const engine = begin(threads);
    const { compare } = await import('./compare.js');
    await compare(a, b, options, engine);
  });

/** How the inputs of layers are measured. */
const [holdOut, memory] = [
  new Option(
    '--hold-out <share>',
    'the share of the batches on which repaired layers are checked (default: 0.25)',
  ).argParser(share),
  new Option(
    '--memory <MB>',
    'how many megabytes measuring may take (default: 1024); of layers that need more, only biases can be repaired',
  ).argParser(above0),
] as const;

common(
  program
    .command('calibrate')
    .argument('<model>', 'an ONNX file', nameOf)
    .argument(
      '<inputs>',
      'the inputs to run it on: an .npz, .npy or .safetensors file, or a JavaScript module',
      nameOf,
    ),
)
  .description('measure what the layers of a model get as their inputs, for prune --statistics')
  .addOption(new Option('-o, --out <file>', 'where to write the statistics, as safetensors').argParser(nameOf))
  .addOption(holdOut)
  .addOption(memory)
  .option('--force', 'overwrite an existing file')
  .addHelpText(
    'after',
    `
onnxruntime-node, which runs the model, must be installed in the working folder.

Examples:
  $ sparsifier calibrate model.onnx inputs.npz -o statistics.safetensors
  $ sparsifier prune model.onnx -s 50 --statistics statistics.safetensors --repair solve -o sparse.onnx`,
  )
  .action(async (file: string, inputs: string, { threads, ...options }: CalibrateOptions & Threads) => {
    const engine = begin(threads);
    const { calibrate } = await import('./calibrate.js');
    await calibrate(file, inputs, options, engine, phrased);
  });

anyModel(
  program.command('prune').argument('<model>', 'an ONNX or safetensors file, or a TensorFlow.js model.json', nameOf),
)
  .description('set the least useful weights to zero and write the sparse model')
  .addOption(
    new Option(
      '-s, --sparsity <amount>',
      'percentage of units to remove: one for all layers, one per layer (0,50,50,0), or name-or-glob=percentage; repeatable',
    ).argParser(collect),
  )
  .addOption(
    new Option(
      '-g, --granularity <name>',
      `which weights are removed together: ${granularityNames.join(', ')}; a pattern such as 2:4, block:out=1,in=4, or spanning:in,height`,
    )
      .argParser(granularityOf)
      .default(defaults.granularity),
  )
  .addOption(
    choice('-c, --context <name>', 'compare units within each layer, or across the whole network', contexts).default(
      defaults.context,
    ),
  )
  .addOption(
    new Option(
      '--criteria <name>',
      `what makes a weight useful: ${criteriaOfCommand.join(', ')}. wanda and fluctuation need --calibrate or --statistics. Those that need gradients or earlier calls are in the library`,
    )
      .argParser(criterionOf)
      .default(defaults.criteria),
  )
  .addOption(new Option('-o, --out <file>', 'where to write the sparse model').argParser(nameOf))
  .option('--explain', 'only show how much would be removed from each layer, and why the others are not pruned')
  .option('--dry-run', 'the same as --explain')
  .addOption(
    new Option(
      '--layer-type <kinds>',
      `comma-separated kinds of layers to prune: ${kinds.join(', ')}, or all (default: ${defaults.layerType}, or all with --include)`,
    ).argParser(kindsOf),
  )
  .option(
    '--include <rule>',
    'prune only these layers: a name, a glob, kind:dense, is:depthwise, smaller:1000 (weights) or re:expression; repeatable',
    collect,
  )
  .option('--exclude <rule>', 'do not prune these layers; repeatable', collect)
  .option(
    '--rank-together <name=globs>',
    'with -c global: layers that are only compared with each other (encoder=enc*,stem); repeatable',
    collect,
  )
  .addOption(choice('--budget <rule>', 'with -c global: how the sparsity is divided among the layers', budgets))
  .option('--round-to <n>', 'keep a multiple of n units in each layer', whole)
  .addOption(
    choice('--reducer <name>', "how a unit's scores are combined into one", reducerNames).default(defaults.reducer),
  )
  .addOption(
    choice('--normalizer <name>', "how a layer's scores are made comparable with those of others", normalizerNames),
  )
  .option('--seed <n>', 'for --criteria random', whole)
  .addOption(
    new Option('--initial <model>', 'the initial weights, for criteria that compare with them').argParser(nameOf),
  )
  .addOption(
    new Option(
      '--load-masks <file>',
      'continue from the masks of an earlier run; without --sparsity, only apply them',
    ).argParser(nameOf),
  )
  .addOption(new Option('--save-masks <file>', 'where to write the masks, as safetensors').argParser(nameOf))
  .option('--keep-scale', 'for quantised TensorFlow.js weights: do not change scale and min')
  .option('--allow-empty', 'allow a layer to lose all its units')
  .option('--min-keep <n>', 'keep at least n units in each layer, or name-or-glob=n; repeatable', collect)
  .option(
    '--max-sparsity <percent>',
    'remove at most this percentage of units from a layer, or name-or-glob=percentage; repeatable',
    collect,
  )
  .addOption(
    new Option(
      '--calibrate <inputs>',
      'measure the inputs of layers: run the ONNX model on an .npz, .npy or .safetensors file, or on what a JavaScript module gives',
    ).argParser(nameOf),
  )
  .addOption(
    new Option('--statistics <file>', 'what sparsifier calibrate measured, or PyTorch, as safetensors').argParser(
      nameOf,
    ),
  )
  .addOption(holdOut)
  .addOption(memory)
  .addOption(
    choice(
      '--repair <method>',
      'make up for what is removed: solve for the weights that are kept and for biases, or change biases only (bias)',
      ['solve', 'bias'],
    ),
  )
  .addOption(
    choice(
      '--repair-inputs <model>',
      'repair layers for the inputs that they get in the dense model (the default), or in the pruned one, measured layer by layer: better, and slower',
      ['dense', 'pruned'],
    ),
  )
  .option('--no-add-bias', 'do not give a bias to layers that have none when they are repaired')
  .option('--force', 'overwrite existing output files')
  .option('--verify', 'compare the sparse model with the input, as compare does')
  .addOption(inputShape)
  .addOption(inputValues)
  .addHelpText(
    'after',
    `
Examples:
  $ sparsifier prune model.onnx -s 50 -o sparse.onnx
  $ sparsifier prune model.onnx -s 50 --criteria fluctuation --calibrate inputs.npz --repair solve -o sparse.onnx
  $ sparsifier prune model.onnx -s 50 -g filter --round-to 8 -o sparse.onnx
  $ sparsifier prune model.onnx -s 0,50,50,0 -o sparse.onnx
  $ sparsifier prune model.onnx -s 'encoder.*=60' -s head=0 --layer-type all -o sparse.onnx
  $ sparsifier prune model.onnx -s 80 -c global --layer-type conv2d,dense -o sparse.onnx --json
  $ sparsifier prune model.json -s 50 -o sparse/
  $ sparsifier prune model.safetensors -s 50 --layer-type dense --layer '*.c_attn=dense:in,out' -o sparse.safetensors`,
  )
  .action(async (file: string, { threads, ...options }: PruneOptions & Threads) => {
    const engine = begin(threads);
    const { prune } = await import('./prune.js');
    await prune(file, options, engine, phrased);
  });

/** The flags of all commands by the names of the library's options, of which some have another one here. */
const flags = new Map([
  ...program.commands.flatMap(({ options }) =>
    options.map((option) => [option.attributeName(), option.long!] as const),
  ),
  ['layers', '--layer'],
  ['method', '--repair'],
]);

/** A message of the library, with options as they are written here. */
function phrased(message: string): string {
  return inFlags(message, flags);
}

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // The reader may close the pipe early, as `head` does.
  if (error.code === 'EPIPE') return;
  process.stderr.write(`sparsifier: the report could not be printed: ${error.message}\n`);
  process.exitCode = 1;
});
process.stderr.on('error', () => {});

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : 2;
  else if (error instanceof SparsifyError) {
    process.stderr.write(`sparsifier: ${phrased(error.message)}\n`);
    process.exitCode = error.code === 'usage' ? 2 : 1;
  } else throw error;
}
