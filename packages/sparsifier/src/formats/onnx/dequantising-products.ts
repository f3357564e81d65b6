import { inSlices } from '../../host/slices.js';
import type { Plan, Replaced } from './dequantising.js';
import type { Constant, Node, Value } from './graph.js';
import { title } from './titles.js';
import { bitsIn } from './operators.js';
import { differently, parameterAlong, sameQuantisation, type Quantisation } from './quantisation.js';
import { codeBytes, decodedFloats, parametersOf, type ReadBytes } from './quantised.js';
import { typeName } from './types.js';
import { mostAxes, shapeOf, typeOf, type View } from './views.js';

// Products of codes: the floats take the place of the codes, and a product of floats that of the nodes.

/** A product of codes, and the nodes that become a product of floats. */
interface Product {
  readonly replaced: Replaced;
  /** Nodes behind it that convert and scale the integers. */
  readonly dropped: readonly Node[];
  readonly meaning: Quantisation;
}

/** What is known of the inputs of a product of integers. */
interface Parts {
  /** The input as floats. */
  readonly input: Value | undefined;
  readonly scale: Value | undefined;
  readonly zeroPoint: Value | undefined;
  readonly output: Value | undefined;
  readonly bias?: Value | undefined;
  readonly dropped: readonly Node[];
}

/** How the parts of a product are found, by its operator; a text tells why they are not. */
const parts: Readonly<Record<string, (node: Node) => Parts | string>> = {
  MatMulInteger: integers,
  ConvInteger: integers,
  'com.microsoft.DynamicQuantizeMatMul': ({ inputs: [input, , scale, zeroPoint, bias], outputs: [output] }) => ({
    input,
    scale,
    zeroPoint,
    bias,
    output,
    dropped: [],
  }),
  'com.microsoft.MatMulIntegerToFloat': ({
    inputs: [a, , aScale, scale, aZero, zeroPoint, bias],
    outputs: [output],
  }) => {
    const rounding = roundingOf(a, aScale, aZero);
    return rounding === undefined ? notDynamic : { input: rounding, scale, zeroPoint, bias, output, dropped: [] };
  },
};

const incomplete = (node: Node): string => `${title(node)} lacks an input or output`;

const notDynamic = 'the inputs of its product are rounded with a fixed scale';

/** The value that `DynamicQuantizeLinear` rounds to these codes. */
function roundingOf(
  codes: Value | undefined,
  scale: Value | undefined,
  zeroPoint: Value | undefined,
): Value | undefined {
  const node = codes?.producer;
  if (node?.op !== 'DynamicQuantizeLinear') return undefined;
  const isRounded = node.outputs[0] === codes && node.outputs[1] === scale && node.outputs[2] === zeroPoint;
  return isRounded ? node.inputs[0] : undefined;
}

/** A product of integers, behind which a `Cast` and a `Mul` by the product of both scales follow. */
function integers(node: Node): Parts | string {
  const [a, , aZero, zeroPoint] = node.inputs;
  const cast = onlyReader(node, 'Cast');
  const scaling = cast && onlyReader(cast, 'Mul');
  if (cast === undefined || scaling === undefined) return `Cast and Mul do not follow ${title(node)}`;
  if (typeName(cast.attributes.get('to')?.integer ?? 0) !== 'float32') return `its product is not float32`;
  const [output] = scaling.outputs;
  const scales = scaling.inputs.find((value) => value !== cast.outputs[0]);
  const product = scales?.producer;
  if (product?.op !== 'Mul' || product.outputs[0] !== scales) return `its product is not multiplied with two scales`;
  for (const [inputScale, scale] of [product.inputs, [...product.inputs].reverse()]) {
    const input = roundingOf(a, inputScale, aZero);
    if (input !== undefined) return { input, scale, zeroPoint, output, dropped: [cast, scaling] };
  }
  return notDynamic;
}

/** The only node that reads the output of a node, if it is in the same graph and has this operator. */
function onlyReader({ outputs: [value], field }: Node, op: string): Node | undefined {
  const node = value?.isOutput ? undefined : value?.readers[0]?.node;
  const isOnly = value?.readers.length === 1 && node?.op === op && node.field?.within?.start === field?.within?.start;
  return isOnly && node.field !== undefined ? node : undefined;
}

