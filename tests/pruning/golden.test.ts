import {
  Sparsifier,
  type Amount,
  type CriteriaName,
  type GranularityName,
  type Kind,
  type Role,
  type SparsifierOptions,
} from 'sparsifier';
import { fromArrays, type ArrayLayer } from 'sparsifier/formats/arrays';
import { beforeAll, expect, test } from 'vitest';
import { readBytes, readJson, safetensors } from '../support/files.js';

interface Layer {
  name: string;
  kind: string;
  layout: string;
  shape: number[];
  groups?: number;
  sparsity?: number | null;
  units: number;
  kept: number;
  exactKeep?: number;
  in: Partial<Record<'weight' | 'initWeight' | 'previousWeight' | 'grad' | 'mask' | 'actScale', string>>;
  out: { mask?: string };
  tf?: { layout: string; weight: string; mask: string };
}

interface Case {
  id: string;
  call: string;
  source: { library: string };
  context: 'local' | 'global';
  granularity?: string;
  criterion?: string;
  reducer?: string;
  normalizer?: string;
  sparsity?: number;
  amount?: number;
  amountIsCount?: boolean;
  steps?: number;
  roundTo?: number;
  n?: number;
  dim?: number;
  exactKeep?: number;
  sequence?: { id: string; step: number };
  /** Why the case is set apart, if it is. */
  quirk?: string | undefined;
  layers: Layer[];
}

const kinds: Record<string, Kind> = {
  conv1d: 'conv1d',
  conv2d: 'conv2d',
  convT2d: 'convTranspose2d',
  linear: 'dense',
};
const letters: Record<string, Role> = {
  O: 'out',
  I: 'in',
  H: 'height',
  W: 'width',
  K: 'width',
  C: 'out',
  M: 'multiplier',
};
const normalizers: Record<string, SparsifierOptions['normalizer']> = {
  sum: 'sum',
  mean: 'mean',
  max: 'max',
  standardization: 'minmax',
  gaussian: 'standard',
};

let cases: Case[];
let inputs: ReturnType<typeof safetensors>;
let masks: ReturnType<typeof safetensors>;

beforeAll(async () => {
  const [all, tags] = await Promise.all([
    readJson<{ cases: Case[] }>('golden/cases.json'),
    readJson<Record<string, string>>('golden/quirk-tags.json'),
  ]);
  // Cases that a quirk, a tie or an error sets apart stay only as steps of their sequence.
  cases = all.cases
    .map((each) => ({ ...each, quirk: tags[each.id] }))
    .filter(({ quirk, sequence }) => !quirk || (sequence && quirk !== 'error'));
  inputs = safetensors(await readBytes('golden/inputs.safetensors'));
  masks = safetensors(await readBytes('golden/masks.safetensors'));
});

const isTorch = ({ source }: Case) => source.library !== 'fasterai';
const floats = (name: string) => inputs.get(name)!.data as Float32Array;

/** Without a gradient fasterai's criterion is the weight's square. */
const criterionOf = ({ criterion, layers }: Case): CriteriaName =>
  criterion === 'grad_crit' ? (layers[0]!.in.grad ? 'taylor' : 'squaredFinal') : (criterion as CriteriaName);

function optionsOf(each: Case): SparsifierOptions {
  const shared = { context: each.context, layerType: 'all' } as const;
  if (isTorch(each)) {
    const along = each.dim === undefined ? undefined : letters[each.layers[0]!.layout.at(each.dim)!]!;
    const others = (['out', 'in', 'height', 'width'] as const).filter((role) => role !== along);
    return {
      ...shared,
      granularity: along === undefined ? 'weight' : { spanning: others },
      criteria: each.n === 2 ? 'squaredFinal' : 'largeFinal',
    };
  }
  return {
    ...shared,
    granularity: each.granularity as GranularityName,
    criteria: criterionOf(each),
    ...(each.reducer ? { reducer: each.reducer as 'mean' | 'sum' } : {}),
    ...(each.normalizer ? { normalizer: normalizers[each.normalizer]! } : {}),
  };
}

