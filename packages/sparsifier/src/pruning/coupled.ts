import { isKept } from '../engine/record.js';
import { SparsifyError } from '../errors.js';
import { removalOf, type FileModel } from '../formats/file-model.js';
import type { NetworkChannels } from '../formats/removal.js';
import type { Model, WeightTensor } from '../model/model.js';
import { sumOf } from '../model/numbers.js';
import type { Amount, Sparsity } from '../options/amounts.js';
import type { CoupledOptions } from '../options/coupled.js';
import type { CallOptions } from '../options/options.js';
import { eachAlone } from '../options/rankings.js';
import { cutLayer, type CutLayer } from './cut.js';
import { groupExplanationsOf, type Explanation } from './explain.js';
import type { RankedUnits } from './findings.js';
import { isReadWith } from './flap.js';
import { rankGroups, type RankedGroups, type Scoring } from './group-ranking.js';
import { groupsOfModel, type CoupledLayer, type Group, type Groups } from './groups.js';
import { unitsRemoved } from './bits.js';
import type { Removed } from './job.js';
import type { Masks } from './masks.js';
import type { Planner, Request } from './plan.js';
import type { GroupReport } from './report.js';
import { counted } from './text.js';

/** What is left of a layer. */
export interface CutTensor extends CutLayer {
  readonly tensor: WeightTensor;
  /** Whether its output channels are among those that are looked at. */
  readonly makes: boolean;
}

/** The channels that a call removes. */
export interface Chosen extends Pick<RankedGroups, 'requested' | 'notes'> {
  /** The layers that make channels of the groups, pass them on or read them, in model order. */
  readonly layers: readonly CutTensor[];
  readonly groups: readonly GroupReport[];
  /** What became of each group that was ranked, given what became of the layers. */
  readonly ranked: (done: readonly Removed[]) => readonly RankedUnits[];
}

/**
 * The channels of a model. They do not depend on its numbers, so that they are followed once for all Sparsifiers of a model with
 * the same options.
 */
async function networkOf(
  model: FileModel,
  { inputShapes = {}, protect = [] }: CoupledOptions,
  signal: AbortSignal | undefined,
): Promise<NetworkChannels> {
  const key = JSON.stringify([inputShapes, protect]);
  const found = networks.get(model) ?? new Map<string, NetworkChannels>();
  networks.set(model, found);
  const known = found.get(key);
  if (known !== undefined) return known;
  const { removal, current } = removalOf(model);
  const network = await removal.channels({ inputShapes, protect: [protect].flat(), signal }, current);
  found.set(key, network);
  return network;
}

const networks = new WeakMap<FileModel, Map<string, NetworkChannels>>();

/** Chooses which channels of a network go, group by group. */
export class CoupledChoice {
  readonly #model: FileModel;
  readonly #planner: Planner;
  readonly #scoring: Scoring;
  #groups: Promise<Groups> | undefined;

