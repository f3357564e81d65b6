// How an engine in JavaScript answers: one line of JSON with a case comes in, one with times and the result's figures
// goes out.
import { closeSync, openSync, readFileSync, readSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { look, tensorsOf } from './weights.mjs';

/** @param work prunes tensors in place, and gives times in milliseconds */
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

/** Measures an engine that works on the weights where they lie. */
export function inPlace(work) {
  const begun = performance.now();
  work();
  const time = performance.now() - begun;
  return { engine: time, copyIn: 0, copyOut: 0, whole: time };
}

// Linux forgets the peak so far when asked to, and no other system tells it.
function resetPeak() {
  if (process.platform === 'linux') writeFileSync('/proc/self/clear_refs', '5');
}

/** The most memory of this process since then, in bytes, its weights included. */
function peakMemory() {
  if (process.platform !== 'linux') return;
  return 1024 * Number(readFileSync('/proc/self/status', 'utf8').match(/VmHWM:\s*(\d+) kB/)[1]);
}
