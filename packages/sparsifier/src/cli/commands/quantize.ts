import { Option } from 'commander';
import { forms } from '../../model/forms.js';
import { kinds } from '../../model/model.js';
import { collect, kindsOf, nameOf } from '../parse.js';
import type { QuantizeCommandOptions } from '../quantize.js';
import {
  anyModel,
  begin,
  calibrating,
  choice,
  inputShape,
  inputValues,
  listedLayers,
  measured,
  memory,
  reportPage,
  sizes,
  type CommandEntry,
  type Threads,
} from './shared.js';

export const quantize: CommandEntry = {
  example: 'sparsifier quantize model.onnx -o small.onnx',
  add(program, say) {
    anyModel(
      program
        .command('quantize')
        .argument('<model>', 'an ONNX or safetensors file, or a TensorFlow.js model.json', nameOf),
    )
      .description('store weights in fewer bytes and write the smaller model; zeros stay zero')
      .addOption(new Option('-o, --out <file>', 'where to write the model').argParser(nameOf))
      .addOption(
        choice(
          '--weights <form>',
          'how weights are stored. ONNX: int8, int8-dynamic, int4, float16; TensorFlow.js: uint8, uint16, float16; safetensors: float16, bfloat16. By default the one that suits each kind of layer',
          forms,
          'form',
        ),
      )
      .addOption(
        choice(
          '--others <form>',
          'how biases, normalisations and all other numbers are stored (default: as they are)',
          ['float16', 'bfloat16'],
        ),
      )
      .addOption(
        new Option(
          '--layer-type <kinds>',
          `comma-separated kinds of layers: ${kinds.join(', ')}, or all (default: all)`,
        ).argParser(kindsOf),
      )
      .option(
        '--include <rule>',
        'quantise only these layers: a name, a glob, kind:dense, is:depthwise, smaller:1000 (weights) or re:expression; repeatable',
        collect,
      )
      .option('--exclude <rule>', 'do not quantise these layers; repeatable', collect)
      .addOption(calibrating)
      .addOption(measured)
      .addOption(memory)
      .addOption(reportPage)
      .option('--force', 'overwrite existing output files')
      .addOption(listedLayers)
      .addOption(sizes)
      .option('--verify', 'compare the model with the input, as compare does')
      .addOption(inputShape)
      .addOption(inputValues)
      .addHelpText(
        'after',
        `
With --calibrate or --statistics, scales and biases make up for much of what rounding changes.

Examples:
  $ sparsifier quantize model.onnx -o small.onnx
  $ sparsifier quantize model.onnx --calibrate inputs.npz -o small.onnx
  $ sparsifier quantize model.onnx --weights float16 --others float16 -o half.onnx
  $ sparsifier quantize model.json --exclude 'head/*' -o small/`,
      )
      .action(async (file: string, { threads, ...options }: QuantizeCommandOptions & Threads) => {
        const engine = begin(threads);
        const { quantize } = await import('../quantize.js');
        await quantize(file, options, engine, say);
      });
  },
};
