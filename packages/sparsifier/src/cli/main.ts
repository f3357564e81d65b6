#!/usr/bin/env node
import { createRequire } from 'node:module';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import yoctoSpinner from 'yocto-spinner';
import { readOnnx } from '../formats/onnx.js';
import {
  Criteria,
  inspect,
  load,
  Sparsifier,
  SparsifyError,
  type PerLayer,
  type Progress,
  type SparsifierOptions,
  type Sparsity,
} from '../index.js';
import { granularityNames } from '../granularity.js';
import { kinds, type Kind } from '../tensor.js';
import { table } from './table.js';

const { version } = createRequire(import.meta.url)('../../package.json') as { version: string };

interface Common {
  readonly threads?: number;
  readonly json?: boolean;
}

type PruneOptions = Common &
  Omit<SparsifierOptions, 'minKeep' | 'maxSparsity' | 'initial'> & {
    readonly sparsity: string[];
    readonly roundTo?: number;
    readonly out: string;
    readonly force?: boolean;
    readonly minKeep?: string[];
    readonly maxSparsity?: string[];
    readonly initial?: string;
  };

const whole = (text: string): number => {
  const number = Number(text);
  if (text.trim() === '' || !Number.isInteger(number)) throw new InvalidArgumentError('It must be a whole number.');
  return number;
};
const collect = (text: string, before: string[] | undefined): string[] => [...(before ?? []), text];
const nameOf = (text: string): string => {
  if (text === '') throw new InvalidArgumentError('It must be the name of a file.');
  return text;
};
const kindsOf = (text: string): Kind[] | 'all' => {
  const words = text.split(',').map((word) => word.trim());
  if (words.includes('all')) return 'all';
  const unknown = words.find((word) => !kinds.some((kind) => kind === word));
  if (unknown === undefined) return words as Kind[];
  throw new InvalidArgumentError(`Allowed choices are ${kinds.join(', ')}, all.`);
};

const program = new Command('sparsifier')
  .description('Make a neural network sparse, on the model file itself.')
  .version(version)
  .showHelpAfterError('(--help shows what is possible)')
  .exitOverride()
  .addHelpText(
    'after',
    `
Examples:
  $ sparsifier inspect model.onnx
  $ sparsifier prune model.onnx --sparsity 50 --out sparse.onnx
  $ sparsifier help prune`,
  );

const common = (command: Command): Command =>
  command
    .option('--threads <n>', 'how many threads share the work (default: one per core)', whole)
    .option('--json', 'a report for programs on stdout, and nothing else');

common(program.command('inspect').argument('<model>', 'an ONNX file', nameOf))
  .description('list the layers that can be pruned, and the tensors that cannot, with the reason')
  .addHelpText(
    'after',
    `
Example:
  $ sparsifier inspect model.onnx`,
  )
  .action(async (file: string, options: Common) => {
    await loadWith(options);
    using model = await readOnnx(file);
    const report = await inspect(model);
    if (options.json) print(JSON.stringify(report, null, 2));
    else print(table(report, { units: false }));
  });

