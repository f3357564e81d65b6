import { InferenceSession } from 'onnxruntime-node';
import { Sparsifier } from 'sparsifier';
import { calibrate, type SessionFiles } from 'sparsifier/calibration';
import { readOnnx, type FileModel } from 'sparsifier/formats/onnx';
import { quantize } from 'sparsifier/quantize';
import { expect, test } from 'vitest';
import { digestOf } from '../support/bytes.js';
import { allocations, sweep } from '../support/failing.js';
import { expectNoMemoryInUse } from '../support/layers.js';
import { rowBatches, twoProducts } from '../support/two-products.js';

// Each allocation of calls that run the model fails, alone and with those after it.

const file = twoProducts(8);
/** Of each of the two layers. */
const biasBytes = 4 * (8 + 5);
const batches = rowBatches(2);
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
