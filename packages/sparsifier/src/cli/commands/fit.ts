import { Option } from 'commander';
import { defaultMeans, means } from '../../fit/options.js';
import { encodings } from '../../fit/target.js';
import { kinds } from '../../model/model.js';
import type { FitCommandOptions } from '../fit.js';
import { collect, eachOf, kindsOf, nameOf, notNegative } from '../parse.js';
import {
  anyModel,
  begin,
  calibrating,
  choice,
  evaluating,
  holdOut,
  measured,
  memory,
  reportPage,
  type CommandEntry,
  type Threads,
} from './shared.js';

export const fit: CommandEntry = {
  example: 'sparsifier fit model.onnx --to 3MB --calibrate inputs.npz -o small.onnx',
  add(program, say) {
    anyModel(
      program.command('fit').argument('<model>', 'an ONNX or safetensors file, or a TensorFlow.js model.json', nameOf),
    )
      .description(
        'search for the best model that is not larger than a number of bytes, or the smallest that is hardly worse',
      )
      .option(
        '--to <size>',
        'the most bytes that all files may have together once compressed: 3MB, 800kB (1 MB is 1,000,000)',
      )
      .addOption(
        choice(
          '--encoding <name>',
          'how bytes are counted: br (brotli -q 11, the default), gzip (gzip -9), or raw, as the files are',
          encodings,
        ),
      )
      .addOption(new Option('-o, --out <file>', 'where to write the model').argParser(nameOf))
      .addOption(evaluating)
      .addOption(
        new Option(
          '--max-drop <drop>',
          'how much worse than the input --evaluate may find the result; without --to the smallest such model is written',
        ).argParser(notNegative),
      )
      .addOption(
        new Option(
          '--allow <means>',
          `comma-separated: ${means.join(', ')} (channels); by default ${defaultMeans.join(', ')}`,
        ).argParser(eachOf(means)),
      )
      .addOption(
        new Option(
          '--input <name:sizes>',
          'with --allow remove: the shape of an input with axes of any size: x:1,3,48,320; repeatable',
        ).argParser(collect),
      )
      .addOption(calibrating)
      .addOption(measured)
      .addOption(holdOut)
      .addOption(memory)
      .addOption(
        new Option('--save-recipe <file>', 'write what was done, as JSON that --recipe takes').argParser(nameOf),
      )
      .addOption(
        new Option(
          '--save-statistics <file>',
          'write what --calibrate measured: with it --recipe gives the same file elsewhere, too',
        ).argParser(nameOf),
      )
      .addOption(
        new Option(
          '--recipe <file>',
          'do what a recipe says, without a search; the model, the statistics and the inputs are those that it was made with',
        ).argParser(nameOf),
      )
      .addOption(
        new Option(
          '--layer-type <kinds>',
          `comma-separated kinds of layers that may change: ${kinds.join(', ')}, or all (default: all)`,
        ).argParser(kindsOf),
      )
      .option(
        '--include <rule>',
        'change only these layers: a name, a glob, kind:dense, is:depthwise, smaller:1000 (weights) or re:expression; repeatable',
        collect,
      )
      .option('--exclude <rule>', 'do not change these layers; repeatable', collect)
      .addOption(reportPage)
      .option('--force', 'overwrite existing output files')
      .addHelpText(
        'after',
        `
Without --calibrate, --statistics and --evaluate, nothing makes up for what is removed, and only weights are compared.

Examples:
  $ sparsifier fit model.onnx --to 3MB --calibrate inputs.npz -o small.onnx
  $ sparsifier fit model.onnx --to 800kB --encoding gzip --allow quantize -o small.onnx
  $ sparsifier fit model.onnx --max-drop 0.02 --evaluate evaluate.mjs --calibrate inputs.npz -o small.onnx
  $ sparsifier fit model.onnx --to 3MB --calibrate inputs.npz -o small.onnx --save-recipe recipe.json
  $ sparsifier fit model.onnx --recipe recipe.json --calibrate inputs.npz -o same.onnx`,
      )
      .action(async (file: string, { threads, ...options }: FitCommandOptions & Threads) => {
        const engine = begin(threads);
        if (options.recipe === undefined) {
          const { fit } = await import('../fit.js');
          await fit(file, options, engine, say);
        } else {
          const { repeat } = await import('../repeat.js');
          await repeat(file, { ...options, recipe: options.recipe }, engine, say);
        }
      });
  },
};
