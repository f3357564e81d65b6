import { sparsifyFile } from 'sparsifier/file';
import { readModel, type ReadModelOptions } from 'sparsifier/formats';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { errorOf, expectNoMemoryInUse } from '../support/layers.js';
import { indexOf, safetensorsFile } from '../support/safetensors-builder.js';
import { keeping } from '../support/streams.js';

type Bytes = Uint8Array<ArrayBuffer>;
type Controller = ReadableStreamDefaultController<Bytes>;

const address = 'https://models.example/folder/model.safetensors';
const file = safetensorsFile({ 'd.weight': [300, 200] });

afterEach(() => void vi.unstubAllGlobals());

/** What servers were asked for, and the signals of the requests. */
let asked: { url: string; signal: AbortSignal }[] = [];

/** Answers each request with what a function gives for its URL. */
function serving(answer: (url: string) => Response | Promise<Response>): void {
  asked = [];
  vi.stubGlobal('fetch', (url: URL, { signal }: { signal: AbortSignal }) => {
    asked.push({ url: url.href, signal });
    return new Promise<Response>((resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason));
      void Promise.resolve(answer(url.href)).then(resolve, reject);
    });
  });
}

/** A body that a function fills. Like that of a request, it fails once the request is aborted. */
function body(fill: (controller: Controller) => unknown): ReadableStream<Bytes> {
  return new ReadableStream<Bytes>({
    start: (controller) => {
      const { signal } = asked.at(-1)!;
      signal.addEventListener('abort', () => {
        try {
          controller.error(signal.reason);
        } catch {
          // It has ended.
        }
      });
      void fill(controller);
    },
  });
}

const read = async (options: ReadModelOptions = {}) => {
  using model = await readModel(address, options);
  return await model.bytes();
};
const prune = (options: ReadModelOptions = {}) =>
  sparsifyFile(address, keeping().stream, { ...options, layerType: 'all', sparsity: 50 });

