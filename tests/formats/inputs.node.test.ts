import { execFileSync } from 'node:child_process';
import { appendFile, mkdir, mkdtemp, open, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { openAsBlob } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Sparsifier } from 'sparsifier';
import { readStatistics } from 'sparsifier/calibration';
import { sparsifyFile } from 'sparsifier/file';
import { readModel } from 'sparsifier/formats';
import { readOnnx } from 'sparsifier/formats/onnx';
import { readSafetensors } from 'sparsifier/formats/safetensors';
import { readTfjs } from 'sparsifier/formats/tfjs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { command, run } from '../support/command.js';
import { errorOf } from '../support/layers.js';
import { model as onnxModel, node, tensor } from '../support/onnx-builder.js';
import { indexOf, safetensorsFile } from '../support/safetensors-builder.js';
import { keeping } from '../support/streams.js';
import { filesOf, floats, textOf } from '../support/tfjs.js';

let folder: string;
const at = (...names: string[]) => join(folder, ...names);

const dense = { class_name: 'Sequential', config: [{ class_name: 'Dense', config: { name: 'd', units: 2 } }] };
const tfjs = filesOf(dense, [
  { name: 'd/kernel', shape: [3, 2], dtype: 'float32', bytes: floats(1, -2, 3, -4, 5, -6) },
]);
const [shard] = [...tfjs.shards.keys()] as [string];
const files: Readonly<Record<string, Uint8Array>> = {
  'onnx/model.onnx': onnxModel({
    nodes: [node('MatMul', 'x w', 'y', { name: 'd' })],
    initializers: [tensor('w', [3, 2], { external: { location: 'parts/w.bin' } })],
    inputs: { x: 2 },
  }),
  'onnx/parts/w.bin': floats(1, -2, 3, -4, 5, -6),
  'safetensors/model.safetensors': safetensorsFile({ 'd.weight': [3, 2] }),
  'safetensors/index.json': indexOf({ 'd.weight': 'model.safetensors' }),
  'tfjs/model.json': textOf(tfjs.json),
  [`tfjs/${shard}`]: tfjs.shards.get(shard)!,
};

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sparsifier-inputs-'));
  for (const [name, bytes] of Object.entries(files)) {
    await mkdir(dirname(at(name)), { recursive: true });
    await writeFile(at(name), bytes);
  }
});
afterEach(() => rm(folder, { recursive: true }));

const model = () => readSafetensors(at('safetensors/model.safetensors'));
const onStream = (input: string, options: object = {}) =>
  sparsifyFile(input, () => keeping().stream, { sparsity: 50, layerType: 'all', ...options });

/** All that is read: the file that is no file in each, and the call that reads it. */
const inputs: readonly (readonly [title: string, file: string, read: () => Promise<unknown>])[] = [
  ['a model', 'onnx/model.onnx', () => readModel(at('onnx/model.onnx'))],
  ['an ONNX model', 'onnx/model.onnx', () => readOnnx(at('onnx/model.onnx'))],
  ['a safetensors file', 'safetensors/model.safetensors', model],
  ['a model.json', 'tfjs/model.json', () => readTfjs(at('tfjs/model.json'))],
  ['the model.json in a folder', 'tfjs/model.json', () => readTfjs(at('tfjs'))],
  ['a model given by its URL', 'tfjs/model.json', () => readTfjs(pathToFileURL(at('tfjs/model.json')))],
  ['external data', 'onnx/parts/w.bin', () => readModel(at('onnx/model.onnx'))],
  ['a shard of an index', 'safetensors/model.safetensors', () => readModel(at('safetensors/index.json'))],
  ['a file with weights', `tfjs/${shard}`, () => readModel(at('tfjs/model.json'))],
  ['a streamed model', 'onnx/model.onnx', () => onStream(at('onnx/model.onnx'))],
  ['streamed external data', 'onnx/parts/w.bin', () => onStream(at('onnx/model.onnx'))],
  ['initial weights', 'special', () => onStream(at('tfjs'), { criteria: 'movement', initial: at('special') })],
  [
    'previous weights',
    'special',
    () => onStream(at('tfjs'), { criteria: 'updatingMagnitudeIncrease', previous: at('special') }),
  ],
  ['masks', 'special', async () => new Sparsifier(await model(), { layerType: 'all' }).loadMasks(at('special'))],
  ['statistics', 'special', () => readStatistics(at('special'))],
];

/** What is no file, and how it comes about. */
const kinds: Readonly<Record<string, (path: string) => Promise<(() => Promise<void>) | void>>> = {
  'a pipe': async (path) => void execFileSync('sh', ['-c', 'mkfifo "$0"', path]),
  'a socket': async (path) => {
    const server = createServer();
    await new Promise<void>((done) => server.listen(path, done));
    return () => new Promise((done) => void server.close(() => done()));
  },
  'a device': (path) => symlink('/dev/zero', path),
};

