import type { Sizes, SizesOptions } from '../formats/sizes.js';
import { startSpinner } from './spinner.js';

/** What has files that can be compressed: a report of a call. */
export interface Compressible {
  sizes(options: SizesOptions): Promise<Sizes>;
}

/** The sizes of the files of a report, while the terminal shows how far that is. */
export async function compressed(
  report: Compressible,
  options: Pick<SizesOptions, 'layers'>,
  isSilent = false,
): Promise<Sizes> {
  const spinner = startSpinner(isSilent);
  try {
    return await report.sizes({ ...options, onProgress: spinner.onProgress });
  } finally {
    spinner.stop();
  }
}
