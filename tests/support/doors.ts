// Each function and method of the package, with arguments that it takes.
import * as main from 'sparsifier';
import {
  Sparsifier,
  type CallOptions,
  type LoadEngineOptions,
  type RepairOptions,
  type SparsifierOptions,
} from 'sparsifier';
import * as calibration from 'sparsifier/calibration';
import type {
  CalibrateOptions,
  CalibrateTfjsOptions,
  Statistics,
  WriteStatisticsOptions,
} from 'sparsifier/calibration';
import * as comparing from 'sparsifier/compare';
import type { ComparedSizesOptions, CompareOptions } from 'sparsifier/compare';
import * as file from 'sparsifier/file';
import type { SparsifyFileOptions } from 'sparsifier/file';
import * as fitting from 'sparsifier/fit';
import type { FitOptions, RepeatOptions } from 'sparsifier/fit';
import * as formats from 'sparsifier/formats';
import type { FileModel, ReadModelOptions, ReadOptions, SizesOptions } from 'sparsifier/formats';
import * as arrays from 'sparsifier/formats/arrays';
import * as onnx from 'sparsifier/formats/onnx';
import type { ReadOnnxOptions } from 'sparsifier/formats/onnx';
import * as safetensors from 'sparsifier/formats/safetensors';
import type { ReadSafetensorsOptions } from 'sparsifier/formats/safetensors';
import * as tfjs from 'sparsifier/formats/tfjs';
import type { ReadTfjsOptions } from 'sparsifier/formats/tfjs';
import * as quantizing from 'sparsifier/quantize';
import type { DequantizeOptions, QuantizeOptions } from 'sparsifier/quantize';
import * as removing from 'sparsifier/removal';
import * as reporting from 'sparsifier/report';
import type { ReportPageOptions } from 'sparsifier/report';
import type { PlanRemovalOptions, RemoveChannelsOptions, RemoveLiveOptions, VerifyOptions } from 'sparsifier/removal';
import * as analysis from 'sparsifier/sensitivity';
import type { SensitivityOptions, WholeModelOptions } from 'sparsifier/sensitivity';
import * as training from 'sparsifier/training';
import type { ScheduleOptions, SparsifyCallbackOptions } from 'sparsifier/training';
import { checkpoint, inputs, layers, live, network, sessions, weightless, type Objects } from './objects.js';
import { keeping } from './streams.js';
import { textOf, tf } from './tfjs.js';

/** What a function takes. */
export interface Door {
  /** @param args as {@link args} gives them, one of which may be odd */
  call(...args: never[]): unknown;
  /** Valid ones, made anew. */
  args(): readonly unknown[];
  /** The place of the options among them, and what can be in them. */
  readonly options?: { readonly at: number; readonly names: readonly string[] };
}

/** The names of all options: it does not compile where one is missing. */
const namesOf = <Options>(names: Record<keyof Options & string, boolean>): string[] => Object.keys(names);

const listening = { signal: true, onProgress: true } as const;
const anyFile = { limits: true, signal: true, followLinks: true } as const;
const reading = { external: true, layers: true, shards: true, keepScale: true, ...anyFile } as const;
const measuring = { holdOut: true, memory: true, ...listening } as const;
const sparsifier = {
  ...{ granularity: true, coupled: true, context: true, criteria: true, layerType: true, include: true, exclude: true },
  ...{ rankTogether: true, budget: true, seed: true, reducer: true, normalizer: true },
  ...{ allowEmpty: true, minKeep: true, maxSparsity: true },
  ...{ initial: true, previous: true, gradient: true, activations: true, statistics: true, restorable: true },
} as const;
const { restorable: _, ...unrestorable } = sparsifier;
const { initial: _i, previous: _p, ...trained } = unrestorable;
const { context: _c, rankTogether: _r, budget: _b, include: _n, layerType: _l, ...analysing } = unrestorable;
const calling = namesOf<CallOptions>({ roundTo: true, ...listening });
const forced = namesOf<WriteStatisticsOptions>({ force: true });
const table = ['layers', 'sizes'];

const bound =
  (object: object, name: string) =>
  (...args: never[]) =>
    (object as Record<string, (...args: never[]) => unknown>)[name]!(...args);

type Args = () => readonly unknown[];

/** Methods of an object: for each the arguments, and the names of the options, which come last. */
const methods = (
  type: string,
  object: object,
  all: Readonly<Record<string, readonly [args: Args, names?: readonly string[]]>>,
): Record<string, Door> =>
  Object.fromEntries(
    Object.entries(all).map(([name, [args, names]]) => [
      `${type}.${name}`,
      { call: bound(object, name), args, ...(names && { options: { at: args().length - 1, names } }) },
    ]),
  );

