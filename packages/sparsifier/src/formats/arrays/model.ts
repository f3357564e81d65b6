import type { Engine } from '../../engine/engine.js';
import { attempt, SparsifyError } from '../../errors.js';
import { isObject } from '../../model/json.js';
import {
  bytesOf,
  typeOf,
  type DataType,
  type Kind,
  type Leak,
  type Model,
  type Partner,
  type Region,
  type Role,
  type Values,
  type WeightTensor,
} from '../../model/model.js';
import { biasAmong, checkLayout } from '../layout.js';
import { productOf } from '../../model/numbers.js';

/** A plain array: 32-bit floats, or the bits of 16-bit floats. */
export type Numbers = Float32Array | Uint16Array;

/** One layer as plain arrays. */
export interface ArrayLayer {
  readonly kind: Kind;
  /** One per axis, in stored order. */
  readonly roles: readonly Role[];
  readonly shape: readonly number[];
  /** Row-major. A Uint16Array holds the bits of `dtype`. */
  readonly data: Numbers;
  /** The type of the numbers in a Uint16Array; `float16` by default. */
  readonly dtype?: 'float16' | 'bfloat16';
  readonly groups?: number;
  /** One number per output channel. */
  readonly bias?: Numbers;
  /** Each has one number per output channel. */
  readonly batchNorm?: { readonly gamma?: Numbers; readonly beta?: Numbers };
}

interface ArrayValues extends Values {
  readonly data: Numbers;
}

/**
 * Makes a model from plain arrays. The arrays are read when a method is called and written in place when it is done, so
 * that a training loop can continue to use them. Two layers that share an array are one tensor.
 * @throws SparsifyError `kind`, `format` or `layer` if the parts of a layer contradict each other
 */
export function fromArrays(layers: Readonly<Record<string, ArrayLayer>>): Model {
  const found = new Map<Numbers, { readonly tensor: WeightTensor; aliases: string[]; partners: Partner[] }>();
  for (const [name, layer] of attempt('the layers', () => entriesOf(layers))) {
    const tensor = attempt('the layer', () => tensorOf(name, layer));
    const twin = found.get(layer.data);
    if (twin === undefined) found.set(layer.data, { tensor, aliases: [], partners: [...tensor.partners] });
    else if (sameMeaning(twin.tensor, tensor)) {
      twin.aliases.push(name);
      for (const partner of tensor.partners) twin.partners.push(partner);
    } else
      throw new SparsifyError('layer', `shares its array with '${twin.tensor.name}' but describes it differently`, {
        subject: name,
      });
  }
  const tensors = [...found.values()].map(({ tensor, ...more }): WeightTensor => ({ ...tensor, ...more }));
  /** The tensors that have each array as a partner. */
  const owners = new Map<Numbers, Set<WeightTensor>>();
  for (const tensor of tensors) {
    for (const array of tensor.partners.map(({ values }) => arrayOf(values)))
      owners.set(array, (owners.get(array) ?? new Set<WeightTensor>()).add(tensor));
  }
  return {
    tensors: tensors.map((tensor) => withOwnPartners(tensor, owners)),
    skipped: [],
    weights: tensors.reduce((total, { values }) => total + values.length, 0),
    load,
    store,
    copy,
  };
}

/** @throws SparsifyError `usage` for anything but layers by name */
function entriesOf(layers: unknown): [string, ArrayLayer][] {
  if (isObject(layers) && !(Symbol.iterator in layers)) return Object.entries(layers) as [string, ArrayLayer][];
  throw new SparsifyError('usage', 'layers are given as an object, by their names', { found: typeOf(layers) });
}

