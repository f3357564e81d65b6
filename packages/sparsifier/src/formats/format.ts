import { SparsifyError } from '../errors.js';
import type { OutputFile } from '../host/host.js';
import type { Form, NewNumbers } from '../model/forms.js';
import { bytesOf, type DataType, type Kind, type Skipped, type Values, type WeightTensor } from '../model/model.js';
import type { Shape } from '../options/check.js';
import type { Anatomy } from './anatomy.js';
import type { MainFile, ModelFiles } from './files.js';
import { modelEndings, recognise } from './recognise.js';
import type { ChannelRemoval } from './removal.js';

/** How the files of a format are told from others, and what reading them takes. */
export interface Signature<Options = object> {
  /** Its usual name. */
  readonly name: string;
  /** Checks the options that {@link open} takes. */
  readonly options: Partial<Shape<Options>>;
  /** The endings of its file names. Outputs that end like files of other formats are refused. */
  readonly endings: readonly string[];
  /** Whether a file has this format, judging by its first bytes or its JSON. */
  matches(file: MainFile): boolean;
}

/** A format of model files. all.ts lists all of them. */
export interface Format<Options = object> extends Signature<Options> {
  /**
   * Describes where the numbers of a model are in its files. The main file is already open. Other files are opened with
   * `files`, which also reads those that must be held in memory.
   */
  open(files: ModelFiles, options: Options): Promise<Contents>;
}

/** A format's description of a model. */
export interface Contents {
  /** In model order. Their values, and those of their partners, are {@link StoredValues}. */
  readonly tensors: readonly WeightTensor[];
  readonly skipped: readonly Skipped[];
  /** How many numbers the files contain in tensors of two or more axes that layers may have: see {@link Model}. */
  readonly weights: number;
  /** Those of the tensors that are known to be learned weights. The others may be tables of fixed numbers. */
  readonly learned?: ReadonlySet<WeightTensor>;
  /**
   * The files that the model is written to, the main file first.
   * @param path undefined if files are written to streams or memory, under their names in the model
   * @param current the bytes to write. The parts of a file are requested in order, and generated files come last.
   * @throws SparsifyError `usage` if such a model cannot be written to this path
   */
  outputs(path: string | undefined, current: CurrentFiles): Promise<readonly ModelOutput[]>;
  /**
   * The bias that a layer without one of its own can be given, or why it cannot have one. `outputs` writes those of
   * {@link CurrentFiles.biases}, unless their numbers are still these.
   */
  newBias?(tensor: WeightTensor, current: CurrentFiles): Promise<NewBias | string>;
  /** How the numbers can be stored in other forms; undefined if the format has none. Called once, and only if needed. */
  storage?(): Storage;
  /** How channels are taken out of the network; undefined if the format cannot do that. */
  removal?(): ChannelRemoval;
  /** What the model consists of; undefined if its files have only weights. */
  anatomy?(): Anatomy;
}

/** How the numbers of a model can be stored in other forms. */
export interface Storage {
  /** All forms of the format. */
  readonly forms: readonly Form[];
  /** The form of a layer if the caller names none. */
  usualForm(kind: Kind): Form;
  /** Why a layer cannot be stored in a form of the format; undefined if it can. */
  obstacle(tensor: WeightTensor, form: Form): string | undefined;
  /** Whether a layer is stored in such a form already, or in that of another tool. */
  isQuantized(tensor: WeightTensor): boolean;
  /**
   * The numbers of 32 bits that can be stored with 16, and are not those of a layer: biases, normalisations, tables. Layers
   * that rules leave out are none of them.
   */
  others(): readonly OtherNumbers[];
  /**
   * The files of the model with some of its numbers in other forms, the main file first. All others stay as they are.
   * @param layers by the names of layers, in forms without an {@link obstacle}
   * @param others by the names of {@link others}
   */
  rewritten(
    layers: ReadonlyMap<string, NewNumbers>,
    others: ReadonlyMap<string, NewNumbers>,
    current: CurrentFiles,
  ): Promise<Map<string, Uint8Array<ArrayBuffer>>>;
  /** The files of the model with all numbers as floats of 32 bits that are stored in another form, the main file first. */
  dequantized(current: CurrentFiles): Promise<Dequantized>;
}

/** Numbers that are not those of a layer. */
export interface OtherNumbers {
  readonly name: string;
  readonly values: StoredValues;
  /** Of the tensor, as stored. */
  readonly shape: readonly number[];
}

/** A model with its numbers as floats of 32 bits. */
export interface Dequantized {
  readonly files: Map<string, Uint8Array<ArrayBuffer>>;
  /** The tensors that were stored in another form. */
  readonly changed: readonly { readonly name: string; readonly from: string }[];
  /** Those that still are, and why. */
  readonly skipped: readonly Pick<Skipped, 'name' | 'reason'>[];
}

