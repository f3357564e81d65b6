import type { Axis } from '../../../structure/coupling.js';
import type { List, Tensor } from '../../../structure/network.js';
import type { Node, Value } from '../graph.js';
import type { Followed, Step } from './follow.js';
import { Site, Unknown, type Cut, type Rewrite } from './site.js';

/** A list that an input of a node needs after a cut, in place of the one that it would get. */
interface Patch {
  readonly node: Node;
  readonly input: number;
  readonly list: List;
}

/** What has to change in nodes after a cut. */
export interface Changes {
  readonly patches: readonly Patch[];
  readonly attributes: ReadonlyMap<Node, NonNullable<Rewrite['attributes']>>;
}

/** An input of a node that needs a list. */
export type Need = Pick<Patch, 'node' | 'input'>;

/** A graph that was followed for inputs of certain sizes, and which of its channels stay. */
export interface Probe {
  readonly followed: Followed;
  readonly cut: Cut;
}

/** A node whose lists cannot be what they have to be for inputs of all sizes. */
export class Stuck extends Error {
  constructor(
    readonly node: Node,
    readonly input: number,
  ) {
    super(`input ${input} of ${node.op}`);
  }
}

/**
 * What has to change in the lists and attributes of nodes. Lists that are computed from shapes are computed anew, as
 * runtimes will do, and compared with those that are needed.
 * @param probes the same graph for inputs of several sizes
 * @param canPatch whether an input can be given another list, or attributes (-1) other values
 * @throws Stuck where no change is right for all of them
 */
export function changesAfter(
  probes: readonly Probe[],
  opset: number,
  canPatch: (need: Need) => boolean = () => true,
): Changes {
  const patches = new Map<string, Patch>();
  const attributes = new Map<Node, NonNullable<Rewrite['attributes']>>();
  const after = probes.map(() => new Map<Value, List | undefined>());
  const [first] = probes as [Probe];
  const steps = new Map<Value, Step>();
  const numbers = new Map<Node, number>(first.followed.steps.map(({ node }, place) => [node, place]));
  /** The list that each input needs, for each probe. */
  const asked = new Map<string, readonly List[]>();
  /** The values that several inputs read and that change with what they are computed from. */
  const shared = new Map<Value, { readonly wanted: readonly List[]; readonly by: Need }>();

  /** The list that an input will have. */
  const listOf = (node: Node, input: number, probe: number, given: Tensor | undefined): List | undefined => {
    const value = node.inputs[input]!;
    return after[probe]!.has(value) ? after[probe]!.get(value) : given?.list;
  };

  const listAt = (node: Node, input: number, probe: number): List | undefined =>
    node.inputs[input] &&
    listOf(node, input, probe, probes[probe]!.followed.steps[numbers.get(node)!]!.site.inputs[input]);

  for (const [place, step] of first.followed.steps.entries()) {
    const { node } = step;
    const each = probes.map(({ followed, cut }) => ({ step: followed.steps[place]!, cut }));
    for (const value of node.outputs) steps.set(value, step);
    const [output] = node.outputs;
    // A damaged node may have none.
    if (output !== undefined && isList(step, first.cut)) {
      for (const [probe, { step, cut }] of each.entries()) {
        const list = listAfter(step, cut, opset, (input) => listOf(node, input, probe, step.site.inputs[input]));
        after[probe]!.set(output, list);
      }
      if (node.outputs.some(({ isOutput }) => isOutput)) need(place, undefined, 0);
      // A node without a rule needs the list that it had.
      const other = output.readers.find((reader) => !numbers.has(reader.node));
      const isKept = each.every(({ step }, probe) => isEqual(step.outputs[0]!.list, after[probe]!.get(output)));
      if (other !== undefined && !isKept) throw new Stuck(other.node, other.input);
      continue;
    }
    const rewrites = each.map(({ step, cut }) => step.operator.rewrite?.(step.site, step.outputs, cut) ?? {});
    const changed = rewrites[0]!.attributes;
    if (changed !== undefined) {
      if (rewrites.some((rewrite) => JSON.stringify(rewrite.attributes) !== JSON.stringify(changed)))
        throw new Stuck(node, 0);
      if (!isSame(step, changed)) {
        if (!canPatch({ node, input: -1 })) throw new Stuck(node, 0);
        attributes.set(node, changed);
      }
    }
    const inputs = new Set([...node.inputs.keys(), ...(rewrites[0]!.lists?.keys() ?? [])]);
    for (const input of inputs) {
      const wanted = each.map(({ step, cut }, probe) => {
        const given = step.site.inputs[input];
        const asked = rewrites[probe]!.lists?.get(input);
        if (asked !== undefined) return { numbers: asked, isInteger: true };
        return given?.list !== undefined && !isCut(given, cut) ? given.list : undefined;
      });
      if (wanted.some((list) => list === undefined)) continue;
      patch(node, input, wanted as List[]);
    }
  }
  for (const [value, { wanted, by }] of shared) {
    for (const { node, input } of value.readers)
      if (!areEqual(wanted, asked.get(keyOf(node, input)))) throw new Stuck(by.node, by.input);
  }
  return { patches: [...patches.values()], attributes };

  function keyOf(node: Node, input: number): string {
    return `${numbers.get(node)} ${input}`;
  }

  /**
   * Makes sure that an input gets a list.
   * @param by the input that needs it, if this is one on the way to that
   */
  function patch(node: Node, input: number, wanted: readonly List[], by: Need = { node, input }): void {
    const value = node.inputs[input];
    const key = keyOf(node, input);
    asked.set(key, wanted);
    const known = patches.get(key);
    if (known !== undefined && !isEqual(known.list, wanted[0])) throw new Stuck(by.node, by.input);
    if (
      areEqual(
        wanted,
        probes.map((_, probe) => listAt(node, input, probe)),
      )
    )
      return;
    if (wanted.every((list) => isEqual(list, wanted[0])) && canPatch({ node, input })) {
      patches.set(key, { node, input, list: wanted[0]! });
      return;
    }
    const source = value && steps.get(value);
    if (value === undefined || source === undefined || value.isOutput) throw new Stuck(by.node, by.input);
    if (value.readers.length > 1) {
      const other = shared.get(value);
      if (other === undefined) shared.set(value, { wanted, by });
      else if (areEqual(wanted, other.wanted)) return;
      else throw new Stuck(by.node, by.input);
    }
    const { op } = source.node;
    if (['Unsqueeze', 'Squeeze', 'Cast', 'Identity', 'Reshape'].includes(op)) return patch(source.node, 0, wanted, by);
    if (op === 'Mul') return patchFactor(source.node, wanted, by);
    if (op !== 'Concat') throw new Stuck(by.node, by.input);
    let start = 0;
    for (const [part, { list }] of source.site.inputs.map((tensor) => tensor!).entries()) {
      const from = start;
      start += list!.numbers.length;
      const slices = wanted.map((each) => ({ ...each, numbers: each.numbers.slice(from, start) }));
      patch(source.node, part, slices, by);
    }
  }

  /** Makes sure that a product of one number with a size of the inputs of the model is another one. */
  function patchFactor(node: Node, wanted: readonly List[], by: Need): void {
    const lists = node.inputs.map((_, input) => probes.map((_probe, probe) => listAt(node, input, probe)));
    const input = lists.findIndex((each) => each.every((list) => isEqual(list, each[0])));
    const sizes = lists[1 - input];
    const factors = wanted.map((list, probe) => list.numbers[0]! / (sizes?.[probe]?.numbers[0] ?? NaN));
    const isOne = [...lists.flat(), ...wanted].every((list) => list?.numbers.length === 1);
    if (!isOne || !factors.every(Number.isInteger)) throw new Stuck(by.node, by.input);
    patch(
      node,
      input,
      wanted.map((list, probe) => ({ ...list, numbers: [factors[probe]!] })),
      by,
    );
  }

  function need(place: number, input: number | undefined, probe: number): void {
    const { node, outputs } = probes[probe]!.followed.steps[place]!;
    if (!isEqual(outputs[0]!.list, after[probe]!.get(node.outputs[0]!))) throw new Stuck(node, input ?? 0);
  }
}

