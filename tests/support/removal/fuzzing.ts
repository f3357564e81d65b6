// What has to be true of a network and the same network without its dead channels:
// - The shapes of all values are those of the runtime, before and after, for the first sizes of the inputs, and so are all
//   lists, all sizes that the new file states, and all numbers that are said to be known (to 1e-4). Values behind operators
//   without a rule have no shape to compare.
// - Each output is the same within the judge's limit: twice what the runtime's optimisations change, or 1e-6 of its largest
//   number; with the runtime's optimisations also twice more of the former. Only where other last bits of all weights and
//   inputs change an output by more than that, it may differ by four times as much as they do, which is tried up to 32
//   times: rounding has steps, such as those of exp(x) - 1 in an Elu, that other bits rarely cross. This is counted.
// - The bytes are the same if no channel goes, and are not if one does.
// - In a second removal no channel goes, and the bytes stay. Only if the first one left a single channel on an axis that had
//   several may more go: an axis of size 1 is followed as one without channels. A Reshape may take it anywhere, and a
//   depthwise convolution of one channel is an ordinary one. Or if a node got a bias of its own in place of a computed one
//   that others read, too, with which it shared its channels. What differs then is compared as above.
// - The shape of a protected value stays, and as many channels of a group stay as the rounding asks for.
// - No more numbers of weights are stored than before.
// - Files that users get, also those with external data, and with sizes that the library chooses itself, compute the same.
// - In another order of the channels of each group, the same channels go: see `permuted`.
import { Tensor } from 'onnxruntime-node';
import { readOnnx } from 'sparsifier/formats/onnx';
import { planRemoval, removeChannels } from 'sparsifier/removal';
import { readGraphOf } from '../onnx-reader.js';
import { statedSizes } from './judging.js';
import { feedsOf, randomNetwork, type NetworkChoice } from './random-network.js';
import type { Network } from './network.js';
import { Random } from './random.js';
import { goneFrom, inAnotherOrder, removedFrom, type Removed } from './removing.js';
import {
  differenceOf,
  isFinite,
  largestOf,
  run,
  withOutputs,
  type Feeds,
  type Output,
  type Outputs,
} from './running.js';

export interface Finding {
  readonly kind:
    | 'plan'
    | 'run'
    | 'shape'
    | 'known'
    | 'output'
    | 'protect'
    | 'rounding'
    | 'twice'
    | 'same'
    | 'larger'
    | 'files'
    | 'permuted';
  readonly text: string;
}

export interface Verdict {
  readonly findings: readonly Finding[];
  /** How many channels are gone. */
  readonly count: number;
  /** Whether there was anything to compare. */
  readonly isRun: boolean;
  /** How many more channels go when it is done again. */
  readonly further: number;
  /** How many values there are, and of how many the shapes were compared with those of the runtime. */
  readonly values: number;
  readonly compared: number;
  /** How many outputs differ by more than the judge allows, and by no more than with other last bits of all weights. */
  readonly blurred: number;
}

const message = (error: unknown): string =>
  error instanceof Error ? (error.stack ?? error.message).slice(0, 700) : String(error);

const tensors = (net: Network, seed: number, longer = 0): Feeds =>
  Object.fromEntries(
    Object.entries(feedsOf(net, seed, longer)).map(([name, { shape, data }]) => [
      name,
      new Tensor('float32', data, shape),
    ]),
  );

