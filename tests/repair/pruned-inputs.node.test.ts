import { InferenceSession, Tensor } from 'onnxruntime-node';
import { Granularity, Sparsifier, type RepairedLayer, type SparsifierOptions } from 'sparsifier';
import { calibrate, type SessionFiles } from 'sparsifier/calibration';
import { fromArrays } from 'sparsifier/formats/arrays';
import { readOnnx, type FileModel } from 'sparsifier/formats/onnx';
import { describe, expect, test } from 'vitest';
import { differsAt } from '../support/bytes.js';
import { numbers } from '../support/filters.js';
import { errorOf, expectNoMemoryInUse, line, product } from '../support/layers.js';
import { rowsOfConvolution, type NumberArray } from '../support/naive-moments.js';
import { errorOfFit, layerStatistics, meansOf, momentsOf, rowsFor, statisticsOf } from '../support/naive-repair.js';
import { integersAttribute, model, node, tensor } from '../support/onnx-builder.js';

// Three convolutions in a row, repaired for the inputs that come from the repaired part, against rows that are made number
// by number of the values that ONNX Runtime gives.

const shapes = { first: [8, 3, 3, 3], second: [6, 8, 3, 3], third: [4, 6, 1, 1] } as const;
type Name = keyof typeof shapes;
const names = Object.keys(shapes) as Name[];
const inputOf = { first: 'x', second: 'a', third: 'b' } as const;

const weight = (name: Name, seed: number) => {
  const data = numbers(product(shapes[name]), seed).map((each) => each / 4);
  return tensor(`${name}.w`, shapes[name], { data: new Uint8Array(data.buffer) });
};
const convolution = (name: Name, output: string) =>
  node('Conv', `${inputOf[name]} ${name}.w ${name}.b`, output, {
    name,
    attributes: [integersAttribute('pads', Array(4).fill(shapes[name][2] === 3 ? 1 : 0))],
  });
const file = model({
  nodes: [
    convolution('first', 'first.y'),
    node('Relu', 'first.y', 'a'),
    convolution('second', 'second.y'),
    node('Relu', 'second.y', 'b'),
    convolution('third', 'y'),
  ],
  initializers: names.flatMap((name, index) => [
    weight(name, index + 1),
    tensor(`${name}.b`, [shapes[name][0]], { data: new Uint8Array(numbers(shapes[name][0], index + 9).buffer) }),
  ]),
  inputs: { x: 4 },
  outputs: { a: 4, b: 4, y: 4 },
});

const batches = Array.from({ length: 8 }, (_, seed) => ({
  x: new Tensor('float32', numbers(3 * 36, seed + 40), [1, 3, 6, 6]),
}));
const isHeldOut = (index: number) => index % 4 === 3;
const createSession = (bytes: Uint8Array, files: SessionFiles) => InferenceSession.create(bytes, files);
const data = { createSession, batches: () => batches };

/** The values of a model for all batches. */
async function valuesOf(bytes: Uint8Array): Promise<Record<string, NumberArray[]>> {
  const session = await InferenceSession.create(bytes, { graphOptimizationLevel: 'disabled' });
  const values: Record<string, NumberArray[]> = {};
  for (const batch of batches) {
    for (const [name, value] of Object.entries({ ...batch, ...(await session.run(batch)) }))
      (values[name] ??= []).push({ shape: value.dims, data: value.data as Float32Array });
  }
  await session.release();
  return values;
}

const rowsOf = (values: Record<string, NumberArray[]>, name: Name, which: (index: number) => boolean) => {
  const kernel = shapes[name].slice(2);
  const pads = Array<number>(4).fill(kernel[0] === 3 ? 1 : 0);
  const chosen = values[inputOf[name]]!.filter((_, index) => which(index));
  return [chosen.flatMap((value) => rowsOfConvolution(value, kernel, { pads })[0]!)];
};

