import { printable, shortened } from '../printable.js';
import { loadEngine, type Engine } from '../engine/engine.js';
import { SparsifyError } from '../errors.js';
import { aBoolean, asGiven, aSignal, isListOf, optionsOf, without, type Shape } from '../options/check.js';
import { Listener, readable } from '../options/listener.js';
import { listeningShape, sparsifierShape, type SparsifierOptions } from '../options/options.js';
import { Planner } from '../pruning/plan.js';
import { someRules, type Rule } from '../options/rules.js';
import { Sparsifier } from '../pruning/sparsifier.js';
import { held } from '../model/kept.js';
import { inTurn } from '../model/turns.js';
import { largestOf } from '../model/numbers.js';
import { checkModel, typeOf, valuesIn, type Model, type WeightTensor } from '../model/model.js';

/**
 * Options of {@link sensitivity}, and those of the Sparsifier that prunes each layer. With `coupled`, groups of channels are
 * pruned one by one in place of layers, and results have their names.
 */
export interface SensitivityOptions extends Omit<
  SparsifierOptions,
  'context' | 'rankTogether' | 'budget' | 'restorable' | 'include' | 'layerType'
> {
  /** Percentages of units to remove, 0 to 100; 10, 20 and so on to 90 by default. */
  readonly levels?: readonly number[];
  /** Which layers, by rules as `include` takes them; by default all that can be pruned. */
  readonly layers?: Rule | readonly Rule[];
  /** Whether a larger result of `evaluate` is better, such as an accuracy; `false` for a loss. `true` by default. */
  readonly higherIsBetter?: boolean;
  /** Ends the analysis with the signal's reason; the model is then as it was before. */
  readonly signal?: AbortSignal;
  /** Called after each evaluation of the model with a sparse layer. */
  readonly onProgress?: (progress: SensitivityProgress) => void;
}

export interface SensitivityProgress {
  readonly layer: string;
  /** Percent of its units that were removed. */
  readonly level: number;
  /** Finished evaluations, including the one of the unchanged model, and how many there are. */
  readonly done: number;
  readonly total: number;
}

/** The result with one layer sparse. */
export interface SensitivityPoint {
  /** Percent of the layer's units that were removed. */
  readonly level: number;
  /** What `evaluate` returned. */
  readonly value: number;
  /** How much worse that is than the unchanged model. */
  readonly drop: number;
}

export interface LayerSensitivity {
  readonly name: string;
  /** In order of the levels. */
  readonly points: readonly SensitivityPoint[];
}

export interface Sensitivity {
  /** What `evaluate` returned for the unchanged model. */
  readonly baseline: number;
  /** In model order. */
  readonly layers: readonly LayerSensitivity[];
  /** The drops as text: a line for each layer, a column for each level. */
  table(): string;
  /** The drop of each layer over the levels, as the text of an SVG image. */
  plot(): Promise<string>;
  /** The drops as the text of an SVG image: a row for each layer, a column for each level, coloured by the drop. */
  heatMap(): Promise<string>;
  /**
   * For each layer, the highest sparsity at which pruning it alone is estimated to cost no more than `drop`:
   * interpolated linearly between levels, and never more than the highest level. For `sparsifyModel` of a local
   * Sparsifier. The drops of several layers add up, so the whole model loses more than `drop`.
   */
  toTargets(drop: number): Record<string, number>;
  /**
   * The same percentages, scaled by one factor from 0 to 1 so that the whole model, with all of these layers sparse,
   * loses no more than `drop`. The factor is found by bisection: the model is made sparse, evaluated, and restored
   * exactly, at most eight times. The largest factor that was measured to be within the drop is taken, 0 if there is
   * none.
   */
  toTargets(drop: number, options: WholeModelOptions): Promise<Record<string, number>>;
}

/** Options of {@link Sensitivity.toTargets} that measure the whole model. */
export interface WholeModelOptions {
  /** Returns the same measure of the model as it is then as `evaluate` of {@link sensitivity}. */
  readonly evaluate: () => number | Promise<number>;
  /** Ends the search with the signal's reason; the model is then as it was before. */
  readonly signal?: AbortSignal;
}

const usualLevels = [10, 20, 30, 40, 50, 60, 70, 80, 90];

/** How often the search for the targets of the whole model evaluates it at most. */
const evaluationsAtMost = 8;

const sensitivityShape: Shape<SensitivityOptions> = {
  levels: percentages,
  layers: someRules,
  higherIsBetter: aBoolean,
  ...listeningShape,
  ...without(sparsifierShape, 'context', 'rankTogether', 'budget', 'restorable', 'include', 'layerType'),
};

