export type {
  BeforeAndAfter,
  BlockedChannels,
  ChannelGroup,
  InputShapes,
  KeepingReason,
  KeptIndices,
} from './formats/removal.js';
export {
  removeLiveChannels,
  type LiveWithoutChannels,
  type RemovalTf,
  type RemoveLiveOptions,
  type SavedModelLike,
} from './removal/live.js';
export type {
  PlannedOptions,
  PlanRemovalOptions,
  RemovalProgress,
  RemoveChannelsOptions,
  VerifyOptions,
} from './removal/options.js';
export { planRemoval, removeChannels, type WithoutChannels } from './removal/remove.js';
export type {
  RemovalPlan,
  RemovalReport,
  RemovalTableOptions,
  Verification,
  VerifiedOutput,
} from './removal/report.js';
