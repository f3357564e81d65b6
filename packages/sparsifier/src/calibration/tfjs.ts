import { addTo } from '../formats/tfjs/description.js';
import { incomingNodes } from '../formats/tfjs/graph.js';
import {
  entriesOf,
  fromTfjs,
  variableOf,
  type GraphModelLike,
  type LayerLike,
  type LayersModelLike,
  type LiveModel,
  type TensorLike,
  type TfLike,
} from '../formats/tfjs/live.js';
import { productOf } from '../model/numbers.js';
import { askedFor, inTurn } from '../model/turns.js';
import { type Batches, givesBatches } from './batches.js';
import { collect, measurableLayers } from './collect.js';
import { asGiven, optionsOf, type Shape } from '../options/check.js';
import { measureShape, type MeasureOptions } from './options.js';
import type { Activations, OpenProbe, Probe, Use } from './probe.js';
import type { Statistics } from './statistics.js';

/** What is used of TensorFlow.js to look inside models. */
export interface CalibrationTf extends TfLike {
  model(parts: { inputs: never; outputs: never }): { predictOnBatch(batch: never): unknown };
}

export interface CalibrateTfjsOptions extends MeasureOptions {
  /**
   * Returns inputs of the model, as its `predict` or `execute` takes them. It is called for each pass over the data,
   * and must return the same batches each time. They are not disposed.
   */
  readonly batches: () => Batches<unknown>;
}

const calibrateTfjsShape: Shape<CalibrateTfjsOptions> = { batches: asGiven, ...measureShape };

/**
 * Statistics of the inputs of each layer of a TensorFlow.js model in memory. The model is run on all batches, in as
 * many passes as `memory` requires. It is not changed, and no tensor is leaked.
 * @param tf the TensorFlow.js module
 * @param model a `tf.LayersModel` or a `tf.GraphModel`
 * @throws SparsifyError as `fromTfjs` and `calibrate`
 */
export async function calibrateTfjs(
  tf: CalibrationTf,
  model: LayersModelLike | GraphModelLike,
  options: CalibrateTfjsOptions,
): Promise<Statistics> {
  const live = fromTfjs(tf, model);
  const { batches, ...rest } = optionsOf(options, calibrateTfjsShape);
  givesBatches(batches, '`batches`');
  const probe = Array.isArray(model.weights)
    ? probeOfLayers(tf, model as LayersModelLike & Insides, live)
    : probeOfGraph(model as GraphModelLike);
  return inTurn(live, async () => collect(await measurableLayers(live, probe), probe, askedFor(live, batches), rest));
}

/** A use of a layer. */
interface InboundNode {
  readonly inputTensors: readonly SymbolicTensorLike[];
}

/** What a use of a layer gives. */
interface SymbolicTensorLike {
  readonly id: number;
  readonly sourceLayer: { readonly inboundNodes: readonly InboundNode[] };
  readonly nodeIndex: number;
}

/** What is used of the layers of a `tf.LayersModel`. */
interface Insides {
  readonly inputs: readonly SymbolicTensorLike[];
  readonly outputs: readonly SymbolicTensorLike[];
  readonly layers: readonly (LayerLike & { readonly inboundNodes: readonly InboundNode[] })[];
}

/** The uses of layers that lead to a model's outputs: a layer may be used in other models, too. */
function nodesOf({ outputs }: Insides): ReadonlySet<InboundNode> {
  const nodes = new Set<InboundNode>();
  const tensors = [...outputs];
  for (const { sourceLayer, nodeIndex } of tensors) {
    const node = sourceLayer.inboundNodes[nodeIndex];
    if (node === undefined || nodes.has(node)) continue;
    nodes.add(node);
    for (const tensor of node.inputTensors) tensors.push(tensor);
  }
  return nodes;
}

const unknownGeometry = 'it is not known how it goes over its input';

