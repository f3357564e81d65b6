// Every form of weights runs in the WebGPU build of onnxruntime-web: on the GPU, and in wasm alone.
import * as ort from 'onnxruntime-web/webgpu';
import { beforeAll, expect, test } from 'vitest';
import { useWebgpuBuild, webgpuAdapter } from '../support/webgpu.js';
import { cases, inForm, relativeRms, type Network } from '../support/quantised-networks.js';

const adapter = await webgpuAdapter();

beforeAll(useWebgpuBuild);

async function run(bytes: Uint8Array, { input, shape }: Network, provider: 'wasm' | 'webgpu'): Promise<number[]> {
  const session = await ort.InferenceSession.create(bytes, { executionProviders: [provider], logSeverityLevel: 4 });
  const { y } = await session.run({ x: new ort.Tensor('float32', input, shape) });
  const numbers = [...((await y!.getData()) as Float32Array)];
  await session.release();
  return numbers;
}

test.each(cases)('wasm runs $name with weights stored as $form', async ({ network, form, limit }) => {
  const apart = relativeRms(
    await run(await inForm(network, form), network, 'wasm'),
    await run(network.bytes, network, 'wasm'),
  );
  expect(apart).toBeGreaterThan(0);
  expect(apart).toBeLessThan(limit);
});

test.skipIf(!adapter).each(cases)(
  'WebGPU runs $name with weights stored as $form',
  async ({ network, form, limit }) => {
    const bytes = await inForm(network, form);
    const found = await run(bytes, network, 'webgpu');
    expect(relativeRms(found, await run(network.bytes, network, 'webgpu'))).toBeLessThan(limit);
    // Kernels that do not quantise inputs give what those of wasm give, but for rounding.
    if (form === 'int8' || form === 'float16') {
      expect(relativeRms(found, await run(bytes, network, 'wasm'))).toBeLessThan(1e-4);
    }
  },
);
