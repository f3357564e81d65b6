import axe from 'axe-core';
import { chromium, type Browser, type Page } from 'playwright';
import { Sparsifier, type Report } from 'sparsifier';
import { fit } from 'sparsifier/fit';
import { readModel } from 'sparsifier/formats';
import { readSafetensors } from 'sparsifier/formats/safetensors';
import { reportPage } from 'sparsifier/report';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { findChromium } from '../../scripts/chromium.mjs';
import { network } from '../support/fit-models.js';
import { hostileNames } from '../support/hostile-names.js';
import { rowsOf } from '../support/page.js';
import { safetensorsFile } from '../support/safetensors-builder.js';

// What a page is like in a browser, as a file that someone opens.

const executablePath = await findChromium();
const address = 'https://page.test/report.html';

let browser: Browser;
beforeAll(async () => {
  if (executablePath === undefined) return;
  browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
});
afterAll(() => browser?.close());

interface Setting {
  readonly scheme?: 'light' | 'dark';
  readonly width?: number;
}

/** Shows a page, uses it, and expects that it asks for nothing and says nothing in the console. */
async function shown(html: string, { scheme = 'light', width = 1280 }: Setting, use: (page: Page) => Promise<void>) {
  const page = await browser.newPage({ colorScheme: scheme, viewport: { width, height: 900 }, bypassCSP: false });
  try {
    const [said, asked]: [string[], string[]] = [[], []];
    page.on('console', (message) => said.push(message.text()));
    page.on('pageerror', (error) => said.push(error.message));
    page.on('dialog', (dialog) => said.push(dialog.message()));
    await page.route('**/*', (route) => {
      asked.push(route.request().url());
      return route.fulfill({ contentType: 'text/html', body: html });
    });
    await page.goto(address);
    await use(page);
    expect([said, asked.filter((url) => !url.endsWith('/favicon.ico'))]).toEqual([[], [address]]);
  } finally {
    await page.close();
  }
}

/** What axe finds. It runs beside the page, whose policy allows no scripts. */
async function foundByAxe(page: Page): Promise<string[]> {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate<axe.AxeResults>('axe.run(document, { resultTypes: ["violations"] })');
  return violations.flatMap(({ id, nodes }) =>
    nodes.map(({ html, failureSummary }) => `${id}: ${html} ${failureSummary}`),
  );
}

/** The pages that are looked at, made once. */
const pages: Record<string, () => Promise<string>> = {
  async fit() {
    const model = await readModel(network);
    const { model: small, report } = await fit(model, { target: '9kB' });
    const warnings = ['1 layer lost all of its weights: head; `minKeep: 1` keeps some'];
    const page = await reportPage({ ...report, warnings }, { before: model, after: small });
    model.close();
    small.close();
    return page;
  },
  async prune() {
    const names = Object.values(hostileNames).filter((name) => !/[\ud800-\udfff]/.test(name));
    const shapes = Object.fromEntries([...names, 'طبقة', 'dense'].map((name) => [`${name}.weight`, [24, 18]]));
    const [before, after] = [
      await readSafetensors(safetensorsFile(shapes)),
      await readSafetensors(safetensorsFile(shapes)),
    ];
    const report = await new Sparsifier(after, { layerType: 'all' }).sparsifyModel(60);
    const page = await reportPage(report, { before, after, title: names.join(' ') });
    before.close();
    after.close();
    return page;
  },
};
const made = new Map<string, Promise<string>>();
const pageOf = (name: string): Promise<string> => {
  made.set(name, made.get(name) ?? pages[name]!());
  return made.get(name)!;
};

