// One call of the package on plain arrays, in Node and in browsers.
import { Sparsifier } from 'sparsifier';
import { fromArrays } from 'sparsifier/formats/arrays';
import { timed } from '../support.mjs';

/**
 * Prunes tensors in place. Returns times in milliseconds: of the engine, of copies into and out of its memory, and in
 * total.
 */
export async function prune(engine, tensors, { granularity, context }) {
  const times = { copyIn: 0, copyOut: 0 };
  const begun = performance.now();
  const layers = tensors.map(({ shape, data }, index) => [
    `layer ${index}`,
    { kind: 'conv2d', roles: ['out', 'in', 'height', 'width'], shape, data },
  ]);
  const model = fromArrays(Object.fromEntries(layers));
  const watched =
    (name, method) =>
    async (...parameters) => {
      const begun = performance.now();
      const result = await method(...parameters);
      times[name] += performance.now() - begun;
      return result;
    };
  const sparsifier = new Sparsifier(
    { ...model, load: watched('copyIn', model.load), store: watched('copyOut', model.store) },
    { granularity: granularity === '2:4' ? { nm: [2, 4] } : granularity, context, criteria: 'largeFinal' },
  );
  const amount = granularity === '2:4' ? undefined : 50;
  const { time, result } = await timed(engine, () => sparsifier.sparsifyModel(amount));
  return { engine: time, ...times, whole: performance.now() - begun, units: result.total.removedUnits };
}
