import { inspect, loadEngine, Sparsifier, type Block, type LoadEngineOptions } from 'sparsifier';
import { fromArrays } from 'sparsifier/formats/arrays';
import { describe, expect, test } from 'vitest';
import { differsAt } from '../support/bytes.js';
import {
  errorOf,
  expectNoMemoryInUse,
  layerOf,
  layouts,
  line,
  sparsified,
  weightwise,
  xorshift,
} from '../support/layers.js';
import { copyOf } from '../support/oracle.js';
import { cores, setting } from '../support/setting.js';

const MiB = 2 ** 20;
const model = Object.fromEntries(layouts.map((layout) => [layout.title, layerOf(layout)]));

async function expectItWorks(): Promise<void> {
  const { report } = await sparsified({ layer: line([1, 2, 3, 4]) }, 50);
  expect(report.total).toMatchObject({ weights: 4, zeros: 2 });
}

describe('loadEngine', () => {
  test('loadEngine returns one engine, however often it is called', async () => {
    const engines = await Promise.all([loadEngine(), loadEngine(), loadEngine({})]);
    expect(new Set(engines).size).toBe(1);
    await expectItWorks();
    expect(await loadEngine()).toBe(engines[0]);
    expect(await loadEngine({ threads: await cores() }), 'with the options that it has by default').toBe(engines[0]);
  });

  test.each<LoadEngineOptions>([
    { threads: 255 },
    { wasm: 'https://example.org/a.wasm' },
    { thread: 'https://example.org/a.js' },
  ])('loadEngine refuses other options later: %j', async (options) => {
    const engine = await loadEngine();
    expect((await errorOf(() => loadEngine(options))).code).toBe('usage');
    expect(await loadEngine()).toBe(engine);
  });

  test.each([0, -1, 1.5, 257, NaN, '2'])('%j is refused as the number of threads', async (threads) => {
    const error = await errorOf(() => loadEngine({ threads: threads as number }));
    expect([error.code, error.details.given]).toEqual(['usage', threads]);
  });

  test('loadEngine reports its errors as rejections', async () => {
    await loadEngine();
    let promise: Promise<unknown> | undefined;
    expect(() => (promise = loadEngine({ threads: 0 })), 'does not throw').not.toThrow();
    await expect(promise).rejects.toMatchObject({ code: 'usage' });
  });
});

describe('threads', () => {
  test.runIf(setting === 'node')('In Node there are as many threads as the process may use', async () => {
    const engine = await loadEngine();
    expect(engine.threads).toBe(await cores());
    expect(engine.why).toContain(engine.threads > 1 ? `${engine.threads} threads` : 'one core');
  });

  test.runIf(setting === 'isolated')(
    'In an isolated page there are as many threads as the machine has cores',
    async () => {
      const engine = await loadEngine();
      expect(engine.threads).toBe(await cores());
      expect(engine.why).toContain(engine.threads > 1 ? `${engine.threads} threads` : 'one core');
    },
  );

  test.runIf(setting === 'bare')(
    'In a page that is not isolated there is one thread, and the engine says why',
    async () => {
      const engine = await loadEngine();
      expect(engine.threads).toBe(1);
      expect(engine.why).toMatch((await cores()) > 1 ? /not cross-origin isolated.*COOP.*COEP/ : /one core/);
    },
  );

  test('Every report has the number of threads', async () => {
    const { threads, why } = await loadEngine();
    expect((await sparsified({ layer: line([1, 2]) }, 50)).report.engine).toEqual({ threads, why });
    expect((await inspect(fromArrays({ layer: line([1, 2]) }))).engine).toEqual({ threads, why });
  });
});

