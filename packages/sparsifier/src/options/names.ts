import { SparsifyError } from '../errors.js';
import { kinds, type Model, type WeightTensor } from '../model/model.js';
import { asked, similarNames } from './spelling.js';
import { meaningOf, plainWord } from './words.js';

/** What options can name: a layer, or layers that are ranked together. */
export interface Named {
  readonly name: string;
  readonly aliases: readonly string[];
}

/** A layer that the rules leave out. */
export interface LeftOut extends Named {
  /** Why, as a sentence. */
  readonly reason: string;
}

/** Finds layers by their names and aliases, or by globs. */
export class Names<Layer extends Named> {
  readonly #layers: readonly Layer[];
  #places: ReadonlyMap<string, readonly number[]> | undefined;

  constructor(layers: readonly Layer[]) {
    this.#layers = layers;
  }

  /** Whether a layer has this name, which then is no glob. */
  has(name: string): boolean {
    return this.#index.has(name);
  }

  /** The places of the layers with this name, or that match this glob. */
  placesOf(key: string): readonly number[] {
    return this.#index.get(key) ?? this.placesWhere(matcherOf(key));
  }

  /** The places of layers by their names. Many calls name none. */
  get #index(): ReadonlyMap<string, readonly number[]> {
    return (this.#places ??= placesByName(this.#layers));
  }

  /** The places of the layers that have such a name. */
  placesWhere(isMatch: (name: string) => boolean): number[] {
    return this.#layers.flatMap(({ name, aliases }, place) => (isMatch(name) || aliases.some(isMatch) ? [place] : []));
  }
}

function placesByName(layers: readonly Named[]): Map<string, number[]> {
  const all = new Map<string, number[]>();
  for (const [place, { name, aliases }] of layers.entries()) {
    for (const each of [name, ...aliases]) {
      const places = all.get(each);
      if (places === undefined) all.set(each, [place]);
      else if (places.at(-1) !== place) places.push(place);
    }
  }
  return all;
}

/**
 * The value that names and globs give each of `layers`; undefined for those that no key matches. A key that equals a
 * name stands for that name alone, any other is a glob. A name takes precedence over a glob.
 * @param others layers that exist but are not among `layers`, and why, for the error's hint
 * @param clash the error where two names, or two globs, give one layer different values
 * @throws SparsifyError `layer` for a key that matches nothing, or that error
 */
export function byName<Value>(
  entries: readonly (readonly [string, Value])[],
  layers: readonly Named[],
  others: readonly LeftOut[] = [],
  clash: (layer: string, entries: readonly (readonly [string, Value])[]) => SparsifyError = twoValues,
): (Value | undefined)[] {
  if (entries.length === 0) return layers.map(() => undefined);
  const found: ({ readonly key: string; readonly value: Value; readonly exact: boolean } | undefined)[] = layers.map(
    () => undefined,
  );
  const names = new Names(layers);
  const isName = (key: string) => names.has(key);
  // Names first: globs that disagree about a layer do not matter where its name decides.
  const ordered = [...entries.filter(([key]) => isName(key)), ...entries.filter(([key]) => !isName(key))];
  for (const [key, value] of ordered) {
    const exact = isName(key);
    const places = names.placesOf(key);
    for (const place of places) {
      const other = found[place];
      if (other === undefined) found[place] = { key, value, exact };
      else if (other.exact === exact && !same(other.value, value)) {
        throw clash(layers[place]!.name, [
          [other.key, other.value],
          [key, value],
        ]);
      }
    }
    if (places.length === 0) {
      const other = others.find(({ name, aliases }) => [name, ...aliases].includes(key));
      throw new SparsifyError('layer', 'no layer has this name or matches this glob', {
        given: key,
        allowed: layers.map(({ name }) => name),
        hint: other
          ? `A layer of this name exists, but it is left out: ${other.reason}`
          : (asked(nearestGlobs(key, layers)) ?? whereKindsAre(key)),
      });
    }
  }
  return found.map((entry) => entry?.value);
}

