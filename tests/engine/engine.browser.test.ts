import { loadEngine } from 'sparsifier';
import { expect, test } from 'vitest';
import {
  errorOf,
  expectNoMemoryInUse,
  expectSame,
  layerOf,
  layoutOf,
  sparsified,
  weightwise,
} from '../support/layers.js';
import { removal, without } from '../support/oracle.js';

// A page loads one engine: these tests follow each other.

test('A missing wasm is an error, and a later attempt can succeed', async () => {
  for (const wasm of [new URL('/nowhere/at/all.wasm', location.href), 'data:application/wasm,nonsense']) {
    const error = await errorOf(() => loadEngine({ wasm }));
    expect(error.code).toBe('file');
    expect(error.message).toContain('loadEngine({ wasm, thread })');
  }
});

test('The status of the server is in the error, and why WebAssembly could not be fetched', async () => {
  const missing = new URL('/nowhere/at/all.wasm', location.href).href;
  // Port 9 is one that browsers never connect to.
  const refused = 'http://localhost:9/kernels.wasm';
  for (const [wasm, found] of [
    [missing, 'status 404'],
    [refused, 'Failed to fetch'],
  ] as const) {
    for (const options of [{ wasm }, { wasm, thread: 'data:text/javascript,throw 1' }]) {
      expect(await errorOf(() => loadEngine(options))).toMatchObject({
        code: 'file',
        details: { subject: wasm, found },
      });
    }
  }
});

test('HTML in place of the wasm, as development servers send it, is an error with a hint', async () => {
  const page = '\n <!doctype html><title>page</title>';
  const addresses = [
    `data:text/html,${encodeURIComponent(page)}`,
    URL.createObjectURL(new Blob([page])),
    URL.createObjectURL(new Blob(['\ufeff<html>'], { type: 'text/html' })),
  ];
  for (const wasm of addresses) {
    // In the engine's own thread, and in the page's.
    for (const options of [{ wasm }, { wasm, thread: 'data:text/javascript,throw 1' }]) {
      const error = await errorOf(() => loadEngine(options));
      expect(error).toMatchObject({ code: 'file', details: { subject: wasm, found: 'an HTML page' } });
      expect(error.message).toContain(`optimizeDeps: { exclude: ['sparsifier'] }`);
    }
  }
});

test('If a Worker cannot start, the page’s own thread does the work', async () => {
  const engine = await loadEngine({ thread: 'data:text/javascript,throw 1' });
  expect(engine.threads).toBe(1);
  expect(engine.why).toContain(`caller's thread`);
  expect(engine.why).toContain('no other could be started: ');
  const layers = { conv: layerOf(layoutOf('conv2d of tfjs')), dense: layerOf(layoutOf('dense')) };
  for (const granularity of ['weight', 'filter'] as const) {
    const asked = { ...weightwise, granularity, context: 'global', normalizer: 'mean' } as const;
    const { layers: after, report } = await sparsified(layers, 50, asked);
    expectSame(after, without(layers, removal(layers, 50, asked), granularity));
    expect(report.engine).toEqual({ threads: 1, why: engine.why });
  }
  await expectNoMemoryInUse();
});