describe('a block of memory', () => {
  const slice = 4 * MiB;

  test('A block begins at a multiple of 16 bytes and overlaps no other one', async () => {
    const engine = await loadEngine();
    const sizes = [1, 15, 16, 17, 1000, MiB + 1];
    for (let turn = 0; turn < 3; turn++) {
      const blocks = [];
      for (const [index, bytes] of sizes.entries()) {
        const block = await engine.allocate(bytes);
        expect(block.address % 16).toBe(0);
        expect(block.address).toBeGreaterThan(0);
        await block.write(new Uint8Array(bytes).fill(index + 1));
        blocks.push(block);
      }
      for (const [index, block] of blocks.entries()) {
        const content = await block.read(0, new Uint8Array(block.bytes));
        expect(differsAt(content, new Uint8Array(block.bytes).fill(index + 1))).toBe(-1);
        block.free();
      }
    }
    await expectNoMemoryInUse();
  });

  test.each([0, 1, slice - 1, slice, slice + 1, 2 * slice, 2 * slice + 3])(
    'A block returns the %i bytes that were written',
    async (length) => {
      const block = await (await loadEngine()).allocate(length + 32);
      const next = xorshift(length);
      const source = Uint8Array.from({ length }, () => next() >>> 24);
      const sum = async (offset: number, size: number) =>
        (await block.read(offset, new Uint8Array(size))).reduce((a, b) => a + b, 0);
      for (const offset of [0, 5, 32]) {
        await block.write(new Uint8Array(length + 32));
        await block.write(source, offset);
        const target = await block.read(offset, new Uint8Array(length));
        expect(differsAt(target, source)).toBe(-1);
        expect((await sum(0, offset)) + (await sum(offset + length, 32 - offset)), 'around them').toBe(0);
      }
      block.free();
    },
  );

  test('A block can be read and written in part, also into a part of an array', async () => {
    const block = await (await loadEngine()).allocate(10);
    await block.write(new Uint8Array(10));
    await block.write(Uint8Array.of(9, 1, 2, 3, 9).subarray(1, 4), 2);
    const target = new Uint8Array(6);
    expect(await block.read(3, target.subarray(1, 4))).toEqual(Uint8Array.of(2, 3, 0));
    expect(target).toEqual(Uint8Array.of(0, 2, 3, 0, 0, 0));
    block.free();
  });

  test('Writing into a block does not transfer the source', async () => {
    const block = await (await loadEngine()).allocate(8);
    const source = Uint8Array.of(1, 2, 3);
    await block.write(source);
    expect([source.length, source.buffer.byteLength]).toEqual([3, 3]);
    block.free();
  });

  test.runIf(setting !== 'bare')('A block can be viewed where memory is shared', async () => {
    const block = await (await loadEngine()).allocate(8);
    await block.write(new Uint8Array(8));
    block.view()!.set([1, 2, 3], 1);
    expect([...(await block.read(0, new Uint8Array(8)))]).toEqual([0, 1, 2, 3, 0, 0, 0, 0]);
    expect([...block.view(2, 2)!]).toEqual([2, 3]);
    block.free();
  });

  test.runIf(setting === 'bare')('A block cannot be viewed where memory is not shared', async () => {
    const block = await (await loadEngine()).allocate(8);
    expect(block.view()).toBeUndefined();
    block.free();
  });

  test('A block counts as used until it is freed, and is freed once', async () => {
    const engine = await loadEngine();
    const [first, second] = await Promise.all([engine.allocate(100), engine.allocate(50)]);
    expect(engine.memory).toEqual({ blocks: 2, bytes: 150 });
    first.free();
    first.free();
    expect(engine.memory).toEqual({ blocks: 1, bytes: 50 });
    const third = await engine.allocate(100);
    expect(third.address).not.toBe(second.address);
    second.free();
    third.free();
    await expectNoMemoryInUse();
  });
});

describe('memory that is not available', () => {
  test.each([2 ** 40, 2 ** 32, 2 ** 32 - 1, Infinity])(
    'A block of %d bytes is refused with the sizes in question',
    async (bytes) => {
      const engine = await loadEngine();
      const error = await errorOf(() => engine.allocate(bytes));
      expect(error.code).toBe('memory');
      expect(error.message).toContain(`${Math.ceil(bytes / MiB)} MiB`);
      expect(error.message).toMatch(/0 MiB in use of at most 4096 MiB/);
      await expectNoMemoryInUse();
      await expectItWorks();
    },
  );

  test.each([-1, NaN])('%d is refused as the size of a block', async (bytes) => {
    const engine = await loadEngine();
    expect((await errorOf(() => engine.allocate(bytes))).code).toMatch(/memory|usage/);
    await expectNoMemoryInUse();
  });

  test(
    'Blocks can be allocated until none is left, also beyond 2 GiB, and the engine continues to work',
    { timeout: 120_000 },
    async () => {
      const engine = await loadEngine();
      const blocks: Block[] = [];
      const fill = (bytes: number) =>
        errorOf(async () => {
          while (blocks.length < 100) blocks.push(await engine.allocate(bytes));
        });
      try {
        const error = await fill(2 ** 30);
        expect(error.code).toBe('memory');
        expect(error.message).toContain('given: 1024 MiB');
        expect(error.message).toContain(`${blocks.length * 1024} MiB in use`);
        // How many there are depends on the address space that the host gives.
        expect(blocks.length).toBeLessThan(4);
        expect(engine.memory).toEqual({ blocks: blocks.length, bytes: blocks.length * 2 ** 30 });
        for (const [index, block] of blocks.entries()) {
          await block.write(Uint8Array.of(index + 1, 2, 3), 2 ** 30 - 3);
          expect([...(await block.read(2 ** 30 - 3, new Uint8Array(3)))]).toEqual([index + 1, 2, 3]);
        }
        expect(new Set(blocks.map(({ address }) => address)).size).toBe(blocks.length);
        await expectItWorks();

        for (const bytes of [512 * MiB, 256 * MiB, 128 * MiB, 64 * MiB])
          expect((await fill(bytes)).code).toBe('memory');
        const used = engine.memory;
        const data = new Float32Array(40 * MiB).fill(1);
        const layer = { kind: 'dense', roles: ['out', 'in'], shape: [1, data.length], data } as const;
        const refused = await errorOf(() => new Sparsifier(fromArrays({ layer }), weightwise).sparsifyModel(50));
        expect(refused.code).toBe('memory');
        expect(refused.message).toContain('given: 160 MiB');
        expect(data.includes(0), 'nothing was changed').toBe(false);
        expect(engine.memory).toEqual(used);
      } finally {
        for (const block of blocks) block.free();
      }
      await expectNoMemoryInUse();
      await expectItWorks();
      (await engine.allocate(2 ** 30)).free();
    },
  );
});

