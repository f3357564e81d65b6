import { SparsifyError } from '../../errors.js';
import { rankAfter } from './ranks.js';
import { readTensor, type Tensor } from './tensor.js';
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

/** A node of the graph or of a subgraph. */
export interface Node {
  /** Prefixed with its domain unless that is ONNX's own. */
  readonly op: string;
  /** Empty if the file does not name it. */
  readonly name: string;
  readonly inputs: readonly (Value | undefined)[];
  readonly outputs: readonly Value[];
  readonly attributes: ReadonlyMap<string, Attribute>;
}

/** The value of an attribute, of the types that matter here. */
interface Attribute {
  integer: number | undefined;
  readonly integers: number[];
  tensor: Range | undefined;
  readonly graphs: Range[];
}

/** A named value of the graph: the output of a node, an input of the model, or a constant. */
export interface Value {
  readonly name: string;
  /** The number of axes, if the file says so or it follows from the node that computes the value. */
  rank: number | undefined;
  /** The node that computes it, if any. Nodes that only pass on their input are skipped. */
  producer: Node | undefined;
  /** Whether it is known before the model runs. */
  isConstant: boolean;
  /** The stored constant that it is equal to, possibly with permuted axes. */
  view: View | undefined;
  readonly readers: Reader[];
  /** An output of the model or of a subgraph. */
  isOutput: boolean;
}

/** An input of a node. */
export interface Reader {
  readonly node: Node;
  readonly input: number;
}

/** A stored constant as seen through `Identity` and `Transpose` nodes. */
export interface View {
  readonly constant: Constant;
  /** For each axis of the view, the stored axis. */
  readonly axes: readonly number[];
}

/** The shape of a view. */
export function shapeOf({ constant, axes }: View): number[] {
  return axes.map((axis) => constant.tensor.shape[axis]!);
}

/** A constant that is stored in the model, and the inputs of nodes that use it. */
export interface Constant {
  readonly name: string;
  readonly tensor: Tensor;
  readonly uses: Use[];
  /** An output of the model or of a subgraph. */
  isOutput: boolean;
  /** Another constant that shares some of its bytes. */
  overlaps: Constant | undefined;
}

/** An input that reads a constant, with the stored axis of each of its axes. */
export interface Use extends Reader {
  readonly axes: readonly number[];
}

/** The first version of the operators in which `Add` aligns shapes from the right. */
const firstOpset = 7;

/**
 * Reads all nodes of a model file, with their values and constants. The nodes of a subgraph follow the node that
 * contains it.
 * @throws SparsifyError `format` if the file is not a complete ONNX model
 */
export function readGraph(file: ModelFile): Node[] {
  let graph: Range | undefined;
  for (const field of fields(file, { start: 0, end: file.bytes.length }, 'model')) {
    if (field.type !== WireType.LengthDelimited) continue;
    if (field.number === 7) graph = field;
    else if (field.number === 8) checkOpset(file, field);
  }
  if (graph === undefined) {
    throw new SparsifyError('format', 'the file has no graph', {
      subject: file.name,
      hint: 'It is not an ONNX model. Export the model to ONNX first',
    });
  }
  const reading: Reading = { file, nodes: [], constants: [] };
  linkGraph(reading, graph, undefined);
  markOverlaps(reading.constants);
  return reading.nodes;
}

function checkOpset(file: ModelFile, range: Range): void {
  let domain = '';
  let version = firstOpset;
  for (const field of fields(file, range, 'opset')) {
    if (field.number === 1 && field.type === WireType.LengthDelimited) domain = text(file, field);
    else if (field.number === 2 && field.type === WireType.Varint) version = integer(file, field, 'opset');
  }
  if (isStandard(domain) && version < firstOpset) {
    throw new SparsifyError('format', `the operators are older than opset ${firstOpset}`, {
      subject: file.name,
      found: `opset ${version}`,
      hint: 'Convert the model with onnx.version_converter',
    });
  }
}

function isStandard(domain: string): boolean {
  return domain === '' || domain === 'ai.onnx';
}

/** The state of reading the graph and its subgraphs. */
interface Reading {
  readonly file: ModelFile;
  readonly nodes: Node[];
  readonly constants: Constant[];
}

/** The values of a graph by name. A subgraph also sees those of the graphs that contain it. */
class Scope {
  readonly #values = new Map<string, Value>();

  constructor(
    readonly outer: Scope | undefined,
    readonly ranks: ReadonlyMap<string, number>,
  ) {}

