/** How a layer goes over its input: what the rows of numbers are that its weights are multiplied with. */
export interface Geometry {
  /** The axis of the input that counts its channels, group by group. Negative axes count from the end. */
  readonly channelAxis: number;
  /** One per spatial axis of the kernel, in the order depth, height, width; empty for dense layers. */
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  /**
   * How many zeros come before and after the input along each spatial axis; what a transposed convolution cuts from its
   * output. With `sameUpper` and `sameLower` that depends on the size of the input: the output has its size divided by
   * the stride, rounded up (transposed: times the stride), and the larger half is after or before it.
   */
  readonly pads: readonly (readonly [before: number, after: number])[] | 'sameUpper' | 'sameLower';
  /** What the output of a transposed convolution is longer by; 0 for other layers. */
  readonly outputPadding: readonly number[];
  /** The sizes of the output, where a transposed convolution states them instead of pads. */
  readonly outputSizes?: readonly number[];
}
