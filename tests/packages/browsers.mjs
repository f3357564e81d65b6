// Opens pages in Chromium and Firefox until they report their result.
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findChromium } from '../../scripts/chromium.mjs';
import { Failure, onPath, run } from '../../scripts/steps.mjs';

const patience = 120_000;

const commands = {
  chromium: findChromium,
  firefox: async () => onPath('firefox-esr') ?? onPath('firefox'),
};

async function commandOf(browser) {
  const command = await commands[browser]();
  if (command) return command;
  throw new Failure(`There is no ${browser}. On Debian: apt-get install chromium firefox-esr`);
}

/** The version of an installed browser. */
export const versionOf = async (browser) => /\d[\w.]*/.exec(await run(await commandOf(browser), ['--version']))[0];

/** Opens a page. @returns what it says in its console, and how it is closed */
const openers = {
  async chromium(address) {
    const { chromium } = await import('playwright');
    const args = ['--no-sandbox', '--disable-dev-shm-usage'];
    const browser = await chromium.launch({ executablePath: await commandOf('chromium'), args });
    const said = [];
    const page = await browser.newPage();
    page.on('console', (message) => said.push(message.text()));
    page.on('pageerror', (error) => said.push(String(error)));
    await page.goto(address, { waitUntil: 'commit' });
    return { said, close: () => browser.close() };
  },
  async firefox(address) {
    const command = await commandOf('firefox');
    const profile = await mkdtemp(join(tmpdir(), 'sparsifier-firefox-'));
    const words = ['--headless', '--no-remote', '--profile', profile, address];
    const child = spawn(command, words, { env: { ...process.env, HOME: profile }, stdio: 'ignore' });
    const end = new Promise((resolve) => child.on('close', resolve));
    const close = async () => {
      child.kill();
      await end;
      await rm(profile, { recursive: true, force: true, maxRetries: 5 });
    };
    return { said: [], close };
  },
};

/** The result that the page of a site reports. */
export async function visit({ address, result }, browser = 'chromium') {
  const { said, close } = await openers[browser](address);
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Failure(`${address} reported nothing\n${said.join('\n')}`)), patience);
  });
  try {
    return { ...(await Promise.race([result, late])), said };
  } finally {
    clearTimeout(timer);
    await close();
  }
}
