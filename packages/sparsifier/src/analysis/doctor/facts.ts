import type { Anatomy, StoredConstant } from '../../formats/anatomy.js';
import { counted, listed } from '../../pruning/text.js';
import { notInTfjsWasm, onCpu, unknownOperators } from './operators.js';
import type { Removable } from './removable.js';
import type { RuntimeName } from './runtimes.js';

/** What is known of a model. */
export interface Examined {
  readonly anatomy: Anatomy;
  /** The weights of its layers, and those of them that are zero. */
  readonly weights: number;
  readonly zeros: number;
  /** What channels could leave the network; undefined if none could, as far as is known. */
  readonly removable?: Removable | undefined;
}

/** What a fact is about. `with` and `unknown` are for loading: under a condition, and not known. */
export type Effect =
  | { readonly on: 'loads'; readonly answer: 'no' | 'with' | 'unknown' }
  | { readonly on: 'smaller'; readonly answer: 'yes' | 'no' }
  | { readonly on: 'faster'; readonly answer: 'yes' | 'same' | 'slower' | 'no' };

/** A row of the table of what is known about runtimes. */
export interface Fact {
  readonly id: string;
  readonly runtimes: readonly RuntimeName[];
  readonly about: 'version' | 'operators' | 'types' | 'form' | 'zeros' | 'files';
  readonly effect: Effect;
  /** What of a model the fact is about, in words; undefined if nothing is. */
  readonly concerns: (model: Examined) => string | undefined;
  /** What follows. */
  readonly sentence: string;
  /**
   * How it is known: `tested` rows are checked against the runtime by the tests of this package, `measured` ones were measured
   * once, such as times. `definition` follows from the format.
   */
  readonly source: 'tested' | 'measured' | 'definition';
  /** When it was last found to be so. Versions are those of the runtimes. */
  readonly date: string;
}

const ort: readonly RuntimeName[] = ['ort-web-wasm', 'ort-web-webgpu', 'ort-node'];
const web: readonly RuntimeName[] = ['ort-web-wasm', 'ort-web-webgpu'];
const cpu: readonly RuntimeName[] = ['ort-web-wasm', 'ort-node'];
const tfjs: readonly RuntimeName[] = ['tfjs-webgl', 'tfjs-wasm'];
const all: readonly RuntimeName[] = [...ort, ...tfjs];
const date = '2026-11-29';

/** The last versions that onnxruntime 1.30 reads. */
export const last = { opset: 26, ir: 13 };

/** Types that the WebGPU build cannot convert: its `Cast` lacks them. */
export const notCastInWebgpu: readonly string[] = ['int16', 'bfloat16', 'float64', 'float8e4m3fn', 'int4'];

const products8 = ['MatMulInteger', 'com.microsoft.DynamicQuantizeMatMul', 'com.microsoft.MatMulIntegerToFloat'];
const nbits = 'com.microsoft.MatMulNBits';

/** Numbers that are parameters of operators, such as shapes and scales, are not counted as weights. */
const fewest = 64;

/** The constants that some operator reads, as a sentence about what they are. */
function constants(matches: (constant: StoredConstant) => boolean): ({ anatomy }: Examined) => string | undefined {
  return ({ anatomy }) => {
    const found = anatomy.constants.filter(matches);
    if (found.length === 0) return undefined;
    const types = [...new Set(found.map(({ type }) => type))];
    return `${counted(found.length, 'constant')} of type ${listed(types)}`;
  };
}

/** The nodes of these operators. */
function nodesOf(names: readonly string[]): ({ anatomy }: Examined) => string | undefined {
  return ({ anatomy: { operators } }) => {
    const found = names.filter((name) => operators.has(name));
    return found.length === 0 ? undefined : listed(found.map((name) => `${operators.get(name)} x ${name}`));
  };
}

const readBy =
  (...operators: readonly string[]) =>
  ({ readers }: StoredConstant): boolean =>
    readers.some((reader) => operators.includes(reader));
const isLarge = ({ numbers }: StoredConstant): boolean => numbers >= fewest;
const isByte = ({ type }: StoredConstant): boolean => type === 'int8' || type === 'uint8';

/** Codes of weights, in a model whose inputs of layers are not quantised too. */
function weightsOfDequantizeLinear(model: Examined): string | undefined {
  if (model.anatomy.operators.has('QuantizeLinear')) return undefined;
  const isCode = (constant: StoredConstant) => isLarge(constant) && /^u?int/.test(constant.type);
  return constants((constant) => isCode(constant) && readBy('DequantizeLinear')(constant))(model);
}

