import { attempt, SparsifyError } from '../errors.js';
import { inSlices } from '../host/slices.js';

/** A block of shared memory. The caller owns it, and frees it when it is no longer needed. */
export interface Block {
  readonly bytes: number;
  /**
   * Where the block begins in the engine's memory, in bytes.
   * @throws SparsifyError `usage` if the block has been freed, `memory` if the engine stopped working
   */
  readonly address: number;
  /**
   * The bytes themselves, or undefined where the caller's thread does not share the memory (pages that are not
   * cross-origin isolated). Make a new view for each use: a memory that grows gets a new buffer.
   * @param offset where the view begins, in bytes; 0 by default
   * @param length its bytes; up to the end of the block by default
   */
  view(offset?: number, length?: number): Uint8Array | undefined;
  /** Copies `source` into the block at `offset`, in slices that keep a page responsive. */
  write(source: Uint8Array, offset?: number): Promise<void>;
  /** Fills `target` from the block, starting at `offset`, in slices as well, and returns it. */
  read<Target extends Uint8Array>(offset: number, target: Target): Promise<Target>;
  /**
   * Keeps the memory until the returned function is called, even if the block is freed in the meantime.
   * @throws SparsifyError `usage` if it has been freed already
   */
  retain(): () => void;
  /** Frees the memory, once nobody retains it. A second call does nothing. */
  free(): void;
}

/** How a thread reads and writes the engine's memory. */
export interface MemoryAccess {
  /** The memory itself, where this thread shares it. */
  readonly memory: { readonly buffer: ArrayBufferLike } | undefined;
  write(address: number, bytes: Uint8Array<ArrayBuffer>): Promise<void>;
  read(address: number, length: number): Promise<Uint8Array>;
  /** Why nothing works any more, once a kernel failed: what it left in memory is not to be trusted. */
  readonly failure: SparsifyError | undefined;
}

export class AllocatedBlock implements Block {
  readonly #address: number;
  readonly #access: MemoryAccess;
  readonly #release: () => void;
  #users = 1;
  #isFree = false;

  /** @param release is called once, when the block is freed and nobody retains it */
  constructor(
    address: number,
    readonly bytes: number,
    access: MemoryAccess,
    release: () => void,
  ) {
    this.#address = address;
    this.#access = access;
    this.#release = release;
  }

  get address(): number {
    const { failure } = this.#access;
    if (failure) throw failure;
    if (this.#users > 0) return this.#address;
    throw freed();
  }

  view(offset = 0, length = this.bytes - offset): Uint8Array | undefined {
    this.#checkRange(offset, length);
    const buffer = this.#access.memory?.buffer;
    return buffer && new Uint8Array(buffer, this.address + offset, length);
  }

  async write(source: Uint8Array, offset = 0): Promise<void> {
    checkBytes(source);
    this.#checkRange(offset, source.length);
    await inSlices(source.length, async (from, to) => {
      const slice = source.subarray(from, to);
      const view = this.view(offset + from, to - from);
      if (view) view.set(slice);
      else await this.#access.write(this.address + offset + from, new Uint8Array(slice));
    });
  }

  async read<Target extends Uint8Array>(offset: number, target: Target): Promise<Target> {
    checkBytes(target);
    this.#checkRange(offset, target.length);
    await inSlices(target.length, async (from, to) => {
      const view = this.view(offset + from, to - from);
      target.set(view ?? (await this.#access.read(this.address + offset + from, to - from)), from);
    });
    return target;
  }

  retain(): () => void {
    if (this.#isFree) throw freed();
    this.#users++;
    let isHeld = true;
    return () => {
      if (isHeld) this.#leave();
      isHeld = false;
    };
  }

  free(): void {
    if (!this.#isFree) this.#leave();
    this.#isFree = true;
  }

  #leave(): void {
    if (--this.#users === 0) this.#release();
  }

  /** Behind the end of the block is memory of others. */
  #checkRange(offset: number, length: number): void {
    const isRange = [offset, length].every((each) => Number.isInteger(each) && each >= 0);
    if (isRange && offset + length <= this.bytes) return;
    throw new SparsifyError('usage', 'a block is read and written within its bytes', {
      given: { offset, length },
      found: `a block of ${this.bytes} bytes`,
    });
  }
}

/** @throws SparsifyError `usage` for anything but a Uint8Array */
function checkBytes(bytes: unknown): void {
  if (attempt('the bytes', () => bytes instanceof Uint8Array)) return;
  throw new SparsifyError('usage', 'a block is read and written as a Uint8Array', { found: typeof bytes });
}

const freed = (): SparsifyError =>
  new SparsifyError('usage', 'this memory has been freed', { hint: 'The model was closed; read it again' });