function productAt(node: Node, view: View): Product | string {
  if (node.field === undefined) return `${title(node)} is in a local function`;
  const found = parts[node.op]!(node);
  if (typeof found === 'string') return found;
  const { input, scale, zeroPoint, output, bias, dropped } = found;
  if (input === undefined || output === undefined) return incomplete(node);
  const isConvolution = node.op === 'ConvInteger';
  const rank = view.axes.length;
  if (rank < 2) return `it has ${rank} axes`;
  const place = isConvolution ? 0 : rank - 1;
  // Counted from the end, since a scale aligns with the output.
  const channels = isConvolution ? rank - 1 : 1;
  if (!isAlong(scale, channels)) return 'the shape of its scale does not fit';
  const meaning = {
    scale: parameterAlong(view, view.axes[place]!, scale),
    zeroPoint: zeroPoint && parameterAlong(view, view.axes[place]!, zeroPoint),
  };
  const op = isConvolution ? 'Conv' : 'MatMul';
  const replaced = { node, op, inputs: [input, node.inputs[1]], output, bias, keepsAttributes: isConvolution };
  return { replaced, dropped, meaning };
}

/** Whether a constant differs along one axis alone, counted from the end, or not at all. */
function isAlong(value: Value | undefined, axis: number): boolean {
  const { view } = value ?? {};
  const shape = view === undefined || view.axes.length > mostAxes ? undefined : shapeOf(view);
  return shape !== undefined && shape.every((size, place) => size === 1 || shape.length - place === axis);
}

/** How floats take the place of codes that products read, or why they cannot; undefined if others read them. */
export function productsOf(constant: Constant): Plan | string | undefined {
  if (constant.isOutput) return 'it is an output of the graph';
  const { name, tensor, uses } = constant;
  if (uses.length > 0 && uses.every(({ node, input }) => node.op === 'com.microsoft.MatMulNBits' && input === 1)) {
    return blocked(constant);
  }
  if (uses.length === 0 || !uses.every(({ node, input }) => node.op in parts && input === 1)) return undefined;
  const products: Product[] = [];
  for (const { node, input } of uses) {
    const product = productAt(node, node.inputs[input]!.view!);
    if (typeof product === 'string') return product;
    products.push(product);
  }
  const [{ meaning }] = products as [Product];
  if (!products.every((each) => sameQuantisation(each.meaning, meaning))) {
    return differently;
  }
  const readers = new Set(constant.readers.map(({ node }) => node));
  const arranged = [...readers].flatMap(({ op, outputs }) => (op in parts ? [] : outputs));
  return {
    from: tensor.type,
    type: 'float32',
    shape: tensor.shape,
    name: (names) => (arranged.length > 0 ? name : names.take(plainName(name))),
    numbers: (read) => decodedFloats(constant, meaning, read),
    dropped: products.flatMap((each) => each.dropped),
    replaced: products.map(({ replaced }) => withFloats(replaced, constant)),
    retyped: arranged,
  };
}

/** The name of a weight without what quantisers append to it. */
const plainName = (name: string): string => name.replace(/_(quantized|Q\d\w*)$/, '');

/** A node with the floats in the place of the codes, unless nodes arrange them in front of it. */
function withFloats({ inputs: [input, codes], ...replaced }: Replaced, { name }: Constant): Replaced {
  return { ...replaced, inputs: [input, codes?.name === name ? undefined : codes] };
}