  declare(name: string): Value {
    const known = this.#values.get(name);
    if (known !== undefined) return known;
    const value: Value = {
      name,
      rank: this.ranks.get(name),
      producer: undefined,
      isConstant: false,
      view: undefined,
      readers: [],
      isOutput: false,
    };
    this.#values.set(name, value);
    return value;
  }

  find(name: string): Value {
    for (let scope: Scope | undefined = this; scope !== undefined; scope = scope.outer) {
      const value = scope.#values.get(name);
      if (value !== undefined) return value;
    }
    return this.declare(name);
  }
}

/** A node as stored in the file, with names instead of values. */
interface NodeFields {
  op: string;
  name: string;
  domain: string;
  readonly inputs: string[];
  readonly outputs: string[];
  readonly attributes: Map<string, Attribute>;
}

function linkGraph(reading: Reading, range: Range, outer: Scope | undefined): void {
  const { file } = reading;
  const nodes: NodeFields[] = [];
  const initializers: Field[] = [];
  const sparse: Field[] = [];
  const inputs: string[] = [];
  const outputs: string[] = [];
  const ranks = new Map<string, number>();
  for (const field of fields(file, range, 'graph')) {
    if (field.type !== WireType.LengthDelimited) continue;
    if (field.number === 1) nodes.push(readNode(file, field));
    else if (field.number === 5) initializers.push(field);
    else if (field.number === 15) sparse.push(field);
    else if (field.number === 11) inputs.push(readValueInfo(file, field, ranks));
    else if (field.number === 12) outputs.push(readValueInfo(file, field, ranks));
    else if (field.number === 13) readValueInfo(file, field, ranks);
  }

  const scope = new Scope(outer, ranks);
  for (const name of inputs) scope.declare(name);
  for (const node of nodes) for (const name of node.outputs) scope.declare(name);
  for (const field of initializers) {
    const tensor = readTensor(file, field);
    store(reading, scope.declare(tensor.name), tensor);
  }
  for (const field of sparse) scope.declare(sparseName(file, field)).isConstant = true;

  // A graph lists its nodes in the order in which they run, so constants come before the nodes that read them.
  for (const node of nodes) linkNode(reading, scope, node);
  for (const name of outputs) {
    const value = scope.find(name);
    value.isOutput = true;
    if (value.view !== undefined) value.view.constant.isOutput = true;
  }
}

function store(reading: Reading, value: Value, tensor: Tensor): void {
  const constant: Constant = { name: value.name, tensor, uses: [], isOutput: false, overlaps: undefined };
  reading.constants.push(constant);
  value.isConstant = true;
  value.rank ??= tensor.shape.length;
  value.view = { constant, axes: tensor.shape.map((_, axis) => axis) };
}

function linkNode(reading: Reading, scope: Scope, { op, name, domain, inputs, outputs, attributes }: NodeFields): void {
  const node: Node = {
    op: isStandard(domain) ? op : `${domain}.${op}`,
    name,
    inputs: inputs.map((input) => (input === '' ? undefined : scope.find(input))),
    outputs: outputs.map((output) => scope.declare(output)),
    attributes,
  };
  reading.nodes.push(node);
  const passesOn = node.op === 'Identity' || node.op === 'Transpose';
  for (const output of node.outputs) output.producer = passesOn ? node.inputs[0]?.producer : node;
  node.inputs.forEach((value, input) => value?.readers.push({ node, input }));

  const subgraphs = [...attributes.values()].flatMap(({ graphs }) => graphs);
  for (const subgraph of subgraphs) linkGraph(reading, subgraph, scope);

  const [output] = node.outputs;
  if (output !== undefined) output.rank ??= rankAfter(node);
  if (node.op === 'Constant' && output !== undefined) {
    output.isConstant = true;
    const stored = attributes.get('value')?.tensor;
    if (stored !== undefined) store(reading, output, readTensor(reading.file, stored));
    return;
  }
  const view = viewThrough(node);
  if (view !== undefined && output !== undefined) output.view = view;
  else recordUses(node);
  const isConstant =
    subgraphs.length === 0 && node.inputs.length > 0 && node.inputs.every((value) => value?.isConstant ?? true);
  if (isConstant) for (const value of node.outputs) value.isConstant = true;
}

