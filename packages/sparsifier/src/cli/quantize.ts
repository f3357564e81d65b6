import { writeFiles } from '#host';
import { readModel } from '../formats/read-model.js';
import { sizesOf, type Sizes } from '../formats/sizes.js';
import type { Form } from '../model/forms.js';
import type { Kind } from '../model/model.js';
import { sourceFilesOf } from '../model/source-files.js';
import type { OtherForm } from '../quantization/options.js';
import { quantizeTable } from '../quantization/made-report.js';
import { planFor, quantize as store } from '../quantization/quantize.js';
import type { QuantizeReport } from '../quantization/report.js';
import { checkMeasuring, checkSource, sessionDataOf, statisticsOf, type StatisticsOptions } from './calibration.js';
import { readBatches } from './inputs.js';
import { checkOutputs, pathsOf } from './outputs.js';
import { outMissing, rulesOf } from './parse.js';
import { commandWords, type Say } from './phrasing.js';
import { pageFiles, type PageOption } from './page.js';
import { print, writtenTo } from './print.js';
import { quantizedInData, quantizedInFlags } from './quantizing.js';
import { readingOptions, type ReadingOptions } from './reading.js';
import { startSpinner } from './spinner.js';
import { checkVerifying, verified, type VerifyOptions } from './verifying.js';

/** The options of the command, without `--threads`. */
export interface QuantizeCommandOptions
  extends Pick<ReadingOptions, 'layer'>, VerifyOptions, PageOption, Omit<StatisticsOptions, 'holdOut'> {
  readonly weights?: Form;
  readonly others?: OtherForm;
  readonly layerType?: Kind[] | 'all';
  readonly include?: string[];
  readonly exclude?: string[];
  readonly out?: string;
  readonly force?: boolean;
  readonly json?: boolean;
  /** Whether each layer is listed. */
  readonly layers?: boolean;
  /** Whether the files are compressed to know their sizes. */
  readonly sizes?: boolean;
}

/** What is told of a call. */
interface Told {
  readonly report: QuantizeReport;
  readonly sizes: Sizes | undefined;
}

/**
 * The command `quantize`.
 * @param engine is still loading
 * @param say for the messages of the library
 */
export async function quantize(
  file: string,
  { verify = false, input, inputs, ...options }: QuantizeCommandOptions,
  engine: Promise<unknown>,
  say: Say,
): Promise<void> {
  const { out, layer, json = false, layers, report: page } = options;
  checkVerifying({ verify, input, inputs });
  if (out === undefined) throw outMissing('sparsifier quantize model.onnx -o small.onnx');
  checkSource(options);
  checkMeasuring(options);
  const work = () => quantized(file, { ...options, out, inputs }, engine, say);
  const tell = ({ report, sizes }: Told, more: object = {}) =>
    print(
      json
        ? JSON.stringify({ ...quantizedInData(report, commandWords, sizes), out, page, ...more }, null, 2)
        : `${quantizeTable(report, { words: commandWords, layers, sizes })}\n\n${writtenTo(out, page)}`,
    );
  if (!verify) return tell(await work());
  await engine;
  const reading = readingOptions({ layer });
  const { done, found, failure, text } = await verified(
    file,
    out,
    { reading, given: { input, inputs }, force: options.force },
    work,
  );
  tell(done, { verify: found });
  if (!json) print(text);
  if (failure) throw failure;
}

/** Writes the model and returns what was done. */
async function quantized(
  file: string,
  options: Omit<QuantizeCommandOptions, 'out' | 'inputs'> & Record<'out', string> & Pick<VerifyOptions, 'inputs'>,
  engine: Promise<unknown>,
  say: Say,
): Promise<Told> {
  const { weights, others, layerType, include, exclude, layer, json, out, force = false, memory } = options;
  const { calibrate, statistics: measured, inputs, layers, sizes: compress = false } = options;
  const batches = calibrate === undefined ? undefined : await readBatches(calibrate);
  await engine;
  const spinner = startSpinner(json);
  const { onProgress } = spinner;
  try {
    using read = await readModel(file, readingOptions({ layer }));
    const outputs = [...pathsOf(await read.outputs(out)), options.report];
    await checkOutputs(read, outputs, { force, read: [calibrate, measured, inputs] });
    const asked = {
      weights,
      others,
      rules: { layerType, ...rulesOf({ include, exclude }) },
    };
    // Measuring may take long, so what is wrong with other options is told before.
    planFor(read, asked);
    const data = batches && (await sessionDataOf(read, file, batches));
    const statistics = await statisticsOf(read, data, { statistics: measured, holdOut: 0, memory }, onProgress);
    const { model, report } = await store(read, { ...asked, statistics, onProgress });
    using written = model;
    const said = quantizedInFlags(report, say);
    const sizes = compress ? await report.sizes({ layers, onProgress }) : undefined;
    const before = compress && options.report !== undefined ? await sizesOf(read, { onProgress }) : undefined;
    const shown = { before: read, after: written, sizes: { before, after: sizes } };
    spinner.show('writing');
    const page = await pageFiles(options.report, file, [[said]], shown);
    await writeFiles([...(await written.outputs(out)), ...page], { force, sourceFiles: sourceFilesOf(written) });
    return { report: said, sizes };
  } finally {
    spinner.stop();
  }
}
