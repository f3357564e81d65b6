import { mkdtemp, open, readdir, readFile, rm, writeFile, type FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sparsifyFile } from 'sparsifier/file';
import { readModel } from 'sparsifier/formats';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { differsAt, digestOf } from '../support/bytes.js';
import { sweep, Uses, type Failing, type Which } from '../support/failing.js';
import { smallModelNames, smallModels } from '../support/small-models.js';

// Each read of a file on a disk fails, alone and with those after it.

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sparsifier-failures-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

const mains = { onnx: 'model.onnx', safetensors: 'model.safetensors.index.json', tfjs: 'model.json' } as const;

/** What all files are read with, which may fail as on a disk that is broken. */
async function reads(which: Which): Promise<Failing> {
  const uses = new Uses(which);
  const handle = await open(import.meta.filename);
  const methods = Object.getPrototypeOf(handle) as { read: (...words: never[]) => Promise<unknown> };
  await handle.close();
  const { read } = methods;
  methods.read = function (this: FileHandle, ...words) {
    if (!uses.fails()) return read.apply(this, words);
    return Promise.reject(
      Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO', errno: -5, syscall: 'read' }),
    );
  };
  return {
    get failed() {
      return uses.failed;
    },
    stop: () => {
      uses.stop();
      methods.read = read;
    },
  };
}

test.each(smallModelNames)(
  '%s: A file that cannot be read is an error, which leaves all files as they are',
  async (name) => {
    const { bytes, further = {} } = smallModels[name];
    const files = { [mains[name]]: bytes, ...further };
    for (const [of, content] of Object.entries(files)) await writeFile(join(folder, of), content);
    const input = join(folder, mains[name]);
    const out = join(folder, 'out');
    /** All that was written. */
    const state = async () => {
      const written = await readdir(out).catch(() => []);
      for (const [of, content] of Object.entries(files))
        expect(differsAt(await readFile(join(folder, of)), content)).toBe(-1);
      expect((await readdir(folder)).sort()).toEqual(
        [...Object.keys(files), ...(written.length > 0 ? ['out'] : [])].sort(),
      );
      return JSON.stringify(
        await Promise.all(written.map(async (each) => [each, digestOf(await readFile(join(out, each)))])),
      );
    };
    const clean = async () => rm(out, { recursive: true, force: true });
    for (const options of [{}, { context: 'global' }, { granularity: 'filter' }] as const) {
      const streamed = await sweep<void>(
        {
          begin: clean,
          call: () => sparsifyFile(input, `${out}/`, { layerType: 'all', sparsity: 50, ...options }),
          state,
          end: clean,
        },
        reads,
        'file',
      );
      expect(streamed).toBeGreaterThan(2);
    }
    const held = await sweep<void>(
      { begin: clean, call: async () => (await readModel(input)).close(), state, end: clean },
      reads,
      'file',
    );
    expect(held).toBeGreaterThan(2);
  },
);
