#!/usr/bin/env node
import { createRequire } from 'node:module';
import { Command, CommanderError } from 'commander';
import { SparsifyError } from '../errors.js';
import { asked } from '../options/spelling.js';
import { textOf } from '../printable.js';
import { meaningOf } from '../options/words.js';
import { calibrate } from './commands/calibrate.js';
import { compare } from './commands/compare.js';
import { dequantize } from './commands/dequantize.js';
import { doctor } from './commands/doctor.js';
import { fit } from './commands/fit.js';
import { inspect } from './commands/inspect.js';
import { prune } from './commands/prune.js';
import { quantize } from './commands/quantize.js';
import { removeChannels } from './commands/remove-channels.js';
import { sensitivity } from './commands/sensitivity.js';
import type { CommandEntry } from './commands/shared.js';
import { inFlags } from './phrasing.js';
import { handleSignals } from './signals.js';

const { version } = createRequire(import.meta.url)('../../package.json') as { version: string };

/** By name, in the order of the help. */
const commands: Readonly<Record<string, CommandEntry>> = {
  inspect,
  doctor,
  compare,
  calibrate,
  sensitivity,
  fit,
  prune,
  'remove-channels': removeChannels,
  quantize,
  dequantize,
};

const program = new Command('sparsifier')
  .description(
    'Make neural networks sparse and small: prune and quantise the weights in a model file, and take channels out of it.',
  )
  .version(version)
  .showHelpAfterError('(--help lists the options)')
  .exitOverride()
  .configureOutput({
    outputError: (given, write) => {
      const text = textOf(given.split('\n'));
      // Commander suggests what is spelt alike, which words of other libraries are not.
      const hinted = text.replace(/(unknown option '--([\w-]+)')(\n\(Did you mean.*\))?/, (all, unknown, name) => {
        const meant = (meaningOf(name as string, 'option') ?? []).flatMap((option) => flags.get(option) ?? []);
        return meant.length === 0 ? (all as string) : `${unknown}\n(${asked(meant)})`;
      });
      const [command = ''] = process.argv.slice(2);
      const example = commands[command]?.example;
      const file = /unknown command '(.*\.\w+)'/.exec(hinted)?.[1];
      if (file !== undefined) return write(`${hinted}(Such as: sparsifier inspect ${file})\n`);
      write(phrased(example ? hinted.replace(/missing required argument '\w+'/, `$&\n(Such as: ${example})`) : hinted));
    },
  })
  .addHelpText(
    'after',
    `
Examples:
  $ sparsifier inspect model.onnx
  $ sparsifier prune model.onnx --sparsity 50 --out sparse.onnx
  $ sparsifier help prune`,
  );

for (const { add } of Object.values(commands)) add(program, phrased);

/** The flags of all commands by the names of the library's options, of which some have another one here. */
const flags = new Map([
  ...program.commands.flatMap(({ options }) =>
    options.map((option) => [option.attributeName(), option.long!] as const),
  ),
  ['layers', '--layer'],
  ['method', '--repair'],
  ['inputShapes', '--input'],
  ['target', '--to'],
  ['data', '--calibrate'],
]);

/** A message of the library, with options as they are written here. */
function phrased(message: string): string {
  return inFlags(message, flags);
}

handleSignals();

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // The reader may close the pipe early, as `head` does.
  if (error.code === 'EPIPE') return;
  process.stderr.write(`sparsifier: the report could not be printed: ${error.message}\n`);
  process.exitCode = 1;
});
process.stderr.on('error', () => {});

const [verb, named] = process.argv.slice(2);
const isUnknown = verb === 'help' && named !== undefined && !/^-|^help$/.test(named) && !Object.hasOwn(commands, named);

try {
  // For `help foo` commander prints the whole help, and not that there is no such command.
  await (isUnknown ? program.parseAsync([named], { from: 'user' }) : program.parseAsync());
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : 2;
  else if (error instanceof SparsifyError) {
    process.stderr.write(`sparsifier: ${phrased(error.message)}\n`);
    process.exitCode = error.code === 'usage' ? 2 : 1;
  } else throw error;
}
