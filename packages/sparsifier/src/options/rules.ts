import { SparsifyError } from '../errors.js';
import { isDepthwise } from '../model/channels.js';
import { kinds, type Kind, type Model, type WeightTensor } from '../model/model.js';
import type { Check, Shape } from './check.js';
import { defaults } from './defaults.js';
import { kindsMeantBy, Names, nearestGlobs } from './names.js';
import { asked, didYouMean, unknownValue } from './spelling.js';

/** Selects layers by what they are: of a kind, depthwise convolutions, or those of fewer weights than a number. */
export type PropertyRule = { readonly kind: Kind } | { readonly depthwise: true } | { readonly smallerThan: number };

/** Selects layers: by name or glob (`*`, `?`), by a regular expression that matches part of the name, or by what they are. */
export type Rule = string | RegExp | PropertyRule;

/** Which layers are pruned by a call on the whole model. */
export interface Rules {
  /** The kinds of layers; `conv2d` by default, all where `include` is given. */
  readonly layerType?: Kind | readonly Kind[] | 'all';
  /** Of these, only the layers that match one of the rules. The exact name of a table of fixed numbers includes it, too. */
  readonly include?: Rule | readonly Rule[];
  /** Of these, not the layers that match one of the rules. */
  readonly exclude?: Rule | readonly Rule[];
}

/**
 * What decides whether a layer is pruned: the option, and the part of its value that matches the layer. A regular
 * expression is given as its text.
 */
export type DecidingRule =
  | { readonly name: 'layerType'; readonly value: readonly (Kind | 'all')[] }
  /** For `include`, undefined where none of the rules matches. */
  | { readonly name: 'include' | 'exclude'; readonly value: string | PropertyRule | undefined }
  /**
   * `sparsity` has amounts for other layers only; `fixed` is a table of fixed numbers, which no rule includes by its
   * exact name; `skipped` is a tensor that cannot be pruned; with `coupled`, the channels of the layer have to stay, or
   * those of another layer that go with them do.
   */
  | { readonly name: 'sparsity' | 'fixed' | 'skipped' | 'coupled'; readonly value: undefined };

/** Whether a layer is pruned, and which rule says so, as data and as a sentence. */
export interface Decision {
  readonly selected: boolean;
  readonly rule: DecidingRule;
  readonly reason: string;
}

const listOf = <Item>(value: Item | readonly Item[] | undefined): readonly Item[] =>
  value === undefined ? [] : Array.isArray(value) ? (value as readonly Item[]) : [value as Item];

/** The kinds of layers that the rules allow. */
export function typesOf({ layerType, include }: Rules): readonly (Kind | 'all')[] {
  return listOf<Kind | 'all'>(layerType ?? (listOf(include).length > 0 ? 'all' : defaults.layerType));
}

/** One value or a list of them, each of which is checked. */
const oneOrSeveral =
  <Item>(check: (item: Item) => void): Check<never> =>
  (value) => {
    const items = listOf(value as Item | readonly Item[]);
    // By index, which also visits the holes of a list.
    for (let index = 0; index < items.length; index++) check(items[index]!);
    return [...items] as never;
  };

/** `usage` for a value that is not a rule, `kind` for an unknown kind. */
export const someRules: Check<readonly Rule[]> = oneOrSeveral(checkRule);

export const rulesShape: Shape<Rules> = {
  layerType: oneOrSeveral<Kind | 'all'>((kind) => kind === 'all' || checkKind(kind)),
  include: someRules,
  exclude: someRules,
};

/**
 * Decides for each tensor of the model whether it is pruned.
 * @param rules checked by {@link rulesShape}
 * @throws SparsifyError `layer` for a rule that matches no layer
 */
export function decisionsOf(rules: Rules, { tensors, skipped }: Pick<Model, 'tensors' | 'skipped'>): Decision[] {
  const include = listOf(rules.include);
  const exclude = listOf(rules.exclude);
  const types = typesOf(rules);
  const isOfType = ({ kind }: WeightTensor) => types.includes('all') || types.includes(kind);

  const all = [...tensors, ...skipped.map((tensor) => ({ ...tensor, aliases: [] }))];
  const names = new Names(all);
  /** The places of the layers that a rule matches, and after them those of skipped tensors. */
  const placesOf = (rule: Rule): readonly number[] => {
    if (typeof rule === 'string') return names.placesOf(rule);
    if (rule instanceof RegExp) {
      // A copy without the flags that make an expression keep its position between tests.
      const expression = new RegExp(rule.source, rule.flags.replace(/[gy]/g, ''));
      return names.placesWhere((name) => expression.test(name));
    }
    return tensors.flatMap((tensor, place) => (hasProperty(rule, tensor) ? [place] : []));
  };
  const whyNot = (rule: Rule, places: readonly number[]): string | undefined => {
    const layers = places.flatMap((place) => tensors[place] ?? []);
    const fixed = layers.find(isOfType);
    if (fixed) return `'${fixed.name}' is left alone, since ${fixed.fixed}. Its exact name includes it nevertheless`;
    if (layers.length > 0) return 'It matches layers that `layerType` excludes';
    const [found] = places.flatMap((place) => skipped[place - tensors.length] ?? []);
    return found ? `'${found.name}' cannot be pruned: ${found.reason}` : meant(rule, tensors);
  };
  /** By the places of layers, the first rule that includes or excludes each. */
  const [includedBy, excludedBy] = [new Map<number, Rule>(), new Map<number, Rule>()];
  for (const rule of include) {
    const places = placesOf(rule);
    /** Only its own name includes a table of fixed numbers. */
    const isNamed = typeof rule === 'string' && names.has(rule);
    const included = places.filter(
      (place) => place < tensors.length && (isNamed || tensors[place]!.fixed === undefined),
    );
    if (!included.some((place) => isOfType(tensors[place]!)))
      throw unmatched(rule, tensors.filter(isOfType), whyNot(rule, places));
    for (const place of included) if (!includedBy.has(place)) includedBy.set(place, rule);
  }
  for (const rule of exclude) {
    const places = placesOf(rule);
    if (!isCondition(rule) && places.length === 0) throw unmatched(rule, tensors, meant(rule, tensors));
    for (const place of places) if (!excludedBy.has(place)) excludedBy.set(place, rule);
  }

  return tensors.map((tensor, place): Decision => {
    const layerType = { name: 'layerType', value: types } as const;
    const inWordsOfType = types.includes('all') ? 'of any kind' : `of kind ${types.join(', ')}`;
    const including = includedBy.get(place);
    if (tensor.fixed !== undefined && including === undefined)
      return { selected: false, rule: { name: 'fixed', value: undefined }, reason: tensor.fixed };
    if (!isOfType(tensor)) {
      return { selected: false, rule: layerType, reason: `only ${types.join(' and ')} layers are pruned` };
    }
    const excluding = excludedBy.get(place);
    if (excluding !== undefined) {
      const rule = { name: 'exclude', value: asData(excluding) } as const;
      return { selected: false, rule, reason: `excluded by ${inWords(excluding)}` };
    }
    if (include.length === 0) return { selected: true, rule: layerType, reason: inWordsOfType };
    const rule = { name: 'include', value: including && asData(including) } as const;
    return including === undefined
      ? { selected: false, rule, reason: 'no include rule matches it' }
      : { selected: true, rule, reason: `included by ${inWords(including)}` };
  });
}

