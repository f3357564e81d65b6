// What `sparsifier doctor` knows about onnxruntime-node, and the wasm build of onnxruntime-web in Node.
import * as node from 'onnxruntime-node';
import * as web from 'onnxruntime-web/wasm';
import { readOnnx } from 'sparsifier/formats/onnx';
import { beforeAll, describe, expect, test } from 'vitest';
import { diagnose, facts, last, notCastInWebgpu, onCpu, onGpu, runtimes } from '../../support/internal.js';
import { modelWith } from '../../support/operator-models.js';
import { optimised } from '../../support/stored-models.js';
import * as models from '../../support/runtime-models.js';

beforeAll(() => {
  web.env.wasm.numThreads = 1;
  web.env.logLevel = 'fatal';
});

const load = {
  'ort-node': (bytes: Uint8Array) => node.InferenceSession.create(bytes, { logSeverityLevel: 4 }),
  'ort-web-wasm': (bytes: Uint8Array) => web.InferenceSession.create(bytes, { logSeverityLevel: 4 }),
} as const;
const names = ['ort-node', 'ort-web-wasm'] as const;

/** The facts that the command gives for a model. */
async function factsOf(bytes: Uint8Array<ArrayBuffer>, name: (typeof names)[number]) {
  using model = await readOnnx(bytes, { external: () => models.externalData() });
  const [diagnosis] = (await diagnose(model, 'model.onnx', [name])).runtimes;
  return { loads: diagnosis!.loads, ids: diagnosis!.facts.map(({ id }) => id) };
}

describe.each(names)('%s', (name) => {
  test('The version that the facts are about is the one that is tested', () => {
    expect(runtimes[name].version).toBe(name === 'ort-node' ? node.env.versions.node : web.env.versions.web);
  });

  test('It loads the last opset and IR version that are known, and refuses the next ones', async () => {
    const [opset, ir] = [models.plainModel, models.withIr];
    for (const bytes of [opset(last.opset), ir(last.ir)]) {
      await (await load[name](bytes)).release();
      expect(await factsOf(bytes, name)).toMatchObject({ loads: 'yes' });
    }
    await expect(load[name](opset(last.opset + 1))).rejects.toThrow(/opset/i);
    await expect(load[name](ir(last.ir + 1))).rejects.toThrow(/IR version/i);
    expect(await factsOf(opset(last.opset + 1), name)).toMatchObject({
      loads: 'no',
      ids: expect.arrayContaining(['ort-opset']),
    });
    expect(await factsOf(ir(last.ir + 1), name)).toMatchObject({
      loads: 'no',
      ids: expect.arrayContaining(['ort-ir']),
    });
  });

  test.each([...onGpu, ...onCpu])('It loads a model with the operator %s', async (operator) => {
    await (await load[name](modelWith(operator))).release();
  });

  test('It loads what the WebGPU build refuses: sparse tensors, and Cast of all types', async () => {
    for (const bytes of [models.sparseModel(), ...notCastInWebgpu.map(models.castFrom)]) {
      await (await load[name](bytes)).release();
      expect((await factsOf(bytes, name)).loads).toBe('yes');
    }
  });

  test('An operator that is not in the list is not known to run', async () => {
    const bytes = modelWith('Frobnicate');
    await expect(load[name](bytes)).rejects.toThrow(/Frobnicate/);
    expect(await factsOf(bytes, name)).toMatchObject({ loads: 'unknown', ids: ['unknown-operators'] });
  });
});

test('onnxruntime-web loads external data only if they are passed to it', async () => {
  const bytes = models.externalModel();
  await expect(load['ort-web-wasm'](bytes)).rejects.toThrow(/external data/i);
  const session = await web.InferenceSession.create(bytes, {
    externalData: [{ path: 'w.data', data: models.externalData() }],
  });
  await session.release();
  expect(await factsOf(bytes, 'ort-web-wasm')).toMatchObject({
    loads: 'with',
    ids: expect.arrayContaining(['web-external']),
  });
  expect((await factsOf(bytes, 'ort-node')).loads).toBe('yes');
});

test('Codes and float16 behind Cast and Mul are converted while onnxruntime loads the model', async () => {
  for (const bytes of [models.castMul(), models.castFrom('float16'), models.castFrom('uint8')]) {
    expect(await optimised(new Map([['model.onnx', bytes]]))).toEqual(['MatMul']);
    expect((await factsOf(bytes, 'ort-node')).ids).toContain('folded-speed');
  }
});

test('DequantizeLinear is not folded: it stays with a convolution, and a MatMul becomes MatMulNBits', async () => {
  const own = async (bytes: Uint8Array<ArrayBuffer>) => optimised(new Map([['model.onnx', bytes]]));
  expect(await own(models.dequantizeLinear())).toContain('MatMulNBits');
  expect(await own(models.dequantizeLinearOfConvolution())).toContain('DequantizeLinear');
  for (const bytes of [models.dequantizeLinear(), models.dequantizeLinearOfConvolution()]) {
    expect((await factsOf(bytes, 'ort-node')).ids).toContain('dequantize-linear-node');
    expect((await factsOf(bytes, 'ort-web-wasm')).ids).toContain('dequantize-linear-wasm');
  }
});

test('Every fact has an id of its own, a date, and runtimes that exist', () => {
  expect(new Set(facts.map(({ id }) => id)).size).toBe(facts.length);
  for (const { date, runtimes: names } of facts) {
    expect(date).toMatch(/^\d{4}-\d\d-\d\d$/);
    expect(Object.keys(runtimes)).toEqual(expect.arrayContaining([...names]));
  }
});
