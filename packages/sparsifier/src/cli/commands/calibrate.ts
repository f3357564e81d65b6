import { Option } from 'commander';
import type { CalibrateOptions } from '../calibrate.js';
import { nameOf } from '../parse.js';
import { begin, common, holdOut, memory, type CommandEntry, type Threads } from './shared.js';

export const calibrate: CommandEntry = {
  example: 'sparsifier calibrate model.onnx inputs.npz -o statistics.safetensors',
  add(program, say) {
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
        const { calibrate } = await import('../calibrate.js');
        await calibrate(file, inputs, options, engine, say);
      });
  },
};
