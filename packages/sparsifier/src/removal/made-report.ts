import type { RemovalFacts } from '../formats/removal.js';
import type { Sizes, SizesOptions } from '../formats/sizes.js';
import { sumOf } from '../model/numbers.js';
import { optionsOf } from '../options/check.js';
import { tableShape } from '../pruning/report.js';
import { bytesLine } from '../quantization/made-report.js';
import { compressedInWords, ruled, section } from '../pruning/table.js';
import { counted, formatted, listed, percent, percentOf } from '../pruning/text.js';
import { libraryWords, type Words } from '../pruning/warnings.js';
import type { PlannedOptions } from './options.js';
import type { RemovalPlan, RemovalReport, RemovalTableOptions } from './report.js';

/** Facts with the share of the parameters that can be touched. */
const withShare = ({ touchable, ...facts }: RemovalFacts) => ({
  ...facts,
  touchable: facts.parameters.before === 0 ? 0 : touchable / facts.parameters.before,
});

/** A plan whose own properties are plain data. */
class MadePlan implements RemovalPlan {
  readonly options: PlannedOptions;
  readonly groups: RemovalPlan['groups'];
  readonly blocked: RemovalPlan['blocked'];
  readonly parameters: RemovalPlan['parameters'];
  readonly touchable: number;
  readonly followed: RemovalPlan['followed'];
  readonly notes: readonly string[];

  constructor(facts: RemovalFacts, options: PlannedOptions) {
    this.options = options;
    ({
      groups: this.groups,
      blocked: this.blocked,
      parameters: this.parameters,
      touchable: this.touchable,
      followed: this.followed,
      notes: this.notes,
    } = withShare(facts));
  }

  table(options: RemovalTableOptions = {}): string {
    return planTable(this, { ...optionsOf(options, tableShape), words: libraryWords });
  }

  toString(): string {
    return this.table();
  }

  /** What `console.log` prints in Node. */
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return `RemovalPlan: ${totalsIn(this).join(', ')}; table() shows the groups`;
  }
}

export const planOf = (facts: RemovalFacts, options: PlannedOptions): RemovalPlan => new MadePlan(facts, options);

type Contents = RemovalFacts &
  Pick<
    RemovalReport,
    'indexMap' | 'folded' | 'carriers' | 'copies' | 'frozen' | 'subnormals' | 'verification' | 'bytes' | 'sizes'
  >;

/** A report whose own properties are plain data. */
class MadeRemovalReport implements RemovalReport {
  readonly groups: RemovalReport['groups'];
  readonly blocked: RemovalReport['blocked'];
  readonly parameters: RemovalReport['parameters'];
  readonly touchable: number;
  readonly followed: RemovalReport['followed'];
  readonly notes: readonly string[];
  readonly indexMap: RemovalReport['indexMap'];
  readonly folded: number;
  readonly carriers: number;
  readonly copies: number;
  readonly frozen: number;
  readonly subnormals: number;
  readonly verification: RemovalReport['verification'];
  readonly bytes: RemovalReport['bytes'];
  readonly #sizes: RemovalReport['sizes'];

  constructor(contents: Contents) {
    ({
      groups: this.groups,
      blocked: this.blocked,
      parameters: this.parameters,
      touchable: this.touchable,
      followed: this.followed,
    } = withShare(contents));
    this.notes = [...contents.notes, ...subnormalsIn(contents)];
    ({
      indexMap: this.indexMap,
      folded: this.folded,
      carriers: this.carriers,
      copies: this.copies,
      frozen: this.frozen,
      subnormals: this.subnormals,
      verification: this.verification,
      bytes: this.bytes,
      sizes: this.#sizes,
    } = contents);
  }

  sizes(options?: SizesOptions): Promise<Sizes> {
    return this.#sizes(options);
  }

  table(options: RemovalTableOptions = {}): string {
    return removalTable(this, { ...optionsOf(options, tableShape), words: libraryWords });
  }

  toString(): string {
    return this.table();
  }

  /** What `console.log` prints in Node. */
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return `RemovalReport: ${[...totalsIn(this), bytesLine(this.bytes)].join(', ')}; table() shows the groups`;
  }
}

export const removalReportOf = (contents: Contents): RemovalReport => new MadeRemovalReport(contents);

const subnormalsIn = ({ subnormals }: Pick<RemovalReport, 'subnormals'>): string[] =>
  subnormals === 0
    ? []
    : [
        `${counted(subnormals, 'weight')} ${subnormals === 1 ? 'is' : 'are'} not 0 but below the smallest normal float, with which ` +
          'many processors compute several times more slowly; `flushSubnormals` makes them 0',
      ];

/** How a plan or a report is printed. */
interface Printing extends RemovalTableOptions {
  readonly words: Words;
}

type Shown = Pick<RemovalPlan, 'groups' | 'blocked' | 'parameters' | 'touchable' | 'notes'>;

const countIn = (groups: RemovalPlan['groups'], key: 'channels' | 'dead' | 'exact' | 'kept'): number =>
  sumOf(groups.map((group) => group[key]));

