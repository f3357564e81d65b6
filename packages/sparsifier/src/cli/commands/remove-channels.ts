import { Option } from 'commander';
import { normalizerNames, reducerNames } from '../../options/criteria.js';
import { defaults } from '../../options/defaults.js';
import { contexts } from '../../options/rankings.js';
import { collect, criteriaOfChannels, criterionOf, nameOf, whole } from '../parse.js';
import type { RemoveChannelsCommandOptions } from '../remove-channels.js';
import {
  begin,
  calibrating,
  choice,
  common,
  holdOut,
  measured,
  memory,
  noAddBias,
  repair,
  repairInputs,
  reportPage,
  sizes,
  type CommandEntry,
  type Threads,
} from './shared.js';

export const removeChannels: CommandEntry = {
  example: 'sparsifier remove-channels pruned.onnx -o small.onnx',
  add(program, say) {
    common(program.command('remove-channels').argument('<model>', 'an ONNX file', nameOf))
      .description(
        'take channels out of the network that nothing needs; the outputs stay the same. With -s, choose channels first',
      )
      .addOption(
        new Option(
          '-s, --sparsity <amount>',
          'first make channels zero that are needed least: a percentage of each group of channels, one for each group (0,50,50), or name-or-glob=percentage; repeatable',
        ).argParser(collect),
      )
      .addOption(new Option('-o, --out <file>', 'where to write the model').argParser(nameOf))
      .addOption(
        new Option(
          '--criteria <name>',
          `with -s: what makes a channel useful: ${criteriaOfChannels.join(', ')} (default: ${defaults.criteria}). flap, wanda and fluctuation need --calibrate or --statistics`,
        ).argParser(criterionOf),
      )
      .addOption(
        choice('-c, --context <name>', 'with -s: compare channels within each group, or across the network', contexts),
      )
      .addOption(choice('--reducer <name>', "with -s: how a channel's scores are combined into one", reducerNames))
      .addOption(
        choice(
          '--normalizer <name>',
          "with -s and -c global: how a group's scores are made comparable with those of others",
          normalizerNames,
        ),
      )
      .option('--seed <n>', 'for --criteria random', whole)
      .option(
        '--include <rule>',
        'with -s: only groups of which all layers match: a name, a glob, kind:conv2d, smaller:1000 or re:expression; repeatable',
        collect,
      )
      .option('--exclude <rule>', 'with -s: no groups of which a layer matches; repeatable', collect)
      .option(
        '--min-keep <n>',
        'with -s: keep at least n channels of each group, or name-or-glob=n; repeatable',
        collect,
      )
      .option(
        '--max-sparsity <percent>',
        'with -s: remove at most this percentage of a group, or name-or-glob=percentage; repeatable',
        collect,
      )
      .addOption(calibrating)
      .addOption(measured)
      .addOption(holdOut)
      .addOption(memory)
      .addOption(repair)
      .addOption(repairInputs)
      .addOption(noAddBias)
      .addOption(
        new Option(
          '--round-to <n>',
          'how many channels stay in a group: a multiple of this, or all (default: 8)',
        ).argParser(whole),
      )
      .addOption(
        new Option(
          '--input <name:sizes>',
          'the shape of an input with axes of any size: x:1,3,48,320. More channels may go then; repeatable',
        ).argParser(collect),
      )
      .option(
        '--protect <name>',
        'keep the channels of a layer, tensor or value: a name or a glob; repeatable',
        collect,
      )
      .option('--flush-subnormals', 'also make weights 0 that are below the smallest normal float')
      .option('--dry-run', 'say which channels would go and why others stay, and write nothing')
      .addOption(reportPage)
      .option('--force', 'overwrite existing output files')
      .option('--layers', 'list all groups of channels, also those without dead ones')
      .addOption(sizes)
      .option(
        '--verify',
        'run both models on seeded inputs, and fail if an output differs (default: if onnxruntime-node is installed)',
      )
      .option('--no-verify', 'do not run the models')
      .addHelpText(
        'after',
        `
Channels go that hold the same number for every input, such as those of filters that were pruned, or that nothing
uses. If nothing can go, the model is written as it is, and the reason is printed.

Examples:
  $ sparsifier remove-channels pruned.onnx --dry-run
  $ sparsifier remove-channels pruned.onnx -o small.onnx
  $ sparsifier remove-channels model.onnx -s 50 -o small.onnx
  $ sparsifier remove-channels model.onnx -s 20 --criteria flap --calibrate inputs.npz --repair solve -o small.onnx
  $ sparsifier remove-channels pruned.onnx --input x:1,3,48,320 --protect 'head*' -o small.onnx`,
      )
      .action(async (file: string, { threads, ...options }: RemoveChannelsCommandOptions & Threads) => {
        const engine = begin(threads);
        const { removeChannels } = await import('../remove-channels.js');
        await removeChannels(file, options, engine, say);
      });
  },
};
