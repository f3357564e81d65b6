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

/** Where the numbers of a batch of inputs are, without where they begin. */
export interface RowShape {
  readonly samples: number;
  /** The sizes of the input, and those of the output. */
  readonly space: Three;
  readonly positions: Three;
  /** How many numbers apart neighbours are. */
  readonly steps: readonly [sample: number, channel: number, depth: number, height: number, width: number];
}

/** The length of a row: input channels of a group times places of the kernel. */
export const columnsOf = ({ inputs, kernel }: Pick<LayerGeometry, 'inputs' | 'kernel'>): number =>
  inputs * kernel[0] * kernel[1] * kernel[2];

/** How many rows a batch has. */
export const rowsIn = ({ samples, positions }: RowShape): number =>
  samples * positions[0] * positions[1] * positions[2];
