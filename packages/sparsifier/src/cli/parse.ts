import { InvalidArgumentError } from 'commander';
import type { LayerDescription, LayerDescriptions } from '../formats/safetensors/descriptions.js';
import { SparsifyError } from '../errors.js';
import { Criteria, needsOf, type CriteriaName } from '../options/criteria.js';
import { checkGranularity, granularityNames, type Granularity } from '../options/granularity.js';
import { didYouMean, withoutUnderscores } from '../options/spelling.js';
import type { Topic } from '../options/words.js';
import type { LimitOptions, PerLayer, Sparsity } from '../options/amounts.js';
import type { RankTogether } from '../options/rankings.js';
import type { Rule, Rules } from '../options/rules.js';
import { forms, type Form } from '../model/forms.js';
import { kinds, type Kind, type Role } from '../model/model.js';

export const whole = (text: string): number => {
  const number = Number(text);
  if (text.trim() === '' || !Number.isInteger(number)) throw new InvalidArgumentError('It must be a whole number.');
  return number;
};
export const above0 = (text: string): number => {
  const number = Number(text);
  if (text.trim() === '' || !(number > 0)) throw new InvalidArgumentError('It must be a number above 0.');
  return number;
};
export const notNegative = (text: string): number => {
  const number = Number(text);
  if (text.trim() === '' || !(number >= 0 && Number.isFinite(number)))
    throw new InvalidArgumentError('It must be a number that is not negative, such as 0.02.');
  return number;
};
export const share = (text: string): number => {
  const number = Number(text);
  if (text.trim() === '' || !(number >= 0 && number < 1))
    throw new InvalidArgumentError('It must be a number from 0 to less than 1, such as 0.25.');
  return number;
};
/** `10,50,90` */
export const percentages = (text: string): number[] =>
  text.split(',').map((word) => {
    const number = Number(word);
    if (word.trim() === '' || !(number >= 0 && number <= 100))
      throw new InvalidArgumentError('It must be percentages from 0 to 100, such as 30,50,70.');
    return number;
  });
export const collect = (text: string, before: string[] | undefined): string[] => [...(before ?? []), text];
export const nameOf = (text: string): string => {
  if (text === '') throw new InvalidArgumentError('It must be the name of a file.');
  return text;
};
export const kindsOf = (text: string): Kind[] | 'all' => {
  const words = text.split(',').map((word) => word.trim());
  if (words.includes('all')) return 'all';
  const unknown = words.find((word) => !kinds.some((kind) => kind === word));
  if (unknown === undefined) return words as Kind[];
  throw notAllowed(unknown, [...kinds, 'all'], 'kind');
};

/** A parser that accepts one of several names. @param topic what other words may mean */
export const oneOf =
  <Name extends string>(names: readonly Name[], topic?: Topic) =>
  (text: string): Name => {
    if (names.some((name) => name === text)) return text as Name;
    throw notAllowed(text, names, topic);
  };

/** A parser of comma-separated names. @param topic what other words may mean */
export const eachOf =
  <Name extends string>(names: readonly Name[], topic?: Topic) =>
  (text: string): Name[] => [...new Set(text.split(',').map((word) => oneOf(names, topic)(word.trim())))];

/** A parser of the name of a form that may be left out, so that what follows the option is taken for it. */
export const formAfter =
  (option: string, example: string) =>
  (text: string): Form => {
    if (forms.some((form) => form === text) || !/[./\\]/.test(text)) return oneOf(forms, 'form')(text);
    throw new InvalidArgumentError(`What follows ${option} is a form. Write the model first, such as: ${example}`);
  };

/** The criteria for which an option of the command provides all that they need. */
export const criteriaOfCommand: readonly CriteriaName[] = Object.values(Criteria).filter(
  (name) => needsStatistics(name) || [undefined, 'seed', 'initial'].includes(needsOf(name)),
);

/** Those that need no initial weights. */
export const criteriaOfChannels = criteriaOfCommand.filter((name) => needsOf(name) !== 'initial');

/** Whether a criterion needs statistics of the inputs of layers. */
export function needsStatistics(name: CriteriaName): boolean {
  return ['activations', 'statistics'].includes(needsOf(name) ?? '');
}

