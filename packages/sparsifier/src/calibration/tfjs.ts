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
import type { Model } from '../model/model.js';
import { Norms, type Batches, type Calibration } from './norms.js';

/** What is used of TensorFlow.js to look inside models. */
export interface CalibrationTf extends TfLike {
  model(parts: { inputs: never; outputs: never }): { predictOnBatch(batch: never): unknown };
}

/** A use of a layer. */
interface InboundNode {
  readonly inputTensors: readonly SymbolicTensorLike[];
}

/** What a use of a layer gives. */
interface SymbolicTensorLike {
  readonly sourceLayer: { readonly inboundNodes: readonly InboundNode[] };
  readonly nodeIndex: number;
}

/** What is used of the layers of a `tf.LayersModel`. */
interface Insides {
  readonly inputs: readonly SymbolicTensorLike[];
  readonly outputs: readonly SymbolicTensorLike[];
  readonly layers: readonly (LayerLike & {
    getConfig(): Readonly<Record<string, unknown>>;
    readonly inboundNodes: readonly InboundNode[];
  })[];
}

/** The uses of layers that lead to a model's outputs: a layer may be used in other models, too. */
function nodesOf({ outputs }: Insides): ReadonlySet<InboundNode> {
  const nodes = new Set<InboundNode>();
  const tensors = [...outputs];
  for (const { sourceLayer, nodeIndex } of tensors) {
    const node = sourceLayer.inboundNodes[nodeIndex];
    if (node === undefined || nodes.has(node)) continue;
    nodes.add(node);
    tensors.push(...node.inputTensors);
  }
  return nodes;
}

/**
 * The norms of the inputs of each layer of a TensorFlow.js model in use, as `activationsOfOnnx` gives them.
 * @param batches what `predict` or `execute` of the model takes; they are not disposed
 * @throws SparsifyError as `fromTfjs`; `criteria` if there is no batch or an activation is not finite
 */
export async function activationsOfTfjs(
  tf: CalibrationTf,
  model: LayersModelLike | GraphModelLike,
  batches: Batches<unknown>,
): Promise<Calibration> {
  const live = fromTfjs(tf, model);
  const probe = Array.isArray(model.weights)
    ? probeLayers(tf, model as LayersModelLike & Insides, live)
    : probeGraph(model as GraphModelLike, live);
  const norms = new Norms(live, probe.reason);
  for await (const batch of batches) {
    norms.count();
    for (const [name, axis, tensor] of probe.run(batch, norms.names)) {
      try {
        norms.add(name, tensor.shape, (await tensor.data()) as Float32Array, axis);
      } finally {
        tensor.dispose();
      }
    }
  }
  return norms.result();
}

interface Probe {
  /** Why a layer's activations are not available. */
  readonly reason: (name: string) => string | undefined;
  readonly run: (batch: unknown, names: readonly string[]) => Iterable<readonly [string, number, TensorLike]>;
}

function probeLayers(tf: CalibrationTf, model: Insides, live: LiveModel): Probe {
  const tensorOf = (name: string) => live.tensors.find((tensor) => tensor.name === name)!;
  // A model may hold a layer of the same name, which a layer inside of another model is not.
  const layerOf = (name: string) => {
    const variable = live.placeOf(tensorOf(name).values).tensor();
    return model.layers.find(
      (layer) =>
        layer.name === name && !layer.layers && layer.weights.some((weight) => variableOf(weight) === variable),
    );
  };
  const nodes = nodesOf(model);
  const inputsOf = (name: string) =>
    layerOf(name)!
      .inboundNodes.filter((node) => nodes.has(node))
      .flatMap(({ inputTensors }) => inputTensors.slice(0, 1));
  const axisOf = (name: string) => (layerOf(name)!.getConfig().dataFormat === 'channelsFirst' ? 1 : -1);
  return {
    reason: (name) => {
      if (tensorOf(name).kind === 'embedding') return 'it looks up rows, and has no input activations';
      return layerOf(name) ? undefined : 'its input lies inside another layer or model';
    },
    *run(batch, names) {
      const wanted = names.flatMap((name) => inputsOf(name).map((tensor) => ({ name, tensor })));
      const outputs = wanted.map(({ tensor }) => tensor);
      const inside = tf.model({ inputs: model.inputs as never, outputs: outputs as never });
      const results = [inside.predictOnBatch(batch as never)].flat() as TensorLike[];
      for (const [index, { name }] of wanted.entries()) {
        // An input of the model comes out as the caller's own tensor.
        const result = results[index]!;
        yield [name, axisOf(name), result.clone()];
        if (![batch].flat().includes(result) && results.indexOf(result, index + 1) < 0) result.dispose();
      }
    },
  };
}

function probeGraph(model: GraphModelLike, live: Model): Probe {
  const { artifacts, execute } = model as GraphModelLike & {
    readonly artifacts: { readonly modelTopology: Readonly<Record<string, unknown>> };
    execute(inputs: never, names: string[]): unknown;
  };
  const incoming = incomingNodes(artifacts.modelTopology, entriesOf(model));
  const nodesOf = (name: string) => {
    const tensor = live.tensors.find((each) => each.name === name)!;
    return [name, ...tensor.aliases].flatMap((node) => incoming.get(node) ?? []);
  };
  return {
    reason: (name) => (nodesOf(name).length > 0 ? undefined : 'its input is not an activation'),
    *run(batch, names) {
      const wanted = names.flatMap((name) => nodesOf(name).map((node) => ({ name, ...node })));
      const nodes = wanted.map(({ value }) => value);
      const results = [execute.call(model, batch as never, nodes)].flat() as TensorLike[];
      for (const [index, { name, geometry }] of wanted.entries()) {
        const result = results[index]!;
        yield [name, geometry.channelAxis, result.clone()];
        if (![batch].flat().includes(result) && results.indexOf(result, index + 1) < 0) result.dispose();
      }
    },
  };
}
