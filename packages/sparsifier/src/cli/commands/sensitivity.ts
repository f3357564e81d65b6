import { Option } from 'commander';
import { collect, nameOf, percentages } from '../parse.js';
import type { SensitivityCommandOptions } from '../sensitivity.js';
import {
  anyModel,
  begin,
  calibrating,
  coupled,
  criteria,
  evaluating,
  followedInput,
  granularity,
  holdOut,
  measured,
  memory,
  reducer,
  seed,
  type CommandEntry,
  type Threads,
} from './shared.js';

export const sensitivity: CommandEntry = {
  example: 'sparsifier sensitivity model.onnx --evaluate evaluate.mjs',
  add(program) {
    anyModel(
      program
        .command('sensitivity')
        .argument('<model>', 'an ONNX or safetensors file, or a TensorFlow.js model.json', nameOf),
    )
      .description('show how much worse the model becomes when one layer after the other is pruned by itself')
      .addOption(evaluating)
      .addOption(
        new Option(
          '--levels <percentages>',
          'comma-separated percentages of units to remove (default: 10,20,30,40,50,60,70,80,90)',
        ).argParser(percentages),
      )
      .addOption(granularity)
      .addOption(coupled)
      .addOption(followedInput)
      .addOption(criteria)
      .addOption(reducer)
      .addOption(seed)
      .option(
        '--include <rule>',
        'only these layers: a name, a glob, kind:dense, is:depthwise, smaller:1000 (weights) or re:expression; repeatable',
        collect,
      )
      .option('--exclude <rule>', 'not these layers; repeatable', collect)
      .addOption(calibrating)
      .addOption(measured)
      .addOption(holdOut)
      .addOption(memory)
      .addOption(new Option('--plot <file>', 'where to write the result as an SVG image').argParser(nameOf))
      .option('--force', 'overwrite an existing image')
      .addHelpText(
        'after',
        `
The model is evaluated once for each layer and level, and once unchanged. Begin with few levels, and with the large layers.
Nothing is repaired, so layers tolerate more than the table says once they are.

Examples:
  $ sparsifier sensitivity model.onnx --evaluate evaluate.mjs --levels 30,50,70 --plot sensitivity.svg
  $ sparsifier sensitivity model.onnx --evaluate evaluate.mjs -g filter --coupled --exclude smaller:5000`,
      )
      .action(async (file: string, { threads, ...options }: SensitivityCommandOptions & Threads) => {
        const engine = begin(threads);
        const { sensitivity } = await import('../sensitivity.js');
        await sensitivity(file, options, engine);
      });
  },
};