  /** @throws SparsifyError `usage` for models whose channels cannot be followed */
  constructor(model: Model, planner: Planner, scoring: Scoring) {
    this.#model = model as FileModel;
    this.#planner = planner;
    this.#scoring = scoring;
    try {
      removalOf(this.#model);
    } catch (error) {
      const { found, allowed } = error instanceof SparsifyError ? error.details : {};
      // Of a model that is closed, all calls say the same.
      if (allowed === undefined) throw error;
      throw new SparsifyError('usage', '`coupled` needs a network whose channels can be followed', {
        ...(found === undefined ? {} : { found }),
        allowed,
        hint: 'Leave out `coupled` to remove filters of each layer by itself',
      });
    }
  }

  /** The groups of the model as it was when they were asked for first. */
  groups(signal?: AbortSignal): Promise<Groups> {
    if (this.#groups === undefined) {
      this.#groups = this.#followed(signal);
      // What was aborted, or lacked memory, may succeed another time.
      this.#groups.catch(() => (this.#groups = undefined));
    }
    return this.#groups;
  }

  async #followed(signal: AbortSignal | undefined): Promise<Groups> {
    const { coupled } = this.#planner.given;
    const network = await networkOf(this.#model, typeof coupled === 'object' ? coupled : {}, signal);
    return groupsOfModel(this.#model, this.#planner.decisions, network);
  }

  /**
   * Why a group cannot be pruned; undefined if it can.
   * @param anyway whether the rules do not matter
   */
  obstacleTo({ obstacle, leftOut, channels }: Group, { layers }: Groups, anyway = false): string | undefined {
    if (obstacle !== undefined) return obstacle;
    if (leftOut !== undefined && !anyway) return leftOut;
    const { isOfReaders, given } = this.#planner;
    const { statistics } = given;
    if (!isOfReaders || statistics === undefined || isReadWith(channels, layers.values(), statistics)) return undefined;
    return 'there are no statistics of the layers that read its channels';
  }

  /**
   * Chooses channels of all groups that the rules select.
   * @throws SparsifyError `kind` if there are none; what the ranking throws
   */
  async ofModel(sparsity: Sparsity | undefined, options: CallOptions): Promise<Chosen> {
    const found = await this.groups(options.signal);
    const pruned = found.groups.filter((group) => this.obstacleTo(group, found) === undefined);
    if (pruned.length === 0) {
      const [first] = found.groups;
      throw new SparsifyError('kind', 'there is no group of channels that can be pruned', {
        found: first
          ? `${counted(found.groups.length, 'group')}; ${first.name}: ${this.obstacleTo(first, found)}`
          : 'no layer with channels that may go',
        hint: '`explain()` says what keeps the channels of each layer',
      });
    }
    return this.#chosen(found, pruned, options, (planner) => planner.request(sparsity, options));
  }

  /**
   * Chooses channels of the groups that a layer makes, whatever the rules say.
   * @throws SparsifyError `layer` if its channels cannot be removed; what the ranking throws
   */
  async ofLayer(tensor: WeightTensor, amount: Amount, options: CallOptions): Promise<Chosen> {
    const found = await this.groups(options.signal);
    const channels = new Set(found.layers.get(tensor)?.rows);
    const own = found.groups.filter((group) => group.channels.some((channel) => channels.has(channel)));
    const why = own.map((group) => this.obstacleTo(group, found, true)).find((each) => each !== undefined);
    if (own.length === 0 || why !== undefined) {
      const canGo = found.groups.filter((group) => this.obstacleTo(group, found, true) === undefined);
      throw new SparsifyError('layer', 'the output channels of this layer cannot be removed', {
        subject: tensor.name,
        found: why ?? `${found.kept.get(tensor)} keeps them`,
        allowed: canGo.map(({ name }) => name),
      });
    }
    return this.#chosen(found, own, options, (planner): Request => {
      const tensors = planner.chosen();
      return { context: 'local', tensors, rankings: eachAlone(tensors), amounts: tensors.map(() => amount) };
    });
  }

  /**
   * Says for each layer whether its output channels are pruned, and which group they are.
   * @param sparsity what is removed; undefined if nothing is to be ranked
   */
  async explain(sparsity: Sparsity | undefined, options: CallOptions): Promise<Explanation[]> {
    const found = await this.groups(options.signal);
    const chosen = sparsity === undefined ? undefined : await this.ofModel(sparsity, options);
    const cuts = new Map(chosen?.layers.map((layer) => [layer.tensor, layer]));
    const reports = new Map(chosen?.groups.map((report) => [report.name, report]));
    const isPruned = (group: Group) =>
      chosen ? reports.get(group.name)!.heldBack === undefined : this.obstacleTo(group, found) === undefined;
    const removedOf = async (tensor: WeightTensor) => {
      const cut = cuts.get(tensor);
      return cut ? unitsRemoved(cut.rows.mask) : 0;
    };
    const removed = new Map<WeightTensor, number>();
    for (const tensor of this.#model.tensors) if (chosen) removed.set(tensor, await removedOf(tensor));
    return groupExplanationsOf(this.#model, this.#planner, (tensor) => {
      const channels = new Set(found.layers.get(tensor)?.rows);
      const own = found.groups.filter((group) => group.channels.some((channel) => channels.has(channel)));
      return {
        groups: own.filter(isPruned).map(({ name }) => name),
        reason: this.reasonFor(tensor, found),
        removed: removed.get(tensor),
      };
    });
  }

  /** All layers that make, pass on or read channels that may go. */
  async layers(): Promise<CoupledLayer[]> {
    return [...(await this.groups()).layers.values()];
  }

