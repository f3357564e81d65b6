import { inspect, Sparsifier, type Model } from 'sparsifier';
import { fromArrays } from 'sparsifier/formats/arrays';
import { describe, expect, test } from 'vitest';

const conv = (out: number) => ({
  kind: 'conv2d' as const,
  roles: ['out', 'in', 'height', 'width'] as const,
  shape: [out, 1, 1, 1],
  data: Float32Array.from({ length: out }, (_, index) => index + 1),
});
const dense = (data: number[]) => ({
  kind: 'dense' as const,
  roles: ['out', 'in'] as const,
  shape: [1, data.length],
  data: Float32Array.from(data),
});
const linesOf = (text: string) => text.split('\n');

/** The same model, with other tensors and descriptions. */
function changed(model: Model, changes: Partial<Model>): Model {
  const { tensors, skipped, weights } = model;
  const methods: Pick<Model, 'load' | 'store' | 'copy'> = {
    load: (...words) => model.load(...words),
    store: (...words) => model.store(...words),
    copy: (...words) => model.copy(...words),
  };
  return { tensors, skipped, weights, ...methods, ...changes };
}

test('A report is plain data, and its methods are not among its properties', async () => {
  const report = await inspect(fromArrays({ a: conv(4), b: dense([0, 1]) }));
  expect(JSON.parse(JSON.stringify(report))).toEqual({ ...report });
  expect(Object.keys(report)).toEqual([
    ...['layers', 'skipped', 'weights', 'total', 'bytes', 'engine', 'notes', 'warnings'],
  ]);
  expect(`${report as unknown as string}`).toBe(report.table());
  expect(structuredClone({ ...report })).toEqual(report);
});

test('The table of inspect begins with the totals, and ends with how many weights are in layers, skipped, and in the file', async () => {
  const model = fromArrays({ a: conv(4), b: dense([0, 1]) });
  const skipped = [{ name: 'c', reason: 'a reason', shape: [1000, 2], weights: 2000 }];
  const report = await inspect(changed(model, { skipped, weights: 2006 }));
  expect(report.weights).toEqual({ layers: 6, skipped: 2000, model: 2006 });
  expect(linesOf(report.table())).toEqual([
    '2 layers, 6 weights, 1 zero (16.67 %)',
    '',
    'layer  kind    shape          weights  zeros  sparsity',
    '------------------------------------------------------',
    'a      conv2d  4 x 1 x 1 x 1        4      0    0.00 %',
    'b      dense   1 x 2                2      1   50.00 %',
    '',
    'not pruned:',
    '  c: a reason',
    '',
    `engine: ${report.engine.why}`,
    'weights: 6 in layers, 2,000 skipped, 2,006 in the file',
  ]);
});

test('The table of a call sums up what was asked, and gives its share in the whole model', async () => {
  const model = fromArrays({ a: conv(4), b: dense([0, 1, 2, 3]) });
  const report = await new Sparsifier(model, { layerType: 'conv2d' }).sparsifyModel(50);
  expect(linesOf(report.table()).slice(0, 6)).toEqual([
    '1 layer, 4 weights, 2 zeros (50.00 %, 25.00 % of the whole model)',
    '',
    'layer  kind    shape          weights  zeros  sparsity  units  removed  of units',
    '--------------------------------------------------------------------------------',
    'a      conv2d  4 x 1 x 1 x 1        4      2   50.00 %      4        2   50.00 %',
    '',
  ]);
  const all = await new Sparsifier(model, { layerType: 'all' }).sparsifyModel(50);
  expect(all.table()).not.toContain('whole model');
});

test('Skipped tensors with the same reason have one line', async () => {
  const skipped = Array.from({ length: 12 }, (_, index) => ({
    name: `t${index}`,
    reason: index === 5 ? 'another reason' : 'its type is int8',
    shape: [2, 3],
    weights: index < 2 ? 600 : 0,
  }));
  const text = (await inspect(changed(fromArrays({ a: conv(4) }), { skipped }))).table();
  expect(text).toContain(
    '\nnot pruned:\n  11 tensors of 1,200 weights: its type is int8: t0, t1, t2 and 8 more\n  t5: another reason\n\n',
  );
  const four = (await inspect(changed(fromArrays({ a: conv(4) }), { skipped: skipped.slice(0, 4) }))).table();
  expect(four).toContain('\n  4 tensors of 1,200 weights: its type is int8: t0, t1, t2, t3\n');
});

test('Long names have a line of their own, whole', async () => {
  const name = `encoder/${'block/'.repeat(20)}kernel`;
  const report = await inspect(fromArrays({ [name]: conv(4), b: conv(2) }));
  expect(linesOf(report.table()).slice(0, 6)).toEqual([
    '2 layers, 6 weights, 0 zeros (0.00 %)',
    '',
    'layer  kind    shape          weights  zeros  sparsity',
    '------------------------------------------------------',
    name,
    '       conv2d  4 x 1 x 1 x 1        4      0    0.00 %',
  ]);
});

