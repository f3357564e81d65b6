import type { Axis } from './coupling.js';
import type { View } from './numbers.js';
import type { Stored } from './stored.js';

interface WeightsFields {
  readonly view: View;
  /** The axis of what is added up. */
  readonly from: number;
  /** The axis of the outputs. */
  readonly to: number;
  /** The channels along that axis. */
  readonly outputs: Axis;
  /** Of a grouped convolution, whose `from` axis is that of a group; 1 otherwise. */
  readonly groups: number;
  /** Whether only readers have these numbers, so that they can change. */
  readonly isOwn: boolean;
}

/** What is known of the outputs of stored weights, by how these are read: a network is followed for several sizes. */
const found = new WeakMap<Stored, Map<string, Uint8Array>>();

function foundIn({ view, from, to, outputs, groups }: WeightsFields): Uint8Array {
  let known = found.get(view.stored);
  if (known === undefined) found.set(view.stored, (known = new Map()));
  const key = [from, to, groups, ...view.shape, ...view.strides].join();
  let each = known.get(key);
  if (each === undefined) known.set(key, (each = new Uint8Array(outputs.length)));
  return each;
}

/** Weights that are added to others. */
interface Source {
  readonly from: number;
  readonly factor: number;
}

/**
 * The weights of an operator that adds up what it reads. Each pair of an input and an output has one weight for each
 * place along all other axes, such as the taps of a kernel.
 */
export class Weights {
  readonly view: View;
  readonly outputs: Axis;
  readonly groups: number;
  readonly isOwn: boolean;
  /** How many inputs and outputs a group has. */
  readonly inputsPerGroup: number;
  readonly outputsPerGroup: number;
  readonly #fields: WeightsFields;
  readonly #strides: readonly [input: number, output: number];
  /** Where the weights of a pair are, from that of the first place on. */
  readonly #offsets: Int32Array;
  /** By output, as far as it was asked for: 1 if all weights are 0, and 2 if one is not. */
  readonly #found: Uint8Array;

  constructor(fields: WeightsFields) {
    const { view, from, to, outputs, groups, isOwn } = fields;
    this.#fields = fields;
    this.view = view;
    this.outputs = outputs;
    this.groups = groups;
    this.isOwn = isOwn;
    this.inputsPerGroup = view.shape[from]!;
    this.outputsPerGroup = view.shape[to]! / groups;
    this.#strides = [view.strides[from]!, view.strides[to]!];
    let offsets = [0];
    for (const [axis, size] of view.shape.entries()) {
      if (axis === from || axis === to) continue;
      const steps = Array.from({ length: size }, (_, index) => index * view.strides[axis]!);
      offsets = offsets.flatMap((offset) => steps.map((step) => offset + step));
    }
    this.#offsets = Int32Array.from(offsets);
    this.#found = foundIn(fields);
  }