describe('memory after a call', () => {
  test.each<{ title: string; call: (sparsifier: Sparsifier, data: Float32Array) => Promise<unknown>; fails: boolean }>([
    { title: 'that succeeds', call: (sparsifier) => sparsifier.sparsifyModel(50), fails: false },
    {
      title: 'with an earlier mask',
      call: (sparsifier) => sparsifier.sparsifyModel(30).then(() => sparsifier.sparsifyModel(60)),
      fails: false,
    },
    {
      title: 'of one layer',
      call: (sparsifier) => sparsifier.sparsifyLayer('dense', 50, { roundTo: 2 }),
      fails: false,
    },
    { title: 'that removes nothing', call: (sparsifier) => sparsifier.sparsifyModel(0), fails: false },
    { title: 'of inspect', call: (sparsifier) => inspect(sparsifier.model), fails: false },
    { title: 'with an invalid sparsity', call: (sparsifier) => sparsifier.sparsifyModel(101), fails: true },
    {
      title: 'with weights that are not finite',
      call: (sparsifier, data) => (data.fill(NaN), sparsifier.sparsifyModel(50)),
      fails: true,
    },
    {
      title: 'whose progress listener fails',
      call: (sparsifier) =>
        sparsifier.sparsifyModel(50, {
          onProgress: () => {
            throw new Error('broken');
          },
        }),
      fails: true,
    },
    {
      title: 'that is aborted',
      call: (sparsifier) => {
        const controller = new AbortController();
        return sparsifier.sparsifyModel(50, { signal: controller.signal, onProgress: () => controller.abort() });
      },
      fails: true,
    },
  ])('A call $title frees its memory', async ({ call, fails }) => {
    for (const options of [
      { granularity: 'weight' },
      { granularity: 'filter', context: 'global', normalizer: 'l2' },
    ] as const) {
      const layers = copyOf(model);
      const sparsifier = new Sparsifier(fromArrays(layers), { ...weightwise, ...options });
      const outcome = await call(sparsifier, layers.gru!.data as Float32Array).then(
        () => 'done',
        () => 'failed',
      );
      expect(outcome).toBe(fails ? 'failed' : 'done');
      await expectNoMemoryInUse();
    }
  });

  test('A thousand calls free their memory', async () => {
    const layers = { layer: line([1, 2, 3, 4]) };
    const sparsifier = new Sparsifier(fromArrays(layers), weightwise);
    for (let turn = 0; turn < 1000; turn++) await sparsifier.sparsifyModel(turn % 2 ? 25 : 75);
    await expectNoMemoryInUse();
  });

  // Last, since what it leaves behind would be counted by others.
  test('A call on a model whose buffer was transferred frees its memory', async () => {
    const layers = copyOf({ first: line([1, 2, 3, 4]), last: line([1, 2, 3, 4]) });
    const model = fromArrays(layers);
    const { data } = layers.last!;
    structuredClone(data, { transfer: [data.buffer] });
    await expect(new Sparsifier(model, weightwise).sparsifyModel(50)).rejects.toThrow();
    await expect(inspect(model)).rejects.toThrow();
    expect([...layers.first!.data]).toEqual([1, 2, 3, 4]);
    await expectNoMemoryInUse();
  });
});
