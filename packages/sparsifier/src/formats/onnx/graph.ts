import { SparsifyError } from '../../errors.js';
import type { StoredValues } from '../format.js';
import { markCodes } from './counting.js';
import { Inlined } from './inlined.js';
import {
  functionKey,
  isStandard,
  listIn,
  readFunction,
  readGraphFields,
  sizeOf,
  type Attribute,
  type FunctionFields,
  type GraphFields,
  type NodeFields,
} from './nodes.js';
import { markOverlaps } from './overlaps.js';
import { knownShape, merged, shapesAfter, type Shape } from './shapes.js';
import { readSparseTensor, readTensor, type Tensor } from './tensor.js';
import { checkOpset } from './versions.js';
import { passedOn, wholeView, type Passed, type View } from './views.js';
import { fields, WireType, type Field, type ModelFile, type Range } from './wire.js';

/** The nodes of a model in the order in which they run, and its constants. */
export interface Graph {
  /** Nodes of a subgraph follow the node that contains it. The body of a local function stands in place of each call. */
  readonly nodes: readonly Node[];
  /** In the order of the file's graphs, initializers before constants of nodes. */
  readonly constants: readonly Constant[];
  /** The inputs of the model. One that is also an initializer has that value unless the caller gives another. */
  readonly inputs: readonly Value[];
}

/** A node of the graph, of a subgraph or of a local function. */
export interface Node {
  /** Prefixed with its domain unless that is ONNX's own. */
  readonly op: string;
  /** Empty if the file does not name it. */
  readonly name: string;
  readonly inputs: readonly (Value | undefined)[];
  readonly outputs: readonly Value[];
  readonly attributes: ReadonlyMap<string, Attribute>;
  /** Its message in the file; undefined in a local function, whose body may stand for several nodes. */
  readonly field?: Field | undefined;
}

/** A named value of the graph: the output of a node, an input of the model, or a constant. */
export interface Value {
  readonly name: string;
  /** Whether it belongs to a subgraph or a local function, so that it cannot be an output of the model. */
  readonly isInner: boolean;
  /** The sizes of the axes, if the file states them or they follow from the node that computes the value. */
  shape: Shape | undefined;
  /** The number of axes, if known. */
  readonly rank: number | undefined;
  /** The node that computes it, if any. Nodes that only pass on their input are skipped. */
  producer: Node | undefined;
  /** Whether it is known before the model runs. */
  isConstant: boolean;
  /** The stored constant that it is equal to, possibly with permuted axes. */
  view: View | undefined;
  /** The stored constants that it is put together from by `Slice`, `Split` and `Concat`. */
  parts: readonly View[];
  readonly readers: Reader[];
  /** An output of the model or of a subgraph. */
  isOutput: boolean;
}

/** An input of a node; -1 for a tensor in one of its attributes. */
export interface Reader {
  readonly node: Node;
  readonly input: number;
}

/** A constant that is stored in the model, and the inputs of nodes that use it. */
export interface Constant {
  readonly name: string;
  /** Where it is in the file, which no other constant shares. */
  readonly place: number;
  /** Its message in the file: that of an initializer or of a `Constant`; undefined for others, and in local functions. */
  readonly holder: Field | undefined;
  readonly tensor: Tensor;
  /** Whether an operator decodes it or computes with its integers. */
  isCode: boolean;
  /** The shape of its weights, if each of its numbers holds several of them. */
  unpacked?: readonly number[] | undefined;
  /** The numbers that its codes stand for, or why they cannot be pruned: see `decodeConstants`. */
  decoded: StoredValues | string | undefined;
  /** The inputs that read it, in whatever arrangement. */
  readonly readers: Reader[];
  /** How many of them are scales or zero points of codes. */
  parameterReads: number;
  /** Those of them that compute with it instead of passing it on. */
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

/**
 * Reads all nodes of a model file, with their values and constants.
 * @throws SparsifyError `format` if the file is not a complete ONNX model
 */
export function readGraph(file: ModelFile): Graph {
  let graph: Range | undefined;
  const functions = new Map<string, FunctionFields>();
  for (const field of fields(file, { start: 0, end: file.bytes.length }, 'model')) {
    if (field.type !== WireType.LengthDelimited) continue;
    if (field.number === 7) graph = field;
    else if (field.number === 8) checkOpset(file, field);
    else if (field.number === 25) functions.set(...readFunction(file, field));
  }
  if (graph === undefined) {
    throw new SparsifyError('format', 'the file has no graph', {
      subject: file.name,
      hint: 'It is not an ONNX model. Export the model to ONNX first',
    });
  }
  const reading: Reading = {
    file,
    functions,
    nodes: [],
    constants: new Map(),
    inputs: [],
    bodies: new Map(),
    inlined: new Inlined(file.name),
  };
  linkGraph(reading, graph, undefined, 0);
  const constants = [...reading.constants.values()];
  markOverlaps(constants);
  markCodes(reading.nodes);
  return { nodes: reading.nodes, constants, inputs: reading.inputs };
}

/** The state of reading the graph, its subgraphs and local functions. */
interface Reading {
  readonly file: ModelFile;
  readonly functions: ReadonlyMap<string, FunctionFields>;
  readonly nodes: Node[];
  /** By their place in the file: the body of a local function is read for each of its calls. */
  readonly constants: Map<number, Constant>;
  readonly inputs: Value[];
  /** The subgraphs in local functions, by their place in the file. */
  readonly bodies: Map<number, GraphFields>;
  readonly inlined: Inlined;
}

/** The values of a graph by name. A subgraph also sees those of the graphs that contain it. */
class Scope {
  readonly #values = new Map<string, Value | undefined>();

