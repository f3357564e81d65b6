import { SparsifyError } from '../errors.js';
import { stored, type Storage } from '../formats/format.js';
import { int4Block, type Form } from '../model/forms.js';
import type { Model, WeightTensor } from '../model/model.js';
import { productOf } from '../model/numbers.js';
import { decisionsOf } from '../options/rules.js';
import { listed } from '../pruning/text.js';
import type { QuantizeOptions } from './options.js';
import type { LeftTensor } from './report.js';

/** A layer and the form in which its weights are stored. */
export interface PlannedLayer {
  readonly tensor: WeightTensor;
  readonly form: Form;
  /** Why it is not the form that was asked for. */
  readonly reason?: string;
  readonly bytesBefore: number;
  readonly bytesAfter: number;
}

/** Why a layer cannot have the form that is asked for, and whether it keeps its own then. */
interface Obstacle {
  readonly tensor: WeightTensor;
  readonly reason: string;
  readonly isLeft: boolean;
}

/** What becomes of the weights of a model. */
export interface QuantizePlan {
  readonly layers: readonly PlannedLayer[];
  /** Layers and other tensors whose numbers stay as they are. */
  readonly skipped: readonly LeftTensor[];
}

/**
 * Chooses the form of each layer.
 * @throws SparsifyError `usage` if no layer can have the form that is asked for; otherwise as rules do
 */
export function planOf(
  model: Pick<Model, 'tensors' | 'skipped'>,
  storage: Storage,
  { weights, rules = {}, others }: Pick<QuantizeOptions, 'weights' | 'rules' | 'others'>,
): QuantizePlan {
  const layers: PlannedLayer[] = [];
  const skipped: LeftTensor[] = [];
  const obstacles: Obstacle[] = [];
  let selected = 0;
  for (const [index, decision] of decisionsOf({ ...rules, layerType: rules.layerType ?? 'all' }, model).entries()) {
    const tensor = model.tensors[index]!;
    const { name, values, kind } = tensor;
    const leave = (reason: string) => skipped.push({ name, reason, weights: values.length });
    if (!decision.selected) {
      leave(decision.reason);
      continue;
    }
    selected++;
    const asked = weights ?? storage.usualForm(kind);
    const obstacle = storage.obstacle(tensor, asked);
    const instead = obstacle === undefined ? asked : insteadOf(asked);
    const isPossible = instead !== undefined && storage.obstacle(tensor, instead) === undefined;
    if (obstacle !== undefined) obstacles.push({ tensor, reason: obstacle, isLeft: !isPossible });
    if (!isPossible) {
      leave(obstacle!);
      continue;
    }
    const [bytesBefore, bytesAfter] = [stored(values).bytes, bytesIn(instead, tensor)];
    if (bytesAfter + costs[instead] >= bytesBefore) {
      leave(`it has too few weights for ${instead} to make the file smaller`);
      continue;
    }
    layers.push({
      tensor,
      form: instead,
      bytesBefore,
      bytesAfter,
      ...(obstacle && { reason: `no ${asked}: ${obstacle}` }),
    });
  }
  const isImpossible =
    selected > 0 &&
    obstacles.length === selected &&
    (weights !== undefined || (others === undefined && obstacles.every(({ isLeft }) => isLeft)));
  if (isImpossible) throw impossible(weights, obstacles, storage);
  for (const { name, reason, weights } of model.skipped) if (weights > 0) skipped.push({ name, reason, weights });
  return { layers, skipped };
}

/** The form of layers that cannot have one that multiplies codes. */
const insteadOf = (form: Form): Form | undefined => (form === 'int8-dynamic' || form === 'int4' ? 'int8' : undefined);

/** About how many bytes a file has for a tensor in each form besides its numbers: the names and nodes that decode it. */
const costs: Readonly<Record<Form, number>> = {
  int8: 200,
  'int8-dynamic': 400,
  int4: 250,
  float16: 64,
  bfloat16: 0,
  uint8: 120,
  uint16: 120,
};

/** How many bytes the numbers of a layer take in a form, with their scales. */
function bytesIn(form: Form, { roles, shape, values: { length } }: WeightTensor): number {
  const rows = productOf(shape.filter((_, axis) => roles[axis] === 'out' || roles[axis] === 'multiplier'));
  switch (form) {
    case 'int8':
    case 'int8-dynamic':
      return length + 4 * rows;
    case 'int4':
      return length === 0 ? 0 : rows * Math.ceil(length / rows / int4Block) * (int4Block / 2 + 4);
    case 'uint8':
      return length;
    default:
      return 2 * length;
  }
}

function impossible(weights: Form | undefined, obstacles: readonly Obstacle[], storage: Storage): SparsifyError {
  const found = new Map(obstacles.map(({ tensor: { name }, reason }) => [reason, `${name}: ${reason}`]));
  const allowed = storage.forms.filter((form) =>
    obstacles.some(({ tensor }) => storage.obstacle(tensor, form) === undefined),
  );
  const isQuantized = allowed.length === 0 && obstacles.every(({ tensor }) => storage.isQuantized(tensor));
  const summary = isQuantized
    ? 'the model is quantised already'
    : `no layer can be stored in ${weights === undefined ? 'another' : 'this'} form`;
  return new SparsifyError('usage', summary, {
    ...(weights === undefined ? {} : { given: weights }),
    ...(allowed.length === 0 ? {} : { allowed }),
    found: listed(found.size === 1 ? [obstacles[0]!.reason] : [...found.values()]),
    ...(isQuantized ? { hint: 'Dequantize the model first' } : {}),
  });
}
