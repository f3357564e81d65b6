import { basename } from 'node:path';
import type { OutputFile } from '#host';
import { SparsifyError } from '../errors.js';
import type { ReportPageOptions } from '../page/page.js';
import type { PageReport } from '../page/parts.js';
import type { Words } from '../pruning/warnings.js';
import { commandWords } from './phrasing.js';

/** The option of commands that also write a report as a page. */
export interface PageOption {
  /** Where to. */
  readonly report?: string;
}

/** @throws SparsifyError `usage` for a page about a model that is not written */
export function checkPage({ report }: PageOption, isWritten: boolean): void {
  if (report === undefined || isWritten) return;
  throw new SparsifyError('usage', '--report is for the report of what was done', {
    hint: '--explain and --dry-run write nothing',
  });
}

/** A report, and how it writes options if not as the command line does. */
export type Reported = readonly [report: PageReport, words?: Words];

/**
 * The page as a file that is written with those of the model; none if it was not asked for.
 * @param file the path of the model that the command read
 */
export async function pageFiles(
  path: string | undefined,
  file: string,
  reports: readonly Reported[],
  options: Omit<ReportPageOptions, 'title'>,
): Promise<OutputFile[]> {
  if (path === undefined) return [];
  const [{ pageOf }, { partOf }] = await Promise.all([import('../page/page.js'), import('../page/parts.js')]);
  const parts = reports.map(([report, words = commandWords]) => partOf(report, words));
  const bytes = new TextEncoder().encode(await pageOf(parts, { ...options, title: basename(file) }));
  return [{ path, chunks: () => [bytes] }];
}
