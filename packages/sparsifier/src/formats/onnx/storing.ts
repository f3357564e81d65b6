import type { Form, NewNumbers } from '../../model/forms.js';
import { joinedOutput } from '../joined.js';
import type { CurrentFiles, ModelOutput, OtherNumbers, Storage } from '../format.js';
import { dequantized } from './dequantising.js';
import { Edits, edited } from './edits.js';
import { readGraph, type Constant, type Graph } from './graph.js';
import { findWeights, type Layer } from './layers.js';
import { Names } from './names.js';
import { operators } from './operators.js';
import { addConverted, addDecoded } from './storing-chains.js';
import { ExternalData } from './storing-data.js';
import { addProducts, codesOf, isProduct, matrixOf, productsOf, type NewCodes } from './storing-products.js';
import type { ModelFile } from './wire.js';
import type { Versions } from './versions.js';
import { ModelWriter } from './writing.js';

const forms = ['int8', 'int8-dynamic', 'int4', 'float16'] as const satisfies readonly Form[];

/** The opset that has `DynamicQuantizeLinear`. */
const firstDynamic = 11;

/** How many products of an input from 0 to 255 and a code from -127 to 127 have a sum that fits into 32 bits. */
const mostProducts = Math.floor((2 ** 31 - 1) / (255 * 127));

/** Smaller constants stay as they are: a node that converts them takes as many bytes. */
const fewestOthers = 64;

/** The weight of a layer as it is stored, and the nodes that read it. */
interface Weight {
  readonly constant: Constant;
  readonly layers: readonly Layer[];
}

/**
 * How the numbers of a model can be stored in other forms.
 * @param outputs the files that the model is written to, as it is now
 */
export function storageIn(
  graph: Graph,
  versions: Versions,
  outputs: (current: CurrentFiles) => Promise<readonly ModelOutput[]>,
): Storage {
  const weights = weightsIn(graph);
  const obstacles = new Map<string, ReadonlyMap<Form, string | undefined>>();
  for (const [name, weight] of weights) {
    obstacles.set(name, new Map(forms.map((form) => [form, obstacleTo(weight, form, versions)])));
  }
  const others = Array.from(othersIn(graph, weights), ([name, { tensor }]): OtherNumbers => ({
    name,
    values: tensor.values!,
    shape: tensor.shape,
  }));
  return {
    forms,
    usualForm: (kind) => (kind === 'dense' && versions.opset >= firstDynamic ? 'int8-dynamic' : 'int8'),
    obstacle: ({ name }, form) => (obstacles.has(name) ? obstacles.get(name)!.get(form) : storedAsCodes),
    isQuantized: ({ name, values: { dtype } }) => !obstacles.has(name) || dtype !== 'float32',
    others: () => others,
    rewritten: async (layers, others, current) => rewritten(await outputs(current), layers, others),
    dequantized: async (current) => dequantized(await outputs(current)),
  };
}

const storedAsCodes = 'it is stored as codes already';

/** The weights of all layers that are stored as floats, by the names of the layers. */
function weightsIn(graph: Graph): Map<string, Weight> {
  const weights = new Map<string, Weight>();
  for (const { names, constant, layers, reason } of findWeights(graph)) {
    if (reason === undefined && constant?.tensor.values !== undefined) weights.set(names[0]!, { constant, layers });
  }
  return weights;
}

/** Why a weight cannot be stored in a form. */
function obstacleTo({ constant, layers }: Weight, form: Form, { opset }: Versions): string | undefined {
  if (constant.holder === undefined) return 'it is in a local function';
  if (form === 'float16') return constant.tensor.type === 'float32' ? undefined : 'its numbers have 16 bits already';
  if (form === 'int8') return undefined;
  if (form === 'int8-dynamic' && opset < firstDynamic) {
    return `its operators need opset ${firstDynamic} or later, and the file has opset ${opset}`;
  }
  const products = productsOf(constant, layers);
  if (typeof products === 'string') return products;
  const isSafe = form === 'int4' || matrixOf(layers).inputs <= mostProducts;
  return isSafe ? undefined : `sums of more than ${mostProducts} products of codes may not fit into 32 bits`;
}

/** The constants that can be stored as 16-bit floats and are not the weights of layers, by names of their own. */
function othersIn({ constants }: Graph, weights: ReadonlyMap<string, Weight>): Map<string, Constant> {
  const those = new Set(Array.from(weights.values(), ({ constant }) => constant));
  const names = new Names();
  const others = new Map<string, Constant>();
  for (const constant of constants) {
    if (!those.has(constant) && isOther(constant)) others.set(names.take(constant.name), constant);
  }
  return others;
}

function isOther({ tensor, holder, uses, isOutput, overlaps }: Constant): boolean {
  const isStored = tensor.type === 'float32' && tensor.values !== undefined && holder !== undefined;
  if (!isStored || tensor.length < fewestOthers || isOutput || overlaps !== undefined) return false;
  // Scales of codes keep their precision, as do numbers from which others are computed before the model runs.
  const isKept = ({ op, outputs }: Constant['uses'][number]['node']) =>
    operators.get(op)?.codes !== undefined ||
    op.endsWith('QuantizeLinear') ||
    outputs.every((value) => value.isConstant);
  return uses.length > 0 && !uses.some(({ node }) => isKept(node));
}

/** A constant and the numbers that it gets. */
interface Change {
  readonly constant: Constant;
  readonly layers: readonly Layer[];
  readonly numbers: NewNumbers;
}

/** The files of a model with some of its numbers in other forms. */
async function rewritten(
  [main, ...data]: readonly ModelOutput[],
  layers: ReadonlyMap<string, NewNumbers>,
  others: ReadonlyMap<string, NewNumbers>,
): Promise<Map<string, Uint8Array<ArrayBuffer>>> {
  const file: ModelFile = { name: main!.path, bytes: await joinedOutput(main!) };
  const graph = readGraph(file);
  const weights = weightsIn(graph);
  const constants = othersIn(graph, weights);
  const changes = [
    ...Array.from(layers, ([name, numbers]): Change => ({ ...weights.get(name)!, numbers })),
    ...Array.from(others, ([name, numbers]): Change => ({ constant: constants.get(name)!, layers: [], numbers })),
  ];
  const edits = new Edits(file);
  const external = new ExternalData(edits);
  for (const { constant, layers, numbers } of changes) external.replace(constant, bytesOf(layers, numbers));
  external.place();
  const writer = new ModelWriter(edits);
  const products: NewCodes[] = [];
  for (const { constant, layers, numbers } of changes) {
    const stored = external.numbersOf(constant);
    if (numbers.form === 'float16') addConverted(writer, constant, stored);
    else if (numbers.form === 'int8') addDecoded(writer, constant, layers, stored, numbers.scales);
    else if (isProduct(numbers)) products.push({ constant, layers, stored, numbers });
  }
  addProducts(writer, products);
  const files = new Map([[main!.path, edited(edits)]]);
  for (const output of data) files.set(output.path, await external.file(output));
  return files;
}

/** The bytes in the place of those of a constant. */
function bytesOf(layers: readonly Layer[], numbers: NewNumbers): Uint8Array {
  if ('numbers' in numbers) return numbers.numbers;
  if (isProduct(numbers)) return codesOf(layers, numbers);
  return new Uint8Array(numbers.codes.buffer, numbers.codes.byteOffset, numbers.codes.byteLength);
}
