export { Schedule, type ScheduleLike, type ScheduleName, type ScheduleOptions } from './training/schedule.js';
export { sparsifyCallback, type SparsifyCallback, type TrainingTf } from './training/callback.js';
export type { EpochRecord, SparsifyCallbackOptions, TargetSparsity, Ticket } from './training/training.js';
