import { playwright } from '@vitest/browser-playwright';
import { fileURLToPath } from 'node:url';
import { defineConfig, type TestProjectConfiguration } from 'vitest/config';
import { findChromium } from '../scripts/chromium.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const tests = 'tests/**/*.test.ts';
/** Machines are shared and slow at times: only what hangs is to fail. In milliseconds. */
const timeout = 100_000;
const patience = { testTimeout: timeout, hookTimeout: timeout, expect: { poll: { timeout } } };
const executablePath = await findChromium();

const args = [
  // As root, which CI often is, Chromium does not start its sandbox; a container's /dev/shm is small.
  ...['--no-sandbox', '--disable-dev-shm-usage'],
  // WebGPU without a GPU: an adapter in software.
  ...['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader', '--enable-features=Vulkan'],
];

function browser(name: string, headers: Record<string, string>): TestProjectConfiguration {
  return {
    root,
    server: { headers },
    optimizeDeps: {
      // Bundled ahead of time, these would lose sight of their wasm and thread files, which lie beside their modules.
      exclude: ['sparsifier', 'brotli-wasm', 'onnxruntime-web'],
      // Found only while a test runs, these would reload the page under it.
      include: [
        'sparsifier > @bufbuild/protobuf/wire',
        'sparsifier > d3-hierarchy',
        'sparsifier > d3-scale',
        'sparsifier > d3-shape',
        '@tensorflow/tfjs',
      ],
    },
    test: {
      name,
      ...patience,
      include: [tests],
      exclude: ['tests/**/*.node.test.ts'],
      browser: {
        enabled: true,
        headless: true,
        screenshotFailures: false,
        provider: playwright({ launchOptions: { executablePath, args } }),
        instances: [{ browser: 'chromium' }],
      },
    },
  };
}

export default defineConfig({
  root,
  test: {
    projects: [
      {
        root,
        test: {
          name: 'node',
          ...patience,
          include: [tests],
          exclude: ['tests/**/*.browser.test.ts'],
          environment: 'node',
          // Loaded by Node itself, as a user's program would.
          server: { deps: { external: [/\/packages\/sparsifier\/dist\//] } },
        },
      },
      browser('isolated', {
        'Cross-Origin-Opener-Policy': 'same-origin',
        'Cross-Origin-Embedder-Policy': 'require-corp',
      }),
      browser('bare', {}),
    ],
  },
});