/** A bias that the files of a model do not contain yet. */
export interface NewBias {
  readonly dtype: DataType;
  /** The numbers that it begins with, one for each output channel, little-endian. */
  readonly numbers: Uint8Array<ArrayBuffer>;
}

/** A file that a model is written to. */
export interface ModelOutput extends OutputFile {
  /** The file of the model that its bytes come from; undefined for a generated file. */
  readonly from: string | undefined;
  /** How many bytes it has. Of a generated file, that is known once the others are written. */
  size(): number;
}

/** The files of a model in their current state. */
export interface CurrentFiles {
  /** The bytes of a file, by default all of them. */
  chunks(file: string, start?: number, end?: number): AsyncIterable<Uint8Array>;
  /** How many bytes a file has. */
  sizeOf(file: string): number;
  /** What the codes of values mean since they were last encoded; undefined if they never were. */
  meaning(values: StoredValues): unknown;
  /** The biases that were added, by the names of their layers. Each is a file that the model is not written to. */
  readonly biases?: ReadonlyMap<string, StoredValues>;
}

/** Numbers of a model, and where they are in its files. */
export class StoredValues implements Values {
  /**
   * @param file the name of the file in the model
   * @param start the offset of the first byte in the file, with any alignment
   * @param bytes the number of bytes
   * @param coding how the numbers are stored if they are not a plain array
   */
  constructor(
    readonly dtype: DataType,
    readonly length: number,
    readonly file: string,
    readonly start: number,
    readonly bytes: number = length * bytesOf[dtype],
    readonly coding?: Coding,
  ) {}
}

/** How numbers are stored that are not a plain array: as codes, or scattered over a message. */
export interface Coding {
  /**
   * The number of bytes of one code; undefined if it varies, which is possible only in files that are held in memory.
   */
  readonly width: number | undefined;
  /**
   * The numbers, little-endian.
   * @param meaning the `meaning` that the last {@link encode} returned
   * @param first the index of the first number, if `stored` is a part; 0 by default
   */
  decode(
    stored: Uint8Array,
    meaning: unknown,
    first?: number,
  ): Uint8Array<ArrayBuffer> | Promise<Uint8Array<ArrayBuffer>>;
  /** Changes the stored bytes so that they hold these numbers. */
  encode(numbers: Uint8Array, stored: Uint8Array, meaning: unknown): Encoded | Promise<Encoded>;
}

export interface Encoded {
  /** What the codes now mean. */
  readonly meaning?: unknown;
  /** How many of the stored numbers are zero, if storing rounds them. */
  readonly zeros?: number;
}

/** @throws SparsifyError `usage` for values that are not stored in a file */
export function stored(values: Values): StoredValues {
  if (values instanceof StoredValues) return values;
  throw new SparsifyError('usage', 'the values belong to another model');
}

/**
 * Finds the format of a file by its content.
 * @param options the caller's options for reading
 * @throws SparsifyError `format` if the file has none of these formats, `usage` for an option that its format does not
 *   take
 */
export function formatOf<Options>(
  formats: readonly Format<Options>[],
  file: MainFile,
  options: Options,
): Format<Options> {
  const format = formats.find((each) => each.matches(file));
  const subject = file.name ?? 'the bytes';
  if (format === undefined) {
    throw new SparsifyError('format', 'the file is not a model in a supported format', {
      subject,
      ...recognise(file),
      allowed: formats.map(({ name }) => name),
    });
  }
  const given = Object.entries(options as object).filter(([, value]) => value !== undefined);
  const other = given.find(([name]) => !(name in format.options));
  if (other !== undefined) {
    const takers = formats.filter(({ options }) => other[0] in options);
    throw new SparsifyError(
      'usage',
      `the option \`${other[0]}\` is only for ${takers.map(({ name }) => name).join(' and ')} models`,
      {
        subject,
        found: `${format.name} model`,
      },
    );
  }
  return format;
}

/** @throws SparsifyError `usage` if the name of an output is that of another format */
export function checkEnding({ name, endings }: Pick<Signature, 'name' | 'endings'>, path: string): void {
  const lower = path.toLowerCase();
  const isOther = modelEndings.some((ending) => lower.endsWith(ending));
  if (!isOther || endings.some((ending) => lower.endsWith(ending))) return;
  throw new SparsifyError('usage', 'the output must have the format of the input', {
    given: path,
    found: `${name} model`,
    allowed: [...endings.map((ending) => `a name that ends with ${ending}`), 'a folder'],
    hint: 'Models are not converted to other formats',
  });
}
