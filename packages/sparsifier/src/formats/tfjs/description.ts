import { SparsifyError } from '../../errors.js';
import type { Partner, Skipped, WeightTensor } from '../../model/model.js';
import { checkLayout } from '../layout.js';
import { readGraph } from './graph.js';
import { readKeras } from './keras.js';
import { readNames } from './names.js';

/** What a manifest says of a weight. */
export interface WeightEntry {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: string;
  /** In a model in use: the layers that hold it. In a file they are found by names. */
  readonly holders?: Holders;
}

/** The layers that hold a weight of a model in use, and what they call it. */
export interface Holders {
  readonly name: string;
  /** The names of the models and wrappers around a layer and its own; several where models share it. */
  readonly paths: readonly (readonly string[])[];
}

/** A bias or batch normalisation entry by the name of its weight. */
export interface PartnerWeight {
  readonly part: Partner['part'];
  readonly weight: string;
}

/** A weight tensor by the name of its weight, apart from its numbers. */
export interface Described extends Omit<WeightTensor, 'values' | 'partners'> {
  readonly weight: string;
  readonly partners: readonly PartnerWeight[];
}

/** What a topology says of weights. */
export interface Description {
  readonly tensors: readonly Described[];
  readonly skipped: readonly Skipped[];
}

/** Weights by their names. */
export type Weights = ReadonlyMap<string, WeightEntry>;

/**
 * The layers of a model, by the Keras config of a LayersModel or the nodes of a GraphModel.
 * @param topology `modelTopology` of a model.json; some old files have it as a string. Without one, layers are told by
 *   the names and shapes of their weights.
 * @throws SparsifyError `format` where the topology is neither, or disagrees with the weights
 */
export function describe(topology: unknown, entries: readonly WeightEntry[]): Description {
  const parsed = typeof topology === 'string' ? parse(topology) : topology;
  const weights: Weights = new Map(entries.map((entry) => [entry.name, entry]));
  const { tensors, skipped } = read(parsed, weights);
  const usable: Described[] = [];
  const refused: Skipped[] = [];
  for (const tensor of tensors) {
    const { dtype } = weights.get(tensor.weight)!;
    if (dtype !== 'float32' && dtype !== 'float16') {
      refused.push({ name: tensor.name, reason: `its numbers are ${dtype}; only float32 and float16 are pruned` });
    } else if (tensor.shape.includes(0)) {
      refused.push({ name: tensor.name, reason: 'it is empty' });
    } else {
      usable.push(withFittingPartners(tensor, weights));
    }
  }
  return { tensors: usable, skipped: [...skipped, ...refused] };
}

function read(topology: unknown, weights: Weights): Description {
  if (topology === undefined) return readNames(weights);
  if (isObject(topology)) {
    if (Array.isArray(topology.node)) return readGraph(topology.node, weights);
    const config = topology.model_config ?? topology;
    if (isObject(config) && typeof config.class_name === 'string') return readKeras(config, weights);
  }
  throw new SparsifyError('format', 'the modelTopology is neither that of a LayersModel nor of a GraphModel', {
    found: isObject(topology) ? `the keys ${Object.keys(topology).slice(0, 8).join(', ') || 'none'}` : typeof topology,
    allowed: ['{ model_config: { class_name, config } }', '{ node: [...] }'],
    hint: 'Save the model with model.save, or convert it with tensorflowjs_converter',
  });
}

function parse(topology: string): unknown {
  try {
    return JSON.parse(topology);
  } catch (cause) {
    throw new SparsifyError('format', 'the modelTopology is a string that is not JSON', {}, { cause });
  }
}

/** A partner has one entry per output channel. */
function withFittingPartners(tensor: Described, weights: Weights): Described {
  const channels = checkLayout(tensor.name, tensor);
  const fits = ({ weight }: PartnerWeight) => {
    const { shape, dtype } = weights.get(weight)!;
    return (dtype === 'float32' || dtype === 'float16') && shape.reduce((a, b) => a * b, 1) === channels;
  };
  const others = tensor.partners.filter((partner) => !fits(partner));
  return {
    ...tensor,
    partners: tensor.partners.filter(fits),
    notes: [
      ...tensor.notes,
      ...others.map(
        ({ part, weight }) => `${part} ${weight} is left alone: it does not have one number per output channel`,
      ),
    ],
  };
}

/** The name, or the name with a number if it is in use. */
export function unusedName(wanted: string, names: ReadonlySet<string>): string {
  let name = wanted;
  for (let number = 2; names.has(name); number++) name = `${wanted}#${number}`;
  return name;
}

export const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
