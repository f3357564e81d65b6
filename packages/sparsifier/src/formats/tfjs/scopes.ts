import type { WeightEntry, Weights } from './description.js';

/** A layer, with the names that its weights may begin with. */
export interface NamedLayer {
  /** The names of the nested models and wrappers that contain it, and its own. */
  readonly path: readonly string[];
  /** Other names that its weights may begin with: a layer in a wrapper may use either name. */
  readonly others: readonly string[];
}

/** The weights of a layer by the last parts of their names. */
export type Scope = ReadonlyMap<string, WeightEntry>;

/** A scope, and the names of layers in the common beginning of the names of its weights. */
interface NamedScope {
  readonly weights: Map<string, WeightEntry>;
  readonly depth: number;
  /** The names of layers and models, and where they are in that beginning. */
  readonly names: readonly { readonly name: string; readonly start: number; readonly end: number }[];
}

/**
 * Weights, grouped by the beginning of their names. The names of all weights of a layer have the same beginning: the
 * layer's name, possibly preceded by the names of the models that contain it and names that the topology does not
 * contain, and possibly followed by the name of a recurrent cell.
 */
export class Scopes {
  /** For live models, by the path of the layers that have the weights. */
  readonly #byPath = new Map<string, NamedScope[]>();
  readonly #byName = new Map<string, NamedScope[]>();
  /** The names that may precede that of a layer. A layer that several models share is built in one of them. */
  readonly #around = new Map<string, Set<string>>();

  constructor(layers: readonly NamedLayer[], weights: Weights) {
    for (const { path } of layers) {
      const own = path.at(-1)!;
      const around = this.#around.get(own) ?? new Set();
      this.#around.set(own, around);
      for (const name of path) around.add(name);
    }
    const known = new Set(layers.flatMap(({ path, others }) => [...path, ...others]));
    const longest = [...known].reduce((most, name) => Math.max(most, name.split('/').length), 1);
    const scopes = new Map<string, NamedScope>();
    for (const entry of weights.values()) {
      const { name, paths } = entry.holders ?? { name: entry.name, paths: [undefined] };
      const parts = name.replace(/:\d+$/, '').split('/');
      const last = parts.pop()!;
      for (const path of paths) {
        const key = JSON.stringify([path, parts]);
        let scope = scopes.get(key);
        if (scope === undefined) {
          scope = { weights: new Map(), depth: parts.length, names: namesIn(parts, known, longest) };
          scopes.set(key, scope);
          if (path !== undefined) addTo(this.#byPath, JSON.stringify(path), scope);
          else for (const name of new Set(scope.names.map(({ name }) => name))) addTo(this.#byName, name, scope);
        }
        if (!scope.weights.has(last)) scope.weights.set(last, entry);
      }
    }
  }

  /**
   * The weights of a layer: of the scopes with its name and a wanted weight, the one that has most of the same models.
   */
  of({ path, others }: NamedLayer, wanted: readonly string[]): Scope | undefined {
    const own = [path.at(-1)!, ...others];
    const isWanted = ({ weights }: NamedScope) => wanted.some((name) => weights.has(name));
    const held = this.#byPath.get(JSON.stringify(path))?.find(isWanted);
    if (held !== undefined) return held.weights;
    // A wrapper of two layers has the weights of both.
    const beside = this.#byPath.get(JSON.stringify(path.slice(0, -1))) ?? [];
    const named = own.flatMap((name) => this.#byName.get(name) ?? []).filter(({ names }) => this.#isOwn(own, names));
    const candidates = [...beside.filter(({ names }) => names.some(({ name }) => own.includes(name))), ...named];
    let best: { weights: Scope; score: number } | undefined;
    for (const { weights, depth, names } of candidates.filter(isWanted)) {
      const score = path.filter((part) => names.some(({ name }) => name === part)).length - depth / 1000;
      if (best === undefined || score > best.score) best = { weights, score };
    }
    return best?.weights;
  }

  /** Whether no other layer is named before the layer's own name, or by a longer name at the same place. */
  #isOwn(own: readonly string[], names: NamedScope['names']): boolean {
    const { start, end } = names.find(({ name }) => own.includes(name))!;
    const around = this.#around.get(own[0]!)!;
    return names.every((each) => {
      const isBefore = each.start < start || (each.start === start && each.end > end);
      return !isBefore || around.has(each.name) || !this.#around.has(each.name);
    });
  }
}

function addTo(lists: Map<string, NamedScope[]>, key: string, scope: NamedScope): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [scope]);
  else list.push(scope);
}

/** The names of layers among the parts of a weight's name. The name of a layer may itself have several parts. */
function namesIn(parts: readonly string[], known: ReadonlySet<string>, longest: number): NamedScope['names'] {
  return parts.flatMap((_, start) =>
    parts.slice(start, start + longest).flatMap((_, length) => {
      const end = start + length + 1;
      const name = parts.slice(start, end).join('/');
      return known.has(name) ? [{ name, start, end }] : [];
    }),
  );
}