/** A weight of `MatMulNBits`. */
function blocked(constant: Constant): Plan | string {
  const { tensor, uses } = constant;
  const nodes = [...new Set(uses.map(({ node }) => node))];
  const [first] = nodes as [Node];
  const block = blockOf(first);
  if (typeof block === 'string') return block;
  const isSame = (node: Node) =>
    JSON.stringify(blockOf(node)) === JSON.stringify(block) &&
    [2, 3].every((input) => node.inputs[input]?.view?.constant === first.inputs[input]?.view?.constant);
  if (!nodes.every(isSame)) return differently;
  const lacking = nodes.find(({ inputs: [input], outputs: [output] }) => input === undefined || output === undefined);
  if (lacking !== undefined) return incomplete(lacking);
  const local = nodes.find(({ field }) => field === undefined);
  if (local !== undefined) return `${title(local)} is in a local function`;
  const { bits, outputs, inputs, size } = block;
  const blocks = Math.ceil(inputs / size);
  if (tensor.type !== 'uint8' || tensor.length !== outputs * blocks * Math.ceil((size * bits) / 8)) {
    return 'its shape does not fit the attributes of its node';
  }
  const [scale, zero] = [first.inputs[2]?.view, first.inputs[3]];
  if (scale === undefined) return 'its scale is not a stored tensor';
  const type = typeOf(scale);
  if (type !== 'float32' && type !== 'float16' && type !== 'bfloat16') return `its scale has the type ${type}`;
  return {
    from: `${bits}-bit codes (MatMulNBits)`,
    type,
    shape: [inputs, outputs],
    name: (names) => names.take(plainName(constant.name)),
    numbers: (read) => blockedNumbers(constant, block, scale.constant, zero, read),
    dropped: [],
    replaced: nodes.map((node) => ({
      node,
      op: 'MatMul',
      inputs: [node.inputs[0], undefined],
      output: node.outputs[0]!,
      bias: node.inputs[5],
    })),
    retyped: [],
  };
}

/** How `MatMulNBits` stores a weight: rows of codes for each output, in blocks of inputs that share a scale. */
interface Block {
  readonly bits: number;
  readonly outputs: number;
  readonly inputs: number;
  /** How many inputs share a scale. */
  readonly size: number;
}

function blockOf(node: Node): Block | string {
  const number = (name: string) => node.attributes.get(name)?.integer ?? 0;
  const [bits, outputs, inputs, size] = [bitsIn(node), number('N'), number('K'), number('block_size')];
  if (outputs < 1 || inputs < 1 || size < 1) return `${title(node)} does not say how its weight is stored`;
  if (node.inputs[4] !== undefined) return `${title(node)} groups its inputs in an order of their own`;
  return bits === 2 || bits === 4 || bits === 8 ? { bits, outputs, inputs, size } : `its codes have ${bits} bits`;
}

/** The weights (in, out) as floats of 32 bits, or why they are not known. */
async function blockedNumbers(
  constant: Constant,
  { bits, outputs, inputs, size }: Block,
  scale: Constant,
  zero: Value | undefined,
  read: ReadBytes,
): Promise<Uint8Array<ArrayBuffer> | string> {
  const blocks = Math.ceil(inputs / size);
  const zeroConstant = zero?.view?.constant;
  const [codes, scales, zeros] = [
    await codeBytes(constant, read),
    await parametersOf(scale, read),
    zeroConstant && (await parametersOf(zeroConstant, read)),
  ];
  if (codes === undefined || scales?.length !== outputs * blocks) return 'the shape of its scale does not fit';
  // One zero point for each block: packed as the codes are, or a float.
  const isPacked = zeroConstant?.tensor.type === 'uint8';
  const zeroBytes = Math.ceil((blocks * bits) / 8);
  const expected = isPacked ? outputs * zeroBytes : outputs * blocks;
  if (zero !== undefined && zeros?.length !== expected) return 'the shape of its zero point does not fit';
  const code = (list: Uint8Array | Float64Array, row: number, rowBytes: number, place: number) => {
    const bit = place * bits;
    return (list[row * rowBytes + (bit >> 3)]! >> (bit & 7)) & (2 ** bits - 1);
  };
  const zeroOf = (output: number, block: number) => {
    if (zeros === undefined) return 2 ** (bits - 1);
    return isPacked ? code(zeros, output, zeroBytes, block) : zeros[output * blocks + block]!;
  };
  const blockBytes = Math.ceil((size * bits) / 8);
  const floats = new Float32Array(inputs * outputs);
  const slice = (from: number, to: number) => {
    for (let output = from; output < to; output++) {
      for (let input = 0; input < inputs; input++) {
        const block = Math.floor(input / size);
        const difference = code(codes, output * blocks + block, blockBytes, input % size) - zeroOf(output, block);
        floats[input * outputs + output] = difference * scales[output * blocks + block]!;
      }
    }
  };
  await inSlices(outputs, slice, Math.max(1, Math.floor(2 ** 18 / inputs)));
  return new Uint8Array(floats.buffer);
}
