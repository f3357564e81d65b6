import { readFileSync } from 'node:fs';
import { InferenceSession } from 'onnxruntime-node';
import { readOnnx } from 'sparsifier/formats/onnx';
import { fit } from 'sparsifier/fit';
import { expect, test } from 'vitest';
import * as direction from '../../examples/support/direction.mjs';
import { lines } from '../../examples/support/recogniser.mjs';

test('A network that tells the direction of text fits into a third of its bytes and is right as often, but for 5 %', async () => {
  const samples = lines(36, 3);
  const [calibrating, judging] = [samples.slice(0, 4), samples.slice(4)];
  const accuracy = async (bytes: Uint8Array) => {
    const session = await InferenceSession.create(bytes);
    const share = await direction.measure(session, judging);
    await session.release();
    return share;
  };
  using model = await readOnnx(direction.file);
  const { model: small, report } = await fit(model, {
    target: '165kB',
    data: {
      createSession: (bytes) => InferenceSession.create(bytes),
      batches: () => calibrating.map(({ feeds }) => feeds),
    },
  });
  using fitted = small;
  expect(report.sizes.after.brotli).toBeLessThanOrEqual(165_000);
  expect(report.sizes.before.brotli).toBeGreaterThan(3 * 160_000);
  expect(report.chosen.form).toBe('int8');
  const before = await accuracy(readFileSync(direction.file));
  expect(before).toBeGreaterThan(95);
  expect(await accuracy(await fitted.bytes())).toBeGreaterThan(before - 5);
}, 600_000);
