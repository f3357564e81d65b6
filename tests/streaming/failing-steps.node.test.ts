// Each step of writing a model of several files fails once.
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Sparsifier, SparsifyError, type SparsifierOptions } from 'sparsifier';
import { sparsifyFile } from 'sparsifier/file';
import { readModel } from 'sparsifier/formats';
import { expect, test } from 'vitest';
import { onEachStep } from '../support/file-steps.mjs';
import { severalFiles } from '../support/several-files.js';
import { snapshot } from '../support/snapshot.js';

/** By name, the main one first. */
const models: Readonly<Record<string, Readonly<Record<string, Uint8Array>>>> = {
  ONNX: severalFiles.onnx,
  safetensors: severalFiles.safetensors,
  'TensorFlow.js': severalFiles.tfjs,
};
const options: SparsifierOptions = { layerType: 'all' };

/** Writes the sparse model over the one in a folder. */
type Write = (main: string, out: string) => Promise<void>;

/** @param prepare is called just before files are written */
const ways: Readonly<Record<string, (prepare: () => void) => Write>> = {
  'in memory': (prepare) => async (main, out) => {
    using model = await readModel(main);
    await new Sparsifier(model, options).sparsifyModel(50);
    prepare();
    await model.write(out, { force: true });
  },
  streamed: (prepare) => async (main, out) => {
    prepare();
    await sparsifyFile(main, out, { ...options, sparsity: 50, force: true });
  },
};

test.each(Object.keys(models).flatMap((name) => Object.keys(ways).map((way) => [name, way] as const)))(
  'Whichever step of writing a model fails, its files stay as they were and nothing is left over: %s, %s',
  async (name, way) => {
    const folder = await mkdtemp(join(tmpdir(), 'sparsifier-'));
    const [source, out] = [join(folder, 'source'), join(folder, 'out')];
    const files = Object.entries(models[name]!);
    const main = join(source, files[0]![0]);
    const store = async (to: string, stored: readonly (readonly [string, Uint8Array])[]) => {
      for (const [file, bytes] of stored) {
        await mkdir(dirname(join(to, file)), { recursive: true });
        await writeFile(join(to, file), bytes);
      }
    };
    try {
      await store(source, files);
      await ways[way]!(() => {})(main, out + '/');
      const after = await snapshot(folder);
      const written = Object.keys(await snapshot(out)).filter((file) => /\.\w+$/.test(file));
      expect(written.length).toBeGreaterThan(1);
      const old = written.map((file) => [file, Buffer.from(`old ${file}`)] as const);
      const seen = { steps: 0, undone: 0, complete: 0 };
      for (let number = 1; number === 1 || seen.steps >= number - 1; number++) {
        await rm(out, { recursive: true });
        await store(out, old);
        const before = await snapshot(folder);
        seen.steps = 0;
        let restore = () => {};
        const fail = (step: string) => {
          if (++seen.steps === number) throw Object.assign(new Error(`EIO: ${step}`), { code: 'EIO' });
        };
        const error = await ways[way]!(() => (restore = onEachStep(fail, false)))(main, out + '/')
          .then(() => undefined)
          .catch((thrown: unknown) => thrown)
          .finally(() => restore());
        if (error === undefined) {
          expect(await snapshot(folder), `step ${number}`).toEqual(after);
          seen.complete++;
        } else {
          expect(error, `step ${number}`).toBeInstanceOf(SparsifyError);
          expect(error, `step ${number}`).toMatchObject({ code: 'file', message: expect.stringMatching(/EIO/) });
          expect(await snapshot(folder), `step ${number}`).toEqual(before);
          seen.undone++;
        }
      }
      expect(seen.undone).toBeGreaterThan(20);
      expect(seen.complete).toBeLessThan(seen.undone);
    } finally {
      await rm(folder, { recursive: true });
    }
  },
);
