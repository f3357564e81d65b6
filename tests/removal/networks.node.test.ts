// Networks of real exporters with zeros in 30 % of their channels, and graphs on which a removal is easily wrong.
import { Tensor } from 'onnxruntime-node';
import { describe, expect, test } from 'vitest';
import { maskedWith, networkCase, networkNames, trapCase, trapNames } from '../support/removal/cases.js';
import { halved } from '../support/removal/halved.mjs';
import { judge } from '../support/removal/judging.js';
import { Random } from '../support/removal/random.js';
import { removedFrom } from '../support/removal/removing.js';
import type { Feeds } from '../support/removal/running.js';

interface Input {
  readonly shape: readonly number[];
  readonly isInteger: boolean;
  readonly isBatched?: boolean;
}

function feedsOf(inputs: Readonly<Record<string, Input>>, seed: number): Feeds {
  const random = new Random(seed);
  return Object.fromEntries(
    Object.entries(inputs).map(([name, { shape, isInteger }]) => {
      const count = shape.reduce((product, size) => product * size, 1);
      if (!isInteger) return [name, new Tensor('float32', random.normals(count), shape)];
      return [
        name,
        new Tensor(
          'int64',
          BigInt64Array.from({ length: count }, () => BigInt(random.between(0, 199))),
          shape,
        ),
      ];
    }),
  );
}

const seeds = [1, 2, 3];

/** The inputs, once more with a longer batch if its size is not fixed. */
function sizesOf(inputs: Readonly<Record<string, Input>>): Readonly<Record<string, Input>>[] {
  if (!Object.values(inputs).some(({ isBatched }) => isBatched)) return [inputs];
  const longer = ({ shape: [batch, ...shape], ...input }: Input) => ({ ...input, shape: [batch! + 1, ...shape] });
  return [inputs, Object.fromEntries(Object.entries(inputs).map(([name, input]) => [name, longer(input)]))];
}

const shapesOf = (inputs: Readonly<Record<string, Input>>) =>
  Object.fromEntries(Object.entries(inputs).map(([name, { shape }]) => [name, shape]));

describe.each(networkNames)('%s without its dead channels', (name) => {
  const { inputs, flavours, left50, dense } = networkCase(name);

  test('is the same file if none is dead', () => {
    const bytes = dense();
    const removed = removedFrom(bytes, { inputs: sizesOf(inputs).map(shapesOf) });
    expect(removed.count).toBe(0);
    expect(Buffer.compare(removed.bytes, bytes)).toBe(0);
  });

  test('is as small as that of a reference if half of the channels of each group are chosen', async () => {
    const choice = { inputs: sizesOf(inputs).map(shapesOf) };
    const masked = await halved(dense(), shapesOf(inputs));
    const feeds = sizesOf(inputs).map((each) => seeds.map((seed) => feedsOf(each, seed)));
    const { problems, parameters } = await judge(masked, removedFrom(masked, choice).bytes, feeds);
    expect(problems).toEqual([]);
    expect(parameters).toBeLessThanOrEqual(1.005 * left50);
  });

  test.each(['group', 'filters', 'mixed'] as const)('computes the same with the mask `%s`', async (kind) => {
    const flavour = flavours[kind];
    const masked = maskedWith(dense(), flavour);
    const removed = removedFrom(masked, { inputs: sizesOf(inputs).map(shapesOf) });
    const feeds = sizesOf(inputs).map((each) => seeds.map((seed) => feedsOf(each, seed)));
    const { problems, parameters } = await judge(masked, removed.bytes, feeds);
    const again = removedFrom(removed.bytes, { inputs: sizesOf(inputs).map(shapesOf) });
    expect(again.count).toBe(0);
    expect(Buffer.compare(again.bytes, removed.bytes)).toBe(0);
    expect(problems).toEqual([]);
    // vit_sdpa keeps three scales that depend on a size as constants.
    expect(parameters).toBeLessThanOrEqual(flavour.carried.params + (name === 'vit_sdpa' ? 3 : 0));
    if (kind === 'group') expect(removed.count).toBeGreaterThanOrEqual(flavour.carried.channels);
  });
});

describe('a trap', () => {
  test.each(trapNames)('%s', async (name) => {
    const { bytes, most, plain, inputs } = trapCase(name);
    const given = Object.fromEntries(
      Object.entries(inputs).map(([input, shape]) => [input, { shape, isInteger: false }]),
    );
    const removed = removedFrom(bytes, { inputs: [inputs] });
    const { problems } = await judge(bytes, removed.bytes, [seeds.map((seed) => feedsOf(given, seed))]);
    expect(problems).toEqual([]);
    const made = name === 'conv_transpose' ? 't' : name === 'matmul_left' ? 'm' : 'a';
    const axis = name === 'matmul_left' ? 0 : 1;
    const count = removed.before.get(made)![axis]! - removed.after.get(made)![axis]!;
    expect(count).toBeLessThanOrEqual(most);
    expect(count).toBeGreaterThanOrEqual(name === 'local_function' ? 0 : plain);
  });
});