const twoValues = (subject: string, entries: readonly (readonly [string, unknown])[]): SparsifyError =>
  new SparsifyError('sparsity', 'two keys give this layer different values', {
    subject,
    given: entries.map(([key]) => key).join(' and '),
    hint: 'Give the layer its value by its own name',
  });

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

/** Where to give a kind of layer that was given as the name of one. */
function whereKindsAre(word: string): string | undefined {
  const [kind, ...others] = kindsMeantBy(word);
  return kind && `Kinds of layers are given with \`layerType${others.length > 0 ? '' : `: '${kind}'`}\``;
}

/** The kinds that a word stands for: their own names, or those of other libraries. */
export function kindsMeantBy(word: string): readonly string[] {
  return meaningOf(word, 'kind') ?? kinds.filter((kind) => kind.toLowerCase() === plainWord(word));
}

/** How many names are suggested at most. */
const suggestedAtMost = 3;

/**
 * The names of layers that are most like a word, or like a glob in letters of the other case. A word is compared with
 * whole names and with their last parts: `Conv.O` is like `p2o.Conv.0`.
 */
function nearestNames(word: string, layers: readonly Named[]): string[] {
  const names = layers.flatMap(({ name, aliases }) => [name, ...aliases]);
  const matches = matcherOf(word.toLowerCase());
  const inOtherCase = names.filter((name) => matches(name.toLowerCase()));
  const parts = word.split(/[./]/).length;
  const lastParts = (name: string) =>
    name
      .split(/(?<=[./])/)
      .slice(-parts)
      .join('');
  const nearest = inOtherCase.length > 0 ? inOtherCase : similarNames(word, names, (name) => [name, lastParts(name)]);
  return nearest.slice(0, suggestedAtMost);
}

/** The names nearest to a word, or else a glob of the names that contain it, perhaps with other separators. */
export function nearestGlobs(word: string, layers: readonly Named[]): string[] {
  const nearest = nearestNames(word, layers);
  if (nearest.length > 0 || /^\**$/.test(word)) return nearest;
  const globs = [`*${word}*`, `*${word.replace(/[./_-]/g, '?')}*`].map((glob) => glob.replace(/\*+/g, '*'));
  const names = layers.flatMap(({ name, aliases }) => [name, ...aliases]);
  return globs.filter((glob) => names.some(matcherOf(glob))).slice(0, 1);
}

/**
 * A test of names against a glob: `*` is any run of characters, `?` is one.
 *
 * Only the last star met so far is ever extended. An earlier one need not be: whatever a longer run of it would match,
 * the later star matches, too. So the work is at most the length of the glob times that of the name, where a regular
 * expression such as `.*a.*b.*c` may take exponentially long.
 */
export function matcherOf(glob: string): (name: string) => boolean {
  const pattern = [...glob];
  return (name) => {
    const text = [...name];
    let [at, place] = [0, 0];
    /** Behind the last star, in the pattern and in the text. */
    let star: { readonly at: number; place: number } | undefined;
    while (place < text.length) {
      if (pattern[at] === '*') star = { at: ++at, place };
      else if (at < pattern.length && (pattern[at] === '?' || pattern[at] === text[place]))
        [at, place] = [at + 1, place + 1];
      else if (star) [at, place] = [star.at, ++star.place];
      else return false;
    }
    return pattern.slice(at).every((each) => each === '*');
  };
}

/**
 * The layer with this name, or with this alias.
 * @throws SparsifyError `layer` if there is none
 */
export function layerNamed({ tensors, skipped }: Pick<Model, 'tensors' | 'skipped'>, layer: string): WeightTensor {
  const tensor = tensors.find(({ name }) => name === layer) ?? tensors.find(({ aliases }) => aliases.includes(layer));
  if (tensor) return tensor;
  const other = skipped.find(({ name }) => name === layer);
  throw new SparsifyError('layer', other ? `this tensor is not pruned: ${other.reason}` : 'no layer has this name', {
    given: layer,
    allowed: tensors.map(({ name }) => name),
    hint: other || typeof layer !== 'string' ? undefined : asked(nearestNames(layer, tensors)),
  });
}
