// The operators that random networks consist of.
import type { Network, Value } from './network.js';

export interface RandomOperator {
  /** How often it is taken. */
  readonly weight: number;
  readonly takes: (value: Value) => boolean;
  /** Adds it behind a value; undefined if it does not fit. */
  readonly apply: (net: Network, value: Value) => Value | undefined | void;
}

export const operator = (
  weight: number,
  takes: RandomOperator['takes'],
  apply: RandomOperator['apply'],
): RandomOperator => ({ weight, takes, apply });

/** What makes an output of a value. */
export interface Conclusion {
  readonly takes: (value: Value) => boolean;
  readonly apply: (net: Network, value: Value) => Value;
}

export const conclusion = (takes: Conclusion['takes'], apply: Conclusion['apply']): Conclusion => ({ takes, apply });

export const isFixedAt = ({ symbols }: Value, ...axes: readonly number[]): boolean =>
  axes.every((axis) => symbols[axis] === undefined);

export const isFixed = (value: Value): boolean => isFixedAt(value, ...value.shape.keys());

export const anything = ({ shape }: Value): boolean => shape.length > 0;

export const productOf = (sizes: readonly number[]): number => sizes.reduce((product, size) => product * size, 1);

/** The shape of a value with another last axis. */
export const withLast = ({ shape, symbols }: Value, size: number) => ({
  shape: [...shape.slice(0, -1), size],
  symbols: [...symbols.slice(0, -1), undefined],
});
