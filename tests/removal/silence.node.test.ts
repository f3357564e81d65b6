// Masks and removal follow channels by the same rules: what a mask leaves silent, removal knows to be 0.
import { expect, test } from 'vitest';
import { pruned } from '../support/filters.js';
import { withModel } from '../support/onnx-model.js';
import { feedsOf, randomNetwork } from '../support/removal/random-network.js';
import { Random } from '../support/removal/random.js';
import { planned } from '../support/removal/removing.js';

type Plan = ReturnType<typeof planned>['plan'];
type Weights = NonNullable<Plan['followed']['readers'][number]['weights']>;

/** The outputs of a layer that have no weights, if they are no more than a mask removes. */
function emptyOutputs(weights: Weights): Set<number> | undefined {
  const empty = [...weights.outputs.keys()].filter((output) => !weights.hasWeights(output));
  return empty.length > Math.floor(weights.outputs.length / 2) ? undefined : new Set(empty);
}

/** Channels that are no longer those of a layer alone: combined with a value without them, or behind another layer. */
function mixedIn({ followed: { steps, coupling } }: Plan): Set<number> {
  const mixed = new Set<number>();
  for (const { site, outputs } of steps) {
    const computed = site.inputs.filter((tensor) => tensor && tensor.view === undefined && tensor.list === undefined);
    if (site.node.op === 'ConstantOfShape')
      for (const axis of outputs.flatMap(({ axes }) => axes)) for (const id of axis) mixed.add(coupling.find(id));
    if (products.has(site.node.op)) {
      const before = new Set(
        computed.flatMap((tensor) => tensor!.axes.flatMap((axis) => [...axis].map((id) => coupling.find(id)))),
      );
      for (const axis of outputs.flatMap(({ axes }) => axes))
        for (const id of axis) if (before.has(coupling.find(id))) mixed.add(coupling.find(id));
    }
    if (computed.length < 2 || !combining.has(site.node.op)) continue;
    for (const { axes } of outputs) {
      for (const [place, axis] of axes.entries()) {
        const isEverywhere = computed.every((tensor) => tensor!.shape.at(place - axes.length) === axis.length);
        if (!isEverywhere) for (const id of axis) mixed.add(coupling.find(id));
      }
    }
  }
  return mixed;
}

/** Layers that pass channels on along axes that they do not add up, or filter them. Masks follow them no further. */
const products = new Set(['MatMul', 'Gemm', 'Conv']);

const combining = new Set(['Add', 'Sub', 'Sum', 'Mean', 'Max', 'Min', 'Pow', 'Div', 'Where', 'PRelu']);

/** Compares what is read of removed channels with 0, in one network. */
async function compare(seed: number): Promise<{ zero: number; named: number; failures: string[] }> {
  const found = { zero: 0, named: 0, failures: [] as string[] };
  const net = randomNetwork({ seed, count: new Random(seed, 4000).between(5, 14) });
  if (net.outputs.length === 0) return found;
  const dense = net.model({ states: false });
  if (!(await withModel(dense.slice(), ({ tensors }) => tensors.some(({ roles }) => roles.includes('out')))))
    return found;
  const { bytes, layers } = await pruned(dense);
  const sizes = Object.fromEntries(Object.entries(feedsOf(net, seed, 0)).map(([name, { shape }]) => [name, shape]));
  const { plan } = planned(bytes as Uint8Array<ArrayBuffer>, { inputs: [sizes] });
  const { readers, coupling } = plan.followed;
  const placesOf = new Map(plan.followed.uses.map(({ tensor, constant }) => [tensor.view?.stored, constant]));
  /** The layers that write each channel, and whether it is removed from all of them. */
  const written = new Map<number, { isRemoved: boolean; isNamed: boolean }>();
  for (const { weights } of readers) {
    if (weights === undefined) continue;
    const constant = placesOf.get(weights.view.stored);
    const layer = layers.find(({ values }) => 'start' in values && values.start === constant?.tensor.values?.start);
    const empty = emptyOutputs(weights);
    for (const [output, id] of weights.outputs.entries()) {
      const root = coupling.find(id);
      const before = written.get(root) ?? { isRemoved: true, isNamed: false };
      // A unit of a recurrent layer is more than a row.
      const isRemoved = layer !== undefined && !/lstm|gru|rnn/.test(layer.kind) && empty?.has(output) === true;
      written.set(root, {
        isRemoved: before.isRemoved && isRemoved,
        isNamed: before.isNamed || (layer?.leaks.length ?? 0) > 0,
      });
    }
  }
  const mixed = mixedIn(plan);
  for (const { axis, known, title } of readers) {
    for (const [index, id] of axis.entries()) {
      const { isRemoved, isNamed } = written.get(coupling.find(id)) ?? { isRemoved: false, isNamed: false };
      if (!isRemoved || coupling.obstacleOf(id) !== undefined || mixed.has(coupling.find(id))) continue;
      if (isNamed) found.named++;
      else if (known?.numbers[index] === 0) found.zero++;
      else found.failures.push(`seed ${seed}: ${title} reads ${known?.numbers[index]} at ${index}`);
    }
  }
  return found;
}

test('Where masks name nothing that keeps removed channels from being 0, removal knows that layers read 0', async () => {
  const seen = { zero: 0, named: 0 };
  const failures: string[] = [];
  for (let seed = 1; seed <= 300; seed++) {
    const { zero, named, failures: more } = await compare(seed);
    seen.zero += zero;
    seen.named += named;
    failures.push(...more);
  }
  expect(failures).toEqual([]);
  expect(Math.min(...Object.values(seen))).toBeGreaterThan(20);
});
