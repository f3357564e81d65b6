import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { trappingWasm } from '../support/trap.js';

// Each program runs in a process of its own: an engine is loaded once per process, and a process is to end by itself.

const { resolve } = createRequire(import.meta.url);
/** The address of one of the package's exports, for programs elsewhere. */
const exported = (name: string): string => pathToFileURL(resolve(name)).href;

/** Far more than any of these programs needs. */
const timeout = 120_000;

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sparsifier-engine-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
  readonly output: string;
  readonly errors: string;
}

function run(
  parameters: readonly string[],
  [program, ...first]: readonly string[] = [process.execPath],
): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(program!, [...first, ...parameters], {
      timeout: timeout - 5_000,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let [output, errors] = ['', ''];
    child.stdout.on('data', (data) => (output += data));
    child.stderr.on('data', (data) => (errors += data));
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, output: output.trim(), errors: errors.trim() }));
  });
}

const imports = `
  import { loadEngine, Sparsifier } from '${exported('sparsifier')}';
  import { fromArrays } from '${exported('sparsifier/formats/arrays')}';
  const value = (index) => 1 + (index * 7919) % 100_000;
  const data = Float32Array.from({ length: 100_000 }, (_, index) => value(index));
  const layer = { kind: 'dense', roles: ['out', 'in'], shape: [100, 1000], data };
  const sparsify = (criteria = 'largeFinal') => new Sparsifier(fromArrays({ layer }), {
    granularity: 'weight', context: 'local', criteria, layerType: 'dense',
  }).sparsifyModel(50);
  const right = () => data.every((weight, index) => weight === (value(index) > 50_000 ? value(index) : 0));
`;

/** Runs a module given as text; expects it to end well, by itself. */
async function program(text: string): Promise<string> {
  const ended = await run(['--input-type=module', '--eval', imports + text]);
  expect(ended).toMatchObject({ code: 0, signal: null, errors: '' });
  return ended.output;
}

/** What a program with these options for \`loadEngine\` says: threads, why, and whether the weights are right. */
async function loaded(options: object): Promise<{ threads: number; why: string; right: boolean }> {
  const output = await program(`
    const { threads, why } = await loadEngine(${JSON.stringify(options)});
    await sparsify();
    console.log(JSON.stringify({ threads, why, right: right() }));
  `);
  return JSON.parse(output) as { threads: number; why: string; right: boolean };
}

async function file(name: string, content: string | Uint8Array): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, content);
  return pathToFileURL(path).href;
}

describe.concurrent('the end of a process', { timeout }, () => {
  test('A process ends by itself after a call', async () => {
    expect(await program('await sparsify(); console.log(right());')).toBe('true');
  });

  test('A process ends by itself only once a call is done, even if nothing awaits it', async () => {
    expect(await program('sparsify().then(() => console.log(right()));')).toBe('true');
    expect(
      await program('loadEngine().then(() => sparsify()).then(() => sparsify()).then(() => console.log(right()));'),
    ).toBe('true');
  });

  test('A process ends by itself if the engine is loaded and never used', async () => {
    expect(await program('const { threads } = await loadEngine(); console.log(threads);')).toBe(
      String(availableParallelism()),
    );
    expect(await program('loadEngine();')).toBe('');
  });

  test('A process ends by itself if the package is imported and never used', async () => {
    expect(await program('console.log(typeof Sparsifier);')).toBe('function');
  });

  test('A process ends by itself with memory still in use', async () => {
    expect(await program('const block = await (await loadEngine()).allocate(1000); console.log(block.bytes);')).toBe(
      '1000',
    );
  });

  test('A process ends with code 1 and the error after a call that failed', async () => {
    const ended = await run(['--input-type=module', '--eval', `${imports} data[7] = NaN; await sparsify();`]);
    expect(ended).toMatchObject({ code: 1, signal: null });
    expect(ended.errors).toContain('index 7');
  });

  test('A script and a CommonJS program end by themselves', async () => {
    const script = fileURLToPath(await file('script.mjs', `${imports} await sparsify(); console.log(right());`));
    expect(await run([script])).toEqual({ code: 0, signal: null, output: 'true', errors: '' });
    const common = `import('${exported('sparsifier')}').then(({ loadEngine }) => loadEngine()).then(({ threads }) => console.log(threads));`;
    expect(await run(['--eval', common])).toEqual({
      code: 0,
      signal: null,
      output: String(availableParallelism()),
      errors: '',
    });
  });

  test('A program ends by itself if the package is used in one of its threads', async () => {
    const inner = fileURLToPath(await file('inner.mjs', `${imports} await sparsify(); console.log(right());`));
    expect(
      await program(
        `import { Worker } from 'node:worker_threads'; new Worker(${JSON.stringify(inner)}, { execArgv: [] });`,
      ),
    ).toBe('true');
  });
});