/** Sorted, each once. */
function percentages(value: unknown): readonly number[] {
  const isLevel = (level: unknown) => typeof level === 'number' && level >= 0 && level <= 100;
  if (!isListOf(value, isLevel) || (value as readonly number[]).length === 0) {
    throw new SparsifyError('sparsity', 'levels must be percentages from 0 to 100', { given: value });
  }
  return [...new Set(value as readonly number[])].sort((a, b) => a - b);
}

const wholeShape: Shape<WholeModelOptions> = { evaluate: asGiven, signal: aSignal };

/**
 * Measures how much each layer matters: makes it sparse by itself at each level, evaluates the model, and restores the
 * layer exactly (Li et al. 2017, section 3.2; fasterai's `SensitivityAnalyzer`). Between the evaluations it changes the
 * model, so no other call may: `evaluate` may read it.
 * @param evaluate returns a measure of the model as it is then, such as its accuracy
 * @throws SparsifyError `usage` or `sparsity` for unknown options or values, `criteria` if `evaluate` returns no
 *   number, and what `sparsifyLayer` throws; what `evaluate` throws. In any case the model is as it was before.
 */
export async function sensitivity(
  model: Model,
  evaluate: () => number | Promise<number>,
  options: SensitivityOptions = {},
): Promise<Sensitivity> {
  checkModel(model);
  const { levels = usualLevels, layers: rules, signal, onProgress, ...rest } = optionsOf(options, sensitivityShape);
  const { higherIsBetter = true, ...words } = rest;
  checkEvaluate(evaluate);
  const listener = new Listener(onProgress);
  /** Calls a Sparsifier without masks, which keeps nothing afterwards. */
  const fresh = async <Result>(call: (sparsifier: Sparsifier) => Promise<Result>): Promise<Result> => {
    const sparsifier = new Sparsifier(model, {
      ...words,
      context: 'local',
      layerType: 'all',
      ...(rules === undefined ? {} : { include: rules }),
    });
    try {
      return await call(sparsifier);
    } finally {
      sparsifier.clear();
    }
  };
  const { recipe } = new Planner(model, { ...words, context: 'local' });
  for (const state of ['initial', 'previous'] as const) {
    if (recipe.needs !== state || words[state]) continue;
    throw new SparsifyError('criteria', `the criterion compares weights with ${state} ones, which must be given`, {
      hint: `Set \`${state}\`: arrays by layer name, or another model`,
    });
  }
  const explained = await fresh((sparsifier) => sparsifier.explain());
  const pruned = explained.filter(({ selected }) => selected);
  const chosen = [...new Set(pruned.flatMap(({ name, groups = [name] }) => groups))];
  const total = 1 + chosen.length * levels.length;
  const dropOf = (value: number) => (higherIsBetter ? baseline - value : value - baseline);

  const engine = await loadEngine();
  const baseline = await measured('the unchanged model', evaluate, signal);
  let done = 1;
  const layers: LayerSensitivity[] = [];
  const named = new Map(model.tensors.map((tensor) => [tensor.name, tensor]));
  /** What changes with a layer: with its channels, layers that pass them on or read them. */
  const changedWith = (name: string): readonly WeightTensor[] => (words.coupled ? model.tensors : [named.get(name)!]);
  for (const name of chosen) {
    const points: SensitivityPoint[] = [];
    for (const level of levels) {
      const value = await restoring(engine, model, changedWith(name), async () => {
        await fresh((sparsifier) =>
          words.coupled
            ? sparsifier.sparsifyModel({ [name]: level }, { signal })
            : sparsifier.sparsifyLayer(name, level, { signal }),
        );
        return measured(name, evaluate, signal);
      });
      points.push({ level, value, drop: dropOf(value) });
      listener.tell({ layer: name, level, done: ++done, total });
    }
    layers.push({ name, points });
  }
  await listener.settle();
  return {
    baseline,
    layers,
    table: () => tableOf(baseline, levels, layers),
    plot: async () => {
      const { linePlot } = await import('../training/plot.js');
      return linePlot({
        title: 'sensitivity',
        xLabel: 'percent of the layer removed',
        yLabel: 'drop',
        series: layers.map(({ name, points }) => ({
          name,
          points: [[0, 0], ...points.map(({ level, drop }) => [level, drop] as const)],
        })),
      });
    },
    heatMap: async () => {
      const { heatMap } = await import('../training/heat-map.js');
      return heatMap({
        title: 'sensitivity',
        xLabel: 'of the layer removed',
        legend: `drop from ${cellOf(baseline)}`,
        columns: levels.map((level) => `${level} %`),
        rows: layers.map(({ name, points }) => ({ name, values: points.map(({ drop }) => drop) })),
      });
    },
    toTargets,
  };

  function toTargets(drop: number): Record<string, number>;
  function toTargets(drop: number, whole: WholeModelOptions): Promise<Record<string, number>>;
  function toTargets(drop: number, whole?: WholeModelOptions) {
    if (!(typeof drop === 'number' && drop >= 0)) {
      throw new SparsifyError('sparsity', 'a drop must be a number that is not negative', { given: drop });
    }
    const estimate = layers.map(({ name, points }) => [name, targetOf(points, drop)] as const);
    return whole === undefined ? Object.fromEntries(estimate) : scaledBack(estimate, drop, whole);
  }

  async function scaledBack(
    estimate: readonly (readonly [string, number])[],
    drop: number,
    whole: WholeModelOptions,
  ): Promise<Record<string, number>> {
    const { evaluate, signal } = optionsOf(whole, wholeShape);
    checkEvaluate(evaluate);
    const scaled = (factor: number) => new Map(estimate.map(([name, target]) => [name, down(factor * target)]));
    const tensors = [...new Set(chosen.flatMap(changedWith))];
    const isAnyPruned = estimate.some(([, target]) => target > 0);
    let [within, beyond] = isAnyPruned ? [0, 1] : [1, 1];
    for (let count = 0, factor = 1; count < evaluationsAtMost && within < 1; count++) {
      const value = await restoring(engine, model, tensors, async () => {
        await fresh((sparsifier) => sparsifier.sparsifyModel(scaled(factor), { signal }));
        return measured('the whole model', evaluate, signal);
      });
      if (dropOf(value) <= drop) within = factor;
      else beyond = factor;
      factor = (within + beyond) / 2;
    }
    return Object.fromEntries(scaled(within));
  }
}

