import fc from 'fast-check';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { loadEngine, SparsifyError } from 'sparsifier';
import { readOnnx, type FileModel } from 'sparsifier/formats/onnx';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { differsAt } from '../../support/bytes.js';
import {
  bytesField,
  concat,
  constant,
  graph,
  graphAttribute,
  integerField,
  model,
  node,
  rawNumbers,
  tensor,
  textField,
  type GraphOptions,
} from '../../support/onnx-builder.js';

let folder: string;
const at = (...names: string[]) => join(folder, ...names);
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sparsifier-'));
});
afterEach(() => rm(folder, { recursive: true }));

const contentOf = async (...names: string[]) => new Uint8Array(await readFile(at(...names)));
const matMul = (weight: string) => node('MatMul', `x ${weight}`, `${weight}y`);
const inside: GraphOptions = {
  nodes: [constant('k', [2, 2]), matMul('k'), matMul('w')],
  initializers: [tensor('w', [3, 4])],
};

/** A model with the data of `w`, and of `v` in a subgraph, in two files. */
function outside(first: string, second: string): Uint8Array<ArrayBuffer> {
  const stored = (name: string, location: string) =>
    tensor(name, [3, 4], { external: { location, offset: 4, length: 48 } });
  const branch = graph({ nodes: [matMul('v')], initializers: [stored('v', second)] });
  return model({
    nodes: [matMul('w'), node('If', 'c', 'y', { attributes: [graphAttribute('then_branch', branch)] })],
    initializers: [stored('w', first), tensor('other', [2])],
  });
}
const data = concat(new Uint8Array(4).fill(9), rawNumbers('float32', 12));
const otherData = concat(data, Uint8Array.of(7));

async function using(read: Promise<FileModel>, use: (read: FileModel) => Promise<unknown>): Promise<void> {
  const opened = await read;
  try {
    await use(opened);
  } finally {
    opened.close();
  }
}

const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'no error',
    (error: unknown) => (error instanceof SparsifyError ? error.code : String(error)),
  );

/** Sets all numbers of the first tensor to zero. */
async function zero(read: FileModel): Promise<void> {
  const engine = await loadEngine();
  const { values } = read.tensors[0]!;
  const region = await read.load(engine, values);
  await region.block.write(new Uint8Array(region.bytes), region.offset);
  await read.store(engine, values, region);
  region.release();
}

describe('a model in one file', () => {
  const bytes = model(inside);
  beforeEach(() => writeFile(at('model.onnx'), bytes));

  test.each([
    (path: string) => path,
    (path: string) => pathToFileURL(path),
    (path: string) => pathToFileURL(path).href,
  ])('A model is read from a path or a file URL and written unchanged', async (source) => {
    await using(readOnnx(source(at('model.onnx'))), (read) => read.write(at('out.onnx')));
    expect(await contentOf('out.onnx')).toEqual(bytes);
  });

  test('A model is written to a folder under its own name', async () => {
    await mkdir(at('there'));
    await using(readOnnx(at('model.onnx')), async (read) => {
      await read.write(at('there'));
      await read.write(at('new') + '/');
    });
    expect(await contentOf('there', 'model.onnx')).toEqual(bytes);
    expect(await contentOf('new', 'model.onnx')).toEqual(bytes);
  });

  test('Only the output file is changed, not the input', async () => {
    await using(readOnnx(at('model.onnx')), async (read) => {
      await zero(read);
      await read.write(at('out.onnx'));
      expect(await contentOf('out.onnx')).toEqual(await read.bytes());
    });
    expect(await contentOf('out.onnx')).not.toEqual(bytes);
    expect(await contentOf('model.onnx')).toEqual(bytes);
  });

  test('An existing file is overwritten only with force', async () => {
    await writeFile(at('out.onnx'), 'precious');
    await using(readOnnx(at('model.onnx')), async (read) => {
      expect(await codeOf(read.write(at('out.onnx')))).toBe('file');
      expect(await readFile(at('out.onnx'), 'utf8')).toBe('precious');
      await read.write(at('out.onnx'), { force: true });
    });
    expect(await contentOf('out.onnx')).toEqual(bytes);
  });

  test('The file that a model was read from is never overwritten', async () => {
    await symlink(at('model.onnx'), at('link.onnx'));
    for (const source of [at('model.onnx'), pathToFileURL(at('model.onnx')), pathToFileURL(at('model.onnx')).href]) {
      await using(readOnnx(source), async (read) => {
        for (const target of [
          at('model.onnx'),
          at('.', 'x', '..', 'model.onnx'),
          at('link.onnx'),
          folder,
          `${folder}/`,
        ]) {
          expect(await codeOf(read.write(target, { force: true }))).toBe('file');
        }
      });
    }
    expect(await contentOf('model.onnx')).toEqual(bytes);
    expect((await readdir(folder)).sort()).toEqual(['link.onnx', 'model.onnx']);
  });

  test.each([['missing.onnx'], ['.']])('Reading %s is an error', async (name) => {
    expect(await codeOf(readOnnx(at(name)))).toBe('file');
  });
});

