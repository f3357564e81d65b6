import { model } from './site.mjs';

/** How many threads a result has, and why. */
export const allCores = { name: 'all cores', threads: ({ cores }) => cores, why: /^\d+ threads share the work$/ };

export const oneThread = (name, why) => ({ name, threads: () => 1, why });

export const notIsolated = oneThread('one if not isolated', /not cross-origin isolated/);

/** What is wrong with a result; undefined if nothing is. @param bytes what Node.js computes */
export function mistakeIn(result, bytes, { threads, why }) {
  if (result.error !== undefined) return result.error;
  if (!Array.isArray(result.bytes) || Buffer.compare(Buffer.from(result.bytes), bytes) !== 0) {
    return 'the bytes are not those that Node.js computes';
  }
  if (result.threads !== threads(result))
    return `${result.threads} threads instead of ${threads(result)}: ${result.why}`;
  if (!why.test(result.why)) return `the number of threads has another reason: ${result.why}`;
  return undefined;
}

/** The bytes of the pruned model as the built package computes them here. */
export async function expectedBytes() {
  const { prune } = await import('../../examples/recipes/app/prune.js');
  return Buffer.from((await prune(model)).bytes);
}
