import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import type { Geometry } from '../../model/geometry.js';
import { Edits, edited, textField } from './edits.js';
import { followOwnData } from './external.js';
import { incomingOf } from './geometry.js';
import { readGraph } from './graph.js';
import { findWeights, tieOf } from './layers.js';
import { fields, valueName, wholeFile, type Field, type ModelFile } from './wire.js';

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

/**
 * A copy of the model with these values as its outputs in place of its own, so that a runtime computes no more than they
 * need. Inputs of the model cannot be outputs. If all values are, the model stays as it is.
 */
export function withOutputs(file: ModelFile, names: readonly string[]): Uint8Array<ArrayBuffer> {
  const { graphs, inputs, outputs } = valuesOf(file);
  const given = new Set(inputs.map(({ name }) => name));
  const wanted = new Set(names.filter((name) => !given.has(name)));
  const edits = new Edits(file);
  if (wanted.size > 0) for (const { field, name } of outputs) if (!wanted.has(name)) edits.drop(field);
  for (const { name } of outputs) wanted.delete(name);
  const added = new BinaryWriter();
  for (const name of wanted) added.tag(12, WireType.LengthDelimited).bytes(textField(1, name));
  const graph = graphs.at(-1);
  if (graph) edits.insert(graph, graph.end, added.finish());
  followOwnData(edits);
  return edited(edits);
}

/** The names of a model's outputs. */
export const outputsIn = (file: ModelFile): string[] => valuesOf(file).outputs.map(({ name }) => name);

/** The graph of a model, and what it says about its inputs and outputs. */
function valuesOf(file: ModelFile) {
  const graphs = [...fields(file, wholeFile(file), 'model')].filter((field) => field.number === 7 && isMessage(field));
  const entries = graphs.flatMap((graph) => [...fields(file, graph, 'graph')]).filter(isMessage);
  const namesIn = (number: number) =>
    entries.filter((each) => each.number === number).map((field) => ({ field, name: valueName(file, field) }));
  return { graphs, inputs: namesIn(11), outputs: namesIn(12) };
}

const isMessage = ({ type }: Field): boolean => type === WireType.LengthDelimited;
