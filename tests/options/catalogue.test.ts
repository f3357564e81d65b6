import { Criteria, Sparsifier, type CriteriaName, type Kind } from 'sparsifier';
import { criteria, granularities, kinds } from 'sparsifier/catalogue';
import { fromArrays } from 'sparsifier/formats/arrays';
import { expect, test } from 'vitest';
import { errorOf, layouts, layerOf, line, refusal } from '../support/layers.js';
import { layerStatistics, rowsFor, statisticsOf } from '../support/naive-repair.js';
import { granularities as everyGranularity, spanned } from '../support/oracle.js';

const names = Object.keys(Criteria) as CriteriaName[];

test('The catalogue has an entry for each criterion and for nothing else', () => {
  expect(Object.keys(criteria).sort()).toEqual([...names].sort());
});

test.each(names)('The entry of %s has a sentence, a formula and a source of its own', (name) => {
  const { sentence, formula, source } = criteria[name];
  expect(sentence).toMatch(/^[A-Z][^.]+\.$/);
  expect(formula).not.toBe('');
  expect(source).toMatch(/^(fasterai|[A-Z]\w+ et al\. \d{4}(; [A-Z]\w+ et al\. \d{4})*)$/);
  const others = names.filter((other) => criteria[other].sentence === sentence);
  expect(others).toEqual([name]);
});

const ofWeights = names.filter((name) => !criteria[name].isForChannels);

test.each(ofWeights)('%s reads the option that the catalogue says, and no other', async (name) => {
  const data = Float32Array.of(1, 2, 3, 4, 5, 6);
  const state = { layer: Float32Array.of(9, 0.5, 3.5, 1, 5.5, 2) };
  const { needs } = criteria[name];
  const rows = rowsFor({ groups: 1, outputs: 1, columns: 6 }, 9);
  const statistics = statisticsOf({ layer: layerStatistics(line(data), rows) });
  // Statistics contain what activations are.
  const inputs = needs === 'statistics' ? { statistics } : { activations: state };
  const options: Readonly<Record<string, unknown>> = {
    ...{ initial: state, previous: state, gradient: state, seed: 7 },
    ...inputs,
  };
  const removed = async (given: object) => {
    const layer = { ...line(data), data: data.slice() };
    const sparsifier = new Sparsifier(fromArrays({ layer }), { criteria: name, layerType: 'all', ...given });
    await sparsifier.sparsifyModel({ remove: 3 });
    return [...layer.data];
  };
  const all = await removed(options);
  expect(await removed(needs === undefined ? {} : { [needs]: options[needs] })).toEqual(all);
  if (needs === 'gradient' || needs === 'activations' || needs === 'statistics') {
    expect((await errorOf(() => removed({ ...options, [needs]: undefined }))).code).toBe('criteria');
  } else if (needs !== undefined) expect(await removed({ ...options, [needs]: undefined })).not.toEqual(all);
});

test('The catalogue has the granularities of each kind of layer', () => {
  expect(Object.keys(granularities)).toEqual([...kinds]);
  for (const kind of kinds) {
    const expected = everyGranularity.filter((granularity) => spanned(kind, granularity));
    expect([...granularities[kind]].sort(), kind).toEqual([...expected].sort());
  }
});

test('The kinds of the catalogue are those that layerType takes', async () => {
  const error = await refusal({ layer: line([1]) }, 50, { layerType: 'unheard of' as Kind });
  expect(error.details.allowed).toEqual([...kinds, 'all']);
  for (const layout of layouts) {
    expect(kinds).toContain(layout.kind);
    const model = fromArrays({ layer: layerOf(layout) });
    expect((await new Sparsifier(model, { layerType: layout.kind }).explain())[0]!.selected).toBe(true);
  }
});
