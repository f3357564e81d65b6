import { readModel } from '../formats/read-model.js';
import { inspect as look } from '../pruning/inspect.js';
import { tableOf } from '../pruning/table.js';
import { commandWords } from './phrasing.js';
import { print } from './print.js';
import { readingOptions, type ReadingOptions } from './reading.js';
import { startSpinner } from './spinner.js';

/** The options of the command, without `--threads`. */
export interface InspectOptions extends Pick<ReadingOptions, 'layer'> {
  readonly json?: boolean;
  readonly sizes?: boolean;
}

/** The command `inspect`. @param engine is still loading */
export async function inspect(
  file: string,
  { layer, json, sizes: compress }: InspectOptions,
  engine: Promise<unknown>,
): Promise<void> {
  await engine;
  using model = await readModel(file, readingOptions({ layer }));
  const report = await look(model);
  const spinner = startSpinner(json || !compress);
  const sizes = compress
    ? await report.sizes({ layers: true, onProgress: spinner.onProgress }).finally(spinner.stop)
    : undefined;
  if (json) print(JSON.stringify({ ...report, sizes }, null, 2));
  else print(tableOf(report, { isCall: false, words: commandWords, sizes }));
}
