import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { sparsifyFile } from 'sparsifier/file';
import { readModel } from 'sparsifier/formats';
import { afterEach, expect, test } from 'vitest';
import { command, run } from '../support/command.js';
import { errorOf } from '../support/layers.js';
import { safetensorsFile } from '../support/safetensors-builder.js';
import { keeping } from '../support/streams.js';

const file = safetensorsFile({ 'd.weight': [300, 200] });
let server: Server | undefined;

/** Answers all requests with this function, and gives the address of a file. */
async function serving(listener: RequestListener): Promise<string> {
  server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/model.safetensors`;
}

afterEach(() => {
  server?.closeAllConnections();
  server?.close();
  server = undefined;
});

const ways = {
  readModel: async (address: string, options: object = {}) => (await readModel(address, options)).close(),
  sparsifyFile: (address: string, options: object = {}) =>
    sparsifyFile(address, keeping().stream, { ...options, layerType: 'all', sparsity: 50 }),
};
const both = Object.entries(ways);

const gzip = { 'content-encoding': 'gzip' };
const broken = gzipSync(file);
broken.fill(7, 500, 600);

test.each(
  both.flatMap(([way, load]) =>
    (
      [
        [
          'breaks off',
          (_, response) => {
            response.writeHead(200, { 'content-length': String(file.length) });
            response.write(file.subarray(0, 1000), () => response.destroy());
          },
        ],
        [
          'breaks off without a stated length',
          (_, response) => {
            response.write(file.subarray(0, 1000), () => response.destroy());
          },
        ],
        [
          'ends before its stated length',
          (_, response) => {
            response.socket!.end(`HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nshort`);
          },
        ],
        ['is answered with nothing', (request) => request.socket.destroy()],
        ['is answered with what is not HTTP', (request) => request.socket.end('220 ftp ready\r\n')],
        ['is not the gzip that it says', (_, response) => response.writeHead(200, gzip).end('no gzip')],
        ['is damaged gzip', (_, response) => response.writeHead(200, gzip).end(broken)],
        ['is redirected forever', (_, response) => response.writeHead(302, { location: '/again' }).end()],
        ['is redirected to no address', (_, response) => response.writeHead(302, { location: 'http://[' }).end()],
      ] satisfies [string, RequestListener][]
    ).map(([title, listener]) => [way, title, load, listener] as const),
  ),
)('%s: a download that %s is an error of the file', async (_way, _title, load, listener) => {
  // Node 20 does not always say that a body cannot be decompressed.
  const error = await errorOf(async () => load(await serving(listener), { limits: { idleSeconds: 5 } }));
  expect(error.code).toBe('file');
  expect(error.message).toMatch(/could not be fetched\. found: \w|the download stopped/);
});

test.each(both)('%s reads a download that is compressed', async (_way, load) => {
  await load(await serving((_, response) => response.writeHead(200, gzip).end(gzipSync(file))));
});

test.each(both)('%s refuses what is left of a download whose compressed bytes are cut off', async (_way, load) => {
  const cut = gzipSync(file).subarray(0, 500);
  const address = await serving((_, response) => response.writeHead(200, gzip).end(cut));
  await errorOf(() => load(address));
});

test.each(both)('%s counts the bytes of a download after they are decompressed', async (_way, load) => {
  const zeros = safetensorsFile({ 'd.weight': { shape: [3000, 2000], data: new Uint8Array(24_000_000) } });
  const address = await serving((_, response) => response.writeHead(200, gzip).end(gzipSync(zeros)));
  const error = await errorOf(() => load(address, { limits: { fileBytes: 1e6 } }));
  expect(error).toMatchObject({ code: 'file', details: { found: 'more than 1000000 bytes' } });
});

test.each(both)('%s ends a download without a byte, and closes its connection', async (_way, load) => {
  let closed!: Promise<unknown>;
  const address = await serving((request, response) => {
    closed = new Promise((done) => request.socket.on('close', done));
    response.write(file.subarray(0, 100));
  });
  const error = await errorOf(() => load(address, { limits: { idleSeconds: 0.1 } }));
  expect(error).toMatchObject({ code: 'file', message: expect.stringMatching(/the download stopped/) });
  await closed;
});

test.each(both)('%s closes the connection of a download that is aborted', async (_way, load) => {
  const controller = new AbortController();
  const reason = new Error('enough');
  let closed!: Promise<unknown>;
  const address = await serving((request, response) => {
    closed = new Promise((done) => request.socket.on('close', done));
    response.write(file.subarray(0, 100), () => controller.abort(reason));
  });
  await expect(load(address, { signal: controller.signal })).rejects.toBe(reason);
  await closed;
});

test('A port on which nobody listens is an error of the file that says so', async () => {
  const address = await serving(() => {});
  server!.close();
  await once(server!, 'close');
  const error = await errorOf(() => readModel(address));
  expect(error).toMatchObject({
    code: 'file',
    details: { subject: address, found: expect.stringMatching(/ECONNREFUSED/) },
  });
});

test('The command says what is wrong with a download, and ends', async () => {
  const address = await serving((_, response) => {
    response.writeHead(200, { 'content-length': String(file.length) });
    response.write(file.subarray(0, 1000), () => response.destroy());
  });
  const { code, stdout, stderr } = await run(process.execPath, [command, 'inspect', address]);
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
  expect(stderr).toMatch(/model\.safetensors: could not be fetched\. found: /);
  expect(stderr).not.toMatch(/\n {4}at /);
});
