/** As `prune`, in a worker of the page's own. */
export function pruneInWorker(address) {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
    worker.addEventListener('message', ({ data }) => resolve(data));
    worker.addEventListener('error', ({ message }) => reject(new Error(message || 'worker.js could not be loaded')));
    worker.postMessage(address);
  });
}