/** How much of the file is floats of 32 or 64 bits, if that is much. */
function plainShare({ anatomy: { constants } }: Examined): string | undefined {
  const sum = (some: readonly StoredConstant[]) => some.reduce((total, { bytes }) => total + bytes, 0);
  const share = sum(constants.filter(({ type }) => type === 'float32' || type === 'float64')) / sum(constants);
  return share >= 0.1 ? `${Math.round(100 * share)} % of the stored bytes are float32 or float64` : undefined;
}

/** The rows of the table, in the order in which they are printed. */
export const facts: readonly Fact[] = [
  {
    id: 'ort-opset',
    runtimes: ort,
    about: 'version',
    effect: { on: 'loads', answer: 'no' },
    concerns: ({ anatomy: { versions } }) =>
      versions && versions.opset > last.opset ? `opset ${versions.opset}` : undefined,
    sentence: `the runtime knows opsets up to ${last.opset}`,
    source: 'tested',
    date,
  },
  {
    id: 'ort-ir',
    runtimes: ort,
    about: 'version',
    effect: { on: 'loads', answer: 'no' },
    concerns: ({ anatomy: { versions } }) =>
      versions && versions.ir > last.ir ? `IR version ${versions.ir}` : undefined,
    sentence: `the runtime reads IR versions up to ${last.ir}`,
    source: 'tested',
    date,
  },
  {
    id: 'webgpu-sparse',
    runtimes: ['ort-web-webgpu'],
    about: 'form',
    effect: { on: 'loads', answer: 'no' },
    concerns: constants(({ isSparse }) => isSparse),
    sentence: 'this build refuses sparse tensors (sparse_initializer, sparse_value)',
    source: 'tested',
    date,
  },
  {
    id: 'webgpu-cast',
    runtimes: ['ort-web-webgpu'],
    about: 'types',
    effect: { on: 'loads', answer: 'no' },
    concerns: constants((constant) => notCastInWebgpu.includes(constant.type) && readBy('Cast')(constant)),
    sentence: 'the Cast of this build does not read these types',
    source: 'tested',
    date,
  },
  {
    id: 'webgpu-float16',
    runtimes: ['ort-web-webgpu'],
    about: 'types',
    effect: { on: 'loads', answer: 'with' },
    concerns: constants(
      (constant) => constant.type === 'float16' && constant.readers.length > 0 && !readBy('Cast')(constant),
    ),
    sentence: 'computing with float16 needs a GPU with the feature shader-f16; float16 weights behind a Cast do not',
    source: 'tested',
    date,
  },
  {
    id: 'web-external',
    runtimes: web,
    about: 'files',
    effect: { on: 'loads', answer: 'with' },
    concerns: ({ anatomy: { external } }) => (external.length > 0 ? `weights in ${listed(external)}` : undefined),
    sentence: 'pass these files to InferenceSession.create as externalData',
    source: 'tested',
    date,
  },
  {
    id: 'tfjs-only-weights',
    runtimes: tfjs,
    about: 'files',
    effect: { on: 'loads', answer: 'no' },
    concerns: ({ anatomy: { nodes } }) => (nodes === undefined ? 'a manifest' : undefined),
    sentence: 'the file has weights and no modelTopology',
    source: 'definition',
    date,
  },
  {
    id: 'unknown-operators',
    runtimes: all,
    about: 'operators',
    effect: { on: 'loads', answer: 'unknown' },
    concerns: ({ anatomy }) => {
      const unknown = unknownOperators(anatomy);
      return unknown.length > 0 ? listed(unknown) : undefined;
    },
    sentence: 'not in the list of operators that are known to run',
    source: 'definition',
    date,
  },
  {
    id: 'tfjs-wasm-kernels',
    runtimes: ['tfjs-wasm'],
    about: 'operators',
    effect: { on: 'loads', answer: 'no' },
    concerns: nodesOf(notInTfjsWasm),
    sentence: 'the wasm backend has no kernels for these, the WebGL backend has',
    source: 'tested',
    date,
  },
  {
    id: 'codes-size',
    runtimes: all,
    about: 'form',
    effect: { on: 'smaller', answer: 'yes' },
    concerns: constants((constant) => isLarge(constant) && (isByte(constant) || constant.type === 'int4')),
    sentence: 'a quarter of the bytes of float32, or an eighth if two codes share a byte',
    source: 'definition',
    date,
  },
  {
    id: 'halves-size',
    runtimes: all,
    about: 'form',
    effect: { on: 'smaller', answer: 'yes' },
    concerns: constants(
      (constant) => isLarge(constant) && ['float16', 'bfloat16', 'uint16', 'int16'].includes(constant.type),
    ),
    sentence: 'half of the bytes of float32',
    source: 'definition',
    date,
  },
  {
    id: 'zeros-size',
    runtimes: all,
    about: 'zeros',
    effect: { on: 'smaller', answer: 'yes' },
    concerns: ({ zeros, weights }) => (10 * zeros >= weights && zeros > 0 ? zerosInWords(zeros, weights) : undefined),
    sentence: 'the file keeps its size, and gzip or brotli makes the download smaller',
    source: 'measured',
    date,
  },
  {
    id: 'plain-size',
    runtimes: all,
    about: 'form',
    effect: { on: 'smaller', answer: 'no' },
    concerns: plainShare,
    sentence: 'such numbers hardly compress',
    source: 'definition',
    date,
  },
  {
    id: 'zeros-speed',
    runtimes: all,
    about: 'zeros',
    effect: { on: 'faster', answer: 'no' },
    concerns: ({ zeros, weights }) => (zeros > 0 ? zerosInWords(zeros, weights) : undefined),
    sentence: 'zeros give no speed: the runtime multiplies with them like with other numbers',
    source: 'measured',
    date,
  },
  {
    id: 'folded-speed',
    runtimes: ort,
    about: 'form',
    effect: { on: 'faster', answer: 'same' },
    concerns: constants(
      (constant) => isLarge(constant) && readBy('Cast')(constant) && (isByte(constant) || constant.type === 'float16'),
    ),
    sentence: 'converted once while the model loads, then as fast as float32 and as large in memory',
    source: 'tested',
    date,
  },
  {
    id: 'dequantize-linear-node',
    runtimes: ['ort-node'],
    about: 'form',
    effect: { on: 'faster', answer: 'slower' },
    concerns: weightsOfDequantizeLinear,
    sentence:
      'DequantizeLinear is not folded: convolutions convert their weights in each run, 1.1 to 2.2 times the time of float32; MatMul becomes MatMulNBits',
    source: 'tested',
    date,
  },
  {
    id: 'dequantize-linear-wasm',
    runtimes: ['ort-web-wasm'],
    about: 'form',
    effect: { on: 'faster', answer: 'slower' },
    concerns: weightsOfDequantizeLinear,
    sentence:
      'DequantizeLinear is not folded: MatMul becomes MatMulNBits, 1.4 to 4 times the time of float32; convolutions are as fast',
    source: 'measured',
    date,
  },
  {
    id: 'integer-matmul-speed',
    runtimes: cpu,
    about: 'form',
    effect: { on: 'faster', answer: 'yes' },
    concerns: nodesOf(products8),
    sentence: '8-bit products, about twice as fast as float32, and more for large matrices',
    source: 'measured',
    date,
  },
  {
    id: 'integer-conv-speed',
    runtimes: cpu,
    about: 'form',
    effect: { on: 'faster', answer: 'slower' },
    concerns: nodesOf(['ConvInteger']),
    sentence: 'about four times the time of float32: convolutions are better stored as int8 with Cast and Mul',
    source: 'measured',
    date,
  },
  {
    id: 'nbits-wasm',
    runtimes: ['ort-web-wasm'],
    about: 'form',
    effect: { on: 'faster', answer: 'slower' },
    concerns: nodesOf([nbits]),
    sentence: '1.7 to 4.4 times the time of float32',
    source: 'measured',
    date,
  },
  {
    id: 'nbits-node',
    runtimes: ['ort-node'],
    about: 'form',
    effect: { on: 'faster', answer: 'same' },
    concerns: nodesOf([nbits]),
    sentence: '4 bits: half the time of float32 for one row, the same for many; 8 bits: three to four times the time',
    source: 'measured',
    date,
  },
  {
    id: 'webgpu-on-cpu',
    runtimes: ['ort-web-webgpu'],
    about: 'operators',
    effect: { on: 'faster', answer: 'slower' },
    concerns: nodesOf(onCpu),
    sentence: 'these run on the CPU, so that their inputs and outputs are copied from and to the GPU',
    source: 'tested',
    date,
  },
  {
    id: 'tfjs-quantised-speed',
    runtimes: tfjs,
    about: 'form',
    effect: { on: 'faster', answer: 'same' },
    concerns: constants((constant) => isLarge(constant) && ['uint8', 'uint16', 'float16'].includes(constant.type)),
    sentence: 'decoded to float32 while the model loads, then as fast as float32',
    source: 'tested',
    date,
  },
];

const zerosInWords = (zeros: number, weights: number): string =>
  `${((100 * zeros) / weights).toFixed(1)} % of the weights are zero`;
