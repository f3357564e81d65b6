#!/usr/bin/env node
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { sameFile } from '#host';
import { Command, CommanderError, Option } from 'commander';
import yoctoSpinner from 'yocto-spinner';
import { sparsifyFile } from '../file.js';
import { readOnnx } from '../formats/onnx.js';
import { isSafetensorsName, isTfjsName, openModel } from '../formats/open.js';
import { readSafetensors, type LayerDescriptions } from '../formats/safetensors.js';
import { StreamedModel } from '../formats/streamed.js';
import { readTfjs } from '../formats/tfjs.js';
import {
  Criteria,
  inspect,
  load,
  Sparsifier,
  SparsifyError,
  type Progress,
  type Report,
  type SparsifierOptions,
} from '../index.js';
import { granularityNames, isPattern } from '../granularity.js';
import { budgets } from '../ranking.js';
import { kinds } from '../tensor.js';
import {
  collect,
  granularityOf,
  kindsOf,
  nameOf,
  parseFloor,
  parseGroups,
  parseLayers,
  parseSparsity,
  ruleOf,
  whole,
} from './parse.js';
import { explanations, table } from './table.js';

const { version } = createRequire(import.meta.url)('../../package.json') as { version: string };

interface Common {
  readonly layer?: string[];
  readonly threads?: number;
  readonly json?: boolean;
}

