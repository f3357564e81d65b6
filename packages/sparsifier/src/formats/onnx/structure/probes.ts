import { SparsifyError } from '../../../errors.js';
import { shapesHint, type InputShapes } from '../../removal.js';
import type { Graph, Value } from '../graph.js';
import type { Shape, Size } from '../shapes.js';

/** Sizes of the inputs of a model for which its graph is followed. */
export interface Probes {
  readonly probes: readonly ReadonlyMap<Value, readonly number[]>[];
  /** The inputs with axes of any size that were given none, as text. */
  readonly open: readonly string[];
}

/** Networks halve their inputs up to six times. */
const step = 64;

type Key = number | string | symbol;

/** What stands for the size of an axis: its number or its name, or itself if it has none. */
const keyOf = (size: Size): Key => (typeof size === 'number' ? size : size.description || size);

/** How many of the sizes of a batch, and of others, are tried at most. */
const mostSizes = 1000;

/**
 * The sizes of the inputs: those that are given, and two for each other axis of any size. Axes with the same name have the
 * same size, and no size is one that the file has, so that axes do not fit by chance.
 * @throws SparsifyError `usage` for shapes that do not fit, and for inputs of which not even the number of axes is known
 */
export function probesOf(graph: Graph, given: InputShapes): Probes {
  const inputs = graph.inputs.filter(({ view }) => view === undefined);
  checkShapes(inputs, given);
  const unknown = inputs.find(({ name, shape }) => shape === undefined && !Object.hasOwn(given, name));
  if (unknown !== undefined)
    throw sizesMissing([inWords(unknown)], 'the model does not say how many axes an input has');
  const named = sizesByName(inputs, given);
  const isOpen = (size: Size) => typeof size !== 'number' && !named.has(keyOf(size));
  const shapes = inputs.map((value) => ({
    value,
    shape: Object.hasOwn(given, value.name) ? given[value.name]! : value.shape!,
  }));
  /** Whether an axis of any size is that of a batch, which is the first one. */
  const batches = new Map<Key, boolean>();
  for (const { shape } of shapes) {
    for (const [axis, size] of shape.entries()) {
      const key = keyOf(size);
      if (isOpen(size)) batches.set(key, axis === 0 && (batches.get(key) ?? true));
    }
  }
  const taken = sizesIn(graph);
  const free = function* (first: number, by: number) {
    for (let size = first; size < first + mostSizes * by; size += by) if (!taken.has(size)) yield size;
  };
  const [small, large] = [free(2, 1), free(2 * step, step)];
  // In the other order the second time, so that no sum, product or difference of two sizes is the same in both.
  const orders = batches.size > 0 ? [[...batches], [...batches].reverse()] : [[]];
  const probes = orders.map((order) => {
    const sizes = new Map(named);
    for (const [key, isBatch] of order) sizes.set(key, (isBatch ? small : large).next().value ?? 1);
    return new Map(
      shapes.map(({ value, shape }) => [
        value,
        shape.map((size) => (typeof size === 'number' ? size : sizes.get(keyOf(size))!)),
      ]),
    );
  });
  return { probes, open: shapes.filter(({ shape }) => shape.some(isOpen)).map(({ value }) => inWords(value)) };
}

/** The error for a model that cannot be followed without the shapes of its inputs. */
export const sizesMissing = (found: readonly string[], summary: string, reason?: string): SparsifyError =>
  new SparsifyError('usage', summary, {
    found: [...found, ...(reason === undefined ? [] : [reason])].join('; '),
    hint: shapesHint,
  });

/** `x [batch, 3, ?, ?]` */
const inWords = ({ name, shape }: Pick<Value, 'name'> & { readonly shape: Shape | undefined }): string =>
  shape === undefined
    ? name
    : `${name} [${shape.map((size) => (typeof size === 'symbol' ? size.description || '?' : size)).join(', ')}]`;

function checkShapes(inputs: readonly Value[], given: InputShapes): void {
  for (const [name, shape] of Object.entries(given)) {
    const input = inputs.find((each) => each.name === name);
    const allowed = inputs.map(inWords);
    if (input === undefined) throw new SparsifyError('usage', 'the model has no such input', { given: name, allowed });
    const stated = input.shape;
    const fits =
      stated === undefined ||
      (stated.length === shape.length &&
        stated.every((size, axis) => typeof size !== 'number' || size === shape[axis]));
    if (fits) continue;
    throw new SparsifyError('usage', 'the shape does not fit', {
      subject: name,
      given: `[${shape.join(', ')}]`,
      allowed,
    });
  }
}

/** The sizes of names that follow from given shapes. */
function sizesByName(inputs: readonly Value[], given: InputShapes): Map<Key, number> {
  const sizes = new Map<Key, number>();
  for (const { name, shape } of inputs) {
    if (!Object.hasOwn(given, name)) continue;
    for (const [axis, size] of (shape ?? []).entries()) {
      if (typeof size === 'number') continue;
      const [own, other] = [given[name]![axis]!, sizes.get(keyOf(size))];
      if (other !== undefined && other !== own) {
        throw new SparsifyError('usage', 'two axes of the same name have different sizes', {
          subject: name,
          given: `${own} and ${other} for ${String(keyOf(size))}`,
        });
      }
      sizes.set(keyOf(size), own);
    }
  }
  return sizes;
}

/** All sizes and other small whole numbers in a graph. */
function sizesIn({ constants, inputs, nodes }: Graph): Set<number> {
  const sizes = new Set<number>();
  const add = (numbers: Iterable<Size>) => {
    for (const number of numbers) if (typeof number === 'number') sizes.add(number);
  };
  for (const { tensor } of constants) add([...tensor.shape, ...(tensor.integers ?? [])]);
  for (const { shape } of inputs) add(shape ?? []);
  for (const { attributes } of nodes) {
    for (const { integer, integers } of attributes.values()) add(integer === undefined ? integers : [integer]);
  }
  return sizes;
}