/** Numbers that are none, in a damaged file, are the same ones. */
const isSameNumber = (one: number, other: number | undefined): boolean =>
  one === other || (Number.isNaN(one) && Number.isNaN(other));

const isEqual = (one: List | undefined, other: List | undefined): boolean =>
  one?.numbers.length === other?.numbers.length &&
  one?.numbers.every((number, at) => isSameNumber(number, other?.numbers[at])) === true;

const areEqual = (lists: readonly (List | undefined)[], others: readonly (List | undefined)[] | undefined): boolean =>
  lists.every((list, probe) => isEqual(list, others?.[probe]));

/** Whether channels of a value go. */
const isCut = ({ axes }: Pick<Tensor, 'axes'>, cut: Cut): boolean =>
  axes.some((axis) => cut.sizeOf(axis) !== axis.length);

/**
 * Whether a node gives a list that nodes take apart by themselves, of lists that are as long as before. Those of sizes are new
 * where channels go.
 */
const isList = ({ outputs, operator, site }: Step, cut: Cut): boolean =>
  outputs[0]?.list !== undefined &&
  !outputs.some((output) => isCut(output, cut)) &&
  (operator.channels === 'ignored' || !site.inputs.some((input) => input !== undefined && isCut(input, cut)));

/** The list that a node gives after a cut. */
function listAfter(
  { operator, site, node }: Step,
  cut: Cut,
  opset: number,
  listOf: (input: number) => List | undefined,
): List | undefined {
  const inputs = site.inputs.map((tensor, input): Tensor | undefined => {
    if (tensor === undefined) return undefined;
    const { shape, axes, view } = tensor;
    return { shape: sizesAfter(shape, axes, cut), axes, view, list: listOf(input) };
  });
  const later = new Site(node, inputs, site.flow, opset, site.fill);
  try {
    const [shape] = operator.shape(later);
    return operator.list?.(later, shape!);
  } catch (error) {
    if (error instanceof Unknown) return undefined;
    throw error;
  }
}

/** The shape of a value after a cut. */
export const sizesAfter = (shape: readonly number[], axes: readonly Axis[], cut: Cut): number[] =>
  shape.map((size, axis) => (axes[axis]!.length === size ? cut.sizeOf(axes[axis]!) : size));

function isSame({ site: { node } }: Step, changed: NonNullable<Rewrite['attributes']>): boolean {
  return Object.entries(changed).every(([name, wanted]) => {
    const attribute = node.attributes.get(name);
    if (wanted === undefined) return attribute === undefined;
    if (typeof wanted === 'number') return attribute?.integer === wanted;
    return attribute !== undefined && attribute.integers.join() === wanted.join();
  });
}
