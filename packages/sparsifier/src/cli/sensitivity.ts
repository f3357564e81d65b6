import { writeFiles } from '#host';
import { sensitivity as analyse } from '../analysis/sensitivity.js';
import { readModel } from '../formats/read-model.js';
import { byEvaluate } from '../fit/judge.js';
import { SparsifyError } from '../errors.js';
import { sourceFilesOf } from '../model/source-files.js';
import type { CriteriaName, Reducer } from '../options/criteria.js';
import type { Granularity } from '../options/granularity.js';
import { sessionDataOf, statisticsOf, type StatisticsOptions } from './calibration.js';
import { readEvaluate } from './evaluating.js';
import { coupledOf, readBatches } from './inputs.js';
import { checkOutputs } from './outputs.js';
import { rulesOf } from './parse.js';
import { remainingInWords } from './phrasing.js';
import { print, writtenTo } from './print.js';
import { readingOptions, type ReadingOptions } from './reading.js';
import { checkRepairing } from './repairing.js';
import { startSpinner } from './spinner.js';

/** The options of the command, without `--threads`. */
export interface SensitivityCommandOptions extends Pick<ReadingOptions, 'layer'>, StatisticsOptions {
  readonly evaluate?: string;
  readonly levels?: number[];
  readonly granularity: Granularity;
  readonly coupled?: boolean;
  readonly input?: string[];
  readonly criteria: CriteriaName;
  readonly reducer: Reducer;
  readonly seed?: number;
  readonly include?: string[];
  readonly exclude?: string[];
  readonly plot?: string;
  readonly force?: boolean;
  readonly json?: boolean;
}

/** The command `sensitivity`. @param engine is still loading */
export async function sensitivity(
  file: string,
  options: SensitivityCommandOptions,
  engine: Promise<unknown>,
): Promise<void> {
  const { evaluate: module, criteria, plot, force = false, json = false } = options;
  if (module === undefined) {
    throw new SparsifyError('usage', '--evaluate <module> must be given', {
      hint: 'Such as: sparsifier sensitivity model.onnx --evaluate evaluate.mjs',
    });
  }
  if (options.input !== undefined && !options.coupled) {
    throw new SparsifyError('usage', '--input is for following channels', { hint: 'Give it with -g filter --coupled' });
  }
  checkRepairing(options, criteria);
  const { evaluate, higherIsBetter } = await readEvaluate(module);
  const batches = options.calibrate === undefined ? undefined : await readBatches(options.calibrate);
  await engine;
  const spinner = startSpinner(json);
  try {
    using model = await readModel(file, readingOptions({ layer: options.layer }));
    await checkOutputs(model, [plot], { force, read: [module, options.calibrate, options.statistics] });
    const data = batches && (await sessionDataOf(model, file, batches));
    const statistics = await statisticsOf(model, data, options, spinner.onProgress);
    const judge = byEvaluate(evaluate, higherIsBetter, undefined);
    const coupled = coupledOf(options.coupled, options.input);
    const { granularity, reducer, seed, levels } = options;
    const { include: layers, exclude } = rulesOf({ include: options.include, exclude: options.exclude });
    spinner.show('evaluating the unchanged model');
    const begun = performance.now();
    const found = await analyse(
      model,
      async () => judge.judge({ files: await model.toFiles(), layers: [] }, 'search'),
      {
        ...{ granularity, coupled, criteria, reducer, seed, levels, layers, exclude, statistics, higherIsBetter },
        onProgress: ({ layer, level, done, total }) => {
          const remaining = ((performance.now() - begun) / 1000 / done) * (total - done);
          spinner.show(`${layer} at ${level} %, ${done} of ${total}${remainingInWords(remaining)}`);
        },
      },
    );
    if (plot !== undefined) {
      const picture = new TextEncoder().encode(await found.heatMap());
      await writeFiles([{ path: plot, chunks: () => [picture] }], { force, sourceFiles: sourceFilesOf(model) });
    }
    spinner.stop();
    if (json) print(JSON.stringify({ baseline: found.baseline, higherIsBetter, layers: found.layers, plot }, null, 2));
    else print([found.table(), ...(plot === undefined ? [] : [writtenTo(plot)])].join('\n\n'));
  } finally {
    spinner.stop();
  }
}
