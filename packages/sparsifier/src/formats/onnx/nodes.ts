import { knownShape, unknownSize, type Shape, type Size } from './shapes.js';
import { listOf, type Tensor } from './tensor.js';
import {
  fields,
  integer,
  integers,
  text,
  WireType,
  type Field,
  type Message,
  type ModelFile,
  type Range,
} from './wire.js';

/** A node as stored in the file, with names instead of values. */
export interface NodeFields {
  /** Its message in the file. */
  readonly field: Field;
  op: string;
  name: string;
  domain: string;
  overload: string;
  readonly inputs: string[];
  readonly outputs: string[];
  readonly attributes: Map<string, Attribute>;
}

/** The value of an attribute: those of its fields that are set. */
export interface Attribute {
  integer: number | undefined;
  float: number | undefined;
  text: string | undefined;
  readonly integers: number[];
  readonly floats: number[];
  readonly texts: string[];
  readonly tensors: Range[];
  readonly sparse: Range[];
  readonly graphs: Range[];
  /** The attribute of the local function around it that gives the value. */
  reference: string | undefined;
}

/** A local function: nodes that stand for a node with its domain and name. */
export interface FunctionFields {
  readonly inputs: string[];
  readonly outputs: string[];
  readonly nodes: NodeFields[];
  /** How much each call amounts to: nodes, inputs, outputs and attributes. */
  size: number;
  /** Attributes of calls that do not give them. */
  readonly defaults: Map<string, Attribute>;
}

/** A domain in the one of its two spellings that nodes use. */
const plainDomain = (domain: string): string => (isStandard(domain) ? '' : domain);

export function isStandard(domain: string): boolean {
  return domain === '' || domain === 'ai.onnx';
}

/** What a node and the local function that it calls have in common. */
export const functionKey = ({ domain, op, overload }: Pick<NodeFields, 'domain' | 'op' | 'overload'>): string =>
  [plainDomain(domain), op, overload].join(':');

function readNode(file: ModelFile, field: Field): NodeFields {
  const node: NodeFields = {
    field,
    op: '',
    name: '',
    domain: '',
    overload: '',
    inputs: [],
    outputs: [],
    attributes: new Map(),
  };
  for (const part of fields(file, field, 'node')) {
    if (part.type !== WireType.LengthDelimited) continue;
    if (part.number === 1) node.inputs.push(text(file, part));
    else if (part.number === 2) node.outputs.push(text(file, part));
    else if (part.number === 3) node.name = text(file, part);
    else if (part.number === 4) node.op = text(file, part);
    else if (part.number === 5) readAttribute(file, part, node.attributes);
    else if (part.number === 7) node.domain = text(file, part);
    else if (part.number === 8) node.overload = text(file, part);
  }
  return node;
}

/** Reads a `FunctionProto`. Returns it with its {@link functionKey}. */
export function readFunction(file: ModelFile, range: Range): [key: string, FunctionFields] {
  const name = { op: '', domain: '', overload: '' };
  const found: FunctionFields = { inputs: [], outputs: [], nodes: [], size: 0, defaults: new Map() };
  for (const field of fields(file, range, 'function')) {
    if (field.type !== WireType.LengthDelimited) continue;
    if (field.number === 1) name.op = text(file, field);
    else if (field.number === 4) found.inputs.push(text(file, field));
    else if (field.number === 5) found.outputs.push(text(file, field));
    else if (field.number === 7) found.nodes.push(readNode(file, field));
    else if (field.number === 10) name.domain = text(file, field);
    else if (field.number === 11) readAttribute(file, field, found.defaults);
    else if (field.number === 13) name.overload = text(file, field);
  }
  const { inputs, outputs, nodes, defaults } = found;
  found.size = inputs.length + outputs.length + defaults.size + sizeOf(nodes);
  return [functionKey(name), found];
}

/** How much nodes amount to: they themselves, their inputs, outputs and attributes. */
export function sizeOf(nodes: readonly NodeFields[]): number {
  let size = nodes.length;
  for (const { inputs, outputs, attributes } of nodes) size += inputs.length + outputs.length + attributes.size;
  return size;
}

/** A `GraphProto` as it is stored. */
export interface GraphFields {
  readonly nodes: NodeFields[];
  readonly initializers: Field[];
  readonly sparse: Field[];
  readonly inputs: string[];
  readonly outputs: string[];
  readonly shapes: Map<string, Shape>;
}

