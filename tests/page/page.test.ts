import { inspect, Sparsifier, type Model } from 'sparsifier';
import { fit, type FitReport } from 'sparsifier/fit';
import { readModel, sizesOf, type FileModel } from 'sparsifier/formats';
import { fromArrays } from 'sparsifier/formats/arrays';
import { quantize } from 'sparsifier/quantize';
import { reportPage, type PageReport } from 'sparsifier/report';
import { describe, expect, test } from 'vitest';
import { fitModels, network, normal } from '../support/fit-models.js';
import { hiddenIn, hostileNames } from '../support/hostile-names.js';
import { errorOf } from '../support/layers.js';
import { cellsOf, listIn, rowsOf, sectionOf, textIn } from '../support/page.js';

// The page says what the report says, in JSON and as text.

const thousands = (value: number) => value.toLocaleString('en');
const percent = (value: number) => `${value.toFixed(2)} %`;
const bytesOf = async (model: FileModel) => (await model.outputs()).reduce((sum, output) => sum + output.size(), 0);

const bytesOfForm: Readonly<Record<string, number>> = { stored: 4, float16: 2, int8: 1 };

/** The lines of a table in a text, as lists of cells. */
const linesOf = (text: string, title: string): string[][] => {
  const [, body = ''] = new RegExp(`^${title}:\n((?: {2}.*\n)+)`, 'm').exec(`${text}\n`) ?? [];
  return body
    .split('\n')
    .filter((line) => line.trim() !== '' && !/^ *-+$/.test(line))
    .map((line) => line.trim().split(/ {2,}/));
};

/** @param share of the bytes that the model has */
async function withFitted(
  share: number,
  use: (model: FileModel, small: FileModel, report: FitReport) => Promise<void>,
) {
  const model = await readModel(network);
  const { brotli } = await sizesOf(model);
  const { model: small, report } = await fit(model, { target: Math.round(share * brotli) });
  await use(model, small, report);
  model.close();
  small.close();
}

describe('the page of fit', () => {
  test('Its numbers are those of the report, of its JSON and of its text', async () => {
    await withFitted(0.3, async (before, after, report) => {
      const page = await reportPage(report, { before, after, title: 'network.onnx' });
      const data = JSON.parse(JSON.stringify(report)) as FitReport;
      const text = String(report);

      const rows = rowsOf(page, 'Layers');
      expect(rows.map(({ layer }) => layer)).toEqual(data.layers.map(({ name }) => name));
      const lines = linesOf(text, 'layers').slice(1);
      for (const [index, { kind, shape, weights, zeros, sparsity, error, form }] of data.layers.entries()) {
        const row = rows[index]!;
        const numbers = [thousands(weights), thousands(zeros), percent(sparsity), percent(100 * error)];
        expect([row.weights, row.zeros, row.sparsity, row.error]).toEqual(numbers);
        expect([row.kind, row.shape, row.form]).toEqual([kind, shape.join(' x '), form ?? '']);
        expect(lines[index]!.slice(4)).toEqual(numbers);
        expect(row['bytes before']).toBe(thousands(4 * weights));
        expect(row.bytes).toBe(thousands(weights * bytesOfForm[form ?? 'stored']!));
      }

      const sizes = cellsOf(page, 'Bytes of all files').slice(1);
      expect(sizes).toEqual(
        (['brotli', 'gzip', 'raw'] as const).map((key) => {
          const [from, to] = [data.sizes.before[key], data.sizes.after[key]];
          return [expect.any(String), thousands(from), thousands(to), percent((100 * to) / from)];
        }),
      );
      expect(data.sizes.after.raw).toBe(await bytesOf(after));

      const settings = cellsOf(page, 'Settings').map((cells) => cells.filter((cell) => cell !== ''));
      expect(settings).toEqual(linesOf(text, 'settings').slice(0, settings.length));
      expect(settings).toHaveLength(1 + data.curve.filter(({ isEstimate }) => !isEstimate).length);

      for (const fact of listIn(page, 'What was done')) expect(text.replaceAll('`', '')).toContain(fact);
      expect(listIn(page, 'Notes')).toEqual(data.notes.map((note) => note.replaceAll('`', '')));
      expect(page).toContain('<title>network.onnx - report</title>');
      const [, whole = ''] = /The report as text<\/summary>\s*<pre[^>]*>(.*?)<\/pre>/s.exec(page) ?? [];
      expect(textIn(whole)).toBe(text.trim());
    });
  });

  test('The chosen setting, the target and each judged model are on the curve', async () => {
    await withFitted(0.3, async (before, after, report) => {
      const curve = sectionOf(await reportPage(report, { before, after }), 'What was tried');
      const judged = report.curve.filter(({ outcome }) => outcome !== undefined);
      const points = [...curve.matchAll(/<title>(.*?)<\/title>/gs)].map(([, title]) => textIn(title!));
      expect(points).toHaveLength(judged.length);
      for (const { form, bytes } of judged) expect(points.join('\n')).toContain(`${form}: ${thousands(bytes)} bytes, `);
      expect(curve.match(/class="target"/g)).toHaveLength(1);
      expect(textIn(curve).replace(/\s+/g, ' ')).toContain(`chosen: ${thousands(report.sizes.after.brotli)} bytes`);
    });
  });

  test('Layers that were not pruned are listed below the reason, and a recipe is shown as JSON', async () => {
    await withFitted(0.5, async (before, after, report) => {
      const recipe = { version: '0.1.0', rules: { exclude: [hostileNames['another direction']!, '<b>'] } };
      const page = await reportPage({ ...report, recipe } as unknown as PageReport, { before, after });
      const left = textIn(sectionOf(page, 'What was left, and why'));
      expect(left).toContain('depthwise: a depthwise convolution');
      for (const { form } of report.skippedForms) expect(left).toContain(form);
      const [, shown = ''] = /Recipe<\/summary>\s*<pre[^>]*>(.*?)<\/pre>/s.exec(page) ?? [];
      expect(JSON.parse(textIn(shown))).toEqual(recipe);
      expect(hiddenIn(page)).toEqual([]);
    });
  });

  test.each(['safetensors', 'TensorFlow.js'] as const)('A %s model has a page, too', async (name) => {
    const before = await fitModels[name]();
    const { raw } = await sizesOf(before);
    const { model: after, report } = await fit(before, { target: Math.round(raw / 3) });
    const rows = rowsOf(await reportPage(report, { before, after }), 'Layers');
    expect(rows.map(({ layer, zeros }) => [layer, zeros])).toEqual(
      report.layers.map(({ name, zeros }) => [name, thousands(zeros)]),
    );
    before.close();
    after.close();
  });
});