/** The name of a criterion that the command can use, or fasterai's name of it. */
export function criterionOf(text: string): CriteriaName {
  const name = withoutUnderscores(text) as CriteriaName;
  if (criteriaOfCommand.includes(name)) return name;
  if (!Object.hasOwn(Criteria, name)) throw notAllowed(text, criteriaOfCommand, 'criteria');
  const needs = needsOf(name) === 'gradient' ? 'gradients' : 'the weights of an earlier call';
  throw new InvalidArgumentError(
    `It needs ${needs}, which only the library can be given: see docs/criteria.md. Allowed choices are ${criteriaOfCommand.join(', ')}.`,
  );
}

function notAllowed(
  text: string,
  names: readonly string[],
  topic: Topic = 'option',
  choices = names.join(', '),
): InvalidArgumentError {
  const similar = didYouMean([text], names, topic);
  return new InvalidArgumentError(`Allowed choices are ${choices}.${similar ? ` ${similar}` : ''}`);
}

/** A name, `2:4`, `block:out=1,in=4` or `spanning:in,height`. */
export function granularityOf(text: string): Granularity {
  const [, n, m] = /^(\d+):(\d+)$/.exec(text) ?? [];
  const [, form, list = ''] = /^(block|spanning):(.*)$/.exec(text) ?? [];
  const words = list.split(',').map((word) => word.trim());
  try {
    if (n && m) return checkGranularity({ nm: [Number(n), Number(m)] });
    if (form === 'spanning') return checkGranularity({ spanning: words as never[] });
    if (form !== 'block') return checkGranularity(text);
    const sizes = words.map((word) => word.split('=').map((part) => part.trim()));
    return checkGranularity({ block: Object.fromEntries(sizes.map(([role, size]) => [role, Number(size || NaN)])) });
  } catch (error) {
    if (!(error instanceof SparsifyError)) throw error;
    const forms = 'n:m (2:4), block:out=1,in=4 and spanning:in,height';
    throw notAllowed(text, granularityNames, 'granularity', `${granularityNames.join(', ')}, ${forms}`);
  }
}

/** The rules of --include and --exclude. */
export const rulesOf = ({
  include,
  exclude,
}: {
  readonly include: readonly string[] | undefined;
  readonly exclude: readonly string[] | undefined;
}): Pick<Rules, 'include' | 'exclude'> => ({
  ...(include ? { include: include.map(ruleOf) } : {}),
  ...(exclude ? { exclude: exclude.map(ruleOf) } : {}),
});

export const limitsOf = ({
  minKeep,
  maxSparsity,
}: {
  readonly minKeep: readonly string[] | undefined;
  readonly maxSparsity: readonly string[] | undefined;
}): LimitOptions => ({
  ...(minKeep ? { minKeep: parseLimit(minKeep) } : {}),
  ...(maxSparsity ? { maxSparsity: parseLimit(maxSparsity) } : {}),
});

/** A name or glob, `kind:dense`, `is:depthwise`, `smaller:1000`, or an expression after `re:`. */
function ruleOf(text: string): Rule {
  const [, form, value = ''] = /^(kind|is|smaller|re):(.*)$/s.exec(text) ?? [];
  if (form === undefined) return text;
  if (form === 'kind') return { kind: value as Kind };
  if (form === 'is') {
    if (value === 'depthwise') return { depthwise: true };
    throw wrongRule(text, 'is:depthwise', didYouMean([text], ['is:depthwise']));
  }
  if (form === 'smaller') {
    const weights = Number(value || NaN);
    if (weights > 0) return { smallerThan: weights };
    throw wrongRule(text, 'smaller: and a number of weights, such as smaller:1000');
  }
  try {
    return new RegExp(value, 'u');
  } catch (cause) {
    throw new SparsifyError('usage', 'not a regular expression', { given: text }, { cause });
  }
}

const wrongRule = (given: string, allowed: string, similar?: string): SparsifyError =>
  new SparsifyError('usage', 'unknown form of rule', {
    given,
    allowed: [allowed],
    ...(similar ? { hint: similar } : {}),
  });

