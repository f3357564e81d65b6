import { Option } from 'commander';
import { collect, nameOf, whole } from '../parse.js';
import type { RemoveChannelsCommandOptions } from '../remove-channels.js';
import { begin, common, sizes, type CommandEntry, type Threads } from './shared.js';

export const removeChannels: CommandEntry = {
  example: 'sparsifier remove-channels pruned.onnx -o small.onnx',
  add(program, say) {
    common(program.command('remove-channels').argument('<model>', 'an ONNX file', nameOf))
      .description('take channels out of the network that nothing needs; the outputs stay the same')
      .addOption(new Option('-o, --out <file>', 'where to write the model').argParser(nameOf))
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
  $ sparsifier remove-channels pruned.onnx --input x:1,3,48,320 --protect 'head*' -o small.onnx`,
      )
      .action(async (file: string, { threads, ...options }: RemoveChannelsCommandOptions & Threads) => {
        const engine = begin(threads);
        const { removeChannels } = await import('../remove-channels.js');
        await removeChannels(file, options, engine, say);
      });
  },
};
