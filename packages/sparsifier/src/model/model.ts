import type { Block, Engine } from '../engine/engine.js';
import type { DataType } from '../engine/record.js';
import { attempt, SparsifyError } from '../errors.js';
import type { Geometry } from './geometry.js';

export type { Geometry } from './geometry.js';
export { bytesOf, type DataType } from '../engine/record.js';

/** What a layer computes. Grouped and depthwise convolutions are of the kind of their rank. */
export const kinds = [
  'conv1d',
  'conv2d',
  'conv3d',
  'convTranspose1d',
  'convTranspose2d',
  'convTranspose3d',
  'dense',
  'embedding',
  'lstm',
  'gru',
  'rnn',
] as const;
export type Kind = (typeof kinds)[number];

/**
 * What an axis of a weight tensor stands for, in canonical order. `in` counts the input channels of one group;
 * `multiplier` is the second part of the output channel in depthwise kernels (out = channel x multiplier + m), and the
 * output in stacks of matrices, such as those of experts (out = matrix x multiplier + output). In an
 * embedding `out` counts the rows of the vocabulary and `in` the features, in recurrent layers out = direction x gate x
 * unit.
 */
export const roles = ['out', 'multiplier', 'in', 'depth', 'height', 'width'] as const;
export type Role = (typeof roles)[number];

/**
 * One array of numbers of a model: what {@link Model.load} brings into shared memory and {@link Model.store} puts back.
 */
export interface Values {
  readonly dtype: DataType;
  /** Numbers, not bytes. */
  readonly length: number;
}

/** A small tensor with one number per output channel, which is removed with its channel. */
export interface Partner {
  readonly part: 'bias' | 'gamma' | 'beta';
  readonly values: Values;
}

/** Numbers that are added to the outputs of one layer alone, one for each output channel in canonical order. */
export interface Bias {
  readonly values: Values;
  /** -1 where they are subtracted: the mean of a batch normalisation behind the layer. */
  readonly sign: 1 | -1;
}

/** One prunable weight tensor, row-major in its stored order. */
export interface WeightTensor {
  readonly name: string;
  /** Further names for the same tensor, where several nodes share it. */
  readonly aliases: readonly string[];
  readonly kind: Kind;
  /** One per axis, in stored order. */
  readonly roles: readonly Role[];
  /** One per axis, in stored order. A transposed convolution's `out` counts the channels of one group, as stored. */
  readonly shape: readonly number[];
  readonly groups: number;
  readonly values: Values;
  readonly partners: readonly Partner[];
  /** How the layer goes over its input; undefined if the format does not say, or nothing is multiplied with an input. */
  readonly geometry?: Geometry;
  /** Undefined if the layer has none of its own: see {@link Model.addBias}. */
  readonly bias?: Bias;
  /** Sentences for the report, such as why the bias of a recurrent layer is not changed. */
  readonly notes: readonly string[];
  /** What keeps a removed output channel from being zero, where that is not among the partners. */
  readonly leaks?: readonly Leak[];
  /** For a depthwise convolution: the names of the layers whose output channels it filters, where they are known. */
  readonly channelsFrom?: readonly string[];
  /** Why this is a table of fixed numbers instead of a learned weight. Rules leave such a tensor out. */
  readonly fixed?: string;
  /** Why only single weights can be removed: the nodes that share the tensor read its axes in different roles. */
  readonly onlyWeight?: string;
  /** A sentence for each report: what storing does to quantised numbers. */
  readonly storage?: string;
}

/** All numbers of a layer: those of its weight, its partners and its bias. */
export const valuesIn = ({ values, partners, bias }: WeightTensor): Values[] => [
  values,
  ...partners.map((partner) => partner.values),
  ...(bias === undefined ? [] : [bias.values]),
];

/** A part of the network that adds a number to removed output channels. */
export interface Leak {
  /** The name of the constant, of the layer, or of the node that adds it. */
  readonly name: string;
  /** Why it is not removed with the channel. */
  readonly reason: string;
}

