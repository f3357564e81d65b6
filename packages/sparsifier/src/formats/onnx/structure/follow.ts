import { productOf, sumOf } from '../../../model/numbers.js';
import { Coupling, type Axis } from '../../../structure/coupling.js';
import type { Flow, List, Reader, Tensor } from '../../../structure/network.js';
import { wholeView, type Known, type View } from '../../../structure/numbers.js';
import type { Stored } from '../../../structure/stored.js';
import type { Constant, Graph, Node, Value } from '../graph.js';
import { isFloat, typeName } from '../types.js';
import { Budget, excessOf } from './budget.js';
import { operators as ownOperators } from './operators/table.js';
import { viewAfter } from './operators/arranging.js';
import { checked } from './operators/windows.js';
import { fillOf, mostListed, Misfit, Site, Unknown, whyNot, type Operator } from './site.js';

/** A node of the main graph that a rule applies to. */
export interface Step {
  readonly node: Node;
  readonly operator: Operator;
  readonly site: Site;
  readonly outputs: readonly Tensor[];
}

/** A constant as an input of a node reads it. */
export interface Use {
  readonly constant: Constant;
  readonly tensor: Tensor;
  readonly node: Node;
  readonly input: number;
}

/** A node through which channels are not followed. */
export interface Failure {
  readonly node: Node;
  readonly reason: string;
  /** Whether the sizes of its inputs do not go together. */
  readonly isMisfit: boolean;
}

/** The channels of a graph, for inputs of certain sizes. */
export interface Followed extends Flow {
  readonly steps: readonly Step[];
  readonly uses: readonly Use[];
  /** All values that are computed. */
  readonly tensors: ReadonlyMap<Value, Tensor>;
  /** The nodes that compute them. */
  readonly makers: ReadonlyMap<Value, Step>;
  readonly failures: readonly Failure[];
}

export interface FollowOptions {
  readonly opset: number;
  /** The sizes of the inputs of the model. */
  readonly inputs: ReadonlyMap<Value, readonly number[]>;
  /** The numbers of constants that are floats. */
  readonly numbersOf: (constant: Constant) => Stored | undefined;
  /** Nodes that no rule applies to for inputs of other sizes. */
  readonly unknown?: ReadonlySet<Node>;
  /** Nodes whose inputs have other sizes of space for other inputs of the model. */
  readonly varying?: ReadonlySet<Node>;
  /** Values whose channels have to stay. */
  readonly protect?: ReadonlySet<Value> | undefined;
  /** The rules. By default those of ONNX. */
  readonly operators?: ReadonlyMap<string, Operator> | undefined;
  /** Whether numbers can be added to what a node adds up. By default they always can: a node gets a bias if it has none. */
  readonly canFold?: ((node: Node) => boolean) | undefined;
}

/** The most floats of a constant that may be a list, such as the scales of axes. */
const longestList = 8;

