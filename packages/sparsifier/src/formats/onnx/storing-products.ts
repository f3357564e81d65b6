import { int4Block, type NewNumbers } from '../../model/forms.js';
import { lengthDelimited, integerField, textField } from './edits.js';
import { factorOf } from './bias.js';
import type { Constant, Node } from './graph.js';
import { title } from './titles.js';
import { tieOf, type Layer } from './layers.js';
import { castTo, removed, type PlaceInGraph, type StoredNumbers } from './storing-chains.js';
import { typeOf } from './views.js';
import type { Field } from './wire.js';
import type { ModelWriter, NewNode } from './writing.js';

// Products that runtimes compute with codes. All nodes that read the weight are replaced, and so are those that arrange
// it in front of them.

type Codes = Pick<Extract<NewNumbers, { readonly scales: unknown }>, 'codes' | 'scales'> & {
  readonly form: 'int8-dynamic' | 'int4';
};

export const isProduct = (numbers: NewNumbers): numbers is Codes =>
  numbers.form === 'int8-dynamic' || numbers.form === 'int4';

/** A product of a value and a weight, and what may be added to it. */
interface Product {
  readonly node: Field;
  readonly name: string;
  readonly input: string;
  readonly output: string;
  /** Empty for none. */
  readonly bias: string;
  /** What the product is multiplied with. */
  readonly factor: number;
}

interface Products {
  /** In the order of the file. */
  readonly list: readonly Product[];
  /** The nodes that arrange the weight. */
  readonly arranging: readonly Field[];
}

/** The most different factors of the products of one weight: its scales are stored for each of them. */
const mostFactors = 16;

/** The products that a weight is read by, or why it cannot be multiplied as codes. */
export function productsOf(constant: Constant, layers: readonly Layer[]): Products | string {
  const tie = tieOf(layers);
  if (tie !== undefined) return tie;
  const nodes = new Set(layers.map(({ node }) => node));
  const list: Product[] = [];
  for (const layer of layers) {
    const product = productOf(layer);
    if (typeof product === 'string') return product;
    list.push(product);
  }
  if (new Set(list.map(({ factor }) => factor)).size > mostFactors) {
    return `several nodes share it, and multiply it with more than ${mostFactors} different factors`;
  }
  list.sort((one, other) => one.node.start - other.node.start);
  const arranging = new Set<Field>();
  for (const { node } of constant.readers) {
    if (nodes.has(node)) continue;
    if (node.op.endsWith('QuantizeLinear')) return `${title(node)} rounds it`;
    if (node.field === undefined) return `${title(node)} is in a local function`;
    arranging.add(node.field);
  }
  return { list, arranging: [...arranging] };
}

function productOf({ node, input, view }: Layer): Product | string {
  const { op, name, inputs, outputs, field } = node;
  if (op !== 'MatMul' && op !== 'Gemm')
    return `only MatMul and Gemm multiply codes, and it is the weight of ${title(node)}`;
  if (field === undefined) return `${title(node)} is in a local function`;
  if (input !== 1) return `it is the left factor of ${title(node)}`;
  if (view.axes.length !== 2) return `it has ${view.axes.length} axes, and codes are multiplied as matrices`;
  if (view.constant.tensor.type !== 'float32' || typeOf(view) !== 'float32')
    return 'its numbers are not of type float32';
  const [value, output] = [inputs[0], outputs[0]];
  if (value === undefined || output === undefined) return `${title(node)} lacks an input or output`;
  if (value.rank === 1) return `${title(node)} multiplies it with a vector`;
  const factor = op === 'Gemm' ? factorOf(node, 'alpha') : 1;
  const bias = op === 'Gemm' ? (inputs[2]?.name ?? '') : '';
  const isPlain = op === 'MatMul' || isPlainGemm(node, factor, bias);
  if (!isPlain) return `${title(node)} transposes its input, or multiplies its bias or output by a factor`;
  return { node: field, name, input: value.name, output: output.name, bias, factor };
}

function isPlainGemm(node: Node, factor: number, bias: string): boolean {
  const isTransposed = (node.attributes.get('transA')?.integer ?? 0) !== 0;
  return !isTransposed && factor > 0 && (bias === '' || factorOf(node, 'beta') === 1);
}

