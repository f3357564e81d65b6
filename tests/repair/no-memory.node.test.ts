import { InferenceSession, Tensor } from 'onnxruntime-node';
import { Sparsifier } from 'sparsifier';
import { calibrate, type SessionFiles } from 'sparsifier/calibration';
import { readOnnx, type FileModel } from 'sparsifier/formats/onnx';
import { quantize } from 'sparsifier/quantize';
import { expect, test } from 'vitest';
import { digestOf } from '../support/bytes.js';
import { allocations, sweep } from '../support/failing.js';
import { numbers } from '../support/filters.js';
import { expectNoMemoryInUse, product } from '../support/layers.js';
import { model, node, tensor } from '../support/onnx-builder.js';

// Each allocation of calls that run the model fails, alone and with those after it.

const matrix = (name: string, shape: readonly number[], seed: number) =>
  tensor(name, shape, { data: new Uint8Array(numbers(product(shape), seed).buffer) });
const file = model({
  nodes: [
    node('MatMul', 'x w', 'a', { name: 'first' }),
    node('Relu', 'a', 'b'),
    node('MatMul', 'b v', 'y', { name: 'second' }),
  ],
  initializers: [matrix('w', [6, 8], 1), matrix('v', [8, 5], 2)],
  inputs: { x: 2 },
  outputs: { y: 2 },
});
/** Of each of the two layers. */
const biasBytes = 4 * (8 + 5);
const batches = Array.from({ length: 2 }, (_, seed) => ({
  x: new Tensor(
    'float32',
    numbers(12 * 6, seed + 3).map((each) => each + 1),
    [12, 6],
  ),
}));
/** By the bytes that they run, since making one takes most of the time. */
const sessions = new Map<string, InferenceSession>();
async function createSession(bytes: Uint8Array, files: SessionFiles) {
  const key = Buffer.from(bytes).toString('base64');
  const session = sessions.get(key) ?? (await InferenceSession.create(bytes, files));
  sessions.set(key, session);
  return { run: session.run.bind(session) as typeof session.run };
}
const data = { createSession, batches: () => batches, holdOut: 0.5 };

interface Subject {
  readonly read: FileModel;
  readonly sparsifier: Sparsifier;
}

const opened = {
  'a model': () => readOnnx(file),
  'a model with codes of 8 bits': async () => {
    using dense = await readOnnx(file);
    return (await quantize(dense, { weights: 'int8' })).model;
  },
} as const;

const calls = {
  calibrate: ({ read }: Subject) => calibrate(read, data),
  'repair for the dense inputs': ({ sparsifier }: Subject) => sparsifier.repair(),
  'repair for the pruned inputs': ({ sparsifier }: Subject) => sparsifier.repair({ inputs: 'pruned', ...data }),
} as const;

test.each(
  Object.entries(opened).flatMap(([of, open]) =>
    Object.entries(calls).map(([title, call]) => [title, of, open, call] as const),
  ),
)(
  'Without memory for an allocation, %s leaves %s as it was, and no memory is lost',
  async (_title, _of, open, call) => {
    const first = await open();
    const statistics = await calibrate(first, data);
    first.close();
    const points = await sweep<Subject>(
      {
        begin: async () => {
          const read = await open();
          const sparsifier = new Sparsifier(read, { layerType: 'all', criteria: 'fluctuation', statistics });
          await sparsifier.sparsifyModel(50);
          return { read, sparsifier };
        },
        call,
        state: async ({ read, sparsifier }) =>
          JSON.stringify([
            digestOf(await read.bytes()),
            ...[...sparsifier.masks()].map(([name, { data: mask }]) => [name, digestOf(mask)]),
          ]),
        keeps: biasBytes,
        end: ({ read, sparsifier }) => {
          sparsifier.clear();
          read.close();
        },
      },
      allocations,
      'memory',
    );
    expect(points).toBeGreaterThan(2);
    await expectNoMemoryInUse();
  },
);
