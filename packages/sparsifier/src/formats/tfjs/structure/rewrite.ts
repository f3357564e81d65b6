import { isObject } from '../../../model/json.js';
import { productOf, sumOf } from '../../../model/numbers.js';
import { stridesOf } from '../../../structure/numbers.js';
import { joinedBytes } from '../../joined.js';
import type { CurrentFiles, StoredValues } from '../../format.js';
import type { KeptIndices } from '../../removal.js';
import type { Constant, Node, Value } from '../../onnx/graph.js';
import {
  cuttingsOf,
  storedOf,
  type Cutting,
  type Kept,
  type StoredVersions,
  Version,
} from '../../onnx/structure/cutting.js';
import type { OnnxRemoval } from '../../onnx/structure/remove.js';
import type { Site } from '../../onnx/structure/site.js';
import { isFloat, lengthOf, type WeightEntry } from '../description.js';
import type { Config } from '../keras-types.js';
import { filesWith, type Changed, type Located } from '../storing.js';
import type { Translation } from './translation.js';

/** Other numbers for some inputs that read a weight. */
export interface NewNumbers {
  readonly entry: WeightEntry;
  readonly shape: readonly number[];
  /** Values that stand for these inputs. */
  readonly readers: readonly Value[];
}

/** A topology that is right for other numbers. */
export interface NewTopology {
  readonly topology: unknown;
  /** The weights that get the numbers, in their order. A name that the model does not have is that of a new weight. */
  readonly names: readonly string[];
}

export type Retopology = (numbers: readonly NewNumbers[]) => NewTopology;

/** Numbers that a weight gets. */
interface Made extends NewNumbers {
  readonly changed: (current: CurrentFiles) => Changed | Promise<Changed>;
  /** Undefined for a list. */
  readonly version: Version | undefined;
}

/** Writes a model without the channels that go. */
export class Rewriting {
  readonly #model: Located;
  readonly #translation: Translation;
  readonly #plan: OnnxRemoval;
  readonly #stored: readonly StoredVersions[];

  /** @param isFlushed whether subnormal numbers become 0 */
  constructor(model: Located, translation: Translation, plan: OnnxRemoval, isFlushed = false) {
    this.#model = model;
    this.#translation = translation;
    this.#plan = plan;
    const cuttings = cuttingsOf(plan);
    this.#fold([...cuttings.values()]);
    const own = [...cuttings.values()].filter(({ constant }) => translation.weights.has(constant));
    this.#stored = storedOf(
      own.map((cutting) => new Version(cutting, plan.cut, isFlushed && isPlain(this.#valuesOf(cutting.constant)))),
    );
  }

  /** How many floats the weights have, before and after. */
  get parameters(): { readonly before: number; readonly after: number } {
    const all = this.#model.model.groups.flatMap(({ weights }) => weights).filter(isFloat);
    const known = new Set(this.#stored.map(({ constant }) => constant.name));
    return {
      before: sumOf(all.map(lengthOf)),
      after:
        sumOf(all.filter(({ name }) => !known.has(name)).map(lengthOf)) +
        sumOf(this.#stored.flatMap(({ sets }) => sets.map(([{ shape }]) => productOf(shape)))),
    };
  }

  /** How many of them are subnormal. */
  get subnormals(): number {
    const plain = this.#stored.filter(({ constant }) => isPlain(this.#valuesOf(constant)));
    return sumOf(plain.flatMap(({ sets }) => sets.map(([version]) => version.subnormals)));
  }

  /** The files of the model, the main one first, and which indices of its weights stayed. */
  async written(retopology: Retopology, current: CurrentFiles): Promise<WrittenModel> {
    const made = [...this.#versions(), ...this.#lists()];
    const { topology, names } = retopology(made);
    const { model, values } = this.#model;
    const changed = new Map<string, Changed>();
    for (const [place, each] of made.entries()) changed.set(names[place]!, await each.changed(current));
    const { content } = model;
    if (!isObject(content)) throw new TypeError('a model without a topology');
    const modelTopology = typeof content.modelTopology === 'string' ? JSON.stringify(topology) : topology;
    const added = made.flatMap(({ entry }, place) =>
      names[place] === entry.name ? [] : [[names[place]!, entry.name]],
    );
    const weightsManifest = (content.weightsManifest as readonly Config[]).map((group) => ({
      ...group,
      weights: withCopies(group.weights as readonly Config[], added),
    }));
    const groups = model.groups.map((group) => ({ ...group, weights: withCopies(group.weights, added) }));
    const located = {
      ...{
        ...this.#model,
        values: new Map([...values, ...added.map(([name, from]) => [name!, values.get(from!)!] as const)]),
      },
      model: { ...model, groups, content: { ...content, modelTopology, weightsManifest } },
    };
    return {
      files: await filesWith(located, changed, current),
      copies: added.length,
      frozen: made.filter(({ version }) => version === undefined).length,
      indexMap: made.flatMap(({ entry, version }, place) =>
        version?.kept.some((each) => each !== undefined)
          ? [
              {
                ...{ tensor: names[place]!, from: entry.name, before: entry.shape },
                ...{ after: version.shape, kept: version.kept },
              },
            ]
          : [],
      ),
    };
  }

  /** The weights that lose channels or take what others had. */
  #versions(): Made[] {
    const { weights } = this.#translation;
    return this.#stored.flatMap(({ constant, sets }) =>
      sets
        .filter(([{ isChanged }]) => isChanged)
        .map((set): Made => {
          const [version] = set;
          return {
            entry: weights.get(constant)!,
            shape: version.shape,
            readers: set.flatMap(({ cutting }) => cutting.readers.map(({ node, input }) => node.inputs[input]!)),
            changed: (current) => this.#changed(constant, version, current),
            version,
          };
        }),
    );
  }

  /** The lists that nodes read, such as shapes. */
  #lists(): Made[] {
    const changes = new Map<Value, number[]>();
    for (const { node, input, list } of this.#plan.changes.patches) {
      const part = this.#translation.changeable({ node, input });
      if (part === undefined || part === 'derived') continue;
      const numbers = changes.get(part.of) ?? [...part.of.view!.constant.tensor.integers!];
      for (const [place, entry] of part.entries.entries()) numbers[entry] = list.numbers[place]!;
      changes.set(part.of, numbers);
    }
    return Array.from(changes, ([value, numbers]): Made => {
      const entry = this.#translation.weights.get(value.view!.constant)!;
      const changed = { bytes: new Uint8Array(Int32Array.from(numbers).buffer), shape: entry.shape };
      return { entry, shape: entry.shape, readers: [value], changed: () => changed, version: undefined };
    });
  }

  #valuesOf({ name }: Constant): StoredValues {
    return this.#model.values.get(name)!;
  }

  /** A weight of which only indices have gone keeps its codes. Other numbers are stored as floats of 32 bits. */
  async #changed(constant: Constant, version: Version, current: CurrentFiles): Promise<Changed> {
    const values = this.#valuesOf(constant);
    const { shape, kept } = version;
    if (version.cutting.isChanged || isPlain(values))
      return { bytes: version.bytes().slice() as Uint8Array<ArrayBuffer>, shape, form: { quantization: undefined } };
    const { file, start, bytes } = values;
    const stored = await joinedBytes(() => current.chunks(file, start, start + bytes), bytes);
    return { bytes: cut(stored, bytes / values.length, constant.tensor.shape, kept), shape };
  }