/** How a weight is stored as a matrix. */
interface Matrix {
  readonly inputs: number;
  readonly outputs: number;
  /** How far apart neighbours are. */
  readonly steps: { readonly input: number; readonly output: number };
}

export function matrixOf([layer]: readonly Layer[]): Matrix {
  const { roles, shape } = layer!.layout;
  const [inputs, outputs] = [shape[roles.indexOf('in')] ?? 1, shape[roles.indexOf('out')]!];
  const isOutFirst = roles[0] === 'out';
  return { inputs, outputs, steps: isOutFirst ? { input: 1, output: inputs } : { input: outputs, output: 1 } };
}

/** The codes of a weight as its operator reads them. */
export function codesOf(layers: readonly Layer[], { form, codes }: Codes): Uint8Array {
  const matrix = matrixOf(layers);
  return form === 'int4' ? packed(matrix, codes) : transposed(matrix, codes);
}

/** Rows of the codes of all outputs, one for each input. */
function transposed({ inputs, outputs, steps }: Matrix, codes: Int8Array<ArrayBuffer>): Uint8Array {
  if (steps.output === 1) return new Uint8Array(codes.buffer, codes.byteOffset, codes.length);
  const rows = new Uint8Array(codes.length);
  for (let output = 0; output < outputs; output++) {
    for (let input = 0; input < inputs; input++) rows[input * outputs + output] = codes[output * inputs + input]!;
  }
  return rows;
}

/** What stands for 0 where codes have no sign. */
const int4Zero = 8;

const blocksOf = (inputs: number): number => Math.ceil(inputs / int4Block);

/** Blocks of codes for each output, two in a byte, the first in its lower half. The last block is filled up with zeros. */
function packed({ inputs, outputs, steps }: Matrix, codes: Int8Array): Uint8Array {
  const rowBytes = (blocksOf(inputs) * int4Block) / 2;
  const bytes = new Uint8Array(outputs * rowBytes).fill(int4Zero * 17);
  for (let output = 0; output < outputs; output++) {
    for (let input = 0; input < inputs; input++) {
      const at = output * rowBytes + (input >> 1);
      const code = codes[output * steps.output + input * steps.input]! + int4Zero;
      bytes[at] = input % 2 === 0 ? (bytes[at]! & 0xf0) | code : (bytes[at]! & 0x0f) | (code << 4);
    }
  }
  return bytes;
}

/** A weight whose products are replaced. */
export interface NewCodes {
  readonly constant: Constant;
  readonly layers: readonly Layer[];
  /** The codes, as {@link codesOf} returns them. */
  readonly stored: StoredNumbers;
  readonly numbers: Codes;
}

/** Replaces the products of weights. */
export function addProducts(writer: ModelWriter, weights: readonly NewCodes[]): void {
  const replaced = weights.map((weight) => {
    const products = productsOf(weight.constant, weight.layers) as Products;
    return { ...weight, ...products, matrix: matrixOf(weight.layers) };
  });
  const rounding = new Rounding(
    writer,
    replaced.filter(({ numbers }) => numbers.form === 'int8-dynamic').flatMap(({ list }) => list),
  );
  if (replaced.some(({ numbers }) => numbers.form === 'int4')) importDomain(writer);
  for (const { constant, stored, numbers, list, arranging, matrix } of replaced) {
    const place = removed(writer, constant);
    for (const node of arranging) writer.edits.drop(node);
    const { inputs, outputs } = matrix;
    const codes = writer.names.take(`${constant.name}_quantized`);
    const isBlocked = numbers.form === 'int4';
    const blocks = blocksOf(inputs);
    place.store(
      codes,
      isBlocked
        ? { type: 'uint8', shape: [outputs, blocks, int4Block / 2], numbers: stored }
        : { type: 'int8', shape: [inputs, outputs], numbers: stored },
    );
    const scales = scaleNames(writer, place, constant, list, numbers.scales, isBlocked ? [outputs, blocks] : [outputs]);
    for (const product of list) {
      const scale = scales.get(product.factor)!;
      writer.edits.drop(product.node);
      if (isBlocked) addBlocked(writer, product, codes, scale, matrix);
      else addDynamic(writer, product, codes, scale, rounding.of(product));
    }
  }
}

