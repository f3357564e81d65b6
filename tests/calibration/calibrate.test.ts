import fc from 'fast-check';
import { loadEngine } from 'sparsifier';
import { fromArrays } from 'sparsifier/formats/arrays';
import { calibrate, Statistics, type CalibrateOptions, type OnnxTensorLike } from 'sparsifier/calibration';
import { readOnnx } from 'sparsifier/formats/onnx';
import { describe, expect, test } from 'vitest';
import { differsAt } from '../support/bytes.js';
import { errorOf } from '../support/layers.js';
import { apart, meanOf, momentOf, normOf, rowsOfProduct } from '../support/naive-moments.js';
import { model, node, tensor } from '../support/onnx-builder.js';

// How sessions are used, with one that makes up the values of a model.

/** Two layers read `x`, one each reads `h` and `k`; the first one of these is used twice. */
const network = model({
  nodes: [
    node('MatMul', 'x w1', 'a', { name: 'first' }),
    node('MatMul', 'x w2', 'b', { name: 'second' }),
    node('Relu', 'a', 'h'),
    node('MatMul', 'h w3', 'c', { name: 'third' }),
    node('Relu', 'c', 'k'),
    node('MatMul', 'k w4', 'd', { name: 'fourth' }),
    node('MatMul', 'h w4', 'e', { name: 'again' }),
  ],
  initializers: [tensor('w1', [4, 6]), tensor('w2', [4, 2]), tensor('w3', [6, 6]), tensor('w4', [6, 3])],
  inputs: { x: 2 },
  outputs: { b: 2, d: 2, e: 2 },
});
const channels: Readonly<Record<string, number>> = { x: 4, h: 6, k: 6 };

interface Batch {
  readonly seed: number;
  readonly rows: number;
  readonly x: OnnxTensorLike;
}

/** The numbers that a value has in a batch: of both signs, with means other than 0, as activations. */
function valueIn({ seed, rows }: Pick<Batch, 'seed' | 'rows'>, name: string) {
  const shape = [rows, channels[name]!];
  const data = Float32Array.from(
    { length: rows * channels[name]! },
    (_, index) => 0.5 + Math.sin(index * 7 + seed * 31 + name.charCodeAt(0)),
  );
  return { shape, data };
}

const tensorOf = ({ shape, data }: ReturnType<typeof valueIn>): OnnxTensorLike => ({
  type: 'float32',
  dims: shape,
  data,
});
const batchOf = (seed: number, rows = 3): Batch => ({ seed, rows, x: tensorOf(valueIn({ seed, rows }, 'x')) });
const batchesOf = (count: number): Batch[] => Array.from({ length: count }, (_, seed) => batchOf(seed));

/** Sessions that count what is done with them. */
class Sessions {
  readonly asked: (readonly string[])[] = [];
  /** Of each session: whether its outputs are others than those of the model, and how many further files. */
  readonly files: [boolean, number][] = [];
  /** The values whose numbers were read, as often as they were. */
  readonly reads: string[] = [];
  open = 0;
  most = 0;
  tensors = 0;
  passes = 0;

  /** @param change what becomes of a tensor that a session returns */
  constructor(
    readonly batches: readonly Batch[],
    readonly change: (tensor: OnnxTensorLike, name: string, batch: Batch) => OnnxTensorLike | undefined = (same) =>
      same,
  ) {}

  options(more: Partial<CalibrateOptions<Batch>> = {}): CalibrateOptions<Batch> {
    return {
      batches: () => {
        this.passes++;
        return this.batches;
      },
      createSession: async (bytes, files) => {
        this.files.push([bytes.length !== network.length, files.externalData.length]);
        this.most = Math.max(this.most, ++this.open);
        return {
          run: async (batch, names) => {
            this.asked.push(names);
            const made = names.flatMap((name): [string, OnnxTensorLike][] => {
              const tensor = this.change(tensorOf(valueIn(batch, name)), name, batch);
              if (tensor === undefined) return [];
              this.tensors++;
              const read = () => {
                this.reads.push(name);
                return tensor.data;
              };
              const { type, dims } = tensor;
              return [
                [
                  name,
                  {
                    type,
                    dims,
                    get data() {
                      return read();
                    },
                    dispose: () => void this.tensors--,
                  },
                ],
              ];
            });
            return Object.fromEntries(made);
          },
          release: async () => void this.open--,
        };
      },
      ...more,
    };
  }
}

/** Calibrates the network, and checks that nothing is left behind, whatever comes of it. */
async function calibrated(sessions: Sessions, options?: Partial<CalibrateOptions<Batch>>): Promise<Statistics> {
  using read = await readOnnx(network);
  const { memory } = await loadEngine();
  try {
    return await calibrate(read, sessions.options(options));
  } finally {
    expect(sessions).toMatchObject({ open: 0, tensors: 0 });
    expect((await loadEngine()).memory).toEqual(memory);
    expect(differsAt(await read.bytes(), network)).toBe(-1);
  }
}

