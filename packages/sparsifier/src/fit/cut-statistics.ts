import { digestOf, Statistics } from '../calibration/statistics.js';
import type { LayerMoments, LayerStatistics } from '../calibration/layer-statistics.js';
import { removalOf, type FileModel } from '../formats/file-model.js';
import { inSlices, stepsAtATime } from '../host/slices.js';
import { isDepthwise, rowSizes } from '../model/channels.js';
import { productOf } from '../model/numbers.js';
import type { InputMoments, InputStatistics, LayerInputStatistics } from '../options/options.js';
import { decisionsOf } from '../options/rules.js';
import { groupsOfModel } from '../pruning/groups.js';
import type { UnitMask } from '../pruning/masks.js';
import type { PlanRemovalOptions } from '../removal/options.js';

/**
 * The statistics of a model without some of its channels: those of the original one, without the inputs that are gone. The
 * others are as they were, so what the layers before have lost is not in them.
 * @param model with all channels
 * @param masks which output channels of its layers stay
 * @param small without the others
 * @returns of the layers whose inputs are those that the masks leave: a channel may have stayed to hold a constant
 */
export async function cutStatistics(
  model: FileModel,
  masks: ReadonlyMap<string, UnitMask>,
  small: FileModel,
  statistics: InputStatistics,
  { inputShapes = {}, signal }: Pick<PlanRemovalOptions, 'inputShapes' | 'signal'>,
): Promise<Statistics> {
  const { removal, current } = removalOf(model);
  const network = await removal.channels({ inputShapes, protect: [], signal }, current);
  const { layers } = groupsOfModel(model, decisionsOf({ layerType: 'all' }, model), network);
  const gone = new Set<number>();
  for (const { tensor, rows } of layers.values()) {
    const { data } = masks.get(tensor.name) ?? {};
    for (const [unit, channel] of rows.entries()) if (data?.[unit] === 0) gone.add(channel);
  }
  const left = new Map(small.tensors.map((tensor) => [tensor.name, tensor]));
  const cut = new Map<string, LayerStatistics>();
  for (const tensor of model.tensors) {
    const [known, after] = [statistics.layers.get(tensor.name), left.get(tensor.name)];
    if (known === undefined || after === undefined) continue;
    const { groups, inputs } = rowSizes(tensor);
    const { reads = [], rows = new Int32Array() } = layers.get(tensor) ?? {};
    // The inputs of depthwise convolutions are its outputs. Weights that several operators read go where none needs the input.
    const ways = isDepthwise(tensor) ? [rows.filter((_, row) => row % (rows.length / groups) === 0)] : reads;
    const stays = (input: number) => ways.length === 0 || ways.some((way) => !gone.has(way[input]!));
    const kept = indices(groups)
      .map((group) => indices(inputs).filter((input) => stays(group * inputs + input)))
      .map((own, group) => ({ group, own }))
      .filter(({ own }) => own.length > 0);
    const sizes = rowSizes(after);
    const isSame = kept.length === sizes.groups && kept.every(({ own }) => own.length === sizes.inputs);
    if (!isSame) continue;
    const sha256 = await digestOf(await small.copy(after.values));
    cut.set(tensor.name, await layerWithout(known, kept, inputs, productOf([...sizes.kernel]), sha256));
  }
  return new Statistics(cut);
}

const indices = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

/** The inputs that stay in a group. */
interface KeptInputs {
  readonly group: number;
  readonly own: readonly number[];
}

/** @param taps the positions of the kernel */
async function layerWithout(
  { groups: _, columns, isDiagonal, norm, heldOut, rows, moment, mean }: LayerInputStatistics,
  kept: readonly KeptInputs[],
  inputs: number,
  taps: number,
  sha256: string | undefined,
): Promise<LayerStatistics> {
  const places = kept.map(({ group, own }) => ({
    group,
    at: own.flatMap((input) => indices(taps).map((tap) => input * taps + tap)),
  }));
  const moments = async (all: InputMoments): Promise<LayerMoments> => ({
    rows: all.rows,
    mean: Float32Array.from(places.flatMap(({ group, at }) => at.map((column) => all.mean[group * columns + column]!))),
    moment: isDiagonal
      ? Float32Array.from(places.flatMap(({ group, at }) => at.map((column) => all.moment[group * columns + column]!)))
      : await squares(all.moment, columns, places),
    norm: undefined,
  });
  return {
    ...(await moments({ rows, moment, mean })),
    ...{ groups: kept.length, columns: places[0]!.at.length, isDiagonal, sha256 },
    norm:
      norm && Float32Array.from(kept.flatMap(({ group, own }) => own.map((input) => norm[group * inputs + input]!))),
    heldOut: heldOut && (await moments(heldOut)),
  };
}

/** Of square matrices, one for each group, the rows and columns that stay. */
async function squares(
  moment: Float32Array,
  columns: number,
  places: readonly { readonly group: number; readonly at: readonly number[] }[],
): Promise<Float32Array> {
  const size = places[0]!.at.length;
  const cut = new Float32Array(places.length * size * size);
  const copy = (from: number, to: number) => {
    for (let row = from, next = from * size; row < to; row++) {
      const { group, at } = places[Math.floor(row / size)]!;
      const first = (group * columns + at[row % size]!) * columns;
      for (const column of at) cut[next++] = moment[first + column]!;
    }
  };
  await inSlices(places.length * size, copy, Math.ceil(stepsAtATime / size));
  return cut;
}
