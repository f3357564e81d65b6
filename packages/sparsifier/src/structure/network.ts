import type { Axis, Coupling } from './coupling.js';
import type { Known, View } from './numbers.js';
import type { Weights } from './weights.js';

/** A value of a network while its channels are followed. */
export interface Tensor {
  readonly shape: readonly number[];
  /** The channels along each axis. */
  readonly axes: readonly Axis[];
  /** What is known of its numbers without running the network. */
  readonly known?: Known | undefined;
  /** The constant that it is, if it is a stored one. */
  readonly view?: View | undefined;
  /** All of its numbers, if they are few and follow from constants and shapes alone. */
  readonly list?: List | undefined;
}

/** A few numbers, in the order of the axes of their value. */
export interface List {
  readonly numbers: readonly number[];
  readonly isInteger: boolean;
}

/** An operator that adds up the numbers along an axis, so that its channels end there. */
export interface Reader {
  /** The operator and its name, for messages. */
  readonly title: string;
  /** The operator, as the format knows it. */
  readonly operator: unknown;
  /** What it adds up, by index. */
  readonly axis: Axis;
  /** What is known of these numbers. */
  readonly known: Known | undefined;
  /**
   * The weights that it multiplies them with; undefined if these are computed, too. If those that count are not the same in
   * each head, weights of 1 and 0 tell which heads they are.
   */
  readonly weights: Weights | undefined;
  /** The same for the other factor of a product of two computed values. */
  readonly factor?: Known | undefined;
  /** Whether a known number becomes a constant of the outputs. It does not where a convolution pads. */
  readonly folds: boolean;
}

/** The channels of a network, with all operators that read them. */
export interface Flow {
  readonly coupling: Coupling;
  readonly readers: Reader[];
}