  /** The same with other numbers. */
  with(stored: Stored): Weights {
    return new Weights({ ...this.#fields, view: { ...this.view, stored } });
  }

  /** Whether the same number of stored ones is the weight of the same pair. */
  isLike(other: Weights): boolean {
    const isSize = other.inputsPerGroup === this.inputsPerGroup && other.outputsPerGroup === this.outputsPerGroup;
    const isOrder = other.#strides.every((stride, place) => stride === this.#strides[place]);
    return isSize && isOrder && other.groups === this.groups;
  }

  /** How many weights a pair has. */
  get places(): number {
    return this.#offsets.length;
  }

  /** Where the inputs of the group begin that an output is computed from. */
  firstInput(output: number): number {
    return this.groups === 1 ? 0 : Math.floor(output / this.outputsPerGroup) * this.inputsPerGroup;
  }

  /** Where the outputs of the group begin that an input is added to. */
  firstOutput(input: number): number {
    return this.groups === 1 ? 0 : Math.floor(input / this.inputsPerGroup) * this.outputsPerGroup;
  }

  #start(input: number, output: number): number {
    const index = this.groups === 1 ? input : input % this.inputsPerGroup;
    return index * this.#strides[0] + output * this.#strides[1];
  }

  /** The weight of a pair at a place. */
  at(input: number, output: number, place: number): number {
    return this.view.stored.at(this.#start(input, output) + this.#offsets[place]!);
  }

  /** Whether a pair has a weight other than 0. */
  hasWeight(input: number, output: number): boolean {
    const start = this.#start(input, output);
    const { stored } = this.view;
    const offsets = this.#offsets;
    for (let place = 0; place < offsets.length; place++) if (!stored.isZero(start + offsets[place]!)) return true;
    return false;
  }

  /** Whether an output has a weight other than 0. */
  hasWeights(output: number): boolean {
    if (this.#found[output] === 0) this.#found[output] = this.#findWeight(output) ? 2 : 1;
    return this.#found[output] === 2;
  }

  #findWeight(output: number): boolean {
    const first = this.firstInput(output);
    const length = this.inputsPerGroup * this.places;
    // Mostly these weights are neighbours.
    if (this.#strides[0] === this.places && this.#offsets.at(-1) === this.places - 1) {
      return !this.view.stored.areZeros(this.#start(first, output), length);
    }
    for (let input = first; input < first + this.inputsPerGroup; input++)
      if (this.hasWeight(input, output)) return true;
    return false;
  }

  /** The sum of the weights of a pair. */
  sum(input: number, output: number): number {
    const start = this.#start(input, output);
    const { stored } = this.view;
    const offsets = this.#offsets;
    let sum = 0;
    for (let place = 0; place < offsets.length; place++) sum += stored.at(start + offsets[place]!);
    return sum;
  }

  /** Whether an input has a weight other than 0 for an output that stays. */
  touches(input: number, stays: (id: number) => boolean): boolean {
    const first = this.firstOutput(input);
    for (let output = first; output < first + this.outputsPerGroup; output++) {
      if (stays(this.outputs[output]!) && this.hasWeight(input, output)) return true;
    }
    return false;
  }

  /**
   * Adds weights of inputs, times a number for each input and summed over all places, to each output.
   * @param inputs in order
   */
  addSums(inputs: readonly number[], numbers: Float64Array, sums: Float64Array): void {
    this.#eachPair(inputs, (input, output) => void (sums[output]! += numbers[input]! * this.sum(input, output)));
  }

  /** By input, how far the farthest weight is from 0; NaN if one is. */
  largest(inputs: readonly number[]): Map<number, number> {
    const { stored } = this.view;
    const offsets = this.#offsets;
    const bits = new Uint32Array(this.inputsPerGroup * this.groups);
    this.#eachPair(inputs, (input, output) => {
      const start = this.#start(input, output);
      let most = bits[input]!;
      for (let place = 0; place < offsets.length; place++) {
        const size = stored.sizeBits(start + offsets[place]!);
        if (size > most) most = size;
      }
      bits[input] = most;
    });
    const numbers = new Float32Array(bits.buffer);
    return new Map(inputs.map((input) => [input, numbers[input]!]));
  }

  /** Looks at pairs of inputs and outputs, mostly in the order in which their weights are stored. */
  #eachPair(inputs: readonly number[], each: (input: number, output: number) => void): void {
    for (let group = 0, from = 0; from < inputs.length; group++) {
      const before = from;
      while (from < inputs.length && inputs[from]! < (group + 1) * this.inputsPerGroup) from++;
      if (from === before) continue;
      const first = group * this.outputsPerGroup;
      for (let output = first; output < first + this.outputsPerGroup; output++)
        for (let place = before; place < from; place++) each(inputs[place]!, output);
    }
  }

  /**
   * Adds weights of inputs, times factors, to those of another in their group.
   * @param numbers those that are changed, which are others than these weights
   * @param placeIn where a weight is among them; less than 0 if it is not
   */
  carry(sources: readonly Source[], to: number, numbers: Float32Array, placeIn: (place: number) => number): void {
    const first = this.firstOutput(to);
    const { stored } = this.view;
    const offsets = this.#offsets;
    for (let output = first; output < first + this.outputsPerGroup; output++) {
      const target = this.#start(to, output);
      for (let place = 0; place < offsets.length; place++) {
        const at = placeIn(target + offsets[place]!);
        if (at < 0) continue;
        // In float64, so that the sum is rounded once.
        let sum = numbers[at]!;
        for (const { from, factor } of sources) sum += factor * stored.at(this.#start(from, output) + offsets[place]!);
        numbers[at] = sum;
      }
    }
  }

  /**
   * What is known of the outputs, without a bias: an output is known if each of its inputs is, or has no weight for it.
   * @param known by input
   * @param folds whether a known number other than 0 becomes a constant
   */
  knownAfter(known: Float64Array | undefined, folds: boolean): Float64Array {
    const counts = known?.map((number) => (folds || number === 0 ? number : NaN));
    const isConstant = this.constantOutputs(counts);
    const found = new Float64Array(this.outputs.length);
    for (let output = 0; output < found.length; output++) {
      if (isConstant[output] === 0) found[output] = NaN;
      if (isConstant[output] === 0 || !this.hasWeights(output)) continue;
      const first = this.firstInput(output);
      for (let input = first; input < first + this.inputsPerGroup; input++) {
        const number = counts![input]!;
        if (number !== 0 && !Number.isNaN(number)) found[output]! += number * this.sum(input, output);
      }
    }
    return found;
  }

  /**
   * The outputs that have no weights for what is not known: 1 for each of them, and 0 for others.
   * @param known by input
   */
  constantOutputs(known: Float64Array | undefined): Uint8Array {
    const unknown = Array.from({ length: this.groups }, (): number[] => []);
    for (let input = 0; input < this.inputsPerGroup * this.groups; input++) {
      if (Number.isNaN(known?.[input] ?? NaN)) unknown[Math.floor(input / this.inputsPerGroup)]!.push(input);
    }
    const found = new Uint8Array(this.outputs.length);
    for (let output = 0; output < found.length; output++) {
      const inputs = unknown[Math.floor(output / this.outputsPerGroup)]!;
      const isFed =
        this.hasWeights(output) &&
        (inputs.length === this.inputsPerGroup || inputs.some((input) => this.hasWeight(input, output)));
      found[output] = isFed ? 0 : 1;
    }
    return found;
  }
}
