import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { brotliCompressSync } from 'node:zlib';
import axe from 'axe-core';
import { chromium, type Browser, type Page } from 'playwright';
import { inspect } from 'sparsifier';
import { readModel, sizesOf } from 'sparsifier/formats';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { findChromium } from '../../scripts/chromium.mjs';
import { differsAt } from '../support/bytes.js';
import { fitModels, network } from '../support/fit-models.js';
import { root } from '../support/install.js';
import { rowsOf } from '../support/page.js';
import { isolation, serve } from '../support/site.js';

// The page of examples/page, as Vite builds it, used as a person would.

const executablePath = await findChromium();
const source = join(root, 'examples', 'page');

let folder: string;
let browser: Browser;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sparsifier-page-'));
  const vite = createRequire(createRequire(import.meta.url).resolve('vitest/package.json')).resolve('vite');
  const { build } = (await import(/* @vite-ignore */ pathToFileURL(vite).href)) as {
    build(options: object): Promise<unknown>;
  };
  await build({ root: source, logLevel: 'error', build: { outDir: folder, emptyOutDir: true } });
  if (executablePath === undefined) return;
  browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
}, 240_000);
afterAll(async () => {
  await browser?.close();
  await rm(folder, { recursive: true });
});

/** Files as a person drops them. */
type Files = readonly { readonly name: string; readonly bytes: Uint8Array }[];

/** Opens the page, uses it, and expects no errors in the console. */
async function opened(headers: Readonly<Record<string, string>>, use: (page: Page) => Promise<void>) {
  const site = await serve(folder, headers);
  const page = await browser.newPage();
  const said: string[] = [];
  page.on('pageerror', (error) => said.push(error.message));
  page.on('console', (message) => message.type() === 'error' && said.push(message.text()));
  try {
    await page.goto(site.address);
    await use(page);
    expect(said.filter((text) => !text.includes('404'))).toEqual([]);
  } finally {
    await page.close();
    await site.close();
  }
}

/** Drops files somewhere on the page. */
async function drop(page: Page, files: Files): Promise<void> {
  const given = files.map(({ name, bytes }) => [name, Buffer.from(bytes).toString('base64')] as const);
  const data = await page.evaluateHandle(
    `(() => {
      const data = new DataTransfer();
      for (const [name, text] of ${JSON.stringify(given)})
        data.items.add(new File([Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))], name));
      return data;
    })()`,
  );
  await page.dispatchEvent('main', 'dragover', { dataTransfer: data });
  await page.dispatchEvent('main', 'drop', { dataTransfer: data });
}

async function begin(page: Page, files: Files, target: string): Promise<void> {
  await drop(page, files);
  await page.getByLabel(/bytes after brotli/i).fill(target);
  await page.getByRole('button', { name: 'Start' }).click();
}

/** The bytes that a link downloads. */
async function downloaded(page: Page, name: string): Promise<Uint8Array<ArrayBuffer>> {
  const [file] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name }).click()]);
  expect(file.suggestedFilename()).toBe(name);
  return new Uint8Array(await readFile(await file.path()));
}

/** What the page made, by how it was served. */
const made = new Map<string, Uint8Array>();

const onnx = [{ name: 'model.onnx', bytes: network }];

test('The page is at most 60 lines', async () => {
  const texts = await Promise.all(['index.html', 'main.js'].map((name) => readFile(join(source, name), 'utf8')));
  expect(texts.join('').trimEnd().split('\n').length).toBeLessThanOrEqual(60);
});

