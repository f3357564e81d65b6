import { calibrate } from '../calibration/onnx.js';
import { SparsifyError } from '../errors.js';
import { anatomyOf, readLike, removalOf, type FileModel } from '../formats/file-model.js';
import { shapesHint } from '../formats/removal.js';
import { withClosed } from '../model/closing.js';
import type { WeightTensor } from '../model/model.js';
import { productOf } from '../model/numbers.js';
import type { Sparsity } from '../options/amounts.js';
import type { InputShapes } from '../options/coupled.js';
import type { InputStatistics } from '../options/options.js';
import { decisionsOf, type Rules } from '../options/rules.js';
import { Sparsifier } from '../pruning/sparsifier.js';
import { counted, listed } from '../pruning/text.js';
import type { PlanRemovalOptions } from '../removal/options.js';
import { planRemoval, removeChannels } from '../removal/remove.js';
import type { RepairReport } from '../repair/report.js';
import { cutStatistics } from './cut-statistics.js';
import type { RecipeInputs, RecipeRemoval } from './recipe.js';
import { repaired, type Inputs, type LayerCut } from './steps.js';

/** From this share of channels on, in percent, it is better to solve for the inputs of the pruned model. */
const prunedFrom = 40;

/** A model without some of its channels. */
export interface Cut {
  /** A model of its own. */
  readonly model: FileModel;
  readonly step: RecipeRemoval;
  readonly layers: ReadonlyMap<string, LayerCut>;
  /** Those of its own layers, if they were asked for. */
  readonly statistics: InputStatistics | undefined;
  readonly notes: readonly string[];
}

interface Cutting<Feeds> extends Inputs<Feeds> {
  readonly rules: Rules;
  readonly inputShapes: InputShapes | undefined;
  /** What the kept weights of the layers are solved for that read removed channels; undefined for a sketch. */
  readonly repair: RecipeInputs | undefined;
  readonly roundTo: number;
  /** Where the statistics of the model without channels come from; undefined if none are needed. */
  readonly next: RecipeRemoval['statistics'] | undefined;
}

/**
 * Removes channels, group by group, by how much what they add to the layers that read them varies. These are solved for the
 * channels that stay.
 * @param files of a model
 * @param like how they are read
 * @param amounts a percentage for all groups, or numbers of channels by group
 * @throws SparsifyError as `Sparsifier` and `planRemoval` do: `kind` if there is no group that can be pruned
 */
export async function cut<Feeds>(
  like: FileModel,
  files: ReadonlyMap<string, Uint8Array<ArrayBuffer>>,
  amounts: Sparsity,
  { statistics, rules, inputShapes, repair, roundTo, next, signal, data }: Cutting<Feeds>,
): Promise<Cut> {
  return withClosed(await readLike(like, files), async (model) => {
    const sparsifier = new Sparsifier(model, {
      ...{ granularity: 'filter', coupled: { inputShapes }, criteria: 'flap', ...rules, statistics: statistics! },
    });
    try {
      const chosen = await sparsifier.sparsifyModel(amounts, { roundTo, signal });
      const solved = repair && (await repaired(sparsifier, repair, { data, signal }));
      const plan = await planRemoval(model, { inputShapes, roundTo, signal });
      const { model: small, report } = await removeChannels(model, plan, { signal });
      const groups = chosen.groups ?? [];
      const ranked = groups.filter(({ heldBack }) => heldBack === undefined);
      try {
        return {
          model: small,
          step: {
            ...{ granularity: 'filter', context: 'local', criteria: 'flap', roundTo },
            ...(Object.keys(inputShapes ?? {}).length > 0 && { inputShapes }),
            amounts: Object.fromEntries(ranked.map(({ name, removedUnits }) => [name, removedUnits])),
            repair: { method: 'solve', inputs: repair ?? 'dense' },
            statistics: next ?? 'cut',
          },
          statistics: await statisticsNext(),
          layers: layersCut(model, small, solved),
          notes: [
            ...(typeof amounts === 'number' ? heldBackIn(groups) : []),
            ...(solved?.notes ?? []),
            // Notes on how the network was followed are those of both.
            ...new Set([...chosen.notes, ...report.notes]),
          ],
        };
      } catch (error) {
        small.close();
        throw error;
      }

      async function statisticsNext(): Promise<InputStatistics | undefined> {
        if (next === 'measured') return calibrate(small, { ...data!, signal });
        return next && cutStatistics(model, sparsifier.masks(), small, statistics!, { inputShapes, signal });
      }
    } finally {
      sparsifier.clear();
    }
  });
}

function layersCut(model: FileModel, small: FileModel, solved: RepairReport | undefined): Map<string, LayerCut> {
  const errors = new Map(solved?.layers.map(({ name, repaired: error }) => [name, error ?? 0]));
  const left = new Map(small.tensors.map((tensor) => [tensor.name, outputsOf(tensor)]));
  return new Map(
    model.tensors.map((tensor) => {
      const before = outputsOf(tensor);
      const channels = { before, after: left.get(tensor.name) ?? before };
      return [tensor.name, { channels, error: errors.get(tensor.name) ?? 0 }];
    }),
  );
}

/** A sentence about groups whose channels stay. */
function heldBackIn(groups: readonly { readonly name: string; readonly heldBack?: string }[]): string[] {
  const held = groups.flatMap(({ name, heldBack }) => (heldBack === undefined ? [] : [`${name} (${heldBack})`]));
  return held.length === 0 ? [] : [`the channels of ${counted(held.length, 'group')} had to stay: ${listed(held)}`];
}

const outputsOf = ({ roles, shape }: WeightTensor): number =>
  productOf(shape.filter((_, axis) => roles[axis] === 'out' || roles[axis] === 'multiplier'));

/** The inputs that layers are solved for. @param share of the channels of each group, in percent */
export const inputsAt = (share: number): RecipeInputs => (share >= prunedFrom ? 'pruned' : 'dense');

/** The rules for a model without channels: names, since what layers are like has changed. Undefined if none is left. */
export function rulesWithout(rules: Rules, model: FileModel, { model: small }: Cut): Rules {
  const selected = decisionsOf(rules, model);
  const names = new Set(small.tensors.map(({ name }) => name));
  return {
    layerType: 'all',
    include: model.tensors.flatMap(({ name }, index) => (selected[index]!.selected && names.has(name) ? [name] : [])),
  };
}

/** Why channels cannot be removed, of an error that says so; what else goes wrong is thrown. */
export function whyNoChannels(error: unknown): string {
  if (!(error instanceof SparsifyError && (error.code === 'kind' || error.code === 'usage'))) throw error;
  const { found, hint } = error.details;
  const summary = error.message.split(/\. (?:given|found|allowed): /)[0]!;
  if (found === undefined) return summary;
  return `${summary}: ${String(found)}${hint === shapesHint ? `. ${hint}` : ''}`;
}

/**
 * Checks the shapes of inputs before anything is measured.
 * @throws SparsifyError `usage` if they are not those of the network
 */
export async function checkInputShapes(
  model: FileModel,
  { inputShapes = {}, signal }: Pick<PlanRemovalOptions, 'inputShapes' | 'signal'>,
): Promise<void> {
  // Files of weights alone have no network. The report says that none of their channels can go.
  if (Object.keys(inputShapes).length === 0 || anatomyOf(model) === undefined) return;
  const { removal, current } = removalOf(model);
  try {
    await removal.channels({ inputShapes, protect: [], signal }, current);
  } catch (error) {
    // That more shapes are needed is in the report as well.
    if (!(error instanceof SparsifyError && error.details.hint === shapesHint)) throw error;
  }
}
