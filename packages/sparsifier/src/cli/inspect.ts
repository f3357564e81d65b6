import { readModel } from '../formats/read-model.js';
import { inspect as look } from '../pruning/inspect.js';
import { tableOf } from '../pruning/table.js';
import { commandWords } from './phrasing.js';
import { print } from './print.js';
import { readingOptions, type ReadingOptions } from './reading.js';

/** The options of the command, without `--threads`. */
export interface InspectOptions extends Pick<ReadingOptions, 'layer'> {
  readonly json?: boolean;
}

/** The command `inspect`. @param engine is still loading */
export async function inspect(file: string, { layer, json }: InspectOptions, engine: Promise<unknown>): Promise<void> {
  await engine;
  using model = await readModel(file, readingOptions({ layer }));
  const report = await look(model);
  print(json ? JSON.stringify(report, null, 2) : tableOf(report, { isCall: false, words: commandWords }));
}