describe('a model with external data', () => {
  const bytes = outside('data/w.bin', 'v.bin');
  beforeEach(async () => {
    await mkdir(at('in', 'data'), { recursive: true });
    await writeFile(at('in', 'model.onnx'), bytes);
    await writeFile(at('in', 'data', 'w.bin'), data);
    await writeFile(at('in', 'v.bin'), otherData);
  });

  test('A model with external data is written to a folder under its own names', async () => {
    await using(readOnnx(at('in', 'model.onnx')), (read) => read.write(at('out') + '/'));
    expect(await contentOf('out', 'model.onnx')).toEqual(bytes);
    expect(await contentOf('out', 'data', 'w.bin')).toEqual(data);
    expect(await contentOf('out', 'v.bin')).toEqual(otherData);
  });

  test('External data are written next to the output file', async () => {
    await using(readOnnx(at('in', 'model.onnx')), (read) => read.write(at('out.onnx')));
    expect((await readdir(folder)).sort()).toEqual(['in', 'out.onnx', 'out.onnx.2.data', 'out.onnx.data']);
    const locations = ['out.onnx.data', 'out.onnx.2.data'] as const;
    // The data file of the subgraph comes first, since nodes come before initializers.
    expect(await contentOf('out.onnx')).toEqual(outside(locations[1], locations[0]));
    expect(await contentOf('out.onnx.data')).toEqual(otherData);
    expect(await contentOf('out.onnx.2.data')).toEqual(data);
    await using(readOnnx(at('out.onnx')), async ({ tensors, skipped }) => {
      expect(tensors).toHaveLength(2);
      expect(skipped).toEqual([]);
    });
  });

  test('Changes are written to the data file', async () => {
    await using(readOnnx(at('in', 'model.onnx')), async (read) => {
      await zero(read);
      await read.write(at('out') + '/');
    });
    expect(await contentOf('out', 'data', 'w.bin')).toEqual(concat(data.slice(0, 4), new Uint8Array(48)));
    expect(await contentOf('out', 'model.onnx')).toEqual(bytes);
    expect(await contentOf('in', 'data', 'w.bin')).toEqual(data);
  });

  test('The files that a model was read from are never overwritten', async () => {
    await writeFile(at('in', 'w.onnx.data'), data);
    await writeFile(at('in', 'model.onnx'), outside('w.onnx.data', 'w.onnx.data'));
    for (const source of [at('in', 'model.onnx'), pathToFileURL(at('in', 'model.onnx'))]) {
      await using(readOnnx(source), async (read) => {
        expect(await codeOf(read.write(at('in', 'w.onnx'), { force: true }))).toBe('file');
        expect(await codeOf(read.write(at('in'), { force: true }))).toBe('file');
      });
    }
    expect(await contentOf('in', 'w.onnx.data')).toEqual(data);
  });

  test('Nothing is written if one of the files exists', async () => {
    await writeFile(at('out.onnx.2.data'), 'precious');
    await using(readOnnx(at('in', 'model.onnx')), async (read) => {
      expect(await codeOf(read.write(at('out.onnx')))).toBe('file');
    });
    expect((await readdir(folder)).sort()).toEqual(['in', 'out.onnx.2.data']);
  });

  test('A missing data file is an error', async () => {
    await rm(at('in', 'v.bin'));
    expect(await codeOf(readOnnx(at('in', 'model.onnx')))).toBe('file');
  });

  test('A data file name of the same length changes no other bytes, even if varints are longer than necessary', async () => {
    const build = (location: string) => {
      const entry = concat(textField(1, 'location'), textField(2, location));
      const overlong = concat(Uint8Array.of((13 << 3) | 2, entry.length | 0x80, 0), entry);
      return model({ nodes: [matMul('w')], initializers: [concat(tensor('w', [2], { external: {} }), overlong)] });
    };
    const read = readOnnx(build('abcdef'), { external: () => new Uint8Array(8) });
    await using(read, (opened) => opened.write(at('x')));
    expect(await contentOf('x')).toEqual(build('x.data'));
  });

  test('For a data file name of any length, the lengths of all enclosing messages are adjusted', async () => {
    const name = fc.integer({ min: 1, max: 190 }).map((length) => 'n'.repeat(length));
    const padding = fc.integer({ min: 0, max: 16_500 });
    const build = (location: string, padded: number) => {
      const external = bytesField(13, concat(textField(2, location), textField(1, 'location')));
      const weight = concat(
        textField(8, 'w'),
        integerField(14, 1),
        external,
        integerField(2, 1),
        integerField(1, 2),
        integerField(1, 2),
      );
      const pad = [bytesField(12, new Uint8Array(padded))];
      return model({ nodes: [matMul('w')], initializers: [concat(weight, ...pad)] });
    };
    let run = 0;
    await fc.assert(
      fc.asyncProperty(name, name, padding, async (before, after, padded) => {
        const target = at(`${run++}`, after);
        await using(readOnnx(build(before, padded), { external: () => new Uint8Array(16) }), (read) =>
          read.write(target),
        );
        expect(differsAt(await readFile(target), build(`${after}.data`, padded))).toBe(-1);
      }),
      // Padding with which the new name makes the length of some message around it take another byte.
      {
        numRuns: 60,
        examples: [2, 60, 100, 16_200, 16_300].map((pad) => ['n', 'n'.repeat(80), pad] as [string, string, number]),
      },
    );
  });
});

describe('memory', () => {
  test('The memory of a model that was garbage-collected is freed', { timeout: 20_000 }, async () => {
    const engine = await loadEngine();
    const { blocks } = engine.memory;
    await (async () => void (await readOnnx(model(inside))))();
    const { setFlagsFromString } = await import('node:v8');
    const { runInNewContext } = await import('node:vm');
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    await expect.poll(() => (collect(), engine.memory.blocks), { timeout: 10_000 }).toBe(blocks);
  });
});
