import type { Form, NewNumbers } from '../../model/forms.js';
import { isObject } from '../../model/json.js';
import type { WeightTensor } from '../../model/model.js';
import { productOf, sumOf } from '../../model/numbers.js';
import { decoded } from '../decoded.js';
import { joinedBytes } from '../joined.js';
import type { CurrentFiles, Dequantized, OtherNumbers, Storage } from '../format.js';
import type { StoredTensor } from './header.js';
import { dataTypes, isWeight, valuesOf, type NamedHeader, type Tensor } from './layers.js';
import { safetensorsHeader } from './write.js';

/** A checkpoint and its layers. */
interface Stored {
  /** The name of the single file, or of the index. */
  readonly main: string;
  /** The content of the index; undefined for a single file. */
  readonly index: unknown;
  readonly parts: readonly NamedHeader[];
  /** The names of the tensors of layers, by the names of the layers. */
  readonly names: ReadonlyMap<string, string>;
}

/** A tensor in another form. */
interface Changed {
  readonly dtype: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** The bytes of the widest numbers of the format, among which empty tensors are. */
const widest = 8;

/** How the format spells types. */
const spelled = new Map(Array.from(dataTypes, ([name, type]) => [type as Form | 'float32', name]));

/** The tensors of a checkpoint as floats of 16 or 32 bits. */
export class SafetensorsStorage implements Storage {
  readonly forms = ['float16', 'bfloat16'] as const;
  readonly #stored: Stored;
  /** All tensors, by name. */
  readonly #tensors: ReadonlyMap<string, Tensor>;

  constructor(stored: Stored) {
    this.#stored = stored;
    this.#tensors = new Map(
      stored.parts.flatMap(({ name: file, header }) =>
        header.tensors.map((tensor) => [tensor.name, { ...tensor, file }]),
      ),
    );
  }

  usualForm(): Form {
    return 'float16';
  }

  obstacle({ values: { dtype } }: WeightTensor): string | undefined {
    return dtype === 'float32' ? undefined : `it is already stored as ${dtype}`;
  }

  isQuantized({ values: { dtype } }: WeightTensor): boolean {
    return dtype !== 'float32';
  }

  others(): readonly OtherNumbers[] {
    const layers = new Set(this.#stored.names.values());
    const others = [...this.#tensors.values()].filter(
      ({ name, dtype, start, end }) => dtype === 'F32' && end > start && !layers.has(name),
    );
    return others.map((tensor) => ({ name: tensor.name, values: valuesOf(tensor)!, shape: tensor.shape }));
  }

  rewritten(
    layers: ReadonlyMap<string, NewNumbers>,
    others: ReadonlyMap<string, NewNumbers>,
    current: CurrentFiles,
  ): Promise<Map<string, Uint8Array<ArrayBuffer>>> {
    const changed = new Map<string, Changed>();
    for (const [name, numbers] of layers) changed.set(this.#stored.names.get(name)!, changedTo(numbers));
    for (const [name, numbers] of others) changed.set(name, changedTo(numbers));
    return this.#files(changed, current);
  }

  async dequantized(current: CurrentFiles): Promise<Dequantized> {
    const layerOf = new Map([...this.#stored.names].map(([layer, tensor]) => [tensor, layer]));
    const changed = new Map<string, Changed>();
    const names: { name: string; from: string }[] = [];
    const skipped: { name: string; reason: string }[] = [];
    for (const tensor of this.#tensors.values()) {
      const { name, dtype } = tensor;
      const values = valuesOf(tensor);
      if (values === undefined && isWeight(tensor) && dtype !== 'F64')
        skipped.push({ name, reason: `its type is ${dtype}, and the scale of its codes is unknown` });
      if (values === undefined || values.dtype === 'float32') continue;
      changed.set(name, { dtype: 'F32', bytes: new Uint8Array((await decoded(values, current)).buffer) });
      names.push({ name: layerOf.get(name) ?? name, from: values.dtype });
    }
    return { files: await this.#files(changed, current), changed: names, skipped };
  }

  /** The files of the checkpoint with some tensors in another form. */
  async #files(
    changed: ReadonlyMap<string, Changed>,
    current: CurrentFiles,
  ): Promise<Map<string, Uint8Array<ArrayBuffer>>> {
    const { main, index, parts } = this.#stored;
    const files = new Map<string, Uint8Array<ArrayBuffer>>();
    if (index !== undefined) files.set(main, await joinedBytes(() => current.chunks(main)));
    for (const part of parts) files.set(part.name, await joinedBytes(() => chunksOf(part, changed, current)));
    if (changed.size === 0 || !isObject(index) || !isObject(index.metadata) || !('total_size' in index.metadata))
      return files;
    const sizes = [...this.#tensors.values()].map(
      ({ name, start, end }) => changed.get(name)?.bytes.length ?? end - start,
    );
    const metadata = { ...index.metadata, total_size: sumOf(sizes) };
    files.set(main, new TextEncoder().encode(`${JSON.stringify({ ...index, metadata }, undefined, 2)}\n`));
    return files;
  }
}

function changedTo(numbers: NewNumbers): Changed {
  const { form, numbers: bytes } = numbers as Extract<NewNumbers, { readonly numbers: unknown }>;
  return { dtype: spelled.get(form)!, bytes };
}

/** The bytes of a file with some tensors in another form. A file without any keeps its bytes. */
async function* chunksOf(
  { name: file, header }: NamedHeader,
  changed: ReadonlyMap<string, Changed>,
  current: CurrentFiles,
): AsyncGenerator<Uint8Array> {
  if (!header.tensors.some(({ name }) => changed.has(name))) return yield* current.chunks(file);
  const bytesOf = ({ name, start, end }: StoredTensor): number => changed.get(name)?.bytes.length ?? end - start;
  // Wide numbers come first, as the reference implementation writes them, so that all are aligned.
  const widthOf = (tensor: StoredTensor): number => bytesOf(tensor) / productOf(tensor.shape) || widest;
  const tensors = [...header.tensors].sort((first, second) => widthOf(second) - widthOf(first));
  const described = tensors.map((tensor) => {
    const { name, shape, dtype } = tensor;
    return { name, shape, dtype: changed.get(name)?.dtype ?? dtype, bytes: { length: bytesOf(tensor) } };
  });
  yield safetensorsHeader(described, header.metadata);
  for (const { name, start, end } of tensors) {
    const own = changed.get(name)?.bytes;
    if (own === undefined) yield* current.chunks(file, start, end);
    else yield own;
  }
}
