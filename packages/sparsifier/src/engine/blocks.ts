import type { Block, Engine } from './engine.js';

/** Blocks that are freed together. */
export class Blocks {
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

  free(): void {
    for (const block of this.#blocks) block.free();
  }
}

/** Does work with blocks that are freed at its end. `using` would need `Symbol.dispose`, which some browsers lack. */
export async function withBlocks<Result>(engine: Engine, work: (held: Blocks) => Promise<Result>): Promise<Result> {
  const held = new Blocks(engine);
  try {
    return await work(held);
  } finally {
    held.free();
  }
}
