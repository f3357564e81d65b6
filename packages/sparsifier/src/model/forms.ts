/**
 * How the weights of a layer can be stored. `int8` are codes with a scale for each output channel. `int8-dynamic` are
 * such codes that the runtime multiplies with 8-bit inputs; their scales keep sums from saturating. `int4` are codes with a
 * scale for each 32 weights that one output reads. `uint8` and `uint16` are codes with one scale and offset for the whole
 * tensor.
 */
export const forms = ['int8', 'int8-dynamic', 'int4', 'float16', 'bfloat16', 'uint8', 'uint16'] as const;
export type Form = (typeof forms)[number];

/** How many weights share a scale in the form `int4`. */
export const int4Block = 32;

/** Numbers in a new form, in the order in which the tensor is stored. */
export type NewNumbers =
  /** Little-endian. */
  | { readonly form: 'float16' | 'bfloat16'; readonly numbers: Uint8Array<ArrayBuffer> }
  /**
   * A weight is `code * scale`. Codes are from -127 to 127, and 0 is the code of zero. Scales are in stored order, one for
   * each place on the axes `out` and `multiplier` of the tensor.
   */
  | {
      readonly form: 'int8' | 'int8-dynamic';
      readonly codes: Int8Array<ArrayBuffer>;
      readonly scales: Float32Array<ArrayBuffer>;
    }
  /**
   * A weight is `code * scale`. Codes are from -8 to 7, one byte for each. For every output channel in stored order there
   * is a scale for each {@link int4Block} weights along `in`, of which the last may be fewer.
   */
  | { readonly form: 'int4'; readonly codes: Int8Array<ArrayBuffer>; readonly scales: Float32Array<ArrayBuffer> }
  /** A weight is `code * scale + min`, computed in 64 bits. One code is exactly zero. */
  | {
      readonly form: 'uint8' | 'uint16';
      readonly codes: Uint8Array<ArrayBuffer> | Uint16Array<ArrayBuffer>;
      readonly scale: number;
      readonly min: number;
    };
