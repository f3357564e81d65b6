import { sessionsOfTfjs } from 'sparsifier/compare';
import { readTfjs, type FileModel } from 'sparsifier/formats/tfjs';
import { planRemoval, removeChannels, type PlanRemovalOptions } from 'sparsifier/removal';
import { handlerOf, saved, textOf, tf, type Files } from '../tfjs.js';
import { randomKeras, type TfjsChoice } from './keras-network.js';
import { fill, maskingOf } from './keras-weights.js';
import { randomGraph } from './random-graph.js';
import { Random } from './random.js';

/** The numbers of an output of a network. */
export interface Output {
  readonly shape: readonly number[];
  readonly numbers: Float32Array;
}

/** A LayersModel as the package reads it from its files. */
export async function readSaved(model: tf.LayersModel): Promise<FileModel> {
  const { json, shards } = await saved(model);
  return readTfjs(textOf(json), { shards: (path) => shards.get(path)! });
}

/** What stock TensorFlow.js makes of the files of a model. */
async function loaded(model: FileModel): Promise<tf.LayersModel> {
  const [[, json], ...shards] = [...(await model.toFiles())] as [[string, Uint8Array], ...[string, Uint8Array][]];
  return tf.loadLayersModel(handlerOf(json, new Map(shards)));
}

/** Seeded normal numbers for each input of a model. */
export function inputsOf(model: tf.LayersModel, seed: number): tf.Tensor[] {
  return model.inputs.map(({ shape }, place) => {
    const sizes = shape.map((size, axis) => size ?? (axis === 0 ? 2 : 16));
    const count = sizes.reduce((product, size) => product * size, 1);
    return tf.tensor(new Random(seed, 2000 + place).normals(count), sizes);
  });
}

/** What a model computes. */
export function run(model: tf.LayersModel, inputs: tf.Tensor[]): Output[] {
  const outputs = [model.predict(inputs.length === 1 ? inputs[0]! : inputs)].flat();
  return outputs.map((tensor) => ({ shape: tensor.shape, numbers: tensor.dataSync() as Float32Array }));
}

/** Gives the numbers of a model other last bits. */
function blur(model: tf.LayersModel, seed: number): void {
  for (const [place, weight] of model.weights.entries()) {
    const random = new Random(seed, 5000 + place);
    const numbers = (weight.read() as tf.Tensor)
      .dataSync()
      .map((number) => number * (1 + 2 ** -23 * (2 * random.next() - 1)));
    (weight.read() as tf.Variable).assign(tf.tensor(numbers as Float32Array, weight.shape as number[]));
  }
}

/** How far outputs are apart; infinite if their shapes differ. */
export function differenceOf(one: Output, other: Output | undefined): number {
  if (one.shape.join() !== other?.shape.join()) return Infinity;
  let most = 0;
  for (const [at, number] of one.numbers.entries()) {
    const difference = Math.abs(number - other.numbers[at]!);
    if (Number.isNaN(difference)) return Infinity;
    most = Math.max(most, difference);
  }
  return most;
}

export const largestOf = ({ numbers }: Output): number =>
  numbers.reduce((most, number) => Math.max(most, Math.abs(number)), 0);

/** What a removal did, and what is wrong with it. */
export interface Checked {
  readonly findings: readonly string[];
  /** How many channels went. */
  readonly count: number;
  readonly isFollowed: boolean;
  /** Whether more channels can go from the new model. */
  readonly isFurther: boolean;
  readonly carriers: number;
  readonly folded: number;
  readonly copies: number;
  readonly frozen: number;
}

/** A model whose channels are removed, and how it is run. */
interface Case {
  readonly read: FileModel;
  readonly before: readonly Output[];
  /** What the same model gives with the numbers of its weights one bit off. */
  readonly blurred: readonly Output[];
  readonly run: (small: FileModel) => Promise<readonly Output[]>;
  /** Whether `verify` compares them, too. */
  readonly isVerified?: boolean;
}

