export { fit, type Fitted } from './fit/fit.js';
export type { JudgedBy } from './fit/judge.js';
export type { FitForm, FitSetting, FittedLayer } from './fit/make.js';
export type { Evaluate, EvaluateOptions, FitData, FitMeans, FitOptions, FitProgress } from './fit/options.js';
export type { FitOutcome, FitPoint, FitReport } from './fit/report.js';
export type { ByteSize, Encoding } from './fit/target.js';
