export { Schedule, type ScheduleLike, type ScheduleName, type ScheduleOptions } from './training/schedule.js';
export {
  sparsifyCallback,
  type EpochRecord,
  type SparsifyCallback,
  type SparsifyCallbackOptions,
  type TargetSparsity,
  type Ticket,
  type TrainingTf,
} from './training/training.js';
