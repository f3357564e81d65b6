// This package in Node, on a given number of threads: `sparsifier.mjs 2`.
import { loadEngine } from 'sparsifier';
import { prune } from './prune.mjs';
import { serve } from './serve.mjs';

const threads = Number(process.argv[2]);
const engine = await loadEngine({ threads });
if (engine.threads !== threads) throw new Error(engine.why);
await serve((tensors, request) => prune(engine, tensors, request));
