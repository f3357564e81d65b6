import type { Coupling } from './coupling.js';
import type { Reader } from './network.js';

/** Where a channel is. */
export interface Place {
  readonly reader: Reader;
  readonly index: number;
}

/** Channels by the numbers that stand for them, which are below a limit. */
export class Channels {
  readonly #marks: Uint8Array;
  size = 0;

  constructor(limit: number) {
    this.#marks = new Uint8Array(limit);
  }

  has(root: number): boolean {
    return this.#marks[root] === 1;
  }

  add(root: number): void {
    if (this.#marks[root] === 0) this.size++;
    this.#marks[root] = 1;
  }

  /** @returns whether it was there */
  delete(root: number): boolean {
    if (this.#marks[root] === 0) return false;
    this.#marks[root] = 0;
    this.size--;
    return true;
  }

  set(): Set<number> {
    const found = new Set<number>();
    for (let root = 0; root < this.#marks.length; root++) if (this.#marks[root] === 1) found.add(root);
    return found;
  }
}

const nowhere: readonly Place[] = [];

/** Where each channel is. */
export class Places {
  readonly #coupling: Coupling;
  readonly #places: (Place[] | undefined)[];

  constructor(coupling: Coupling) {
    this.#coupling = coupling;
    this.#places = Array.from({ length: coupling.size });
  }

  add(id: number, place: Place): void {
    (this.#places[this.#coupling.find(id)] ??= []).push(place);
  }

  of(root: number): readonly Place[] {
    return this.#places[root] ?? nowhere;
  }
}

/**
 * The channels that can go in groups: those that lie on the same axes.
 * @param open the numbers that stand for the channels that may go, of each axis
 */
export function groupsOf(coupling: Coupling, open: readonly Int32Array[]): { readonly channels: readonly number[] }[] {
  /** The group of each channel by the axes so far. Those that are on the next axis, too, are divided from the others. */
  const places = new Int32Array(coupling.size).fill(-1);
  const roots: number[] = [];
  let count = 0;
  for (const axis of open) {
    const divided = new Map<number, number>();
    for (const root of axis) {
      const before = places[root]!;
      if (before < 0) roots.push(root);
      let after = divided.get(before);
      if (after === undefined) divided.set(before, (after = count++));
      places[root] = after;
    }
  }
  const groups = new Map<number, number[]>();
  for (const root of roots) {
    const known = groups.get(places[root]!);
    if (known === undefined) groups.set(places[root]!, [root]);
    else known.push(root);
  }
  return Array.from(groups.values(), (channels) => ({ channels: channels.sort((one, other) => one - other) }));
}