/** The stored constant that an `Identity` or `Transpose` node passes on. */
function viewThrough({ op, inputs, attributes }: Node): View | undefined {
  const view = inputs[0]?.view;
  if (op === 'Identity') return view;
  if (op !== 'Transpose' || view === undefined) return undefined;
  const order = attributes.get('perm')?.integers ?? view.axes.map((_, axis) => view.axes.length - 1 - axis);
  const isPermutation = order.length === view.axes.length && view.axes.every((_, axis) => order.includes(axis));
  return isPermutation ? { constant: view.constant, axes: order.map((axis) => view.axes[axis]!) } : undefined;
}

function recordUses(node: Node): void {
  node.inputs.forEach((value, input) => {
    value?.view?.constant.uses.push({ node, input, axes: value.view.axes });
  });
}

/** Marks constants that share bytes of a file, where a change of one would change the other. */
function markOverlaps(constants: readonly Constant[]): void {
  const placed = constants.flatMap((constant) => {
    const { values } = constant.tensor;
    return values ? [{ constant, file: values.file, start: values.start, end: values.start + values.bytes }] : [];
  });
  placed.sort((a, b) => (a.file === b.file ? a.start - b.start : a.file < b.file ? -1 : 1));
  let last = placed[0];
  for (const next of placed.slice(1)) {
    if (next.file === last!.file && next.start < last!.end && next.start < next.end) {
      next.constant.overlaps = last!.constant;
      last!.constant.overlaps = next.constant;
    }
    if (next.file !== last!.file || next.end > last!.end) last = next;
  }
}

function readNode(file: ModelFile, range: Range): NodeFields {
  const node: NodeFields = { op: '', name: '', domain: '', inputs: [], outputs: [], attributes: new Map() };
  for (const field of fields(file, range, 'node')) {
    if (field.type !== WireType.LengthDelimited) continue;
    if (field.number === 1) node.inputs.push(text(file, field));
    else if (field.number === 2) node.outputs.push(text(file, field));
    else if (field.number === 3) node.name = text(file, field);
    else if (field.number === 4) node.op = text(file, field);
    else if (field.number === 5) readAttribute(file, field, node.attributes);
    else if (field.number === 7) node.domain = text(file, field);
  }
  return node;
}

function readAttribute(file: ModelFile, range: Range, attributes: Map<string, Attribute>): void {
  let name = '';
  const attribute: Attribute = { integer: undefined, integers: [], tensor: undefined, graphs: [] };
  for (const field of fields(file, range, 'attribute')) {
    const isBytes = field.type === WireType.LengthDelimited;
    const isInteger = field.type === WireType.Varint;
    if (field.number === 1 && isBytes) name = text(file, field);
    else if (field.number === 3 && isInteger) attribute.integer = integer(file, field, 'attribute');
    else if (field.number === 5 && isBytes) attribute.tensor = field;
    else if ((field.number === 6 || field.number === 11) && isBytes) attribute.graphs.push(field);
    else if (field.number === 8 && (isBytes || isInteger)) {
      for (const number of integers(file, field, 'attribute')) attribute.integers.push(number);
    }
  }
  attributes.set(name, attribute);
}

/** Returns the name of a declared value. Stores its rank in `ranks` if it has a shape. */
function readValueInfo(file: ModelFile, range: Range, ranks: Map<string, number>): string {
  let name = '';
  let rank: number | undefined;
  for (const field of fields(file, range, 'valueInfo')) {
    if (field.type !== WireType.LengthDelimited) continue;
    if (field.number === 1) name = text(file, field);
    else if (field.number === 2) rank = rankOf(file, field);
  }
  if (rank !== undefined) ranks.set(name, rank);
  return name;
}

function rankOf(file: ModelFile, type: Range): number | undefined {
  const tensorType = last(file, type, 'type', 1);
  const shape = tensorType && last(file, tensorType, 'tensorType', 2);
  if (shape === undefined) return undefined;
  let rank = 0;
  for (const field of fields(file, shape, 'shape')) if (field.number === 1) rank++;
  return rank;
}

function sparseName(file: ModelFile, range: Range): string {
  const values = last(file, range, 'sparseTensor', 1);
  const name = values && last(file, values, 'tensor', 8);
  return name ? text(file, name) : '';
}

/** The last field with this number, which is the one that is valid in protobuf. */
function last(file: ModelFile, range: Range, message: Message, number: number): Field | undefined {
  let found: Field | undefined;
  for (const field of fields(file, range, message)) {
    if (field.number === number && field.type === WireType.LengthDelimited) found = field;
  }
  return found;
}