const bitsOf = async (statistics: Statistics) => (await statistics.bytes()).join();

describe('sessions', () => {
  test('Only the values that are needed are asked for, and inputs of the model are those of the batch', async () => {
    const sessions = new Sessions(batchesOf(2));
    const { layers } = await calibrated(sessions, { holdOut: 0 });
    expect(sessions.asked).toEqual([
      ['h', 'k'],
      ['h', 'k'],
    ]);
    expect([sessions.passes, sessions.most, sessions.files]).toEqual([1, 1, [[true, 0]]]);
    // Two layers read h, which is copied once for each batch.
    expect(sessions.reads).toEqual(['h', 'k', 'h', 'k']);
    expect([...layers.keys()]).toEqual(['first', 'second', 'third', 'fourth']);
    const values = (name: string) => sessions.batches.map((batch) => valueIn(batch, name));
    for (const [name, inputs] of [
      ['first', values('x')],
      ['second', values('x')],
      ['third', values('h')],
      ['fourth', sessions.batches.flatMap((batch) => [valueIn(batch, 'k'), valueIn(batch, 'h')])],
    ] as const) {
      const found = layers.get(name)!;
      const rows = [inputs.flatMap((value) => rowsOfProduct(value)[0]!)];
      expect(found.rows).toBe(rows[0]!.length);
      expect(apart(found.moment, momentOf(rows))).toBeLessThan(1e-6);
      expect(apart(found.mean, meanOf(rows))).toBeLessThan(1e-6);
      expect(found.norm).toEqual(normOf(inputs, -1));
    }
  });

  test('With little memory there are more passes, and the same bits', async () => {
    const batches = batchesOf(5);
    const expected = await bitsOf(await calibrated(new Sessions(batches)));
    // Sums of each layer take 2 x 8 x 8 x 8 bytes, x takes 48 bytes, h and k 72 each.
    for (const [memory, passes, asked] of [
      [1024, 4, ['h', 'k,h']],
      // That the inputs of the last two layers do not fit as well is known once a batch has run.
      [2 * 1024 + 48, 4, ['h,k', 'h', 'k,h']],
      [3 * 1024 + 120, 2, ['h', 'k,h']],
      [4 * 1024 + 191, 3, ['h,k', 'h', 'k,h']],
      [4 * 1024 + 192, 1, ['h,k']],
    ] as const) {
      const sessions = new Sessions(batches);
      expect(await bitsOf(await calibrated(sessions, { memory }))).toBe(expected);
      expect({ memory, passes: sessions.passes }).toEqual({ memory, passes });
      expect([...new Set(sessions.asked.map((names) => names.join()))]).toEqual(asked);
      expect(sessions.most).toBe(1);
    }
  });

  test('A layer whose moments take too much memory has their diagonal, and a note says so', async () => {
    const batches = batchesOf(4);
    const { layers } = await calibrated(new Sessions(batches));
    const small = await calibrated(new Sessions(batches), { memory: 1000 });
    expect(small.notes).toEqual([
      'only the bias can be repaired where the moments exceed `memory`: first, second, third and 1 more',
    ]);
    for (const [name, { columns, rows, moment, mean, norm, heldOut }] of layers) {
      const diagonal = (all: Float32Array) => [...all].filter((_, index) => index % (columns + 1) === 0);
      const found = small.layers.get(name)!;
      expect(found).toMatchObject({ isDiagonal: true, rows, norm, groups: 1, columns });
      expect(apart(found.moment, diagonal(moment))).toBeLessThan(1e-6);
      expect(apart(found.mean, [...mean])).toBeLessThan(1e-6);
      expect(apart(found.heldOut!.moment, diagonal(heldOut!.moment))).toBeLessThan(1e-6);
    }
  });

  test('Progress is told in weights, and ends with all of them', async () => {
    const told: (readonly [number, number])[] = [];
    const onProgress: CalibrateOptions<Batch>['onProgress'] = ({ stage, done, total }) => {
      expect(stage).toBe('calibrate');
      told.push([done, total]);
    };
    await calibrated(new Sessions(batchesOf(2)), { memory: 2 * 1024 + 200, onProgress });
    // Layers of 24, 8, 36 and 18 weights. How many batches there are is known after the first pass.
    expect(told).toEqual([0, 0, 32, 59, 86, 86].map((done) => [done, 86]));
  });
});

