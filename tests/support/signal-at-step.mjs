// Loaded before the command line: sends it a signal before a step of writing files, and maybe another one while that step
// takes long. Parameters: step (its name; without it, every step that changes files), number (which of these),
// signals (in order).
import { onEachStep } from './file-steps.mjs';

const parameters = new URL(import.meta.url).searchParams;
const [step, number, signals] = ['step', 'number', 'signals'].map((name) => parameters.get(name));
let steps = 0;
onEachStep(async (name) => {
  if ((step !== null && name !== step) || ++steps !== Number(number)) return;
  for (const signal of signals.split(',')) {
    process.kill(process.pid, signal);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}, false);