const floats = async (read: FileModel, name: Name, what: 'weights' | 'bias') => {
  const layer = read.tensors.find((each) => each.name === name)!;
  return Array.from(new Float32Array((await read.copy(what === 'bias' ? layer.bias!.values : layer.values)).buffer));
};
const matrix = (weights: readonly number[], name: Name): number[][][] => {
  const columns = product(shapes[name].slice(1));
  return [Array.from({ length: shapes[name][0] }, (_, row) => weights.slice(row * columns, (row + 1) * columns))];
};

async function repaired(options: SparsifierOptions, sparsity: number | undefined, inputs: 'dense' | 'pruned') {
  const read = await readOnnx(file);
  const statistics = await calibrate(read, data);
  const sparsifier = new Sparsifier(read, { layerType: 'all', ...options, statistics });
  await sparsifier.sparsifyModel(sparsity);
  const before = sparsifier.masks();
  const report = await sparsifier.repair(inputs === 'pruned' ? { inputs, ...data } : {});
  return { read, sparsifier, before, report };
}

const outputError = (dense: NumberArray[], found: NumberArray[]) => {
  let [off, whole] = [0, 0];
  for (const [index, { data }] of dense.entries()) {
    for (let at = 0; at < data.length; at++) {
      off += (data[at]! - found[index]!.data[at]!) ** 2;
      whole += data[at]! ** 2;
    }
  }
  return Math.sqrt(off / whole);
};

