/** What a model consists of, as far as it decides which runtimes run it and how well. */
export interface Anatomy {
  /** The versions that an ONNX file states: of the format, and of ONNX's own operators. */
  readonly versions?: { readonly ir: number; readonly opset: number };
  /**
   * How many nodes each operator has, by its name, which begins with its domain unless that is ONNX's own. In a Keras
   * config they are the classes of layers. Empty if the file has only weights.
   */
  readonly operators: ReadonlyMap<string, number>;
  /** What the nodes are; undefined if the file has only weights. */
  readonly nodes: 'ONNX' | 'TensorFlow' | 'Keras' | undefined;
  readonly constants: readonly StoredConstant[];
  /** The files with external data of an ONNX model. */
  readonly external: readonly string[];
}

/** Numbers that a model stores. */
export interface StoredConstant {
  /** The type in which they are stored, such as `float32` or `int8`. */
  readonly type: string;
  /** How many are stored. */
  readonly numbers: number;
  readonly bytes: number;
  /** The operators that read them. */
  readonly readers: readonly string[];
  /** Whether only the numbers that are not zero are stored. */
  readonly isSparse: boolean;
}
