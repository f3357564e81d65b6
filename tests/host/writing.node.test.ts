import { chmod, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SparsifyError } from 'sparsifier';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { namesIn, run } from '../support/command.js';
import { onEachStep } from '../support/file-steps.mjs';
import { checkTargets, open, writeFiles } from '../support/internal.js';
import { errorOf } from '../support/layers.js';
import { snapshot } from '../support/snapshot.js';

let folder: string;
const at = (...names: string[]) => join(folder, ...names);
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sparsifier-'));
});
afterEach(() => rm(folder, { recursive: true }));

/** Files in a folder that exists, in one below it, in another one, and in one that does not exist. Some are replaced. */
const names = ['m/model', 'm/a', 'm/b', 'm/parts/c', 'other/z', 'new/x', 'new/deep/y'];
const replaced = ['m/model', 'm/a', 'm/parts/c', 'other/z'];

async function makeOld(): Promise<void> {
  for (const name of [...replaced, 'm/unrelated']) {
    await mkdir(dirname(at(name)), { recursive: true });
    await writeFile(at(name), `old ${name}`);
  }
  await chmod(at('m/a'), 0o600);
}

const output = (name: string, text = `new ${name}`) => ({
  path: at(name),
  chunks: () => [Buffer.from(text.slice(0, 4)), Buffer.from(text.slice(4))],
});
const paths = () => names.map((name) => at(name));
const writeNew = (force = true) =>
  writeFiles(
    names.map((name) => output(name)),
    { force },
  );

/** What is there when all is written. */
async function written(): Promise<Readonly<Record<string, string>>> {
  const own = await mkdtemp(join(tmpdir(), 'sparsifier-'));
  const before = folder;
  folder = own;
  try {
    await makeOld();
    await writeNew();
    return await snapshot(own);
  } finally {
    folder = before;
    await rm(own, { recursive: true });
  }
}

test('Files are written to several folders, also new ones, and replaced files keep their permissions', async () => {
  await makeOld();
  await writeNew();
  for (const name of names) expect(await readFile(at(name), 'utf8')).toBe(`new ${name}`);
  expect(await namesIn(folder)).toEqual([...names, 'm/unrelated', 'm', 'm/parts', 'other', 'new', 'new/deep'].sort());
  expect((await stat(at('m/a'))).mode & 0o777).toBe(process.platform === 'win32' ? 0o666 : 0o600);
});

test.each([0o600, 0o640, 0o444, 0o755])(
  'A file with the permissions %o keeps them when it is replaced',
  async (mode) => {
    await writeFile(at('a'), 'old');
    await chmod(at('a'), mode);
    const modes: number[] = [];
    const chunks = async function* () {
      yield Buffer.from('n');
      const [begun] = (await namesIn(folder)).filter((name) => name.endsWith('new/a'));
      modes.push((await stat(at(begun!))).mode & 0o777);
      yield Buffer.from('ew');
    };
    await writeFiles([{ path: at('a'), chunks }], { force: true });
    expect(await readFile(at('a'), 'utf8')).toBe('new');
    expect([...modes, (await stat(at('a'))).mode & 0o777]).toEqual(
      process.platform === 'win32' ? expect.anything() : [mode, mode],
    );
  },
);

