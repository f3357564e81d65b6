import { isObject } from '../../../model/json.js';
import { sumOf } from '../../../model/numbers.js';
import { Stored } from '../../../structure/stored.js';
import { decoded } from '../../decoded.js';
import type { CurrentFiles } from '../../format.js';
import type { ChannelRemoval, ChannelsRequest, RemovalRequest } from '../../removal.js';
import type { Constant, Graph, Node } from '../../onnx/graph.js';
import { title } from '../../onnx/titles.js';
import { openGroups } from '../../../structure/groups.js';
import { blockedIn, channelsOfWeights, groupsIn, touchableIn } from '../../onnx/structure/facts.js';
import type { Followed } from '../../onnx/structure/follow.js';
import type { Need } from '../../onnx/structure/lists.js';
import { probesOf } from '../../onnx/structure/probes.js';
import {
  notesOnProbes,
  notesOnSizes,
  notesOnUnfollowed,
  planned,
  protectedIn,
  shapesOf,
} from '../../onnx/structure/removal.js';
import { channelsIn, planOnnxRemoval } from '../../onnx/structure/remove.js';
import { isFloat, type Description, type WeightEntry } from '../description.js';
import { isGraph } from '../describe.js';
import { layersOf } from '../keras-layers.js';
import type { Config } from '../keras-types.js';
import type { ModelJson } from '../manifest.js';
import { Scopes } from '../scopes.js';
import type { Located } from '../storing.js';
import { findBiases } from './biases.js';
import { translateKeras } from './keras.js';
import { translateGraph } from './graph.js';
import { Rewriting, type Retopology } from './rewrite.js';
import { configWith, graphWith } from './topology.js';
import { opset, type Translation } from './translation.js';

/** A network as a graph, and how its topology follows its weights. */
interface Translated {
  readonly translation: Translation;
  readonly retopology: Retopology;
}

/** How channels are taken out of a TensorFlow.js model with a topology. */
export const removalIn = (
  located: Located,
  entries: readonly WeightEntry[],
  description: Description,
): ChannelRemoval => ({
  plan: async (request, current) => {
    const network = await networkIn(located, entries, description, request, current);
    const { graph, translation, layers, probes, retopology } = network;
    const nameOf = (constant: Constant) => layers.get(constant)?.[0] ?? constant.name;
    const canPatch = (need: Need) => translation.changeable(need) !== undefined;
    const plan = planned(probes, () =>
      planOnnxRemoval(graph, { ...optionsIn(network), roundTo: request.roundTo, canPatch }),
    );
    const { followed } = plan;
    const facts = {
      groups: groupsIn(plan, nameOf),
      blocked: blockedIn(followed, nameOf),
      parameters: new Rewriting(located, translation, plan).parameters,
      touchable: touchableIn(ofWeights(followed, translation)),
      followed: probes.probes.map(shapesOf),
      notes: [
        ...(isOpen(graph) ? notesOnSizes(probes, plan, request.inputShapes) : []),
        ...notesOn(translation, followed),
      ],
    };
    return {
      facts,
      rewritten: async (flush) => {
        const rewriting = new Rewriting(located, translation, plan, flush);
        const { files, indexMap, copies, frozen } = await rewriting.written(retopology, current);
        const { removal } = plan;
        return {
          ...{ files, indexMap },
          changes: () => ({
            folded: new Set(removal.folds.map(({ reader }) => reader.operator)).size,
            carriers: [...removal.kept.values()].filter((keeping) => keeping === 'carrier').length,
            ...{ copies, frozen, subnormals: rewriting.subnormals },
          }),
        };
      },
    };
  },
  channels: async (request, current) => {
    const network = await networkIn(located, entries, description, request, current);
    const { graph, translation, layers, probes } = network;
    const { followed, axes } = planned(probes, () => channelsIn(graph, optionsIn(network)));
    return {
      groups: openGroups(followed.coupling, axes),
      weights: channelsOfWeights(ofWeights(followed, translation), layers),
      notes: [...(isOpen(graph) ? notesOnProbes(probes) : []), ...notesOn(translation, followed)],
    };
  },
});

