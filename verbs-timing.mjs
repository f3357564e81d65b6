import { loadEngine, Sparsifier } from 'sparsifier';
import { readModel } from 'sparsifier/formats';
import { kinds } from './bench/hostile/safetensors.mjs';
const engine = await loadEngine();
const proto = Object.getPrototypeOf(engine);
const calls = proto.calls;
const sums = new Map();
proto.calls = async function (list) { const b = performance.now(); const r = await calls.call(this, list); const key = list.map((c) => c[0]).join('+'); const e = sums.get(key) ?? [0, 0]; e[0] += performance.now() - b; e[1]++; sums.set(key, e); return r; };
const [name, n] = [process.argv[2], Number(process.argv[3])];
const kind = kinds.find((k) => k.name === name);
const [bytes] = kind.make(n).values();
for (let i = 0; i < 2; i++) {
  sums.clear();
  const b = performance.now();
  const model = await readModel(bytes);
  const r = performance.now();
  await new Sparsifier(model, { granularity: 'weight', context: 'local', criteria: 'largeFinal', layerType: 'all', ...kind.options }).sparsifyModel(50);
  model.close();
  console.log('read', (r - b).toFixed(0), 'prune', (performance.now() - r).toFixed(0), Object.fromEntries([...sums].map(([k, v]) => [k, v.map((x) => x.toFixed(0)).join(' ms in ')])));
}
process.exit();
