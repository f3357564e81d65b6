import type { CustomCriterion, State } from '../options/criteria.js';
import { attempt, SparsifyError } from '../errors.js';
import type { Other } from './job.js';
import { handled, readable } from '../options/listener.js';
import { byName } from '../options/names.js';
import type { ComparedModel, InputStatistics, SparsifierOptions, WeightsOf } from '../options/options.js';
import { deviationsOf } from './fluctuation.js';
import { keptIn } from '../model/kept.js';
import { channelSteps, inputChannels } from '../model/channels.js';
import { bytesOf, typeOf, type DataType, type Model, type WeightTensor } from '../model/model.js';
import { widened } from '../model/numbers.js';
import { sourceFilesOf } from '../model/source-files.js';

/** Numbers of one tensor, little-endian: in JavaScript's memory, or where the model keeps them. */
export interface Snapshot {
  readonly dtype: DataType;
  /** A function if they are fetched each time. */
  readonly bytes: Uint8Array | Promise<Uint8Array> | (() => Uint8Array | Promise<Uint8Array>);
  /** Discards them, where the model keeps them itself. */
  readonly release?: () => void;
}

export type Snapshots = ReadonlyMap<WeightTensor, Snapshot>;

const isModel = (source: WeightsOf): source is ComparedModel =>
  attempt('the weights to compare with', () => typeof (source as Partial<ComparedModel>).copy === 'function');

/** The files that options come from: those of models that the criterion compares weights with, and of statistics. */
export const sourceFilesIn = ({ initial, previous, statistics }: SparsifierOptions): readonly string[] => [
  ...[initial, previous].flatMap((source) => (source && isModel(source) ? sourceFilesOf(source) : [])),
  ...(statistics ? sourceFilesOf(statistics) : []),
];

/** The weights of all tensors as they are at this moment. */
export function snapshotsOf(model: Model): Map<WeightTensor, Snapshot> {
  return new Map(model.tensors.map((tensor) => [tensor, snapshotIn(model, tensor)]));
}

/** The weights of one tensor as they are at this moment. */
export function snapshotIn(model: Model, { values }: WeightTensor): Snapshot {
  const kept = keptIn(model, values);
  return { dtype: values.dtype, bytes: () => kept.bytes(), release: () => kept.release() };
}

/**
 * What the options give a criterion to compare weights with, by the tensors that it is for; undefined if they have none.
 * @throws SparsifyError as {@link given}
 */
export function givenBy(
  options: SparsifierOptions,
  tensors: readonly WeightTensor[],
  state: State,
  isLater = false,
): Map<WeightTensor, Snapshot> | undefined {
  const { statistics } = options;
  if (state === 'statistics') return statistics && measured(statistics, tensors, state);
  if (state === 'activations' && statistics) return measured(statistics, tensors, state);
  const source = options[state];
  return source === undefined ? undefined : attempt(`\`${state}\``, () => given(source, tensors, state, isLater));
}

/** Numbers from statistics, which are computed when they are needed. */
function measured(
  statistics: InputStatistics,
  tensors: readonly WeightTensor[],
  state: 'statistics' | 'activations',
): Map<WeightTensor, Snapshot> {
  const found = new Map<WeightTensor, Snapshot>();
  for (const tensor of tensors) {
    const layer = statistics.layers.get(tensor.name);
    const numbers =
      state === 'activations' ? layer?.norm && (() => layer.norm!) : layer && (() => deviationsOf(tensor, layer));
    if (numbers) found.set(tensor, { dtype: 'float32', bytes: () => bytesIn(numbers()) });
  }
  return found;
}

