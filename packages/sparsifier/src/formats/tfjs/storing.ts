import type { Form, NewNumbers } from '../../model/forms.js';
import type { Kind, WeightTensor } from '../../model/model.js';
import { sumOf } from '../../model/numbers.js';
import { decoded } from '../decoded.js';
import { joinedFiles } from '../joined.js';
import {
  stored,
  type CurrentFiles,
  type Dequantized,
  type OtherNumbers,
  type Storage,
  type StoredValues,
} from '../format.js';
import { AffineCoding } from './coding.js';
import { outputsOf, type ChangedWeight, type Written } from './outputs.js';

/** A model, and where the weights of each group begin. */
export interface Located extends Written {
  readonly groups: readonly (Written['groups'][number] & { readonly starts: readonly number[] })[];
}

/** A weight with other numbers: its bytes, and how the manifest describes them. */
export interface Changed extends ChangedWeight {
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** A part of the new bytes of a group. */
interface Part {
  readonly bytes: number;
  chunks(from: number, to: number): Iterable<Uint8Array> | AsyncIterable<Uint8Array>;
}

/** Fewer numbers save fewer bytes with 16 bits each than the manifest takes to say so. */
const fewestOthers = ',"quantization":{"dtype":"float16","original_dtype":"float32"}'.length / 2 + 1;

/** The weights of a model in the forms that tensorflowjs_converter writes. TensorFlow.js decodes them when it loads them. */
export class TfjsStorage implements Storage {
  readonly forms = ['float16', 'uint16', 'uint8'] as const;
  readonly #model: Located;
  /** The weights of layers, by the names of the layers. */
  readonly #weights: ReadonlyMap<string, string>;

  constructor(model: Located, weights: ReadonlyMap<string, string>) {
    this.#model = model;
    this.#weights = weights;
  }

  /** All channels have the same scale, for which 8 bits are too few where they differ much, as those of convolutions do. */
  usualForm(kind: Kind): Form {
    return kind.startsWith('conv') ? 'uint16' : 'uint8';
  }

  obstacle({ values }: WeightTensor): string | undefined {
    const form = formOf(stored(values));
    return form === undefined ? undefined : `it is already stored as ${form}`;
  }

  isQuantized({ values }: WeightTensor): boolean {
    return formOf(stored(values)) !== undefined;
  }

  others(): readonly OtherNumbers[] {
    const layers = new Set(this.#weights.values());
    const others = [...this.#model.values].filter(
      ([name, values]) => !layers.has(name) && formOf(values) === undefined && values.length >= fewestOthers,
    );
    const shapes = new Map(
      this.#model.model.groups.flatMap(({ weights }) => weights.map(({ name, shape }) => [name, shape])),
    );
    return others.map(([name, values]) => ({ name, values, shape: shapes.get(name)! }));
  }

  async rewritten(
    layers: ReadonlyMap<string, NewNumbers>,
    others: ReadonlyMap<string, NewNumbers>,
    current: CurrentFiles,
  ): Promise<Map<string, Uint8Array<ArrayBuffer>>> {
    const changed = new Map<string, Changed>();
    for (const [name, numbers] of layers) changed.set(this.#weights.get(name)!, changedTo(numbers));
    for (const [name, numbers] of others) changed.set(name, changedTo(numbers));
    return filesWith(this.#model, changed, current);
  }

  async dequantized(current: CurrentFiles): Promise<Dequantized> {
    const layerOf = new Map([...this.#weights].map(([layer, weight]) => [weight, layer]));
    const changed = new Map<string, Changed>();
    const names: { name: string; from: string }[] = [];
    for (const [weight, values] of this.#model.values) {
      const from = formOf(values);
      if (from === undefined) continue;
      changed.set(weight, {
        bytes: new Uint8Array((await decoded(values, current)).buffer),
        form: { quantization: undefined },
      });
      names.push({ name: layerOf.get(weight) ?? weight, from });
    }
    const skipped = this.#model.model.groups
      .flatMap(({ weights }) => weights)
      .filter(({ name, quantization }) => quantization && !this.#model.values.has(name))
      .map(({ name, dtype }) => ({ name, reason: `its codes stand for numbers of type ${dtype}` }));
    return { files: await filesWith(this.#model, changed, current), changed: names, skipped };
  }
}

/** The files of a model of which some weights have changed. */
export async function filesWith(
  located: Located,
  changed: ReadonlyMap<string, Changed>,
  current: CurrentFiles,
): Promise<Map<string, Uint8Array<ArrayBuffer>>> {
  const { model, groups } = located;
  const parts = new Map(
    groups.map(({ name, bytes, starts }, place) => [
      name,
      model.groups[place]!.weights.map((weight, at): Part => {
        const own = changed.get(weight.name)?.bytes;
        const [start, end] = [starts[at]!, starts[at + 1] ?? bytes];
        return own
          ? { bytes: own.length, chunks: (from, to) => [own.subarray(from, to)] }
          : { bytes: end - start, chunks: (from, to) => current.chunks(name, start + from, start + to) };
      }),
    ]),
  );
  const written: Written = {
    ...located,
    groups: groups.map(({ name }) => ({ name, bytes: sumOf(parts.get(name)!.map(({ bytes }) => bytes)) })),
    changed,
  };
  const outputs = await outputsOf(undefined, written, {
    chunks: (group, start, end) => within(parts.get(group)!, start, end),
    sizeOf: (group) => sumOf(parts.get(group)!.map(({ bytes }) => bytes)),
    meaning: (values) => current.meaning(values),
  });
  return joinedFiles(outputs);
}

/** The form in which numbers are stored; undefined for floats of 32 bits. */
const formOf = ({ dtype, coding }: StoredValues): string | undefined =>
  coding instanceof AffineCoding ? coding.affine.dtype : dtype === 'float32' ? undefined : dtype;

function changedTo(numbers: NewNumbers): Changed {
  if (numbers.form === 'float16') return { bytes: numbers.numbers, form: { quantization: { dtype: numbers.form } } };
  const { form, codes, scale, min } = numbers as Extract<NewNumbers, { readonly min: number }>;
  const bytes = new Uint8Array(codes.buffer, codes.byteOffset, codes.byteLength);
  return { bytes, form: { quantization: { dtype: form, min, scale } } };
}

/** The bytes from `start` to `end` of consecutive parts. */
async function* within(parts: readonly Part[], start = 0, end = Infinity): AsyncGenerator<Uint8Array> {
  let at = 0;
  for (const { bytes, chunks } of parts) {
    const [from, to] = [Math.max(start - at, 0), Math.min(end - at, bytes)];
    if (from < to) yield* chunks(from, to);
    at += bytes;
  }
}
