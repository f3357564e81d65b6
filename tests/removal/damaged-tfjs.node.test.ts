import { readTfjs } from 'sparsifier/formats/tfjs';
import { planRemoval, removeChannels } from 'sparsifier/removal';
import { SparsifyError } from 'sparsifier';
import { beforeAll, expect, test } from 'vitest';
import { randomKeras } from '../support/removal/keras-network.js';
import { randomGraph } from '../support/removal/random-graph.js';
import { Random } from '../support/removal/random.js';
import { saved, textOf, tf, type Files } from '../support/tfjs.js';

beforeAll(() => tf.setBackend('cpu'));

/** What stands in topologies in place of what is right. */
const odd = [
  ...[null, true, -1, 0, 1.5, 1e9, -1e20, '', 'x', 'same', 'channels_first'],
  ...[[], {}, [null], [[1]], [1, 2], [0, 0]],
];

/** Puts odd values into some places of a topology, or leaves out what was there. */
function damage(topology: unknown, random: Random): void {
  const places: [Record<string, unknown>, string][] = [];
  const visit = (value: unknown): void => {
    if (typeof value !== 'object' || value === null) return;
    for (const [key, inner] of Object.entries(value)) {
      places.push([value as Record<string, unknown>, key]);
      visit(inner);
    }
  };
  visit(topology);
  for (let count = random.between(1, 4); count > 0; count--) {
    const [holder, key] = random.pick(places);
    if (random.chance(0.2)) delete holder[key];
    else holder[key] = structuredClone(random.pick(odd));
  }
}

test.each<[string, (seed: number) => Files | Promise<Files>]>([
  ['LayersModels', (seed) => saved(randomKeras({ seed, count: 8 }))],
  ['GraphModels', (seed) => randomGraph({ seed, count: 8 }).files()],
])('Damaged topologies of %s are refused, or channels go as from others', async (_, make) => {
  let [followed, refused] = [0, 0];
  for (let seed = 1; seed <= 10; seed++) {
    const { json, shards } = await make(seed);
    for (let trial = 0; trial < 6; trial++) {
      const changed = structuredClone(json);
      damage(changed.modelTopology, new Random(seed, trial));
      try {
        using read = await readTfjs(textOf(changed), { shards: (path) => shards.get(path)! });
        const { model } = await removeChannels(read, await planRemoval(read, { roundTo: 1 }));
        model.close();
        followed++;
      } catch (error) {
        expect(error, `seed ${seed}, trial ${trial}`).toBeInstanceOf(SparsifyError);
        refused++;
      }
    }
  }
  tf.disposeVariables();
  expect(Math.min(followed, refused)).toBeGreaterThan(0);
});
