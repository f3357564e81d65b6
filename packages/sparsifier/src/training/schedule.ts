import { attempt, SparsifyError } from '../errors.js';
import { being, optionsOf, type Shape } from '../options/check.js';
import { handled } from '../options/listener.js';
import { unknownValue } from '../options/spelling.js';

/** When a schedule begins and ends, as shares of the training, 0 to 1. */
export interface ScheduleOptions {
  readonly start?: number;
  readonly end?: number;
}

/** The share of the final sparsity, 0 to 1, that is reached at a progress of training, 0 to 1. */
export interface Schedule {
  (progress: number): number;
  /** Its name here; `custom` for a caller's own function. */
  readonly scheduleName: string;
  readonly start: number;
  readonly end: number;
  /** The share over the progress, as the text of an SVG image. */
  plot(): Promise<string>;
}

/** How the share rises from start to end, and the default start and end. */
type Curve = readonly [rise: (position: number) => number, start: number, end: number];

/** Half a wave of a cosine, from 0 to 1. */
const wave = (position: number): number => (1 + Math.cos(Math.PI * (1 - position))) / 2;

/** The schedules of fasterai, with its formulas and its defaults. */
const shapes = {
  /** All at once. */
  oneShot: [() => 1, 0.5, 1],
  /** In three steps of the same size. */
  iterative: [(position) => Math.ceil(3 * position) / 3, 0.2, 1],
  /** Fast at first, then slower: `1 - (1 - p)^3` (automated gradual pruning, Zhu and Gupta 2017). */
  agp: [(position) => 1 - (1 - position) ** 3, 0.2, 1],
  /** `(1 + e^(6 - 14)) / (1 + e^(6 - 14 p))` (one-cycle pruning, Hubens et al. 2021); it begins at 0.0025. */
  oneCycle: [(position) => (1 + Math.exp(-14 + 6)) / (1 + Math.exp(-14 * position + 6)), 0, 1],
  /** `(1 + cos(pi (1 - p))) / 2` */
  cos: [wave, 0, 1],
  /** `p` */
  linear: [(position) => position, 0, 1],
  /** Up to all in the first half and down to nothing in the second: dense, sparse, dense (Han et al. 2017). */
  dsd: [(position) => (position < 0.5 ? wave(2 * position) : 1 - wave(2 * position - 1)), 0, 1],
} as const satisfies Record<string, Curve>;

export type ScheduleName = keyof typeof shapes;

/** fasterai's names. */
const aliases: Readonly<Record<string, ScheduleName>> = { one_shot: 'oneShot', one_cycle: 'oneCycle', lin: 'linear' };

/** The schedules by name: each function makes one from a start and an end. */
export const Schedule = Object.fromEntries(
  Object.entries(shapes).map(([name, shape]) => [name, (options: ScheduleOptions = {}) => made(name, shape, options)]),
) as Readonly<Record<ScheduleName, (options?: ScheduleOptions) => Schedule>>;

/** A name, a schedule, or a function from the progress of the training to the share, both 0 to 1. */
export type ScheduleLike = ScheduleName | Schedule | ((progress: number) => number);

/** @throws SparsifyError `usage` for an unknown name */
export function scheduleOf(schedule: ScheduleLike): Schedule {
  if (typeof schedule === 'function') {
    const isOurs = attempt('the schedule', () => 'scheduleName' in schedule);
    return isOurs ? (schedule as Schedule) : whole('custom', schedule, 0, 1);
  }
  if (typeof schedule === 'string') {
    const name = Object.hasOwn(aliases, schedule) ? aliases[schedule]! : schedule;
    if (Object.hasOwn(shapes, name)) return Schedule[name]();
  }
  throw unknownValue('usage', 'schedule', schedule, [...Object.keys(shapes), 'a function']);
}

const aNumber = being<number>('a number', (value) => typeof value === 'number');
const scheduleShape: Shape<ScheduleOptions> = { start: aNumber, end: aNumber };

function made(name: string, [rise, from, to]: Curve, options: ScheduleOptions): Schedule {
  const { start = from, end = to } = optionsOf(options, scheduleShape);
  if (!(start >= 0 && start <= end && end <= 1)) {
    throw new SparsifyError('usage', 'a schedule must begin and end between 0 and 1, in this order', {
      subject: name,
      given: `start ${start}, end ${end}`,
    });
  }
  const share = (progress: number) => {
    if (progress < start) return 0;
    return progress >= end ? rise(1) : rise((progress - start) / (end - start));
  };
  return whole(name, share, start, end);
}

/** @throws SparsifyError `usage` for a progress that is no number; what a function of the caller's throws */
function shareOf(share: (progress: number) => number, progress: number): number {
  if (typeof progress !== 'number' || Number.isNaN(progress)) {
    throw new SparsifyError('usage', 'the progress of the training is a number from 0 to 1', { given: progress });
  }
  const found = share(progress);
  handled(found);
  return found;
}

function whole(scheduleName: string, share: (progress: number) => number, start: number, end: number): Schedule {
  const plot = async () => {
    const points = Array.from({ length: 201 }, (_, step) => [step / 200, shareOf(share, step / 200)] as const);
    // Few draw, and what draws is as large as everything else here.
    const { linePlot } = await import('./plot.js');
    return linePlot({
      title: `schedule ${scheduleName}`,
      xLabel: 'progress of the training',
      yLabel: 'share of the sparsity',
      series: [{ name: scheduleName, points }],
    });
  };
  return Object.assign((progress: number) => shareOf(share, progress), { scheduleName, start, end, plot });
}
