import { addTo, type WeightEntry, type Weights } from './description.js';

/** A layer, with the names that its weights may begin with. */
export interface NamedLayer {
  /** The names of the nested models and wrappers that contain it, and its own. */
  readonly path: readonly string[];
  /** Other names that its weights may begin with: a layer in a wrapper may use either name. */
  readonly others: readonly string[];
  /** The names of its weights in the order in which Keras 3 numbers them: `dense/0` is the first. */
  readonly weightNames: readonly string[];
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
  /** By the whole common beginning of their names. */
  readonly #byBeginning = new Map<string, NamedScope>();
  /** Whether weights are numbered within their layers, as Keras 3 does. TensorFlow.js looks at the first one. */
  readonly #isNumbered: boolean;
  /** The names that may precede that of a layer. A layer that several models share is built in one of them. */
  readonly #around = new Map<string, Set<string>>();
  /** What was found, by the names of the layer and of the wanted weights. */
  readonly #found = new Map<string, Scope | undefined>();

  constructor(layers: readonly NamedLayer[], weights: Weights) {
    for (const { path } of layers) {
      const own = path.at(-1)!;
      const around = this.#around.get(own) ?? new Set();
      this.#around.set(own, around);
      for (const name of path) around.add(name);
    }
    const known = new Set(layers.flatMap(({ path, others }) => [...path, ...others]));
    const longest = [...known].reduce((most, name) => Math.max(most, name.split('/').length), 1);
    const [first] = weights.values();
    this.#isNumbered = first !== undefined && first.holders === undefined && /(^|\/)\d[^/]*$/.test(first.name);
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
          else {
            this.#byBeginning.set(parts.join('/'), scope);
            for (const name of new Set(scope.names.map(({ name }) => name))) addTo(this.#byName, name, scope);
          }
        }
        if (!scope.weights.has(last)) scope.weights.set(last, entry);
      }
    }
  }

  /**
   * The weights of a layer: of the scopes with its name and a wanted weight, the one that has most of the same models.
   * @param wanted by default any weight
   */
  of(layer: NamedLayer, wanted?: readonly string[]): Scope | undefined {
    const { path, others, weightNames } = layer;
    const key = JSON.stringify([path, others, weightNames, wanted]);
    if (!this.#found.has(key)) this.#found.set(key, this.#find(layer, wanted));
    return this.#found.get(key);
  }

  #find(layer: NamedLayer, wanted: readonly string[] | undefined): Scope | undefined {
    const { path, others } = layer;
    const own = [path.at(-1)!, ...others];
    const fitting = (scope: NamedScope | undefined): Scope | undefined => {
      const weights = scope && this.#named(scope.weights, layer);
      return wanted === undefined || wanted.some((name) => weights?.has(name)) ? weights : undefined;
    };
    for (const scope of this.#byPath.get(JSON.stringify(path)) ?? []) {
      const held = fitting(scope);
      if (held !== undefined) return held;
    }
    const name = path.join('/');
    const whole = fitting(this.#byBeginning.get(name));
    // `a/b` may be `b` in the model `a`, or a layer of this name.
    const isAmbiguous = path.length > 1 && this.#around.has(name);
    if (whole !== undefined && !isAmbiguous) return whole;
    // A wrapper of two layers has the weights of both.
    const beside = this.#byPath.get(JSON.stringify(path.slice(0, -1))) ?? [];
    const groups = [...path.slice(0, -1).map((part) => [part]), own];
    const named = this.#namedAs(groups).filter(({ names }) => this.#isOwn(own, names));
    const candidates = [...beside.filter(({ names }) => names.some(({ name }) => own.includes(name))), ...named];
    let best: { weights: Scope; score: number } | undefined;
    for (const scope of candidates) {
      const weights = fitting(scope);
      const matches = groups.filter((group) => scope.names.some(({ name }) => group.includes(name)));
      const score = matches.length - scope.depth / 1000;
      if (weights !== undefined && (best === undefined || score > best.score)) best = { weights, score };
    }
    return best?.weights ?? whole;
  }

  /**
   * The scopes with one of the layer's own names, which are the last group. Of many, those with the rarer of its names,
   * or with a name of each group.
   */
  #namedAs(groups: readonly (readonly string[])[]): NamedScope[] {
    const withName = (name: string) => this.#byName.get(name) ?? [];
    const own = groups.at(-1)!.map(withName);
    const all = own.flat();
    if (all.length <= mostNamed) return all;
    const rarer = own.filter(({ length }) => length <= mostNamed).flat();
    if (rarer.length > 0) return rarer;
    const fewest = groups
      .map((group) => group.flatMap(withName))
      .reduce((one, other) => (other.length < one.length ? other : one));
    const hasAll = ({ names }: NamedScope) => groups.every((group) => names.some(({ name }) => group.includes(name)));
    return fewest.slice(0, mostNamed).filter(hasAll);
  }

  /** Weights that are numbered, by their names. A layer may be a part of the one in which they are numbered. */
  #named(weights: Scope, { weightNames }: NamedLayer): Scope | undefined {
    if (!this.#isNumbered) return weights;
    const numbered = [...weights].sort(([a], [b]) => Number(a) - Number(b));
    if (numbered.length !== weightNames.length) return undefined;
    return new Map(numbered.map(([, entry], index) => [weightNames[index]!, entry]));
  }

  /**
   * Whether no other layer is named before the layer's own name, or by a longer name at the same place. What is a part of
   * the name of a model around the layer names nothing else.
   */
  #isOwn(own: readonly string[], names: NamedScope['names']): boolean {
    const around = this.#around.get(own[0]!)!;
    const isOwnAt = ({ start, end }: NamedScope['names'][number]): boolean => {
      const models = names.filter((each) => around.has(each.name) && each.end <= start);
      return names.every((each) => {
        const isBefore = each.start < start || (each.start === start && each.end > end);
        if (!isBefore || around.has(each.name) || !this.#around.has(each.name)) return true;
        return models.some((model) => model.start <= each.start && each.end <= model.end);
      });
    };
    return names.some((each) => own.includes(each.name) && isOwnAt(each));
  }
}

const mostParts = 16;

/** Of more scopes with the name of a layer, not all are compared. */
const mostNamed = 128;

/** The names of layers among the parts of a weight's name. The name of a layer may itself have several parts. */
function namesIn(parts: readonly string[], known: ReadonlySet<string>, longest: number): NamedScope['names'] {
  // Longer names are those of no layer. They are not searched, which would take long.
  if (parts.length > mostParts) return [];
  return parts.flatMap((_, start) =>
    parts.slice(start, start + longest).flatMap((_, length) => {
      const end = start + length + 1;
      const name = parts.slice(start, end).join('/');
      return known.has(name) ? [{ name, start, end }] : [];
    }),
  );
}
