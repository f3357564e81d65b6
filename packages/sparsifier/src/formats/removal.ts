import type { Source } from '../host/host.js';
import type { InputShapes } from '../options/coupled.js';
import type { CurrentFiles } from './format.js';

/** How channels are taken out of the networks of a format. */
export interface ChannelRemoval {
  /**
   * Decides which channels go, given the numbers as they are now.
   * @throws SparsifyError `usage` for shapes of inputs that are missing or do not fit; `layer` for a name or glob of
   *   `protect` that matches nothing; the signal's reason if it is aborted
   */
  plan(request: RemovalRequest, current: CurrentFiles): Promise<PlannedRemoval>;
  /**
   * The channels of the network, whatever its numbers are.
   * @throws as {@link plan}
   */
  channels(request: ChannelsRequest, current: CurrentFiles): Promise<NetworkChannels>;
}

export type { InputShapes } from '../options/coupled.js';

/** How a network is followed. */
export type ChannelsRequest = Omit<RemovalRequest, 'roundTo'>;

/** The hint of errors about networks that cannot be followed without the sizes of their inputs. */
export const shapesHint = 'Give the shapes of the inputs with `inputShapes`';

/** How many channels of a group stay: a multiple of this, which runtimes are fastest with. */
export const usualRounding = 8;

export interface RemovalRequest {
  /** The shapes of inputs whose axes have any size, by name. */
  readonly inputShapes: InputShapes;
  /** Names and globs of layers, tensors and values whose channels stay. */
  readonly protect: readonly string[];
  readonly roundTo: number;
  readonly signal?: AbortSignal | undefined;
  /** Is told how many numbers are loaded. */
  readonly onLoaded?: (done: number, total: number) => void;
}

/** The channels of a network by numbers, and where they are in its weights. */
export interface NetworkChannels {
  /** The channels that may go, in groups of those that lie on the same axes, in the order of the network. */
  readonly groups: readonly (readonly number[])[];
  /** Those of layers, and others that operators multiply with. */
  readonly weights: readonly ChannelsOfWeight[];
  /** Sentences about what was assumed, and what was not followed. */
  readonly notes: readonly string[];
}

/** The channels of a stored tensor. */
export interface ChannelsOfWeight {
  /** The name of the layer; that of the tensor if it is not the weight of one. */
  readonly name: string;
  /** As it is stored. */
  readonly shape: readonly number[];
  /** Along each axis the channel of each index. -1 for one that has to stay. */
  readonly axes: readonly Int32Array[];
  /** Along each axis what keeps the first channel that has to stay; undefined if all may go. */
  readonly keptBy: readonly (string | undefined)[];
  /** For each operator that adds up inputs with these weights, the channel of each input, group by group; -1 as above. */
  readonly reads: readonly Int32Array[];
  /** Whether an operator computes channels with these weights. They are not 0 unless these are. */
  readonly isMaker: boolean;
}

/** Which channels go, and how the model is written without them. */
export interface PlannedRemoval {
  readonly facts: RemovalFacts;
  /**
   * Is called only while the numbers of the model are those that the plan was made with.
   * @param flush whether subnormal numbers become 0
   */
  rewritten(flush: boolean): Promise<RewrittenModel>;
}

/** Which channels go, and why others stay. */
export interface RemovalFacts {
  /** The channels that operators let go together, in the order of the network. */
  readonly groups: readonly ChannelGroup[];
  /** Output channels of layers that have to stay, whatever their weights are. What would pay most if it were lifted is first. */
  readonly blocked: readonly BlockedChannels[];
  /** How many floats the model has. */
  readonly parameters: BeforeAndAfter;
  /** How many of them lie on an axis of a group. */
  readonly touchable: number;
  /** The shapes of the inputs for which the network was followed: one, or two if axes of any size were given none. */
  readonly followed: readonly InputShapes[];
  /** Sentences about what was assumed, and what was not followed. */
  readonly notes: readonly string[];
}

export interface BeforeAndAfter {
  readonly before: number;
  readonly after: number;
}

/** Channels of several layers of which those with the same place can only stay or go together. */
export interface ChannelGroup {
  /** The first layer that makes them, or the first tensor that has them. */
  readonly name: string;
  /** All layers that make them. */
  readonly layers: readonly string[];
  readonly channels: number;
  /** How many hold the same number for every input, or are not used. */
  readonly dead: number;
  /** How many of these can go without changing an output. */
  readonly exact: number;
  /** How many stay. It is a multiple of `roundTo`, or all. */
  readonly kept: number;
  /** The output channels of `name` that go, or the indices of that tensor, in order. */
  readonly removed: readonly number[];
  /** Why the others stay. */
  readonly reasons: readonly KeepingReason[];
}

/** Why some channels of a group stay. */
export interface KeepingReason {
  readonly reason: string;
  readonly channels: number;
  /** Whether they are dead. */
  readonly isDead: boolean;
}

/** Output channels of layers that something in the network keeps. */
export interface BlockedChannels {
  /** What the channels reach: an operator with its name, or an input or output of the model. */
  readonly by: string;
  readonly layers: readonly string[];
  readonly channels: number;
  /** How many of them have no weight other than 0. */
  readonly dead: number;
  /** How many weights these have. */
  readonly parameters: number;
}

/** The indices of a tensor that stayed. */
export interface KeptIndices {
  /** The tensor of the new model. */
  readonly tensor: string;
  /** The tensor that it was made from. It has another name if several nodes shared it and lost other channels. */
  readonly from: string;
  readonly before: readonly number[];
  readonly after: readonly number[];
  /** For each axis the indices that stayed, in order; undefined if all did. */
  readonly kept: readonly (readonly number[] | undefined)[];
}

/** What was done besides taking out channels. */
export interface RemovalChanges {
  /** Layers to whose biases constants were added. */
  readonly folded: number;
  /** Channels that stayed to carry the constants of others. */
  readonly carriers: number;
  /** Copies of tensors that nodes had shared. */
  readonly copies: number;
  /** Lists that were computed while the model ran, such as shapes, and are constants now. */
  readonly frozen: number;
  /** Weights of the new model that are below the smallest normal float. */
  readonly subnormals: number;
}

interface RewrittenModel {
  /** The main file first, which may be a source whose bytes are made while it is read: once, from the beginning on. */
  readonly files: ReadonlyMap<string, Uint8Array<ArrayBuffer> | Source>;
  readonly indexMap: readonly KeptIndices[];
  /** What was done, once the files were read. */
  readonly changes: () => RemovalChanges;
}