describe.concurrent('loadEngine', { timeout }, () => {
  test.each([1, 2, 4])('An engine with %i threads can be loaded', async (threads) => {
    const found = await loaded({ threads });
    expect(found).toMatchObject({ threads, right: true });
    expect(found.why).toContain(threads === 1 ? 'one thread' : `${threads} threads`);
  });

  test('An engine can have more threads than there are cores', async () => {
    expect(await loaded({ threads: 33 })).toMatchObject({ threads: 33, right: true });
  });

  test('The addresses of the files can be given', async () => {
    const wasm = exported('sparsifier/sparsifier.wasm');
    const thread = exported('sparsifier/thread');
    for (const options of [
      { wasm },
      { thread },
      { wasm, thread, threads: 2 },
      { wasm: fileURLToPath(wasm), threads: 2 },
    ]) {
      const threads = 'threads' in options ? options.threads : availableParallelism();
      expect(await loaded(options)).toMatchObject({ threads, right: true });
    }
    const text = `
      const engine = await loadEngine({ wasm: new URL('${wasm}'), thread: new URL('${thread}'), threads: 2 });
      console.log(engine.threads);
    `;
    expect(await program(text)).toBe('2');
  });

  test('After loadEngine with options, further calls take the same options or none', async () => {
    const output = await program(`
      const first = await loadEngine({ threads: 2 });
      await sparsify();
      console.log(first === await loadEngine(), first === await loadEngine({ threads: 2 }));
      try { await loadEngine({ threads: 3 }); } catch ({ code }) { console.log(code); }
    `);
    expect(output).toBe('true true\nusage');
  });
});

