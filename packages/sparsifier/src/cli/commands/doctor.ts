import { Option } from 'commander';
import { runtimeNames } from '../../analysis/doctor/runtimes.js';
import type { DoctorOptions } from '../doctor.js';
import { eachOf, nameOf } from '../parse.js';
import { begin, common, type CommandEntry, type Threads } from './shared.js';

export const doctor: CommandEntry = {
  example: 'sparsifier doctor model.onnx',
  add(program) {
    common(
      program
        .command('doctor')
        .argument('<model>', 'an ONNX file, or a TensorFlow.js model.json', nameOf)
        .addOption(
          new Option(
            '--for <runtimes>',
            `comma-separated runtimes: ${runtimeNames.join(', ')} (default: all)`,
          ).argParser(eachOf(runtimeNames, 'runtime')),
        ),
    )
      .description('say which runtimes load a model, whether it is smaller and faster there, and what would help')
      .addHelpText(
        'after',
        `
Examples:
  $ sparsifier doctor model.onnx
  $ sparsifier doctor model.onnx --for ort-web-wasm,ort-web-webgpu
  $ sparsifier doctor model.json --for tfjs-webgl --json`,
      )
      .action(async (file: string, { threads, ...options }: DoctorOptions & Threads) => {
        const engine = begin(threads);
        const { doctor } = await import('../doctor.js');
        await doctor(file, options, engine);
      });
  },
};
