import type { SparsifierOptions, Sparsity } from 'sparsifier';
import { sparsifyFile } from 'sparsifier/file';
import { expect, test } from 'vitest';
import { differsAt } from '../support/bytes.js';
import { expectNoMemoryInUse, line, values, weightwise } from '../support/layers.js';
import { inMemory, keeping, reading, type Kept, type Source } from '../support/streams.js';
import { textOf, type Entry } from '../support/tfjs.js';

/** A LayersModel of dense layers, whose groups are cut into files of so many bytes. */
function modelOf(groups: readonly (readonly Entry[])[], shardBytes: number): Source {
  const further: Record<string, Uint8Array<ArrayBuffer>> = {};
  const weightsManifest = groups.map((entries, group) => {
    const bytes = Uint8Array.from(entries.flatMap((entry) => [...entry.bytes]));
    const paths = Array.from({ length: Math.ceil(bytes.length / shardBytes) }, (_, shard) => {
      const path = `part-${group}-${shard}.bin`;
      further[path] = bytes.slice(shard * shardBytes, (shard + 1) * shardBytes);
      return path;
    });
    return { paths, weights: entries.map(({ bytes: _, ...entry }) => entry) };
  });
  const kernels = groups.flat().filter(({ name }) => name.endsWith('/kernel'));
  const layers = kernels.map(({ name, shape }) => ({
    class_name: 'Dense',
    config: { name: name.split('/')[0], units: shape[1], use_bias: true },
  }));
  const modelTopology = { class_name: 'Sequential', config: { name: 's', layers } };
  return { bytes: textOf({ modelTopology, weightsManifest }) as Uint8Array<ArrayBuffer>, further };
}

const floats = (name: string, shape: readonly number[], seed: number): Entry => {
  const { data } = line(
    values(
      shape.reduce((a, b) => a * b),
      seed,
      1000,
    ),
  );
  return { name, shape, dtype: 'float32', bytes: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) };
};
const codes = (name: string, shape: readonly number[], dtype: 'uint8' | 'uint16', min: number): Entry => {
  const length = shape.reduce((a, b) => a * b);
  const numbers = Array.from({ length }, (_, at) => (at * 7919) % (dtype === 'uint8' ? 256 : 65_536));
  const data = dtype === 'uint8' ? Uint8Array.from(numbers) : Uint16Array.from(numbers);
  const scale = dtype === 'uint8' ? 0.01 : 0.0001;
  const bytes = new Uint8Array(data.buffer);
  return { name, shape, dtype: 'float32', quantization: { dtype, scale, min }, bytes };
};
const words: Entry = { name: 'words', shape: [1], dtype: 'string', bytes: Uint8Array.from([2, 0, 0, 0, 104, 105]) };

const plain = [
  floats('a/kernel', [12, 8], 1),
  floats('a/bias', [8], 2),
  floats('b/kernel', [8, 16], 3),
  floats('b/bias', [16], 4),
];
const sources: readonly (readonly [title: string, source: Source])[] = [
  ['one file', modelOf([plain], 4096)],
  ['weights cut by files at odd places', modelOf([plain], 101)],
  ['files of a single byte', modelOf([[floats('a/kernel', [3, 2], 1), floats('a/bias', [2], 2)]], 1)],
  ['several groups, biases first', modelOf([[plain[1]!, plain[3]!], [plain[2]!], [plain[0]!]], 64)],
  [
    'codes of 8 and 16 bits, at odd places',
    modelOf(
      [
        [
          codes('a/kernel', [9, 7], 'uint8', -1.283),
          floats('a/bias', [7], 5),
          codes('b/kernel', [7, 6], 'uint16', -3.33),
          floats('b/bias', [6], 6),
        ],
      ],
      50,
    ),
  ],
  [
    'a group with strings, which holds the biases of another',
    modelOf(
      [
        [words, plain[1]!, plain[3]!],
        [plain[0]!, plain[2]!],
      ],
      77,
    ),
  ],
  [
    'a group with strings, which holds the weights',
    modelOf(
      [
        [plain[1]!, plain[3]!],
        [words, plain[0]!, plain[2]!],
      ],
      77,
    ),
  ],
  [
    'a group with strings, which holds codes without an exact zero',
    modelOf([[words, codes('a/kernel', [9, 7], 'uint8', -1.283), codes('a/bias', [7], 'uint16', -3.33335)]], 33),
  ],
];

const settings: readonly (readonly [title: string, options: Partial<SparsifierOptions>, sparsity: Sparsity])[] = [
  ['weights of each layer', {}, 50],
  ['weights of the network', { context: 'global' }, 60],
  ['rows with their biases', { granularity: 'row' }, 40],
  ['rows of the network', { granularity: 'row', context: 'global' }, 40],
  ['nothing', {}, 0],
];

for (const [title, source] of sources) {
  test.each(settings)(
    `Streaming TensorFlow.js weights gives the same bytes and report as in memory: ${title}, %s`,
    async (_, rest, sparsity) => {
      const options: SparsifierOptions = { ...weightwise, layerType: 'all', ...rest };
      const expected = await inMemory(source, options, sparsity);
      const kept = new Map<string, Kept>();
      const target = (name: string) => {
        kept.set(name, keeping());
        return kept.get(name)!.stream;
      };
      const report = await sparsifyFile(new Blob([source.bytes]), target, { ...options, ...reading(source), sparsity });
      expect(report).toEqual(expected.report);
      expect([...kept.keys()].sort()).toEqual(Object.keys(expected.files).sort());
      for (const [name, { bytes }] of kept) expect(differsAt(bytes(), expected.files[name]!), name).toBe(-1);
      if (sparsity !== 0) expect(report.total.zeros).toBeGreaterThan(0);
      await expectNoMemoryInUse();
    },
  );
}