  /** What is left of layers that have lost channels. @param masks which of their output channels are kept */
  async cut(masks: Masks): Promise<CutTensor[]> {
    const found = await this.groups();
    const gone = new Set([...earlierIn(found.groups, masks).values()].flatMap((channels) => [...channels]));
    return cutTensors(found, (channel) => gone.has(channel), gone);
  }

  async #chosen(
    found: Groups,
    pruned: readonly Group[],
    options: CallOptions,
    requestOf: (planner: Planner) => Request,
  ): Promise<Chosen> {
    const leftOut = this.#model.tensors.flatMap((tensor) => {
      const isNamed = pruned.some(({ producers }) => producers.some((producer) => producer.tensor === tensor));
      return isNamed ? [] : [{ ...tensor, reason: this.reasonFor(tensor, found) }];
    });
    const earlier = earlierIn(found.groups, this.#scoring.masks);
    const asked = { model: this.#model, planner: this.#planner, found, pruned, leftOut, earlier, requestOf };
    const { removed, requested, ranked, notes } = await rankGroups(this.#scoring, asked, options);
    const gone = new Set([...found.groups].flatMap((group) => [...(removed.get(group) ?? earlier.get(group)!)]));
    const isRanked = new Set(ranked.flatMap(({ channels }) => channels));
    const layers = await cutTensors(found, (channel) => isRanked.has(channel), gone);
    const groups = found.groups.map((group): GroupReport => {
      const count = (removed.get(group) ?? earlier.get(group)!).size;
      const why = ranked.includes(group) ? undefined : (this.obstacleTo(group, found) ?? 'no amount was given for it');
      return {
        name: group.name,
        layers: group.producers.map(({ tensor }) => tensor.name),
        ...{ units: group.channels.length, removedUnits: count, keptUnits: group.channels.length - count },
        ...(why === undefined ? {} : { heldBack: why }),
      };
    });
    return {
      ...{ layers, groups, requested },
      notes: [...found.notes, ...notes],
      ranked: (done) =>
        ranked.map((group) => {
          const own = group.producers.map(({ tensor }) => done[layers.findIndex((layer) => layer.tensor === tensor)]!);
          return {
            removedUnits: removed.get(group)!.size,
            weights: sumOf(group.producers.map(({ tensor }) => tensor.values.length)),
            zeros: sumOf(own.map(({ zeros }) => zeros)),
            isChanged: own.some(({ squares }) => squares.isChanged),
          };
        }),
    };
  }

  /** What keeps the channels of a layer, or holds back the groups that it makes, as a sentence. */
  reasonFor(tensor: WeightTensor, found: Groups): string {
    const kept = found.kept.get(tensor);
    if (kept !== undefined) return `its output channels have to stay: ${kept}`;
    const made = found.groups.filter(({ producers }) => producers.some((producer) => producer.tensor === tensor));
    const [first] = made;
    if (first === undefined) {
      const channels = new Set(found.layers.get(tensor)?.rows);
      const group = found.groups.find((each) => each.channels.some((channel) => channels.has(channel)));
      return group ? `its channels go with those of ${group.name}` : 'its output channels are those of no group';
    }
    const why = this.obstacleTo(first, found);
    return why === undefined ? `group ${first.name}` : `its group ${first.name} is held back by ${why}`;
  }
}

/** The channels of each group that earlier calls removed: those of which no layer has anything left. */
function earlierIn(groups: readonly Group[], masks: Masks): Map<Group, ReadonlySet<number>> {
  return new Map(
    groups.map((group) => {
      const left = new Set<number>();
      for (const { tensor, rows } of group.producers) {
        const mask = masks.get(tensor);
        for (const [unit, channel] of rows.entries()) if (mask === undefined || isKept(mask, unit)) left.add(channel);
      }
      return [group, new Set(group.channels.filter((channel) => !left.has(channel)))];
    }),
  );
}

/** What is left of those layers that have or read some channels. */
async function cutTensors(
  { layers }: Groups,
  isWanted: (channel: number) => boolean,
  gone: ReadonlySet<number>,
): Promise<CutTensor[]> {
  const cut: CutTensor[] = [];
  for (const layer of layers.values()) {
    const { tensor, rows, reads } = layer;
    const makes = rows.some(isWanted);
    if (makes || reads.some((read) => read.some(isWanted)))
      cut.push({ tensor, makes, ...(await cutLayer(layer, gone)) });
  }
  return cut;
}
