import { unitsOf } from '../engine/record.js';
import type { WeightTensor } from '../model/model.js';
import type { Granularity } from '../options/granularity.js';
import { unitsOfTensor } from '../options/units.js';
import type { MaskedLayer } from '../repair/layer.js';
import { unpack } from './bits.js';
import type { Planner } from './plan.js';

/** Which units of a layer are kept. */
export interface UnitMask {
  /** That of the weights, with the number of units along each axis. */
  readonly shape: readonly number[];
  /** 1 for a unit that is kept, 0 for one that is removed, in stored order. */
  readonly data: Uint8Array<ArrayBuffer>;
}

/** Masks of a model's tensors, one bit per unit. */
export type Masks = ReadonlyMap<WeightTensor, Uint8Array>;

/** @param bits one per unit; undefined where nothing was removed */
export function unitMask(tensor: WeightTensor, granularity: Granularity, bits: Uint8Array | undefined): UnitMask {
  const { axes, shape } = unitsOfTensor(tensor, granularity);
  const data = new Uint8Array(unitsOf(axes));
  unpack(bits, data, 0, data.length);
  return { shape, data };
}

/** The layers of masks, with the units of each. */
export function maskedLayersOf(masks: Masks, planner: Pick<Planner, 'unitsOf'>): MaskedLayer[] {
  const units = planner.unitsOf([...masks.keys()]);
  return [...masks].map(([tensor, mask], index) => ({ tensor, mask, units: units[index]! }));
}