/** Removes the dead channels of a model, and compares what both compute. */
async function checkRemoval(
  { read, before, blurred, run, isVerified = false }: Case,
  options: PlanRemovalOptions,
): Promise<Checked> {
  const findings: string[] = [];
  const plan = await planRemoval(read, options);
  const verify = isVerified ? { createSession: sessionsOfTfjs(tf) } : undefined;
  const { model: small, report } = await removeChannels(read, plan, { verify });
  using made = small;
  const after = await run(made);
  for (const [place, output] of before.entries()) {
    const limit = Math.max(4 * differenceOf(output, blurred[place]), 4e-6 * largestOf(output), 1e-30);
    const difference = differenceOf(output, after[place]);
    if (!(difference <= limit)) findings.push(`output ${place} differs by ${difference}, and ${limit} is noise`);
  }
  const count = plan.groups.reduce((sum, { removed }) => sum + removed.length, 0);
  if (count === 0 && report.parameters.before !== report.parameters.after)
    findings.push('weights went without channels');
  const again = await planRemoval(made, options);
  const isFurther = again.groups.some(({ removed }) => removed.length > 0);
  const { carriers, folded, copies, frozen } = report;
  return { findings, count, isFollowed: plan.notes.length === 0, isFurther, carriers, folded, copies, frozen };
}

/** The same for a LayersModel, whose weights get other last bits. */
export async function checkModel(
  model: tf.LayersModel,
  seed: number,
  options: PlanRemovalOptions = { roundTo: 1 },
): Promise<Checked> {
  const inputs = inputsOf(model, seed);
  const before = run(model, inputs);
  using read = await readSaved(model);
  blur(model, seed);
  const blurred = run(model, inputs);
  const runSmall = async (small: FileModel) => run(await loaded(small), inputs);
  return await checkRemoval({ read, before, blurred, run: runSmall, isVerified: seed % 4 === 0 }, options);
}

/** The same for the Keras model of a seed. */
export async function checkKeras(choice: TfjsChoice): Promise<Checked> {
  try {
    const model = randomKeras(choice);
    fill(model, choice.seed, maskingOf(choice.seed));
    return await checkModel(model, choice.seed);
  } finally {
    tf.disposeVariables();
  }
}

/** What a GraphModel computes. */
async function runGraph(
  { json, shards }: Pick<Files, 'shards'> & { json: Uint8Array },
  names: string[],
  input: tf.Tensor,
): Promise<Output[]> {
  const model = await tf.loadGraphModel(handlerOf(json, shards));
  const tensors = [model.execute({ input }, names)].flat();
  const outputs = tensors.map((tensor) => ({ shape: tensor.shape, numbers: tensor.dataSync() as Float32Array }));
  model.dispose();
  return outputs;
}

/** The same for the GraphModel of a seed. */
export async function checkGraph(choice: TfjsChoice): Promise<Checked> {
  const net = randomGraph(choice);
  const names = [...net.unread].map(({ name }) => name);
  const shape = [...net.values[0]!.shape];
  const count = shape.reduce((product, size) => product * size, 1);
  const input = tf.tensor(new Random(choice.seed, 2000).normals(count), shape);
  const runFiles = ({ json, shards }: Files) => runGraph({ json: textOf(json), shards }, names, input);
  const files = net.files();
  const before = await runFiles(files);
  const blurred = await runFiles(randomGraph({ ...choice, blur: 5000 }).files());
  using read = await readTfjs(textOf(files.json), { shards: (path) => files.shards.get(path)! });
  const run = async (small: FileModel) => {
    const [[, json], ...shards] = [...(await small.toFiles())] as [[string, Uint8Array], ...[string, Uint8Array][]];
    return runGraph({ json, shards: new Map(shards) }, names, input);
  };
  // Graphs with the size of the batch in them are for inputs of that size only.
  const options = { roundTo: 1, ...(net.hasSamples && { inputShapes: { input: shape } }) };
  return await checkRemoval({ read, before, blurred, run, isVerified: choice.seed % 4 === 0 }, options);
}

/** Checks a network; what it throws is a finding, too. */
export const checkSafely = (check: typeof checkKeras, choice: TfjsChoice): Promise<Checked> =>
  check(choice).catch((error: unknown) => ({
    ...{ findings: [(error as Error).message], count: 0, isFollowed: false, isFurther: false },
    ...{ carriers: 0, folded: 0, copies: 0, frozen: 0 },
  }));

/** The same network without layers that a finding does not need. */
export async function reduced(check: typeof checkKeras, choice: TfjsChoice): Promise<TfjsChoice> {
  let smallest = choice;
  for (let place = choice.count - 1; place >= 0; place--) {
    const smaller = { ...choice, without: new Set([...(smallest.without ?? []), place]) };
    if ((await checkSafely(check, smaller)).findings.length > 0) smallest = smaller;
  }
  return smallest;
}
