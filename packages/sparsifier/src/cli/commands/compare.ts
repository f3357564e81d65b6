import type { CompareOptions } from '../compare.js';
import { nameOf } from '../parse.js';
import { anyModel, begin, inputShape, inputValues, type CommandEntry, type Threads } from './shared.js';

export const compare: CommandEntry = {
  example: 'sparsifier compare model.onnx sparse.onnx',
  add(program) {
    anyModel(
      program
        .command('compare')
        .argument('<a>', 'an ONNX or safetensors file, or a TensorFlow.js model.json', nameOf)
        .argument('<b>', 'the model to compare with it', nameOf),
    )
      .description('show which weights differ and how far each output moves')
      .addOption(inputShape)
      .addOption(inputValues)
      .option('--layers', 'list the layers that differ')
      .option('--no-sizes', 'do not compress the files as gzip -9 and brotli -q 11 do (2 s per megabyte)')
      .addHelpText(
        'after',
        `
Outputs are compared if onnxruntime-node or @tensorflow/tfjs is installed in the working folder.

Examples:
  $ sparsifier compare model.onnx sparse.onnx
  $ sparsifier compare model.onnx sparse.onnx --input x:1,3,48,320
  $ sparsifier compare model.onnx sparse.onnx --inputs samples.npz --json`,
      )
      .action(async (a: string, b: string, { threads, ...options }: CompareOptions & Threads) => {
        const engine = begin(threads);
        const { compare } = await import('../compare.js');
        await compare(a, b, options, engine);
      });
  },
};
