/**
 * The channels along an axis: for each index the number of its channel. Two indices, of one axis or of two, with the same
 * channel stay or go together. Passing an axis on costs nothing, and slicing or joining axes is slicing or joining lists.
 */
export type Axis = Int32Array;

/**
 * An axis that lies along several others, as one of heads times widths does. A cell goes if its index along any side does,
 * and only then: what is left is a grid again.
 */
export interface Grid {
  /** In the order of nested loops over the sides. Cells may be the same channel. */
  readonly cells: Axis;
  readonly sides: readonly Axis[];
}

/** A cell of a grid, and those channels at its sides that may go, in the order of the sides: two or more. */
export interface Cell {
  readonly root: number;
  readonly sides: readonly number[];
}

/** Which indices of which axes belong to one channel, and which channels have to stay. A union-find over numbers. */
export class Coupling {
  #parents = new Int32Array(64);
  #count = 0;
  /** How often channels were joined or made to stay. */
  #changes = 0;
  #marks = new Int32Array(0);
  #lastMark = 0;
  /** The conclusions from so many grids after so many changes. */
  #settled: { readonly changes: number; readonly grids: number; readonly cells: readonly Cell[] } = {
    ...{ changes: 0, grids: 0, cells: [] },
  };
  /** Why a channel stays, by the number that stands for it: the number of a reason; 0 if it may go. */
  #obstacles = new Int32Array(64);
  /** The reasons by number, and their numbers. */
  readonly #reasons: (string | undefined)[] = [undefined];
  readonly #numbers = new Map<string, number>();
  readonly #grids: Grid[] = [];

  /** New channels, one for each index. */
  axis(size: number): Axis {
    if (this.#count + size > this.#parents.length) {
      const length = Math.max(2 * this.#parents.length, this.#count + size);
      this.#parents = grown(this.#parents, length);
      this.#obstacles = grown(this.#obstacles, length);
    }
    const ids = new Int32Array(size);
    for (let index = 0; index < size; index++) {
      const id = this.#count++;
      this.#parents[id] = id;
      ids[index] = id;
    }
    return ids;
  }

  /** New channels that stay. */
  fixed(size: number, obstacle: string): Axis {
    const [id] = this.axis(1);
    this.#obstacles[id!] = this.#numberOf(obstacle);
    return new Int32Array(size).fill(id!);
  }

  /** The number that stands for a channel. */
  find(id: number): number {
    const parents = this.#parents;
    let root = id;
    while (parents[root] !== root) root = parents[root]!;
    for (let at = id; at !== root;) {
      const next = parents[at]!;
      parents[at] = root;
      at = next;
    }
    return root;
  }

  /** Makes one channel of two. */
  join(one: number, other: number): void {
    const first = this.find(one);
    const second = this.find(other);
    if (first === second) return;
    this.#changes++;
    const kept = Math.min(first, second);
    const gone = Math.max(first, second);
    this.#parents[gone] = kept;
    if (this.#obstacles[kept] === 0) this.#obstacles[kept] = this.#obstacles[gone]!;
  }

  /** Couples two axes of the same length, index by index. */
  couple(one: Axis, other: Axis): void {
    if (one === other) return;
    for (let index = 0; index < one.length; index++) this.join(one[index]!, other[index]!);
  }

  /** Makes all channels of an axis stay. */
  block(axis: Axis, obstacle: string): void {
    let last = -1;
    for (let index = 0; index < axis.length; index++) {
      if (axis[index] === last) continue;
      last = axis[index]!;
      this.#block(this.find(last), obstacle);
    }
  }

  #block(root: number, obstacle: string): void {
    if (this.#obstacles[root] !== 0) return;
    this.#obstacles[root] = this.#numberOf(obstacle);
    this.#changes++;
  }

  #numberOf(obstacle: string): number {
    let number = this.#numbers.get(obstacle);
    if (number === undefined) this.#numbers.set(obstacle, (number = this.#reasons.push(obstacle) - 1));
    return number;
  }

  /** Makes an axis one that lies along several others. */
  grid(cells: Axis, sides: readonly Axis[]): void {
    this.#grids.push({ cells, sides });
  }

  /** All axes of grids. */
  get axesOfGrids(): Axis[] {
    return this.#grids.flatMap(({ cells, sides }) => [cells, ...sides]);
  }

  /**
   * Draws the conclusions from grids: which of their channels stay, and which are the same. Returns those cells that go
   * for more than one reason.
   */
  cells(): readonly Cell[] {
    const { changes, grids } = this.#settled;
    if (changes === this.#changes && grids === this.#grids.length) return this.#settled.cells;
    for (;;) {
      const before = this.#changes;
      const cells = new Map<number | string, Cell>();
      for (const grid of this.#grids) this.#settle(grid, cells);
      if (this.#changes !== before) continue;
      this.#settled = { changes: before, grids: this.#grids.length, cells: [...cells.values()] };
      return this.#settled.cells;
    }
  }

  #settle(grid: Grid, cells: Map<number | string, Cell>): void {
    for (let index = 0; index < grid.cells.length; index++) {
      const root = this.find(grid.cells[index]!);
      const sides = this.#sidesAt(grid, index);
      const obstacle = this.#reasons[this.#obstacles[root]!];
      if (obstacle !== undefined) {
        for (const side of sides) this.#block(side, obstacle);
      } else if (sides.length === 0) {
        this.#block(root, this.obstacleOf(idsAt(grid, index)[0]!)!);
      } else if (sides.length === 1) {
        this.join(root, sides[0]!);
      } else {
        const key = this.#keyOf(sides);
        const same = cells.get(key);
        if (same === undefined) cells.set(key, { root, sides });
        else this.join(root, same.root);
      }
    }
  }

  /** The same for all cells with the same channels at their sides. */
  #keyOf(sides: readonly number[]): number | string {
    const [one, other] = sides as [number, number];
    if (sides.length === 2) return Math.min(one, other) * this.#count + Math.max(one, other);
    return [...sides].sort((one, other) => one - other).join();
  }

  /** The channels at the sides of a cell that may go. */
  #sidesAt(grid: Grid, cell: number): number[] {
    const roots: number[] = [];
    for (const id of idsAt(grid, cell)) {
      const root = this.find(id);
      if (this.#obstacles[root] === 0 && !roots.includes(root)) roots.push(root);
    }
    return roots;
  }

  /** Makes those channels of axes stay that are not on others. */
  blockOthers(axes: Iterable<Axis>, others: Iterable<Axis>, obstacle: string): void {
    // Marks of earlier calls are others, so that each call takes only as long as its axes are.
    if (this.#marks.length < this.#count) this.#marks = grown(this.#marks, this.#parents.length);
    const mark = ++this.#lastMark;
    for (const axis of others)
      for (let index = 0; index < axis.length; index++) this.#marks[this.find(axis[index]!)] = mark;
    for (const axis of axes) {
      for (let index = 0; index < axis.length; index++) {
        const root = this.find(axis[index]!);
        if (this.#marks[root] !== mark) this.#block(root, obstacle);
      }
    }
  }

  /** Why a channel stays; undefined if it may go. */
  obstacleOf(id: number): string | undefined {
    return this.#reasons[this.#obstacles[this.find(id)]!];
  }

  /** How many numbers of channels there are. */
  get size(): number {
    return this.#count;
  }

  /** The numbers that stand for those channels of an axis that may go, in order, as often as they are there. */
  open(axis: Axis): Int32Array {
    const roots = new Int32Array(axis.length);
    let count = 0;
    let last = -1;
    let isOpen = false;
    for (let index = 0; index < axis.length; index++) {
      const id = axis[index]!;
      if (id !== last) isOpen = this.#obstacles[this.find(id)] === 0;
      last = id;
      if (isOpen) roots[count++] = this.find(id);
    }
    return roots.subarray(0, count);
  }

  /** Whether a channel of the axis may go, as far as is known. */
  isOpen(axis: Axis): boolean {
    let last = -1;
    for (let index = 0; index < axis.length; index++) {
      if (axis[index] === last) continue;
      last = axis[index]!;
      if (this.#obstacles[this.find(last)] === 0) return true;
    }
    return false;
  }
}

/** The channels at the sides of a cell. */
function idsAt({ sides }: Grid, cell: number): readonly number[] {
  const ids: number[] = [];
  let rest = cell;
  let inner = 1;
  for (const side of sides) inner *= side.length;
  for (const side of sides) {
    inner /= side.length;
    const index = Math.floor(rest / inner);
    ids.push(side[index]!);
    rest -= index * inner;
  }
  return ids;
}

function grown(numbers: Int32Array, size: number): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(size);
  larger.set(numbers);
  return larger;
}
