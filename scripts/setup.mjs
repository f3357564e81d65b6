// Installs the tools that are missing on this machine: `npm run setup`, and the first step of every other command.
import { setUpChromium } from './chromium.mjs';
import { installPackages } from './pnpm.mjs';
import { main, seconds } from './steps.mjs';
import { setUpToolchain } from './toolchain.mjs';
import { setUpWasmTools } from './wasm-tools.mjs';

export async function setUp({ chromium = false } = {}) {
  const start = performance.now();
  await installPackages();
  const toolchain = await setUpToolchain();
  const wasmTools = await setUpWasmTools(toolchain);
  if (chromium) await setUpChromium();
  console.log(`set up, with ${toolchain.id} ... ${seconds(start)}`);
  return { toolchain, wasmTools };
}

await main(import.meta, () => setUp({ chromium: true }));
