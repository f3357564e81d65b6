import { productOf } from '../../model/numbers.js';
import { joinedOutput } from '../joined.js';
import type { ModelOutput } from '../format.js';
import { bytesIn, lengthDelimited, textField, type Edits, type MadeBytes } from './edits.js';
import { externalTensors, followOwnData, locationOf, type ExternalTensor } from './external.js';
import type { Constant } from './graph.js';
import type { StoredNumbers } from './storing-chains.js';
import { readTensor } from './tensor.js';
import { bitsOf } from './types.js';
import { text } from './wire.js';

/**
 * The alignments that data keep at most, in bytes: a line of a cache, and a page where that adds little to them. An offset
 * has larger ones by chance, where the sizes of tensors are powers of two.
 */
const alignments = { line: 64, page: 4096, fewestPaged: 2 ** 20 } as const;

/** Bytes of an external data file. */
interface Run {
  /** Where they begin and end in the file as it was. */
  readonly start: number;
  end: number;
  /** What replaces them, if anything does. */
  readonly bytes: Uint8Array | MadeBytes | undefined;
  /** Where they begin in the new file. */
  offset: number;
}

/** A file with external data after some of its tensors were replaced. */
interface Layout {
  /** In the order of the file. */
  readonly runs: readonly Run[];
  readonly size: number;
}

/**
 * The numbers that replace those of constants. Where a constant is external data, so are they, unless they are in the
 * model file itself. Files that change are
 * written without what is no longer used. Tensors that share bytes keep sharing them. The first of them, and every other
 * tensor, stays aligned.
 */
export class ExternalData {
  readonly #edits: Edits;
  /** By the places of their constants, and where those are that are external data. */
  readonly #replaced = new Map<number, Uint8Array | MadeBytes>();
  readonly #placed = new Map<number, StoredNumbers>();
  readonly #layouts = new Map<string, Layout>();

  constructor(edits: Edits) {
    this.#edits = edits;
  }

  replace({ place }: Constant, bytes: Uint8Array | MadeBytes): void {
    this.#replaced.set(place, bytes);
  }

  /** Lays out the files, once all numbers are known, and changes where other tensors are. */
  place(): void {
    const { file } = this.#edits;
    followOwnData(this.#edits, (tensor) => !this.#replaced.has(tensor.start));
    const tensors = new Map<string, ExternalTensor[]>();
    for (const each of externalTensors(file)) {
      const location = locationOf(file, each);
      if (location === undefined || location === file.name) continue;
      if (!tensors.has(location)) tensors.set(location, []);
      tensors.get(location)!.push(each);
    }
    for (const [location, each] of tensors) {
      if (each.some(({ tensor }) => this.#replaced.has(tensor.start))) this.#lay(location, each);
    }
  }

  #lay(location: string, tensors: readonly ExternalTensor[]): void {
    const { file } = this.#edits;
    const placed = tensors.map((each) => {
      const [offset, length] = ['offset', 'length'].map((key) => {
        const value = each.entries.get(key);
        return value && Number(text(file, value));
      });
      const start = offset ?? 0;
      const end = start + (length ?? lengthIn(this.#edits, each));
      return { ...each, start, end, bytes: this.#replaced.get(each.tensor.start) };
    });
    placed.sort((one, other) => one.start - other.start || one.end - other.end);
    const runs: Run[] = [];
    let size = 0;
    let run: Run | undefined;
    for (const { tensor, entries, start, end, bytes } of placed) {
      const isShared = run !== undefined && bytes === undefined && run.bytes === undefined && start < run.end;
      if (isShared) run!.end = Math.max(run!.end, end);
      else {
        const alignment = alignmentOf(start, bytes?.length ?? end - start);
        const offset = Math.ceil(size / alignment) * alignment;
        run = { start, end, bytes, offset };
        runs.push(run);
      }
      const { offset } = run!;
      size = offset + (bytes?.length ?? run!.end - run!.start);
      if (bytes === undefined) this.#move({ tensor, entries }, start, offset + (start - run!.start));
      else this.#placed.set(tensor.start, { location, offset, length: bytes.length });
    }
    this.#layouts.set(location, { runs, size });
  }

  #move({ tensor, entries }: ExternalTensor, from: number, to: number): void {
    if (from === to) return;
    const value = entries.get('offset');
    if (value !== undefined) this.#edits.replace(value, value, new TextEncoder().encode(String(to)));
    else {
      const entry = lengthDelimited(13, textField(1, 'offset'), textField(2, String(to)));
      this.#edits.insert(tensor, tensor.end, ...entry);
    }
  }

  /** The new numbers of a constant, or where they are. */
  numbersOf({ place }: Constant): StoredNumbers {
    return this.#placed.get(place) ?? this.#replaced.get(place)!;
  }

  /** The bytes of an external data file. */
  async file(output: ModelOutput): Promise<Uint8Array<ArrayBuffer>> {
    const layout = this.#layouts.get(output.path);
    if (layout === undefined) return joinedOutput(output);
    const bytes = new Uint8Array(layout.size);
    for (const run of layout.runs) if (run.bytes !== undefined) bytes.set(bytesIn(run.bytes), run.offset);
    const kept = layout.runs.filter((run) => run.bytes === undefined);
    let at = 0;
    for await (const chunk of output.chunks()) {
      for (const { start, end, offset } of kept) {
        const [from, to] = [Math.max(start, at), Math.min(end, at + chunk.length)];
        if (from < to) bytes.set(chunk.subarray(from - at, to - at), offset + (from - start));
      }
      at += chunk.length;
    }
    return bytes;
  }
}

/** The alignment that data of this length keep, given their offset. */
function alignmentOf(offset: number, length: number): number {
  const most = length < alignments.fewestPaged ? alignments.line : alignments.page;
  let alignment = 1;
  while (alignment < most && offset % (2 * alignment) === 0) alignment *= 2;
  return alignment;
}

/** How many bytes the data of a tensor take that does not say so. */
function lengthIn({ file }: Edits, { tensor }: ExternalTensor): number {
  const { type, shape } = readTensor(file, tensor);
  return Math.ceil((productOf(shape) * bitsOf(type)) / 8);
}
