import { SparsifyError } from '../errors.js';
import type { OutputFile } from '../host/host.js';
import { bytesOf, type DataType, type Skipped, type Values, type WeightTensor } from '../model/model.js';
import type { MainFile, ModelFiles } from './files.js';
import { modelEndings, recognise } from './recognise.js';

/** A kind of model file. all.ts has the list of them. */
export interface Format<Options = object> {
  /** As people call it. */
  readonly name: string;
  /** The options that {@link open} takes. */
  readonly options: readonly (keyof Options & string)[];
  /** How the names of its files end; other names that are known to be those of models are refused for outputs. */
  readonly endings: readonly string[];
  /** Whether a file is of this format, by its first bytes or its JSON. */
  matches(file: MainFile): boolean;
  /**
   * Says what lies where in the files of a model, of which the main one is open. Further files are opened through `files`,
   * which also reads those that must be in memory as a whole.
   */
  open(files: ModelFiles, options: Options): Promise<Contents>;
}

/** What a format says of a model. */
export interface Contents {
  /** In model order; their values, and those of their partners, are {@link StoredValues}. */
  readonly tensors: readonly WeightTensor[];
  readonly skipped: readonly Skipped[];
  /**
   * What the model is written to, the main file first.
   * @param path undefined where files go to streams or into memory, under the names that they have in the model
   * @param current the bytes to write. Parts of a file are asked for in their order, and what is made anew comes last.
   * @throws SparsifyError `usage` for a path that such a model cannot be written to
   */
  outputs(path: string | undefined, current: CurrentFiles): Promise<readonly ModelOutput[]>;
}

/** A file that a model is written to. */
export interface ModelOutput extends OutputFile {
  /** The file of the model whose bytes it gets, or undefined for one that is made anew. */
  readonly from: string | undefined;
}

/** The files of a model with the changes that were made. */
export interface CurrentFiles {
  /** The bytes of a file, all of them by default. */
  chunks(file: string, start?: number, end?: number): AsyncIterable<Uint8Array>;
  /** What the codes of values mean since they were last encoded; undefined where that was never done. */
  meaning(values: StoredValues): unknown;
}

/** Numbers of a model, and where they lie in its files. */
export class StoredValues implements Values {
  /**
   * @param file the name that the file has in the model
   * @param start the first byte in the file, at any alignment
   * @param bytes how many bytes there are
   * @param coding how numbers are stored that do not simply follow each other
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

/** How numbers are stored that do not simply follow each other: as codes, or scattered over a message. */
export interface Coding {
  /** Bytes of one code; undefined where that varies, which is possible only in files that are held in memory. */
  readonly width: number | undefined;
  /**
   * The numbers, little-endian.
   * @param meaning what the last {@link encode} said of the codes
   */
  decode(stored: Uint8Array, meaning: unknown): Uint8Array<ArrayBuffer> | Promise<Uint8Array<ArrayBuffer>>;
  /** Changes the stored bytes so that they hold other numbers. */
  encode(numbers: Uint8Array, stored: Uint8Array, meaning: unknown): Encoded | Promise<Encoded>;
}

export interface Encoded {
  /** What the codes mean now. */
  readonly meaning?: unknown;
  /** How many of the numbers are zero as they are stored, where storing rounds them. */
  readonly zeros?: number;
}

/** @throws SparsifyError `usage` for values that are not those of a file */
export function stored(values: Values): StoredValues {
  if (values instanceof StoredValues) return values;
  throw new SparsifyError('usage', 'the values are those of another model');
}

/**
 * The format of a file, by its content.
 * @param options what the caller says of the reading
 * @throws SparsifyError `format` where the file is of none of the formats, `usage` for an option that its format does not
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
    throw new SparsifyError('format', 'the file is not a model that can be read', {
      subject,
      ...recognise(file),
      allowed: formats.map(({ name }) => name),
    });
  }
  const given = Object.entries(options as object).filter(([, value]) => value !== undefined);
  const other = given.find(([name]) => !(format.options as readonly string[]).includes(name));
  if (other !== undefined) {
    const takers = formats.filter(({ options }) => (options as readonly string[]).includes(other[0]));
    throw new SparsifyError(
      'usage',
      `the option ${other[0]} is for ${takers.map(({ name }) => name).join(' and ')} models`,
      {
        subject,
        found: `${format.name} model`,
        allowed: format.options.length > 0 ? format.options : ['no option'],
      },
    );
  }
  return format;
}

/** @throws SparsifyError `usage` where the name of an output is that of another kind of model */
export function checkEnding({ name, endings }: Pick<Format, 'name' | 'endings'>, path: string): void {
  const lower = path.toLowerCase();
  const isOther = modelEndings.some((ending) => lower.endsWith(ending));
  if (!isOther || endings.some((ending) => lower.endsWith(ending))) return;
  throw new SparsifyError('usage', 'the output is of the same format as the input', {
    given: path,
    found: `${name} model`,
    allowed: [...endings.map((ending) => `a name that ends with ${ending}`), 'a folder'],
    hint: 'Models are not converted',
  });
}
