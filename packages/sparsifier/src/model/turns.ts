import { SparsifyError } from '../errors.js';

/** The calls on a model, which come one after another. */
class Line {
  /** Settles, without an error, when the last call has ended. */
  last: Promise<void> = Promise.resolve();
  /** How many calls have begun or wait. */
  calls = 0;
  /** Why there are no more calls, once the model is closed. */
  closed: (() => SparsifyError) | undefined;
  /** Frees the memory of a closed model after its last call. */
  free: (() => void) | undefined;
  /** How many functions of the caller are running for which a call waits. */
  asking = 0;
}

const lines = new WeakMap<object, Line>();

/** What a model stands for, if several models change the same numbers. */
const owners = new WeakMap<object, object>();

/** Gives a model the same turns as another object, such as the TensorFlow.js model whose weights it changes. */
export const shareTurns = (model: object, owner: object): void => void owners.set(model, owner);

function lineOf(model: object): Line {
  const owner = owners.get(model) ?? model;
  let line = lines.get(owner);
  if (line === undefined) lines.set(owner, (line = new Line()));
  return line;
}

/**
 * Makes a call once those before it on the same models have ended, however they did. Calls in a call must not take turns
 * on the same model: they would wait for each other.
 * @throws SparsifyError `usage` if a model is closed, or within a function that {@link asked} calls
 */
export function inTurn<Result>(models: object | readonly object[], call: () => Promise<Result>): Promise<Result> {
  const own = [...new Set([models].flat().map(lineOf))];
  for (const { closed, asking } of own) {
    if (closed) return Promise.reject(closed());
    if (asking > 0) return Promise.reject(waitsForItself());
  }
  const turn = Promise.all(own.map(({ last }) => last)).then(call);
  const leave = () => {
    for (const line of own) if (--line.calls === 0) line.free?.();
  };
  // Results are not kept for the next call.
  const ended = turn.then(leave, leave);
  for (const line of own) {
    line.calls++;
    line.last = ended;
  }
  return turn;
}

/**
 * Ends the turns of a model: calls that have begun or wait are made, all later ones are refused.
 * @param closed the error of later calls
 * @param free called at once if there are no calls, otherwise after the last one
 */
export function endTurns(model: object, closed: () => SparsifyError, free: () => void): void {
  const line = lineOf(model);
  if (line.closed) return;
  line.closed = closed;
  if (line.calls === 0) free();
  else line.free = free;
}

/**
 * Calls a function of the caller, whose result a call on the model awaits. Until it returns, other calls on the model are
 * refused: the function could wait for them, and they for the call. What it does later cannot be told from other tasks.
 */
export function asked<Result>(model: object, call: () => Result): Result {
  const line = lineOf(model);
  line.asking++;
  try {
    return call();
  } finally {
    line.asking--;
  }
}

/** A function of the caller that is called by {@link asked}. */
export const askedFor =
  <Words extends readonly unknown[], Result>(model: object, call: (...words: Words) => Result) =>
  (...words: Words): Result =>
    asked(model, () => call(...words));

const waitsForItself = (): SparsifyError =>
  new SparsifyError('usage', 'the model is in use by the call that waits for this function', {
    hint: 'Call `bytes()` and the like before or after it; within it, use what it passes to the function',
  });
