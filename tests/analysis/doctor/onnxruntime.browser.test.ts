// What `sparsifier doctor` knows about the WebGPU build of onnxruntime-web. Skipped where Chromium has no adapter.
import * as ort from 'onnxruntime-web/webgpu';
import { readOnnx } from 'sparsifier/formats/onnx';
import { beforeAll, describe, expect, test } from 'vitest';
import { diagnose, last, notCastInWebgpu, onCpu, onGpu, runtimes } from '../../support/internal.js';
import { modelWith } from '../../support/operator-models.js';
import * as models from '../../support/runtime-models.js';
import { useWebgpuBuild, webgpuAdapter } from '../../support/webgpu.js';

const adapter = await webgpuAdapter();

beforeAll(useWebgpuBuild);

const load = (bytes: Uint8Array, options: ort.InferenceSession.SessionOptions = {}) =>
  ort.InferenceSession.create(bytes, { executionProviders: ['webgpu'], logSeverityLevel: 4, ...options });

async function run(bytes: Uint8Array, options: ort.InferenceSession.SessionOptions = {}): Promise<number[]> {
  const session = await load(bytes, options);
  try {
    const { y } = await session.run({ x: new ort.Tensor('float32', models.inputNumbers(), models.inputShape) });
    return [...((await y!.getData()) as Float32Array)];
  } finally {
    await session.release();
  }
}

async function factsOf(bytes: Uint8Array<ArrayBuffer>) {
  using model = await readOnnx(bytes, { external: () => models.externalData() });
  const [diagnosis] = (await diagnose(model, 'model.onnx', ['ort-web-webgpu'])).runtimes;
  return { loads: diagnosis!.loads, ids: diagnosis!.facts.map(({ id }) => id) };
}

/** Whether all nodes of a model run on the GPU. */
async function runsOnGpu(bytes: Uint8Array): Promise<boolean> {
  try {
    await (await load(bytes, { extra: { session: { disable_cpu_ep_fallback: '1' } } })).release();
    return true;
  } catch (error) {
    expect((error as Error).message).toContain('fallback to CPU EP has been explicitly disabled');
    return false;
  }
}

describe.skipIf(!adapter)('onnxruntime-web with WebGPU', () => {
  test('The version that the facts are about is the one that is tested', () => {
    expect(runtimes['ort-web-webgpu'].version).toBe(ort.env.versions.web);
  });

  test('It loads the last opset and IR version that are known, and refuses the next ones', async () => {
    expect(await run(models.plainModel(last.opset))).toHaveLength(64);
    expect(await run(models.withIr(last.ir))).toHaveLength(64);
    await expect(load(models.plainModel(last.opset + 1))).rejects.toThrow(/opset/i);
    await expect(load(models.withIr(last.ir + 1))).rejects.toThrow(/IR version/i);
  });

  test('It refuses sparse tensors', async () => {
    await expect(load(models.sparseModel())).rejects.toThrow(/Invalid model/);
    expect(await factsOf(models.sparseModel())).toMatchObject({
      loads: 'no',
      ids: expect.arrayContaining(['webgpu-sparse']),
    });
  });

  test.each(notCastInWebgpu)('It refuses a weight of type %s behind Cast', async (type) => {
    await expect(load(models.castFrom(type))).rejects.toThrow();
    expect(await factsOf(models.castFrom(type))).toMatchObject({
      loads: 'no',
      ids: expect.arrayContaining(['webgpu-cast']),
    });
  });

  test.each(['int8', 'uint8', 'float16', 'int32', 'int64'])(
    'It runs a model with a weight of type %s behind Cast',
    async (type) => {
      expect(await run(models.castFrom(type))).toHaveLength(64);
      expect((await factsOf(models.castFrom(type))).loads).toBe('yes');
    },
  );

  test('Products of float16 need the feature shader-f16', async () => {
    const result = run(models.halfProduct());
    if (adapter!.features.has('shader-f16')) expect(await result).toHaveLength(64);
    else await expect(result).rejects.toThrow(/f16/i);
    expect(await factsOf(models.halfProduct())).toMatchObject({
      loads: 'with',
      ids: expect.arrayContaining(['webgpu-float16']),
    });
  });

  test('It loads external data only if they are passed to it', async () => {
    await expect(load(models.externalModel())).rejects.toThrow(/external data/i);
    const externalData = [{ path: 'w.data', data: models.externalData() }];
    expect(await run(models.externalModel(), { externalData })).toHaveLength(64);
    expect(await factsOf(models.externalModel())).toMatchObject({
      loads: 'with',
      ids: expect.arrayContaining(['web-external']),
    });
  });

  test('The operators that run on the GPU, and those that run on the CPU, are the ones in the lists', async () => {
    const found: string[] = [];
    for (const operator of [...onGpu, ...onCpu]) if (!(await runsOnGpu(modelWith(operator)))) found.push(operator);
    expect(found).toEqual(onCpu);
    expect((await factsOf(modelWith('MatMulInteger'))).ids).toContain('webgpu-on-cpu');
  });
});