const door = (
  call: (...args: never[]) => unknown,
  args: () => readonly unknown[],
  names?: readonly string[],
): Door => ({ call, args, ...(names && { options: { at: args().length - 1, names } }) });

const none = (): readonly unknown[] => [];

/** All of them, by their names. */
export function doorsOf(objects: Objects): Record<string, Door> {
  const { read, dense, statistics, quantized, pruned, report, engine, block, array, analysed } = objects;
  const { dequantized, comparison, repaired, liveModel, schedule, callback } = objects;
  const { removalPlan, removed, fitted, refitted, out, masks, statisticsFile, tfjsFiles } = objects;
  const values = read.tensors[0]!.values;
  return {
    'index.loadEngine': door(
      main.loadEngine,
      () => [{}],
      namesOf<LoadEngineOptions>({ threads: true, wasm: true, thread: true }),
    ),
    'index.inspect': door(main.inspect, () => [array]),
    'index.Granularity.spanning': door(main.Granularity.spanning, () => ['in']),
    'index.Granularity.block': door(main.Granularity.block, () => [{ in: 2 }]),
    'index.Granularity.nm': door(main.Granularity.nm, () => [2, 4]),
    'index.Sparsifier': door(
      (given: never, options: never) => new Sparsifier(given, options),
      () => [array, { layerType: 'all' }],
      namesOf<SparsifierOptions>(sparsifier),
    ),
    ...methods('Sparsifier', pruned, {
      apply: [() => [{}], namesOf<Omit<CallOptions, 'roundTo'>>(listening)],
      explain: [() => [50, {}], calling],
      loadMasks: [() => [masks, {}], namesOf<ReadOptions>(anyFile)],
      mask: [() => ['conv']],
      masks: [() => []],
      pruneModel: [() => [50, {}], calling],
      repair: [
        () => [{}],
        namesOf<RepairOptions>({
          ...{
            method: true,
            steps: true,
            ridge: true,
            addBias: true,
            inputs: true,
            createSession: true,
            batches: true,
          },
          ...measuring,
        }),
      ],
      rewindPoint: [() => []],
      saveMasks: [() => [keeping().stream, {}], forced],
      sparsifyLayer: [() => ['conv', 50, {}], calling],
      sparsifyModel: [() => [50, {}], calling],
    }),
    'Sparsifier.clear': door(() => new Sparsifier(array).clear(), none),
    'Sparsifier.restore': door(
      async (options: never) => {
        const own = new Sparsifier(array, { layerType: 'all', restorable: true });
        await own.sparsifyModel(10);
        return own.restore(options);
      },
      () => [{}],
      namesOf<Omit<CallOptions, 'roundTo'>>(listening),
    ),
    ...methods('Report', report, {
      sizes: [() => [{}], namesOf<SizesOptions>({ layers: true, ...listening })],
      table: [() => [{}], table],
      toString: [none] as [Args],
    }),
    ...methods('RepairReport', repaired, {
      sizes: [() => [{}], namesOf<SizesOptions>({ layers: true, ...listening })],
      table: [() => []],
      toString: [none] as [Args],
    }),
    ...methods('Engine', engine, { allocate: [() => [8]] }),
    ...methods('Block', block, {
      read: [() => [0, new Uint8Array(8)]],
      retain: [() => []],
      view: [() => [0, 8]],
      write: [() => [new Uint8Array(8), 0]],
    }),
    'Block.free': door(async () => (await engine.allocate(8)).free(), none),
    'file.sparsifyFile': door(
      file.sparsifyFile,
      () => [checkpoint, keeping().stream, { layerType: 'all', sparsity: 50 }],
      namesOf<SparsifyFileOptions>({
        ...{ ...unrestorable, sparsity: true, force: true, roundTo: true },
        ...{ ...listening, ...reading },
      }),
    ),
    ...Object.fromEntries(
      Object.entries(training.Schedule).map(([name, make]) => [
        `training.Schedule.${name}`,
        door(make, () => [{}], namesOf<ScheduleOptions>({ start: true, end: true })),
      ]),
    ),
    'Schedule()': door(schedule, () => [0.5]),
    'Schedule.plot': door(schedule.plot, none),
    'SparsifyCallback.schedule': door(callback.schedule, () => [0.5]),
    'training.sparsifyCallback': door(
      training.sparsifyCallback as never,
      () => [tf, { sparsity: 50, layerType: 'all' }],
      namesOf<SparsifyCallbackOptions>({
        ...{
          ...trained,
          sparsity: true,
          schedule: true,
          roundTo: true,
          lottery: true,
          rewindEpoch: true,
          resetEnd: true,
        },
        ...{ saveTickets: true, every: true, steps: true, epochs: true },
      }),
    ),
    ...methods('SparsifyCallback', callback, {
      begin: [() => [live]],
      step: [() => []],
      plot: [() => []],
      end: [() => []],
    }),
    'sensitivity.sensitivity': door(
      analysis.sensitivity,
      () => [array, () => 1, { levels: [50] }],
      namesOf<SensitivityOptions>({
        ...{ ...analysing, levels: true, layers: true, higherIsBetter: true },
        ...listening,
      }),
    ),
    ...methods('Sensitivity', analysed, {
      heatMap: [() => []],
      plot: [() => []],
      table: [() => []],
      toTargets: [() => [0.5, { evaluate: () => 1 }], namesOf<WholeModelOptions>({ evaluate: true, signal: true })],
    }),
    'compare.compare': door(
      comparing.compare,
      () => [read, read, {}],
      namesOf<CompareOptions>({ createSession: true, inputs: true, shapes: true }),
    ),
    'compare.sessionsOfTfjs': door(
      (own: never, bytes: never) => comparing.sessionsOfTfjs(own)(bytes, { externalData: [] }),
      () => [tf, textOf({ modelTopology: weightless.toJSON(null, false), weightsManifest: [] })],
    ),
    ...methods('Comparison', comparison, {
      sizes: [() => [{}], namesOf<ComparedSizesOptions>({ layers: true, ...listening })],
    }),
    'calibration.recalibrateBatchNorm': door(calibration.recalibrateBatchNorm, () => [tf, live, inputs]),
    'calibration.gradientsOfTfjs': door(calibration.gradientsOfTfjs, () => [
      tf,
      live,
      inputs(),
      (x: never) => tf.mean(live.apply(x) as never),
    ]),
    'calibration.calibrate': door(
      calibration.calibrate as never,
      () => [read, sessions],
      namesOf<CalibrateOptions<never>>({ createSession: true, batches: true, ...measuring }),
    ),
    'calibration.calibrateTfjs': door(
      calibration.calibrateTfjs as never,
      () => [tf, live, { batches: inputs }],
      namesOf<CalibrateTfjsOptions>({ batches: true, ...measuring }),
    ),
    'calibration.readStatistics': door(
      calibration.readStatistics,
      () => [statisticsFile, {}],
      namesOf<ReadOptions>(anyFile),
    ),
    'calibration.Statistics': door(
      (...args: never[]) => new calibration.Statistics(...(args as unknown as [Statistics['layers']])),
      () => [statistics.layers, [], []],
    ),
    ...methods('Statistics', statistics, {
      bytes: [() => []],
      check: [() => [dense]],
      merge: [() => [statistics]],
      write: [() => [keeping().stream, {}], forced],
    }),
    'fit.fit': door(
      fitting.fit,
      () => [read, { target: 5000, allow: ['quantize'] }],
      namesOf<FitOptions>({
        ...{ target: true, encoding: true, maxDrop: true, evaluate: true, higherIsBetter: true },
        ...{ statistics: true, data: true, allow: true, inputShapes: true, rules: true, ...listening },
      }),
    ),
    'data of fit': door(
      (data: never) => fitting.fit(read, { target: 5000, allow: ['quantize'], data }),
      () => [sessions],
      ['createSession', 'batches', 'holdOut', 'memory'],
    ),
    'fit.readRecipe': door(
      fitting.readRecipe,
      () => [new TextEncoder().encode(JSON.stringify(fitted.recipe)), {}],
      namesOf<ReadOptions>(anyFile),
    ),
    'fit.repeat': door(
      fitting.repeat,
      () => [dense, fitted.recipe, {}],
      namesOf<RepeatOptions>({ statistics: true, data: true, signal: true }),
    ),
    'data of repeat': door(
      (data: never) => fitting.repeat(dense, fitted.recipe, { data }),
      () => [sessions],
      ['createSession', 'batches'],
    ),
    ...methods('RepeatReport', refitted.report, { table: [() => []], toString: [none] as [Args] }),
    ...methods('FitReport', fitted.report, { table: [() => []], toString: [none] as [Args] }),
    'quantize.quantize': door(
      quantizing.quantize,
      () => [read, { weights: 'float16' }],
      namesOf<QuantizeOptions>({ weights: true, rules: true, statistics: true, others: true, ...listening }),
    ),
    'quantize.dequantize': door(
      quantizing.dequantize,
      () => [quantized.model, {}],
      namesOf<DequantizeOptions>({ signal: true }),
    ),
    ...methods('QuantizeReport', quantized.report, {
      sizes: [() => [{}], namesOf<SizesOptions>({ layers: true, ...listening })],
      table: [() => [{}], table],
      toString: [none] as [Args],
    }),
    ...methods('DequantizeReport', dequantized.report, { table: [() => []], toString: [none] as [Args] }),
    'removal.planRemoval': door(
      removing.planRemoval,
      () => [read, {}],
      namesOf<PlanRemovalOptions>({ inputShapes: true, protect: true, roundTo: true, ...listening }),
    ),
    'removal.removeChannels': door(
      removing.removeChannels,
      () => [read, removalPlan, {}],
      namesOf<RemoveChannelsOptions>({ verify: true, flushSubnormals: true, ...listening }),
    ),
    'removal.removeLiveChannels': door(
      removing.removeLiveChannels,
      () => [tf, live, {}],
      namesOf<RemoveLiveOptions>({
        ...{ inputShapes: true, protect: true, roundTo: true, flushSubnormals: true, verify: true },
        ...listening,
      }),
    ),
    'verify of removeChannels': door(
      (verify: never) => removing.removeChannels(read, removalPlan, { verify }),
      () => [{ createSession: sessions.createSession }],
      namesOf<VerifyOptions>({ createSession: true, inputs: true, shapes: true }),
    ),
    ...methods('RemovalPlan', removalPlan, { table: [() => [{}], table], toString: [none] as [Args] }),
    ...methods('RemovalReport', removed.report, {
      sizes: [() => [{}], namesOf<SizesOptions>({ layers: true, ...listening })],
      table: [() => [{}], table],
      toString: [none] as [Args],
    }),
    'report.reportPage': door(
      reporting.reportPage,
      () => [report, { before: dense, after: read }],
      namesOf<ReportPageOptions>({ title: true, before: true, after: true, sizes: true, signal: true }),
    ),
    'formats.readModel': door(formats.readModel, () => [network, {}], namesOf<ReadModelOptions>(reading)),
    'formats.sizesOf': door(formats.sizesOf, () => [read, {}], namesOf<SizesOptions>({ layers: true, ...listening })),
    'formats/onnx.readOnnx': door(
      onnx.readOnnx,
      () => [network, {}],
      namesOf<ReadOnnxOptions>({ external: true, ...anyFile }),
    ),
    'formats/safetensors.readSafetensors': door(
      safetensors.readSafetensors,
      () => [checkpoint, {}],
      namesOf<ReadSafetensorsOptions>({ layers: true, shards: true, ...anyFile }),
    ),
    'formats/tfjs.readTfjs': door(
      tfjs.readTfjs,
      () => [tfjsFiles.json, { shards: tfjsFiles.shards }],
      namesOf<ReadTfjsOptions>({ shards: true, keepScale: true, ...anyFile }),
    ),
    'formats/tfjs.fromTfjs': door(tfjs.fromTfjs, () => [tf, live]),
    'formats/arrays.fromArrays': door(arrays.fromArrays, () => [layers()], ['conv']),
    'ArrayLayer of fromArrays': door(
      (layer: never) => arrays.fromArrays({ conv: layer }),
      () => [layers().conv],
      ['kind', 'roles', 'shape', 'data', 'dtype', 'groups', 'bias', 'batchNorm'],
    ),
    ...modelMethods('FileModel', read, values),
    ...methods('FileModel', read, {
      addBias: [() => [read.tensors[1]]],
      bytes: [() => []],
      hold: [() => [values]],
      outputs: [() => [out]],
      toFiles: [() => []],
      write: [() => [out, { force: true }], forced],
    }),
    'FileModel.close': door(async () => (await formats.readModel(network)).close(), none),
    ...modelMethods('Model of fromArrays', array, array.tensors[0]!.values),
    ...modelMethods('LiveModel', liveModel, liveModel.tensors[0]!.values),
    ...methods('LiveModel', liveModel, {
      keep: [() => [liveModel.tensors[0]!.values]],
      placeOf: [() => [liveModel.tensors[0]!.values]],
    }),
  };
}

/** The methods that a Sparsifier calls, whose engine is always the one that was loaded. */
const modelMethods = (type: string, own: main.Model | FileModel, values: main.Values): Record<string, Door> => ({
  [`${type}.copy`]: door(
    (given: never) => own.copy(given),
    () => [values],
  ),
  [`${type}.load`]: door(
    async (given: never) => (await own.load(await main.loadEngine(), given)).release(),
    () => [values],
  ),
  [`${type}.store`]: door(
    async (given: never) => {
      const loaded = await main.loadEngine();
      const region = await own.load(loaded, values);
      try {
        await own.store(loaded, given, region);
      } finally {
        region.release();
      }
    },
    () => [values],
  ),
});
