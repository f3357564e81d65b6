// The recorded cases of moments and fits (golden/repair), through the engine.
import { loadEngine, type Engine } from 'sparsifier';
import { readBytes, readJson, safetensors, type NamedArray } from './files.js';
import { fit, MomentSums, type Fitted, type LayerGeometry, type Seen, type Three } from './internal.js';
import { product } from './layers.js';

export interface RepairCase {
  readonly name: string;
  readonly kind: string;
  readonly groups: number;
  readonly ridge: number;
  /** Of the weight; missing for dense layers. */
  readonly shape?: readonly number[];
  readonly strides?: readonly number[];
  readonly pads?: readonly number[];
  readonly dilations?: readonly number[];
  readonly errors: Readonly<Record<string, readonly number[]>>;
}

export type Arrays = ReadonlyMap<string, NamedArray>;

export async function repairCases(): Promise<{ readonly cases: readonly RepairCase[]; readonly arrays: Arrays }> {
  const { cases } = await readJson<{ cases: RepairCase[] }>('golden/repair/cases.json');
  return { cases, arrays: safetensors(await readBytes('golden/repair/cases.safetensors')) };
}

const three = (list: readonly number[], missing: number): Three =>
  [...Array.from({ length: 3 - list.length }, () => missing), ...list] as never;

/** Moments of all inputs of a case, and what a fit to them needs. */
export async function seenIn(
  { name, kind, groups, shape, strides = [], pads = [], dilations = [] }: RepairCase,
  arrays: Arrays,
): Promise<{ readonly seen: Seen; readonly geometry: LayerGeometry; readonly rows: number }> {
  const engine = await loadEngine();
  const [input, weight] = [arrays.get(`${name}/input`)!, arrays.get(`${name}/weight`)!];
  const isPair = arrays.has(`${name}/cross`);
  const [samples, channels, ...size] = isPair ? input.shape.slice(1) : input.shape;
  const kernel = shape?.slice(2) ?? [];
  const transposed = kind.startsWith('convTranspose');
  const geometry: LayerGeometry = {
    groups,
    inputs: shape ? channels! / groups : weight.shape[1]!,
    kernel: three(kernel, 1),
    strides: three(strides, 1),
    pads: three(pads.slice(0, kernel.length), 0),
    dilations: three(dilations, 1),
    transposed,
  };
  const space = three(size, 1);
  const ends = three(pads.slice(kernel.length), 0);
  const positions = space.map((length, axis) => {
    const reach = (geometry.kernel[axis]! - 1) * geometry.dilations[axis]! + 1;
    const [pad, stride] = [geometry.pads[axis]! + ends[axis]!, geometry.strides[axis]!];
    return transposed ? (length - 1) * stride + reach - pad : Math.floor((length + pad - reach) / stride) + 1;
  }) as never as Three;
  const spatial = product(space);
  const length = samples! * channels! * spatial;
  const block = await engine.allocate(input.data.byteLength);
  await block.write(new Uint8Array(input.data.buffer));
  const at = (index: number) => ({
    address: block.address + 4 * index * length,
    length,
    samples: samples!,
    space,
    positions,
    steps: [channels! * spatial, spatial, space[1] * space[2], space[2], 1] as const,
  });
  const momentsOf = async (first: number, second?: number) => {
    const sums = await MomentSums.allocate(engine, geometry);
    await sums.add(geometry, at(first), second === undefined ? 0 : at(second).address);
    const finished = await sums.finish();
    sums.free();
    return finished;
  };
  const pruned = await momentsOf(isPair ? 1 : 0);
  const own = isPair ? await momentsOf(0) : undefined;
  const cross = isPair ? await momentsOf(0, 1) : undefined;
  block.free();
  return {
    seen: own && cross ? { pruned, dense: { own, cross: cross.moment } } : { pruned },
    geometry,
    rows: pruned.rows,
  };
}

/** Fits the weights of a case. */
export async function fitCase(
  engine: Engine,
  { name, groups, ridge }: RepairCase,
  arrays: Arrays,
  seen: Seen,
  checks: readonly number[],
  hasBias = true,
): Promise<Fitted> {
  const [weight, mask] = [arrays.get(`${name}/weight`)!, arrays.get(`${name}/mask`)!];
  const [rows, columns] = weight.shape as [number, number];
  const bits = new Uint8Array(Math.ceil(mask.data.length / 32) * 4);
  mask.data.forEach((kept, index) => (bits[index >> 3]! |= kept << (index & 7)));
  const outputs = rows / groups;
  return fit(engine, {
    dtype: 'float32',
    axes: [{ size: mask.data.length, block: 1, order: 0 }],
    mask: bits,
    dense: new Uint8Array(weight.data.buffer),
    layout: { sizes: [groups, outputs, columns, 1, 1, 1], steps: [outputs * columns, columns, 1, 1, 1, 1] },
    seen,
    heldOut: undefined,
    ridge,
    checks,
    hasBias,
    withoutEmpty: false,
  });
}

/** A digest of all results of each case (FNV-1a, 32 bits): crates/kernels/tests/repair.rs computes the same. */
export async function repairDigests(): Promise<Record<string, string>> {
  const engine = await loadEngine();
  const { cases, arrays } = await repairCases();
  const digests: Record<string, string> = {};
  for (const each of cases) {
    const { seen } = await seenIn(each, arrays);
    const { weights, shift } = await fitCase(engine, each, arrays, seen, [0, 1, 3, 10]);
    let hash = 0x811c_9dc5;
    for (const { buffer } of [seen.pruned.moment, seen.pruned.mean, weights, shift]) {
      for (const byte of new Uint8Array(buffer)) hash = Math.imul(hash ^ byte, 0x0100_0193);
    }
    digests[each.name] = (hash >>> 0).toString(16).padStart(8, '0');
  }
  return digests;
}
