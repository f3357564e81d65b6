import { readModel } from '../formats/read-model.js';
import { dequantize as store } from '../quantization/dequantize.js';
import { checkOutputs, pathsOf } from './outputs.js';
import { outMissing } from './parse.js';
import { print, writtenTo } from './print.js';
import { readingOptions, type ReadingOptions } from './reading.js';
import { startSpinner } from './spinner.js';

/** The options of the command, without `--threads`. */
export interface DequantizeCommandOptions extends Pick<ReadingOptions, 'layer'> {
  readonly out?: string;
  readonly force?: boolean;
  readonly json?: boolean;
}

/** The command `dequantize`. @param engine is still loading */
export async function dequantize(
  file: string,
  { layer, out, force = false, json = false }: DequantizeCommandOptions,
  engine: Promise<unknown>,
): Promise<void> {
  if (out === undefined) throw outMissing('sparsifier dequantize small.onnx -o model.onnx');
  await engine;
  const spinner = startSpinner(json);
  try {
    using read = await readModel(file, readingOptions({ layer }));
    await checkOutputs(read, pathsOf(await read.outputs(out)), { force, read: [] });
    const { model, report } = await store(read);
    using written = model;
    spinner.show('writing');
    await written.write(out, { force });
    spinner.stop();
    print(json ? JSON.stringify({ ...report, out }, null, 2) : `${report.table()}\n\n${writtenTo(out)}`);
  } finally {
    spinner.stop();
  }
}