  /** Adds to biases what readers no longer get. */
  #fold(cuttings: readonly Cutting[]): void {
    const byTensor = new Map(cuttings.map((cutting) => [cutting.tensor, cutting]));
    const steps = new Map(this.#plan.followed.steps.map((step) => [step.node, step]));
    for (const { reader, sums } of this.#plan.removal.folds) {
      const { node, input, sign } = this.#translation.biases.get((reader.operator as Site).node as Node)!;
      const tensor = steps.get(node)!.site.inputs[input]!;
      byTensor.get(tensor)!.change((numbers) => {
        // The second half of the bias of a GRU belongs to its state.
        for (const [index, sum] of sums.entries()) numbers[index]! += sign * sum;
      });
    }
  }
}

/** A model that is written. */
interface WrittenModel {
  readonly files: Map<string, Uint8Array<ArrayBuffer>>;
  readonly indexMap: KeptIndices[];
  /** Copies of weights for nodes of which other channels go. */
  readonly copies: number;
  /** Lists that have changed. */
  readonly frozen: number;
}

/** Weights with copies of some of them under other names, at the end. */
function withCopies<Weight extends { readonly name?: unknown }>(
  weights: readonly Weight[],
  copies: readonly (readonly string[])[],
): Weight[] {
  const added = copies.flatMap(([name, from]) =>
    weights.filter((weight) => weight.name === from).map((weight) => ({ ...weight, name: name! })),
  );
  return [...weights, ...added];
}

/** Whether numbers are stored as floats of 32 bits. */
const isPlain = ({ dtype, coding }: StoredValues): boolean => dtype === 'float32' && coding === undefined;

/** The numbers at those indices that stay, whatever their type is. */
function cut(numbers: Uint8Array, width: number, shape: readonly number[], kept: Kept): Uint8Array<ArrayBuffer> {
  const strides = stridesOf(shape);
  const result = new Uint8Array(width * productOf(shape.map((size, axis) => kept[axis]?.length ?? size)));
  let at = 0;
  const visit = (axis: number, place: number) => {
    if (axis === shape.length) {
      result.set(numbers.subarray(place * width, (place + 1) * width), at);
      at += width;
      return;
    }
    const indices = kept[axis];
    const count = indices?.length ?? shape[axis]!;
    for (let index = 0; index < count; index++) visit(axis + 1, place + (indices?.[index] ?? index) * strides[axis]!);
  };
  visit(0, 0);
  return result;
}
