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
  SessionFiles,
  Statistics,
  WriteStatisticsOptions,
} from 'sparsifier/calibration';
import * as comparing from 'sparsifier/compare';
import type { ComparedSizesOptions, CompareOptions } from 'sparsifier/compare';
import * as file from 'sparsifier/file';
import type { SparsifyFileOptions } from 'sparsifier/file';
import * as formats from 'sparsifier/formats';
import type { FileModel, ReadModelOptions, ReadOptions, SizesOptions } from 'sparsifier/formats';
import * as arrays from 'sparsifier/formats/arrays';
import * as onnx from 'sparsifier/formats/onnx';
import * as safetensors from 'sparsifier/formats/safetensors';
import * as tfjs from 'sparsifier/formats/tfjs';
import * as quantizing from 'sparsifier/quantize';
import type { DequantizeOptions, QuantizeOptions } from 'sparsifier/quantize';
import * as analysis from 'sparsifier/sensitivity';
import type { SensitivityOptions, WholeModelOptions } from 'sparsifier/sensitivity';
import * as training from 'sparsifier/training';
import type { ScheduleOptions, SparsifyCallbackOptions } from 'sparsifier/training';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { mixedNumbers, model, node, tensor } from './onnx-builder.js';
import { safetensorsFile } from './safetensors-builder.js';
import { keeping } from './streams.js';
import { tf } from './tfjs.js';

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
  ...{ granularity: true, context: true, criteria: true, layerType: true, include: true, exclude: true },
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

const floats = (length: number) => Float32Array.from({ length }, (_, index) => Math.sin(index + 1));
export const layers = () =>
  ({
    conv: {
      kind: 'conv2d',
      roles: ['out', 'in', 'height', 'width'],
      shape: [4, 2, 2, 2],
      data: floats(32),
      bias: floats(4),
    },
    head: { kind: 'dense', roles: ['out', 'in'], shape: [3, 4], data: floats(12) },
  }) as const;

const network = model({
  nodes: [node('Conv', 'x w b', 'c', { name: 'conv' }), node('MatMul', 'c v', 'y', { name: 'head' })],
  initializers: [
    tensor('w', [4, 3, 2, 2], { data: mixedNumbers(48, 1) }),
    tensor('b', [4], { data: mixedNumbers(4, 2) }),
    tensor('v', [4, 3], { data: mixedNumbers(12, 3) }),
  ],
  inputs: { x: [1, 3, 5, 5] },
  outputs: { y: 4 },
});
const checkpoint = safetensorsFile({ 'conv.weight': [4, 3, 2, 2], 'head.weight': [3, 4] });

const sessions = {
  createSession: (bytes: Uint8Array, files: SessionFiles) =>
    InferenceSession.create(bytes, { ...files, logSeverityLevel: 3 }),
  batches: () => [1, 2, 3, 4].map(() => ({ x: new Tensor('float32', floats(75), [1, 3, 5, 5]) })),
};

const live = tf.sequential({
  layers: [
    tf.layers.conv2d({ inputShape: [5, 5, 2], filters: 4, kernelSize: 2, name: 'conv' }),
    tf.layers.batchNormalization({ name: 'norm' }),
    tf.layers.flatten(),
    tf.layers.dense({ units: 3, name: 'head' }),
  ],
});
const inputs = () => [tf.ones([2, 5, 5, 2])];

/** Objects whose methods are called, and models that are passed. */
export async function makeObjects() {
  await tf.setBackend('cpu');
  const read = await formats.readModel(network);
  const statistics = await calibration.calibrate(read, sessions);
  const quantized = await quantizing.quantize(read);
  const pruned = new Sparsifier(read, { layerType: 'all', statistics });
  const report = await pruned.sparsifyModel(50);
  const closed = await formats.readModel(network);
  closed.close();
  const engine = await main.loadEngine();
  const block = await engine.allocate(16);
  const array = arrays.fromArrays(layers());
  const analysed = await analysis.sensitivity(array, () => 1, { levels: [50], layers: 'conv' });
  const dequantized = await quantizing.dequantize(quantized.model);
  const comparison = await comparing.compare(read, closed === read ? read : quantized.model);
  const repaired = await pruned.repair();
  return {
    ...{ read, statistics, quantized, pruned, report, closed, engine, block, array, analysed },
    ...{ dequantized, comparison, repaired, liveModel: tfjs.fromTfjs(tf, live), schedule: training.Schedule.agp() },
    callback: training.sparsifyCallback(tf, { sparsity: 50, layerType: 'all', steps: 2 }),
    close() {
      for (const each of [read, quantized.model, dequantized.model]) each.close();
      pruned.clear();
      block.free();
    },
  };
}
export type Objects = Awaited<ReturnType<typeof makeObjects>>;

const bound =
  (object: object, name: string) =>
  (...args: never[]) =>
    (object as Record<string, (...args: never[]) => unknown>)[name]!(...args);

/** Methods of an object: for each the arguments, and the names of the options, which come last. */
const methods = (
  type: string,
  object: object,
  all: Readonly<Record<string, readonly [args: () => readonly unknown[], names?: readonly string[]]>>,
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
  const { read, statistics, quantized, pruned, report, engine, block, array, analysed } = objects;
  const { dequantized, comparison, repaired, liveModel, schedule, callback } = objects;
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
      loadMasks: [() => [new Uint8Array(3), {}], namesOf<ReadOptions>(anyFile)],
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
      (options: never) => new Sparsifier(array, { restorable: true }).restore(options),
      () => [{}],
      namesOf<Omit<CallOptions, 'roundTo'>>(listening),
    ),
    ...methods('Report', report, {
      sizes: [() => [{}], namesOf<SizesOptions>({ layers: true, ...listening })],
      table: [() => [{}], table],
      toString: [() => []],
    }),
    ...methods('RepairReport', repaired, {
      sizes: [() => [{}], namesOf<SizesOptions>({ layers: true, ...listening })],
      table: [() => []],
      toString: [() => []],
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
      () => [tf, new TextEncoder().encode('{"modelTopology":{"node":[]},"weightsManifest":[]}')],
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
      () => [new Uint8Array(3), {}],
      namesOf<ReadOptions>(anyFile),
    ),
    'calibration.Statistics': door(
      (...args: never[]) => new calibration.Statistics(...(args as unknown as [Statistics['layers']])),
      () => [statistics.layers, [], []],
    ),
    ...methods('Statistics', statistics, {
      bytes: [() => []],
      check: [() => [read]],
      merge: [() => [statistics]],
      write: [() => [keeping().stream, {}], forced],
    }),
    'quantize.quantize': door(
      quantizing.quantize,
      () => [read, {}],
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
      toString: [() => []],
    }),
    ...methods('DequantizeReport', dequantized.report, { table: [() => []], toString: [() => []] }),
    'formats.readModel': door(formats.readModel, () => [network, {}], namesOf<ReadModelOptions>(reading)),
    'formats.sizesOf': door(formats.sizesOf, () => [read, {}], namesOf<SizesOptions>({ layers: true, ...listening })),
    'formats/onnx.readOnnx': door(onnx.readOnnx, () => [network, {}], ['external']),
    'formats/safetensors.readSafetensors': door(safetensors.readSafetensors, () => [checkpoint, {}], [
      'layers',
      'shards',
    ]),
    'formats/tfjs.readTfjs': door(tfjs.readTfjs, () => [new Uint8Array(3), {}], ['shards', 'keepScale']),
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
      outputs: [() => ['/dev/null/out.onnx']],
      toFiles: [() => []],
      write: [() => ['/dev/null/out.onnx', {}], forced],
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