describe.skipIf(!executablePath).each(Object.keys(pages))('the page of %s', (name) => {
  test.each([
    ['light', 1280],
    ['dark', 1280],
    ['light', 400],
    ['dark', 400],
  ] as const)(
    'In %s colours and %s pixels wide axe finds nothing, whatever colours the map has',
    async (scheme, width) => {
      await shown(await pageOf(name), { scheme, width }, async (page) => {
        expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(width);
        expect(await foundByAxe(page)).toEqual([]);
        await page.check('#by-error');
        expect(await page.isVisible('.legend.of-error')).toBe(true);
        expect(await page.isVisible('.legend.of-sparsity')).toBe(false);
        await page.evaluate('for (const each of document.querySelectorAll("details")) each.open = true');
        expect(await foundByAxe(page)).toEqual([]);
      });
    },
  );

  test('The keyboard reaches the layers, each cell of the map, and what is folded', async () => {
    await shown(await pageOf(name), {}, async (page) => {
      await page.keyboard.press('Tab');
      expect(await page.evaluate('document.activeElement.textContent')).toBe('Skip to the table of layers');
      expect(await page.evaluate('document.activeElement.getBoundingClientRect().left')).toBeGreaterThanOrEqual(0);
      const cells = await page.locator('.map a').count();
      await page.focus('#by-sparsity');
      await page.keyboard.press('ArrowRight');
      expect(await page.isChecked('#by-error')).toBe(true);
      for (let cell = 0; cell < cells; cell++) {
        await page.keyboard.press('Tab');
        const [title, width] = await page.evaluate<[string, string]>(
          '[document.activeElement.title, getComputedStyle(document.activeElement).outlineWidth]',
        );
        expect([title, width]).toEqual([expect.stringMatching(/bytes.*%/s), '3px']);
      }
      await page.keyboard.press('Enter');
      expect(await page.evaluate('document.querySelector(":target").tagName')).toBe('TR');
      const [summary] = await page.locator('summary').all();
      await summary!.focus();
      await page.keyboard.press('Enter');
      expect(await page.evaluate('document.querySelector("details").open')).toBe(true);
    });
  });

  test('Each cell of the map leads to the row of its layer, and areas are those of the bytes', async () => {
    const html = await pageOf(name);
    await shown(html, {}, async (page) => {
      const cells = await page.evaluate<{ area: number; bytes: string; row: string }[]>(`
        [...document.querySelectorAll('.map a')].map((cell) => {
          const { width, height } = cell.getBoundingClientRect();
          const bytes = /: ([\\d,]+) bytes/.exec(cell.title)[1];
          return { area: width * height, bytes, row: document.querySelector(cell.hash).lastElementChild.textContent };
        })`);
      expect(cells).toHaveLength(rowsOf(html, 'Layers').length);
      const count = (text: string) => Number(text.replaceAll(',', ''));
      const scale = cells[0]!.area / count(cells[0]!.bytes);
      for (const { area, bytes, row } of cells) {
        expect(bytes).toBe(row);
        expect(area / count(bytes) / scale).toBeCloseTo(1, 1);
      }
    });
  });

  test('On paper it is light, all of it is there, and nothing is cut off', async () => {
    await shown(await pageOf(name), { scheme: 'dark', width: 794 }, async (page) => {
      await page.emulateMedia({ media: 'print' });
      expect(await page.evaluate('getComputedStyle(document.body).backgroundColor')).toBe('rgb(255, 255, 255)');
      expect(await page.evaluate('getComputedStyle(document.querySelector("h1")).color')).toBe('rgb(27, 35, 44)');
      expect(await page.evaluate('document.querySelector("details pre").checkVisibility()')).toBe(true);
      const pdf = await page.pdf({ format: 'A4' });
      expect(pdf.length).toBeGreaterThan(10_000);
    });
  });
});

describe.skipIf(!executablePath)('a page of many layers', () => {
  /** A report as large models have it. Nothing but its data is read. */
  const reportOf = (count: number): Report => {
    const layers = Array.from({ length: count }, (_, index) => {
      const [weights, zeros] = [1000 + ((index * 7919) % 5000), (index * 331) % 1000];
      const sparsity = (100 * zeros) / weights;
      return {
        ...{ name: `model.layers.${index}.mlp.down_proj`, kind: 'dense' as const, shape: [weights, 1], weights, zeros },
        ...{ removedWeights: zeros, sparsity, units: weights, removedUnits: zeros, keptUnits: weights - zeros },
        error: zeros / 1000,
      };
    });
    const [{ weights, ...first }] = layers as [(typeof layers)[number]];
    return {
      ...{ layers, skipped: [], bytes: 1e7, notes: [], warnings: [], engine: { threads: 1, why: 'one thread' } },
      ...{ total: { ...first, weights }, weights: { layers: 1, skipped: 0, model: 1 } },
    } as unknown as Report;
  };

  test('With 1,000 layers it has few elements and bytes, and each layer has a cell and a row', async () => {
    const html = await reportPage(reportOf(1000));
    expect(html.length).toBeLessThan(900_000);
    await shown(html, {}, async (page) => {
      expect(await page.evaluate('document.querySelectorAll("*").length')).toBeLessThan(15_000);
      expect(await page.locator('.map a').count()).toBe(1000);
      expect(await page.locator('tr[id]').count()).toBe(1000);
    });
  });

  test('With 20,000 layers it is not much larger, and says what is left out', async () => {
    const html = await reportPage(reportOf(20_000));
    expect(html.length).toBeLessThan(2_500_000);
    expect(html).toContain('The 2,000 largest of 20,000 layers.');
    expect(html).toContain('19,000 smaller layers');
    expect(html).toMatch(/… and [\d,]+ more lines/);
  });
});

test('A test of contrast fails where text cannot be read, so that those above can fail', async ({ skip }) => {
  if (!executablePath) return skip();
  const html = (await pageOf('prune')).replace('--pale: #57626f', '--pale: #c7ccd2');
  await shown(html, {}, async (page) => expect(await foundByAxe(page)).not.toEqual([]));
});
