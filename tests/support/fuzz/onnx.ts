// ONNX models, with their external data.
import {
  bytesField,
  concat,
  graph,
  graphAttribute,
  integerField,
  model,
  node,
  numbers,
  sparseTensor,
  tensor,
  textField,
  varint,
  type TensorOptions,
} from '../onnx-builder.js';
import { dataPath } from '../removal/network.js';
import { randomNetwork } from '../removal/random-network.js';
import { casesIn } from './cases.js';
import type { Input } from './input.js';
import { byteDifference, checkModel } from './models.js';
import type { Target } from './target.js';

type Bytes = Uint8Array<ArrayBuffer>;

const input = (...initializers: Bytes[]): Bytes =>
  model({ nodes: [node('MatMul', 'x w', 'y')], initializers, inputs: { x: [1, 2] }, outputs: { y: [1, 3] } });

/** A MatMul whose weight has these sizes and this data. */
const weight = (shape: readonly number[], options: TensorOptions = {}, ...further: Bytes[]): Input => ({
  bytes: input(tensor('w', shape, options), ...further),
});

/** One whose weight is external data, or what pretends to be. */
const external = (entries: Readonly<Record<string, string | number>>, shape = [2, 3], data = 24): Input => ({
  bytes: input(tensor('w', shape, { external: { location: 'w.bin', ...entries } })),
  further: { 'w.bin': new Uint8Array(data).fill(63) },
});

/** A tensor with fields of one's own behind its name. */
const tensorOf = (...fields: readonly Bytes[]): Input => ({ bytes: input(concat(textField(8, 'w'), ...fields)) });

const sixFloats = numbers('float32', [1, 2, 3, 4, 5, 6]);
const float = integerField(2, 1);
const packedSizes = (...sizes: readonly Bytes[]) => bytesField(1, concat(...sizes));

/** An If within an If, and so on. */
function ifs(levels: number): Bytes {
  let inner = graph({ outputs: { y: 1 } });
  for (let left = levels; left > 0; left--) {
    inner = graph({ nodes: [node('If', 'c', 'y', { attributes: [graphAttribute('then_branch', inner)] })] });
  }
  return model({ nodes: [node('If', 'c', 'y', { attributes: [graphAttribute('then_branch', inner)] })] });
}

