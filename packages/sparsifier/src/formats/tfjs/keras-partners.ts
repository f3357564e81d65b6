import type { Leak } from '../../model/model.js';
import { findPartners, type Claims } from './claims.js';
import type { PartnerWeight, WeightEntry } from './description.js';
import { follow, type Budget, type Channels, type Inputs, type Network, type Step } from './flow.js';
import { activate, axisOf, isChannelsFirst, passThrough, type Join } from './keras-channels.js';
import type { Call, Layer } from './keras-layers.js';
import type { Scope } from './scopes.js';

/** A weight, the layers that have it, and their bias. */
export interface Owned {
  readonly layers: readonly Layer[];
  readonly channels: number;
  readonly bias: WeightEntry | undefined;
}

/** What is known of the layers of a model. */
export interface Known {
  /** The weights of batch normalisations. */
  readonly norms: ReadonlyMap<Layer, Scope>;
  /** The layers that have each gamma and beta. */
  readonly owners: ReadonlyMap<WeightEntry, readonly Layer[]>;
  /** What concatenations join, if that is known. */
  readonly joins: ReadonlyMap<Call, Join>;
  readonly budget: Budget;
}

/** What is removed with the output channels of a weight, and what is not although it should be. */
export interface Partners {
  readonly partners: readonly PartnerWeight[];
  readonly leaks: readonly Leak[];
  /** The depthwise convolutions that filter the channels. */
  readonly filters: ReadonlySet<Layer>;
}

/** The axis of the output channels in the value of a layer, from its end. */
export function channelAxisOf({ type, config }: Layer): number {
  const dimensions = Number(/\d(?=D)/.exec(type)?.[0] ?? 0);
  return isChannelsFirst(config) && dimensions > 0 ? -1 - dimensions : -1;
}

/** Finds the bias of a layer and the batch normalisations behind it, by the way of its output channels. */
export function partnersOf({ layers, channels, bias }: Owned, known: Known): Partners {
  const filters = new Set<Layer>();
  const walk = (claims: Claims<Call>) => {
    const way = new Way(known, claims, filters);
    const starts = new Map(layers.flatMap((layer) => layer.calls.flatMap((call) => way.start(call, channels, bias))));
    return [...follow(starts, way, known.budget), ...way.leaks];
  };
  const otherUse = (entry: WeightEntry, readers: ReadonlySet<Call>) => {
    const isOther = known.owners.get(entry)?.some(({ calls }) => calls.some((call) => !readers.has(call)));
    return isOther ? 'it also normalises other outputs' : undefined;
  };
  const { partners, leaks } = findPartners(channels, walk, otherUse);
  return { partners, leaks, filters };
}

/** The way of the channels of a layer through a model. */
class Way implements Network<Call> {
  /** Those of layers whose activations end the channels. */
  readonly leaks: Leak[] = [];
  readonly #known: Known;
  readonly #claims: Claims<Call>;
  readonly #filters: Set<Layer>;

  constructor(known: Known, claims: Claims<Call>, filters: Set<Layer>) {
    this.#known = known;
    this.#claims = claims;
    this.#filters = filters;
  }

  nameOf({ layer }: Call): string {
    return layer.title.join('/');
  }

  readersOf(call: Call): readonly Call[] {
    return call.readers;
  }

  /** The value of a layer with a weight, after its bias and activation. */
  start(call: Call, count: number, bias: WeightEntry | undefined): [Call, Step][] {
    const { layer, rank } = call;
    const channels: Channels = { axis: channelAxisOf(layer), sizes: [count], rank, start: 0, total: count };
    const reason = bias && this.#claims.take('bias', call, bias, channels);
    const leaks = reason === undefined ? [] : [{ name: bias!.name, reason }];
    const after = activate(call, layer.config.activation, { channels, isNonzero: leaks.length > 0, leaks });
    if (after === undefined) for (const leak of leaks) this.leaks.push(leak);
    return after === undefined ? [] : [[call, after]];
  }

  step(call: Call, from: Call, inputs: Inputs): Step | undefined {
    const { layer } = call;
    if (/^(Depthwise|Separable)Conv/.test(layer.type)) {
      if (inputs.channels.axis === channelAxisOf(layer)) this.#filters.add(layer);
      return undefined;
    }
    if (layer.type === 'BatchNormalization') return this.#normalise(call, inputs);
    return passThrough(call, from, inputs, this.#known.joins);
  }

  #normalise(call: Call, { channels, isNonzero }: Inputs): Step {
    const { layer, rank } = call;
    const along = axisOf(layer.config, rank, layer.isTimed ? 1 : 0);
    const isProven = channels.axis !== undefined && along !== undefined;
    const leaks: Leak[] = [];
    let hasGamma = false;
    const scope = this.#known.norms.get(layer);
    const parts = (['gamma', 'beta'] as const).flatMap((part) => {
      const entry = scope?.get(part);
      return layer.config[part === 'gamma' ? 'scale' : 'center'] === false || entry === undefined
        ? []
        : [{ part, entry }];
    });
    for (const { part, entry } of parts) {
      let reason: string | undefined;
      if (Array.isArray(layer.config.axis) && layer.config.axis.length > 1) reason = 'it is used along several axes';
      else if (!isProven) reason = 'the topology does not say whether its axis is the channel axis';
      else if (along !== channels.axis || channels.sizes.length > 1) reason = 'it is used along another axis';
      else reason = this.#claims.take(part, call, entry, channels);
      if (reason !== undefined) leaks.push({ name: entry.name, reason });
      else if (part === 'gamma') hasGamma = true;
    }
    // A gamma of 0 turns any input into 0. Without one, the mean is subtracted from removed channels, too.
    if (isNonzero && !hasGamma) return { channels, isNonzero };
    if (layer.config.scale === false) {
      leaks.push({ name: this.nameOf(call), reason: 'it subtracts a mean, and has no gamma' });
    }
    return { channels, isNonzero: leaks.length > 0, leaks };
  }
}
