// Checkpoints that were made to take long.

/** A safetensors file of tensors `[name, shape]` of 32-bit floats. */
export function checkpoint(tensors) {
  const header = {};
  let end = 0;
  for (const [name, shape] of tensors) {
    const bytes = 4 * shape.reduce((a, b) => a * b, 1);
    header[name] = { dtype: 'F32', shape, data_offsets: [end, (end += bytes)] };
  }
  const text = new TextEncoder().encode(JSON.stringify(header));
  const file = new Uint8Array(8 + text.length + end);
  new DataView(file.buffer).setBigUint64(0, BigInt(text.length), true);
  file.set(text, 8);
  const numbers = new Float32Array(end / 4).map((_, index) => ((index * 7919) % 1009) / 1009 + 0.01);
  file.set(new Uint8Array(numbers.buffer), 8 + text.length);
  return new Map([['model.safetensors', file]]);
}

const named = (name) => checkpoint([[name, [2, 2]]]);
const many = (n, tensorsOf) => checkpoint(Array.from({ length: n }, (_, index) => tensorsOf(index)).flat());
const layer = (index) => [[`layers.${index}.weight`, [2, 2]]];

export const kinds = [
  { name: '`weight_ih` x n + `.weight_ih_l0`', n: 40_000, make: (n) => named(`${'weight_ih'.repeat(n)}.weight_ih_l0`) },
  { name: 'a name of n letters', n: 400_000, make: (n) => named(`${'a'.repeat(n)}.weight`) },
  { name: 'a module of n digits', n: 400_000, make: (n) => named(`norm${'1'.repeat(n)}x.weight`) },
  { name: 'n underscores', n: 400_000, make: (n) => named(`${'_'.repeat(n)}emb.weight`) },
  { name: 'n modules of one name', n: 100_000, make: (n) => named(`${'0.'.repeat(n)}weight`) },
  { name: 'n norms in one name', n: 100_000, make: (n) => named(`${'norm'.repeat(n)}_.weight`) },
  { name: 'n tiny layers', n: 40_000, make: (n) => many(n, layer) },
  { name: 'n tiny layers, global', n: 40_000, options: { context: 'global' }, make: (n) => many(n, layer) },
  { name: 'n tiny layers, channels', n: 40_000, options: { granularity: 'filter' }, make: (n) => many(n, layer) },
  {
    name: 'n tiny layers with a bias each',
    n: 20_000,
    options: { granularity: 'filter' },
    make: (n) => many(n, (index) => [...layer(index), [`layers.${index}.bias`, [2]]]),
  },
  {
    name: 'n recurrent layers',
    n: 20_000,
    make: (n) =>
      many(n, (index) => [
        [`${index}.weight_ih_l0`, [8, 3]],
        [`${index}.weight_hh_l0`, [8, 2]],
      ]),
  },
  { name: 'n tensors that are skipped', n: 40_000, make: (n) => many(n, (index) => [[`t${index}`, [2, 2]]]) },
];
