import { readFileSync } from 'node:fs';
import { Ajv } from 'ajv';
import fc from 'fast-check';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { readModel } from 'sparsifier/formats';
import { fit, repeat, type FitRecipe } from 'sparsifier/fit';
import { describe, expect, test } from 'vitest';
import { differsAt } from '../support/bytes.js';
import { network, normal } from '../support/fit-models.js';
import { forms, recipeOf, recipeSchema, version } from '../support/internal.js';
import { errorOf } from '../support/layers.js';

const inPackage = (name: string) => new URL(`../../packages/sparsifier/${name}`, import.meta.url);
const jsonOf = (name: string) => JSON.parse(readFileSync(inPackage(name), 'utf8')) as Record<string, unknown>;

describe('the schema of recipes', () => {
  const validate = new Ajv({ strict: true, strictTypes: false }).compile(jsonOf('recipe.schema.json'));
  const isRecipe = (value: unknown): boolean => {
    try {
      recipeOf(value);
      return true;
    } catch {
      return false;
    }
  };

  const digest = fc.option(fc.stringMatching(/^[0-9a-f]{64}$/), { nil: undefined });
  const inputs = fc.constantFrom('dense', 'pruned');
  const file = fc.record({ name: fc.string(), bytes: fc.nat() }, { requiredKeys: ['name', 'bytes'] });
  const files = fc
    .array(fc.tuple(file, digest), { minLength: 1, maxLength: 2 })
    .map((all) => all.map(([each, sha256]) => (sha256 === undefined ? each : { ...each, sha256 })));
  const anyRecipe = fc.record(
    {
      $schema: fc.string(),
      version: fc.constant(1),
      sparsifier: fc.string(),
      model: files,
      statistics: digest.map((sha256) => (sha256 === undefined ? {} : { sha256 })),
      data: fc.record({
        isSplit: fc.boolean(),
        holdOut: fc.double({ min: 0, max: 0.99, noNaN: true }),
        memory: fc.integer({ min: 1 }),
      }),
      remove: fc.record({
        granularity: fc.constant('filter'),
        context: fc.constant('local'),
        criteria: fc.constant('flap'),
        amounts: fc.dictionary(fc.string(), fc.nat(), { minKeys: 1, maxKeys: 3 }),
        roundTo: fc.integer({ min: 1 }),
        repair: fc.record({ method: fc.constant('solve'), inputs }),
        statistics: fc.constantFrom('measured', 'cut'),
      }),
      prune: fc.record(
        {
          granularity: fc.constant('weight'),
          context: fc.constant('local'),
          criteria: fc.constantFrom('fluctuation', 'largeFinal'),
          amounts: fc.dictionary(fc.string(), fc.nat(), { minKeys: 1, maxKeys: 3 }),
          repair: fc.record({ method: fc.constant('solve'), inputs }),
        },
        { requiredKeys: ['granularity', 'context', 'criteria', 'amounts'] },
      ),
      quantize: fc.record(
        { weights: fc.constantFrom(...forms), layers: fc.array(fc.string(), { minLength: 1, maxLength: 3 }), inputs },
        { requiredKeys: ['weights', 'layers'] },
      ),
      result: files,
    },
    { requiredKeys: ['version', 'sparsifier', 'model', 'result'] },
  );

  /** All objects and lists in a value, each with one of its keys. */
  const placesIn = (value: unknown): { readonly holder: Record<string, unknown>; readonly key: string }[] =>
    typeof value !== 'object' || value === null
      ? []
      : Object.keys(value).flatMap((key) => {
          const holder = value as Record<string, unknown>;
          return [{ holder, key }, ...placesIn(holder[key])];
        });

  test('Recipes are valid by both the schema and the package', () => {
    fc.assert(
      fc.property(anyRecipe, (made) => {
        const recipe: unknown = JSON.parse(JSON.stringify(made));
        expect([validate(recipe), isRecipe(recipe)]).toEqual([true, true]);
      }),
    );
  });

  test('What is changed anywhere in a recipe is valid by both or by neither', () => {
    const odd = fc.constantFrom<unknown>(
      ...[null, true, 0, -1, 1, 0.5, 2 ** 53, 1e300, '', 'int8', 'dense', 'pruned', [], [1], ['a'], {}, { a: 1 }],
    );
    let invalid = 0;
    fc.assert(
      fc.property(anyRecipe, fc.nat(), odd, fc.constantFrom('set', 'add', 'remove'), (made, place, value, change) => {
        const recipe: unknown = JSON.parse(JSON.stringify(made));
        const places = placesIn(recipe);
        const { holder, key } = places[place % places.length]!;
        if (change === 'set') holder[key] = value;
        else if (change === 'remove' && !Array.isArray(holder)) delete holder[key];
        else if (Array.isArray(holder)) holder.push(value);
        else holder['another'] = value;
        const isValid = validate(recipe);
        if (!isValid) invalid++;
        expect([isRecipe(recipe), JSON.stringify(recipe)]).toEqual([isValid, JSON.stringify(recipe)]);
      }),
      { numRuns: 2000 },
    );
    expect(invalid).toBeGreaterThan(100);
  });

  test('The example in the documentation is a recipe with all keys, and the table there explains each of them', () => {
    const page = readFileSync(new URL('../../docs/fit.md', import.meta.url), 'utf8');
    const [, example] = /```json\n([^]*?)```/.exec(page)!;
    const recipe = JSON.parse(example!) as object;
    expect([validate(recipe), isRecipe(recipe)]).toEqual([true, true]);
    const { properties } = jsonOf('recipe.schema.json') as { properties: object };
    expect(Object.keys(recipe)).toEqual(Object.keys(properties));
    const table = page.slice(page.indexOf('| key | meaning |')).split('\n\n')[0]!;
    const explained = [...table.matchAll(/^\| (`.*?) \|/gm)].flatMap(([, names]) =>
      names!.replaceAll('`', '').split(', '),
    );
    expect(explained).toEqual(Object.keys(properties));
  });

  test('The version in recipes is that of the package, which exports the schema that checks them', () => {
    const { version: published, exports, files } = jsonOf('package.json');
    expect(version).toBe(published);
    expect(jsonOf('recipe.schema.json')).toEqual(recipeSchema);
    expect(exports).toHaveProperty(['./recipe.schema.json'], './recipe.schema.json');
    expect(files).toContain('recipe.schema.json');
  });
});

describe('recipes of models that are run', () => {
  const tensors = Array.from(
    { length: 8 },
    (_, seed) => new Tensor('float32', normal(384, seed + 50, 1), [2, 3, 8, 8]),
  );
  const data = {
    createSession: (bytes: Uint8Array) => InferenceSession.create(bytes, { logSeverityLevel: 3 }),
    batches: () => tensors.map((x) => ({ x })),
  };

  test('The same inputs give the same bytes, also where weights are solved for those of the pruned model', async () => {
    const seen = new Set<unknown>();
    // Little is removed for the first, and half or more for the second.
    for (const target of [7000, 3200]) {
      using model = await readModel(network);
      const { model: small, recipe, statistics } = await fit(model, { target, data: { ...data, holdOut: 0.5 } });
      using fitted = small;
      seen.add(recipe.prune?.repair?.inputs);
      expect(recipe.data).toEqual({ isSplit: true, holdOut: 0.5, memory: 2 ** 30 });
      const text = JSON.stringify(recipe);
      for (const given of [{ data }, { data, statistics: statistics! }]) {
        using other = await readModel(network);
        const { model: again, report } = await repeat(other, JSON.parse(text) as FitRecipe, given);
        using repeated = again;
        expect([report.isSame, report.notes.filter((note) => /not needed|not those/.test(note))]).toEqual([true, []]);
        expect(differsAt(await repeated.bytes(), await fitted.bytes())).toBe(-1);
      }
      using other = await readModel(network);
      const read = JSON.parse(text) as FitRecipe;
      const missing = await errorOf(() => repeat(other, read, { statistics: statistics! }));
      expect([missing.code, missing.message]).toEqual(['usage', expect.stringMatching(/needs inputs/)]);
      const few = { ...data, batches: () => data.batches().slice(1) };
      expect((await errorOf(() => repeat(other, read, { data: few }))).code).toBe('criteria');
    }
    expect(seen).toContain('pruned');
  });
});