/** Whether a layer is what the rule says. */
function hasProperty(rule: PropertyRule, layer: WeightTensor): boolean {
  if ('kind' in rule) return layer.kind === rule.kind;
  return 'depthwise' in rule ? isDepthwise(layer) : layer.values.length < rule.smallerThan;
}

/** Whether a rule may match nothing in some models: it has no name that could be misspelt. */
const isCondition = (rule: Rule): boolean => typeof rule === 'object' && ('depthwise' in rule || 'smallerThan' in rule);

const properties: readonly string[] = ['kind', 'depthwise', 'smallerThan'];

/** @throws SparsifyError `usage` for a value that is not a rule, `kind` for an unknown kind */
function checkRule(rule: Rule): void {
  if (typeof rule === 'string' || rule instanceof RegExp) return;
  const [key, ...others] = Object.keys(rule ?? {});
  if (
    rule === null ||
    typeof rule !== 'object' ||
    key === undefined ||
    others.length > 0 ||
    !properties.includes(key)
  ) {
    throw new SparsifyError('usage', 'unknown form of rule', {
      given: rule,
      allowed: ['a name', 'a glob', 'a regular expression', ...properties.map((each) => `{ ${each} }`)],
      hint: key === undefined || Array.isArray(rule) ? undefined : didYouMean([key], properties),
    });
  }
  if ('kind' in rule) checkKind(rule.kind);
  else if ('depthwise' in rule && (rule.depthwise as unknown) !== true) {
    throw new SparsifyError('usage', 'a rule about depthwise convolutions is { depthwise: true }', {
      given: rule,
      hint: 'To leave them alone, `exclude` them',
    });
  } else if ('smallerThan' in rule && !(typeof rule.smallerThan === 'number' && rule.smallerThan > 0)) {
    throw new SparsifyError('usage', 'a rule about small layers has a number of weights above 0', { given: rule });
  }
}

const asData = (rule: Rule): string | PropertyRule => (rule instanceof RegExp ? String(rule) : rule);

function inWords(rule: Rule): string {
  if (typeof rule === 'string') return `'${rule}'`;
  if (rule instanceof RegExp) return String(rule);
  if ('kind' in rule) return `kind ${rule.kind}`;
  return 'depthwise' in rule ? 'depthwise' : `fewer than ${rule.smallerThan} weights`;
}

function checkKind(kind: Kind): void {
  if (kinds.includes(kind)) return;
  throw unknownValue('kind', 'kind of layer', kind, [...kinds, 'all'], { topic: 'kind' });
}

/** Asks for the kind, where the rule is what someone calls one, or for layers of similar names. */
function meant(rule: Rule, tensors: readonly WeightTensor[]): string | undefined {
  if (typeof rule !== 'string') return undefined;
  // As the command line writes rules.
  const [, key, value] = /^(kind|is|smaller):(\w+)$/.exec(rule) ?? [];
  if (key === 'kind') return asked([`\`{ kind: '${value}' }\``]);
  if (key === 'is') return asked(['`{ depthwise: true }`']);
  if (key === 'smaller') return asked([`\`{ smallerThan: ${value} }\``]);
  const ofKind = kindsMeantBy(rule).map((kind) => `\`{ kind: '${kind}' }\``);
  const byName = nearestGlobs(rule, tensors);
  return asked(ofKind.length > 0 ? [...byName.filter((glob) => glob.startsWith('*')), ...ofKind] : byName);
}

function unmatched(rule: Rule, candidates: readonly WeightTensor[], hint?: string): SparsifyError {
  return new SparsifyError('layer', 'the rule matches no layer', {
    given: inWords(rule),
    allowed: candidates.map(({ name }) => name),
    ...(hint === undefined ? {} : { hint }),
  });
}
