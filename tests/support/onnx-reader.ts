// Reads ONNX files for tests, independently of the library under test: the nodes of the outermost graph and its float32
// constants, each with the place of its numbers in the file.

export interface ReadNode {
  readonly op: string;
  readonly name: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
}

export interface ReadConstant {
  readonly shape: readonly number[];
  /** Where its numbers begin in the file, 4 bytes each. */
  readonly start: number;
  readonly length: number;
}

export interface ReadGraph {
  readonly nodes: readonly ReadNode[];
  readonly constants: ReadonlyMap<string, ReadConstant>;
  /** What initializers with external data say of them. */
  readonly external: ReadonlyMap<string, Readonly<Record<string, string>>>;
  /** Which nodes read a value. */
  readersOf(name: string): readonly ReadNode[];
}

export interface Field {
  readonly number: number;
  /** Of a number. */
  readonly value: number;
  /** Of anything else. */
  readonly start: number;
  readonly end: number;
}

export function fieldsOf(bytes: Uint8Array, start: number, end: number): Field[] {
  const fields: Field[] = [];
  let at = start;
  const varint = (): number => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++]!;
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return Number(BigInt.asIntN(64, value));
    }
  };
  while (at < end) {
    const tag = varint();
    const number = tag >> 3;
    const size = [undefined, 8, undefined, undefined, undefined, 4][tag & 7];
    if ((tag & 7) === 0) fields.push({ number, value: varint(), start: at, end: at });
    else {
      const length = size ?? varint();
      fields.push({ number, value: NaN, start: at, end: at + length });
      at += length;
    }
  }
  if (at !== end) throw new Error('a field ends beyond its message');
  return fields;
}

export function readGraphOf(bytes: Uint8Array): ReadGraph {
  const text = ({ start, end }: Field) => new TextDecoder().decode(bytes.slice(start, end));
  const inside = ({ start, end }: Field) => fieldsOf(bytes, start, end);
  const only = (fields: readonly Field[], number: number) => fields.filter((field) => field.number === number);

  const nodes: ReadNode[] = [];
  const constants = new Map<string, ReadConstant>();
  const external = new Map<string, Readonly<Record<string, string>>>();
  const addConstant = (tensor: readonly Field[], name: string) => {
    const [type] = only(tensor, 2);
    const shape = only(tensor, 1).flatMap((field) =>
      Number.isNaN(field.value) ? packed(bytes, field) : [field.value],
    );
    const length = shape.reduce((product, size) => product * size, 1);
    // raw_data, or float_data in one piece.
    const [data] = [...only(tensor, 9), ...only(tensor, 4)];
    if (type?.value === 1 && data !== undefined && data.end - data.start === 4 * length) {
      constants.set(name, { shape, start: data.start, length });
    }
  };

  const [graph] = only(fieldsOf(bytes, 0, bytes.length), 7);
  for (const field of inside(graph!)) {
    if (field.number === 5) {
      const tensor = inside(field);
      const name = text(only(tensor, 8)[0]!);
      addConstant(tensor, name);
      const entries = only(tensor, 13).map((entry) => [1, 2].map((number) => text(only(inside(entry), number)[0]!)));
      if (entries.length > 0) external.set(name, Object.fromEntries(entries) as Record<string, string>);
    }
    if (field.number !== 1) continue;
    const parts = inside(field);
    const [name] = only(parts, 3);
    const node = {
      op: text(only(parts, 4)[0]!),
      name: name ? text(name) : '',
      inputs: only(parts, 1).map(text),
      outputs: only(parts, 2).map(text),
    };
    nodes.push(node);
    if (node.op !== 'Constant') continue;
    for (const attribute of only(parts, 5)) {
      const [tensor] = only(inside(attribute), 5);
      if (tensor) addConstant(inside(tensor), node.outputs[0]!);
    }
  }
  return { nodes, constants, external, readersOf: (name) => nodes.filter(({ inputs }) => inputs.includes(name)) };
}

function packed(bytes: Uint8Array, { start, end }: Field): number[] {
  const numbers: number[] = [];
  let value = 0;
  let place = 1;
  for (const byte of bytes.subarray(start, end)) {
    value += (byte & 127) * place;
    place = byte < 128 ? 1 : place * 128;
    if (byte < 128) numbers.push(value);
    if (byte < 128) value = 0;
  }
  return numbers;
}

/** A copy of the numbers of a constant. */
export function numbersOf(bytes: Uint8Array, { start, length }: ReadConstant): Float32Array {
  return new Float32Array(bytes.slice(start, start + 4 * length).buffer);
}

export function zerosOf(numbers: Float32Array): number {
  return numbers.reduce((count, number) => count + (number === 0 ? 1 : 0), 0);
}
