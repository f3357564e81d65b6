import type { Block, Engine } from './engine.js';

/** Blocks that are freed together. */
export class Blocks implements Disposable {
  readonly #engine: Engine;
  readonly #blocks: Block[] = [];

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  async allocate(bytes: number): Promise<Block> {
    const block = await this.#engine.allocate(bytes);
    this.#blocks.push(block);
    return block;
  }

  /** A block with these numbers. */
  async copy(numbers: Uint8Array | Float32Array): Promise<Block> {
    const block = await this.allocate(numbers.byteLength);
    await block.write(new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength));
    return block;
  }

  [Symbol.dispose](): void {
    for (const block of this.#blocks) block.free();
  }
}
