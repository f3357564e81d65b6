import { spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { describe, expect, test } from 'vitest';
import { command, run } from '../support/command.js';
import { at, foldersWith, sparsifier } from '../support/folder.js';
import { model, node, tensor } from '../support/onnx-builder.js';
import { snapshot } from '../support/snapshot.js';
import { floats } from '../support/tfjs.js';

const inFolder = foldersWith({
  'model.onnx': model({
    nodes: [node('MatMul', 'x w', 'y', { name: 'd' })],
    initializers: [tensor('w', [3, 2], { external: { location: 'w.bin' } })],
    inputs: { x: 2 },
  }),
  'w.bin': floats(1, -2, 3, -4, 5, -6),
  'out.onnx': Buffer.from('old'),
  'masks.safetensors': Buffer.from('old masks'),
});
const prune = ['prune', 'model.onnx', '-s', '50', '--layer-type', 'all', '--force', '-o'];
const script = pathToFileURL(fileURLToPath(new URL('../support/signal-at-step.mjs', import.meta.url)));

const signalled = (step: string, number: number, signals: string, words: readonly string[]) =>
  run(
    process.execPath,
    ['--import', `${script.href}?${new URLSearchParams({ step, number: String(number), signals })}`, command, ...words],
    { cwd: at() },
  );

/** Where a signal comes, and whether the files are the new ones afterwards. */
const moments = [
  ['mkdir', 1, false],
  ['write', 1, false],
  ['sync', 2, false],
  ['open', 3, false],
  ['rename', 1, true],
  ['link', 1, true],
  ['rename', 2, true],
  ['rm', 1, true],
] as const;

describe.skipIf(process.platform === 'win32')('signals', () => {
  test.each(
    moments.map((moment, index) => [
      ...moment,
      ...(index % 2 === 0 ? (['SIGINT', 130] as const) : (['SIGTERM', 143] as const)),
      ...(index % 4 < 2 ? (['out.onnx', 'new.safetensors'] as const) : (['new/sub/', 'masks.safetensors'] as const)),
    ]),
  )(
    'At the call %s, number %i, all files are the new ones (%s) or the old ones: %s ends with %i, out to %s, masks to %s',
    inFolder(async (step, number, isNew, signal, code, out, masks) => {
      const words = [...prune, out, '--save-masks', masks];
      const before = await snapshot(at());
      const { stderr, code: ended } = await signalled(step, number, signal, words);
      const after = await snapshot(at());
      expect({ ended, stderr }).toEqual({ ended: code, stderr: '' });
      if (isNew) expect(Object.keys(after).filter((name) => name.includes('.sparsifier-'))).toEqual([]);
      else expect(after).toEqual(before);
      expect((await sparsifier(...words)).code).toBe(0);
      if (isNew) expect(await snapshot(at())).toEqual(after);
    }, []),
  );

  test(
    'A second signal ends the command at once, and the next run removes what is left',
    inFolder(async () => {
      const before = await snapshot(at());
      const { code, stderr } = await signalled('link', 1, 'SIGINT,SIGTERM', [...prune, 'out.onnx']);
      expect({ code, stderr }).toEqual({ code: 143, stderr: '' });
      expect(Object.keys(await snapshot(at())).filter((name) => name.includes('.sparsifier-'))).not.toEqual([]);
      expect((await sparsifier(...prune, 'out.onnx')).code).toBe(0);
      const names = Object.keys(await snapshot(at()));
      expect(names).toEqual([...Object.keys(before), 'out.onnx.data'].sort());
    }, []),
  );

  test.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)(
    'While a module gives batches, %s ends the command with %i and nothing is left',
    inFolder(async (signal, code) => {
      await writeFile(
        at('inputs.mjs'),
        `import { writeSync } from 'node:fs';
         export default async function* () {
           writeSync(2, 'waiting');
           await new Promise((resolve) => setTimeout(resolve, 600_000));
         }`,
      );
      const before = await snapshot(at());
      const words = [command, 'calibrate', 'model.onnx', 'inputs.mjs', '-o', 'statistics.safetensors'];
      const child = spawn(process.execPath, words, { cwd: at(), stdio: ['ignore', 'ignore', 'pipe'] });
      let said = '';
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        said += text;
        if (said === 'waiting') child.kill(signal);
      });
      expect(await new Promise((resolve) => child.on('close', (...ended) => resolve(ended)))).toEqual([code, null]);
      expect(said).toBe('waiting');
      expect(await snapshot(at())).toEqual(before);
    }),
  );
});
