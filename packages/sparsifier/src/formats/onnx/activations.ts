import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { isRecurrent } from '../../model/channels.js';
import { readGraph, type Value } from './graph.js';
import { findWeights, tieOf, type Layer } from './layers.js';
import { fields, text, type Field, type ModelFile } from './wire.js';

/** The activations that a weight is multiplied with. */
export interface Incoming {
  /** The name of a value of the graph. */
  readonly value: string;
  /** The axis of its channels; negative axes count from the end. */
  readonly axis: number;
}

/** The activations of each weight, by its first name. Empty for weights that have none. */
export function activationsIn(file: ModelFile): Map<string, Incoming[]> {
  const found = new Map<string, Incoming[]>();
  for (const { names, layers, reason } of findWeights(readGraph(file))) {
    const incoming = layers.flatMap(incomingOf);
    // Values of a subgraph or a local function cannot be outputs of the model.
    const isOutside = incoming.every(({ value }) => !value.isInner);
    if (reason !== undefined || !isOutside || tieOf(layers) !== undefined) continue;
    found.set(
      names[0]!,
      incoming.map(({ value, axis }) => ({ value: value.name, axis })),
    );
  }
  return found;
}

/** The inputs and outputs of a model. */
function valuesIn(file: ModelFile) {
  const [given, outputs] = [new Set<string>(), new Set<string>()];
  const isMessage = ({ type }: Field) => type === WireType.LengthDelimited;
  const namesIn = (field: Field) =>
    [...fields(file, field, 'valueInfo')]
      .filter((each) => each.number === 1 && isMessage(each))
      .map((each) => text(file, each));
  for (const graph of fields(file, { start: 0, end: file.bytes.length }, 'model')) {
    if (graph.number !== 7 || !isMessage(graph)) continue;
    for (const field of fields(file, graph, 'graph')) {
      if (field.number === 11) namesIn(field).forEach((name) => given.add(name));
      if (field.number === 12) namesIn(field).forEach((name) => outputs.add(name));
    }
  }
  return { given, outputs };
}

function incomingOf({ node, input, view, layout: { kind, incoming } }: Layer): { value: Value; axis: number }[] {
  const at = (place: number, axis: number) => {
    const value = node.inputs[place];
    return value === undefined || value.isConstant ? [] : [{ value, axis }];
  };
  if (incoming !== undefined) return incoming.flatMap(({ input, axis }) => at(input, axis));
  const isTransposed = (key: string) => (node.attributes.get(key)?.integer ?? 0) !== 0;
  if (kind.startsWith('conv')) return at(0, 1);
  if (kind === 'dense' && input === 1) return at(0, isTransposed('transA') ? -2 : -1);
  if (kind === 'dense') return at(1, isTransposed('transB') ? -1 : -2);
  // The other weight of a recurrent layer is multiplied with its own hidden state.
  if (!isRecurrent(kind) || input !== 1) return [];
  // A part of a constant may have other inputs than the whole. The last axis of the weight counts them.
  return view.cut?.includes(view.axes.at(-1)!) ? [] : at(0, -1);
}

/**
 * A copy of the model with these values as additional outputs. Protobuf readers merge a message that occurs twice, so
 * the new outputs are appended to the file as a second, small graph message.
 */
export function withOutputs(file: ModelFile, names: readonly string[]): Uint8Array<ArrayBuffer> {
  const { given, outputs } = valuesIn(file);
  const graph = new BinaryWriter();
  for (const name of new Set(names)) {
    if (given.has(name) || outputs.has(name)) continue;
    graph.tag(12, WireType.LengthDelimited).fork().tag(1, WireType.LengthDelimited).string(name).join();
  }
  const part = new BinaryWriter().tag(7, WireType.LengthDelimited).bytes(graph.finish()).finish();
  const whole = new Uint8Array(file.bytes.length + part.length);
  whole.set(file.bytes);
  whole.set(part, file.bytes.length);
  return whole;
}