describe.each([
  ['readModel', read],
  ['sparsifyFile', prune],
] as const)('a download by %s', (_title, load) => {
  test('A download that breaks off is an error of the file', async () => {
    serving(
      () =>
        new Response(
          body((controller) => {
            controller.enqueue(file.slice(0, 1000));
            controller.error(new TypeError('terminated'));
          }),
        ),
    );
    expect(await errorOf(load)).toMatchObject({
      code: 'file',
      details: { subject: address, found: 'terminated' },
    });
    await expectNoMemoryInUse();
  });

  test('A request that fails, or is answered with an error, is an error of the file', async () => {
    serving(() => Promise.reject(new TypeError('fetch failed', { cause: new Error('connect ECONNREFUSED') })));
    expect(await errorOf(load)).toMatchObject({ code: 'file', details: { found: 'connect ECONNREFUSED' } });
    serving(() => new Response('not here', { status: 404 }));
    expect(await errorOf(load)).toMatchObject({ code: 'file', details: { found: 'status 404' } });
    expect(asked[0]!.signal.aborted, 'the rest of the answer is not downloaded').toBe(true);
  });

  test.each<[title: string, answer: () => Response | Promise<Response>]>([
    ['before the answer', () => new Promise<Response>(() => {})],
    ['before the first byte', () => new Response(body(() => {}))],
    ['after some bytes', () => new Response(body((controller) => controller.enqueue(file.slice(0, 1000))))],
  ])('A download that stops %s ends after the time without a byte', async (_title, answer) => {
    serving(answer);
    const error = await errorOf(() => load({ limits: { idleSeconds: 0.05 } }));
    expect(error).toMatchObject({ code: 'file', details: { subject: address } });
    expect(error.message).toMatch(/the download stopped.*0\.05 seconds without a byte.*limits: \{ idleSeconds/);
    expect(asked[0]!.signal.aborted).toBe(true);
    await expectNoMemoryInUse();
  });

  test('A slow download does not end as long as bytes arrive', async () => {
    serving(
      () =>
        new Response(
          body(async (controller) => {
            const part = Math.ceil(file.length / 20);
            for (let at = 0; at < file.length; at += part) {
              controller.enqueue(file.slice(at, at + part));
              await new Promise((resolve) => setTimeout(resolve, 100));
            }
            controller.close();
          }),
        ),
    );
    // All parts take 2 seconds or more.
    await load({ limits: { idleSeconds: 1.5 } });
  });

  test('A download whose stated length is above the limit ends before its content is read', async () => {
    let isRead = false;
    serving(
      () =>
        new Response(new ReadableStream({ pull: () => void (isRead = true) }, { highWaterMark: 0 }), {
          headers: { 'content-length': String(file.length) },
        }),
    );
    const error = await errorOf(() => load({ limits: { fileBytes: file.length - 1 } }));
    expect(error).toMatchObject({ code: 'file', details: { found: `${file.length} bytes` } });
    expect(isRead).toBe(false);
  });

  test('A download of more than 4 GiB is refused unless the limit is raised', async () => {
    const answer = () => new Response(file, { headers: { 'content-length': String(2 ** 32 + 1) } });
    serving(answer);
    const error = await errorOf(load);
    expect(error).toMatchObject({ code: 'file', details: { allowed: [`up to ${2 ** 32} bytes`] } });
    await load({ limits: { fileBytes: 2 ** 33 } });
  });

  test.each([
    ['does not state its length', {}],
    ['states the length of compressed bytes', { 'content-encoding': 'gzip', 'content-length': '10' }],
    ['states a length that is no number', { 'content-length': 'many' }],
  ])('The bytes of a download that %s are counted', async (_title, headers) => {
    const answer = () =>
      new Response(
        body((controller) => {
          for (let at = 0; at < file.length; at += 1000) controller.enqueue(file.slice(at, at + 1000));
          controller.close();
        }),
        { headers: headers as Record<string, string> },
      );
    serving(answer);
    const error = await errorOf(() => load({ limits: { fileBytes: file.length - 1 } }));
    expect(error).toMatchObject({ code: 'file', details: { found: `more than ${file.length - 1} bytes` } });
    expect(asked[0]!.signal.aborted).toBe(true);
    serving(answer);
    await load({ limits: { fileBytes: file.length } });
  });

  test.each<[title: string, answer: () => Response | Promise<Response>]>([
    ['before the answer', () => new Promise<Response>(() => {})],
    ['amid its bytes', () => new Response(body((controller) => controller.enqueue(file.slice(0, 1000))))],
  ])('A download that is aborted %s is cancelled, with the reason of the signal', async (_title, answer) => {
    const controller = new AbortController();
    const reason = new Error('enough');
    serving(() => {
      setTimeout(() => controller.abort(reason), 10);
      return answer();
    });
    await expect(load({ signal: controller.signal })).rejects.toBe(reason);
    expect(asked[0]!.signal.aborted).toBe(true);
    await expectNoMemoryInUse();
  });
});

test.each([
  ['one byte at a time', 1],
  ['in parts of any size', 70_001],
  ['at once', Infinity],
])('A model that is downloaded %s has all of its bytes', async (_title, size) => {
  // More than the first parts in which downloads are kept.
  const large = safetensorsFile({ 'd.weight': [size === 1 ? 50 : 900, 500] });
  serving(
    () =>
      new Response(
        body((controller) => {
          for (let at = 0; at < large.length; at += size) controller.enqueue(large.slice(at, at + size));
          controller.close();
        }),
      ),
  );
  const found = await read();
  expect(found.length).toBe(large.length);
  expect(found.findIndex((byte, at) => byte !== large[at])).toBe(-1);
});

test('The names of further files are parts of URLs, whatever characters they have', async () => {
  const names = ['a b.safetensors', 'c#d?.safetensors', 'e%20f/ü.safetensors'];
  const index = indexOf(Object.fromEntries(names.map((name, at) => [`d${at}.weight`, name])));
  serving((url) => {
    if (url.includes('index.json')) return new Response(index);
    const at = names.findIndex((name) => url.endsWith(`/${name.split('/').map(encodeURIComponent).join('/')}`));
    return new Response(safetensorsFile({ [`d${at}.weight`]: [3, 2] }));
  });
  using model = await readModel('https://models.example/some%20folder/index.json?token=1');
  expect(model.tensors.map(({ name }) => name)).toEqual(['d0', 'd1', 'd2']);
  expect(asked.map(({ url }) => url)).toEqual([
    'https://models.example/some%20folder/index.json?token=1',
    'https://models.example/some%20folder/a%20b.safetensors',
    'https://models.example/some%20folder/c%23d%3F.safetensors',
    'https://models.example/some%20folder/e%2520f/%C3%BC.safetensors',
  ]);
});

test.each([
  ['a%20b.safetensors', 'a b.safetensors'],
  ['a%2Fb.safetensors', 'b.safetensors'],
  ['..%2F..%5Cb.safetensors', 'b.safetensors'],
  ['100%.safetensors', '100%.safetensors'],
  ['', 'model.safetensors'],
  ['..%2F', 'model.safetensors'],
])('The name of a model at the URL %j is %s, which is a name in a folder', async (last, name) => {
  serving(() => new Response(file));
  using model = await readModel(`https://models.example/folder/${last}`);
  expect([...(await model.toFiles()).keys()]).toEqual([name]);
});

test.each([
  ['../../a.safetensors', 'a.safetensors'],
  ['C:\\models\\a.safetensors', 'a.safetensors'],
  ['..', 'model.safetensors'],
  ['a/', 'model.safetensors'],
])('The name of a File, %j, is %s, which is a name in a folder', async (given, name) => {
  using model = await readModel(new File([file], given));
  expect([...(await model.toFiles()).keys()]).toEqual([name]);
});

test('A further file whose name cannot be part of a URL is an error of the file', async () => {
  const index = new TextEncoder().encode('{"weight_map":{"d.weight":"half \\ud800 a pair"}}');
  serving(() => new Response(index));
  expect(await errorOf(() => readModel('https://models.example/index.json'))).toMatchObject({ code: 'file' });
});

test.each(['http://', 'https://[::1', 'http://host:99999/x', 'http://%/'])(
  'The address %s is an error of the file',
  async (given) => {
    const error = await errorOf(() => readModel(given));
    expect(error).toMatchObject({ code: 'file', message: expect.stringMatching(/is not a valid URL/) });
  },
);
