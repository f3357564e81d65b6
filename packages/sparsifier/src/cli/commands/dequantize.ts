import { Option } from 'commander';
import type { DequantizeCommandOptions } from '../dequantize.js';
import { nameOf } from '../parse.js';
import { anyModel, begin, type CommandEntry, type Threads } from './shared.js';

export const dequantize: CommandEntry = {
  example: 'sparsifier dequantize small.onnx -o model.onnx',
  add(program) {
    anyModel(
      program
        .command('dequantize')
        .argument('<model>', 'an ONNX or safetensors file, or a TensorFlow.js model.json', nameOf),
    )
      .description('store quantised weights as 32-bit floats, with the values that they have')
      .addOption(new Option('-o, --out <file>', 'where to write the model').argParser(nameOf))
      .option('--force', 'overwrite existing output files')
      .addHelpText(
        'after',
        `
Examples:
  $ sparsifier dequantize small.onnx -o model.onnx`,
      )
      .action(async (file: string, { threads, ...options }: DequantizeCommandOptions & Threads) => {
        const engine = begin(threads);
        const { dequantize } = await import('../dequantize.js');
        await dequantize(file, options, engine);
      });
  },
};
