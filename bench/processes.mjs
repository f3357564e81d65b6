// Engines that are compared have their own processes, which answer one request at a time: a line of JSON each way.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

/** Starts the process of an engine. */
export function start({ name, program, parameters }) {
  const { OPENBLAS_CORETYPE, OPENBLAS_L2_SIZE, ...environment } = process.env;
  const child = spawn(program, parameters, { stdio: ['pipe', 'pipe', 'inherit'], env: environment });
  const ended = new Promise((resolve) => child.on('close', resolve));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const request = async (what) => {
    child.stdin.write(`${JSON.stringify(what)}\n`);
    const { value, done } = await lines.next();
    if (done) throw new Error(`${name} ended with ${await ended}`);
    return JSON.parse(value);
  };
  const stop = () => {
    child.stdin.end();
    return ended;
  };
  return { request, stop };
}