function checkEvaluate(evaluate: unknown): void {
  if (typeof evaluate === 'function') return;
  throw new SparsifyError('usage', '`evaluate` is a function that returns a measure of the model', {
    found: typeOf(evaluate),
  });
}

/** @param subject what is measured, for the error */
async function measured(
  subject: string,
  evaluate: () => number | Promise<number>,
  signal: AbortSignal | undefined,
): Promise<number> {
  signal?.throwIfAborted();
  const value = await readable('`evaluate`', evaluate());
  if (typeof value === 'number' && Number.isFinite(value)) return value;
  throw new SparsifyError('criteria', 'evaluate must return one finite number', {
    subject,
    found: value ?? String(value),
  });
}

/** Restores these layers, and their partners, after a function has changed them. */
async function restoring<Result>(
  engine: Engine,
  model: Model,
  tensors: readonly WeightTensor[],
  change: () => Promise<Result>,
): Promise<Result> {
  const backs: (() => Promise<void>)[] = [];
  try {
    await inTurn(model, async () => {
      for (const values of tensors.flatMap(valuesIn)) backs.push(await held(engine, model, values));
    });
    return await change();
  } finally {
    await inTurn(model, async () => {
      for (const putBack of backs) await putBack();
    });
  }
}

/** Down to hundredths, so that a target stays below the limit. */
const down = (percent: number): number => Math.floor(100 * percent) / 100;

/** The level at which a line through the points, made monotonic, exceeds the drop. */
function targetOf(points: readonly SensitivityPoint[], limit: number): number {
  let [from, before] = [0, 0];
  for (const { level, drop } of points) {
    const now = Math.max(before, drop);
    if (now > limit) {
      const exact = from + ((level - from) * (limit - before)) / (now - before);
      return down(exact);
    }
    [from, before] = [level, now];
  }
  return from;
}

/** From small drops to the largest one. */
const shades = [' ', '\u2591', '\u2592', '\u2593', '\u2588'];

function tableOf(baseline: number, levels: readonly number[], layers: readonly LayerSensitivity[]): string {
  const most = largestOf(layers.flatMap(({ points }) => points.map(({ drop }) => drop)));
  const shadeOf = (drop: number) => shades[drop > 0 ? Math.round((drop / most) * (shades.length - 1)) : 0]!;
  const rows = [
    ['layer', ...levels.map((level) => `${level} %  `)],
    ...layers.map(({ name, points }) => [
      shortened(printable(name)),
      ...points.map(({ drop }) => `${cellOf(drop)} ${shadeOf(drop)}`),
    ]),
  ];
  const widths = rows[0]!.map((_, column) => largestOf(rows.map((row) => row[column]!.length)));
  const lines = rows.map((row) =>
    row
      .map((text, column) => (column === 0 ? text.padEnd(widths[0]!) : text.padStart(widths[column]!)))
      .join('  ')
      .trimEnd(),
  );
  return [`drop from ${cellOf(baseline)} when this share of a layer is removed`, ...lines].join('\n');
}

const cellOf = (value: number): string => String(Number(value.toPrecision(4)));
