// Counts the weights of an ONNX file for tests, independently of the library under test: the numbers of all stored
// tensors of two or more axes that a node reads, in the graph, its subgraphs and its local functions, if they are floats
// or codes that a node decodes or computes with, or that a Cast makes floats of and a Mul multiplies with a constant.

/** The fields of a message by number: integers, or the bytes of anything else. */
type Message = Map<number, (bigint | Uint8Array)[]>;

function parse(bytes: Uint8Array): Message {
  const message: Message = new Map();
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++]!;
      value += BigInt(byte % 128) << shift;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const tag = Number(varint());
    const wire = tag % 8;
    let value: bigint | Uint8Array;
    if (wire === 0) value = varint();
    else {
      const length = wire === 1 ? 8 : wire === 5 ? 4 : Number(varint());
      value = bytes.subarray(at, at + length);
      at += length;
    }
    message.set(Math.floor(tag / 8), [...(message.get(Math.floor(tag / 8)) ?? []), value]);
  }
  return message;
}

const parts = (message: Message, number: number) =>
  (message.get(number) ?? []).filter((value) => typeof value !== 'bigint');
const texts = (message: Message, number: number) =>
  parts(message, number).map((bytes) => new TextDecoder().decode(bytes.slice()));
const numbersOf = (message: Message, number: number): bigint[] =>
  (message.get(number) ?? []).flatMap((value) => (typeof value === 'bigint' ? [value] : packed(value)));
/** Each of the packed numbers as a field 1 of its own. */
const packed = (bytes: Uint8Array): bigint[] =>
  numbersOf(
    parse(Uint8Array.from([...bytes].flatMap((byte, at) => (at === 0 || bytes[at - 1]! < 128 ? [8, byte] : [byte])))),
    1,
  );

interface Stored {
  axes: number;
  length: number;
  readonly type: number;
  /** Whether a node reads it that does not read it as a scale or zero point. */
  isRead: boolean;
  isCode: boolean;
}

const floats = [1, 10, 11, 16, 17, 18, 19, 20, 23, 24];
/** Those of 8 to 32 bits that can be codes. */
const integers = [2, 3, 4, 5, 6];
/** Inputs that are codes. */
const codes: Readonly<Record<string, readonly number[]>> = {
  DequantizeLinear: [0],
  QLinearConv: [3],
  ConvInteger: [1],
  QLinearMatMul: [0, 3],
  MatMulInteger: [0, 1],
  MatMulNBits: [1],
};
/** Inputs that are scales and zero points of codes, which are no weights. */
const parameters: Readonly<Record<string, readonly number[]>> = {
  QuantizeLinear: [1, 2],
  DequantizeLinear: [1, 2],
  MatMulNBits: [2, 3],
};
/** Operators that only arrange the numbers of their first input, or of all inputs. */
const arranging = [
  ...['Identity', 'Transpose', 'Reshape', 'Flatten', 'Squeeze', 'Unsqueeze', 'Slice', 'Split', 'Concat', 'Gather'],
  ...['Expand', 'Tile', 'Cast'],
];

/** A stored tensor that a value is arranged from, and what has become of it on the way. */
interface Reached {
  readonly tensor: Stored;
  /** Whether a Cast has made floats of it. */
  readonly isCast: boolean;
  /** Whether a Sub has taken a zero point from it. */
  readonly isShifted: boolean;
}

interface Value {
  readonly reached: readonly Reached[];
  readonly isConstant: boolean;
}

type Values = Map<string, Value>;
type Attributes = Map<string, Message>;

const computed: Value = { reached: [], isConstant: false };
const omitted: Value = { reached: [], isConstant: true };
const holding = (...tensors: readonly Stored[]): Value => ({
  reached: tensors.map((tensor) => ({ tensor, isCast: false, isShifted: false })),
  isConstant: true,
});

