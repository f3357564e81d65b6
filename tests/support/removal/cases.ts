// The networks of tests/cases/removal, of real exporters: see the README there.
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { readGraphOf } from '../onnx-reader.js';
import { Random } from './random.js';

const folder = fileURLToPath(new URL('../../cases/removal/', import.meta.url));

export interface Flavour {
  readonly zero: readonly { readonly tensor: string; readonly axis: number; readonly indices: readonly number[] }[];
  /** How many channels it aims at. */
  readonly aimed: number;
  /** What a reference took out exactly, and the parameters that it left. */
  readonly carried: { readonly channels: number; readonly params: number };
}

export interface NetworkCase {
  readonly name: string;
  readonly inputs: Readonly<
    Record<string, { readonly shape: readonly number[]; readonly isInteger: boolean; readonly isBatched?: boolean }>
  >;
  readonly flavours: Readonly<Record<'group' | 'filters' | 'mixed', Flavour>>;
  /** How many parameters a reference leaves if half of the channels of each group go. */
  readonly left50: number;
  readonly dense: () => Uint8Array<ArrayBuffer>;
}

export const networkNames: readonly string[] = namesIn('nets', '.onnx.gz');
export const trapNames: readonly string[] = namesIn('traps', '.onnx');

function namesIn(kind: string, end: string): string[] {
  return readdirSync(folder + kind)
    .filter((name) => name.endsWith(end))
    .map((name) => name.slice(0, -end.length));
}

export function networkCase(name: string): NetworkCase {
  const { holes, inputs, flavours, left50 } = JSON.parse(
    gunzipSync(readFileSync(`${folder}nets/${name}.json.gz`)).toString(),
  ) as {
    readonly holes: readonly (readonly [at: number, count: number, deviation: number])[];
  } & Pick<NetworkCase, 'inputs' | 'flavours' | 'left50'>;
  const dense = () => {
    const parts = gunzipSync(readFileSync(`${folder}nets/${name}.onnx.gz`));
    const missing = holes.reduce((sum, [, count]) => sum + 4 * count, 0);
    const bytes = new Uint8Array(parts.length + missing);
    let [from, to] = [0, 0];
    const copy = (count: number) => {
      bytes.set(parts.subarray(from, from + count), to);
      [from, to] = [from + count, to + count];
    };
    for (const [place, [at, count, deviation]] of holes.entries()) {
      copy(at - to);
      bytes.set(new Uint8Array(new Random(place, count).normals(count, deviation).buffer), to);
      to += 4 * count;
    }
    copy(parts.length - from);
    return bytes;
  };
  return { name, inputs, flavours, left50, dense };
}

/** A model with zeros where a flavour has them. */
export function maskedWith(dense: Uint8Array<ArrayBuffer>, { zero }: Flavour): Uint8Array<ArrayBuffer> {
  const bytes = dense.slice();
  const { constants } = readGraphOf(bytes);
  const view = new DataView(bytes.buffer);
  for (const { tensor, axis, indices } of zero) {
    const { shape, start, length } = constants.get(tensor)!;
    const chosen = new Set(indices);
    const inner = shape.slice(axis + 1).reduce((product, size) => product * size, 1);
    for (let place = 0; place < length; place++) {
      if (chosen.has(Math.floor(place / inner) % shape[axis]!)) view.setFloat32(start + 4 * place, 0, true);
    }
  }
  return bytes;
}

export interface TrapCase {
  readonly name: string;
  /** The most channels that may go. */
  readonly most: number;
  /** How many can go without folding a constant. */
  readonly plain: number;
  readonly inputs: Readonly<Record<string, readonly number[]>>;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

export function trapCase(name: string): TrapCase {
  const expected = JSON.parse(readFileSync(`${folder}traps/${name}.json`, 'utf8')) as Omit<TrapCase, 'name' | 'bytes'>;
  return { ...expected, name, bytes: new Uint8Array(readFileSync(`${folder}traps/${name}.onnx`)) };
}
