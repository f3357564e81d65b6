import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import type { Geometry } from '../../model/geometry.js';
import { incomingOf } from './geometry.js';
import { readGraph } from './graph.js';
import { findWeights, tieOf } from './layers.js';
import { fields, text, type Field, type ModelFile } from './wire.js';

/** A use of a weight. */
export interface Incoming {
  /** The name of the value of the graph that it is multiplied with. */
  readonly value: string;
  readonly geometry: Geometry;
}

/** All uses of each weight, by its first name. Empty for weights that are also multiplied with something else. */
export function incomingIn(file: ModelFile): Map<string, Incoming[]> {
  const found = new Map<string, Incoming[]>();
  for (const { names, layers, reason } of findWeights(readGraph(file))) {
    if (reason !== undefined || tieOf(layers) !== undefined) continue;
    const incoming = layers.flatMap((layer) => incomingOf(layer) ?? []);
    // Values of a subgraph or a local function cannot be outputs of the model.
    const isKnown = incoming.length === layers.length && incoming.every(({ value }) => !value.isInner);
    found.set(names[0]!, isKnown ? incoming.map(({ value, geometry }) => ({ value: value.name, geometry })) : []);
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