describe('held-out batches', () => {
  test('Every batch is in the one part or the other, and held-out ones are spread evenly', async () => {
    const batches = batchesOf(10);
    for (const [holdOut, places] of [
      [undefined, [3, 7]],
      [0.25, [3, 7]],
      [0.5, [1, 3, 5, 7, 9]],
      [0.3, [3, 6, 9]],
      [0.9, [1, 2, 3, 4, 5, 6, 7, 8, 9]],
    ] as const) {
      const { layers, notes } = await calibrated(new Sessions(batches), { holdOut });
      expect(notes).toEqual([]);
      const isHeldOut = (index: number) => (places as readonly number[]).includes(index);
      const parts = [false, true].map((part) => batches.filter((_, index) => isHeldOut(index) === part));
      const whole = (part: readonly Batch[]) => calibrated(new Sessions(part), { holdOut: 0 });
      const [seen, rest] = [await whole(parts[0]!), await whole(parts[1]!)];
      for (const [name, { heldOut, ...layer }] of layers) {
        expect({ ...layer, heldOut: undefined }).toEqual(seen.layers.get(name));
        const { rows, moment, mean, norm } = rest.layers.get(name)!;
        expect(heldOut).toEqual({ rows, moment, mean, norm });
      }
    }
  });

  test('With too few batches none is held out, and a note says so', async () => {
    const { layers, notes } = await calibrated(new Sessions(batchesOf(3)));
    expect(notes).toEqual(['no batch was held out: that takes more batches, or a larger `holdOut`']);
    expect([...layers.values()].map(({ heldOut }) => heldOut)).toEqual(Array(4).fill(undefined));
  });

  test('Merged statistics are those of one calibration with all batches', async () => {
    const sizes = fc.integer({ min: 1, max: 3 }).map((quarter) => 4 * quarter);
    const rows = fc.integer({ min: 1, max: 5 });
    await fc.assert(
      fc.asyncProperty(sizes, sizes, rows, rows, async (a, b, rowsOfA, rowsOfB) => {
        // Of each four batches the last one is held out, in the parts as in the whole.
        const first = Array.from({ length: a }, (_, seed) => batchOf(seed, rowsOfA));
        const second = Array.from({ length: b }, (_, seed) => batchOf(50 + seed, rowsOfB));
        const [one, other] = [await calibrated(new Sessions(first)), await calibrated(new Sessions(second))];
        const all = await calibrated(new Sessions([...first, ...second]));
        const merged = one.merge(other);
        expect([...merged.layers.keys()]).toEqual([...all.layers.keys()]);
        for (const [name, layer] of all.layers) {
          const found = merged.layers.get(name)!;
          expect(found).toMatchObject({ groups: 1, columns: layer.columns, isDiagonal: false, sha256: layer.sha256 });
          for (const [own, expected] of [
            [found, layer],
            [found.heldOut!, layer.heldOut!],
          ] as const) {
            expect(own.rows).toBe(expected.rows);
            expect(apart(own.moment, [...expected.moment])).toBeLessThan(1e-6);
            expect(apart(own.mean, [...expected.mean])).toBeLessThan(1e-6);
            expect(apart(own.norm!, [...expected.norm!])).toBeLessThan(1e-6);
          }
        }
      }),
      { seed: 16, numRuns: 10 },
    );
  });
});

