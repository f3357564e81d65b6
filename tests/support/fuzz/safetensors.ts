// safetensors files, and indices with the shards that they name.
import { concat } from '../onnx-builder.js';
import { indexOf, safetensorsFile, shardedFiles } from '../safetensors-builder.js';
import { casesIn } from './cases.js';
import type { Input } from './input.js';
import { byteDifference, checkModel } from './models.js';
import type { Target } from './target.js';

const utf8 = (text: string) => Uint8Array.from(new TextEncoder().encode(text));

/** A file with this header, of a length that may not be its own, and so many bytes of data. */
function file(header: string | Uint8Array, data = 0, length?: bigint): Input {
  const bytes = typeof header === 'string' ? utf8(header) : header;
  const stated = new Uint8Array(8);
  new DataView(stated.buffer).setBigUint64(0, length ?? BigInt(bytes.length), true);
  return { bytes: concat(stated, bytes, new Uint8Array(data).fill(63)) };
}

const entry = (name: string, shape: string, offsets: string, dtype = '"F32"') =>
  `"${name}":{"dtype":${dtype},"shape":${shape},"data_offsets":${offsets}}`;

/** One tensor. */
const one = (shape: string, offsets: string, data: number, dtype?: string): Input =>
  file(`{${entry('a.weight', shape, offsets, dtype)}}`, data);

/** With what readers of safetensors files have failed in public, or could. */
const hostile: Readonly<Record<string, Input>> = {
  'a header beyond the file': file('{}', 0, 1000n),
  'a header of 100 MB': file('{}', 0, 100_000_000n),
  'a header of 2^63 bytes': file('{}', 0, 2n ** 63n),
  'a header of 2^64 - 1 bytes': file('{}', 0, 2n ** 64n - 1n),
  'fewer than eight bytes': { bytes: Uint8Array.of(2, 0, 0) },
  'two empty tensors at one offset': file(
    `{${entry('a.weight', '[0,2]', '[0,0]')},${entry('b.weight', '[2,0]', '[0,0]')},${entry('c.weight', '[2,2]', '[0,16]')}}`,
    16,
  ),
  'an empty tensor within another': file(
    `{${entry('a.weight', '[2,2]', '[0,16]')},${entry('b.weight', '[0]', '[8,8]')}}`,
    16,
  ),
  'an empty tensor with a large size': one('[0,9007199254740991]', '[0,0]', 0),
  'sizes whose product is 0 in 64 bits': one('[4294967296,4294967296]', '[0,0]', 0),
  'sizes whose product is 4 in 64 bits': one('[4611686018427387905]', '[0,4]', 4),
  'a size above 2^53': one('[9007199254740993]', '[0,4]', 4),
  'a negative size': one('[-2,-2]', '[0,16]', 16),
  'a size of minus 0': one('[-0,2]', '[0,0]', 0),
  'a size that is infinite': one('[1e999]', '[0,4]', 4),
  'a size with a fraction': one('[2.0,2.5]', '[0,16]', 16),
  'a first byte behind the last one': one('[2,2]', '[16,0]', 16),
  'bytes beyond the file': one('[2,2]', '[0,16]', 8),
  'tensors that overlap': file(`{${entry('a.weight', '[2,2]', '[0,16]')},${entry('b', '[2]', '[8,16]')}}`, 16),
  'a hole': file(`{${entry('a.weight', '[2,2]', '[4,20]')}}`, 20),
  'a tensor of another size than its shape': one('[2,2]', '[0,8]', 8),
  'one name twice': file(`{${entry('a', '[1]', '[0,4]')},${entry('a', '[1]', '[4,8]')}}`, 8),
  'one key of a tensor twice': file('{"a":{"dtype":"F32","dtype":"F16","shape":[2],"data_offsets":[0,4]}}', 4),
  'metadata twice': file(`{"__metadata__":{"a":"b"},"__metadata__":{"a":"c"},${entry('a', '[1]', '[0,4]')}}`, 4),
  'metadata that are null': file(`{"__metadata__":null,${entry('a', '[1]', '[0,4]')}}`, 4),
  'metadata that are no texts': file(`{"__metadata__":{"a":1},${entry('a', '[1]', '[0,4]')}}`, 4),
  'names of properties': file(
    `{${['__proto__', 'constructor', 'toString'].map((name) => entry(name, '[0,2]', '[0,0]')).join()}}`,
  ),
  'half of a surrogate pair': file(`{${entry('\\ud800.weight', '[2,2]', '[0,16]')}}`, 16),
  'a name that is no UTF-8': file(
    concat(utf8('{"'), Uint8Array.of(255), utf8(entry('', '[1]', '[0,4]').slice(1)), utf8('}')),
    4,
  ),
  'a zero byte in a name': file(`{${entry('a\\u0000b.weight', '[2,2]', '[0,16]')}}`, 16),
  'lists in each other': file('{"a":' + '['.repeat(500) + ']'.repeat(500) + '}'),
  'spaces before the header': file(`  {${entry('a', '[1]', '[0,4]')}}`, 4),
  'spaces behind the header': file(`{${entry('a', '[1]', '[0,4]')}}   `, 4),
  'an unknown type': one('[2,2]', '[0,3]', 3, '"F3"'),
  'numbers of four bits': one('[3,2]', '[0,3]', 3, '"F4"'),
  'an index that names a file above': { bytes: indexOf({ 'a.weight': '../a.safetensors' }) },
  'an index of no texts': { bytes: indexOf({ 'a.weight': 1 }) },
  'an index of a property': { bytes: indexOf({ 'a.weight': '__proto__' }) },
  'an index without shards': { bytes: indexOf({}) },
  'an index that names one file in two ways': {
    bytes: indexOf({ 'a.weight': 'a.safetensors', 'b.weight': './a.safetensors' }),
    further: { 'a.safetensors': safetensorsFile({ 'a.weight': [2, 2], 'b.weight': [2, 2] }) },
  },
};

const sharded = shardedFiles({
  'one.safetensors': { 'conv.weight': [4, 2, 3, 3], 'conv.bias': [4] },
  'two.safetensors': { 'fc.weight': [3, 4], 'fc.bias': { dtype: 'BF16', shape: [3] } },
});

export const safetensors: Target = {
  files: ['formats/safetensors/'],
  seeds: async () => ({
    ...(await casesIn([''], '.safetensors')),
    'layers of every kind': {
      bytes: safetensorsFile(
        {
          'model.embed_tokens.weight': { dtype: 'BF16', shape: [6, 4] },
          'model.layers.0.self_attn.q_proj.weight': { dtype: 'F16', shape: [4, 4] },
          'model.layers.0.mlp.experts.gate_up_proj': [2, 4, 6],
          'conv1.weight': [4, 3, 3, 3],
          'bn1.weight': [4],
          'bn1.bias': [4],
          'bn1.running_mean': [4],
          'lstm.weight_ih_l0': [8, 3],
          'lstm.weight_hh_l0': [8, 2],
          'codes.weight': { dtype: 'I8', shape: [2, 2] },
          steps: { dtype: 'I64', shape: [] },
        },
        { metadata: { format: 'pt' }, padding: 5 },
      ),
    },
    'an index with two shards': { bytes: sharded.index, further: sharded.shards },
    ...hostile,
  }),
  check: (given) =>
    checkModel(given, {
      format: 'safetensors',
      options: ({ further = {} }) => ({ shards: (name) => further[name]! }),
      difference: byteDifference,
    }),
};
