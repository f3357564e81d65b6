import type { InspectOptions } from '../inspect.js';
import { nameOf } from '../parse.js';
import { anyModel, begin, sizes, type CommandEntry, type Threads } from './shared.js';

export const inspect: CommandEntry = {
  example: 'sparsifier inspect model.onnx',
  add(program) {
    anyModel(
      program
        .command('inspect')
        .argument('<model>', 'an ONNX or safetensors file, or a TensorFlow.js model.json', nameOf),
    )
      .description('list the layers that can be pruned, and the tensors that cannot, with the reasons')
      .addOption(sizes)
      .addHelpText(
        'after',
        `
Examples:
  $ sparsifier inspect model.onnx
  $ sparsifier inspect model.onnx --sizes
  $ sparsifier inspect model.safetensors.index.json
  $ sparsifier inspect model.json`,
      )
      .action(async (file: string, { threads, ...options }: InspectOptions & Threads) => {
        // Counting zeros takes less time than starting more threads.
        const engine = begin(threads ?? 1);
        const { inspect } = await import('../inspect.js');
        await inspect(file, options, engine);
      });
  },
};