describe('the page of other calls', () => {
  test('Pruning, repairing and rounding one after the other are one page with the last numbers', async () => {
    const [before, model] = [await readModel(network), await readModel(network)];
    const pruning = await new Sparsifier(model, { layerType: 'all', exclude: 'first' }).sparsifyModel(90);
    const { model: after, report: rounding } = await quantize(model, { weights: 'int8' });
    const page = await reportPage([pruning, rounding], { before, after });
    const rows = rowsOf(page, 'Layers');
    expect(rows.map(({ layer }) => layer)).toEqual(model.tensors.map(({ name }) => name));
    for (const { name, form, zeros, weights } of rounding.layers) {
      const row = rows.find(({ layer }) => layer === name)!;
      expect([row.form, row.zeros, row.weights]).toEqual([form, thousands(zeros), thousands(weights)]);
      const removing = pruning.layers.find((each) => each.name === name)?.error ?? 0;
      const { error } = rounding.layers.find((each) => each.name === name)!;
      expect(row.error).toBe(percent(100 * Math.hypot(removing, error)));
    }
    const warnings = [...pruning.warnings, ...rounding.warnings].map(({ message }) => message.replaceAll('`', ''));
    expect(warnings.length).toBeGreaterThan(0);
    expect(
      [...page.matchAll(/class="warnings".*?<\/section>/gs)].map(([all]) =>
        [...all.matchAll(/<li>(.*?)<\/li>/gs)].map(([, item]) => textIn(item!)),
      ),
    ).toEqual([warnings]);
    // Warnings come before everything else that is said about the model.
    expect(page.indexOf('class="warnings"')).toBeLessThan(page.indexOf('What was done'));
    expect(page).toContain('The report as text: pruning');
    expect(cellsOf(page, 'Bytes of all files')[1]).toEqual([
      ...['uncompressed', thousands(await bytesOf(before)), thousands(await bytesOf(after))],
      percent((100 * (await bytesOf(after))) / (await bytesOf(before))),
    ]);
    for (const each of [before, model, after]) each.close();
  });

  test('The same reports and models give the same text, also if the reports were JSON in between', async () => {
    const [before, after] = [await readModel(network), await readModel(network)];
    const report = await new Sparsifier(after, { layerType: 'all' }).sparsifyModel(40);
    const page = await reportPage(report, { before, after });
    expect(await reportPage(report, { before, after })).toBe(page);
    expect(await reportPage(JSON.parse(JSON.stringify(report)) as PageReport, { before, after })).toBe(page);
    // Without models there are no bytes of layers and no weights, but the same numbers.
    const alone = await reportPage(report);
    expect(sectionOf(alone, 'Weights')).toBe('');
    const without = rowsOf(alone, 'Layers');
    for (const [index, row] of rowsOf(page, 'Layers').entries()) expect(row).toMatchObject(without[index]!);
    expect(textIn(sectionOf(alone, 'Map of the layers'))).toContain('number of weights');
    for (const each of [before, after]) each.close();
  });
});