test('The report of a model without layers has no table', async () => {
  const report = await inspect(changed(fromArrays({ a: conv(4) }), { tensors: [], weights: 0 }));
  expect(linesOf(report.table()).slice(0, 4)).toEqual([
    '0 layers, 0 weights, 0 zeros (0.00 %)',
    '',
    `engine: ${report.engine.why}`,
    'weights: 0 in layers, 0 skipped, 0 in the file',
  ]);
});

test('Fixed tables are listed with their reason', async () => {
  const model = fromArrays({ a: conv(4), b: dense([0, 1]) });
  const tensors = model.tensors.map((tensor) =>
    tensor.name === 'b' ? { ...tensor, fixed: 'it only counts up' } : tensor,
  );
  const report = await inspect(changed(model, { tensors }));
  expect(report.layers.map(({ fixed }) => fixed)).toEqual([undefined, 'it only counts up']);
  expect(report.table()).toContain('\nfixed tables, which rules leave out:\n  b: it only counts up\n');
});

test('What Node prints for a report is short', async () => {
  const inNode = Symbol.for('nodejs.util.inspect.custom');
  const shown = async (sparsity: number) => {
    const report = await new Sparsifier(fromArrays({ a: conv(4), b: conv(3) })).sparsifyModel(sparsity);
    return (report as unknown as Record<symbol, () => string>)[inNode]!();
  };
  expect(await shown(25)).toBe(
    'Report: 2 layers, 2 of 7 weights are zero (28.57 %); table({ layers: true }) shows each layer',
  );
  expect(await shown(50)).toMatch(/^Report: [^\n]*\(57\.14 %\)[^\n]*\nwarning: so much was removed [^\n]*$/);
});

describe('the layers in the table of a call', () => {
  const headOf = (text: string) => text.slice(0, text.indexOf('\n\nengine: ')).split('\n');
  const sparse = async (sizes: readonly number[], ...words: Parameters<Sparsifier['sparsifyModel']>) => {
    const layers = Object.fromEntries(sizes.map((size, index) => [`layer${index}`, conv(size)]));
    return new Sparsifier(fromArrays(layers)).sparsifyModel(...words);
  };

  test('Layers that lost the same share, but for rounding to whole units, are not listed', async () => {
    // 50 % of 3 are 1 or 2, and 50 % of 1 is 0 or 1.
    const report = await sparse([100, 3, 20, 1], 50);
    const { zeros, sparsity } = report.total;
    expect(headOf(report.table())).toEqual([
      `4 layers, 124 weights, ${zeros} zeros (${sparsity.toFixed(2)} %)`,
      `each layer lost about ${sparsity.toFixed(2)} % of its units; \`layers: true\` lists them`,
    ]);
    const all = headOf(report.table({ layers: true }));
    expect(all.slice(4).map((line) => line.split(' ', 1)[0])).toEqual(['layer0', 'layer1', 'layer2', 'layer3']);
    expect(headOf(report.table({ layers: false }))).toEqual([all[0]]);
  });

  test('Layers that lost another share than most weights are listed above the sum of the others', async () => {
    const report = await sparse([100, 40, 20, 10], { layer0: 50, layer1: 25, layer2: 50, layer3: 50 });
    expect(headOf(report.table())).toEqual([
      '4 layers, 170 weights, 75 zeros (44.12 %)',
      '',
      'layer           kind    shape           weights  zeros  sparsity  units  removed  of units',
      '------------------------------------------------------------------------------------------',
      'layer1          conv2d  40 x 1 x 1 x 1       40     10   25.00 %     40       10   25.00 %',
      '------------------------------------------------------------------------------------------',
      '3 other layers                              130     65   50.00 %    130       65   50.00 %',
    ]);
  });

  test('A difference of one unit is listed, unless rounding makes it', async () => {
    // Of 100 units, 49 instead of 50.
    const report = await sparse([100, 100, 100], { layer0: 50, layer1: 49, layer2: 50 });
    expect(headOf(report.table()).filter((line) => line.startsWith('layer')).length).toBe(2);
  });

  test('A layer that has more zeros than it lost is listed', async () => {
    const data = Float32Array.from({ length: 100 }, (_, index) => Math.max(0, index - 79));
    const model = fromArrays({ a: { ...conv(100), data }, b: conv(100), c: conv(100) });
    const report = await new Sparsifier(model).sparsifyModel(20);
    expect(headOf(report.table()).find((line) => line.startsWith('a '))).toMatch(
      / 100 +80 +80\.00 % +100 +20 +20\.00 %$/,
    );
  });

  test('Unknown options are refused', async () => {
    const report = await inspect(fromArrays({ a: conv(4) }));
    expect(() => report.table({ layer: true } as never)).toThrow(/layers/);
  });
});