const bytesIn = ({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

/**
 * The caller's arrays, by the tensors that they are for.
 * @param isLater whether the weights of another model are read when they are needed rather than all at once
 * @throws SparsifyError `layer` for a name that matches nothing, `criteria` for an array of another length, `usage` for what
 *   is neither a model nor arrays by name
 */
function given(
  source: WeightsOf,
  tensors: readonly WeightTensor[],
  state: Exclude<State, 'statistics'>,
  isLater: boolean,
): Map<WeightTensor, Snapshot> {
  const isPromise = typeof (source as { then?: unknown } | null)?.then === 'function';
  if (
    typeof source !== 'object' ||
    source === null ||
    isPromise ||
    ArrayBuffer.isView(source) ||
    source instanceof ArrayBuffer
  ) {
    const isComparison = state === 'initial' || state === 'previous';
    throw new SparsifyError(
      'usage',
      `the option ${state} takes arrays by layer name${isComparison ? ' or a model' : ''}`,
      {
        given: isPromise ? 'a promise' : typeof source === 'object' ? 'numbers without a name' : source,
        ...(isPromise
          ? { hint: 'Await it' }
          : isComparison
            ? { hint: 'Read a model with `readModel`. Only `sparsifyFile` takes a path, URL or Blob' }
            : {}),
      },
    );
  }
  const found = new Map<WeightTensor, Snapshot>();
  if (isModel(source)) {
    const twins = new Map(source.tensors.map((twin) => [twin.name, twin]));
    for (const tensor of tensors) {
      const twin = twins.get(tensor.name);
      if (!twin) continue;
      if (String(twin.shape) !== String(tensor.shape)) {
        throw new SparsifyError('criteria', `the ${state} weights have a different shape`, {
          subject: tensor.name,
          given: `[${tensor.shape.join(', ')}]`,
          found: `[${twin.shape.join(', ')}]`,
        });
      }
      const copy = () => source.copy(twin.values);
      found.set(tensor, { dtype: twin.values.dtype, bytes: isLater ? copy : copy() });
    }
    return found;
  }
  const arrays = byName(
    [...(source instanceof Map ? source : Object.entries(source as Readonly<Record<string, Float32Array>>))],
    tensors,
  );
  tensors.forEach((tensor, index) => {
    const array = arrays[index];
    if (array === undefined) return;
    const length = state === 'activations' ? inputChannels(tensor) : tensor.values.length;
    if (!(array instanceof Float32Array) || array.length !== length || !array.every(Number.isFinite)) {
      throw new SparsifyError('criteria', `${state} must be a Float32Array of ${length} finite numbers`, {
        subject: tensor.name,
        found: array instanceof Float32Array ? `${array.length} numbers` : typeOf(array),
      });
    }
    if (state === 'activations' && array.some((norm) => norm < 0)) {
      throw new SparsifyError('criteria', 'activations must be norms, which are 0 or more', {
        subject: tensor.name,
        found: array.find((norm) => norm < 0),
      });
    }
    found.set(tensor, {
      dtype: 'float32',
      bytes: bytesIn(array).slice(),
    });
  });
  return found;
}

/**
 * What a criterion compares a tensor's weights with: numbers of that kind, or the scores of the caller's own function.
 */
export async function comparedWith(
  tensor: WeightTensor,
  needs: State | CustomCriterion | undefined,
  model: Model,
  snapshots: Snapshots | undefined,
  { least, statistics }: { readonly least: number; readonly statistics: InputStatistics | undefined },
): Promise<Other | undefined> {
  if (typeof needs === 'function') {
    return customScores(tensor, needs, model, { least, seen: statistics?.layers.get(tensor.name) });
  }
  return needs && otherOf(tensor, needs, snapshots);
}

async function otherOf(tensor: WeightTensor, state: State, snapshots: Snapshots | undefined): Promise<Other> {
  const { dtype, bytes: given } = snapshotOf(tensor, state, snapshots);
  const bytes = await (typeof given === 'function' ? given() : given);
  const steps = state === 'activations' ? channelSteps(tensor) : [];
  return { dtype, bytes, length: bytes.length / bytesOf[dtype], steps };
}

/** @throws SparsifyError `criteria` if there are no such numbers for a tensor */
export function snapshotOf(tensor: WeightTensor, state: State, snapshots: Snapshots | undefined): Snapshot {
  const snapshot = snapshots?.get(tensor);
  if (!snapshot) {
    throw new SparsifyError(
      'criteria',
      `the criterion compares weights with ${state}, and there are none for this layer`,
      {
        subject: tensor.name,
        hint: remedyFor(tensor.name, state),
      },
    );
  }
  return snapshot;
}

const remedyFor = (name: string, state: State): string =>
  state === 'statistics'
    ? `Give \`new Sparsifier(model, { statistics })\` with statistics of this layer, or \`exclude\` it`
    : `Give \`new Sparsifier(model, { ${state}: { '${name}': array } })\`` +
      (state === 'activations' ? ', or `statistics` of this layer' : '');

/**
 * The scores that the caller's function returns.
 * @param least the least score that can be used
 * @param seen what is known of the layer's inputs
 * @throws SparsifyError `criteria` for another length or numbers that cannot be ranked
 */
export async function customScores(
  tensor: WeightTensor,
  criterion: CustomCriterion,
  model: Model,
  { least, seen }: { readonly least: number; readonly seen: Parameters<typeof deviationsOf>[1] | undefined },
): Promise<Other> {
  const { name, kind, roles, shape } = tensor;
  const weights = widened(await model.copy(tensor.values), tensor.values.dtype);
  const layer = { name, kind, roles: [...roles], shape: [...shape], weights };
  const scores = readable(
    'the criterion',
    criterion(seen ? { ...layer, deviations: deviationsOf(tensor, seen) } : layer),
  );
  if (!(scores instanceof Float32Array) || scores.length !== weights.length) {
    handled(scores);
    throw new SparsifyError(
      'criteria',
      `a criterion must return a Float32Array with a score for each of ${weights.length} weights`,
      {
        subject: name,
        found: scores instanceof Float32Array ? `${scores.length} scores` : typeOf(scores),
      },
    );
  }
  const wrong = scores.findIndex(Number.isNaN);
  if (wrong >= 0)
    throw new SparsifyError('criteria', 'a score is not a number', { subject: name, found: `at index ${wrong}` });
  const low = scores.findIndex((score) => score < least);
  if (low >= 0) {
    throw new SparsifyError('criteria', `a score is below ${least}, which the budget lamp cannot use`, {
      subject: name,
      found: `${scores[low]} at index ${low}`,
    });
  }
  return {
    dtype: 'float32',
    bytes: bytesIn(scores).slice(),
    length: scores.length,
    steps: [],
  };
}
