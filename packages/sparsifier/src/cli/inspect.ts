import { inspect as look } from '../index.js';
import { print, readerOf, type ReadingOptions } from './files.js';
import { table } from './table.js';

/** What the command is given, but for the threads. */
export interface InspectOptions extends Pick<ReadingOptions, 'layer'> {
  readonly json?: boolean;
}

/** The command `inspect`. @param engine is on its way */
export async function inspect(file: string, { layer, json }: InspectOptions, engine: Promise<unknown>): Promise<void> {
  const { read } = readerOf([file], { layer });
  await engine;
  using model = await read(file);
  const report = await look(model);
  print(json ? JSON.stringify(report, null, 2) : table(report, { units: false }));
}
