import { Sparsifier, type SparsifierOptions } from 'sparsifier';
import { readStatistics, Statistics } from 'sparsifier/calibration';
import { sparsifyFile } from 'sparsifier/file';
import { readModel } from 'sparsifier/formats';
import { describe, expect, test } from 'vitest';
import { differsAt, digestOf } from '../support/bytes.js';
import { allocations, FailingBlob, sweep, Uses, type Failing, type Trial, type Which } from '../support/failing.js';
import { expectNoMemoryInUse, line, values } from '../support/layers.js';
import { layerStatistics, rowsFor } from '../support/naive-repair.js';
import { smallModelNames, smallModels, type SmallModel } from '../support/small-models.js';
import { keeping, reading, type Kept } from '../support/streams.js';

// Each allocation, each read and each write of a streamed call fails once, alone and with those after it.

/** A file and what is made of it. */
interface Subject {
  uses: Uses;
  readonly written: Map<string, Kept>;
}

const never: Which = { at: Infinity, isFromThenOn: false };

/** All files, once they are complete: streams of further files are closed before the main one. */
const state = async ({ written }: Subject): Promise<string> =>
  [...written.values()].at(-1)?.isClosed
    ? JSON.stringify([...written].map(([name, kept]) => [name, kept.isClosed, digestOf(kept.bytes())]))
    : 'incomplete';

/** A stream of which writing may fail, as to a disk that is full. */
function failingStream(uses: () => Uses): Kept {
  const kept = keeping();
  const writer = kept.stream.getWriter();
  const full = () => Promise.reject(new Error('the disk is full'));
  const stream = new WritableStream<Uint8Array>({
    write: (chunk) => (uses().fails() ? full() : writer.write(chunk)),
    close: () => (uses().fails() ? full() : writer.close()),
    abort: (reason) => writer.abort(reason),
  });
  return Object.assign(Object.create(kept) as Kept, { stream });
}

const blobsOf = (name: SmallModel, subject: Subject) => {
  const source = smallModels[name];
  const blob = (bytes: Uint8Array<ArrayBuffer>, of: string) => new FailingBlob(bytes, of, subject.uses);
  const further = new Map(Object.entries(source.further ?? {}));
  return {
    main: blob(source.bytes, 'main'),
    options: { [source.give ?? 'shards']: (of: string) => blob(further.get(of)!, of) },
  };
};

function trialOf(name: SmallModel, options: SparsifierOptions, hasFailingStreams: boolean): Trial<Subject> {
  return {
    begin: async () => ({ uses: new Uses(never), written: new Map() }),
    call: (subject) => {
      const { main, options: further } = blobsOf(name, {
        ...subject,
        ...(hasFailingStreams && { uses: new Uses(never) }),
      });
      subject.written.clear();
      const give = (of: string) => {
        const kept = hasFailingStreams ? failingStream(() => subject.uses) : keeping();
        subject.written.set(of, kept);
        return kept.stream as WritableStream<Uint8Array<ArrayBuffer>>;
      };
      return sparsifyFile(main, give, { layerType: 'all', sparsity: 50, ...options, ...further });
    },
    state,
    end: () => {},
  };
}

const using = (which: Which, subject: Subject): Failing => (subject.uses = new Uses(which));

const variants: readonly (readonly [title: string, options: SparsifierOptions])[] = [
  ['single weights', {}],
  ['filters', { granularity: 'filter' }],
  ['single weights, global', { context: 'global' }],
  ['a function', { criteria: ({ weights }) => weights.map(Math.abs) }],
];

describe.each(smallModelNames)('A streamed call on %s', (name) => {
  test.each(variants)('writes all or nothing and loses no memory where an allocation fails: %s', async (_, options) => {
    const points = await sweep(trialOf(name, options, false), allocations, 'memory');
    expect(points).toBeGreaterThan(1);
    await expectNoMemoryInUse();
  });

  test.each(variants)('writes all or nothing and loses no memory where a read fails: %s', async (_, options) => {
    const points = await sweep(trialOf(name, options, false), using, 'file');
    expect(points).toBeGreaterThan(1);
    await expectNoMemoryInUse();
  });

  test.each(variants)('writes all or nothing and loses no memory where a write fails: %s', async (_, options) => {
    const trial = trialOf(name, options, true);
    expect(await sweep(trial, using, 'file')).toBeGreaterThan(2);
    const subject = await trial.begin();
    await trial.call(subject);
    using model = await readModel(new File([smallModels[name].bytes], 'main'), reading(smallModels[name]));
    await new Sparsifier(model, { layerType: 'all', ...options }).sparsifyModel(50);
    const files = await model.toFiles();
    for (const [of, kept] of subject.written) expect(differsAt(kept.bytes(), files.get(of)!), of).toBe(-1);
    expect(subject.written.size).toBe(files.size);
    model.close();
    await expectNoMemoryInUse();
  });

  test('is read in memory or not at all, where a read fails', async () => {
    const points = await sweep<Subject>(
      {
        begin: async () => ({ uses: new Uses(never), written: new Map() }),
        call: async (subject) => {
          const { main, options } = blobsOf(name, subject);
          (await readModel(main, options)).close();
        },
        state,
        end: () => {},
      },
      using,
      'file',
    );
    expect(points).toBeGreaterThan(1);
    await expectNoMemoryInUse();
  });
});

test('Statistics are read and written in full or not at all, where a read or a write fails', async () => {
  const layer = line(values(4));
  const rows = rowsFor({ groups: 1, outputs: 1, columns: 4 }, 20);
  const statistics = new Statistics(
    new Map([['layer', { ...layerStatistics(layer, rows), heldOut: undefined }]]),
    [],
    [],
  );
  const kept = keeping();
  await statistics.write(kept.stream as WritableStream<Uint8Array<ArrayBuffer>>);
  const begin = async (): Promise<Subject> => ({ uses: new Uses(never), written: new Map() });
  const reads = await sweep<Subject>(
    {
      begin,
      call: (subject) => readStatistics(new FailingBlob(new Uint8Array(kept.bytes()), 'statistics', subject.uses)),
      state,
      end: () => {},
    },
    using,
    'file',
  );
  const writes = await sweep<Subject>(
    {
      begin,
      call: (subject) => {
        const own = failingStream(() => subject.uses);
        subject.written.clear();
        subject.written.set('statistics', own);
        return statistics.write(own.stream as WritableStream<Uint8Array<ArrayBuffer>>);
      },
      state,
      end: () => {},
    },
    using,
    'file',
  );
  expect(Math.min(reads, writes)).toBeGreaterThan(1);
});