/** Takes the dead channels out of the network of a seed, and checks everything that has to be true then. */
export async function check(choice: NetworkChoice): Promise<Verdict> {
  const findings: Finding[] = [];
  const find = (kind: Finding['kind'], text: string) => findings.push({ kind, text });
  const { seed } = choice;
  const random = new Random(seed, 3000);
  const net = randomNetwork(choice);
  let [isRun, further, count, values, compared, blurred] = [false, 0, 0, 0, 0, 0];
  const verdict = (): Verdict => ({ findings, count, isRun, further, values, compared, blurred });
  if (net.outputs.length === 0) return verdict();
  const states = random.chance(0.3);
  const bytes = net.model({ states });
  // It is run with other sizes than those that it is planned for.
  const [sizes, longer] = [0, 2].map((more) =>
    Object.fromEntries(Object.entries(feedsOf(net, seed, more)).map(([name, { shape }]) => [name, shape])),
  );
  const isNamed = JSON.stringify(sizes) !== JSON.stringify(longer);
  const inputs = isNamed ? [sizes!, longer!] : [sizes!];
  const roundTo = random.pick([1, 1, 1, 1, 1, 2, 4, 8]);
  const protect = random.chance(0.05)
    ? random.pick(net.values.filter((value) => !net.inputs.includes(value))).name
    : undefined;
  let removed: Removed;
  try {
    removed = removedFrom(bytes, { roundTo, inputs, protect });
    const isSame = Buffer.compare(bytes, removed.bytes) === 0;
    if (isSame !== (removed.count === 0))
      find('same', `${removed.count} channels go, the bytes are the same: ${isSame}`);
  } catch (error) {
    find('plan', message(error));
    return verdict();
  }
  ({ count } = removed);
  for (const { before, after } of removed.groups) {
    if (after !== before && after % roundTo > 0) find('rounding', `${after} of ${before} stay`);
  }
  if (protect !== undefined && removed.before.get(protect)?.join() !== removed.after.get(protect)?.join())
    find('protect', `${protect} changes`);

  const feeds = [tensors(net, seed), tensors(net, seed + 1)];
  const all = isNamed ? [...feeds, tensors(net, seed, 1)] : feeds;
  const outputs = net.outputs.map(({ name }) => name);
  // All values that nodes compute, also lists and conditions.
  const inner = readGraphOf(bytes)
    .nodes.filter(({ op }) => op !== 'Constant')
    .flatMap((node) => node.outputs)
    .filter((name) => name !== '' && !outputs.includes(name));
  let plain: Outputs[];
  try {
    plain = await run(withOutputs(bytes, inner), all, false);
  } catch {
    // Not a network that the runtime takes.
    return verdict();
  }
  if (!isFinite(plain)) return verdict();
  isRun = true;
  const compareShapes = (expected: Removed['before'], found: Outputs, when: string) => {
    for (const [name, shape] of expected) {
      const output = found.get(name);
      if (output === undefined && (inner.includes(name) || outputs.includes(name)))
        find('shape', `${name} is not there ${when}`);
      else if (output !== undefined && output.dims.join() !== shape.join())
        find('shape', `${name} is ${output.dims.join()} ${when}, not ${shape.join()}`);
      if (output !== undefined) compared++;
    }
    values += inner.length + outputs.length;
  };
  compareShapes(removed.before, plain[0]!, 'before the cut');
  for (const runs of plain.slice(0, feeds.length)) {
    for (const [name, tensor] of removed.tensors) {
      const wrong = runs.has(name) && notKnown(tensor, runs.get(name)!);
      if (wrong) find('known', `${name}: ${wrong}`);
    }
  }
  if (count === 0) return verdict();

  /** What the runtime's optimisations make of the network, once it is needed. */
  let optimised: Outputs[] | undefined;
  const compare = async (kind: Finding['kind'], runs: readonly Outputs[], extra = 0, first = plain) => {
    for (const name of outputs) {
      const difference = differenceOf(name, first, runs);
      const share = 1e-6 * largestOf(name, first);
      if (difference <= share) continue;
      optimised ??= (await runOptimised(bytes, all)) ?? first;
      const noise = differenceOf(name, first, optimised);
      const limit = Math.max(2 * noise, share) + extra * noise;
      if (difference <= limit) continue;
      // Some networks make much of the last bits: what do other last bits of all weights and inputs change?
      const blur = await withOtherBits(choice, net, seed, isNamed, name, plain, difference / 4);
      blurred++;
      if (!(difference <= 4 * blur))
        find(kind, `${name} differs by ${difference}, allowed ${limit}, with other last bits ${blur}`);
    }
  };
  let small: Outputs[];
  try {
    const left = new Set(readGraphOf(removed.bytes).nodes.flatMap((node) => node.outputs));
    small = await run(
      withOutputs(
        removed.bytes,
        inner.filter((name) => left.has(name)),
      ),
      all,
      false,
    );
    await compare('output', small);
    const again = await runOptimised(removed.bytes, all, bytes);
    if (again !== undefined) await compare('output', again, 2);
  } catch (error) {
    find('run', message(error));
    return verdict();
  }
  compareShapes(removed.after, small[0]!, 'after the cut');
  for (const [name, sizes] of statedSizes(removed.bytes)) {
    const dims = small[0]!.get(name)?.dims;
    if (dims !== undefined && sizes.some((size, axis) => size !== undefined && size !== dims[axis]))
      find('shape', `${name} is ${dims.join()} after the cut, and the file says ${sizes.join()}`);
  }

  try {
    const again = removedFrom(removed.bytes, { roundTo, inputs, protect });
    further = again.count;
    if (further > 0 && !removed.leavesOne && !separatesBiases(bytes, removed.bytes))
      find('twice', `${further} more channels go`);
    if (further > 0) await compare('twice', await run(again.bytes, all, false), 2);
    else if (Buffer.compare(removed.bytes, again.bytes) !== 0) find('twice', 'the bytes differ');
  } catch (error) {
    find('twice', message(error));
  }
  if (numbersIn(removed.bytes) > numbersIn(bytes))
    find('larger', `${numbersIn(bytes)} numbers of weights became ${numbersIn(removed.bytes)}`);
  // There are models that the runtime runs only with all of their values as outputs.
  if (seed % 8 === 0 && (await canRun(bytes, all))) {
    try {
      const hasShapes = isNamed && random.chance(0.5);
      const options = { roundTo, ...(hasShapes && { inputShapes: sizes! }), ...(protect && { protect }) };
      const files = await filesWithout(net, states, random.chance(0.5), options);
      const [main, ...data] = [...files];
      const last = hasShapes || !isNamed ? feeds.length : all.length;
      const runs = await run(main![1], all.slice(0, last), false, new Map(data));
      await compare('files', runs, 2, plain.slice(0, last));
    } catch (error) {
      find('files', message(error));
    }
  }
  return verdict();
}