describe.concurrent('threads that cannot start', { timeout }, () => {
  const expectTheCallersThread = (found: Awaited<ReturnType<typeof loaded>>) => {
    expect(found).toMatchObject({ threads: 1, right: true });
    expect(found.why).toMatch(/caller's thread.*could be started: .+serverExternalPackages/);
  };

  test.each([
    'throw new Error("broken");',
    'syntax error',
    'process.exit(0);',
    'process.exit(3);',
    'import "../nowhere.mjs";',
    '',
  ])('If the thread file is %j, the caller’s thread does the work', async (text) => {
    const thread = await file(
      `broken-${Math.abs([...text].reduce((sum, each) => sum * 31 + each.charCodeAt(0), 7)) % 1e9}.mjs`,
      text,
    );
    expectTheCallersThread(await loaded({ thread }));
    expectTheCallersThread(await loaded({ thread, threads: 4 }));
    expectTheCallersThread(await loaded({ thread, threads: 1 }));
  });

  test.each(['file:///nowhere/at/all.js', 'data:text/javascript,throw 1', './relative.js', 'not an address'])(
    'If the address of the thread file is %j, the caller’s thread does the work',
    async (thread) => {
      expectTheCallersThread(await loaded({ thread }));
    },
  );
});

describe.concurrent('a wasm that cannot be loaded', { timeout }, () => {
  test.each(['missing', 'empty', 'broken', 'no folder'])(
    'A wasm (%s) that cannot be loaded is an error, and a later attempt can succeed',
    async (kind) => {
      const wasm = {
        missing: 'file:///nowhere/at/all.wasm',
        empty: await file('empty.wasm', ''),
        broken: await file('broken.wasm', 'this is no wasm'),
        'no folder': pathToFileURL(folder).href,
      }[kind]!;
      const thread = await file('throws.mjs', 'throw 1;');
      const output = await program(`
      for (const options of [{}, { threads: 1 }, { thread: '${thread}' }]) {
        const error = await loadEngine({ wasm: '${wasm}', ...options }).catch((error) => error);
        console.log(error.name, error.code, error.message.includes('loadEngine({ wasm'));
      }
      await sparsify();
      console.log(right());
    `);
      expect(output.split('\n')).toEqual([...new Array(3).fill('SparsifyError file true'), 'true']);
    },
  );
});

describe.concurrent('an engine that stops working', { timeout }, () => {
  const failing = `
    const { code, message } = await sparsify('random').catch((error) => error);
    console.log(code, /stopped working.*unreachable/.test(message), data.every((weight, index) => weight === value(index)));
  `;
  const working = `await sparsify(); console.log(right());`;
  // Written once: these tests run at the same time.
  let written: Promise<string> | undefined;
  const traps = () => (written ??= trappingWasm().then((bytes) => file('traps.wasm', bytes)));

  test.each([1, 2, 4])(
    'A kernel that fails is an error of the call with %i threads, and the next call works',
    async (threads) => {
      const output = await program(
        `await loadEngine({ wasm: '${await traps()}', threads: ${threads} });${failing}${working}`,
      );
      expect(output.split('\n')).toEqual(['memory true true', 'true']);
    },
  );

  test('On the caller’s thread an engine that failed is not replaced', async () => {
    const thread = await file('no-thread.mjs', 'throw 1;');
    const output = await program(`
      await loadEngine({ wasm: '${await traps()}', thread: '${thread}' });
      ${failing}
      console.log((await sparsify().catch((error) => error)).code);
    `);
    expect(output.split('\n')).toEqual(['memory true true', 'memory']);
  });

  test('The process can end after a kernel failed', async () => {
    expect(
      await program(`
        await loadEngine({ wasm: '${await traps()}', threads: 2 });
        await sparsify('random').catch(({ code }) => console.log(code));
      `),
    ).toBe('memory');
  });

  test('A thread of the pool that ends without a message is an error of the call', async () => {
    // The engine's thread starts those of the pool; here it ends them when they are ready.
    const thread = await file(
      'ending.mjs',
      `
        import threads from 'node:worker_threads';
        import { syncBuiltinESMExports } from 'node:module';
        const { Worker } = threads;
        const started = [];
        threads.Worker = class extends Worker {
          unref() {
            started.push(this);
            if (started.length === 2) setTimeout(() => this.terminate());
            super.unref();
          }
        };
        syncBuiltinESMExports();
        await import('${exported('sparsifier/thread')}');
      `,
    );
    const output = await program(`
      const engine = await loadEngine({ thread: '${thread}', threads: 2 });
      console.log(engine.threads);
      const use = () => engine.allocate(16).then(use, (error) => error);
      const error = await use();
      console.log(error.code, error.message.includes('a thread of the pool ended'));
      console.log(engine !== await loadEngine());
    `);
    expect(output.split('\n')).toEqual(['2', 'memory true', 'true']);
  });
});

test.runIf(process.platform === 'linux')(
  'A process with too little address space gets an error of the memory from the thread of the engine',
  async () => {
    // In KiB: enough for Node itself, and too little for the memory of the engine.
    const script = 'ulimit -v 4000000; exec "$0" --input-type=module --eval "$1"';
    const text = `${imports} await sparsify().catch(({ code, message }) => console.log(code, message));`;
    const { output, errors } = await run([script, process.execPath, text], ['bash', '-c']);
    // Other versions of Node may need more for themselves.
    if (!errors.includes('Fatal process')) {
      expect({ output, errors }).toEqual({
        output: expect.stringMatching(/^memory .*could not be loaded/),
        errors: '',
      });
      expect(output).not.toMatch(/bundler/);
    }
  },
);