/** Leaves out partners that another tensor also has. They are leaks, except for a bias before a gamma that is removed. */
function withOwnPartners(tensor: WeightTensor, owners: ReadonlyMap<Numbers, ReadonlySet<WeightTensor>>): WeightTensor {
  const other = (partner: Partner) => {
    for (const owner of owners.get(arrayOf(partner.values)) ?? []) if (owner !== tensor) return owner;
    return undefined;
  };
  const partners = tensor.partners.filter((partner) => !other(partner));
  const hasGamma = partners.some(({ part }) => part === 'gamma');
  const leaks = tensor.partners.flatMap((partner): Leak[] => {
    const found = partner.part === 'bias' && hasGamma ? undefined : other(partner);
    return found ? [{ name: partner.part, reason: `it is also the array of '${found.name}'` }] : [];
  });
  return { ...tensor, partners, ...biasAmong(tensor.kind, partners), ...(leaks.length > 0 && { leaks }) };
}

async function load(engine: Engine, values: Values): Promise<Region> {
  const numbers = bytes(arrayOf(values));
  const block = await engine.allocate(numbers.length);
  await block.write(numbers);
  return { block, offset: 0, bytes: numbers.length, release: () => block.free() };
}

async function store(_engine: Engine, values: Values, { block, offset }: Region): Promise<void> {
  await block.read(offset, bytes(arrayOf(values)));
}

const copy = (values: Values): Uint8Array<ArrayBuffer> => bytes(arrayOf(values)).slice();

/** @throws SparsifyError `usage` for what is not of a model of arrays */
function arrayOf(values: Values): Numbers {
  const { data } = attempt('the values', () => ({ data: (values as Partial<ArrayValues> | undefined)?.data }));
  if (data instanceof Float32Array || data instanceof Uint16Array) return data;
  throw new SparsifyError('usage', 'the values belong to another model');
}

function bytes({ buffer, byteOffset, byteLength }: Numbers): Uint8Array {
  if (byteLength > 0) return new Uint8Array(buffer, byteOffset, byteLength);
  throw new SparsifyError('weights', 'an array of the model is empty', {
    hint: 'Its buffer was transferred to another thread. Make the model from arrays that stay in this thread',
  });
}

const sameMeaning = (a: WeightTensor, b: WeightTensor): boolean =>
  a.kind === b.kind &&
  a.groups === b.groups &&
  String(a.roles) === String(b.roles) &&
  String(a.shape) === String(b.shape);

function tensorOf(name: string, layer: ArrayLayer): WeightTensor {
  if (!isObject(layer)) {
    throw new SparsifyError('format', 'a layer is an object with kind, roles, shape and data', {
      subject: name,
      found: typeOf(layer),
    });
  }
  const { kind, roles, shape, data, dtype, groups = 1, bias, batchNorm = {} } = layer;
  const wrong = (summary: string, details: object = {}) =>
    new SparsifyError('format', summary, { subject: name, ...details });
  const channels = checkLayout(name, { kind, roles, shape, groups });
  const length = productOf(shape);

  const valuesOf = (what: string, array: Numbers, count: number): ArrayValues => {
    if (!(array instanceof Float32Array) && !(array instanceof Uint16Array)) {
      throw wrong(`${what} must be a Float32Array, or a Uint16Array with the bits of a 16-bit type`, {
        found: typeOf(array),
      });
    }
    if (array.length !== count)
      throw wrong(`the length of ${what} does not match the shape`, { given: count, found: array.length });
    const type: DataType = array instanceof Float32Array ? 'float32' : (dtype ?? 'float16');
    if (!Object.hasOwn(bytesOf, type)) throw wrong('unknown data type', { given: type, allowed: Object.keys(bytesOf) });
    return { dtype: type, length: count, data: array };
  };
  const partners = (
    [
      ['bias', bias],
      ['gamma', batchNorm?.gamma],
      ['beta', batchNorm?.beta],
    ] as const
  ).flatMap(([part, array]): Partner[] =>
    array !== undefined ? [{ part, values: valuesOf(part, array, channels) }] : [],
  );
  return {
    name,
    aliases: [],
    kind,
    roles: [...roles],
    shape: [...shape],
    groups,
    values: valuesOf('data', data, length),
    partners,
    notes: [],
  };
}
