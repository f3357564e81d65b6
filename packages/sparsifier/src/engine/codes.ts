// The numbers that cross the boundary. A test of crates/wasm/src/record.rs writes and checks them.

/** The score of one weight, by the formulas of `Element` in the kernels. */
export const element = {
  magnitude: 1,
  square: 2,
  negativeMagnitude: 3,
  other: 4,
  otherMagnitude: 5,
  negativeOtherMagnitude: 6,
  smallerMagnitude: 7,
  negativeLargerMagnitude: 8,
  magnitudeIncrease: 9,
  distance: 10,
  weightedDistance: 11,
  squaredProduct: 12,
  scaledMagnitude: 13,
  random: 255,
} as const;

/** How the scores of a unit become one. */
export const reducers = {
  mean: 0,
  sum: 1,
  l2: 2,
  max: 3,
} as const;

/** What brings scores to a scale that layers share; 0 where nothing does. */
export const normalizers = {
  sum: 1,
  mean: 2,
  max: 3,
  l2: 4,
  minmax: 5,
  standard: 6,
  lamp: 7,
} as const;

/** What a verb returns. */
export const status = {
  done: 0,
  outOfMemory: 1,
  badRequest: 2,
} as const;

/** The types of numbers. */
export const dataTypes = {
  float32: 0,
  float16: 1,
  bfloat16: 2,
} as const;

/** Where the words of a record begin. */
export const word = {
  weights: 0,
  dataType: 1,
  axes: 2,
  sizes: 3,
  orders: 11,
  blocks: 19,
  element: 27,
  reducer: 28,
  normalizer: 29,
  seed: 30,
  layer: 31,
  scores: 32,
  earlier: 33,
  mask: 34,
  group: 35,
  limit: 36,
  removed: 37,
  key: 38,
  bound: 39,
  settled: 40,
  highest: 41,
  zeros: 42,
  firstNotFinite: 43,
  keptSquares: 44,
  removedSquares: 46,
  changed: 48,
  other: 49,
  otherType: 50,
  otherLength: 51,
  channelSteps: 52,
  keep: 58,
  of: 59,
  along: 60,
  saved: 61,
  savedLength: 62,
} as const;

/** How many words a record has. */
export const recordWords = 63;

/** Where the words of what `moments` takes begin. */
export const momentsWord = {
  inputs: 0,
  second: 1,
  length: 2,
  sums: 3,
  isDiagonal: 4,
  groups: 5,
  channels: 6,
  kernel: 7,
  strides: 10,
  pads: 13,
  dilations: 16,
  transposed: 19,
  samples: 20,
  space: 21,
  positions: 24,
  steps: 27,
} as const;

/** How many words these are. */
export const momentsWords = 32;

/** Where the words of what `finish` takes begin. */
export const finishWord = {
  sums: 0,
  groups: 1,
  columns: 2,
  moments: 3,
  means: 4,
  secondMeans: 5,
} as const;

/** How many words these are. */
export const finishWords = 6;

/** Where the words of what `fit` takes begin. */
export const fitWord = {
  ridge: 0,
  masked: 2,
  solved: 4,
  whole: 6,
  better: 8,
  dense: 9,
  sizes: 10,
  steps: 16,
  seen: 22,
  heldOut: 27,
  checks: 32,
  checkCount: 40,
  hasBias: 41,
  withoutEmpty: 42,
  shift: 43,
} as const;

/** How many words these are. */
export const fitWords = 44;

/** How many checks of a fit there is room for. */
export const mostChecks = 8;

/** How many axes a record has room for. */
export const maximumAxes = 8;

/** The largest m of an N:M pattern; the work grows with its square. */
export const longestPattern = 256;

/** The word of the first number that is not finite, where there is none. */
export const none = 4294967295;

/** Where the words begin that `survey` counts in. */
export const surveyWord = {
  below: 0,
  low: 1,
  between: 2,
  high: 2050,
  highest: 2051,
} as const;

/** How many words these are. */
export const surveyWords = 2052;

/** The keys between the ends of a bracket fall into so many bins, a power of two. */
export const surveyBins = 2048;

/** The key of infinity, and of what is not a number. */
export const infinityKey = 4286578688;

/** Keys are whole numbers from 0 to this one. */
export const largestKey = 4294967295;
