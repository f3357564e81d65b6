import type { Sizes } from '../formats/sizes.js';
import { quantizeReportOf } from '../quantization/made-report.js';
import type { QuantizeReport } from '../quantization/report.js';
import { quantizeSentence } from '../quantization/warnings.js';
import type { Words } from '../pruning/warnings.js';
import { allSaid, type Say } from './phrasing.js';

/** A report whose notes are those of the command line. */
export const quantizedInFlags = (report: QuantizeReport, say: Say): QuantizeReport =>
  quantizeReportOf({
    ...report,
    notes: allSaid(report.notes, say),
    sizes: (options) => report.sizes(options),
  });

/** A report as JSON has it. */
export const quantizedInData = (report: QuantizeReport, words: Words, sizes?: Sizes): object => ({
  ...report,
  ...(sizes && { sizes }),
  warnings: report.warnings.map((warning) => ({ ...warning, message: quantizeSentence(warning, words) })),
});