/** Stores the scales of a weight, multiplied with each factor of its products. */
function scaleNames(
  { names }: ModelWriter,
  place: PlaceInGraph,
  { name }: Constant,
  products: readonly Product[],
  scales: Float32Array,
  shape: readonly number[],
): Map<number, string> {
  const stored = new Map<number, string>();
  for (const { factor } of products) {
    if (stored.has(factor)) continue;
    const multiplied = scales.map((scale) => scale * factor);
    const own = names.take(`${name}_scale`);
    place.store(own, { type: 'float32', shape, numbers: new Uint8Array(multiplied.buffer) });
    stored.set(factor, own);
  }
  return stored;
}

/** An input that was rounded to 8 bits: its codes, their scale and zero point. */
type Rounded = readonly [codes: string, scale: string, zeroPoint: string];

/** Rounds each input once, before the first node of a graph that reads it. */
class Rounding {
  readonly #writer: ModelWriter;
  readonly #first = new Map<string, Field>();
  readonly #rounded = new Map<string, Rounded>();

  constructor(writer: ModelWriter, products: readonly Product[]) {
    this.#writer = writer;
    for (const product of products) {
      const first = this.#first.get(keyOf(product));
      if (first === undefined || product.node.start < first.start) this.#first.set(keyOf(product), product.node);
    }
  }

  of(product: Product): Rounded {
    const key = keyOf(product);
    const known = this.#rounded.get(key);
    if (known !== undefined) return known;
    const { names } = this.#writer;
    const { input } = product;
    const rounded = [
      names.take(`${input}_quantized`),
      names.take(`${input}_scale`),
      names.take(`${input}_zero_point`),
    ] as const;
    const first = this.#first.get(key)!;
    this.#writer.add(first.within!, first.tagStart, { op: 'DynamicQuantizeLinear', inputs: [input], outputs: rounded });
    this.#rounded.set(key, rounded);
    return rounded;
  }
}

/** The input of a product, whose name may mean different values in different graphs. */
const keyOf = ({ node, input }: Product): string => `${node.within!.start} ${input}`;

/**
 * A product of integers, arranged as onnxruntime fuses it into one node: it is converted, then multiplied with the product
 * of both scales, of which that of the input is first. A bias is the second operand of its sum.
 */
function addDynamic(
  writer: ModelWriter,
  product: Product,
  codes: string,
  weightScale: string,
  [input, inputScale, zeroPoint]: Rounded,
): void {
  const { names } = writer;
  const { within: graph, tagStart: at } = product.node;
  const add = (node: NewNode) => writer.add(graph!, at, node);
  const [sums, floats] = [names.take(`${product.output}_integers`), names.take(`${product.output}_float32`)];
  const scale = names.take(`${product.output}_scale`);
  add({ op: 'MatMulInteger', name: product.name, inputs: [input, codes, zeroPoint], outputs: [sums] });
  add(castTo('float32', sums, floats));
  add({ op: 'Mul', inputs: [inputScale, weightScale], outputs: [scale] });
  withBias(writer, product, (output) => add({ op: 'Mul', inputs: [floats, scale], outputs: [output] }));
}

function addBlocked(writer: ModelWriter, product: Product, codes: string, scale: string, matrix: Matrix): void {
  const { within: graph, tagStart: at } = product.node;
  withBias(writer, product, (output) =>
    writer.add(graph!, at, {
      op: 'MatMulNBits',
      domain: microsoft,
      name: product.name,
      inputs: [product.input, codes, scale],
      outputs: [output],
      integers: { K: matrix.inputs, N: matrix.outputs, bits: 4, block_size: int4Block },
    }),
  );
}

/** Adds the node with the output of a product, and behind it an `Add` if the product has a bias. */
function withBias(writer: ModelWriter, { node, output, bias }: Product, add: (output: string) => void): void {
  if (bias === '') return add(output);
  const sum = writer.names.take(`${output}.withoutBias`);
  add(sum);
  writer.add(node.within!, node.tagStart, { op: 'Add', inputs: [sum, bias], outputs: [output] });
}

const microsoft = 'com.microsoft';

/** Says that the model uses operators of onnxruntime, unless it does. */
function importDomain({ edits, versions }: ModelWriter): void {
  if (versions.domains.has(microsoft)) return;
  const end = edits.file.bytes.length;
  edits.insert(undefined, end, ...lengthDelimited(8, textField(1, microsoft), integerField(2, 1)));
}