/**
 * What the runtime computes with its optimisations; undefined if they break the model, or one from which nothing is gone.
 * MatMulScaleFusion of onnxruntime 1.30 to 1.32 drops products that other nodes read, in any model.
 */
async function runOptimised(
  bytes: Uint8Array,
  feeds: readonly Feeds[],
  whole?: Uint8Array,
): Promise<Outputs[] | undefined> {
  try {
    return await run(bytes, feeds, true);
  } catch (error) {
    if (/Invalid model\. Node input '.*' is not a graph input/.test(String(error))) return undefined;
    if (whole === undefined || (await runOptimised(whole, feeds)) === undefined) return undefined;
    throw error;
  }
}

const canRun = (bytes: Uint8Array, feeds: readonly Feeds[]): Promise<boolean> =>
  run(bytes, feeds, false).then(
    () => true,
    () => false,
  );

/** The files of a model without its channels, as users get them. */
async function filesWithout(
  net: Network,
  states: boolean,
  isSeparate: boolean,
  options: Parameters<typeof planRemoval>[1],
): Promise<ReadonlyMap<string, Uint8Array>> {
  const { bytes, data } = isSeparate ? net.separate(states) : { bytes: net.model({ states }), data: undefined };
  using model = await readOnnx(bytes, data && { external: () => new Blob([data]) });
  const { model: small } = await removeChannels(model, await planRemoval(model, options));
  using closed = small;
  return await closed.toFiles();
}

/** What a value is that it is known not to be. */
function notKnown(
  { known, list }: Removed['tensors'] extends ReadonlyMap<string, infer Item> ? Item : never,
  { dims, numbers }: Output,
): string | undefined {
  if (list !== undefined && list.numbers.some((number, index) => !isNear(number, numbers[index]!)))
    return `${[...numbers].join(' ')}, not ${list.numbers.join(' ')}`;
  if (known === undefined) return undefined;
  const inner = dims.slice(known.axis + 1).reduce((product, size) => product * size, 1);
  const size = dims[known.axis]!;
  for (const [place, number] of numbers.entries()) {
    const index = Math.floor(place / inner) % size;
    const expected = known.numbers[index]!;
    if (!Number.isNaN(expected) && !isNear(expected, number)) return `${number} at ${index}, not ${expected}`;
  }
  return undefined;
}

const isNear = (one: number, other: number) => Math.abs(one - other) <= 1e-4 * Math.max(1, Math.abs(one));

/** Whether a node has a bias of its own now, and shared what another node computes before. */
function separatesBiases(before: Uint8Array, after: Uint8Array): boolean {
  const [whole, small] = [readGraphOf(before), readGraphOf(after)];
  const computed = new Set(whole.nodes.filter(({ op }) => op !== 'Constant').flatMap(({ outputs }) => outputs));
  const left = new Map(small.nodes.map((node) => [node.outputs[0], node]));
  return whole.nodes.some(({ inputs, outputs }) => {
    const bias = inputs[2];
    if (bias === undefined || !computed.has(bias) || whole.readersOf(bias).length < 2) return false;
    return left.get(outputs[0])?.inputs[2] !== bias;
  });
}

