import { InferenceSession, Tensor } from 'onnxruntime-node';
import { calibrate } from 'sparsifier/calibration';
import { readOnnx } from 'sparsifier/formats/onnx';
import { quantize } from 'sparsifier/quantize';
import { describe, expect, test } from 'vitest';
import { numbers, outputsOf } from '../support/filters.js';
import { model, node, tensor } from '../support/onnx-builder.js';

// The expected error of the outputs, and warnings by it.

const [rows, columns, outputs] = [64, 40, 64];

/** Inputs that do not depend on each other. The first one changes by little. */
const inputs = Array.from({ length: 6 }, (_, seed) =>
  numbers(rows * columns, seed + 3).map((each, place) => (place % columns === 0 ? 1 + 1e-4 * each : each)),
);

/** A dense layer whose first input has large weights. */
const weights = numbers(columns * outputs, 1).map((each, place) => (place < outputs ? 30 : each));
const file = model({
  nodes: [node('MatMul', 'x w', 'y', { name: 'dense' })],
  initializers: [tensor('w', [columns, outputs], { data: new Uint8Array(weights.buffer) })],
  inputs: { x: 2 },
  outputs: { y: 2 },
});

/** How far the outputs are off, relative to what they vary by. */
async function errorIn(bytes: Uint8Array): Promise<number> {
  let [difference, whole] = [0, 0];
  const means = new Float64Array(outputs);
  const runs: (readonly [Float32Array, Float32Array])[] = [];
  for (const data of inputs) {
    const feeds = { x: { data, shape: [rows, columns] } };
    runs.push([
      (await outputsOf(file, feeds)).y!.data as Float32Array,
      (await outputsOf(bytes, feeds)).y!.data as Float32Array,
    ]);
  }
  for (const [before] of runs)
    for (const [place, each] of before.entries())
      means[place % outputs] = means[place % outputs]! + each / (rows * inputs.length);
  for (const [before, after] of runs) {
    for (const [place, each] of before.entries()) {
      difference += (each - after[place]!) ** 2;
      whole += (each - means[place % outputs]!) ** 2;
    }
  }
  return Math.sqrt(difference / whole);
}

describe('statistics', () => {
  test.each(['int8', 'int4'] as const)(
    'Weights of %s whose inputs hardly change may be far off, and are not warned of',
    async (form) => {
      using read = await readOnnx(file);
      const statistics = await calibrate(read, {
        createSession: (bytes: Uint8Array) => InferenceSession.create(bytes, { logSeverityLevel: 3 }),
        batches: () => inputs.map((data) => ({ x: new Tensor('float32', data, [rows, columns]) })),
      });
      const { model: quantised, report } = await quantize(read, { weights: form, statistics });
      using closing = quantised;
      const { error, outputError, clipped } = report.layers[0]!;
      expect(clipped).toBeGreaterThan(0);
      expect(error).toBeGreaterThan(0.05);
      const found = await errorIn(await closing.bytes());
      expect(outputError! / found).toBeGreaterThan(0.8);
      expect(outputError! / found).toBeLessThan(1.25);
      const isWarned = outputError! > (form === 'int8' ? 0.05 : 0.25);
      expect(report.warnings.map(({ code }) => code)).toEqual(isWarned ? ['high-error'] : []);
      for (const { message } of report.warnings)
        expect(message).toContain(`${outputError!.toFixed(3)} of the outputs in dense`);
      expect(report.table({ layers: true })).toContain('error of outputs');
      const { model: plain, report: without } = await quantize(read, { weights: form });
      plain.close();
      expect(without.layers[0]).not.toHaveProperty('outputError');
      expect(without.table({ layers: true })).not.toContain('error of outputs');
    },
  );
});