/** With what readers of ONNX files have failed in public, or could. */
const hostile: Readonly<Record<string, Input>> = {
  'external data with offset and length': external({ offset: 0, length: 24 }),
  'external data in a folder above': external({ location: '../w.bin' }),
  'external data in a folder above, behind another': external({ location: 'a/../../w.bin' }),
  'external data at an absolute path': external({ location: '/etc/passwd' }),
  'external data at a drive': external({ location: 'c:w.bin' }),
  'external data with the name of a property': external({ location: '__proto__' }),
  'external data without a name': external({ location: '' }),
  'external data beyond the file': external({ offset: 8, length: 24 }),
  'external data at a negative offset': external({ offset: -8, length: 24 }),
  'external data at an offset of 64 bits': external({ offset: '18446744073709551608', length: 24 }),
  'external data at an offset that is no whole number': external({ offset: '1e999', length: 'NaN' }),
  'external data at an offset in base 16': external({ offset: '0x8' }),
  'external data that are shorter than the shape': external({ length: 4 }),
  'empty external data at the end of the file': external({ offset: 24, length: 0 }, [0, 3]),
  'two empty tensors at one offset': {
    bytes: input(
      tensor('w', [0, 3], { external: { location: 'w.bin', offset: 8, length: 0 } }),
      tensor('v', [3, 0], { external: { location: 'w.bin', offset: 8, length: 0 } }),
    ),
    further: { 'w.bin': new Uint8Array(8) },
  },
  'two tensors that overlap in their file': {
    bytes: input(
      tensor('w', [2, 3], { external: { location: 'w.bin', offset: 0, length: 24 } }),
      tensor('v', [2, 3], { external: { location: 'w.bin', offset: 4, length: 24 } }),
    ),
    further: { 'w.bin': sixFloats },
  },
  'sizes whose product is 0 in 64 bits': weight([2 ** 32, 2 ** 32], { data: new Uint8Array(0) }),
  'sizes whose product is 1 in 32 bits': weight([65537, 65537], { data: new Uint8Array(4) }),
  'a negative size': weight([-2, -3], { data: sixFloats }),
  'a size of 0 beside a large one': weight([0, 2 ** 52], { data: new Uint8Array(0) }),
  'less data than the shape': weight([2, 3], { data: sixFloats.slice(0, 20) }),
  'more data than the shape': weight([2, 3], { data: concat(sixFloats, sixFloats) }),
  'no data': weight([2, 3], { storage: 'none' }),
  'packed floats': weight([2, 3], { storage: 'packed' }),
  'unpacked floats': weight([2, 3], { storage: 'unpacked' }),
  'floats in two pieces': weight([2, 3], { storage: 'two pieces' }),
  'packed sizes': tensorOf(packedSizes(varint(2), varint(3)), float, bytesField(9, sixFloats)),
  'packed sizes that end in a number': tensorOf(
    packedSizes(varint(2), Uint8Array.of(131)),
    float,
    bytesField(9, sixFloats),
  ),
  'sizes both packed and not': tensorOf(packedSizes(varint(2)), integerField(1, 3), float, bytesField(9, sixFloats)),
  'a size of eleven bytes': tensorOf(packedSizes(new Uint8Array(11).fill(255)), float, bytesField(9, sixFloats)),
  'a type twice': tensorOf(packedSizes(varint(2), varint(3)), float, integerField(2, 10), bytesField(9, sixFloats)),
  'an unknown type': tensorOf(packedSizes(varint(2), varint(3)), integerField(2, 99), bytesField(9, sixFloats)),
  'a length beyond the file': { bytes: concat(integerField(1, 8), varint((7 << 3) | 2), varint(2 ** 40)) },
  'a group, which protobuf no longer has': {
    bytes: concat(integerField(1, 8), varint((7 << 3) | 3), varint((7 << 3) | 4)),
  },
  'field number 0': { bytes: concat(integerField(1, 8), Uint8Array.of(2, 0), bytesField(7, graph({}))) },
  'two weights of one name': weight([2, 3], {}, tensor('w', [3, 2])),
  'a sparse weight': {
    bytes: model({ nodes: [node('MatMul', 'x w', 'y')], sparse: [sparseTensor('w', [2, 3], 2)], inputs: { x: 2 } }),
  },
  'graphs in each other within the limit': { bytes: ifs(20) },
  'graphs in each other beyond the limit': { bytes: ifs(150) },
  'a name that is no UTF-8': { bytes: input(concat(bytesField(8, Uint8Array.of(255, 192, 128)), float)) },
  'a node that reads its own output': {
    bytes: model({ nodes: [node('MatMul', 'y w', 'y')], initializers: [tensor('w', [3, 3])], outputs: { y: 2 } }),
  },
};

/** Networks of many operators, of which channels can be taken out, with their weights in a file of their own. */
const networks = Object.fromEntries(
  [...Array(16).keys()].map((seed) => {
    const { bytes, data } = randomNetwork({ seed, count: 6 }).separate(seed % 2 === 0);
    return [`random network ${seed}`, { bytes, further: { [dataPath]: data } }];
  }),
);

export const onnx: Target = {
  files: ['formats/onnx/', 'structure/'],
  seeds: async () => ({
    ...(await casesIn(['', 'quantised/', 'removal/traps/'], '.onnx')),
    ...networks,
    ...hostile,
  }),
  check: (given) =>
    checkModel(given, {
      format: 'ONNX',
      options: ({ further = {} }) => ({ external: (name) => further[name]! }),
      difference: byteDifference,
    }),
};