/** `encoder=block1*,block2*`, any number of times, split at the first `=`. */
export function parseRankings(texts: readonly string[]): RankTogether {
  // A Map, in which a ranking may be called `__proto__`.
  const rankings = new Map<string, string[]>();
  for (const text of texts) {
    const at = text.indexOf('=');
    if (at <= 0)
      throw new SparsifyError('usage', 'layers to rank together are written name=glob,glob', {
        given: text || 'nothing',
      });
    const name = text.slice(0, at);
    rankings.set(name, [...(rankings.get(name) ?? []), ...text.slice(at + 1).split(',')]);
  }
  return Object.fromEntries(rankings);
}

/** `name-or-glob=dense:in,out`, `=conv2d/32` or `=none`, any number of times, split at the last `=`. */
export function parseLayers(texts: readonly string[]): LayerDescriptions {
  const layers = new Map<string, LayerDescription | false>();
  for (const text of texts) {
    const at = text.lastIndexOf('=');
    const [, kind, roles, groups] = /^(\w+)(?::(\w+(?:,\w+)*))?(?:\/(\d+))?$/.exec(text.slice(at + 1)) ?? [];
    const isNone = kind === 'none';
    if (at <= 0 || kind === undefined || (isNone && (roles ?? groups) !== undefined)) {
      throw new SparsifyError('usage', 'a layer is written name=kind, name=kind:roles, name=kind/groups or name=none', {
        given: text || 'nothing',
        hint: "Such as '*.c_attn=dense:in,out' or conv1=conv2d/32",
      });
    }
    const name = text.slice(0, at);
    if (layers.has(name)) throw new SparsifyError('usage', 'the same layer is described twice', { subject: name });
    layers.set(
      name,
      !isNone && {
        kind: kind as Kind,
        ...(roles ? { roles: roles.split(',') as Role[] } : {}),
        ...(groups ? { groups: Number(groups) } : {}),
      },
    );
  }
  return Object.fromEntries(layers);
}

/** The error for a command that writes a model, without a path to write it to. @param example what to write */
export const outMissing = (example: string): SparsifyError =>
  new SparsifyError('usage', '-o, --out <file> must be given', { hint: `Such as: ${example}` });

/** `50`, `0,50,50,0`, or any number of `name-or-glob=60`, split at the last `=`. */
export function parseSparsity(texts: readonly string[]): Sparsity {
  const [only = ''] = texts;
  // A Map, in which a layer may be called `keep`.
  if (texts.length > 1 || only.includes('=')) return parsePerLayer(texts);
  const amounts = only
    .split(',')
    .map((text) => numberOf(text, 'Write a percentage such as 50, one per layer as in 0,50,50,0, or name=50'));
  return amounts.length === 1 ? amounts[0]! : amounts;
}

function parseLimit(texts: readonly string[]): PerLayer {
  const [only = ''] = texts;
  if (texts.length > 1 || only.includes('=')) return Object.fromEntries(parsePerLayer(texts));
  return numberOf(only, 'Write one number for all layers, or name=8');
}

function parsePerLayer(texts: readonly string[]): Map<string, number> {
  const values = new Map<string, number>();
  for (const text of texts) {
    const at = text.lastIndexOf('=');
    if (at <= 0) {
      throw new SparsifyError('usage', 'a value for one layer is written name=50', {
        given: text || 'nothing',
        hint: "Write '*=50' for all other layers",
      });
    }
    const name = text.slice(0, at);
    const value = numberOf(text.slice(at + 1), 'Write name=50');
    if ((values.get(name) ?? value) !== value) {
      throw new SparsifyError('usage', 'the same layer has two values', {
        subject: name,
        given: `${values.get(name)} and ${value}`,
        hint: 'Write one',
      });
    }
    values.set(name, value);
  }
  return values;
}

function numberOf(text: string, hint: string): number {
  const number = Number(text);
  if (text.trim() !== '' && !Number.isNaN(number)) return number;
  throw new SparsifyError('usage', 'not a number', { given: text.trim() || 'nothing', hint });
}
