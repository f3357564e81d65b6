import { Granularity, inspect, loadEngine, Sparsifier, type Model, type SparsifierOptions } from 'sparsifier';
import { fromArrays } from 'sparsifier/formats/arrays';
import { describe, expect, test } from 'vitest';

const options = { granularity: 'weight', context: 'local', criteria: 'largeFinal', layerType: 'dense' } as const;

function modelOf(weights: number[], shape = [2, weights.length / 2]) {
  const data = Float32Array.from(weights);
  const bias = Float32Array.from({ length: shape[0]! }, (_, index) => index + 1);
  return { data, bias, model: fromArrays({ head: { kind: 'dense', roles: ['out', 'in'], shape, data, bias } }) };
}

test.each<[given: string, value: unknown, found: string]>([
  ['a path', 'model.onnx', 'String'],
  ['bytes', new Uint8Array(3), 'Uint8Array'],
  ['a model that is still being read', Promise.resolve(), 'Promise'],
  ['nothing', undefined, 'undefined'],
])('%s in place of a model is an error that says how to read one', async (_, value, found) => {
  const wrong = {
    code: 'usage',
    details: expect.objectContaining({ found }),
    message: expect.stringMatching(/await readModel/),
  };
  expect(() => new Sparsifier(value as Model)).toThrow(expect.objectContaining(wrong));
  await expect(inspect(value as Model)).rejects.toMatchObject(wrong);
});

describe('masks', () => {
  test('A mask has the shape of the weights, with 1 for each axis that a unit spans', async () => {
    const { model } = modelOf([1, 2, 30, 4, 5, 6]);
    const weights = new Sparsifier(model, options);
    expect([...weights.mask('head').data]).toEqual([1, 1, 1, 1, 1, 1]);
    expect(weights.masks().size).toBe(0);
    await weights.sparsifyModel(50);
    expect(weights.mask('head')).toEqual({ shape: [2, 3], data: Uint8Array.of(0, 0, 1, 0, 1, 1) });
    expect([...weights.masks().keys()]).toEqual(['head']);

    const rows = new Sparsifier(modelOf([1, 2, 30, 4, 5, 6]).model, { ...options, granularity: 'filter' });
    await rows.sparsifyModel(50);
    expect(rows.mask('head')).toEqual({ shape: [2, 1], data: Uint8Array.of(1, 0) });
    expect(() => rows.mask('tail')).toThrow(expect.objectContaining({ code: 'layer' }));
  });

  test('The units of a grouped transposed convolution are counted by group and output channel', () => {
    const shape = [4, 3, 1, 1];
    const data = new Float32Array(12).fill(1);
    const model = fromArrays({
      up: { kind: 'convTranspose2d', roles: ['in', 'out', 'height', 'width'], shape, data, groups: 2 },
    });
    expect(new Sparsifier(model, { ...options, granularity: 'filter' }).mask('up').shape).toEqual([2, 3, 1, 1]);
  });

  test('Masks can be applied again after a training step, to biases too, without scoring', async () => {
    const { data, bias, model } = modelOf([1, 2, 3, 40, 50, 60]);
    const sparsifier = new Sparsifier(model, { ...options, granularity: 'filter' });
    await expect(sparsifier.apply()).rejects.toMatchObject({ code: 'layer' });
    await sparsifier.sparsifyModel(50);
    // The removed row is the larger one now, and goes all the same.
    data.set([100, 100, 100, -1, 2, NaN]);
    bias.set([7, 8]);
    const report = await sparsifier.apply();
    expect([...data]).toEqual([0, 0, 0, -1, 2, NaN]);
    expect([...bias]).toEqual([0, 8]);
    expect(report.total).toMatchObject({ weights: 6, zeros: 3, units: 2, keptUnits: 1 });
    expect((await loadEngine()).memory).toEqual({ blocks: 0, bytes: 0 });
  });

  test('Units that a later call no longer removes are zero, whatever was written there since, and so are their biases', async () => {
    const { data, bias, model } = modelOf([1, 2, 3, 40, 50, 60]);
    const sparsifier = new Sparsifier(model, { ...options, granularity: 'filter' });
    await sparsifier.sparsifyModel(50);
    data.set([7, 7, 7]);
    bias.set([7]);
    const report = await sparsifier.sparsifyModel(0);
    expect([...data]).toEqual([0, 0, 0, 40, 50, 60]);
    expect([...bias]).toEqual([0, 2]);
    expect(report.total).toMatchObject({ zeros: 3, units: 2, keptUnits: 2 });
  });

  test('clear() discards the masks, so that the next call ranks all units again', async () => {
    const { data, model } = modelOf([1, 2, 3, 4]);
    const sparsifier = new Sparsifier(model, options);
    await sparsifier.sparsifyModel(25);
    sparsifier.clear();
    data.set([9, 2, 3, 4]);
    await sparsifier.sparsifyModel(25);
    expect([...data]).toEqual([9, 0, 3, 4]);
  });
});

