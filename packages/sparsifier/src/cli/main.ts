#!/usr/bin/env node
import { createRequire } from 'node:module';
import { Command, CommanderError, Option } from 'commander';
import { Criteria, normalizerNames, reducerNames } from '../options/criteria.js';
import { defaults } from '../options/defaults.js';
import { loadEngine } from '../engine/engine.js';
import { SparsifyError } from '../errors.js';
import { granularityNames } from '../options/granularity.js';
import { budgets } from '../options/budgets.js';
import { contexts } from '../options/rankings.js';
import { kinds } from '../model/model.js';
import type { InspectOptions } from './inspect.js';
import { collect, granularityOf, kindsOf, nameOf, oneOf, whole } from './parse.js';
import type { PruneOptions } from './prune.js';

const { version } = createRequire(import.meta.url)('../../package.json') as { version: string };

interface Threads {
  readonly threads?: number;
}

/** Loads the engine, while the modules that use it are loaded, too. */
function begin(threads: number | undefined): Promise<unknown> {
  const engine = loadEngine(threads === undefined ? {} : { threads });
  // Whoever waits for it will hear of a failure, unless another error comes first.
  engine.catch(() => {});
  return engine;
}

const program = new Command('sparsifier')
  .description('Make a neural network sparse, on the model file itself.')
  .version(version)
  .showHelpAfterError('(--help lists the options)')
  .exitOverride()
  .configureOutput({
    // The former name of an option is not similar enough for commander to suggest the present one.
    outputError: (text, write) =>
      write(text.replace(/unknown option '--groups?'/, '$&\n(Did you mean --rank-together?)')),
  })
  .addHelpText(
    'after',
    `
Examples:
  $ sparsifier inspect model.onnx
  $ sparsifier prune model.onnx --sparsity 50 --out sparse.onnx
  $ sparsifier help prune`,
  );

/** An option that takes one of some names. */
const choice = (flags: string, description: string, names: readonly string[]): Option =>
  new Option(flags, description).choices(names).argParser(oneOf(names));

const common = (command: Command): Command =>
  command
    .option(
      '--layer <name=kind>',
      'what a tensor of a safetensors file is: name-or-glob=dense:in,out (roles of its axes), =conv2d/32 (groups), =none (left out); repeatable',
      collect,
    )
    .option('--threads <n>', 'how many threads share the work (default: one per core)', whole)
    .option('--json', 'a report for programs on stdout, and nothing else');

common(
  program.command('inspect').argument('<model>', 'an ONNX or safetensors file, or a TensorFlow.js model.json', nameOf),
)
  .description('list the layers that can be pruned, and the tensors that cannot, with the reason')
  .addHelpText(
    'after',
    `
Example:
  $ sparsifier inspect model.onnx
  $ sparsifier inspect model.safetensors.index.json
  $ sparsifier inspect model.json`,
  )
  .action(async (file: string, { threads, ...options }: InspectOptions & Threads) => {
    const engine = begin(threads);
    const { inspect } = await import('./inspect.js');
    await inspect(file, options, engine);
  });

common(
  program.command('prune').argument('<model>', 'an ONNX or safetensors file, or a TensorFlow.js model.json', nameOf),
)
  .description('remove the least useful part of the layers and write the sparse model')
  .addOption(
    new Option(
      '-s, --sparsity <amount>',
      'percent of units, one per layer (0,50,50,0), or name-or-glob=percent; repeatable',
    ).argParser(collect),
  )
  .addOption(
    new Option(
      '-g, --granularity <name>',
      `which weights to remove together: ${granularityNames.join(', ')}; a pattern such as 2:4, block:out=1,in=4, or spanning:in,height`,
    )
      .argParser(granularityOf)
      .default(defaults.granularity),
  )
  .addOption(
    choice('-c, --context <name>', 'where to compare: within each layer, or over the whole network', contexts).default(
      defaults.context,
    ),
  )
  .addOption(
    choice('--criteria <name>', 'what makes a weight useful', Object.values(Criteria)).default(defaults.criteria),
  )
  .addOption(new Option('-o, --out <file>', 'where the sparse model goes').argParser(nameOf))
  .option('--explain', 'only say what would be removed of each layer, and why others are left alone')
  .addOption(
    new Option(
      '--layer-type <kinds>',
      `kinds of layers, with commas: ${kinds.join(', ')}, or all (default: ${defaults.layerType}, or all with --include)`,
    ).argParser(kindsOf),
  )
  .option('--include <rule>', 'only these layers: name, glob, kind:dense or re:expression; repeatable', collect)
  .option('--exclude <rule>', 'not these layers; repeatable', collect)
  .option(
    '--rank-together <name=globs>',
    'with -c global: layers that are compared with each other only (encoder=enc*,stem); repeatable',
    collect,
  )
  .addOption(choice('--budget <rule>', 'with -c global: a rule for how much each layer loses', budgets))
  .option('--round-to <n>', 'leave a multiple of n units in each layer', whole)
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
      'masks of an earlier run to go on from; without --sparsity just these are applied',
    ).argParser(nameOf),
  )
  .addOption(new Option('--save-masks <file>', 'where the masks go, as safetensors').argParser(nameOf))
  .option('--keep-scale', 'for quantised TensorFlow.js weights: leave scale and min as they are')
  .option('--allow-empty', 'a layer may lose all its units')
  .option('--min-keep <n>', 'units that each layer keeps, or name-or-glob=n; repeatable', collect)
  .option(
    '--max-sparsity <percent>',
    'percent of units that a layer loses at most, or name-or-glob=percent; repeatable',
    collect,
  )
  .option('--force', 'replace the output if it exists')
  .addHelpText(
    'after',
    `
Examples:
  $ sparsifier prune model.onnx -s 50 -o sparse.onnx
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
    await prune(file, options, engine);
  });

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // Whoever reads may stop early, as `head` does.
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
    process.stderr.write(`sparsifier: ${error.message}\n`);
    process.exitCode = error.code === 'usage' ? 2 : 1;
  } else throw error;
}
