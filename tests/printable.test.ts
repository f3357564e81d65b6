import fc from 'fast-check';
import { inspect, Sparsifier, SparsifyError, type Model } from 'sparsifier';
import { compare } from 'sparsifier/compare';
import { readModel } from 'sparsifier/formats';
import { fromArrays } from 'sparsifier/formats/arrays';
import type { FileModel } from 'sparsifier/formats/onnx';
import { dequantize, quantize } from 'sparsifier/quantize';
import { sensitivity } from 'sparsifier/sensitivity';
import { describe, expect, test } from 'vitest';
import { hiddenIn, hostileNames, inUtf8, isHidden } from './support/hostile-names.js';
import { printable } from './support/internal.js';
import { errorOf, line, values } from './support/layers.js';
import { layerStatistics, rowsFor, statisticsOf } from './support/naive-repair.js';
import { model, node, tensor } from './support/onnx-builder.js';
import { safetensorsFile } from './support/safetensors-builder.js';
import { textOf } from './support/tfjs.js';

describe('Text', () => {
  test('Any text is printed on one line, with nothing that cannot be seen, and only that is changed', () => {
    const text = fc.string({ unit: 'binary', maxLength: 40 });
    const hostile = fc.constantFrom(...Object.values(hostileNames));
    const all = fc.array(fc.oneof(text, hostile, fc.string({ unit: 'grapheme' }))).map((parts) => parts.join(''));
    fc.assert(
      fc.property(all, (text) => {
        const printed = printable(text);
        expect([...printed].filter(isHidden)).toEqual([]);
        expect(printable(printed)).toBe(printed);
        // Of format characters that are in none of the ranges, some are escaped as well.
        const kept = [...text].filter((each) => !isHidden(each) && !/\p{Cf}/u.test(each)).join('');
        expect(printed.replaceAll(/\\u\{[0-9a-f]+\}|\\[nrt]/g, '')).toBe(
          kept.replaceAll(/\\u\{[0-9a-f]+\}|\\[nrt]/g, ''),
        );
      }),
    );
  });

  test('Escapes say which characters there are', () => {
    expect(printable('a\n\r\t\u001b[31m\u202e\u{e0041}\ud800é\u{1f600}')).toBe(
      'a\\n\\r\\t\\u{1b}[31m\\u{202e}\\u{e0041}\\u{d800}é\u{1f600}',
    );
  });
});

const opened: Readonly<Record<string, (name: string) => Promise<Model>>> = {
  safetensors: (name) =>
    readModel(safetensorsFile({ [name]: [4, 3], 'fc.weight': [6, 4] }), {
      layers: { [name]: { kind: 'dense', roles: ['out', 'in'] } },
    }),
  ONNX: (name) =>
    readModel(
      model({
        nodes: [node('MatMul', 'x w', 'y', { name }), node('Add', 'y b', 'z', { name: `${name} 2` })],
        initializers: [tensor('w', [3, 4]), tensor('b', [4])],
        inputs: { x: 2 },
      }),
    ),
  'TensorFlow.js': (name) =>
    readModel(
      textOf({
        modelTopology: {
          class_name: 'Sequential',
          config: [{ class_name: 'Dense', config: { name, units: 2, use_bias: false } }],
        },
        weightsManifest: [{ paths: ['w'], weights: [{ name: `${name}/kernel`, shape: [3, 2], dtype: 'float32' }] }],
      }) as Uint8Array<ArrayBuffer>,
      { shards: () => new Uint8Array(Float32Array.of(1, 2, 3, 4, 5, 6).buffer) },
    ),
  arrays: async (name) =>
    fromArrays({ [name]: { kind: 'dense', roles: ['out', 'in'], shape: [4, 3], data: values(12) } }),
};

const cases = Object.entries(opened).flatMap(([format, open]) =>
  Object.entries(format === 'ONNX' ? inUtf8 : hostileNames).map(
    ([what, name]) => [`${format}: a name with ${what}`, open, name] as const,
  ),
);