/** Follows the channels of a graph from its inputs to its outputs. */
export function follow(graph: Graph, options: FollowOptions): Followed {
  const { opset, inputs, numbersOf, operators = ownOperators, canFold } = options;
  const coupling = new Coupling();
  const flow: Flow = { coupling, readers: [] };
  const steps: Step[] = [];
  const uses: Use[] = [];
  const tensors = new Map<Value, Tensor>();
  const makers = new Map<Value, Step>();
  const failures: Failure[] = [];
  const shared = new Map<Constant, Tensor>();
  /** The last use of each vector. */
  const read = new Map<Constant, Tensor>();
  const views = new Map<Constant, View>();
  const computed = new Set<Value>();
  const overridden = new Set(graph.inputs.map(({ view }) => view?.constant));
  const outer = 'an input of the model';
  const places = new Map(graph.constants.map((constant) => [constant.place, constant]));

  const budget = new Budget(sumOf(graph.constants.map(({ tensor }) => tensor.length)));
  /** Why the node that is looked at is not followed because of its inputs. */
  let excess: string | undefined;
  const large = new Map<Value, string>();

  for (const [value, shape] of inputs) {
    const why = budget.excess(shape);
    if (why !== undefined) large.set(value, why);
    else tensors.set(value, { shape, axes: shape.map((size) => coupling.fixed(size, outer)) });
    budget.take(tensors.get(value)?.axes ?? []);
  }

  const constantTensor = (constant: Constant, isVector: boolean): Tensor => {
    const { tensor } = constant;
    const { shape } = tensor;
    // Callers may give other numbers for those of an input.
    if (overridden.has(constant)) return { shape, axes: shape.map((size) => coupling.fixed(size, outer)) };
    const stored = isFloat(tensor.type) ? numbersOf(constant) : undefined;
    if (stored !== undefined && !views.has(constant)) views.set(constant, wholeView(stored, shape));
    const isShort = shape.length < 2 && tensor.length <= longestList;
    const list: List | undefined =
      tensor.integers !== undefined
        ? { numbers: tensor.integers, isInteger: true }
        : (isShort || tensor.length === 1) && stored !== undefined
          ? { numbers: [...stored], isInteger: false }
          : undefined;
    const canGo = stored !== undefined;
    return {
      shape,
      axes: shape.map((size) => (canGo && size > 1 ? coupling.axis(size) : coupling.fixed(size, 'a constant'))),
      // Each use of a vector has numbers of its own, which change without those of other uses.
      view: isVector && stored !== undefined ? wholeView(stored.own(), shape) : views.get(constant),
      list,
    };
  };

  const listOf = (constant: Constant): List | undefined => {
    const { integers } = constant.tensor;
    const numbers = integers ?? numbersOf(constant);
    return numbers && { numbers: [...numbers], isInteger: integers !== undefined };
  };

  const inputOf = (node: Node, input: number): Tensor | undefined => {
    const value = node.inputs[input];
    if (value === undefined) return undefined;
    const known = tensors.get(value);
    if (known !== undefined) return known;
    excess ??= large.get(value);
    const constant = computed.has(value) ? undefined : value.view?.constant;
    if (constant === undefined) return undefined;
    const { shape, length } = constant.tensor;
    // What can be cut is either followed for all nodes that read it, or for none.
    const isCuttable = isFloat(constant.tensor.type) && numbersOf(constant) !== undefined && length > 0;
    const why = isCuttable ? excessOf(shape) : budget.excess(shape);
    if (why !== undefined) {
      excess = why;
      return undefined;
    }
    // Exporters merge equal vectors, which belong to strangers. A matrix that several nodes read is one weight.
    const isVector = shape.filter((size) => size > 1).length < 2;
    let tensor = isVector ? read.get(constant) : shared.get(constant);
    if (tensor !== undefined && !(budget.read(length) && budget.excess(shape) === undefined))
      excess = 'too many nodes read the same constants';
    else if (tensor === undefined || isVector) {
      tensor = constantTensor(constant, isVector);
      budget.take(tensor.axes);
      if (constant.isOutput || constant.overlaps !== undefined)
        for (const axis of tensor.axes) coupling.block(axis, 'it is needed elsewhere');
      // 0 times such a number is not 0.
      if (isVector && tensor.view !== undefined && ![...tensor.view.stored].every(Number.isFinite))
        for (const axis of tensor.axes) coupling.block(axis, 'it is not finite');
      if (isVector) read.set(constant, tensor);
      else shared.set(constant, tensor);
    }
    // Those without numbers stay as they are.
    if (tensor.view !== undefined) uses.push({ constant, tensor, node, input });
    return tensor;
  };

  for (const node of graph.nodes) {
    if (node.op === 'Constant') continue;
    for (const value of node.outputs) computed.add(value);
    excess = undefined;
    const given = node.inputs.map((_, input) => inputOf(node, input));
    const site = new Site(node, given, flow, opset, fillOf(node, places, listOf), options.varying?.has(node));
    const operator = operators.get(node.op);
    try {
      if (!isPlain(node)) throw new Unknown('it is in a subgraph or a local function, or has a subgraph');
      if (operator === undefined) throw new Unknown('there is no rule for it');
      if (options.unknown?.has(node)) throw new Unknown('its rule applies only to inputs of some sizes');
      if (excess !== undefined) throw new Unknown(excess);
      const outputs = apply(operator, site, budget);
      for (const [place, output] of outputs.entries()) {
        const value = node.outputs[place];
        if (value === undefined) continue;
        tensors.set(value, output);
        if (value.isOutput) for (const axis of output.axes) coupling.block(axis, 'an output of the model');
        // A new bias leaves such constants behind.
        if (value.isConstant && value.readers.length === 0) site.block(output, undefined, 'nothing reads it');
        if (options.protect?.has(value)) for (const axis of output.axes) coupling.block(axis, 'it is protected');
      }
      const step = { node, operator, site, outputs };
      steps.push(step);
      for (const value of node.outputs) if (!makers.has(value)) makers.set(value, step);
    } catch (error) {
      failures.push({ node, reason: whyNot(error), isMisfit: error instanceof Misfit });
      for (const each of given) site.block(each);
      for (const value of node.outputs) {
        const shape = value.shape;
        if (shape === undefined || !shape.every((size) => typeof size === 'number')) continue;
        if (budget.excess(shape) !== undefined) continue;
        tensors.set(value, { shape, axes: site.fixed(shape) });
        budget.take(tensors.get(value)!.axes);
      }
    }
  }
  const folds = (reader: Reader) => reader.folds && canFold?.((reader.operator as Site).node) !== false;
  const readers = flow.readers.map((reader) => (reader.folds === folds(reader) ? reader : { ...reader, folds: false }));
  return { coupling, readers, steps, uses, tensors, makers, failures };
}

