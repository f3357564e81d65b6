export { reportPage, type ReportPageOptions } from './page/page.js';
export type { PageReport } from './page/parts.js';