/** The layers that a case asks for, in PyTorch's layout or in TensorFlow's. */
function modelOf(each: Case, layout: Layout) {
  const layers = each.layers.filter(({ out, tf }) => out.mask !== undefined && (layout === 'stored' || tf));
  const data = layers.map(({ in: { weight }, tf }) => floats(layout === 'tf' ? tf!.weight : weight!).slice());
  const model = fromArrays(
    Object.fromEntries(
      layers.map((layer, index): [string, ArrayLayer] => {
        const tf = layout === 'tf' ? layer.tf : undefined;
        const name = tf?.layout ?? layer.layout;
        return [
          layer.name,
          {
            kind: kinds[layer.kind]!,
            roles: [...name].map((letter) => letters[letter]!),
            shape: tf ? shapeOf(layer, name) : layer.shape,
            groups: layer.groups ?? 1,
            data: data[index]!,
          },
        ];
      }),
    ),
  );
  return { layers, data, model };
}

function shapeOf({ layout, shape, groups = 1 }: Layer, wanted: string): number[] {
  const size = (letter: string) => shape[layout.indexOf(letter)]!;
  if (wanted === 'HWCM') return [size('H'), size('W'), groups, size('O') / groups];
  return [...wanted].map(size);
}

/** An array of PyTorch's layout in another. */
function transposed(array: Float32Array, layer: Layer, wanted: string): Float32Array {
  if (wanted === layer.layout) return array;
  // C and M are the two parts of O.
  const from = wanted === 'HWCM' ? layer.layout.replace('O', 'CM').replace('I', '') : layer.layout;
  const shape = shapeOf(layer, wanted);
  const size = (letter: string) => shape[wanted.indexOf(letter)]!;
  return array.map((_, position) => {
    const at: Record<string, number> = {};
    for (const letter of [...wanted].reverse()) {
      at[letter] = position % size(letter);
      position = Math.floor(position / size(letter));
    }
    return array[[...from].reduce((index, letter) => index * size(letter) + at[letter]!, 0)]!;
  });
}

/** The state that a case records, as the options that give it. */
function stateOf(layers: readonly Layer[], layout: Layout): Partial<SparsifierOptions> {
  const arrays = (key: 'initWeight' | 'previousWeight' | 'grad' | 'actScale') => {
    const entries = layers.flatMap((layer): [string, Float32Array][] => {
      const name = layer.in[key];
      if (name === undefined) return [];
      const array = floats(name);
      return [[layer.name, layout === 'tf' && key !== 'actScale' ? transposed(array, layer, layer.tf!.layout) : array]];
    });
    return entries.length > 0 ? Object.fromEntries(entries) : undefined;
  };
  const state = {
    initial: arrays('initWeight'),
    previous: arrays('previousWeight'),
    gradient: arrays('grad'),
    activations: arrays('actScale'),
  };
  return Object.fromEntries(Object.entries(state).filter(([, value]) => value !== undefined));
}

type Layout = 'stored' | 'tf';

const layoutsOf = ({ layers }: Case): Layout[] => (layers.some(({ tf }) => tf) ? ['stored', 'tf'] : ['stored']);

const keptBy = ({ layers }: Case): number =>
  layers.filter(({ out }) => out.mask !== undefined).reduce((sum, { kept }) => sum + kept, 0);

/** Every layer, or in the global context the network, keeps as many units as were kept when the case was recorded. */
const sameCount = (each: Case, layers: readonly Layer[]): Amount | Amount[] =>
  each.context === 'global' ? { keep: keptBy(each) } : layers.map(({ kept }) => ({ keep: kept }));

/** Makes the recorded call and says in what the result differs. torch removes whole layers where it is asked to. */
async function differences(each: Case, layout: Layout): Promise<string[]> {
  const { layers, data, model } = modelOf(each, layout);
  const sparsifier = new Sparsifier(model, {
    ...optionsOf(each),
    ...stateOf(layers, layout),
    allowEmpty: isTorch(each),
  });
  await sparsifier.sparsifyModel(sameCount(each, layers));
  return compare(each, layers, layout, data);
}

