/** The exports that take and return numbers: everything that crosses the boundary. */
export type Verb =
  | 'allocate'
  | 'release'
  | 'inspect'
  | 'score'
  | 'survey'
  | 'select'
  | 'nm'
  | 'mask'
  | 'save'
  | 'restore'
  | 'apply'
  | 'remove'
  | 'moments'
  | 'finish'
  | 'fit';

/** One call of a verb with its numbers. */
export type Call = readonly [verb: Verb, ...numbers: number[]];