/** How many numbers of two or more axes a model contains. */
export function countWeights(file: Uint8Array): number {
  const model = parse(file);
  const functions = new Map(
    parts(model, 25).map((bytes) => {
      const found = parse(bytes);
      return [`${texts(found, 10)[0]}.${texts(found, 1)[0]}`, found];
    }),
  );
  /** By the address of its bytes, since the body of a function is read for each call. */
  const all = new Map<number, Stored>();

  const read = (bytes: Uint8Array, isSparse: boolean): Stored => {
    const known = all.get(bytes.byteOffset);
    if (known) return known;
    const tensor = parse(bytes);
    const values = isSparse ? parse(parts(tensor, 1)[0]!) : tensor;
    const shape = numbersOf(tensor, isSparse ? 3 : 1);
    const length = numbersOf(values, 1).reduce((product, size) => product * size, 1n);
    const type = Number(numbersOf(values, 2)[0]);
    const stored = { axes: shape.length, length: Number(length), type, isRead: false, isCode: false };
    all.set(bytes.byteOffset, stored);
    return stored;
  };

  const runNodes = (nodes: readonly Uint8Array[], values: Values, given: Attributes) => {
    for (const bytes of nodes) {
      const node = parse(bytes);
      const [op, domain] = [texts(node, 4)[0] ?? '', texts(node, 7)[0] ?? ''];
      const inputs = texts(node, 1).map((name) => (name === '' ? omitted : (values.get(name) ?? computed)));
      const outputs = texts(node, 2);
      const attributes: Attributes = new Map();
      for (const attribute of parts(node, 5).map(parse)) {
        const [reference] = texts(attribute, 21);
        const value = reference === undefined ? attribute : given.get(reference);
        if (value) attributes.set(texts(attribute, 1)[0]!, value);
      }
      const hasGraph = [...attributes.values()].some((each) => parts(each, 6).length + parts(each, 11).length > 0);
      const isConstant = !hasGraph && inputs.length > 0 && inputs.every((value) => value.isConstant);
      for (const name of outputs) values.set(name, { reached: [], isConstant });

      const called = functions.get(`${domain}.${op}`);
      if (called !== undefined) {
        const defaults = parts(called, 11).map(parse);
        const all: Attributes = new Map([
          ...defaults.map((attribute) => [texts(attribute, 1)[0]!, attribute] as const),
          ...attributes,
        ]);
        const inner: Values = new Map(texts(called, 4).map((name, place) => [name, inputs[place] ?? omitted]));
        runNodes(parts(called, 7), inner, all);
        for (const [place, name] of texts(called, 5).entries()) {
          if (outputs[place]) values.set(outputs[place], inner.get(name) ?? computed);
        }
        continue;
      }
      const hasCodes = inputs.map(({ reached }) =>
        reached.some(({ tensor, isCast }) => isCast && integers.includes(tensor.type)),
      );
      for (const [place, { reached }] of inputs.entries()) {
        const isScale = op === 'Mul' && isConstant && hasCodes[1 - place] === true && !hasCodes[place];
        const isZeroPoint = op === 'Sub' && isConstant && place === 1 && hasCodes[0] === true && !hasCodes[1];
        const isParameter = isScale || isZeroPoint || parameters[op]?.includes(place) === true;
        for (const { tensor, isCast, isShifted } of reached) {
          if (!isParameter) tensor.isRead = true;
          if (!isShifted && codes[op]?.includes(place)) tensor.isCode = true;
          // Several codes are in a byte.
          const sizes = ['N', 'K'].map((name) => Number(numbersOf(attributes.get(name) ?? new Map(), 3)[0] ?? 0));
          if (op === 'MatMulNBits' && place === 1 && sizes.every((size) => size > 0)) {
            [tensor.axes, tensor.length] = [2, sizes[0]! * sizes[1]!];
          }
          if (op === 'Mul' && isConstant && isCast && integers.includes(tensor.type)) tensor.isCode = true;
        }
      }
      if (arranging.includes(op) || op === 'Sub') {
        const all = (op === 'Concat' ? inputs : inputs.slice(0, 1)).flatMap(({ reached }) => reached);
        const passed = all.filter(({ isCast }) => isCast || op !== 'Sub');
        const isToFloat = op === 'Cast' && floats.includes(Number(numbersOf(attributes.get('to') ?? new Map(), 3)[0]));
        const changed = passed.map((each) => ({
          tensor: each.tensor,
          isCast: each.isCast || isToFloat,
          isShifted: each.isShifted || op === 'Sub',
        }));
        for (const name of outputs) values.set(name, { reached: changed, isConstant });
      }
      for (const attribute of attributes.values()) {
        const tensors = [...parts(attribute, 5), ...parts(attribute, 10)].map((bytes) => read(bytes, false));
        const sparse = [...parts(attribute, 22), ...parts(attribute, 23)].map((bytes) => read(bytes, true));
        if (op === 'Constant') values.set(outputs[0]!, holding(...tensors, ...sparse));
        else for (const tensor of [...tensors, ...sparse]) tensor.isRead = true;
        for (const bytes of [...parts(attribute, 6), ...parts(attribute, 11)]) runGraph(parse(bytes), values, given);
      }
    }
  };

  const runGraph = (graph: Message, outer: Values, given: Attributes) => {
    const values: Values = new Map(outer);
    for (const bytes of parts(graph, 11)) values.set(texts(parse(bytes), 1)[0]!, computed);
    for (const bytes of parts(graph, 5)) values.set(texts(parse(bytes), 8)[0] ?? '', holding(read(bytes, false)));
    for (const bytes of parts(graph, 15)) {
      values.set(texts(parse(parts(parse(bytes), 1)[0]!), 8)[0] ?? '', holding(read(bytes, true)));
    }
    runNodes(parts(graph, 1), values, given);
  };

  runGraph(parse(parts(model, 7).at(-1)!), new Map(), new Map());
  return [...all.values()]
    .filter(({ axes, type, isRead, isCode }) => axes >= 2 && isRead && (floats.includes(type) || isCode))
    .reduce((sum, { length }) => sum + length, 0);
}
