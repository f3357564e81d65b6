// What is true of every reader of models.
import { inspect, loadEngine, Sparsifier } from 'sparsifier';
import { sparsifyFile } from 'sparsifier/file';
import { readModel, type FileModel, type ReadModelOptions } from 'sparsifier/formats';
import { dequantize, quantize } from 'sparsifier/quantize';
import { planRemoval, removeChannels } from 'sparsifier/removal';
import { differsAt } from '../bytes.js';
import { diagnose, runtimeNames } from '../internal.js';
import { expectNoMemoryInUse } from '../layers.js';
import { keeping, type Kept } from '../streams.js';
import type { Input } from './input.js';
import { attempt, hold } from './target.js';

type Files = ReadonlyMap<string, Uint8Array>;

/** How a format reads an input. */
export interface Reads {
  /** Its name. Files of other formats are not looked into. */
  readonly format: string;
  readonly options: (input: Input) => ReadModelOptions;
  /** What is not as it was in the files of an unchanged model; undefined if all is. */
  readonly difference: (input: Input, files: Files) => string | undefined;
}

const all = { layerType: 'all' } as const;

/**
 * Reads a model, writes it unchanged, prunes it in memory and from file to file, stores it in other forms, and takes
 * channels out of it. Each of these calls does what it should, or refuses.
 * @returns whether it could be read
 */
export async function checkModel(input: Input, { format, options, difference }: Reads): Promise<boolean> {
  const reading = options(input);
  const model = await attempt(() => readModel(input.bytes, reading));
  const isOwn = model?.format === format;
  try {
    if (isOwn) await checkRead(input, model, reading, difference);
  } finally {
    model?.close();
  }
  await expectNoMemoryInUse();
  return isOwn;
}

async function checkRead(
  input: Input,
  model: FileModel,
  reading: ReadModelOptions,
  difference: Reads['difference'],
): Promise<void> {
  const isUnchanged = async (how: string, files: Files | undefined) => {
    const changed = files && difference(input, files);
    hold(changed === undefined, `${how}, ${changed}`);
  };
  await attempt(() => inspect(model));
  const own = await attempt(() => model.toFiles());
  await isUnchanged('written as it was read', own);
  const [main = ''] = own?.keys() ?? [];
  if (await attempt(() => new Sparsifier(model, all).sparsifyModel(0)))
    await isUnchanged('pruned by 0 %', await attempt(() => model.toFiles()));
  await isUnchanged('pruned by 0 % from file to file', await streamed(input, reading, 0, main));

  for (const make of [quantize, dequantize] as readonly ((from: FileModel) => Promise<{ model: FileModel }>)[]) {
    const made = await attempt(() => make(model));
    if (made) await checkAgain(made.model, reading).finally(() => made.model.close());
  }
  await attempt(() => diagnose(model, 'model', runtimeNames));
  const plan = await attempt(() => planRemoval(model));
  if (plan) await attempt(async () => (await removeChannels(model, plan)).model.close());

  const wasPruned = await attempt(() => new Sparsifier(model, all).sparsifyModel(50));
  if (wasPruned === undefined) await isUnchanged('refused to be pruned', await attempt(() => model.toFiles()));
  const files = wasPruned && (await attempt(() => model.toFiles()));
  const same = await streamed(input, reading, 50, main);
  hold(
    (files === undefined) === (same === undefined),
    'pruning is refused in memory or from file to file, but not both',
  );
  if (files === undefined || same === undefined) return;
  hold(areSame(files, same), 'pruning in memory and from file to file gives different files');
  await checkAgain(model, reading);
  await checkBiases(model, reading);
}

/** Gives each layer a bias. A model with other biases is still the same layers. */
async function checkBiases(model: FileModel, reading: ReadModelOptions): Promise<void> {
  const engine = await loadEngine();
  for (const tensor of model.tensors) {
    const bias = await attempt(() => model.addBias(tensor));
    if (typeof bias !== 'object') continue;
    const region = await model.load(engine, bias.values);
    try {
      await region.block.write(new Uint8Array(region.bytes).fill(60), region.offset);
      await model.store(engine, bias.values, region);
    } finally {
      region.release();
    }
  }
  if (await attempt(() => model.toFiles())) await checkAgain(model, reading, layersOf);
}

/** The files that a model is pruned to while it is copied, the main one first. It may be written last. */
async function streamed(
  { bytes }: Input,
  reading: ReadModelOptions,
  sparsity: number,
  main: string,
): Promise<Files | undefined> {
  const kept = new Map<string, Kept>();
  const output = (name: string) => {
    kept.set(name, keeping());
    return kept.get(name)!.stream;
  };
  const report = await attempt(() => sparsifyFile(bytes, output, { ...reading, ...all, sparsity }));
  const files = Array.from(kept, ([name, each]) => [name, each.bytes()] as const);
  return report && new Map(files.sort(([first], [second]) => Number(second === main) - Number(first === main)));
}

/** What is written can be read, and is the same model, as far as it is described. */
async function checkAgain(
  model: FileModel,
  reading: ReadModelOptions,
  described: (model: FileModel) => string = inFull,
): Promise<void> {
  const files = await model.toFiles();
  const [[, main]] = [...files] as [[string, Uint8Array<ArrayBuffer>]];
  const give = (name: string) => files.get(name)!;
  const names = Object.keys(reading);
  const again = await readModel(main, { ...reading, ...Object.fromEntries(names.map((name) => [name, give])) });
  try {
    hold(described(again) === described(model), 'what was written is read as another model');
    hold(areSame(await again.toFiles(), files), 'what was written and read is written differently');
  } finally {
    again.close();
  }
}

const layersOf = ({ tensors }: FileModel): string =>
  JSON.stringify(
    tensors.map(({ name, kind, roles, shape, values }) => [name, kind, roles, shape, values.dtype, values.length]),
  );

const inFull = (model: FileModel): string => {
  const { skipped, weights } = model;
  return JSON.stringify({
    layers: layersOf(model),
    skipped: skipped.map(({ name, weights }) => [name, weights]),
    weights,
  });
};

const areSame = (some: Files, others: Files): boolean =>
  some.size === others.size &&
  [...some].every(([name, bytes]) => others.has(name) && differsAt(bytes, others.get(name)!) < 0);

/** The difference of formats whose files are written byte for byte. */
export function byteDifference({ bytes, further = {} }: Input, files: Files): string | undefined {
  for (const [place, [name, file]] of [...files].entries()) {
    const before = place === 0 ? bytes : further[name];
    if (before === undefined) return `there is a file ${name}`;
    if (differsAt(file, before) >= 0) return `${place === 0 ? 'the main file' : name} differs`;
  }
  return undefined;
}