/** A network, and what is asked of it. */
async function networkIn(
  located: Located,
  entries: readonly WeightEntry[],
  { tensors }: Description,
  request: ChannelsRequest,
  current: CurrentFiles,
) {
  const { inputShapes, signal } = request;
  const { translation, retopology } = translated(located.model, entries, inputShapes);
  findBiases(translation);
  const { graph, weights } = translation;
  const names = new Map(tensors.map(({ name, weight, aliases }) => [weight, [name, ...aliases]]));
  const layers = new Map(
    [...weights.keys()].flatMap((constant) => {
      const own = names.get(constant.name);
      return own === undefined ? [] : [[constant, own] as const];
    }),
  );
  const protect = protectedIn(graph, request.protect, layers);
  const probes = probesOf(graph, inputShapes);
  const numbers = await numbersIn(located, current, request);
  signal?.throwIfAborted();
  return { translation, retopology, graph, layers, protect, probes, numbers };
}

const optionsIn = ({ translation, protect, probes, numbers }: Awaited<ReturnType<typeof networkIn>>) => ({
  ...{ opset, protect, probes: probes.probes },
  operators: translation.operators,
  numbersOf: (constant: Constant) => translation.numbersOf(constant) ?? numbers.get(constant.name),
  canFold: (node: Node) => translation.biases.has(node),
});

/** A graph whose constants are weights. */
const ofWeights = (followed: Followed, { weights }: Translation): Followed => ({
  ...followed,
  uses: followed.uses.filter(({ constant }) => weights.has(constant)),
});

/** Whether inputs have axes of any size besides that of the samples. */
const isOpen = ({ inputs }: Graph): boolean =>
  inputs.some(({ shape }) => shape?.some((size, axis) => typeof size === 'symbol' && axis > 0) !== false);

function translated(
  { topology, content }: ModelJson,
  entries: readonly WeightEntry[],
  shapes: RemovalRequest['inputShapes'],
): Translated {
  const weights = new Map(entries.map((entry) => [entry.name, entry]));
  if (isGraph(topology)) {
    const { translation, sources } = translateGraph(topology, content as Config, weights, shapes);
    return { translation, retopology: (numbers) => graphWith(topology, sources, numbers) };
  }
  const config = topology as Config;
  const model = isObject(config.model_config) ? config.model_config : config;
  const layers = layersOf(model);
  const { translation, sizes } = translateKeras(model, layers, new Scopes(layers, weights), { shapes });
  return { translation, retopology: (numbers) => configWith(config, sizes, numbers) };
}

/** The numbers of all weights that are floats, by name. */
async function numbersIn(
  { values, model }: Located,
  current: CurrentFiles,
  { signal, onLoaded }: Pick<RemovalRequest, 'signal' | 'onLoaded'>,
): Promise<Map<string, Stored>> {
  const numbers = new Map<string, Stored>();
  const floats = model.groups.flatMap(({ weights }) => weights).filter(isFloat);
  const total = sumOf(floats.map(({ name }) => values.get(name)!.length));
  let done = 0;
  for (const { name } of floats) {
    signal?.throwIfAborted();
    numbers.set(name, Stored.of(await decoded(values.get(name)!, current)));
    done += values.get(name)!.length;
    onLoaded?.(done, total);
  }
  return numbers;
}

/** Sentences about what is not followed: each reason once. */
function notesOn({ failures: own }: Translation, followed: Followed): string[] {
  const known = new Set(own.map(({ title }) => title));
  const others = followed.failures.map(({ node, reason }) => ({ title: title(node), reason }));
  const failures = [...own, ...others.filter((failure) => !known.has(failure.title))];
  // A layer may be several nodes.
  const once = new Map(failures.map(({ title, reason }) => [`${title}\n${reason}`, { title, reason, kind: reason }]));
  return notesOnUnfollowed([...once.values()]);
}