describe.skipIf(process.platform === 'win32').each(Object.keys(kinds))('%s', (kind) => {
  const making = async (file: string, body: () => Promise<void>) => {
    await rm(at(file), { force: true });
    const end = await kinds[kind]!(at(file));
    try {
      await body();
    } finally {
      await end?.();
    }
  };

  test.each(inputs)('%s that is no file is refused before it is opened', async (_title, file, read) => {
    await making(file, async () => {
      const error = await errorOf(read);
      expect(error).toMatchObject({ code: 'file', details: { found: kind } });
      expect(error.message).toMatch(/is not a file.*Write its content to a file first/);
      expect(error.details.subject).toContain(file);
    });
  });

  test('The command refuses inputs that are no files at once', async () => {
    await making('special', async () => {
      const safetensors = at('safetensors/model.safetensors');
      const out = ['-s', '50', '--layer-type', 'all', '-o', at('out.safetensors')];
      const commands = [
        ['inspect', at('special')],
        ['prune', at('special'), ...out],
        ['prune', safetensors, ...out, '--criteria', 'movement', '--initial', at('special')],
        ['prune', safetensors, ...out, '--load-masks', at('special')],
        ['prune', safetensors, ...out, '--criteria', 'wanda', '--statistics', at('special')],
        ['compare', at('onnx/model.onnx'), at('onnx/model.onnx'), '--inputs', at('special'), '--no-sizes'],
        ['calibrate', at('onnx/model.onnx'), at('special'), '-o', at('out.safetensors')],
      ];
      for (const words of commands) {
        const { code, stderr } = await run(process.execPath, [command, ...words], { cwd: folder, timeout: 90_000 });
        expect({ words, code, stderr }).toMatchObject({
          code: 1,
          stderr: expect.stringMatching(/special: is not a file/),
        });
      }
    });
  }, 300_000);
});

test('A folder in the place of a file is an error of the file', async () => {
  await rm(at('onnx/parts/w.bin'));
  await mkdir(at('onnx/parts/w.bin'));
  expect(await errorOf(() => readModel(at('onnx/model.onnx')))).toMatchObject({
    code: 'file',
    details: { found: 'a folder' },
  });
});

test.runIf(process.platform === 'linux')('A file of /proc, which has no size, is an error', async () => {
  for (const path of ['/proc/version', '/proc/self/mem', '/proc/self/environ']) {
    expect(await errorOf(() => readModel(path))).toMatchObject({
      code: 'format',
      message: expect.stringMatching(/is empty/),
    });
  }
});

test.each<[title: string, given: () => string | URL, message: RegExp]>([
  ['on another machine', () => 'file://host/x.onnx', /is not the URL of a file/],
  ['on another machine, as a URL', () => new URL('file://host/x.onnx'), /is not the URL of a file/],
  ['that is not encoded', () => 'file:///a%', /is not the URL of a file/],
  ['with an encoded slash', () => 'file:///a%2fb', /is not the URL of a file/],
  ['of another protocol', () => new URL('ftp://host/x.onnx'), /is not the URL of a file/],
  ['with a zero', () => 'a\0b.onnx', /could not be opened/],
  ['without a letter', () => '', /could not be opened|is not a file/],
])('A path or URL %s is an error of the file', async (_title, given, message) => {
  for (const read of [readModel, readOnnx, readStatistics] as const) {
    expect(await errorOf(() => read(given()))).toMatchObject({ code: 'file', message: expect.stringMatching(message) });
  }
  const opened = errorOf(async () => new Sparsifier(await model(), { layerType: 'all' }).loadMasks(given()));
  expect(await opened).toMatchObject({ code: 'file' });
});

test.skipIf(process.platform === 'win32')(
  'A path that looks like a URL is read and pruned, and its file is not overwritten',
  async () => {
    await mkdir(at('x:'));
    await writeFile(at('x:/y.safetensors'), files['safetensors/model.safetensors']!);
    const given = 'x://y.safetensors';
    const words = [command, 'prune', given, '-s', '50', '--layer-type', 'all', '-o'];
    const pruned = await run(process.execPath, [...words, 'out.safetensors'], { cwd: folder });
    expect(pruned).toMatchObject({ code: 0, stderr: '' });
    const again = await run(process.execPath, [...words, 'x:/y.safetensors', '--force'], { cwd: folder });
    expect(again).toMatchObject({ code: 1, stderr: expect.stringMatching(/an input file cannot be overwritten/) });
    expect(await readFile(at('x:/y.safetensors'))).toEqual(Buffer.from(files['safetensors/model.safetensors']!));
  },
);

