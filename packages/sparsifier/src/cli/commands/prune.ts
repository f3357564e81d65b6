import { Option } from 'commander';
import { forms } from '../../model/forms.js';
import { kinds } from '../../model/model.js';
import { budgets } from '../../options/budgets.js';
import { normalizerNames } from '../../options/criteria.js';
import { defaults } from '../../options/defaults.js';
import { contexts } from '../../options/rankings.js';
import { collect, formAfter, kindsOf, nameOf, whole } from '../parse.js';
import type { PruneOptions } from '../prune.js';
import {
  anyModel,
  begin,
  calibrating,
  choice,
  coupled,
  criteria,
  granularity,
  holdOut,
  inputShape,
  inputValues,
  listedLayers,
  measured,
  memory,
  noAddBias,
  reducer,
  repair,
  repairInputs,
  reportPage,
  seed,
  sizes,
  type CommandEntry,
  type Threads,
} from './shared.js';

export const prune: CommandEntry = {
  example: 'sparsifier prune model.onnx -s 50 -o sparse.onnx',
  add(program, say) {
    anyModel(
      program
        .command('prune')
        .argument('<model>', 'an ONNX or safetensors file, or a TensorFlow.js model.json', nameOf),
    )
      .description('set the least useful weights to zero and write the sparse model')
      .addOption(
        new Option(
          '-s, --sparsity <amount>',
          'percentage of units to remove: one for all layers, one per layer (0,50,50,0), or name-or-glob=percentage; repeatable',
        ).argParser(collect),
      )
      .addOption(granularity)
      .addOption(coupled)
      .addOption(
        choice(
          '-c, --context <name>',
          'compare units within each layer, or across the whole network',
          contexts,
        ).default(defaults.context),
      )
      .addOption(criteria)
      .addOption(new Option('-o, --out <file>', 'where to write the sparse model').argParser(nameOf))
      .option('--explain', 'only show how much would be removed from each layer, and why the others are not pruned')
      .option('--dry-run', 'the same as --explain')
      .addOption(
        new Option(
          '--layer-type <kinds>',
          `comma-separated kinds of layers to prune: ${kinds.join(', ')}, or all (default: ${defaults.layerType}, or all with --include)`,
        ).argParser(kindsOf),
      )
      .option(
        '--include <rule>',
        'prune only these layers: a name, a glob, kind:dense, is:depthwise, smaller:1000 (weights) or re:expression; repeatable',
        collect,
      )
      .option('--exclude <rule>', 'do not prune these layers; repeatable', collect)
      .option(
        '--rank-together <name=globs>',
        'with -c global: layers that are only compared with each other (encoder=enc*,stem); repeatable',
        collect,
      )
      .addOption(choice('--budget <rule>', 'with -c global: how the sparsity is divided among the layers', budgets))
      .option('--round-to <n>', 'keep a multiple of n units in each layer', whole)
      .addOption(reducer)
      .addOption(
        choice('--normalizer <name>', "how a layer's scores are made comparable with those of others", normalizerNames),
      )
      .addOption(seed)
      .addOption(
        new Option('--initial <model>', 'the initial weights, for criteria that compare with them').argParser(nameOf),
      )
      .addOption(
        new Option(
          '--load-masks <file>',
          'continue from the masks of an earlier run; without --sparsity, only apply them',
        ).argParser(nameOf),
      )
      .addOption(new Option('--save-masks <file>', 'where to write the masks, as safetensors').argParser(nameOf))
      .option('--keep-scale', 'for quantised TensorFlow.js weights: do not change scale and min')
      .option('--allow-empty', 'allow a layer to lose all its units')
      .option('--min-keep <n>', 'keep at least n units in each layer, or name-or-glob=n; repeatable', collect)
      .option(
        '--max-sparsity <percent>',
        'remove at most this percentage of units from a layer, or name-or-glob=percentage; repeatable',
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
          '--quantize [form]',
          'store the weights of all layers in fewer bytes afterwards, as sparsifier quantize --weights does (default: the form that suits each kind of layer)',
        )
          .choices(forms)
          .argParser(formAfter('--quantize', 'sparsifier prune model.onnx -s 50 --quantize -o sparse.onnx')),
      )
      .addOption(reportPage)
      .option('--force', 'overwrite existing output files')
      .addOption(listedLayers)
      .addOption(sizes)
      .option('--verify', 'compare the sparse model with the input, as compare does')
      .addOption(inputShape)
      .addOption(inputValues)
      .addHelpText(
        'after',
        `
Examples:
  $ sparsifier prune model.onnx -s 50 -o sparse.onnx
  $ sparsifier prune model.onnx -s 50 --criteria fluctuation --calibrate inputs.npz --repair solve -o sparse.onnx
  $ sparsifier prune model.onnx -s 50 --calibrate inputs.npz --repair solve --quantize -o sparse.onnx
  $ sparsifier prune model.onnx -s 50 -g filter --round-to 8 -o sparse.onnx
  $ sparsifier prune model.onnx -s 0,50,50,0 -o sparse.onnx
  $ sparsifier prune model.onnx -s 'encoder.*=60' -s head=0 --layer-type all -o sparse.onnx
  $ sparsifier prune model.onnx -s 80 -c global --layer-type conv2d,dense -o sparse.onnx --json
  $ sparsifier prune model.json -s 50 -o sparse/
  $ sparsifier prune model.safetensors -s 50 --layer-type dense --layer '*.c_attn=dense:in,out' -o sparse.safetensors`,
      )
      .action(async (file: string, { threads, ...options }: PruneOptions & Threads) => {
        const engine = begin(threads);
        const { prune } = await import('../prune.js');
        await prune(file, options, engine, say);
      });
  },
};