/** Kept weights are as they were, all others +0. */
function compare(each: Case, layers: readonly Layer[], layout: Layout, data: readonly Float32Array[]): string[] {
  return layers.flatMap((layer, index) => {
    const mask = fullMask(layer, layout);
    const before = floats(layout === 'tf' ? layer.tf!.weight : layer.in.weight!);
    const wrong = data[index]!.findIndex((weight, place) => !Object.is(weight, mask[place] ? before[place] : 0));
    return mask.length === before.length && wrong < 0
      ? []
      : [`${each.id} ${layout}: ${layer.name} differs at ${wrong}`];
  });
}

/** The recorded mask, spread over the axes that it has only once. */
function fullMask(layer: Layer, layout: Layout): ArrayLike<number> {
  if (layout === 'tf') return masks.get(layer.tf!.mask)!.data;
  const { shape, data } = masks.get(layer.out.mask!)!;
  const weights = layer.shape.reduce((a, b) => a * b);
  return Uint8Array.from({ length: weights }, (_, position) => {
    const at: number[] = [];
    for (const size of [...layer.shape].reverse()) {
      at.unshift(position % size);
      position = Math.floor(position / size);
    }
    return data[at.reduce((index, place, axis) => index * shape[axis]! + (shape[axis] === 1 ? 0 : place), 0)]!;
  });
}

test('All 217 cases of torch.nn.utils.prune give the same result', async () => {
  const chosen = cases.filter((each) => isTorch(each) && !each.quirk);
  const found = [];
  for (const each of chosen) found.push(...(await differences(each, 'stored')));
  expect(found).toEqual([]);
  expect(chosen.length).toBe(217);
});

test('All single calls of fasterai give the same result, in the layouts of PyTorch and TensorFlow', async () => {
  const chosen = cases.filter((each) => !isTorch(each) && !each.quirk && !each.sequence);
  const found = [];
  let copies = 0;
  for (const each of chosen) {
    for (const layout of layoutsOf(each)) {
      found.push(...(await differences(each, layout)));
      if (layout === 'tf') copies++;
    }
  }
  expect(found).toEqual([]);
  expect(chosen.length).toBe(1276);
  expect(copies).toBe(100);
});

test('Consecutive calls of fasterai give the same result at each step', async () => {
  const ids = [...new Set(cases.flatMap(({ sequence }) => (sequence ? [sequence.id] : [])))];
  const found = [];
  let steps = 0;
  for (const id of ids) {
    const row = cases.filter(({ sequence }) => sequence?.id === id).sort((a, b) => a.sequence!.step - b.sequence!.step);
    const { layers: first, data, model } = modelOf(row[0]!, 'stored');
    const sparsifier = new Sparsifier(model, { ...optionsOf(row[0]!), ...stateOf(first, 'stored') });
    for (const each of row) {
      const { layers } = modelOf(each, 'stored');
      // Training between the calls, as it was recorded.
      layers.forEach((layer, index) => data[index]!.set(floats(layer.in.weight!)));
      await sparsifier.sparsifyModel(sameCount(each, layers));
      if (each.quirk) continue;
      found.push(...compare(each, layers, 'stored', data));
      steps++;
    }
  }
  expect(found).toEqual([]);
  expect(steps).toBe(77);
});

test('Percentages keep as many units as exact counting does', async () => {
  const chosen = cases.filter((each) => !isTorch(each) && !each.quirk && !each.sequence && each.roundTo === undefined);
  const found = [];
  let checked = 0;
  for (const each of chosen) {
    const { layers, model } = modelOf(each, 'stored');
    const sparsifier = new Sparsifier(model, { ...optionsOf(each), ...stateOf(layers, 'stored'), allowEmpty: true });
    const amounts = layers.map((layer) => layer.sparsity ?? each.sparsity!);
    const { total, layers: kept } = await sparsifier.sparsifyModel(each.context === 'global' ? amounts[0]! : amounts);
    const expected = each.context === 'global' ? [each.exactKeep] : layers.map(({ exactKeep }) => exactKeep);
    const got = each.context === 'global' ? [total.keptUnits] : kept.map((layer) => layer.keptUnits);
    if (expected.includes(undefined)) continue;
    checked++;
    if (String(expected) !== String(got)) found.push(`${each.id}: ${got}, not ${expected}`);
  }
  expect(found).toEqual([]);
  expect(checked).toBe(1234);
});
