// The WebGPU build of onnxruntime-web in a page.
import * as ort from 'onnxruntime-web/webgpu';

interface Adapter {
  readonly features: ReadonlySet<string>;
}

/**
 * Undefined or null where Chromium has none, so that tests that need it are skipped. They run in isolated pages only: they are
 * slow on an adapter in software, and whether a page is isolated makes no difference to WebGPU.
 */
export async function webgpuAdapter(): Promise<Adapter | null | undefined> {
  const { gpu } = navigator as Navigator & { gpu?: { requestAdapter(): Promise<Adapter | null> } };
  return crossOriginIsolated ? gpu?.requestAdapter() : undefined;
}

export function useWebgpuBuild(): void {
  ort.env.wasm.numThreads = 1;
  ort.env.logLevel = 'fatal';
  ort.env.wasm.wasmPaths = {
    wasm: new URL('../../node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded.asyncify.wasm', import.meta.url),
  };
}
