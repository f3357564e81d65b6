// Writes .npz files for tests, independently of the library under test. Node only.
import { crc32, deflateRawSync } from 'node:zlib';
import { concat } from './onnx-builder.js';

type Bytes = Uint8Array<ArrayBuffer>;

const ascii = (text: string): Bytes => Uint8Array.from(text, (letter) => letter.charCodeAt(0));

export interface ArrayToStore {
  /** As NumPy spells types: `<f4` by default. */
  readonly descr?: string;
  readonly shape: readonly number[];
  readonly data: ArrayBufferView;
  readonly fortran?: boolean;
}

/** An .npy file of version 1. */
export function npy({ descr = '<f4', shape, data, fortran = false }: ArrayToStore): Bytes {
  const sizes = shape.map((size) => `${size},`).join(' ');
  const header = `{'descr': '${descr}', 'fortran_order': ${fortran ? 'True' : 'False'}, 'shape': (${sizes}), }`;
  // Numbers begin at a multiple of 64.
  const padded = `${header.padEnd(64 * Math.ceil((header.length + 11) / 64) - 11)}\n`;
  const length = Uint8Array.of(padded.length & 255, padded.length >> 8);
  const numbers = new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
  return concat(ascii('\x93NUMPY\x01\x00'), length, ascii(padded), numbers);
}

/** A ZIP file, compressed. */
export function zip(files: Readonly<Record<string, Uint8Array>>): Bytes {
  const local: Bytes[] = [];
  const central: Bytes[] = [];
  let at = 0;
  for (const [name, content] of Object.entries(files)) {
    const packed = new Uint8Array(deflateRawSync(content));
    const fields = new DataView(new ArrayBuffer(26));
    // Needed version, flags, method 8 (deflate), time, date, checksum, sizes, lengths of the name and of further fields.
    fields.setUint16(0, 20, true);
    fields.setUint16(4, 8, true);
    fields.setUint32(10, crc32(content), true);
    fields.setUint32(14, packed.length, true);
    fields.setUint32(18, content.length, true);
    fields.setUint16(22, name.length, true);
    const common = new Uint8Array(fields.buffer);
    const entry = concat(ascii('PK\x03\x04'), common, ascii(name), packed);
    const offset = new Uint8Array(Uint32Array.of(at).buffer);
    central.push(concat(ascii('PK\x01\x02\x14\x00'), common, new Uint8Array(10), offset, ascii(name)));
    local.push(entry);
    at += entry.length;
  }
  const size = central.reduce((sum, each) => sum + each.length, 0);
  const end = new DataView(new ArrayBuffer(18));
  end.setUint16(4, central.length, true);
  end.setUint16(6, central.length, true);
  end.setUint32(8, size, true);
  end.setUint32(12, at, true);
  return concat(...local, ...central, ascii('PK\x05\x06'), new Uint8Array(end.buffer));
}

/** An .npz file of arrays by name. */
export const npz = (arrays: Readonly<Record<string, ArrayToStore>>): Bytes =>
  zip(Object.fromEntries(Object.entries(arrays).map(([name, array]) => [`${name}.npy`, npy(array)])));
