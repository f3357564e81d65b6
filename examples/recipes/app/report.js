import { pruneInWorker } from './in-worker.js';
import { prune } from './prune.js';

const caught = (result) => result.catch((error) => ({ error: String(error) }));

/** Prunes a model in the page and in a worker, shows both results, and sends them to the server. */
export async function report() {
  const address = new URL('/model.onnx', location.href).href;
  const [cores, isolated] = [navigator.hardwareConcurrency, crossOriginIsolated];
  const page = await caught(prune(address));
  const worker = await caught(pruneInWorker(address));
  const result = JSON.stringify({ cores, isolated, page, worker });
  document.querySelector('output').textContent = result;
  await fetch('/result', { method: 'POST', body: result });
}
