import type { Leak } from '../../../../model/model.js';
import type { Claims } from './claims.js';
import type { Node, Value } from '../../graph.js';
import { title } from '../../titles.js';
import type { Size } from '../../shapes.js';

/** Where output channels of a layer are in a value: one after another along one axis. */
export interface Place {
  /** Counted from the end: the last axis is 1. */
  readonly axis: number;
  /** The number of entries along the axis. */
  readonly size: Size;
  /** The entry of the first of these channels. */
  readonly offset: number;
  /** The first of these channels, and their number. */
  readonly first: number;
  readonly count: number;
}

/** Where all output channels of a layer are, if several adjacent axes count them together: `axis` is the last of these. */
export interface Split extends Pick<Place, 'axis' | 'count'> {
  readonly sizes: readonly number[];
}

/** What is known of the place of channels. Two values have a channel in the same place if this is the same or equal. */
export interface Location {
  readonly place?: Place;
  /** If a Reshape split or merged the axis of the channels: the value before it, and the place there. */
  readonly before?: { readonly value: Value; readonly place: Place };
  /** Where they are instead, if that is known. */
  readonly split?: Split | undefined;
  /** Why the place is unknown. */
  readonly reason?: string;
}

/** Output channels of a layer in a value of the graph. */
export interface Track {
  /** The number of the weight. */
  readonly owner: number;
  readonly at: Location;
  /** Why constants that apply to these channels are not theirs alone. */
  readonly shared?: string;
  /** What makes a removed channel other than 0 in this value; empty if it is 0. */
  readonly leaks: readonly Leak[];
}

/** Channels that reach an input of a node. */
export interface Arrival {
  readonly input: number;
  readonly track: Track;
  readonly claims: Claims;
  /** The same channels in the same place at another input. */
  readonly twin: (input: number) => Track | undefined;
}

/**
 * How a node passes channels on: the channels in each of its outputs. Undefined if its outputs are not made channel by
 * channel from this input, or the operator is not known. There the channels end, and must be 0. If the node does
 * something to them first, they end as it leaves them.
 */
export type Pass = (arrival: Arrival) => readonly (Track | undefined)[] | { readonly ends: Track } | undefined;

/** The channels behind a node that does not give 0 for 0. */
export function withLeak(node: Node, track: Track): Track {
  return track.leaks.length > 0
    ? track
    : { ...track, leaks: [{ name: title(node), reason: 'its output for 0 is not 0' }] };
}

export const unknown = (reason: string): Location => ({ reason });

export const rankUnknown = 'the file does not say how many axes the output has, so the channel axis is unknown';
