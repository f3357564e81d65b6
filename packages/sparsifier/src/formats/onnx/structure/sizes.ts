import { productOf } from '../../../model/numbers.js';
import { Coupling } from '../../../structure/coupling.js';
import type { List } from '../../../structure/network.js';
import type { Constant, Graph, Node, Value } from '../graph.js';
import type { Size } from '../shapes.js';
import { mostAxes } from '../views.js';
import { excessOf } from './budget.js';
import { operators as ownOperators } from './operators/table.js';
import { fillOf, mostListed, Site, whyNot, type Operator } from './site.js';

/** The shape of a value, and its numbers if they are few and follow from constants and shapes. */
export interface Sized {
  readonly shape: readonly number[];
  readonly list?: List | undefined;
}

/** The same value for two choices of the sizes that the file does not say. They are one object if it says all of them. */
export type Pair = readonly [Sized | undefined, Sized | undefined];

const nothing: Pair = [undefined, undefined];

/** Sizes that stand for those that are not known: primes, so that no product of them is a size of the file by chance. */
export const primes = primesFrom(31, 400);

function primesFrom(first: number, count: number): number[] {
  const found: number[] = [];
  for (let number = first; found.length < count; number++) {
    let factor = 2;
    while (factor * factor <= number && number % factor !== 0) factor++;
    if (factor * factor > number) found.push(number);
  }
  return found;
}

/** The sizes of the values of a graph, as its operators give them. */
export class Sizes {
  /** By their place in the file. */
  readonly #constants: ReadonlyMap<number, Constant>;
  readonly #values = new Map<Value, Pair>();
  readonly #standIns = new Map<Size | string, readonly [number, number]>();

  constructor(
    { nodes, constants }: Pick<Graph, 'nodes' | 'constants'>,
    readonly opset: number,
    readonly operators: ReadonlyMap<string, Operator> = ownOperators,
  ) {
    this.#constants = new Map(constants.map((constant) => [constant.place, constant]));
    for (const node of nodes) if (node.op !== 'Constant') this.#follow(node);
  }

  /** What is known of a value; undefined twice if not even the number of its axes is. */
  of(value: Value | undefined): Pair {
    if (value === undefined) return nothing;
    let known = this.#values.get(value);
    if (known === undefined) this.#values.set(value, (known = this.#stated(value)));
    return known;
  }

  /** What the file says of a value. */
  #stated({ shape, view, isConstant }: Value): Pair {
    if (shape === undefined) return nothing;
    const sized = (choice: 0 | 1): Sized => ({ shape: shape.map((size) => this.#standIn(size)[choice]) });
    const [one, other] = [sized(0), sized(1)];
    if (!isPlausible(one.shape)) return nothing;
    if (!shape.every((size) => typeof size === 'number')) return [one, other];
    const known = { shape, list: isConstant && view !== undefined ? listIn(view.constant.tensor) : undefined };
    return [known, known];
  }

  #standIn(size: Size): readonly [number, number] {
    if (typeof size === 'number') return [size, size];
    const key = size.description || size;
    let known = this.#standIns.get(key);
    if (known === undefined) {
      const at = 2 * this.#standIns.size;
      known = [primes[at % primes.length]!, primes[(at + 1) % primes.length]!];
      this.#standIns.set(key, known);
    }
    return known;
  }

  #follow(node: Node): void {
    const inputs = node.inputs.map((value) => this.of(value));
    const isSame = inputs.every(([one, other]) => one === other);
    const first = this.#after(
      node,
      inputs.map(([one]) => one),
    );
    const second = isSame
      ? first
      : this.#after(
          node,
          inputs.map(([, other]) => other),
        );
    if (first === undefined || second === undefined) return;
    for (const [place, value] of node.outputs.entries()) {
      const pair = [first[place], second[place]] as const;
      if (pair[0] !== undefined && pair[1]?.shape.length === pair[0].shape.length) this.#values.set(value, pair);
    }
  }

  #after(node: Node, inputs: readonly (Sized | undefined)[]): Sized[] | undefined {
    const operator = this.operators.get(node.op);
    if (operator === undefined || node.inputs.some((value, place) => value && inputs[place] === undefined))
      return undefined;
    const tensors = inputs.map((sized) => sized && { ...sized, axes: [] });
    const fill = fillOf(node, this.#constants, ({ tensor }) => listIn(tensor));
    const site = new Site(node, tensors, { coupling: unused, readers: [] }, this.opset, fill);
    try {
      const shapes = operator.shape(site);
      if (!shapes.every(isPlausible)) return undefined;
      const [first] = shapes;
      const list = first && productOf(first) <= mostListed ? operator.list?.(site, first) : undefined;
      return shapes.map((shape, place) => ({
        shape,
        list: place === 0 && !list?.numbers.some(Number.isNaN) ? list : undefined,
      }));
    } catch (error) {
      whyNot(error);
      return undefined;
    }
  }
}

/** Shapes and lists follow without it. */
const unused = new Coupling();

const isPlausible = (shape: readonly number[]): boolean =>
  shape.every((size) => Number.isInteger(size) && size >= 0) && excessOf(shape) === undefined;

/** The numbers of a short list. */
function listIn(tensor: Constant['tensor'] | undefined): List | undefined {
  if (tensor === undefined || (tensor.shape.length > 1 && tensor.length > 1)) return undefined;
  if (tensor.integers !== undefined) return { numbers: tensor.integers, isInteger: true };
  const floats = tensor.length <= mostAxes ? tensor.floats?.() : undefined;
  return floats && { numbers: floats, isInteger: false };
}
