// What browsers see of a project: a folder or a server of its own, with the headers of a setting in front.
import { readFile } from 'node:fs/promises';
import { createServer, request } from 'node:http';
import { connect } from 'node:net';
import { extname, join } from 'node:path';
import { root } from '../../scripts/steps.mjs';

/** The model that pages prune. */
export const model = join(root, 'tests', 'cases', 'pool_bn.onnx');

const types = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.wasm': 'application/wasm',
};

/** Starts a site, which has the model besides. @param source a folder, or the port of a server */
export async function openSite(source, headers = {}) {
  /** Addresses that were fetched. */
  const fetched = new Set();
  let report;
  const result = new Promise((resolve) => (report = resolve));
  const answer = typeof source === 'string' ? fromFolder(source) : fromServer(source);
  const server = createServer(async (asked, response) => {
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
    if (asked.method === 'POST' && asked.url === '/result') {
      let text = '';
      for await (const part of asked) text += part;
      response.end();
      report(JSON.parse(text));
      return;
    }
    if (asked.url === '/model.onnx') return response.end(await readFile(model));
    fetched.add(asked.url);
    answer(asked, response);
  });
  if (typeof source === 'number') server.on('upgrade', (asked, socket) => forward(source, asked, socket));
  await new Promise((done) => server.listen(0, done));
  return {
    address: `http://localhost:${server.address().port}`,
    fetched,
    result,
    close: () => {
      server.closeAllConnections();
      return new Promise((done) => server.close(done));
    },
  };
}

const fromFolder = (folder) => (asked, response) => {
  const { pathname } = new URL(asked.url, 'http://localhost');
  const name = pathname.endsWith('/') ? `${pathname}index.html` : pathname;
  readFile(join(folder, name)).then(
    (content) => {
      response.setHeader('Content-Type', types[extname(name)] ?? 'application/octet-stream');
      response.end(content);
    },
    () => response.writeHead(404).end(),
  );
};

const fromServer = (port) => (asked, response) => {
  const inner = request(
    { port, host: 'localhost', path: asked.url, method: asked.method, headers: asked.headers },
    (answer) => {
      response.writeHead(answer.statusCode, { ...answer.headers, ...response.getHeaders() });
      answer.pipe(response);
    },
  );
  inner.on('error', () => response.destroy());
  asked.pipe(inner);
};

/** Development servers talk with their pages through web sockets. */
function forward(port, asked, socket) {
  const inner = connect(port, 'localhost', () => {
    const lines = asked.rawHeaders.flatMap((text, index) =>
      index % 2 === 0 ? `${text}: ${asked.rawHeaders[index + 1]}` : [],
    );
    inner.write(`${asked.method} ${asked.url} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`);
    inner.pipe(socket).pipe(inner);
  });
  for (const each of [inner, socket]) each.on('error', () => [inner, socket].forEach((end) => end.destroy()));
}