common(program.command('prune').argument('<model>', 'an ONNX file', nameOf))
  .description('remove the least useful part of the layers and write the sparse model')
  .addOption(
    new Option(
      '-s, --sparsity <amount>',
      'percent of units, one per layer (0,50,50,0), or name-or-glob=percent; repeatable',
    )
      .argParser(collect)
      .makeOptionMandatory(),
  )
  .addOption(
    new Option('-g, --granularity <name>', 'what part of the filters to remove')
      .choices(granularityNames)
      .default('weight'),
  )
  .addOption(
    new Option('-c, --context <name>', 'where to compare: each layer by itself, or the whole network')
      .choices(['local', 'global'])
      .default('local'),
  )
  .addOption(
    new Option('--criteria <name>', 'what counts as useful').choices(Object.values(Criteria)).default('largeFinal'),
  )
  .addOption(new Option('-o, --out <file>', 'where the sparse model goes').argParser(nameOf).makeOptionMandatory())
  .addOption(
    new Option('--layer-type <kinds>', `kinds of layers, with commas: ${kinds.join(', ')}, or all`)
      .argParser(kindsOf)
      .default(['conv2d'], 'conv2d'),
  )
  .option('--round-to <n>', 'leave a multiple of n units in each layer', whole)
  .addOption(
    new Option('--reducer <name>', "how a unit's scores become one")
      .choices(['mean', 'sum', 'l2', 'max'])
      .default('mean'),
  )
  .addOption(
    new Option('--normalizer <name>', "how a layer's scores are made comparable").choices([
      'sum',
      'mean',
      'max',
      'l2',
      'minmax',
      'standard',
    ]),
  )
  .option('--seed <n>', 'for --criteria random', whole)
  .addOption(
    new Option('--initial <model>', 'the initial weights, for criteria that compare with them').argParser(nameOf),
  )
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
  $ sparsifier prune model.onnx -s 80 -c global --layer-type conv2d,dense -o sparse.onnx --json`,
  )
  .action(prune);

async function prune(file: string, options: PruneOptions): Promise<void> {
  const { threads, json, sparsity, roundTo, out, force, minKeep, maxSparsity, initial, ...rest } = options;
  const asked = parseSparsity(sparsity);
  await loadWith({ threads });
  using model = await readOnnx(file);
  using dense = initial === undefined ? undefined : await readOnnx(initial);
  const sparsifier = new Sparsifier(model, {
    ...rest,
    ...(dense ? { initial: dense } : {}),
    ...(minKeep ? { minKeep: parseFloor(minKeep) } : {}),
    ...(maxSparsity ? { maxSparsity: parseFloor(maxSparsity) } : {}),
  });
  const spinner = !json && process.stderr.isTTY ? yoctoSpinner({ text: 'reading' }).start() : undefined;
  try {
    const onProgress = ({ stage, done, total }: Progress) => {
      if (spinner) spinner.text = `${stage} ${Math.round((100 * done) / total)} %`;
    };
    const report = await sparsifier.sparsifyModel(asked, { roundTo, onProgress });
    if (spinner) spinner.text = 'writing';
    await model.write(out, force ? { force } : {});
    spinner?.stop();
    if (json) print(JSON.stringify({ ...report, out }, null, 2));
    else print(`${table(report, { units: true })}\nwritten: ${out}`);
  } finally {
    spinner?.stop();
  }
}

const loadWith = ({ threads }: { readonly threads?: number | undefined }) =>
  load(threads === undefined ? {} : { threads });

/** `50`, `0,50,50,0`, or any number of `name-or-glob=60`, split at the last `=`. */
function parseSparsity(texts: readonly string[]): Sparsity {
  const [only = ''] = texts;
  // A Map, in which a layer may be called `keep`.
  if (texts.length > 1 || only.includes('=')) return parsePerLayer(texts);
  const amounts = only
    .split(',')
    .map((text) => numberOf(text, 'Write a percentage such as 50, one per layer as in 0,50,50,0, or name=50'));
  return amounts.length === 1 ? amounts[0]! : amounts;
}

function parseFloor(texts: readonly string[]): PerLayer {
  const [only = ''] = texts;
  if (texts.length > 1 || only.includes('=')) return Object.fromEntries(parsePerLayer(texts));
  return numberOf(only, 'Write one number for all layers, or name=8');
}

function parsePerLayer(texts: readonly string[]): Map<string, number> {
  const values = new Map<string, number>();
  for (const text of texts) {
    const at = text.lastIndexOf('=');
    if (at <= 0) {
      throw new SparsifyError('usage', 'a value for one layer is written name=50', {
        asked: text || 'nothing',
        hint: "All others are '*=50'",
      });
    }
    const name = text.slice(0, at);
    const value = numberOf(text.slice(at + 1), 'Write name=50');
    if ((values.get(name) ?? value) !== value) {
      throw new SparsifyError('usage', 'the same layer has two values', {
        subject: name,
        asked: `${values.get(name)} and ${value}`,
        hint: 'Write one',
      });
    }
    values.set(name, value);
  }
  return values;
}

function numberOf(text: string, hint: string): number {
  const number = Number(text);
  if (text.trim() !== '' && !Number.isNaN(number)) return number;
  throw new SparsifyError('usage', 'not a number', { asked: text.trim() || 'nothing', hint });
}

const print = (text: string): void => void process.stdout.write(`${text}\n`);

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