test.each(cases)('%s is printed as one line that hides nothing, and is as it is in data', async (_, open, name) => {
  const model = await open(name);
  const own = model.tensors.find((tensor) => tensor.name === name)!.name;
  const texts: string[] = [];
  const inspected = await inspect(model);
  const lines = String(inspected).split('\n').length;
  texts.push(inspected.table(), inspected.table({ layers: true }));
  expect(inspected.layers.map((layer) => layer.name)).toContain(name);
  expect(JSON.parse(JSON.stringify(inspected.layers.map((layer) => layer.name)))).toContain(name);

  const sparsifier = new Sparsifier(model, { layerType: 'all' });
  const report = await sparsifier.sparsifyModel(99.9);
  texts.push(report.table({ layers: true }), ...report.warnings.map(({ message }) => message));
  const unknown = await errorOf(() => sparsifier.sparsifyLayer(`${name}\u202ex`, 50));
  texts.push(unknown.message);
  expect(unknown.details.given ?? unknown.details.subject).toBe(`${name}\u202ex`);
  const twice = await errorOf(async () => new Sparsifier(model, { exclude: [`${name}\n`] }));
  texts.push(twice.message);

  const found = await sensitivity(model, () => 1, { levels: [50] });
  expect(found.table().split('\n')).toHaveLength(2 + found.layers.length);
  texts.push(found.table(), await found.plot(), await found.heatMap());

  if ('close' in model) {
    const file = model as FileModel;
    const { model: small, report: quantized } = await quantize(file, { weights: 'float16' });
    const { model: again, report: dequantized } = await dequantize(small);
    texts.push(
      quantized.table({ layers: true }),
      dequantized.table(),
      ...quantized.warnings.map((each) => each.message),
    );
    const compared = await compare(file, again);
    expect(compared.layers.map((layer) => layer.name)).toContain(own);
    for (const each of [file, small, again]) each.close();
  }
  for (const text of texts) expect(hiddenIn(text), text).toEqual([]);
  // As many lines as with a plain name.
  const plain = await open('plain');
  expect(String(await inspect(plain)).split('\n')).toHaveLength(lines);
  if ('close' in plain) (plain as FileModel).close();
});

test.each(Object.entries(hostileNames))(
  'A repair of a layer whose name has %s is told on one line',
  async (_, name) => {
    const layer = line(values(6));
    const own = layerStatistics(layer, rowsFor({ groups: 1, outputs: 1, columns: 6 }, 20));
    const sparsifier = new Sparsifier(fromArrays({ [name]: layer }), {
      layerType: 'all',
      statistics: statisticsOf({ [name]: own }),
    });
    await sparsifier.sparsifyModel(50);
    const repaired = await sparsifier.repair();
    expect([repaired.layers, repaired.skipped].flat().map((each) => each.name)).toEqual([name]);
    expect(hiddenIn(repaired.table())).toEqual([]);
  },
);

test('Errors keep names as they are in their data', () => {
  const name = 'a\u202eb\n';
  const error = new SparsifyError('layer', `no layer ${name}`, {
    subject: name,
    given: name,
    found: [name],
    allowed: [name],
  });
  expect(hiddenIn(error.message)).toEqual([]);
  expect(error.message).not.toContain('\n');
  expect(error.details).toEqual({ subject: name, given: name, found: [name], allowed: [name] });
});

test('Very long names and values are shortened in the middle of texts, and whole in data', async () => {
  const name = `start${'\u{1f600}'.repeat(50_000)}end`;
  const arrays = fromArrays({ [name]: line(values(4)) });
  const report = await inspect(arrays);
  const shown = report.table({ layers: true });
  expect(shown.length).toBeLessThan(2000);
  expect(shown).toMatch(/start\p{Emoji}+…\p{Emoji}+end/u);
  expect(hiddenIn(shown)).toEqual([]);
  expect(report.layers[0]!.name).toBe(name);
  const error = await errorOf(() => new Sparsifier(arrays).sparsifyLayer(`${name}2`, 50));
  expect(error.message.length).toBeLessThan(3000);
});
