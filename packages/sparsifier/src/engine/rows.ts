/** Along depth, height and width; 1 (of pads 0) along an axis that a layer does not have. */
export type Three = readonly [depth: number, height: number, width: number];

/** What the rows of a layer's inputs are made by. */
export interface LayerGeometry {
  readonly groups: number;
  /** The input channels of one group. */
  readonly inputs: number;
  readonly kernel: Three;
  readonly strides: Three;
  /** Before the first position of the input; negative ones leave inputs out. */
  readonly pads: Three;
  readonly dilations: Three;
  /** Whether the kernel spreads each input over the output. */
  readonly transposed: boolean;
}

/** How long rows are, and of how many groups. */
export type RowSizes = Pick<LayerGeometry, 'groups' | 'inputs' | 'kernel'>;

/** The length of a row: input channels of a group times places of the kernel. */
export const columnsOf = ({ inputs, kernel }: Pick<RowSizes, 'inputs' | 'kernel'>): number =>
  inputs * kernel[0] * kernel[1] * kernel[2];

/** A batch of inputs of a layer, whose positions of the output take a row each: `float32` in shared memory. */
export interface InputRows {
  /** A multiple of 4. */
  readonly address: number;
  /** Numbers, not bytes. */
  readonly length: number;
  readonly samples: number;
  /** The sizes of the input, and those of the output. */
  readonly space: Three;
  readonly positions: Three;
  /** How many numbers apart neighbours are. */
  readonly steps: readonly [sample: number, channel: number, depth: number, height: number, width: number];
}

/** Six numbers, one for each axis of a weight in canonical order. */
type Six = readonly [group: number, output: number, input: number, depth: number, height: number, width: number];

/** Where the weights of a layer are stored. A row of an input is multiplied with (input, depth, height, width). */
export interface WeightLayout {
  /** `output` and `input` count those of one group. */
  readonly sizes: Six;
  /** How many numbers apart neighbours are in the stored tensor. */
  readonly steps: Six;
}