/** All groups together. */
export function totalsIn({ groups, parameters: { before, after } }: Shown): string[] {
  const channels = countIn(groups, 'channels');
  return [
    `${formatted(channels - countIn(groups, 'kept'))} of ${counted(channels, 'channel')} in ${counted(groups.length, 'group')} go`,
    `${formatted(before)} -> ${formatted(after)} parameters (${percent(percentOf(after, before))})`,
  ];
}

/** A plan as text. */
export const planTable = (plan: RemovalPlan, printing: Printing): string =>
  [totalsIn(plan).join(', '), ...staying(plan, printing), ...section('notes', plan.notes)].join('\n');

/** A report as text. */
export function removalTable(report: RemovalReport, printing: Printing): string {
  const totals = [...totalsIn(report), bytesLine(report.bytes), ...compressedInWords(printing.sizes)];
  return [
    totals.join(', '),
    ...staying(report, printing),
    ...section('changed besides', changesIn(report)),
    ...section('notes', report.notes),
    ...section('verified', verificationIn(report)),
  ].join('\n');
}

/** The groups, and why channels stay. */
function staying(shown: Shown, { words, layers }: Printing): string[] {
  const { groups, blocked, touchable } = shown;
  const isEmpty = countIn(groups, 'kept') === countIn(groups, 'channels');
  return [
    ...groupLines(groups, words, layers),
    ...(isEmpty ? ['', `nothing goes: ${whyNothing(shown)}`] : []),
    ...section('dead channels that stay', deadIn(groups)),
    ...section(
      'channels that cannot go',
      blocked.map(({ by, layers, channels, dead, parameters }) => {
        const all = `${by} keeps ${counted(channels, 'channel')} of ${listed(layers)}`;
        return dead === 0 ? all : `${all}, of which ${formatted(dead)} with ${counted(parameters, 'weight')} are dead`;
      }),
    ),
    '',
    `${percent(100 * touchable)} of the parameters lie on channels that can go`,
  ];
}

/** What would have to be otherwise for a channel to go. */
function whyNothing({ groups, blocked }: Shown): string {
  const [first] = blocked;
  if (groups.length === 0 && first === undefined) return 'no layer has channels that can be followed';
  if (countIn(groups, 'exact') > 0) return 'rounding keeps all channels that could go';
  if (countIn(groups, 'dead') > 0) return 'the dead channels are needed for their constants, or are the last ones';
  if (first !== undefined && first.dead > 0) return `all dead channels reach ${first.by}, which keeps them`;
  return 'no channel is dead; prune whole filters of layers first, with those that are coupled to them';
}

function groupLines(groups: RemovalPlan['groups'], words: Words, isListed: boolean | undefined): string[] {
  if (isListed === false) return [];
  const shown = isListed ? groups : groups.filter(({ dead }) => dead > 0);
  const others = groups.filter((group) => !shown.includes(group));
  if (shown.length === 0)
    return groups.length === 0 ? [] : [`no group has dead channels; ${words.option('layers', true)} lists them`];
  const row = (name: string, layers: string, members: RemovalPlan['groups']) => [
    name,
    layers,
    ...(['channels', 'dead', 'exact', 'kept'] as const).map((key) => formatted(countIn(members, key))),
  ];
  const rows = [
    ['channels of', 'layers', 'channels', 'dead', 'exact', 'kept'],
    ...shown.map((group) => row(group.name, formatted(group.layers.length), [group])),
    ...(others.length === 0 ? [] : [row(counted(others.length, 'other group'), '', others)]),
  ];
  return ['', ...ruled(rows, { head: 1, body: shown.length, from: 1 })];
}

/** The reasons why dead channels stay, those of most channels first. */
function deadIn(groups: RemovalPlan['groups']): string[] {
  const found = new Map<string, { channels: number; names: string[] }>();
  for (const { name, reasons } of groups) {
    for (const { reason, channels } of reasons.filter(({ isDead }) => isDead)) {
      const known = found.get(reason) ?? { channels: 0, names: [] };
      known.channels += channels;
      known.names.push(name);
      found.set(reason, known);
    }
  }
  return [...found]
    .sort(([, one], [, other]) => other.channels - one.channels)
    .map(([reason, { channels, names }]) => `${counted(channels, 'channel')} of ${listed(names)}: ${reason}`);
}

function changesIn({ folded, carriers, copies, frozen }: RemovalReport): string[] {
  return [
    ...(folded > 0 ? [`biases of ${counted(folded, 'layer')} take what constant channels added`] : []),
    ...(carriers > 0 ? [`${counted(carriers, 'channel')} carry the constants of others`] : []),
    ...(copies > 0
      ? [`${formatted(copies)} ${copies === 1 ? 'copy' : 'copies'} of tensors that nodes had shared`]
      : []),
    ...(frozen > 0 ? [`${counted(frozen, 'computed shape')} became constant`] : []),
  ];
}

const verificationIn = ({ verification }: RemovalReport): string[] =>
  (verification?.outputs ?? []).map(
    ({ name, difference, limit }) =>
      `output ${name} differs by at most ${Number(difference.toPrecision(3))}; up to ${Number(limit.toPrecision(3))} is rounding`,
  );