describe("inputs: 'pruned'", () => {
  test.each([
    ['largeFinal', 60, {}],
    ['fluctuation', 60, {}],
    ['fluctuation', undefined, { granularity: Granularity.nm(2, 4) }],
    ['fluctuation', 25, { granularity: 'filter' }],
  ] satisfies [string, number | undefined, SparsifierOptions][])(
    'Each layer is fitted to the inputs of the repaired part, by %s at %s %j',
    async (criteria, sparsity, options) => {
      const isFluctuation = criteria === 'fluctuation';
      const given = { ...options, criteria } as SparsifierOptions;
      const { read, sparsifier, before, report } = await repaired(given, sparsity, 'pruned');
      const dense = await readOnnx(file);
      const [denseValues, values] = [await valuesOf(file), await valuesOf(await read.bytes())];
      expect(report.layers.map(({ name }) => name)).toEqual(names);
      expect(report.skipped).toEqual([]);
      for (const [index, name] of names.entries()) {
        const layer = report.layers[index]! as RepairedLayer & { name: Name };
        const [w, b] = [await floats(dense, name, 'weights'), await floats(dense, name, 'bias')];
        const [v, c] = [await floats(read, name, 'weights'), await floats(read, name, 'bias')];
        const mask = sparsifier.mask(name).data;
        const perUnit = w.length / mask.length;
        for (const [at, kept] of mask.entries()) {
          if (kept) continue;
          for (let each = 0; each < perUnit; each++) expect(Object.is(v[at * perUnit + each], 0)).toBe(true);
        }
        const removed = (units: Uint8Array) => units.filter((kept) => kept === 0).length;
        expect(removed(mask)).toBe(removed(before.get(name)!.data));
        const [x0, x1] = [denseValues, values].map((each) => rowsOf(each, name, isHeldOut));
        const [z0, z1] = [denseValues, values].map((each) => rowsOf(each, name, (at) => !isHeldOut(at)));
        if (isFluctuation && sparsity === 60) {
          const [means, moments] = [meansOf(z1![0]!), momentsOf(z1![0]!)];
          const scores = w.map((each, at) => {
            const column = at % means.length;
            return Math.abs(each) * Math.sqrt(Math.max(0, moments[column]![column]! - means[column]! ** 2));
          });
          const least = [...scores.keys()].sort((a, b) => scores[a]! - scores[b]!).slice(0, removed(mask));
          expect(least.filter((at) => mask[at] === 1)).toHaveLength(0);
        }
        const gained = [c.map((each, at) => (perUnit > 1 && !mask[at] ? 0 : each - b[at]!))];
        const found = errorOfFit(matrix(w, name), matrix(v, name), gained, x0!, x1);
        expect(layer.repaired, name).toBeCloseTo(found, 4);
        const masked = matrix(
          w.map((each, at) => (mask[Math.floor(at / perUnit)] ? each : 0)),
          name,
        );
        const without = errorOfFit(matrix(w, name), masked, [b.map(() => 0)], x0!, x1);
        expect(layer.masked, name).toBeCloseTo(without, 4);
        expect(found).toBeLessThanOrEqual(without + 1e-6);
        expect(z0![0]).toHaveLength(layer.rows);
        expect(x0![0]).toHaveLength(layer.heldOutRows);
      }
      const plain = await repaired(given, sparsity, 'dense');
      const [own, other] = [values.y!, (await valuesOf(await plain.read.bytes())).y!];
      if (sparsity === 60) expect(outputError(denseValues.y!, own)).toBeLessThan(outputError(denseValues.y!, other));
      await sparsifier.restore();
      expect(differsAt(await read.bytes(), file)).toBe(-1);
      for (const each of [dense, read, plain.read]) each.close();
      await expectNoMemoryInUse();
    },
  );

  test('A second repair gives the same bits, and one that is aborted none', async () => {
    const { read, sparsifier } = await repaired({ criteria: 'fluctuation' }, 60, 'pruned');
    const first = await read.bytes();
    await sparsifier.repair({ inputs: 'pruned', ...data });
    expect(differsAt(await read.bytes(), first)).toBe(-1);
    await sparsifier.sparsifyModel(80);
    const before = await read.bytes();
    const masks = sparsifier.masks();
    for (const stop of [1, 2, 3]) {
      const controller = new AbortController();
      let finished = 0;
      const onProgress = () => {
        if (++finished === stop) controller.abort(new Error('enough'));
      };
      const aborted = sparsifier.repair({ inputs: 'pruned', ...data, signal: controller.signal, onProgress });
      if (stop < 3) await expect(aborted).rejects.toThrow('enough');
      else await expect(aborted).resolves.toMatchObject({ skipped: [] });
      if (stop < 3) {
        expect(differsAt(await read.bytes(), before)).toBe(-1);
        expect(sparsifier.masks()).toEqual(masks);
      }
    }
    let runs = 0;
    const failing = (bytes: Uint8Array, files: SessionFiles) =>
      ++runs > 3 ? Promise.reject(new Error('no session')) : createSession(bytes, files);
    const now = await read.bytes();
    await expect(sparsifier.repair({ inputs: 'pruned', ...data, createSession: failing })).rejects.toThrow(
      'no session',
    );
    expect(differsAt(await read.bytes(), now)).toBe(-1);
    read.close();
    await expectNoMemoryInUse();
  });

  test('Of layers whose moments take more than `memory`, only the bias changes', async () => {
    const { read, sparsifier } = await repaired({}, 50, 'dense');
    const { layers } = await sparsifier.repair({ inputs: 'pruned', ...data, memory: 5000 });
    const isLarge = layers.map(({ reason }) => /only its bias can change/.test(reason ?? ''));
    expect(isLarge).toEqual([true, true, false]);
    read.close();
  });

  test('It needs a way to run the model, and an ONNX model', async () => {
    const { read, sparsifier } = await repaired({}, 50, 'dense');
    for (const options of [{ inputs: 'pruned' }, { inputs: 'pruned', createSession }, data, { holdOut: 0.5 }] as const)
      expect((await errorOf(() => sparsifier.repair(options))).code).toBe('usage');
    read.close();
    const layer = line([1, 2, 3]);
    const own = layerStatistics(layer, rowsFor({ groups: 1, outputs: 1, columns: 3 }, 5));
    const statistics = statisticsOf({ layer: own });
    const other = new Sparsifier(fromArrays({ layer }), { layerType: 'all', statistics });
    const error = await errorOf(() => other.repair({ inputs: 'pruned', ...data }));
    expect([error.code, error.message]).toEqual(['usage', expect.stringContaining('ONNX')]);
  });
});