export function readGraphFields(file: ModelFile, range: Range): GraphFields {
  const found: GraphFields = { nodes: [], initializers: [], sparse: [], inputs: [], outputs: [], shapes: new Map() };
  const { nodes, initializers, sparse, inputs, outputs, shapes } = found;
  for (const field of fields(file, range, 'graph')) {
    if (field.type !== WireType.LengthDelimited) continue;
    if (field.number === 1) nodes.push(readNode(file, field));
    else if (field.number === 5) initializers.push(field);
    else if (field.number === 15) sparse.push(field);
    else if (field.number === 11) inputs.push(readValueInfo(file, field, shapes));
    else if (field.number === 12) outputs.push(readValueInfo(file, field, shapes));
    else if (field.number === 13) readValueInfo(file, field, shapes);
  }
  return found;
}

function readAttribute(file: ModelFile, range: Range, attributes: Map<string, Attribute>): void {
  let name = '';
  const attribute: Attribute = {
    integer: undefined,
    float: undefined,
    text: undefined,
    integers: [],
    floats: [],
    texts: [],
    tensors: [],
    sparse: [],
    graphs: [],
    reference: undefined,
  };
  for (const field of fields(file, range, 'attribute')) {
    const isBytes = field.type === WireType.LengthDelimited;
    const isInteger = field.type === WireType.Varint;
    if (field.number === 1 && isBytes) name = text(file, field);
    else if (field.number === 2 && field.type === WireType.Bit32) attribute.float = float(file, field.start);
    else if (field.number === 3 && isInteger) attribute.integer = integer(file, field, 'attribute');
    else if (field.number === 4 && isBytes) attribute.text = text(file, field);
    else if (field.number === 5 && isBytes) attribute.tensors[0] = field;
    else if (field.number === 10 && isBytes) attribute.tensors.push(field);
    else if (field.number === 9 && isBytes) attribute.texts.push(text(file, field));
    else if ((field.number === 6 || field.number === 11) && isBytes) attribute.graphs.push(field);
    else if (field.number === 21 && isBytes) attribute.reference = text(file, field);
    else if ((field.number === 22 || field.number === 23) && isBytes) attribute.sparse.push(field);
    else if (field.number === 8 && (isBytes || isInteger)) {
      for (const number of integers(file, field, 'attribute')) attribute.integers.push(number);
    } else if (field.number === 7 && (isBytes || field.type === WireType.Bit32)) {
      for (let at = field.start; at + 4 <= field.end; at += 4) attribute.floats.push(float(file, at));
    }
  }
  attributes.set(name, attribute);
}

function float({ bytes }: ModelFile, start: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset + start, 4).getFloat32(0, true);
}

/** Returns the name of a declared value. Stores its shape in `shapes` if it has one. */
function readValueInfo(file: ModelFile, range: Range, shapes: Map<string, Shape>): string {
  let name = '';
  let shape: Shape | undefined;
  for (const field of fields(file, range, 'valueInfo')) {
    if (field.type !== WireType.LengthDelimited) continue;
    if (field.number === 1) name = text(file, field);
    else if (field.number === 2) shape = statedShape(file, field);
  }
  if (shape !== undefined) shapes.set(name, shape);
  return name;
}

function statedShape(file: ModelFile, type: Range): Shape | undefined {
  const tensorType = last(file, type, 'type', 1);
  const shape = tensorType && last(file, tensorType, 'tensorType', 2);
  if (shape === undefined) return undefined;
  const sizes: Size[] = [];
  for (const axis of fields(file, shape, 'shape')) if (axis.number === 1) sizes.push(statedSize(file, axis));
  return knownShape(sizes);
}

/** Axes with a name are of unknown size, since runtimes do not check that the same name means the same size. */
function statedSize(file: ModelFile, axis: Range): Size {
  let size: number | undefined;
  let name: string | undefined;
  for (const field of fields(file, axis, 'axis')) {
    if (field.number === 1 && field.type === WireType.Varint) size = integer(file, field, 'axis');
    if (field.number === 2 && field.type === WireType.LengthDelimited) name = text(file, field);
  }
  return size !== undefined && size >= 0 ? size : unknownSize(name);
}

/** The last field with this number, which is the one that is valid in protobuf. */
function last(file: ModelFile, range: Range, message: Message, number: number): Field | undefined {
  let found: Field | undefined;
  for (const field of fields(file, range, message)) {
    if (field.number === number && field.type === WireType.LengthDelimited) found = field;
  }
  return found;
}

/** The number or list of numbers in an attribute of a `Constant`. */
export function listIn(key: string, { integer, integers, float, floats }: Attribute): Tensor | undefined {
  if (key === 'value_ints') return listOf({ integers }, false);
  if (key === 'value_floats') return listOf({ floats }, false);
  if (key === 'value_int' && integer !== undefined) return listOf({ integers: [integer] }, true);
  return key === 'value_float' && float !== undefined ? listOf({ floats: [float] }, true) : undefined;
}
