import type { Model } from '../model/model.js';

const turns = new WeakMap<Model, Promise<unknown>>();

/** Waits for the calls on the same model that came before. */
export function inTurn<Result>(model: Model, call: () => Promise<Result>): Promise<Result> {
  const before = turns.get(model);
  const turn = (async () => {
    await before?.catch(() => {});
    return call();
  })();
  turns.set(model, turn);
  return turn;
}
