// Runs a program of the target wasm32-wasip1 in Node, for cargo: see setUpWasi in toolchain.mjs.
import { readFileSync } from 'node:fs';
import { WASI } from 'node:wasi';

const [file, ...rest] = process.argv.slice(2);
const wasi = new WASI({ version: 'preview1', args: [file, ...rest], env: process.env, returnOnExit: true });
const module = await WebAssembly.compile(readFileSync(file));

// What a C library lacks that is older than Rust's std: functions of threads, of which none can be made.
const notSupported = 52;
const missing = WebAssembly.Module.imports(module).filter(({ module: from }) => from === 'env');
const env = Object.fromEntries(missing.map(({ name }) => [name, () => (name === 'pthread_create' ? notSupported : 0)]));

process.exitCode = wasi.start(await WebAssembly.instantiate(module, { ...wasi.getImportObject(), env }));
