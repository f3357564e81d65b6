// Apart from its use: Vite would take `new URL(..., import.meta.url)` for an asset and rewrite it.
const here = import.meta.url;

/** The bytes of a file beside the tests: from the disk in Node, from the test server in pages. */
export async function readBytes(name: string): Promise<Uint8Array<ArrayBuffer>> {
  const address = new URL(`../${name}`, here);
  if (typeof process !== 'undefined' && process.versions?.node && typeof document === 'undefined') {
    const { readFile } = await import('node:fs/promises');
    return new Uint8Array(await readFile(address));
  }
  const response = await fetch(address);
  if (!response.ok) throw new Error(`${address} answers ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}

export async function readJson<Content>(name: string): Promise<Content> {
  return JSON.parse(new TextDecoder().decode(await readBytes(name))) as Content;
}

export interface NamedArray {
  readonly shape: readonly number[];
  readonly data: Float32Array<ArrayBuffer> | Float64Array<ArrayBuffer> | Uint8Array<ArrayBuffer>;
}

/** The arrays of a safetensors file, by name. */
export function safetensors(bytes: Uint8Array<ArrayBuffer>): Map<string, NamedArray> {
  const headerBytes = Number(new DataView(bytes.buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + headerBytes))) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >;
  const arrays = new Map<string, NamedArray>();
  for (const [
    name,
    {
      dtype,
      shape,
      data_offsets: [from, to],
    },
  ] of Object.entries(header).filter(([name]) => name !== '__metadata__')) {
    const data = bytes.slice(8 + headerBytes + from, 8 + headerBytes + to);
    if (dtype === 'F32') arrays.set(name, { shape, data: new Float32Array(data.buffer) });
    else if (dtype === 'F64') arrays.set(name, { shape, data: new Float64Array(data.buffer) });
    else if (dtype === 'U8') arrays.set(name, { shape, data });
  }
  return arrays;
}
