import type { Engine } from '../engine/engine.js';
import { StoredValues } from '../formats/format.js';
import { keptIn, write } from '../model/kept.js';
import { valuesIn, type Kept, type Model, type Values, type WeightTensor } from '../model/model.js';

/** Whether numbers are stored as codes, such as those of quantisation. */
export const isCoded = (values: Values): boolean => values instanceof StoredValues && values.coding !== undefined;

/** All weights, biases and batch normalisation of a model as they are at one moment. */
export class DenseNumbers {
  readonly #model: Model;
  readonly #kept = new Map<Values, Kept>();
  /** Restore what is stored as codes. */
  readonly #backs = new Map<Values, Promise<() => Promise<void>>>();
  /** The biases that layers were given later. */
  readonly #added = new Map<WeightTensor, Values>();

  constructor(model: Model) {
    this.#model = model;
    for (const tensor of model.tensors) for (const values of this.arraysOf(tensor)) this.#keep(values);
  }

  /** The arrays of numbers of a layer: its weights, its partners and its bias, also one that it was given. */
  arraysOf(tensor: WeightTensor): Values[] {
    const added = this.#added.get(tensor);
    return [...new Set([...valuesIn(tensor), ...(added ? [added] : [])])];
  }

  /** Keeps the bias that a layer has been given, as it was when that is told for the first time. */
  add(tensor: WeightTensor, values: Values): void {
    this.#keep(values);
    this.#added.set(tensor, values);
  }

  /** The bias that a layer has been given, as it began. */
  async addedTo(tensor: WeightTensor): Promise<Map<Values, Uint8Array>> {
    const added = this.#added.get(tensor);
    return new Map(added ? [[added, await this.bytes(added)]] : []);
  }

  /** The model as it was then. */
  get view(): Pick<Model, 'tensors' | 'copy'> {
    return { tensors: this.#model.tensors, copy: (values) => this.bytes(values) };
  }

  /** The numbers, little-endian. They must not be changed. */
  async bytes(values: Values): Promise<Uint8Array<ArrayBuffer>> {
    return this.#kept.get(values)!.bytes();
  }

  /** Gives layers back what they had, unless the signal ends that before. */
  async restore(engine: Engine, tensors: readonly WeightTensor[], signal?: AbortSignal): Promise<void> {
    const numbers = new Map<Values, Uint8Array>();
    const backs: (() => Promise<void>)[] = [];
    for (const tensor of tensors) {
      for (const values of this.arraysOf(tensor)) {
        const back = this.#backs.get(values);
        if (back) backs.push(await back);
        else numbers.set(values, await this.bytes(values));
      }
    }
    signal?.throwIfAborted();
    await write(engine, this.#model, numbers);
    for (const back of backs) await back();
  }

  /** Discards all numbers. */
  release(): void {
    for (const kept of this.#kept.values()) kept.release();
    this.#kept.clear();
    this.#backs.clear();
  }

  #keep(values: Values): void {
    if (this.#kept.has(values)) return;
    this.#kept.set(values, keptIn(this.#model, values));
    const back = isCoded(values) ? this.#model.hold?.(values) : undefined;
    if (back) this.#backs.set(values, back);
  }
}