describe('criteria that compare weights with other numbers', () => {
  const make = (weights: number[], more: Partial<SparsifierOptions>) => {
    const made = modelOf(weights);
    return { ...made, sparsifier: new Sparsifier(made.model, { ...options, ...more }) };
  };

  test('The initial weights are those when the Sparsifier is made, or at the rewind point', async () => {
    const { data, sparsifier } = make([1, 2, 3, 4], { criteria: 'movement' });
    data.set([9, 2.5, 3, 5]);
    await sparsifier.sparsifyModel(25);
    expect([...data]).toEqual([9, 2.5, 0, 5]);
    sparsifier.clear();
    await expect(sparsifier.sparsifyModel(25)).rejects.toMatchObject({ code: 'criteria' });
    sparsifier.rewindPoint();
    data.set([9, 3, 3, 5]);
    await sparsifier.sparsifyModel(25);
    expect([...data]).toEqual([0, 3, 3, 5]);
  });

  test('The previous weights are the masked ones after the last call', async () => {
    const { data, sparsifier } = make([1, 2, 3, 4], { criteria: 'updatingMovement' });
    data.set([1, 5, 6, 7]);
    await sparsifier.sparsifyModel(25);
    expect([...data]).toEqual([0, 5, 6, 7]);
    data.set([8, 5, 9, 9]);
    await sparsifier.sparsifyModel(50);
    expect([...data]).toEqual([0, 0, 9, 9]);
  });

  test('Numbers are given by layer name or as another model, and a layer that has none is named in an error', async () => {
    const initial = Float32Array.of(4, 1, 2, 3);
    const byName = make([1, 1, 1, 1], { criteria: 'largeInit', initial: { 'h*': initial } });
    await byName.sparsifier.sparsifyModel(50);
    expect([...byName.data]).toEqual([1, 0, 0, 1]);
    const byModel = make([1, 1, 1, 1], { criteria: 'smallInit', initial: modelOf([4, 1, 2, 3]).model });
    await byModel.sparsifier.sparsifyModel(50);
    expect([...byModel.data]).toEqual([0, 1, 1, 0]);
    const taylor = make([1, 2, 3, 4], { criteria: 'taylor', gradient: { head: Float32Array.of(9, 1, 1, 1) } });
    await taylor.sparsifier.sparsifyModel(25);
    expect([...taylor.data]).toEqual([1, 0, 3, 4]);
    await expect(make([1, 2], { criteria: 'taylor' }).sparsifier.sparsifyModel(50)).rejects.toMatchObject({
      code: 'criteria',
      details: { subject: 'head' },
    });
    expect(() => make([1, 2], { criteria: 'taylor', gradient: { head: Float32Array.of(1) } })).toThrow(
      expect.objectContaining({ code: 'criteria' }),
    );
    expect(() => make([1, 2], { criteria: 'largeInit', initial: modelOf([1, 2, 3, 4]).model })).toThrow(
      expect.objectContaining({ code: 'criteria' }),
    );
  });

  test.each(['initial.onnx', 7, Float32Array.of(1, 2, 3, 4), new ArrayBuffer(16)])(
    'What is neither a model nor arrays by name is refused: %o',
    (source) => {
      const wrong = source as never;
      expect(() => make([1, 2, 3, 4], { criteria: 'largeInit', initial: wrong })).toThrow(
        expect.objectContaining({ code: 'usage', message: expect.stringMatching(/initial takes.*readModel/) }),
      );
      expect(() => make([1, 2, 3, 4], { criteria: 'taylor', gradient: wrong })).toThrow(
        expect.objectContaining({ code: 'usage', message: expect.stringMatching(/gradient takes arrays/) }),
      );
    },
  );

  test('Activations below 0 are refused', () => {
    const { model } = modelOf([1, 2, 3, 4]);
    const activations = { head: Float32Array.of(1, -0.5) };
    expect(() => new Sparsifier(model, { ...options, criteria: 'wanda', activations })).toThrow(
      expect.objectContaining({
        code: 'criteria',
        message: expect.stringMatching(/head: activations must be norms.*-0\.5/),
      }),
    );
  });

  test('wanda scales weights by the norm of their input channel, also across groups', async () => {
    const shape = [4, 2, 1, 1];
    const activations = { c: Float32Array.of(1, 10, 100, 1000) };
    const pruned = async (roles: ('out' | 'in' | 'height' | 'width')[], stored: number[]) => {
      const data = new Float32Array(8).fill(1);
      const model = fromArrays({ c: { kind: 'conv2d', roles, shape: stored, data, groups: 2 } });
      await new Sparsifier(model, { ...options, layerType: 'conv2d', criteria: 'wanda', activations }).sparsifyModel({
        remove: 5,
      });
      return [...data];
    };
    expect(await pruned(['out', 'in', 'height', 'width'], shape)).toEqual([0, 0, 0, 0, 0, 1, 1, 1]);
    expect(await pruned(['height', 'width', 'in', 'out'], [1, 1, 2, 4])).toEqual([0, 0, 0, 1, 0, 0, 1, 1]);
  });

  test('A custom criterion gives a score for each weight, in any granularity', async () => {
    const seen: unknown[] = [];
    const { data, sparsifier } = make([4, 3, 2, 1], {
      criteria: (layer) => {
        seen.push(layer);
        return layer.weights.map((weight) => -weight);
      },
      granularity: Granularity.filter,
    });
    await sparsifier.sparsifyModel(50);
    expect([...data]).toEqual([0, 0, 2, 1]);
    expect(seen).toEqual([
      { name: 'head', kind: 'dense', roles: ['out', 'in'], shape: [2, 2], weights: Float32Array.of(4, 3, 2, 1) },
    ]);
    for (const criteria of [
      () => Float32Array.of(1),
      () => new Float32Array(4).fill(NaN),
      () => [1, 2, 3, 4] as never,
    ]) {
      const failing = make([4, 3, 2, 1], { criteria });
      await expect(failing.sparsifier.sparsifyModel(50)).rejects.toMatchObject({
        code: 'criteria',
        details: { subject: 'head' },
      });
      expect([...failing.data]).toEqual([4, 3, 2, 1]);
    }
  });
});

