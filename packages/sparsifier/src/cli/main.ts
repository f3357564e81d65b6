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
  type Amount,
  type Progress,
  type SparsifierOptions,
  type Sparsity,
} from '../index.js';
import { granularityNames } from '../granularity.js';
import { kinds } from '../tensor.js';
import { table } from './table.js';

const { version } = createRequire(import.meta.url)('../../package.json') as { version: string };

interface Common {
  readonly threads?: number;
  readonly json?: boolean;
}

type PruneOptions = Common &
  Omit<SparsifierOptions, 'layerType'> & {
    readonly layerType: string[];
    readonly sparsity: string[];
    readonly roundTo?: number;
    readonly out: string;
    readonly force?: boolean;
    readonly minKeep?: string[];
    readonly maxSparsity?: string[];
  };

const whole = (text: string): number => {
  const number = Number(text);
  if (text.trim() === '' || !Number.isInteger(number)) throw new InvalidArgumentError('It must be a whole number.');
  return number;
};
const collect = (text: string, before: string[] | undefined): string[] => [...(before ?? []), text];
const words = (text: string): string[] => text.split(',').map((word) => word.trim());

const program = new Command('sparsifier')
  .description('Make a neural network sparse, on the model file itself.')
  .version(version)
  .showHelpAfterError('(--help shows what is possible)')
  .exitOverride();

const common = (command: Command): Command =>
  command
    .option('--threads <n>', 'how many threads share the work (default: one per core)', whole)
    .option('--json', 'a report for programs on stdout, and nothing else');

common(program.command('inspect').argument('<model>', 'an ONNX file'))
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

common(program.command('prune').argument('<model>', 'an ONNX file'))
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
  .addOption(new Option('-o, --out <file>', 'where the sparse model goes').makeOptionMandatory())
  .addOption(
    new Option('--layer-type <kinds>', `kinds of layers, with commas: ${kinds.join(', ')}, or all`)
      .argParser(words)
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
  const { threads, json, sparsity, roundTo, out, force, layerType, minKeep, maxSparsity, ...rest } = options;
  const asked = parseSparsity(sparsity);
  await loadWith({ threads });
  using model = await readOnnx(file);
  const sparsifier = new Sparsifier(model, {
    ...rest,
    layerType: layerType.length === 1 && layerType[0] === 'all' ? 'all' : (layerType as (typeof kinds)[number][]),
    ...(minKeep ? { minKeep: parsePerLayer(minKeep) } : {}),
    ...(maxSparsity ? { maxSparsity: parsePerLayer(maxSparsity) } : {}),
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
  if (texts.some((text) => text.includes('='))) return parsePerLayer(texts) as Record<string, number>;
  if (texts.length > 1)
    throw new SparsifyError('usage', 'several amounts need layer names, as in name=60', { asked: texts.join(' ') });
  const amounts: Amount[] = texts[0]!.split(',').map(numberOf);
  return amounts.length === 1 ? amounts[0]! : amounts;
}

function parsePerLayer(texts: readonly string[]): number | Record<string, number> {
  const [only] = texts;
  if (texts.length === 1 && only !== undefined && !only.includes('=')) return numberOf(only);
  return Object.fromEntries(
    texts.map((text) => {
      const at = text.lastIndexOf('=');
      if (at <= 0) throw new SparsifyError('usage', 'a layer and its value are written name=60', { asked: text });
      return [text.slice(0, at), numberOf(text.slice(at + 1))];
    }),
  );
}

function numberOf(text: string): number {
  const number = Number(text);
  if (text.trim() === '' || Number.isNaN(number)) throw new SparsifyError('usage', 'not a number', { asked: text });
  return number;
}

const print = (text: string): void => void process.stdout.write(`${text}\n`);

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : 2;
  else if (error instanceof SparsifyError) {
    process.stderr.write(`sparsifier: ${error.message}\n`);
    process.exitCode = error.code === 'usage' ? 2 : 1;
  } else throw error;
}
