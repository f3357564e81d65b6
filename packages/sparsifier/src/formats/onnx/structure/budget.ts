import { sumOf } from '../../../model/numbers.js';
import type { Axis } from '../../../structure/coupling.js';
import { whyNot, type Operator, type Site } from './site.js';

/** The most axes of a value that is followed, and the most indices that they have together. */
const most = { axes: 64, indices: 2 ** 21 } as const;

/** The most indices of all axes of a graph. Those of axes that stay take less time, and count a part. */
const mostIndices = 2 ** 23;
const partOfFixed = 1 / 4;

/** How many numbers of constants are read again for further nodes: so many, and so many times as many as there are. */
const reads = { least: 2 ** 27, times: 16 } as const;

/** How much of a graph is followed, so that time and memory are in proportion to its file. */
export class Budget {
  #indices = mostIndices;
  #reads: number;

  /** @param numbers how many all constants have */
  constructor(numbers: number) {
    this.#reads = reads.least + reads.times * numbers;
  }

  /** Why a computed value of a shape is too large; undefined if it is not. */
  excess(shape: readonly number[]): string | undefined {
    return excessOf(shape) ?? (sumOf(shape) > this.#indices ? 'the values of the model are too large' : undefined);
  }

  /** Counts axes that are new. */
  take(axes: Iterable<Axis>): void {
    for (const axis of axes) {
      const isFixed = axis.length > 1 && axis[0] === axis.at(-1);
      this.#indices -= axis.length * (isFixed ? partOfFixed : 1);
    }
  }

  /** Whether a further node may read this many numbers of constants. */
  read(numbers: number): boolean {
    if (numbers > this.#reads) return false;
    this.#reads -= numbers;
    return true;
  }
}

/** Why any value of a shape is too large. */
export function excessOf(shape: readonly number[]): string | undefined {
  if (shape.length > most.axes) return `a value has ${shape.length} axes`;
  // Sizes below 0 are those of damaged files, and make up for nothing.
  const indices = sumOf(shape.map((size) => Math.max(0, size)));
  return indices > most.indices ? `a value has the sizes ${shape.join(', ')}` : undefined;
}

/** Whether lists of a node make an output so large that it is not worth a look, such as one that is padded by billions. */
export function isTooLarge(operator: Operator, site: Site): boolean {
  try {
    return operator.shape(site).some((shape) => excessOf(shape) !== undefined);
  } catch (error) {
    // The sizes are made up, so that they need not fit.
    whyNot(error);
    return false;
  }
}
