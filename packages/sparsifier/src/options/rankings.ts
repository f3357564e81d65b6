import { SparsifyError } from '../errors.js';
import type { WeightTensor } from '../model/model.js';
import { byName, type Named } from './names.js';

/** Where units are compared: in each layer by itself, or over the whole network. */
export type Context = 'local' | 'global';

/** Layers by group: names or globs of those that are ranked together, apart from the others. */
export type Groups = Readonly<Record<string, readonly string[]>>;

/** Layers that are ranked together and share one amount. */
export interface Ranking extends Named {
  /** Their places among the layers of the call. */
  readonly members: readonly number[];
}

const network = 'the network';

/** One ranking for each layer. */
export const eachAlone = (tensors: readonly WeightTensor[]): Ranking[] =>
  tensors.map(({ name, aliases }, index) => ({ name, aliases, members: [index] }));

/**
 * The rankings of a call on a whole model: one for each layer in the local context, one for all in the global one, or
 * with groups one for each group and one for each layer that is in none.
 * @throws SparsifyError `layer` for a name or glob that matches nothing, `usage` for a layer in two groups or a group
 *   with the name of a layer
 */
export function rankingsOf(
  tensors: readonly WeightTensor[],
  context: Context,
  groups: Groups | undefined,
  others: readonly string[],
): Ranking[] {
  if (context === 'local') return eachAlone(tensors);
  if (groups === undefined) return [{ name: network, aliases: [], members: tensors.map((_, index) => index) }];
  const entries = Object.entries(groups).flatMap(([group, globs]) => globs.map((glob) => [glob, group] as const));
  const groupOf = byName(entries, tensors, others, twoGroups);
  const rankings = new Map<string, Ranking & { readonly members: number[] }>();
  tensors.forEach(({ name, aliases }, index) => {
    const group = groupOf[index];
    const clash = [name, ...aliases].find((each) => each !== group && Object.hasOwn(groups, each));
    if (clash !== undefined) {
      throw new SparsifyError('usage', 'a group has the name of a layer that is not in it', {
        asked: clash,
        hint: 'Give the group another name',
      });
    }
    const key = group ?? name;
    const ranking = rankings.get(key) ?? { name: key, aliases: group === undefined ? aliases : [], members: [] };
    ranking.members.push(index);
    rankings.set(key, ranking);
  });
  return [...rankings.values()];
}

const twoGroups = (subject: string, entries: readonly (readonly [string, string])[]): SparsifyError =>
  new SparsifyError('usage', 'the layer is in two groups', {
    subject,
    asked: entries.map(([glob, group]) => `${glob} in ${group}`).join(' and '),
    hint: 'A name beats a glob: name the layer in the group that it belongs to',
  });