/** How often other last bits are tried. */
const mostBlurs = 32;

/**
 * How much an output changes with the last bits of all weights and inputs.
 * @param enough what ends the search
 */
async function withOtherBits(
  choice: NetworkChoice,
  net: Network,
  seed: number,
  isNamed: boolean,
  name: string,
  runs: Awaited<ReturnType<typeof run>>,
  enough: number,
): Promise<number> {
  let worst = 0;
  for (let blur = 1; blur <= mostBlurs && worst < enough; blur++) {
    const random = new Random(blur, seed);
    const other = randomNetwork({ ...choice, blur });
    const feeds = [tensors(net, seed), tensors(net, seed + 1), ...(isNamed ? [tensors(net, seed, 1)] : [])];
    for (const each of feeds) {
      for (const { data } of Object.values(each))
        for (const [place, number] of (data as Float32Array).entries())
          (data as Float32Array)[place] = number * (1 + random.pick([-1, 1]) * 2 ** -22);
    }
    worst = Math.max(worst, differenceOf(name, runs, await run(other.model({ states: false }), feeds, false)));
  }
  return worst;
}

/** How many numbers of matrices nodes read, as often as they read them, without biases, which may be new. */
function numbersIn(bytes: Uint8Array): number {
  const { nodes, constants } = readGraphOf(bytes);
  const shapes = nodes.flatMap(({ inputs }) =>
    inputs.filter((_, place) => place < 3).map((input) => constants.get(input)?.shape ?? []),
  );
  return shapes
    .filter(({ length }) => length > 1)
    .reduce((sum, shape) => sum + shape.reduce((product, size) => product * size, 1), 0);
}

/**
 * Whether the same channels go from a network with those of each group in another order, or as many where one of them
 * carries the constants of others. Networks are left out in which any of several channels would do as the last one of an
 * axis: there the order decides. So are those that compute something else then: where a channel is at several indices, a
 * Slice may take some of them, and others of the channel that changes places with it.
 */
export async function permuted(
  choice: NetworkChoice,
): Promise<{ readonly finding?: Finding; readonly isPermuted: boolean }> {
  const net = randomNetwork(choice);
  const bytes = net.model({ states: false });
  const inputs = [Object.fromEntries(net.inputs.map(({ name, shape }) => [name, shape]))];
  const other = inAnotherOrder(bytes, { inputs }, new Random(choice.seed, 5000));
  if (other === undefined || Buffer.compare(bytes, other.bytes) === 0) return { isPermuted: false };
  const gone = goneFrom(other.bytes, { inputs });
  const isSame = !other.isUnique || [...gone].every((channel) => other.gone.has(channel));
  if (gone.size === other.gone.size && isSame) return { isPermuted: true };
  if (!(await computesTheSame(net, choice.seed, bytes, other.bytes))) return { isPermuted: false };
  const inOrder = (channels: ReadonlySet<number>) => [...channels].sort((one, next) => one - next).join(' ');
  const text = `${inOrder(gone)} go in another order, not ${inOrder(other.gone)}`;
  return { isPermuted: true, finding: { kind: 'permuted', text } };
}

/** Whether two models compute the same but for rounding; not if the runtime takes one of them only. */
async function computesTheSame(net: Network, seed: number, one: Uint8Array, other: Uint8Array): Promise<boolean> {
  const feeds = [tensors(net, seed), tensors(net, seed + 1)];
  try {
    const [first, second] = [await run(one, feeds, false), await run(other, feeds, false)];
    return net.outputs.every(({ name }) => differenceOf(name, first, second) <= 1e-4 * largestOf(name, first));
  } catch {
    return false;
  }
}

/** A smaller network of the same seed with the same kind of finding. */
export async function reduced(choice: NetworkChoice, kind: Finding['kind']): Promise<NetworkChoice> {
  let smallest = choice;
  const fails = async (other: NetworkChoice) =>
    kind === 'permuted'
      ? (await permuted(other)).finding !== undefined
      : (await check(other)).findings.some((finding) => finding.kind === kind);
  for (let isSmaller = true; isSmaller;) {
    isSmaller = false;
    for (let place = 0; place < choice.count; place++) {
      if (smallest.without?.has(place)) continue;
      const other = { ...smallest, without: new Set([...(smallest.without ?? []), place]) };
      if (!(await fails(other))) continue;
      smallest = other;
      isSmaller = true;
    }
  }
  return smallest;
}