describe.skipIf(!executablePath).each([
  ['isolated', isolation],
  ['bare', {}],
] as const)('the example page, %s', (setting, headers) => {
  test('A model that is dropped becomes one of the size, which is downloaded with its report', async () => {
    await opened(headers, async (page) => {
      expect(await page.evaluate('crossOriginIsolated')).toBe(setting === 'isolated');
      // Frames that are drawn while the model is made, and what they show.
      await page.evaluate(`
        window.shown = [];
        const look = () => {
          const { disabled } = document.getElementById('cancel');
          if (!disabled) shown.push([document.querySelector('progress').value, document.getElementById('left').textContent]);
          requestAnimationFrame(look);
        };
        look();`);
      await begin(page, onnx, '9kB');
      const status = page.getByRole('status');
      await status.getByRole('link').first().waitFor();
      const [, from, to] = /^(\d+) bytes became (\d+):/.exec((await status.textContent())!) ?? [];
      expect(Number(to)).toBeLessThanOrEqual(9000);
      const bytes = await downloaded(page, 'model.onnx');
      // Pages compress by another build of brotli, which differs most for small files.
      const compressed = (file: Uint8Array) => brotliCompressSync(file).length;
      expect(Number(from) / compressed(network)).toBeCloseTo(1, 1);
      expect(Number(to) / compressed(bytes)).toBeCloseTo(1, 1);
      made.set(setting, bytes);
      const model = await readModel(bytes);
      const { layers } = await inspect(model);
      const html = new TextDecoder().decode(await downloaded(page, 'report.html'));
      expect(rowsOf(html, 'Layers').map(({ layer, zeros }) => [layer, zeros])).toEqual(
        layers.map(({ name, zeros }) => [name, zeros.toLocaleString('en')]),
      );
      model.close();
      const shown = await page.evaluate<[number, string][]>('shown');
      const values = shown.map(([value]) => value);
      expect(new Set(values).size).toBeGreaterThan(3);
      expect(values).toEqual([...values].sort((a, b) => a - b));
      expect(shown.some(([, left]) => /^about \d+ s left$/.test(left))).toBe(true);
      expect(await page.getByRole('button', { name: 'Start' }).isEnabled()).toBe(true);
      expect(await page.getByRole('alert').textContent()).toBe('');
    });
  });

  test('Cancel ends it, and the next attempt works', async () => {
    await opened(headers, async (page) => {
      await begin(page, onnx, '9kB');
      await page.getByRole('button', { name: 'Cancel' }).click();
      await page.getByText('Cancelled.').waitFor();
      expect(await page.getByRole('link').count()).toBe(0);
      await begin(page, onnx, '13kB');
      await page.getByRole('link', { name: 'report.html' }).waitFor();
      expect(await page.getByRole('alert').textContent()).toBe('');
    });
  });

  test('What goes wrong is said in words, and then Start works again', async () => {
    const cases: readonly (readonly [Files, string, RegExp])[] = [
      [onnx, '300B', /no allowed setting makes the model that small.*Choose a larger target/],
      [onnx, 'three', /a size of at least one byte/],
      [[{ name: 'notes.txt', bytes: new TextEncoder().encode('no model') }], '3MB', /notes\.txt/],
      [[{ name: 'model.onnx', bytes: network.subarray(0, 900) }], '3MB', /model\.onnx/],
    ];
    await opened(headers, async (page) => {
      for (const [files, target, message] of cases) {
        await begin(page, files, target);
        await page.waitForFunction('document.getElementById("failed").textContent !== ""');
        expect(await page.getByRole('alert').textContent()).toMatch(message);
        expect(await page.getByRole('button', { name: 'Start' }).isEnabled()).toBe(true);
        expect(await page.getByRole('button', { name: 'Cancel' }).isDisabled()).toBe(true);
      }
    });
  });

  test('A model of several files is dropped with all of them, or it says which one is missing', async () => {
    const model = await fitModels['TensorFlow.js']();
    const files = [...(await model.toFiles())].map(([name, bytes]) => ({ name, bytes }));
    const { raw } = await sizesOf(model);
    const target = Math.round(raw / 3);
    expect(files.length).toBeGreaterThan(1);
    await opened(headers, async (page) => {
      await begin(page, files.slice(0, 1), String(target));
      await page.getByText(/drop all of its files together/).waitFor();
      expect(await page.getByRole('alert').textContent()).toContain(files[1]!.name);
      await begin(page, files, String(target));
      await page.getByRole('link').first().waitFor();
      const small = new Map<string, Uint8Array<ArrayBuffer>>();
      for (const { name } of files) small.set(name, await downloaded(page, name));
      const read = await readModel(small.get(files[0]!.name)!, { shards: (name) => small.get(name)! });
      expect(read.tensors.map(({ name }) => name)).toEqual(model.tensors.map(({ name }) => name));
      expect((await sizesOf(read)).brotli).toBeLessThanOrEqual(1.02 * target);
      read.close();
    });
    model.close();
  });
});

test.skipIf(!executablePath)('Isolated or not, the page makes the same model', () => {
  expect(made.size).toBe(2);
  expect(differsAt(made.get('isolated')!, made.get('bare')!)).toBe(-1);
});

test.skipIf(!executablePath)('axe finds nothing on the page, and the keyboard reaches all of it', async () => {
  await opened({}, async (page) => {
    await page.evaluate(axe.source);
    const { violations } = await page.evaluate<axe.AxeResults>('axe.run(document, { resultTypes: ["violations"] })');
    expect(violations.map(({ id, help }) => `${id}: ${help}`)).toEqual([]);
    const reached: string[] = [];
    for (let step = 0; step < 3; step++) {
      await page.keyboard.press('Tab');
      reached.push(await page.evaluate<string>('document.activeElement.id'));
    }
    expect(reached).toEqual(['files', 'target', 'start']);
  });
});