describe('weights', () => {
  const numbersIn = async (model: Model) =>
    new Float32Array((await model.copy(model.tensors[0]!.values)).slice().buffer);
  const arrays = (data: Float32Array<ArrayBuffer>) =>
    fromArrays({ conv: { kind: 'conv2d', roles: ['height', 'width', 'in', 'out'], shape: [3, 3, 4, 6], data } });

  test('A histogram counts each weight once, and says what the cut is', async () => {
    const data = normal(216, 7, 1);
    data[5] = 0;
    const [before, after] = [arrays(data.slice()), arrays(data.slice())];
    const report = await new Sparsifier(after, { layerType: 'all' }).sparsifyModel(50);
    const page = await reportPage(report, { before, after });
    const now = await numbersIn(after);
    const removed = [...data].filter((value, index) => value !== 0 && now[index] === 0).map(Math.abs);
    const kept = [...now].filter((value) => value !== 0).length;
    const cut = String(Number(Math.max(...removed).toPrecision(5)));
    const text = textIn(sectionOf(page, 'Weights'));
    expect(text).toContain(
      `${kept} kept; ${removed.length} weights became 0, all up to the cut at ${cut}; already 0: 1`,
    );
    // Bars are as high as their counts.
    const heightsOf = (look: string) => {
      const [, path = ''] = new RegExp(`<path class="${look}" d="([^"]*)"`).exec(sectionOf(page, 'Weights')) ?? [];
      return [...path.matchAll(/h[\d.]+v([\d.]+)z/g)].map(([, height]) => Number(height));
    };
    const sums = ['kept', 'removed'].map((look) => heightsOf(look).reduce((sum, height) => sum + height, 0));
    expect(sums[0]! / sums[1]!).toBeCloseTo(kept / removed.length, 1);
  });

  test('A picture of a mask has a hole for each weight that is 0, whatever the order of the axes is', async () => {
    const after = arrays(normal(216, 8, 1));
    const report = await new Sparsifier(after, { layerType: 'all' }).sparsifyModel(50);
    const now = await numbersIn(after);
    const masks = sectionOf(await reportPage(report, { after }), 'Masks');
    const [, holes = ''] = /<path class="hole" d="([^"]*)"/.exec(masks) ?? [];
    const found = [...holes.matchAll(/M([\d.]+) ([\d.]+)h/g)].map(([, x, y]) => `${x} ${y}`);
    const expected = [...now].flatMap((value, at) => {
      if (value !== 0) return [];
      const [y, x, input, out] = [Math.floor(at / 72), Math.floor(at / 24) % 3, Math.floor(at / 6) % 4, at % 6];
      return [`${18 * input + 5 * x + 0.5} ${18 * out + 5 * y + 0.5}`];
    });
    expect(found.sort()).toEqual(expected.sort());
    expect(textIn(masks)).toContain(`6 outputs, 4 inputs: ${expected.length} of 216 weights shown are 0`);
  });

  test('Numbers that are not finite, and layers without any, have a page', async () => {
    const data = normal(216, 9, 1);
    const odd = data.slice();
    odd.set([NaN, Infinity, -Infinity]);
    const report = await new Sparsifier(arrays(data), { layerType: 'all' }).sparsifyModel(50);
    const page = await reportPage(report, { before: arrays(odd), after: arrays(odd) });
    expect(page).not.toMatch(/NaN|Infinity/);
    const empty = await reportPage(await inspect(fromArrays({})), {
      before: fromArrays({}),
      after: fromArrays({}),
    });
    expect(empty).toContain('0 layers');
  });
});

describe('names', () => {
  test.each(Object.entries(hostileNames))('A layer and a title are shown and not obeyed: %s', async (_, name) => {
    const long = `${name}${'long.'.repeat(400)}`;
    const dense = { kind: 'dense', roles: ['out', 'in'], shape: [4, 3] } as const;
    const model = () =>
      fromArrays(Object.fromEntries([name, long, 'عربي'].map((each) => [each, { ...dense, data: normal(12, 1) }])));
    const [before, after] = [model(), model()];
    const report = await new Sparsifier(after, { layerType: 'all' }).sparsifyModel(50);
    const page = await reportPage(report, { before, after, title: name });
    expect(hiddenIn(page)).toEqual([]);
    expect(page).not.toMatch(/<\/title><script/);
    expect(page.match(/<title>/g)).toHaveLength(1);
    expect(rowsOf(page, 'Layers')).toHaveLength(3);
    expect(page).toContain('<bdi>عربي</bdi>');
    // Nothing but the markup of the page itself.
    const tags = new Set([...page.matchAll(/<\/?([a-z][a-z0-9]*)/gi)].map(([, tag]) => tag));
    for (const tag of ['script', 'img', 'iframe', 'object', 'link']) expect(tags).not.toContain(tag);
  });
});

test('What is no report or model is refused, and a signal ends the call with its reason', async () => {
  const report = await inspect(fromArrays({}));
  for (const given of [undefined, null, 5, 'report', {}, [], [report, 5], { notes: [] }, { notes: [], curve: 1 }]) {
    expect((await errorOf(() => reportPage(given as unknown as PageReport))).code).toBe('usage');
  }
  expect((await errorOf(() => reportPage(report, { after: {} as FileModel }))).code).toBe('usage');
  expect((await errorOf(() => reportPage(report, { sizes: { after: {} as never } }))).message).toMatch(/sizes\(\)/);
  const closed = await readModel(network);
  closed.close();
  expect((await errorOf(() => reportPage(report, { after: closed }))).message).toMatch(/closed/);
  const reason = new Error('enough');
  await expect(reportPage(report, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
});
