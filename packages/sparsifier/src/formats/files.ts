import * as host from '#host';
import type { Block, Engine } from '../engine/engine.js';
import { attempt, SparsifyError } from '../errors.js';
import type { Source } from '../host/host.js';
import { overLimit, type Reading } from '../host/reading.js';
import { parseJson } from '../model/json.js';
import { readable } from '../options/listener.js';
import { modelIn } from './folder.js';
import { unlessAborted } from './reading.js';
import { emptyFile, Opened, readBlock, type Bytes, type GiveFile, type ModelSource } from './sources.js';

/** The main file of a model, with the parts of it that identify the format. */
export interface MainFile {
  readonly source: Source;
  /** The name of the file. A Blob or bytes may not have one. */
  readonly name: string | undefined;
  /** The first 64 bytes, or all of them if there are fewer. */
  readonly head: Uint8Array;
  /** The parsed content, if the file begins with `{` or `[`. */
  readonly json: Json | undefined;
  /** What the content is, if it begins like JSON and cannot be read as JSON. */
  readonly jsonFailure: string | undefined;
}

type Json = Readonly<Record<string, unknown>> | readonly unknown[];

/** JSON of more bytes is not parsed, whatever the limit: it may not fit in a string. */
const longestJson = 2 ** 28;

/**
 * Reads the parts of a file that identify its format.
 * @throws SparsifyError `format` for JSON that is too long or nested too deeply
 */
export async function begin(source: Source, reading: Reading): Promise<MainFile> {
  const head = new Uint8Array(Math.min(64, source.size));
  await source.read(head, 0);
  const text = String.fromCharCode(...head);
  const file = { source, name: source.name, head, json: undefined, jsonFailure: undefined };
  // JSON contains no zero bytes, while the length before a safetensors header ends with zeros.
  if (!/^(\xef\xbb\xbf)?\s*[{[]/.test(text) || text.slice(0, 8).includes('\0')) return file;
  const subject = source.name ?? 'the bytes';
  const { headerBytes } = reading.limits;
  if (source.size > headerBytes) throw overLimit('headerBytes', subject, headerBytes, source.size);
  if (source.size > longestJson)
    return { ...file, jsonFailure: `JSON of ${source.size} bytes, of which at most ${longestJson} are read` };
  const bytes = new Uint8Array(source.size);
  await source.read(bytes, 0);
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    return { ...file, json: parseJson(text, subject, reading) as Json };
  } catch (cause) {
    if (cause instanceof SparsifyError) throw cause;
    return { ...file, jsonFailure: `text that is not JSON: ${(cause as Error).message.slice(0, 100)}` };
  }
}

/** The files of a model that is being read, by their names in the model. */
export class ModelFiles {
  readonly main: MainFile;
  /** How they are read. */
  readonly reading: Reading;
  readonly #opened: Source[];
  readonly #sources = new Map<string, Source>();
  readonly #held = new Map<string, Block>();

  private constructor(main: MainFile, reading: Reading) {
    this.main = main;
    this.reading = reading;
    this.#opened = [main.source];
  }

  /** Opens the main file and reads its beginning. */
  static async open(from: ModelSource | Opened, reading: Reading): Promise<ModelFiles> {
    const isOpen = attempt('the model', () => from instanceof Opened);
    const source = isOpen ? (from as Opened).source : await host.open(await modelIn(from as ModelSource), reading);
    try {
      if (source.size === 0) throw emptyFile(source.name ?? 'the bytes');
      return new ModelFiles(await begin(source, reading), reading);
    } catch (error) {
      await source.close();
      throw error;
    }
  }

  /** Files that are read in parts. */
  get sources(): ReadonlyMap<string, Source> {
    return this.#sources;
  }

  /** Files that are held in memory. */
  get held(): ReadonlyMap<string, Block> {
    return this.#held;
  }

  /** How many bytes a file has. */
  sizeOf(name: string): number {
    return this.#held.get(name)?.bytes ?? this.#sources.get(name)!.size;
  }

  /** The paths of all files that are on this machine. */
  get paths(): string[] {
    return this.#opened.flatMap(({ path }) => path ?? []);
  }

  /**
   * Opens another file: the one that the caller's function returns, or else the one in the folder of the main file.
   * @param option the name of the option that is the caller's function
   * @throws SparsifyError `file` if there is none
   */
  async further(name: string, give: GiveFile | undefined, option: string): Promise<Source> {
    const source =
      give === undefined ? await this.main.source.sibling(name) : await given(name, give, option, this.reading);
    this.#opened.push(source);
    return source;
  }

  /** Adds a file that is read in parts. */
  add(name: string, source: Source): void {
    this.#checkFree(name);
    this.#sources.set(name, source);
  }

  /** Reads a whole file into a block that is held until {@link discard}. */
  async hold(engine: Engine, name: string, source: Source): Promise<Block> {
    this.#checkFree(name);
    const block = await readBlock(engine, source);
    this.#held.set(name, block);
    return block;
  }

  async close(): Promise<void> {
    for (const source of this.#opened) await source.close();
  }

  /** Closes the files and frees those that are held in memory. */
  async discard(): Promise<void> {
    for (const block of this.#held.values()) block.free();
    await this.close();
  }

  #checkFree(name: string): void {
    if (!this.#sources.has(name) && !this.#held.has(name)) return;
    throw new SparsifyError('format', 'two files of the model have one name', {
      subject: name,
      hint: 'The model names its own main file as a further one: write or export it again',
    });
  }
}

async function given(name: string, give: GiveFile, option: string, reading: Reading): Promise<Source> {
  const bytes = (await unlessAborted(reading, readable(`\`${option}\``, give(name)))) as Bytes | null | undefined;
  if (bytes !== undefined && bytes !== null) return host.open(bytes, reading);
  throw new SparsifyError('file', 'a file of the model is missing', {
    subject: name,
    hint: `${option}('${name}') returned undefined`,
  });
}

/** Several files as one, concatenated. */
export function joined(parts: readonly Source[]): Source {
  let size = 0;
  const starts = parts.map((part) => (size += part.size) - part.size);
  return {
    ...parts[0]!,
    size,
    read: async (target, position) => {
      const end = position + target.length;
      for (let index = partAt(position, starts); index < parts.length && starts[index]! < end; index++) {
        const [part, start] = [parts[index]!, starts[index]!];
        const from = Math.max(position, start);
        const to = Math.min(end, start + part.size);
        if (from < to) await part.read(target.subarray(from - position, to - position), from - start);
      }
    },
  };
}

/** The last part that begins at a position or before it, by bisection. */
function partAt(position: number, starts: readonly number[]): number {
  let [first, end] = [0, starts.length];
  while (end - first > 1) {
    const middle = (first + end) >> 1;
    if (starts[middle]! <= position) first = middle;
    else end = middle;
  }
  return first;
}
