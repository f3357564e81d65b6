// Every form of weights runs in onnxruntime-node, and in the wasm build of onnxruntime-web.
import * as node from 'onnxruntime-node';
import * as web from 'onnxruntime-web/wasm';
import { beforeAll, describe, expect, test } from 'vitest';
import { cases, inForm, relativeRms, type Network } from '../support/quantised-networks.js';

beforeAll(() => {
  web.env.wasm.numThreads = 1;
  web.env.logLevel = 'fatal';
});

const runtimes = {
  'onnxruntime-node': async (bytes: Uint8Array, { input, shape }: Network) => {
    const session = await node.InferenceSession.create(bytes, { logSeverityLevel: 4 });
    const { y } = await session.run({ x: new node.Tensor('float32', input, shape) });
    await session.release();
    return [...(y!.data as Float32Array)];
  },
  'onnxruntime-web, wasm': async (bytes: Uint8Array, { input, shape }: Network) => {
    const session = await web.InferenceSession.create(bytes, { logSeverityLevel: 4 });
    const { y } = await session.run({ x: new web.Tensor('float32', input, shape) });
    await session.release();
    return [...(y!.data as Float32Array)];
  },
};

describe.each(Object.entries(runtimes))('%s', (_, run) => {
  test.each(cases)('It runs $name with weights stored as $form', async ({ network, form, limit }) => {
    const bytes = await inForm(network, form);
    expect(bytes.length).toBeLessThan(0.6 * network.bytes.length);
    const apart = relativeRms(await run(bytes, network), await run(network.bytes, network));
    expect(apart).toBeGreaterThan(0);
    expect(apart).toBeLessThan(limit);
  });
});