type PruneOptions = Common &
  Omit<SparsifierOptions, 'minKeep' | 'maxSparsity' | 'initial' | 'include' | 'exclude' | 'groups'> & {
    readonly sparsity?: string[];
    readonly roundTo?: number;
    readonly out?: string;
    readonly explain?: boolean;
    readonly include?: string[];
    readonly exclude?: string[];
    readonly group?: string[];
    readonly force?: boolean;
    readonly minKeep?: string[];
    readonly maxSparsity?: string[];
    readonly initial?: string;
    readonly loadMasks?: string;
    readonly saveMasks?: string;
    readonly keepScale?: boolean;
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
  .action(async (file: string, options: Common) => {
    const { read } = readerOf([file], options);
    await loadWith(options);
    using model = await read(file);
    const report = await inspect(model);
    if (options.json) print(JSON.stringify(report, null, 2));
    else print(table(report, { units: false }));
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
      `what part of the filters to remove: ${granularityNames.join(', ')}; a pattern such as 2:4, block:out=1,in=4, or spanning:in,height`,
    )
      .argParser(granularityOf)
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
  .addOption(new Option('-o, --out <file>', 'where the sparse model goes').argParser(nameOf))
  .option('--explain', 'only say what would be removed of each layer, and why others are left alone')
  .addOption(
    new Option('--layer-type <kinds>', `kinds of layers, with commas: ${kinds.join(', ')}, or all`)
      .argParser(kindsOf)
      .default(undefined, 'conv2d, or all with --include'),
  )
  .option('--include <rule>', 'only these layers: name, glob, kind:dense or re:expression; repeatable', collect)
  .option('--exclude <rule>', 'not these layers; repeatable', collect)
  .option('--group <name=globs>', 'with -c global: layers ranked together (encoder=enc*,stem); repeatable', collect)
  .addOption(
    new Option('--budget <rule>', 'with -c global: how the amount is shared out among layers').choices(budgets),
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
  .action(prune);

async function prune(file: string, options: PruneOptions): Promise<void> {
  const { layer, threads, json, sparsity, roundTo, out, explain, force, initial, ...rest } = options;
  const { minKeep, maxSparsity, include, exclude, group, loadMasks, saveMasks, keepScale, ...words } = rest;
  const asked = sparsity && parseSparsity(sparsity);
  const missing = [
    ...(asked === undefined && !isPattern(words.granularity) && !loadMasks ? ['-s, --sparsity <amount>'] : []),
    ...(out === undefined ? ['-o, --out <file>'] : []),
  ];
  if (missing.length > 0 && !explain) {
    throw new SparsifyError('usage', `${missing.join(' and ')} must be given`, {
      hint: '--explain needs neither and only tells what a call would do',
    });
  }
  if (out !== undefined) checkOutput(file, out);
  if (saveMasks !== undefined) await checkMaskFile(saveMasks, [file, initial, out], force);
  const { read, layers } = readerOf([file, ...(initial === undefined ? [] : [initial])], { layer, keepScale });
  await loadWith({ threads });
  const rules: SparsifierOptions = {
    ...words,
    ...(include ? { include: include.map(ruleOf) } : {}),
    ...(exclude ? { exclude: exclude.map(ruleOf) } : {}),
    ...(group ? { groups: parseGroups(group) } : {}),
    ...(minKeep ? { minKeep: parseFloor(minKeep) } : {}),
    ...(maxSparsity ? { maxSparsity: parseFloor(maxSparsity) } : {}),
  };
  const dense = initial === undefined ? undefined : await denseModel(initial, layers);
  const spinner = !json && process.stderr.isTTY ? yoctoSpinner({ text: 'reading' }).start() : undefined;
  const onProgress = ({ stage, done, total }: Progress) => {
    if (spinner) spinner.text = `${stage} ${Math.round((100 * done) / total)} %`;
  };
  try {
    const options = dense ? { ...rules, initial: dense.model } : rules;
    if (!explain && out !== undefined && !loadMasks && !saveMasks) {
      const report = await sparsifyFile(file, out, {
        ...options,
        sparsity: asked,
        roundTo,
        onProgress,
        layers,
        keepScale,
        force,
      });
      spinner?.stop();
      return tell(report, out, json);
    }
    // With masks, or to explain, the whole model is in memory.
    using model = await read(file);
    const sparsifier = new Sparsifier(model, options);
    if (loadMasks) await sparsifier.loadMasks(loadMasks);
    if (explain || out === undefined) {
      const explained = await sparsifier.explain(asked, { roundTo, onProgress });
      spinner?.stop();
      return print(json ? JSON.stringify(explained, null, 2) : explanations(explained));
    }
    const report =
      asked === undefined && loadMasks
        ? await sparsifier.apply({ onProgress })
        : await sparsifier.sparsifyModel(asked, { roundTo, onProgress });
    if (spinner) spinner.text = 'writing';
    await model.write(out, force ? { force } : {});
    if (saveMasks) await sparsifier.saveMasks(saveMasks, force ? { force } : {});
    spinner?.stop();
    tell(report, out, json);
  } finally {
    spinner?.stop();
    await dense?.close();
  }
}

function tell(report: Report, out: string, json = false): void {
  if (json) print(JSON.stringify({ ...report, out }, null, 2));
  else print(`${table(report, { units: true })}\nwritten: ${out}`);
}

/** Said before the work is done: masks never replace what is read or written beside them, nor any file unless forced. */
async function checkMaskFile(masks: string, others: readonly (string | undefined)[], force = false): Promise<void> {
  for (const other of others) {
    if (other === undefined || (resolve(other) !== resolve(masks) && !(await sameFile(other, masks)))) continue;
    throw new SparsifyError('usage', 'the masks would replace a model', {
      asked: `--save-masks ${masks}`,
      hint: 'Give them a file of their own',
    });
  }
  if (force || !existsSync(masks)) return;
  throw new SparsifyError('file', 'exists already', {
    subject: masks,
    hint: 'Choose another name, or replace it with --force',
  });
}

/** What reads each of these files by its name. */
function readerOf(files: readonly string[], { layer, keepScale }: Pick<PruneOptions, 'layer' | 'keepScale'>) {
  if (layer && !files.some(isSafetensorsName)) {
    throw new SparsifyError('usage', '--layer is for safetensors files', {
      subject: files[0]!,
      hint: 'The graph of an ONNX model says what its tensors are; --exclude leaves layers out',
    });
  }
  if (keepScale && !files.some(isTfjsName)) {
    throw new SparsifyError('usage', '--keep-scale is for TensorFlow.js models', { subject: files[0]! });
  }
  const layers = layer ? parseLayers(layer) : {};
  const read = (file: string) => {
    if (isTfjsName(file)) return readTfjs(file, keepScale ? { keepScale } : {});
    return isSafetensorsName(file) ? readSafetensors(file, { layers }) : readOnnx(file);
  };
  return { read, layers };
}

/** A model to compare with: its layers are read one by one where they can be. */
async function denseModel(file: string, layers: LayerDescriptions) {
  if (isTfjsName(file)) {
    const model = await readTfjs(file);
    return { model, close: async () => model.close() };
  }
  const open = await openModel(file, { layers });
  return { model: new StreamedModel(open), close: () => open.close() };
}

/** Fails where a name says that the output is of another format than the input. */
function checkOutput(file: string, out: string): void {
  const formatOf = (name: string) =>
    isSafetensorsName(name) ? 'safetensors' : isTfjsName(name) ? 'TensorFlow.js' : /\.onnx$/i.test(name) ? 'ONNX' : '';
  // A name that tells nothing may be a folder, or any file of ONNX.
  const formats = [formatOf(file) || 'ONNX', formatOf(out)];
  if (formats[1] === '' || formats[0] === formats[1]) return;
  throw new SparsifyError('usage', 'the output is of the same format as the input', {
    asked: out,
    found: file,
    hint: 'Models are not converted: choose a name of that format',
  });
}

const loadWith = ({ threads }: { readonly threads?: number | undefined }) =>
  load(threads === undefined ? {} : { threads });

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