describe('what goes wrong', () => {
  const changed = (name: string, change: (tensor: OnnxTensorLike) => OnnxTensorLike | undefined, from = 0) =>
    new Sessions(batchesOf(4), (tensor, value, { seed }) => (value === name && seed >= from ? change(tensor) : tensor));
  const numbers = (data: unknown, type = 'float32') => ({ ...tensorOf(valueIn(batchOf(0), 'h')), data, type });
  const filled = (number: number) => numbers(new Float32Array(18).fill(number));

  test.each<[title: string, sessions: Sessions, code: string, message: RegExp]>([
    ['no batch', new Sessions([]), 'criteria', /there is no batch/],
    [
      'NaN',
      changed('h', () => filled(NaN), 2),
      'criteria',
      /^third: an input of the layer is infinite or not a number/,
    ],
    ['infinity', changed('k', () => filled(-Infinity)), 'criteria', /^fourth: an input of the layer is infinite/],
    ['squares that are too large', changed('h', () => filled(3e38)), 'criteria', /^third: .* too large/],
    [
      'whole numbers',
      changed('h', () => numbers(new BigInt64Array(18), 'int64')),
      'criteria',
      /^third: .*float.*int64/,
    ],
    ['a missing value', changed('k', () => undefined), 'criteria', /^fourth: .*does not return.* k/],
    ['too few numbers', changed('h', () => numbers(new Float32Array(3))), 'criteria', /^third: .*\[3, 6\].*3 numbers/],
    [
      'another number of channels',
      changed('h', ({ data }) => ({ type: 'float32', dims: [6, 3], data })),
      'criteria',
      /^third: .*\[6, 3\]/,
    ],
    ['no rows', new Sessions([batchOf(0, 0), batchOf(1, 0)]), 'criteria', /^first: its inputs have no rows/],
  ])('An error tells of %s', async (_, sessions, code, message) => {
    const error = await errorOf(() => calibrated(sessions));
    expect(error.message).toMatch(message);
    expect(error.code).toBe(code);
  });

  test('Another number of batches in a later pass is an error', async () => {
    const sessions = new Sessions(batchesOf(4));
    const batches = () => batchesOf(sessions.passes++ === 0 ? 4 : 3);
    const error = await errorOf(() => calibrated(sessions, { batches, memory: 1024 }));
    expect(error.message).toMatch(/`batches` must give the same batches.*4.*3/);
  });

  test('A signal ends the call in the middle, with its reason', async () => {
    for (const seed of [0, 2]) {
      const controller = new AbortController();
      const sessions = new Sessions(batchesOf(4), (tensor, _, batch) => {
        if (batch.seed === seed) controller.abort(new Error('enough'));
        return tensor;
      });
      await expect(calibrated(sessions, { signal: controller.signal })).rejects.toThrow('enough');
      expect(sessions.asked).toHaveLength(seed + 1);
    }
  });

  test('What sessions and batches throw ends the call', async () => {
    const failing = new Sessions(batchesOf(4), () => {
      throw new Error('a failed run');
    });
    await expect(calibrated(failing)).rejects.toThrow('a failed run');
    const createSession = async () => {
      throw new Error('no session');
    };
    await expect(calibrated(new Sessions(batchesOf(4)), { createSession })).rejects.toThrow('no session');
    async function* batches() {
      yield batchOf(0);
      throw new Error('no further batch');
    }
    await expect(calibrated(new Sessions([]), { batches })).rejects.toThrow('no further batch');
  });

  test.each<[options: Record<string, unknown>, message: RegExp]>([
    [{ holdOut: 1 }, /`holdOut` is a share.*given: 1/],
    [{ holdOut: -0.1 }, /`holdOut` is a share/],
    [{ holdOut: NaN }, /`holdOut` is a share/],
    [{ memory: 0 }, /`memory` is a number of bytes/],
    [{ memory: '1 GB' }, /`memory` is a number of bytes/],
    [{ batches: batchesOf(2) }, /`batches` is a function.*`batches: \(\) => list`/],
    [{ batches: () => 5 }, /`batches` returns a list or a generator.*found: number/],
    [{ batches: () => undefined }, /`batches` returns a list.*found: undefined/],
    [{ batches: async () => batchesOf(2) }, /`batches` returns a list.*no promise.*found: a promise/],
    [{ createSession: undefined }, /`createSession` is a function that makes a session.*found: undefined/],
    [{ createSession: async () => undefined }, /`createSession` returns a session.*found: undefined/],
    [{ signal: 1 }, /`signal` is an AbortSignal/],
    [{ held: 0.1 }, /unknown option.*held/],
  ])('The options %o are refused', async (options, message) => {
    const error = await errorOf(() => calibrated(new Sessions(batchesOf(2)), options));
    expect([error.code, error.message]).toEqual(['usage', expect.stringMatching(message)]);
  });

  test('Only ONNX models are calibrated', async () => {
    const data = new Float32Array(4);
    const arrays = fromArrays({ fc: { kind: 'dense', roles: ['out', 'in'], shape: [2, 2], data } });
    const error = await errorOf(() => calibrate(arrays as never, new Sessions(batchesOf(2)).options()));
    expect([error.code, error.message]).toEqual(['usage', expect.stringMatching(/ONNX/)]);
  });
});

test('Numbers in a list that is no Float32Array are read as well', async () => {
  const plain = new Sessions(batchesOf(4), (tensor) => ({ ...tensor, data: Array.from(tensor.data as Float32Array) }));
  const [found, expected] = [await calibrated(plain), await calibrated(new Sessions(batchesOf(4)))];
  expect(differsAt(await found.bytes(), await expected.bytes())).toBe(-1);
});

test('Half precision is read by value', async () => {
  // 1, -2, 0.5 and the smallest number above 0, in 16 bits
  const bits = Uint16Array.from({ length: 18 }, (_, at) => [0x3c00, 0xc000, 0x3800, 0x0001, 0, 0][at % 6]!);
  const sessions = new Sessions(batchesOf(1), (tensor, name) =>
    name === 'h' ? { ...tensor, type: 'float16', data: bits } : tensor,
  );
  const { layers } = await calibrated(sessions, { holdOut: 0 });
  expect([...layers.get('third')!.mean]).toEqual([1, -2, 0.5, 2 ** -24, 0, 0]);
  const norm = Float32Array.of(Math.sqrt(3), Math.sqrt(12), Math.sqrt(0.75), Math.sqrt(3 * 2 ** -48), 0, 0);
  expect(layers.get('third')!.norm).toEqual(norm);
});
