import { SparsifyError } from '../errors.js';
import type { WeightTensor } from '../model/model.js';
import { isListOf, type Check } from './check.js';
import { byName, type LeftOut, type Named } from './names.js';

export const contexts = ['local', 'global'] as const;
/** Where units are compared: within each layer, or over the whole network. */
export type Context = (typeof contexts)[number];

/** Rankings by name, each with the names or globs of the layers that are ranked together. */
export type RankTogether = Readonly<Record<string, readonly string[]>>;

/** Layers that are ranked together and share one amount. */
export interface Ranking extends Named {
  /** Their places among the layers of the call. */
  readonly members: readonly number[];
}

/** `usage` for anything but lists of names. */
export const someRankings: Check<RankTogether> = (value) => {
  const lists: [string, unknown][] = typeof value === 'object' && value !== null ? Object.entries(value) : [];
  const isList = (list: unknown) => isListOf(list, (glob) => typeof glob === 'string');
  const isRankings = typeof value === 'object' && value !== null && !(Symbol.iterator in value);
  if (isRankings && lists.every(([, list]) => isList(list))) return Object.fromEntries(lists) as RankTogether;
  throw new SparsifyError('usage', '`rankTogether` lists names or globs of layers for each ranking', {
    given: value,
    hint: "Such as `rankTogether: { encoder: ['enc*', 'stem'] }`",
  });
};

const network = 'the network';

/** One ranking for each layer. */
export const eachAlone = (tensors: readonly WeightTensor[]): Ranking[] =>
  tensors.map(({ name, aliases }, index) => ({ name, aliases, members: [index] }));

/**
 * The rankings of a call on a whole model: one for each layer in the local context, one for all layers in the global
 * context, or those of `rankTogether` and one for each layer that is in none of them.
 * @throws SparsifyError `layer` for a name or glob that matches nothing, `usage` for a layer in two rankings or a ranking
 *   with the name of a layer that is not in it
 */
export function rankingsOf(
  tensors: readonly WeightTensor[],
  context: Context,
  rankTogether: RankTogether | undefined,
  others: readonly LeftOut[],
): Ranking[] {
  if (context === 'local') return eachAlone(tensors);
  if (rankTogether === undefined) return [{ name: network, aliases: [], members: tensors.map((_, index) => index) }];
  const entries = Object.entries(rankTogether).flatMap(([ranking, globs]) =>
    globs.map((glob) => [glob, ranking] as const),
  );
  const rankingOf = byName(entries, tensors, others, twoRankings);
  const rankings = new Map<string, Ranking & { readonly members: number[] }>();
  tensors.forEach(({ name, aliases }, index) => {
    const own = rankingOf[index];
    const clash = [name, ...aliases].find((each) => each !== own && Object.hasOwn(rankTogether, each));
    if (clash !== undefined) {
      throw new SparsifyError('usage', 'a ranking has the name of a layer that is not in it', {
        subject: 'rankTogether',
        given: clash,
        hint: 'Give the ranking another name',
      });
    }
    const key = own ?? name;
    const ranking = rankings.get(key) ?? { name: key, aliases: own === undefined ? aliases : [], members: [] };
    ranking.members.push(index);
    rankings.set(key, ranking);
  });
  return [...rankings.values()];
}

const twoRankings = (subject: string, entries: readonly (readonly [string, string])[]): SparsifyError =>
  new SparsifyError('usage', '`rankTogether` puts this layer into two rankings', {
    subject,
    given: entries.map(([glob, ranking]) => `${glob} in ${ranking}`).join(' and '),
    hint: 'A name takes precedence over a glob: list the layer by name in one of them',
  });