describe('a step that fails', () => {
  test('Whichever step of writing fails, all files are the old ones, or all the new ones, and nothing is left over', async () => {
    const after = await written();
    const failed = { first: 0, undone: 0, complete: 0 };
    for (let number = 1; failed.first === 0; number++) {
      await rm(folder, { recursive: true });
      await mkdir(folder);
      await makeOld();
      const before = await snapshot(folder);
      let steps = 0;
      const restore = onEachStep((name) => {
        if (++steps === number) throw Object.assign(new Error(`EIO: ${name} failed on purpose`), { code: 'EIO' });
      });
      let error: unknown;
      try {
        await writeNew();
      } catch (thrown) {
        error = thrown;
      } finally {
        restore();
      }
      if (error === undefined) {
        expect(await snapshot(folder), `step ${number}`).toEqual(after);
        if (steps < number) failed.first = number;
        else failed.complete++;
      } else {
        expect(error, `step ${number}`).toBeInstanceOf(SparsifyError);
        expect(error, `step ${number}`).toMatchObject({
          code: 'file',
          message: expect.stringMatching(/on purpose|leads nowhere/),
        });
        expect(await snapshot(folder), `step ${number}`).toEqual(before);
        failed.undone++;
      }
    }
    // Most steps are needed. Some only remove what is no longer needed, or have another way.
    expect(failed.undone).toBeGreaterThan(60);
    expect(failed.complete).toBeLessThan(failed.undone);
  });

  test('If what was there cannot be brought back at once, the next run does so first', async () => {
    await makeOld();
    const before = await snapshot(folder);
    let isBroken = false;
    let renames = 0;
    const restore = onEachStep((name) => {
      if (name === 'rename' && ++renames === 6) isBroken = true;
      if (isBroken) throw Object.assign(new Error('EIO'), { code: 'EIO' });
    });
    const error = await errorOf(() => writeNew()).finally(restore);
    expect(error).toMatchObject({
      code: 'file',
      message: expect.stringMatching(/The next run that writes there does so first/),
    });
    expect(await snapshot(folder)).not.toEqual(before);
    await checkTargets(paths(), { force: true });
    expect(await snapshot(folder)).toEqual(before);
  });
});

describe('a run that is killed', () => {
  const script = fileURLToPath(new URL('../support/killed-write.mjs', import.meta.url));
  const killedAt = (step: number, own: string) =>
    run(process.execPath, [script, String(step), own, ...names], { cwd: own });

  test('At whichever step a run is killed, the next one finds the old files or the new ones, and nothing else', async () => {
    const after = await written();
    const ended = { old: 0, new: 0, refused: 0 };
    const top = folder;
    let [step, isOver] = [0, false];
    const worker = async () => {
      while (!isOver) {
        const number = step++;
        const own = join(top, String(number));
        await mkdir(own);
        for (const name of [...replaced, 'm/unrelated']) {
          await mkdir(dirname(join(own, name)), { recursive: true });
          await writeFile(join(own, name), `old ${name}`);
        }
        await chmod(join(own, 'm/a'), 0o600);
        const before = await snapshot(own);
        const { code, stderr } = await killedAt(number, own);
        expect(stderr).toBe('');
        if (code === 0) isOver = true;
        else expect(code).toBe('SIGKILL');
        const main = join(own, 'm/model');
        const isRefused = await open(main).then(
          async (source) => source.close().then(() => false),
          (error: SparsifyError) => {
            expect(error).toMatchObject({ code: 'file', message: expect.stringMatching(/not written to its end/) });
            return true;
          },
        );
        const left = Object.entries(await snapshot(own)).filter(([name]) => !name.includes('.sparsifier-'));
        const found = JSON.stringify(Object.fromEntries(left));
        // Only whole sets of files are read.
        if (isRefused) ended.refused++;
        else expect([JSON.stringify(before), JSON.stringify(after)], `step ${number}`).toContain(found);
        await checkTargets(
          names.map((name) => join(own, name)),
          { force: true },
        );
        const next = await snapshot(own);
        const isOld = JSON.stringify(next) === JSON.stringify(before);
        if (!isOld) expect(next, `step ${number}`).toEqual(after);
        if (isOld) ended.old++;
        else ended.new++;
        await writeFiles(
          names.map((name) => ({ path: join(own, name), chunks: () => [Buffer.from(`new ${name}`)] })),
          { force: true },
        );
        expect(await snapshot(own), `step ${number}`).toEqual(after);
      }
    };
    await Promise.all([worker(), worker(), worker()]);
    expect(ended.old).toBeGreaterThan(60);
    expect(ended.new).toBeGreaterThan(3);
    expect(ended.refused).toBeGreaterThan(10);
  });
});