  /**
   * @param attributes those of the call, in the body of a local function
   * @param depth how many calls of local functions contain it
   */
  constructor(
    readonly outer: Scope | undefined,
    readonly shapes: ReadonlyMap<string, Shape>,
    readonly attributes: ReadonlyMap<string, Attribute> | undefined,
    readonly depth: number,
  ) {}

  declare(name: string): Value {
    const known = this.#values.get(name);
    if (known !== undefined) return known;
    const value: Value = {
      name,
      isInner: this.outer !== undefined || this.depth > 0,
      shape: this.shapes.get(name),
      get rank() {
        return this.shape?.length;
      },
      producer: undefined,
      isConstant: false,
      view: undefined,
      parts: [],
      readers: [],
      isOutput: false,
    };
    this.#values.set(name, value);
    return value;
  }

  /** Gives a value of another scope a name in this one; undefined for an input that a call leaves out. */
  bind(name: string, value: Value | undefined): void {
    this.#values.set(name, value);
  }

  find(name: string): Value | undefined {
    if (name === '') return undefined;
    for (let scope: Scope | undefined = this; scope !== undefined; scope = scope.outer) {
      if (scope.#values.has(name)) return scope.#values.get(name);
    }
    return this.declare(name);
  }
}

/** The subgraph of a local function, which is read once for all calls. */
function bodyIn({ file, bodies }: Reading, range: Range): GraphFields {
  const body = bodies.get(range.start) ?? readGraphFields(file, range);
  bodies.set(range.start, body);
  return body;
}

function linkGraph(reading: Reading, range: Range, outer: Scope | undefined, depth: number): void {
  const { nodes, initializers, sparse, inputs, outputs, shapes } =
    depth > 0 ? bodyIn(reading, range) : readGraphFields(reading.file, range);
  if (depth > 0) {
    reading.inlined.add(depth, sizeOf(nodes) + initializers.length + sparse.length + inputs.length + outputs.length);
  }
  const scope = new Scope(outer, shapes, outer?.attributes, depth);
  const declared = inputs.map((name) => scope.declare(name));
  if (outer === undefined) reading.inputs.push(...declared);
  for (const node of nodes) for (const name of node.outputs) scope.declare(name);
  for (const field of initializers) storeInitializer(reading, scope, field, readTensor);
  for (const field of sparse) storeInitializer(reading, scope, field, readSparseTensor);

  linkNodes(reading, scope, nodes);
  for (const name of outputs) {
    const value = scope.find(name);
    if (value === undefined) continue;
    value.isOutput = true;
    if (value.view !== undefined) value.view.constant.isOutput = true;
    for (const { constant } of value.parts) constant.isOutput = true;
  }
}

function storeInitializer(reading: Reading, scope: Scope, field: Field, read: typeof readTensor): void {
  const constant = constantAt(reading, field, read, undefined, scope.depth > 0 ? undefined : field);
  store(scope.declare(constant.name), constant);
}

/**
 * The constant at a place in the file, which is read once.
 * @param name that of its tensor if undefined
 */
function constantAt(
  { file, constants }: Reading,
  range: Range,
  read: typeof readTensor,
  name: string | undefined,
  holder: Field | undefined,
): Constant {
  const known = constants.get(range.start);
  if (known !== undefined) return known;
  const tensor = read(file, range);
  const constant = newConstant(name ?? tensor.name, range.start, tensor, holder);
  constants.set(range.start, constant);
  return constant;
}

function newConstant(name: string, place: number, tensor: Tensor, holder?: Field): Constant {
  const nothing = { isCode: false, isOutput: false, decoded: undefined, overlaps: undefined };
  return { name, place, holder, tensor, readers: [], parameterReads: 0, uses: [], ...nothing };
}

function store(value: Value, constant: Constant): void {
  value.isConstant = true;
  value.shape ??= knownShape(constant.tensor.shape);
  value.view = wholeView(constant);
}

/** A graph lists its nodes in the order in which they run, so constants come before the nodes that read them. */
function linkNodes(reading: Reading, scope: Scope, nodes: readonly NodeFields[]): void {
  for (const node of nodes) {
    const called = reading.functions.get(functionKey(node));
    if (called === undefined) linkNode(reading, scope, node);
    else linkCall(reading, scope, node, called);
  }
}

/** The attributes of a node, where some of a local function are those of its call. */
function attributesOf({ attributes }: NodeFields, scope: Scope): Map<string, Attribute> {
  if (scope.attributes === undefined) return attributes;
  const resolved = new Map<string, Attribute>();
  for (const [name, attribute] of attributes) {
    const { reference } = attribute;
    const value = reference === undefined ? attribute : scope.attributes.get(reference);
    if (value !== undefined) resolved.set(name, value);
  }
  return resolved;
}

/** Links the body of a local function in place of a node that calls it. */
function linkCall(reading: Reading, scope: Scope, call: NodeFields, called: FunctionFields): void {
  const depth = scope.depth + 1;
  reading.inlined.add(depth, called.size);
  const attributes = new Map([...called.defaults, ...attributesOf(call, scope)]);
  const body = new Scope(undefined, new Map(), attributes, depth);
  const given = new Map(called.inputs.map((name, place) => [name, scope.find(call.inputs[place] ?? '')]));
  for (const [name, value] of given) body.bind(name, value);
  const outputs = called.outputs.flatMap((name, place) => {
    const outside = call.outputs[place] ?? '';
    return outside === '' ? [] : [{ name, value: scope.declare(outside) }];
  });
  for (const { name, value } of outputs) if (!given.has(name)) body.bind(name, value);
  for (const node of called.nodes) for (const name of node.outputs) if (!given.has(name)) body.declare(name);
  linkNodes(reading, body, called.nodes);
  for (const { name, value } of outputs) {
    const input = given.get(name);
    if (input === undefined) continue;
    const node: Node = { op: 'Identity', name: call.name, inputs: [input], outputs: [value], attributes: new Map() };
    linkValues(reading, node, false);
  }
}

function linkNode(reading: Reading, scope: Scope, fields: NodeFields): void {
  const { op, name, domain, inputs, outputs } = fields;
  const node: Node = {
    op: isStandard(domain) ? op : `${domain}.${op}`,
    name,
    inputs: inputs.map((input) => scope.find(input)),
    outputs: outputs.map((output) => scope.declare(output)),
    attributes: attributesOf(fields, scope),
    field: scope.depth > 0 ? undefined : fields.field,
  };
  const subgraphs = [...node.attributes.values()].flatMap(({ graphs }) => graphs);
  linkValues(reading, node, subgraphs.length > 0);
  for (const subgraph of subgraphs) linkGraph(reading, subgraph, scope, scope.depth);
  linkAttributes(reading, node);
}

function linkValues({ nodes }: Reading, node: Node, hasSubgraphs: boolean): void {
  nodes.push(node);
  const passesOn = node.op === 'Identity' || node.op === 'Transpose';
  for (const output of node.outputs) output.producer = passesOn ? node.inputs[0]?.producer : node;
  node.inputs.forEach((value, input) => value?.readers.push({ node, input }));
  for (const [index, shape] of shapesAfter(node).entries()) {
    const value = node.outputs[index];
    if (value !== undefined) value.shape = merged(value.shape, shape);
  }

  const passed = passedOn(node);
  if (passed !== undefined) {
    for (const value of node.outputs) [value.view, value.parts] = [passed.view, passed.parts];
  }
  recordUses(node, passed);
  const isConstant = !hasSubgraphs && node.inputs.length > 0 && node.inputs.every((value) => value?.isConstant ?? true);
  if (isConstant) for (const value of node.outputs) value.isConstant = true;
}

/** Notes who reads the constants. A node that passes on an input still uses the others. */
function recordUses(node: Node, passed: Passed | undefined): void {
  node.inputs.forEach((value, input) => {
    for (const { constant, axes } of value?.view ? [value.view] : (value?.parts ?? [])) {
      constant.readers.push({ node, input });
      if (!passed?.inputs.has(input)) constant.uses.push({ node, input, axes });
    }
  });
}

/** The tensors in the attributes of a node: the output of a `Constant`, or tables of other operators. */
function linkAttributes(reading: Reading, node: Node): void {
  const [output] = node.outputs;
  const isConstant = node.op === 'Constant' && output !== undefined;
  if (isConstant) output.isConstant = true;
  for (const [key, attribute] of node.attributes) {
    const ranges = [
      ...attribute.tensors.map((range) => ({ range, read: readTensor })),
      ...attribute.sparse.map((range) => ({ range, read: readSparseTensor })),
    ];
    for (const { range, read } of ranges) {
      const name = isConstant ? output.name : `${node.name || node.op}.${key}`;
      const holder = isConstant ? node.field : undefined;
      const constant = constantAt(reading, range, read, name, holder);
      if (isConstant) store(output, constant);
      else {
        constant.readers.push({ node, input: -1 });
        constant.uses.push({ node, input: -1, axes: [] });
      }
    }
    const list = listIn(key, attribute);
    if (isConstant && list !== undefined) {
      // Such a list is nowhere by itself, and needs no place.
      store(output, newConstant(output.name, -1, list));
    }
  }
}
