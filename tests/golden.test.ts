import { Sparsifier, type Kind, type Role } from 'sparsifier';
import { fromArrays, type ArrayLayer } from 'sparsifier/formats/arrays';
import { beforeAll, describe, expect, test } from 'vitest';
import { readBytes, readJson, safetensors } from './support/files.js';

interface Layer {
  name: string;
  kind: string;
  layout: string;
  shape: number[];
  units: number;
  kept: number;
  in: { weight: string };
  out: { mask: string };
}

interface Case {
  id: string;
  call: 'l1_unstructured' | 'ln_structured' | 'global_unstructured';
  source: { library: string };
  error?: unknown;
  n?: number;
  dim?: number;
  layers: Layer[];
}

const kinds: Record<string, Kind> = { conv1d: 'conv1d', conv2d: 'conv2d', convT2d: 'convTranspose2d', linear: 'dense' };
const roles: Record<string, Role> = { O: 'out', I: 'in', H: 'height', W: 'width', K: 'width' };

let cases: Case[];
let inputs: ReturnType<typeof safetensors>;
let masks: ReturnType<typeof safetensors>;

beforeAll(async () => {
  const all = await readJson<{ cases: Case[] }>('golden/cases.json');
  cases = all.cases.filter(({ source, error }) => source.library === 'torch.nn.utils.prune' && !error);
  inputs = safetensors(await readBytes('golden/inputs.safetensors'));
  masks = safetensors(await readBytes('golden/masks.safetensors'));
});

/** Whether torch was given the axis of the output channels. */
const alongOutput = ({ dim = 0, layers: [layer] }: Case) => layer!.layout.at(dim) === 'O';

function modelOf({ layers }: Case) {
  const data = layers.map((layer) => inputs.get(layer.in.weight)!.slice() as Float32Array);
  const model = fromArrays(
    Object.fromEntries(
      layers.map(({ name, kind, layout, shape }, index): [string, ArrayLayer] => [
        name,
        { kind: kinds[kind]!, roles: [...layout].map((letter) => roles[letter]!), shape, data: data[index]! },
      ]),
    ),
  );
  return { data, model };
}

/** Makes each layer, or the whole model, keep as many units as torch kept. */
async function keepAsMany(each: Case): Promise<Float32Array[]> {
  const { data, model } = modelOf(each);
  const sparsifier = new Sparsifier(model, {
    granularity: each.call === 'ln_structured' ? 'filter' : 'weight',
    context: each.call === 'global_unstructured' ? 'global' : 'local',
    criteria: each.n === 2 ? 'squaredFinal' : 'largeFinal',
    layerType: 'all',
    allowEmpty: true,
  });
  await sparsifier.sparsifyModel({ keep: each.layers.reduce((sum, { kept }) => sum + kept, 0) });
  return data;
}

/** Compares with torch: kept weights as they were, all others +0. */
async function check(each: Case): Promise<void> {
  const data = await keepAsMany(each);
  each.layers.forEach((layer, index) => {
    const weights = inputs.get(layer.in.weight) as Float32Array;
    const mask = masks.get(layer.out.mask)!;
    expect(mask.length, `${each.id}: a mask in the weights' shape`).toBe(weights.length);
    const wrong = data[index]!.findIndex((weight, place) => !Object.is(weight, mask[place] ? weights[place] : 0));
    expect(wrong, `${each.id}, ${layer.name}: first weight that differs`).toBe(-1);
  });
}

describe('torch.nn.utils.prune', () => {
  test('l1_unstructured and global_unstructured: 82 cases agree', async () => {
    const chosen = cases.filter(({ call }) => call !== 'ln_structured');
    for (const each of chosen) await check(each);
    expect(chosen.length).toBe(82);
  });

  test('ln_structured on the axis of the output channels: 74 cases agree', async () => {
    const chosen = cases.filter((each) => each.call === 'ln_structured' && (each.n === 1 || each.n === 2) && alongOutput(each));
    for (const each of chosen) await check(each);
    expect(chosen.length).toBe(74);
  });
});