test.each(['FILE:', 'file:'])('A model is read by a URL that begins with %s', async (protocol) => {
  await mkdir(at('a folder %20'));
  await writeFile(at('a folder %20/x.safetensors'), files['safetensors/model.safetensors']!);
  const { href } = pathToFileURL(at('a folder %20/x.safetensors'));
  using found = await readModel(href.replace('file:', protocol));
  expect(found.tensors).toHaveLength(1);
});

describe('a Blob whose file changed', () => {
  test.each<[title: string, change: (path: string) => Promise<void>]>([
    ['was changed', (path) => appendFile(path, 'more')],
    ['became shorter', (path) => truncate(path, 20)],
    ['is gone', (path) => rm(path)],
  ])('A Blob of a file that %s is an error of the file', async (_title, change) => {
    const path = at('safetensors/model.safetensors');
    const blob = await openAsBlob(path);
    await change(path);
    expect(await errorOf(() => readModel(blob))).toMatchObject({
      code: 'file',
      message: expect.stringMatching(/could not be read.*changed, moved or deleted/),
    });
  });

  test('A file that becomes shorter while it is read is an error of the file', async () => {
    const path = at('tfjs', shard);
    const error = await errorOf(() =>
      readTfjs(at('tfjs/model.json'), {
        shards: async () => {
          const blob = await openAsBlob(path);
          await truncate(path, 3);
          return blob;
        },
      }),
    );
    expect(error.code).toBe('file');
  });
});

describe.skipIf(process.platform === 'win32')('links', () => {
  const outside = 'safetensors/model.safetensors';
  const linked = async (file: string, target: string) => {
    await mkdir(at('elsewhere'));
    await writeFile(at('elsewhere', target), files[file]!);
    await rm(at(file));
    await symlink(at('elsewhere', target), at(file));
  };
  const cases: readonly (readonly [file: string, read: (options: object) => Promise<unknown>])[] = [
    ['onnx/model.onnx', (options) => readOnnx(at('onnx/model.onnx'), options)],
    ['onnx/parts/w.bin', (options) => readModel(at('onnx/model.onnx'), options)],
    ['safetensors/model.safetensors', (options) => readModel(at('safetensors/index.json'), options)],
    [`tfjs/${shard}`, (options) => readTfjs(at('tfjs'), options)],
    [`tfjs/${shard}`, (options) => onStream(at('tfjs'), options)],
    ['tfjs/model.json', (options) => onStream(at('tfjs'), options)],
    [outside, (options) => onStream(at('tfjs'), { criteria: 'movement', initial: at(outside), ...options })],
    [outside, (options) => readStatistics(at(outside), options)],
  ];

  test.each(cases)('A link out of the folder, %s, is followed unless that is ruled out', async (file, read) => {
    await linked(file, 'target');
    // Statistics and weights of another model are not what the file contains: it is read nevertheless.
    await read({}).catch((error: unknown) => expect((error as { code: string }).code).not.toBe('file'));
    const error = await errorOf(() => read({ followLinks: false }));
    expect(error).toMatchObject({
      code: 'file',
      message: expect.stringMatching(/a link leads out of the folder of the model/),
      details: { subject: at(file), found: expect.stringMatching(/elsewhere.target$/) },
    });
  });

  test('A folder that is a link out of the folder of the model is one too', async () => {
    await mkdir(at('elsewhere'));
    await writeFile(at('elsewhere/w.bin'), files['onnx/parts/w.bin']!);
    await rm(at('onnx/parts'), { recursive: true });
    await symlink('../elsewhere', at('onnx/parts'));
    using followed = await readOnnx(at('onnx/model.onnx'));
    expect(followed.tensors).toHaveLength(1);
    const error = await errorOf(() => readOnnx(at('onnx/model.onnx'), { followLinks: false }));
    expect(error).toMatchObject({ code: 'file', message: expect.stringMatching(/a link leads out/) });
  });

  test('Links within the folder of a model, and to the folder itself, are always followed', async () => {
    await writeFile(at('onnx/..w.bin'), files['onnx/parts/w.bin']!);
    await rm(at('onnx/parts/w.bin'));
    await symlink('../..w.bin', at('onnx/parts/w.bin'));
    await symlink('onnx', at('linked'));
    for (const path of ['onnx/model.onnx', 'linked/model.onnx']) {
      using found = await readOnnx(at(path), { followLinks: false });
      expect(found.tensors).toHaveLength(1);
    }
  });
});

test('A file of more bytes than the limit is refused before it is read', async () => {
  const path = at('large.onnx');
  const handle = await open(path, 'w');
  await handle.truncate(2 ** 40);
  await handle.close();
  const error = await errorOf(() => readModel(path, { limits: { fileBytes: 2 ** 33 } }));
  expect(error).toMatchObject({
    code: 'file',
    details: { found: `${2 ** 40} bytes`, allowed: [`up to ${2 ** 33} bytes`] },
  });
});