test('Whole layers are compared in the global context, and one of them is kept', async () => {
  const layer = (value: number) =>
    ({ kind: 'dense', roles: ['out', 'in'], shape: [1, 2], data: new Float32Array(2).fill(value) }) as const;
  const layers = { a: layer(2), b: layer(1), c: layer(3) };
  const sparsifier = new Sparsifier(fromArrays(layers), { ...options, granularity: 'layer', context: 'global' });
  await sparsifier.sparsifyModel(34);
  expect(Object.values(layers).map(({ data }) => data[0])).toEqual([2, 0, 3]);
  await sparsifier.sparsifyModel(100);
  expect(Object.values(layers).map(({ data }) => data[0])).toEqual([0, 0, 3]);
  await expect(sparsifier.sparsifyLayer('c', 100)).rejects.toMatchObject({ code: 'granularity' });
});

test('A granularity given by its roles is the same as the named one', async () => {
  const pruned = async (granularity: SparsifierOptions['granularity']) => {
    const data = Float32Array.from({ length: 54 }, (_, index) => ((index * 7) % 13) - 6);
    const model = fromArrays({
      c: { kind: 'conv2d', roles: ['out', 'in', 'height', 'width'], shape: [3, 2, 3, 3], data },
    });
    await new Sparsifier(model, { ...options, layerType: 'conv2d', granularity }).sparsifyModel(50);
    return data;
  };
  expect(await pruned(Granularity.spanning('in', 'height'))).toEqual(await pruned('vertical_slice' as never));
  expect(await pruned(Granularity.spanning('in', 'height'))).not.toEqual(await pruned('horizontalSlice'));
});
