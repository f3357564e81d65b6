import { SparsifyError } from '../errors.js';
import { kinds, type Kind, type Model, type WeightTensor } from '../model/model.js';
import { defaults } from './defaults.js';
import { matcherOf, type Named } from './names.js';
import { unknownValue } from './spelling.js';

/** Selects layers: by name or glob (`*`, `?`), by a regular expression that matches part of the name, or by kind. */
export type Rule = string | RegExp | { readonly kind: Kind };

/** Which layers are pruned by a call on the whole model. */
export interface Rules {
  /** The kinds of layers; `conv2d` by default, all where `include` is given. */
  readonly layerType?: Kind | readonly Kind[] | 'all';
  /** Of these, only the layers that match one of the rules. */
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
  | { readonly name: 'include' | 'exclude'; readonly value: string | { readonly kind: Kind } | undefined }
  /** `sparsity` has amounts for other layers only; `skipped` is a tensor that cannot be pruned. */
  | { readonly name: 'sparsity' | 'skipped'; readonly value: undefined };

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

/**
 * Decides for each tensor of the model whether it is pruned.
 * @throws SparsifyError `kind` for an unknown kind, `usage` for a value that is not a rule, `layer` for a rule that
 *   matches no layer
 */
export function decisionsOf(rules: Rules, { tensors, skipped }: Pick<Model, 'tensors' | 'skipped'>): Decision[] {
  const include = listOf(rules.include);
  const exclude = listOf(rules.exclude);
  const types = typesOf(rules);
  for (const type of types) if (type !== 'all') checkKind(type);
  const isOfType = ({ kind }: WeightTensor) => types.includes('all') || types.includes(kind);

  const everything = [...tensors, ...skipped.map(({ name }) => ({ name, aliases: [], kind: undefined }))];
  const names = new Set(everything.flatMap(({ name, aliases }) => [name, ...aliases]));
  const matches = (rule: Rule, layer: Candidate) => isMatch(rule, layer, names);
  const typed = tensors.filter(isOfType);
  const whyNot = (rule: Rule): string | undefined => {
    if (tensors.some((tensor) => matches(rule, tensor))) return 'It matches layers that layerType excludes';
    const found = skipped.find(({ name }) => matches(rule, { name, aliases: [], kind: undefined }));
    return found && `'${found.name}' cannot be pruned: ${found.reason}`;
  };
  for (const rule of include) {
    if (!typed.some((tensor) => matches(rule, tensor))) throw unmatched(rule, typed, whyNot(rule));
  }
  for (const rule of exclude) if (!everything.some((layer) => matches(rule, layer))) throw unmatched(rule, tensors);

  return tensors.map((tensor): Decision => {
    const layerType = { name: 'layerType', value: types } as const;
    const inType = `layerType ${types.join(', ')}`;
    if (!isOfType(tensor)) return { selected: false, rule: layerType, reason: `${inType} excludes ${tensor.kind}` };
    const excluding = exclude.find((rule) => matches(rule, tensor));
    if (excluding !== undefined) {
      const rule = { name: 'exclude', value: asData(excluding) } as const;
      return { selected: false, rule, reason: `excluded by ${inWords(excluding)}` };
    }
    if (include.length === 0) return { selected: true, rule: layerType, reason: inType };
    const including = include.find((rule) => matches(rule, tensor));
    const rule = { name: 'include', value: including && asData(including) } as const;
    return including === undefined
      ? { selected: false, rule, reason: 'no include rule matches it' }
      : { selected: true, rule, reason: `included by ${inWords(including)}` };
  });
}

interface Candidate extends Named {
  readonly kind: Kind | undefined;
}

/** @param names those of all layers: a rule that equals one of them is that name, not a glob */
function isMatch(rule: Rule, { name, aliases, kind }: Candidate, names: ReadonlySet<string>): boolean {
  const own = [name, ...aliases];
  if (typeof rule === 'string') return names.has(rule) ? own.includes(rule) : own.some(matcherOf(rule));
  // A copy without the flags that make an expression keep its position between tests.
  if (rule instanceof RegExp) {
    const expression = new RegExp(rule.source, rule.flags.replace(/[gy]/g, ''));
    return own.some((each) => expression.test(each));
  }
  if (rule && typeof rule === 'object' && Object.keys(rule).join() === 'kind') {
    checkKind(rule.kind);
    return rule.kind === kind;
  }
  throw new SparsifyError('usage', 'a rule is a name, a glob, a regular expression or { kind }', { given: rule });
}

const asData = (rule: Rule): string | { readonly kind: Kind } => (rule instanceof RegExp ? String(rule) : rule);

function inWords(rule: Rule): string {
  if (typeof rule === 'string') return `'${rule}'`;
  return rule instanceof RegExp ? String(rule) : `kind ${rule.kind}`;
}

function checkKind(kind: Kind): void {
  if (kinds.includes(kind)) return;
  throw unknownValue('kind', 'kind of layer', kind, [...kinds, 'all']);
}

function unmatched(rule: Rule, candidates: readonly WeightTensor[], hint?: string): SparsifyError {
  return new SparsifyError('layer', 'the rule matches no layer', {
    given: inWords(rule),
    allowed: candidates.map(({ name }) => name),
    ...(hint === undefined ? {} : { hint }),
  });
}