/** The type of a constant or of a list, as a node reads it. */
export function typeOf(value: Value, { makers }: Pick<Followed, 'makers'>): string {
  let from: Value | undefined = value;
  for (let step = makers.get(value); step !== undefined; step = from && makers.get(from)) {
    if (step.node.op === 'Cast') return typeName(step.site.integer('to', 0));
    if (step.node.op === 'Shape' || step.node.op === 'Size') return 'int64';
    from = step.node.inputs[0];
  }
  return from?.view?.constant.tensor.type ?? 'int64';
}

/** Whether a node is in the main graph, and has no graphs of its own. */
function isPlain({ field, attributes }: Node): boolean {
  if (field === undefined || field.within?.within !== undefined) return false;
  return [...attributes.values()].every(({ graphs }) => graphs.length === 0);
}

/** Why a node is not followed behind one that is not. */
export const unknownInput = 'an input is unknown';

/** What a rule says of a node. */
function apply(operator: Operator, site: Site, budget: Budget): Tensor[] {
  const { node, inputs } = site;
  const strange = [...node.attributes.keys()].find((name) => !operator.attributes.includes(name));
  if (strange !== undefined) throw new Unknown(`its attribute ${strange}`);
  if (node.inputs.slice(operator.inputs).some((value) => value !== undefined)) throw new Unknown('its inputs');
  if (node.inputs.some((value, place) => value !== undefined && inputs[place] === undefined))
    throw new Unknown(unknownInput);
  const shapes = operator.shape(site);
  if (node.outputs.slice(shapes.length).some(({ name }) => name !== '')) throw new Unknown('its outputs');
  for (const shape of shapes) {
    const excess = budget.excess(checked(shape));
    if (excess !== undefined) throw new Unknown(excess);
  }
  const before = site.flow.readers.length;
  const axes = operator.couple(site, shapes);
  const known = new Set(inputs.flatMap((input) => input?.axes ?? []));
  budget.take(axes.flat().filter((axis) => !known.has(axis)));
  if (!operator.leavesOut)
    keepOthers(site, [...axes.flat(), ...site.flow.readers.slice(before).map(({ axis }) => axis)]);
  const outputs = shapes.map((shape, place): Tensor => {
    const isFirst = place === 0;
    return {
      shape,
      axes: axes[place] as Axis[],
      view: isFirst && inputs[0] !== undefined ? viewAfter(site, shape) : undefined,
      list: isFirst && productOf(shape) <= mostListed ? operator.list?.(site, shape) : undefined,
    };
  });
  const [first, ...others] = outputs;
  if (first === undefined) return [];
  const found = operator.constant(site, [first, ...others]);
  const parts = Array.isArray(found) ? (found as readonly (Known | undefined)[]) : [found as Known | undefined];
  return outputs.map((output, place) => {
    const each = parts[place];
    if (each === undefined) return output;
    // 0 times what is not finite is not 0, so that it counts even where no reader has a weight for it.
    const numbers = each.numbers.map((number, index) => {
      if (Number.isFinite(number)) return number;
      if (number === Infinity)
        site.coupling.block(output.axes[each.axis]!.subarray(index, index + 1), 'it is not finite');
      return NaN;
    });
    const { ranges, spread } = each;
    if (spread?.numbers.includes(Infinity))
      for (const axis of spread.axes) site.coupling.block(output.axes[axis]!, 'it is not finite');
    return {
      ...output,
      known: {
        axis: each.axis,
        numbers,
        ranges: ranges && { least: ranges.least.map(orUnknown), most: ranges.most.map(orUnknown) },
        spread: spread && { axes: spread.axes, numbers: spread.numbers.map(orUnknown) },
      },
    };
  });
}

const orUnknown = (number: number): number => (Number.isFinite(number) ? number : NaN);

/** Makes those channels of inputs stay that a rule neither passes on nor reads. */
function keepOthers({ inputs, coupling, title }: Site, axes: readonly Axis[]): void {
  const known = new Set(axes);
  const others = new Set(inputs.flatMap((tensor) => tensor?.axes ?? []).filter((axis) => !known.has(axis)));
  const open = [...others].filter((axis) => coupling.isOpen(axis));
  if (open.length > 0) coupling.blockOthers(open, known, title);
}
