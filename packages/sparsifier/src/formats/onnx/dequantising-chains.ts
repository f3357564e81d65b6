import type { Plan } from './dequantising.js';
import type { Constant, Node, Reader, Value } from './graph.js';
import { title } from './titles.js';
import { differently, sameQuantisation, type Quantisation } from './quantisation.js';
import { decodedFloats, decodesLookup, floatsOf, type ReadBytes } from './quantised.js';
import { typeName } from './types.js';
import { typeOf, type View } from './views.js';

// Constants that nodes decode one number at a time: the floats take their place, and the nodes go.

/** Operators that decode codes, or take a part in that. */
const decoders = /^(Cast|Sub|Mul|(com\.microsoft\.)?DequantizeLinear)$/;

/** Operators that only arrange numbers. */
const arranging = /^(Identity|Transpose|Unsqueeze|Squeeze|Reshape|Flatten)$/;

/** Whether a constant is of 16-bit floats of which a `Cast` makes those of 32 bits. */
export function halvesIn({ tensor, readers }: Constant): boolean {
  const isHalf = tensor.values !== undefined && tensor.type !== 'float32';
  return isHalf && readers.some(({ node }) => isWidening(node));
}

const isWidening = ({ op, attributes }: Node): boolean =>
  op === 'Cast' && typeName(attributes.get('to')?.integer ?? 0) === 'float32';

/** How the floats of a constant take the place of its codes, or why they cannot. */
export function chainOf(constant: Constant): Plan | string {
  const { tensor, isOutput } = constant;
  if (isOutput) return 'it is an output of the graph';
  const isCoded = tensor.values === undefined;
  // A node may read the constant as several of its inputs.
  const decodingNodes = new Set<Node>();
  const retyped: Value[] = [];
  // Several nodes may look up values of one name.
  const found = new Set<Value>();
  for (const { node } of constant.readers.filter((each) => isRaw(constant, each))) {
    const [result] = node.outputs;
    const isPassed = result?.view?.constant === constant;
    const isDecoder = decoders.test(node.op) && (isCoded || isWidening(node));
    if (isPassed && isDecoder) decodingNodes.add(node);
    else if (isPassed && arranging.test(node.op)) retyped.push(result);
    else if (isCoded && decodesLookup(node)) {
      if (found.has(result!)) continue;
      found.add(result!);
      retyped.push(result!);
      for (const reader of result!.readers) decodingNodes.add(reader.node);
    } else return `${title(node)} reads it as ${tensor.type}`;
  }
  const decoding = [...decodingNodes];
  const lacking = decoding.find(({ outputs }) => outputs.length === 0);
  if (lacking !== undefined) return `${title(lacking)} has no output`;
  const local = decoding.find(({ field }) => field === undefined);
  if (local !== undefined) return `${title(local)} is in a local function`;
  const types = [...new Set(decoding.map(typeAfter).filter((type) => type !== undefined))];
  const [type] = types;
  if (types.length !== 1 || !isType(type)) return `it is decoded as ${types.join(' and ') || 'an unknown type'}`;
  const plan = {
    from: tensor.type,
    type,
    shape: tensor.shape,
    numbers: (read: ReadBytes) => numbersOf(constant, decoding, read),
  };
  const last = decoding.at(-1)!.outputs[0]!;
  if (isSequence(constant, decoding)) {
    return { ...plan, name: () => last.name, dropped: decoding, replaced: [], retyped: [] };
  }
  const replaced = decoding.map((node) => ({
    node,
    op: 'Identity',
    inputs: [sourceOf(constant, node)],
    output: node.outputs[0]!,
  }));
  return { ...plan, name: () => constant.name, dropped: [], replaced, retyped };
}

/** The floats of a constant, or why they are not known. */
async function numbersOf(
  constant: Constant,
  decoding: readonly Node[],
  read: ReadBytes,
): Promise<Uint8Array<ArrayBuffer> | string> {
  const { name, tensor } = constant;
  const values = tensor.values ?? constant.decoded;
  if (typeof values === 'object') return floatsOf(values, name, read);
  // Codes of less than 8 bits.
  const [meaning, ...others] = decoding.flatMap(({ outputs }) => outputs[0]!.view?.quantisation ?? []) as [
    Quantisation,
  ];
  const isSame = others.every((each) => sameQuantisation(each, meaning));
  return isSame ? decodedFloats(constant, meaning, read) : differently;
}

/** Whether an input reads a constant that is not decoded yet. */
function isRaw(constant: Constant, { node, input }: Reader): boolean {
  const value = node.inputs[input];
  const views = value?.view ? [value.view] : (value?.parts ?? []);
  const isDecoded = ({ quantisation, type }: View) =>
    constant.tensor.values !== undefined ? type !== undefined : quantisation !== undefined;
  return !views.some((view) => view.constant === constant && isDecoded(view));
}

/** The type of the floats that a node gives, if it is the last one that decodes them. */
function typeAfter({ op, inputs, outputs: [result], attributes }: Node): string | undefined {
  if (op.endsWith('DequantizeLinear')) {
    const stated = attributes.get('output_dtype')?.integer ?? 0;
    return stated === 0 ? inputs[1]?.view && typeOf(inputs[1].view) : typeName(stated);
  }
  const { view } = result!;
  return view!.converted === undefined ? typeOf(view!) : undefined;
}

const isType = (type: string | undefined): type is Plan['type'] =>
  type === 'float32' || type === 'float16' || type === 'bfloat16';

/** The input of a node that has the numbers of a constant. */
const sourceOf = (constant: Constant, { inputs }: Node): Value =>
  inputs.find((value) => value?.view?.constant === constant) ?? inputs[0]!;

/** Whether nodes read the constant, then each other, and nothing else does. */
function isSequence(constant: Constant, nodes: readonly Node[]): boolean {
  const { name, holder, readers } = constant;
  if (readers.filter((each) => isRaw(constant, each)).length !== nodes.length) return false;
  let before = name;
  for (const [place, node] of nodes.entries()) {
    const isInGraph = node.field!.within!.start === holder!.within!.start;
    if (!isInGraph || !node.inputs.some((value) => value?.name === before)) return false;
    const [result] = node.outputs as [Value];
    if (result.isOutput || (place < nodes.length - 1 && result.readers.length !== 1)) return false;
    before = result.name;
  }
  return true;
}
