import {
  chmod,
  chown,
  lstat,
  mkdir,
  mkdtemp,
  readFile,
  readlink,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SparsifyError } from 'sparsifier';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { execFileSync, spawn } from 'node:child_process';
import { namesIn, run } from '../support/command.js';
import { onEachStep } from '../support/file-steps.mjs';
import { checkTargets, open, usualReading, writeFiles } from '../support/internal.js';
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
const writeNew = (force = true, all: readonly string[] = names) =>
  writeFiles(
    all.map((name) => output(name)),
    { force },
  );

/** What is there when all is written. */
async function written(all = names): Promise<Readonly<Record<string, string>>> {
  const own = await mkdtemp(join(tmpdir(), 'sparsifier-'));
  const before = folder;
  folder = own;
  try {
    await makeOld();
    await writeNew(true, all);
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
  const killedAt = (step: number, own: string, names: readonly string[]) =>
    run(process.execPath, [script, String(step), own, ...names], { cwd: own });

  test.each([
    ['several folders', names, { old: 60, new: 3, refused: 10 }],
    ['a new folder', names.slice(-2), { old: 20, new: 1, refused: 0 }],
  ])(
    'At whichever step a run is killed, the next one finds the old files or the new ones, and nothing else: %s',
    async (_, names, least) => {
      const after = await written(names);
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
          const { code, stderr } = await killedAt(number, own, names);
          expect(stderr).toBe('');
          if (code === 0) isOver = true;
          else expect(code).toBe('SIGKILL');
          const main = join(own, names[0]!);
          const isRefused = await open(main, usualReading).then(
            async (source) => source.close().then(() => false),
            (error: SparsifyError) => {
              expect(error).toMatchObject({
                code: 'file',
                message: expect.stringMatching(/not written to its end|no such file/),
              });
              return /end/.test(error.message);
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
      for (const key of ['old', 'new', 'refused'] as const) expect(ended[key], key).toBeGreaterThan(least[key]);
    },
    // A hundred processes.
    600_000,
  );
});

/** Writes one file, and does something else before its last byte. */
const meanwhile = (name: string, other: () => Promise<unknown>, force = false) =>
  writeFiles(
    [
      output('first'),
      {
        path: at(name),
        chunks: async function* () {
          yield Buffer.from('new');
          await other();
        },
      },
    ],
    { force },
  );

describe('what is in the way', () => {
  test.each([true, false])(
    'A file that appears meanwhile is kept, as is all the rest; with force it is replaced (%s)',
    async (force) => {
      const error = meanwhile('a', () => writeFile(at('a'), 'other'), force);
      if (!force)
        expect(await errorOf(() => error)).toMatchObject({
          code: 'file',
          message: expect.stringMatching(/a: already exists/),
        });
      await error.catch(() => {});
      expect(await snapshot(folder)).toEqual(
        force
          ? { a: expect.stringMatching(/bmV3$/), first: expect.anything() }
          : { a: expect.stringMatching(/b3RoZXI=$/) },
      );
    },
  );

  test('A file that appears after all were checked is kept, as is all the rest', async () => {
    await writeFile(at('old'), 'old');
    let hasAppeared = false;
    // The journal is written after the last check.
    const restore = onEachStep(async (name) => {
      if (name !== 'link' || hasAppeared) return;
      hasAppeared = true;
      await writeFile(at('z'), 'new z');
    });
    const files = ['old', 'z'].map((name) => output(name));
    const error = await errorOf(() => writeFiles(files, { force: true })).finally(restore);
    expect(error).toMatchObject({
      code: 'file',
      message: expect.stringMatching(/z: was written by someone else meanwhile/),
    });
    expect(await namesIn(folder)).toEqual(['old', 'z']);
    expect([await readFile(at('old'), 'utf8'), await readFile(at('z'), 'utf8')]).toEqual(['old', 'new z']);
  });

  test.each([true, false])(
    'A target that becomes a folder meanwhile is an error, and it is kept, with force: %s',
    async (force) => {
      if (force) await writeFile(at('a'), 'old');
      const becomes = async () => {
        await rm(at('a'), { force: true });
        await mkdir(at('a', 'inside'), { recursive: true });
      };
      expect(await errorOf(() => meanwhile('a', becomes, force))).toMatchObject({ code: 'file' });
      expect(await namesIn(folder)).toEqual(['a', 'a/inside']);
    },
  );

  test('A folder that appears meanwhile gets the files, beside those that are in it', async () => {
    const appears = async () => {
      await mkdir(at('new', 'deep'), { recursive: true });
      await writeFile(at('new', 'other'), 'other');
    };
    const files = ['new/a', 'new/deep/b', 'new/deeper/c'].map((name) => output(name));
    const late = {
      path: at('d'),
      chunks: async function* () {
        await appears();
        yield Buffer.from('d');
      },
    };
    await writeFiles([...files, late]);
    expect(await namesIn(folder)).toEqual([
      'd',
      'new',
      'new/a',
      'new/deep',
      'new/deep/b',
      'new/deeper',
      'new/deeper/c',
      'new/other',
    ]);
  });

  test('If a folder that appeared meanwhile has one of the files, nothing is written', async () => {
    const appears = async () => {
      await mkdir(at('new'));
      await writeFile(at('new', 'a'), 'other');
    };
    const late = {
      path: at('d'),
      chunks: async function* () {
        await appears();
        yield Buffer.from('d');
      },
    };
    expect(await errorOf(() => writeFiles([output('new/a'), output('new/b'), late]))).toMatchObject({ code: 'file' });
    expect(await namesIn(folder)).toEqual(['new', 'new/a']);
    expect(await readFile(at('new', 'a'), 'utf8')).toBe('other');
  });

  test.skipIf(process.platform === 'win32')(
    'A link that leads nowhere is an error, with or without force, also as a folder',
    async () => {
      await symlink('nowhere', at('a'));
      for (const force of [true, false]) {
        for (const name of ['a', 'a/b', 'a/b/c']) {
          const error = await errorOf(() => writeFiles([output('first'), output(name)], { force }));
          expect(error, name).toMatchObject({
            code: 'file',
            message: expect.stringMatching(/a link that leads nowhere/),
          });
        }
      }
      expect(await namesIn(folder)).toEqual(['a']);
    },
  );

  test.skipIf(process.platform === 'win32')(
    'With force, a link to a file is replaced, and that file stays',
    async () => {
      await writeFile(at('kept'), 'kept');
      await chmod(at('kept'), 0o600);
      await symlink('kept', at('a'));
      expect(await errorOf(() => writeFiles([output('a')]))).toMatchObject({
        code: 'file',
        message: expect.stringMatching(/already exists/),
      });
      expect(await readlink(at('a'))).toBe('kept');
      const failing = meanwhile('a', () => mkdir(at('first')), true);
      expect(await errorOf(() => failing)).toMatchObject({ code: 'file' });
      await rm(at('first'), { recursive: true });
      expect(await readlink(at('a'))).toBe('kept');
      await writeFiles([output('a')], { force: true });
      expect((await lstat(at('a'))).isFile()).toBe(true);
      expect((await lstat(at('a'))).mode & 0o777).toBe(0o600);
      expect(await readFile(at('kept'), 'utf8')).toBe('kept');
      expect(await namesIn(folder)).toEqual(['a', 'kept']);
    },
  );

  test('A file below another file is an error that says only so', async () => {
    await writeFile(at('file'), 'text');
    const error = await errorOf(() => writeFiles([output('file/x')]));
    expect(error.message).toBe(`${at('file/x')}: could not be written. found: part of the path is not a folder.`);
    expect(await namesIn(folder)).toEqual(['file']);
  });

  test('Two outputs that are one file are an error, and nothing is left over', async () => {
    await mkdir(at('m'));
    for (const [one, other] of [
      ['m/a', 'm/./a'],
      ['n/a', 'n/b/../a'],
      ['n/a', './m/../n/a'],
    ]) {
      const error = await errorOf(() => writeFiles([output(one!), { ...output('x'), path: `${folder}/${other}` }]));
      expect(error).toMatchObject({
        code: 'usage',
        message: expect.stringMatching(/two outputs would be the same file/),
      });
    }
    expect(await namesIn(folder)).toEqual(['m']);
  });

  test('In a file system that takes two names for the same, two outputs of these names are an error', async () => {
    let opened = 0;
    const restore = onEachStep((name) => {
      if (name === 'open' && ++opened === 2) throw Object.assign(new Error('EEXIST'), { code: 'EEXIST' });
    }, false);
    const error = await errorOf(() => writeFiles([output('new/a'), output('new/A')])).finally(restore);
    expect(error).toMatchObject({
      code: 'usage',
      message: expect.stringMatching(/A: two outputs would be the same file/),
    });
    expect(await namesIn(folder)).toEqual([]);
  });
});

describe('file systems', () => {
  test('Files are written where handles have no method that flushes them, as with Plug’n’Play of Yarn', async () => {
    const chunk = new Uint8Array(2 ** 24).fill(7);
    const asked = new Set<string>();
    const restore = onEachStep((name) => {
      if (name !== 'sync' && name !== 'datasync') return;
      asked.add(name);
      throw new Error('Method not implemented.');
    });
    await writeFiles([{ path: at('large'), chunks: () => [chunk, chunk] }], {}).finally(restore);
    expect([...asked].sort()).toEqual(['datasync', 'sync']);
    expect(await namesIn(folder)).toEqual(['large']);
    expect((await readFile(at('large'))).equals(Buffer.concat([chunk, chunk]))).toBe(true);
  });

  test.each([
    ['link', 'EPERM'],
    ['link', 'ENOSYS'],
    ['sync of folders', 'EINVAL'],
    ['sync of folders', 'EISDIR'],
  ])('Files are written where there is no %s (%s), and come back when a step fails', async (missing, code) => {
    const fail = (name: string) => {
      throw Object.assign(new Error(`${code}: ${name}`), { code });
    };
    const after = await written();
    await makeOld();
    const before = await snapshot(folder);
    const isMissing = (name: string, flags?: string) =>
      missing === 'link' ? name === 'link' : name === 'sync' && flags === 'r';
    let [renames, isFailing] = [0, true];
    const restore = onEachStep((name, flags) => {
      if (isMissing(name, flags)) fail(name);
      if (isFailing && name === 'rename' && ++renames === 8) throw Object.assign(new Error('EIO'), { code: 'EIO' });
    });
    try {
      expect(await errorOf(() => writeNew())).toMatchObject({ code: 'file' });
      expect(await snapshot(folder)).toEqual(before);
      isFailing = false;
      await writeNew();
      expect(await snapshot(folder)).toEqual(after);
    } finally {
      restore();
    }
  });
});

describe('staging folders', () => {
  const host = hostname()
    .replace(/[^\w.]/g, '_')
    .slice(0, 60);
  const day = 24 * 60 * 60 * 1000;
  /** Makes a staging folder that was changed last some time ago. */
  async function stage(owner: string, pid: number, age: number): Promise<string> {
    const name = `.sparsifier-${owner}-${pid}-0123456789ab`;
    await mkdir(at(name, 'new'), { recursive: true });
    await writeFile(at(name, 'new', 'a'), 'half');
    const time = new Date(Date.now() - age);
    for (const place of [at(name, 'new', 'a'), at(name, 'new'), at(name)]) await utimes(place, time, time);
    return name;
  }
  /** The id of a process that has ended. */
  const gone = async () => {
    const child = spawn(process.execPath, ['--version'], { stdio: 'ignore' });
    await new Promise((resolve) => child.on('close', resolve));
    return child.pid!;
  };
  const isKept = async (name: string) => {
    await writeFiles([output('a')], { force: true });
    return (await namesIn(folder)).includes(name);
  };

  test('Those of processes of this host that are gone are removed', async () => {
    expect(await isKept(await stage(host, await gone(), 0))).toBe(false);
  });

  test('Those of a process that had the number of this one, which did not begin them, are removed', async () => {
    expect(await isKept(await stage(host, process.pid, 0))).toBe(false);
  });

  test('Those of processes that run are kept', async () => {
    expect(await isKept(await stage(host, process.ppid, 0))).toBe(true);
  });

  test.runIf(process.platform === 'linux')(
    'Those that are older than the process that has their number now are removed',
    async () => {
      expect(await isKept(await stage(host, process.ppid, 30 * day))).toBe(false);
    },
  );

  test('Those of other hosts are removed after 24 hours', async () => {
    expect(await isKept(await stage('elsewhere', 1, day - 60_000))).toBe(true);
    expect(await isKept(await stage('elsewhere', 1, day + 60_000))).toBe(false);
  });

  test('What another host writes for more than 24 hours is kept', async () => {
    const name = await stage('elsewhere', 1, 2 * day);
    await writeFile(at(name, 'new', 'a'), 'more');
    expect(await isKept(name)).toBe(true);
  });

  test.runIf(process.getuid?.() === 0)(
    'Those of other users are kept, but for those of the owner of the folder',
    async () => {
      const name = await stage(host, await gone(), 0);
      await chown(at(name), 1234, 1234);
      expect(await isKept(name)).toBe(true);
      await chown(folder, 1234, 1234);
      expect(await isKept(name)).toBe(false);
    },
  );

  test.runIf(process.platform === 'linux').each([
    ['a pipe', (journal: string) => execFileSync('sh', ['-c', 'mkfifo "$0"', journal])],
    ['a link to a device', (journal: string) => symlinkSync('/dev/zero', journal)],
    ['a folder', (journal: string) => mkdirSync(journal)],
    [
      'the journal of a file with a name that no file has',
      (journal: string) =>
        writeFileSync(
          journal,
          JSON.stringify({
            version: 1,
            leader: '',
            others: [],
            entries: ['a', 'b\0'].map((name) => ({ name, replaces: false, stamps: [] })),
          }),
        ),
    ],
  ])('What has %s in the place of a journal keeps nobody from reading and writing', async (_, make) => {
    const name = await stage('elsewhere', 1, 2 * day);
    make(at(name, 'journal.json'));
    await utimes(at(name), 0, 0);
    await writeFiles([output('a')]);
    await (await open(at('a'), usualReading)).close();
    expect(await namesIn(folder)).toContain('a');
  });

  test('Folders of other names and files are kept', async () => {
    const names = ['.sparsifier-x', '.sparsifier-x-1-zz', '.sparsifier', 'sparsifier-x-1-0123456789ab'];
    for (const name of names) await mkdir(at(name));
    await writeFile(at('.sparsifier-elsewhere-1-0123456789ab'), '');
    await utimes(at('.sparsifier-elsewhere-1-0123456789ab'), 0, 0);
    await writeFiles([output('a')]);
    expect(await namesIn(folder)).toEqual(['a', '.sparsifier-elsewhere-1-0123456789ab', ...names].sort());
  });

  describe('a journal of another run', () => {
    /** As if that run was killed after it placed `a` and set the old `b` aside. */
    async function unfinished(pid: number, journal?: object): Promise<string> {
      const name = await stage(host, pid, 0);
      await mkdir(at(name, 'old'));
      await rm(at(name, 'new', 'a'));
      await writeFile(at('a'), 'new a');
      await writeFile(at(name, 'old', '1'), 'old b');
      const stampOf = async (place: string) => {
        const { size, mtimeMs } = await lstat(place);
        // As after the disk was mounted again.
        return { file: 1, size, time: mtimeMs };
      };
      const entries = [
        { name: 'a', replaces: false, stamps: [await stampOf(at('a'))] },
        { name: 'b', replaces: true, stamps: [{ file: 1, size: 1, time: 1 }] },
      ];
      const content = { version: 1, leader: '', others: [], entries, ...journal };
      await writeFile(at(name, 'journal.json'), JSON.stringify(content));
      return name;
    }

    test('It is undone before the same files, or others beside them, are written', async () => {
      for (const name of ['a', 'c']) {
        await unfinished(await gone());
        await writeFiles([output(name)]);
        expect(await namesIn(folder)).toEqual([name, 'b'].sort());
        expect(await readFile(at('b'), 'utf8')).toBe('old b');
        await rm(at(name));
        await rm(at('b'));
      }
    });

    test('Files that someone else has written since are kept', async () => {
      await unfinished(await gone());
      await writeFile(at('a'), 'by hand');
      await writeFile(at('b'), 'by hand, too');
      await writeFiles([output('c')]);
      expect(await namesIn(folder)).toEqual(['a', 'b', 'c']);
      expect([await readFile(at('a'), 'utf8'), await readFile(at('b'), 'utf8')]).toEqual(['by hand', 'by hand, too']);
    });

    test('The files of a run that is still going on are neither read nor written, and others beside them are', async () => {
      const name = await unfinished(process.ppid);
      const before = await snapshot(folder);
      for (const each of ['a', 'b']) {
        const error = await errorOf(() => writeFiles([output(each)], { force: true }));
        expect(error).toMatchObject({ code: 'file', message: expect.stringMatching(/another run is writing it/) });
        const refused = { code: 'file', message: expect.stringMatching(/not written to its end.*Run the command/) };
        expect(await errorOf(() => open(at(each), usualReading))).toMatchObject(refused);
      }
      expect(await snapshot(folder)).toEqual(before);
      await writeFiles([output('c')]);
      const beside = await open(at('c'), usualReading);
      expect(await errorOf(() => beside.sibling('a'))).toMatchObject({ code: 'file' });
      await beside.close();
      expect(await namesIn(folder)).toContain(name);
    });

    test.each([
      ['names a path', { entries: [{ name: '../precious', replaces: true, stamps: [] }] }],
      [
        'names the folder above',
        { entries: [{ name: '..', replaces: false, stamps: [{ file: 1, size: 8, time: 1 }] }] },
      ],
      ['is of another version', { version: 2 }],
      ['has no entries', { entries: null }],
      ['has no stamps', { entries: [{ name: 'a', replaces: false }] }],
    ])('A journal that %s, which no run has written, changes nothing', async (_, journal) => {
      const name = await unfinished(await gone(), journal);
      await mkdir(at('m'));
      await writeFile(at('precious'), 'precious');
      const before = await snapshot(folder);
      await writeFiles([output('c')]);
      await (await open(at('a'), usualReading)).close();
      const { c, ...after } = await snapshot(folder);
      expect(c).toMatch(/ /);
      expect(after).toEqual(before);
      expect(Object.keys(after)).toContain(name);
    });
  });

  test('A file that a running call is changing is read once it has changed', async () => {
    await makeOld();
    let reading: ReturnType<typeof open> | undefined;
    const restore = onEachStep(async (name) => {
      if (name !== 'link') return;
      reading ??= open(at('m/model'), usualReading);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }, false);
    await writeNew().finally(restore);
    const source = await reading!;
    const bytes = new Uint8Array(source.size);
    await source.read(bytes, 0);
    await source.close();
    expect(Buffer.from(bytes).toString()).toBe('new m/model');
  });

  test('Of two runs that write the same files at once, the files are all from one of them', async () => {
    const both = ['one', 'two'].map((text) => names.map((name) => output(name, `${text} ${name}`)));
    for (let round = 0; round < 10; round++) {
      const ended = await Promise.allSettled(both.map((files) => writeFiles(files, { force: true })));
      for (const end of ended) if (end.status === 'rejected') expect(end.reason).toMatchObject({ code: 'file' });
      const texts = await Promise.all(
        names.map(async (name) => (await readFile(at(name), 'utf8').catch(() => 'none')).slice(0, 3)),
      );
      expect(new Set(texts).size).toBe(1);
      expect((await namesIn(folder)).filter((name) => name.includes('.sparsifier-'))).toEqual([]);
    }
  });
});
