// The protocol of engines in JavaScript: each request is a line of JSON with a case, each response is one with times
// and figures of the result.
import { closeSync, openSync, readFileSync, readSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { look, tensorsOf } from './weights.mjs';

/** @param work prunes tensors in place and returns times in milliseconds */
export async function serve(work) {
  let weights = new Float32Array();
  for await (const line of createInterface({ input: process.stdin })) {
    const request = JSON.parse(line);
    if (weights.length !== request.weights) weights = new Float32Array(request.weights);
    const descriptor = openSync(request.file);
    readSync(descriptor, weights);
    closeSync(descriptor);
    resetPeak();
    const times = await work(tensorsOf(weights, request.shapes), request);
    console.log(JSON.stringify({ ...times, peakMemory: peakMemory(), ...look(weights) }));
  }
  process.exit();
}

/** Measures an engine that works on the weights in place. */
export function inPlace(work) {
  const begun = performance.now();
  work();
  const time = performance.now() - begun;
  return { engine: time, copyIn: 0, copyOut: 0, whole: time };
}

// Linux can reset the peak. Other systems do not report it.
function resetPeak() {
  if (process.platform === 'linux') writeFileSync('/proc/self/clear_refs', '5');
}

/** The peak memory of this process since then in bytes, including the weights. */
function peakMemory() {
  if (process.platform !== 'linux') return;
  return 1024 * Number(readFileSync('/proc/self/status', 'utf8').match(/VmHWM:\s*(\d+) kB/)[1]);
}