/** A look inside a `tf.LayersModel`. Its values are symbolic tensors, by their ids. */
function probeOfLayers(tf: CalibrationTf, model: Insides, live: LiveModel): Probe<unknown> {
  const nodes = nodesOf(model);
  const tensors = new Map<string, SymbolicTensorLike>();
  const named = new Map<string, Insides['layers'][number][]>();
  for (const layer of model.layers) addTo(named, layer.name, layer);
  return {
    usesOf: ({ name, kind, values, geometry }) => {
      if (kind === 'embedding') return 'it looks up rows, and has no input activations';
      const variable = live.placeOf(values).tensor();
      // A model may have a layer of the same name, which a layer inside of another model is not.
      const layer = named
        .get(name)
        ?.find((each) => !each.layers && each.weights.some((weight) => variableOf(weight) === variable));
      if (layer === undefined) return 'its input lies inside another layer or model';
      if (geometry === undefined) return unknownGeometry;
      return layer.inboundNodes
        .filter((node) => nodes.has(node))
        .map(({ inputTensors: [input] }) => {
          tensors.set(String(input!.id), input!);
          return { value: String(input!.id), geometry };
        });
    },
    open: async (values) => {
      const outputs = values.map((value) => tensors.get(value)!);
      const inside = tf.model({ inputs: model.inputs as never, outputs: outputs as never });
      return opened((batch) => inside.predictOnBatch(batch as never), values);
    },
  };
}

/** What is used of a `tf.GraphModel` to look inside. */
type Executable = GraphModelLike & {
  readonly artifacts: { readonly modelTopology: Readonly<Record<string, unknown>> };
  execute(inputs: never, outputs: readonly string[]): unknown;
};

/** A look inside a `tf.GraphModel`. Its values are outputs of nodes. */
function probeOfGraph(model: GraphModelLike): Probe<unknown> {
  const { artifacts } = model as Executable;
  const incoming = incomingNodes(artifacts.modelTopology, entriesOf(model));
  /** How many axes are read as one, by the names of such values: those up to an axis that counts from the end. */
  const joins = new Map<string, { readonly value: string; readonly axis: number; readonly joined: number }>();
  return {
    usesOf: ({ name, kind, aliases, geometry, onlyWeight }) => {
      if (kind === 'embedding') return 'it looks up rows, and has no input activations';
      if (onlyWeight !== undefined) return onlyWeight;
      if (geometry === undefined) return unknownGeometry;
      const uses: Use[] = [];
      for (const node of [name, ...aliases]) {
        const each = incoming.get(node);
        if (each === undefined) return 'its input is not an activation of the graph itself';
        const { value, geometry: own, joined } = each;
        const key = joined > 1 ? `${value} ${own.channelAxis} ${joined}` : value;
        joins.set(key, { value, axis: own.channelAxis, joined });
        uses.push({ value: key, geometry: own });
      }
      return uses;
    },
    open: async (values) => {
      const names = [...new Set(values.map((key) => joins.get(key)!.value))];
      const open = opened((batch) => (model as Executable).execute(batch as never, names), names);
      return {
        ...open,
        run: async (batch) => {
          const { get, release } = await open.run(batch);
          const joinedOf = (key: string) => {
            const { value, axis, joined } = joins.get(key)!;
            const found = get(value);
            return found && { ...found, shape: withJoined(found.shape, axis, joined) };
          };
          return { get: joinedOf, release };
        },
      };
    },
  };
}

/** A shape in which some adjacent axes are one. */
function withJoined(shape: readonly number[], last: number, count: number): readonly number[] {
  const end = shape.length + last + 1;
  return count === 1
    ? shape
    : [...shape.slice(0, end - count), productOf(shape.slice(end - count, end)), ...shape.slice(end)];
}

/** @param compute returns the values of a batch, in this order */
function opened(compute: (batch: unknown) => unknown, values: readonly string[]): OpenProbe<unknown> {
  return {
    run: async (batch) => activationsOf([compute(batch)].flat() as TensorLike[], values, batch),
    release: () => undefined,
  };
}

function activationsOf(results: readonly TensorLike[], values: readonly string[], batch: unknown): Activations {
  const tensors = new Map(values.map((value, index) => [value, results[index]]));
  return {
    get: (value) => {
      const tensor = tensors.get(value);
      if (tensor === undefined) return undefined;
      const { shape, dtype } = tensor;
      const numbers = () => (dtype === 'float32' ? (tensor.data() as Promise<Float32Array>) : undefined);
      return { shape, type: dtype, numbers };
    },
    release: () => {
      // An input of the model may come out as the caller's own tensor, and a value twice.
      const own = new Set<unknown>([batch, ...Object.values(batch ?? {})]);
      for (const result of new Set(results)) if (!own.has(result)) result.dispose();
    },
  };
}