/** A tensor that is not pruned, and why. */
export interface Skipped {
  readonly name: string;
  readonly reason: string;
  /** What reads it, if the format says so: `Conv`, `com.microsoft.Attention`. */
  readonly operator?: string;
  /** As stored; empty if the tensor is not stored in the file. */
  readonly shape: readonly number[];
  /** How many numbers it has in the file: 0 if it is computed while the model runs, or counted elsewhere. */
  readonly weights: number;
}

/** Numbers in shared memory: `bytes` bytes of a block from `offset` on, at any alignment. */
export interface Region {
  readonly block: Block;
  readonly offset: number;
  readonly bytes: number;
  /** Frees a scratch copy; does nothing where the numbers lie in the model's own block. */
  release(): void;
}

/** Where a region begins in the engine's memory. */
export const addressOf = ({ block, offset }: Region): number => block.address + offset;

/** Numbers that are kept. */
export interface Kept {
  /** A copy of them, little-endian. */
  bytes(): Uint8Array<ArrayBuffer> | Promise<Uint8Array<ArrayBuffer>>;
  /** Discards them; a second call does nothing. */
  release(): void;
}

/**
 * The contract of every format: list the tensors, read, write.
 *
 * `load` returns the region where the numbers lie while a call works on them: the model's own block, or a scratch copy.
 * `store` is called after the numbers in that region have changed; it writes a scratch copy back to where it came from.
 * If the numbers are quantised, so that storing rounds them, it returns how many are zero afterwards.
 */
export interface Model {
  /** In model order. */
  readonly tensors: readonly WeightTensor[];
  readonly skipped: readonly Skipped[];
  /**
   * How many numbers of two or more axes the model contains: those of all layers and of all skipped tensors. It is
   * counted apart from them.
   */
  readonly weights: number;
  /** The paths of the files that the model was read from. No call on the model writes to these. */
  readonly sourceFiles?: readonly string[];
  load(engine: Engine, values: Values): Promise<Region>;
  store(engine: Engine, values: Values, region: Region): Promise<number | void>;
  /**
   * A copy of the current numbers, little-endian. What can be copied at once is copied before the method returns, since
   * the caller may change arrays next.
   */
  copy(values: Values): Uint8Array<ArrayBuffer> | Promise<Uint8Array<ArrayBuffer>>;
  /** Keeps the current numbers more cheaply than a copy does, until they are released. */
  keep?(values: Values): Kept;
  /**
   * Keeps the numbers as they are stored now; the function that comes back restores them. For formats whose `store`
   * rounds.
   */
  hold?(values: Values): Promise<() => Promise<void>>;
  /**
   * Gives a layer that has none a bias: all 0, or a copy of one that it shares with others. The same one if called again.
   * It is not written to files while its numbers are those that it began with. Returns why, if it cannot have one.
   */
  addBias?(tensor: WeightTensor): Promise<Bias | string>;
}

/** The type of a value in a word: `Promise`, `String`, `undefined`. */
export function typeOf(value: unknown): string {
  if (value === undefined || value === null) return String(value);
  try {
    return Object.prototype.toString.call(value).slice('[object '.length, -1);
  } catch {
    // A proxy that is revoked.
    return typeof value;
  }
}

/** @throws SparsifyError `usage` for anything but a model, such as the path of one */
export function checkModel(model: unknown): void {
  const isModel = attempt('the model', () => {
    const { tensors, skipped, load, store, copy } = (model ?? {}) as Partial<Model>;
    return [tensors, skipped].every(Array.isArray) && [load, store, copy].every((each) => typeof each === 'function');
  });
  if (isModel) return;
  throw new SparsifyError('usage', 'the first argument must be a model', {
    ...(typeof model === 'string' || model instanceof URL ? { given: String(model) } : {}),
    found: typeOf(model),
    hint: howToGetOne(model),
  });
}

function howToGetOne(given: unknown): string {
  const { then, predict, execute } = (given ?? {}) as Readonly<Record<string, unknown>>;
  if (typeof then === 'function') return 'Await it: `await readModel(path)` is the model';
  if (typeof predict === 'function' || typeof execute === 'function')
    return "Pass a TensorFlow.js model through `fromTfjs(tf, model)`, of 'sparsifier/formats/tfjs'";
  return "Read one with `await readModel(path)`, of 'sparsifier/formats'";
}
