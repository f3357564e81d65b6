// Measures the time of the engine for each granularity, and compares it with `weight` on the same memory: 25 million
// weights in the layouts of the formats, on 2 threads. Copies into and out of the engine are not counted. Reports
// medians of several rounds that take turns, slowest first. `npm run bench -- granularities HWIO`: only cases whose
// names contain this word. `permuted`: every order of the axes of a convolution instead.
import { loadEngine, Sparsifier } from 'sparsifier';
import { fromArrays } from 'sparsifier/formats/arrays';
import { granularitiesOf, inWords, isPattern } from '../packages/sparsifier/dist/internal.js';

const rounds = 5;
const threads = 2;

const conv = { kind: 'conv2d', sizes: { out: 1667, in: 1667, height: 3, width: 3 } };
const dense = { kind: 'dense', sizes: { out: 5000, in: 5000 } };
const blocks = [{ block: { in: 4 } }, { block: { out: 4, in: 4 } }];
const formsOf = (kind) => [
  ...blocks,
  ...(kind === 'conv2d' ? [{ block: { height: 2, width: 2 } }] : []),
  { nm: [2, 4] },
];
const small = ['row', 'column', 'kernel', 'filter', 'layer'];
const cases = [
  { name: 'conv2d OIHW', ...conv, order: 'out in height width' },
  { name: 'conv2d HWIO', ...conv, order: 'height width in out' },
  { name: 'convTranspose2d IOHW', ...conv, kind: 'convTranspose2d', order: 'in out height width' },
  { name: 'convTranspose2d HWOI', ...conv, kind: 'convTranspose2d', order: 'height width out in' },
  // Strides that are multiples of a page map to few cache lines.
  ...['out in height width', 'height width in out'].map((order) => ({
    name: `conv2d ${letters(order)} 2048`,
    kind: 'conv2d',
    sizes: { out: 2048, in: 1360, height: 3, width: 3 },
    order,
  })),
  ...['out in height width', 'height width in out'].map((order) => ({
    name: `conv2d ${letters(order)} 7x7`,
    kind: 'conv2d',
    sizes: { out: 713, in: 719, height: 7, width: 7 },
    order,
  })),
  ...['out in height width', 'height width in out'].map((order) => ({
    name: `conv2d ${letters(order)} 1x1`,
    kind: 'conv2d',
    sizes: { out: 5000, in: 5000, height: 1, width: 1 },
    order,
  })),
  ...['out in height width', 'height width out multiplier'].map((order) => ({
    name: `depthwise ${letters(order)}`,
    kind: 'conv2d',
    sizes: { out: 2_777_777, in: 1, multiplier: 1, height: 3, width: 3 },
    order,
  })),
  ...['out in depth height width', 'depth height width in out'].map((order) => ({
    name: `conv3d ${letters(order)}`,
    kind: 'conv3d',
    sizes: { out: 960, in: 967, depth: 3, height: 3, width: 3 },
    order,
  })),
  ...['out in width', 'width in out'].map((order) => ({
    name: `conv1d ${letters(order)}`,
    kind: 'conv1d',
    sizes: { out: 2887, in: 2887, width: 3 },
    order,
  })),
  { name: 'dense OI', ...dense, order: 'out in' },
  { name: 'dense IO', ...dense, order: 'in out' },
  ...['out in height width', 'height width in out'].flatMap((order) =>
    [
      ...['random', 'squaredFinal', 'movement', 'wanda'].map((criteria) => ({ criteria })),
      ...['sum', 'l2', 'max'].map((reducer) => ({ reducer })),
    ].map((options) => ({
      name: `conv2d ${letters(order)} ${Object.values(options)}`,
      ...conv,
      order,
      granularities: small,
      ...options,
    })),
  ),
];

const words = process.argv.slice(2);
const chosen = words.includes('permuted')
  ? permutations(Object.keys(conv.sizes)).map((order) => ({ name: letters(order), ...conv, order: order.join(' ') }))
  : cases.filter(({ name }) => words.every((word) => name.includes(word)));
const largest = Math.max(...chosen.map(({ sizes }) => Object.values(sizes).reduce((a, b) => a * b)));
const source = numbers(largest, 12345);
const target = new Float32Array(largest);
const before = numbers(largest, 54321);

await loadEngine({ threads });
console.log(`25 million weights, float32, 50 %, Node ${process.version}, ${threads} threads, medians of ${rounds}`);
console.log('case, granularity                               engine, ms   x weight   inspect  score   mask  apply');
const results = [];
for (const each of chosen) results.push(...(await measure(each)));
for (const { name, granularity, engine, ratio, stages } of results.sort((a, b) => b.ratio - a.ratio)) {
  const cells = stages.map((time) => time.toFixed(0).padStart(7)).join('');
  console.log(
    `${`${name}, ${granularity}`.padEnd(46)}${engine.toFixed(1).padStart(12)}${ratio.toFixed(2).padStart(11)}   ${cells}`,
  );
}

async function measure({
  name,
  kind,
  sizes,
  order,
  granularities = [...granularitiesOf(kind), ...formsOf(kind)],
  ...options
}) {
  const roles = order.split(' ');
  // For the granularity `layer` a unit is a whole tensor, so the memory is split into four tensors.
  const model = (tensors) => {
    const shape = roles.map((role) => (role === 'out' ? Math.floor(sizes.out / tensors) : sizes[role]));
    const length = shape.reduce((a, b) => a * b);
    const names = Array.from({ length: tensors }, (_, index) => `layer ${index}`);
    const part = (array) => (_, index) => array.subarray(index * length, (index + 1) * length);
    const given = (make) => Object.fromEntries(names.map((each, index) => [each, make(each, index)]));
    return {
      model: fromArrays(given((each, index) => ({ kind, roles, shape, data: part(target)(each, index) }))),
      state: {
        initial: given(part(before)),
        activations: given(() => numbers(sizes.in, 1).map(Math.abs)),
      },
    };
  };
  const [one, four] = [model(1), model(4)];
  const runs = [...new Set(['weight', ...granularities, 'weight of 4'])].map((granularity) => ({
    granularity,
    times: [],
    stages: { inspect: [], score: [], mask: [], apply: [] },
  }));
  // The first round is for warm-up and is not counted.
  for (let round = 0; round <= rounds; round++) {
    for (const { granularity, times, stages } of runs) {
      const isNetwork = granularity === 'layer' || granularity === 'weight of 4';
      const { model, state } = isNetwork ? four : one;
      target.set(source);
      const sparsifier = new Sparsifier(model, {
        criteria: 'largeFinal',
        ...options,
        ...(options.criteria === 'movement' && { initial: state.initial }),
        ...(options.criteria === 'wanda' && { activations: state.activations }),
        granularity: granularity === 'weight of 4' ? 'weight' : granularity,
        context: isNetwork ? 'global' : 'local',
        layerType: 'all',
      });
      const spent = { load: 0, inspect: 0, score: 0, mask: 0, apply: 0, store: 0 };
      let last = performance.now();
      const { total } = await sparsifier.sparsifyModel(isPattern(granularity) ? undefined : 50, {
        onProgress: ({ stage }) => {
          const now = performance.now();
          spent[stage] += now - last;
          last = now;
        },
      });
      if (!isPattern(granularity) && total.keptUnits !== total.units - halfOf(total.units))
        throw new Error(`${inWords(granularity)}: ${total.keptUnits} kept`);
      if (round === 0) continue;
      for (const [stage, list] of Object.entries(stages)) list.push(spent[stage]);
      times.push(spent.inspect + spent.score + spent.mask + spent.apply);
    }
  }
  const engineOf = (name) => median(runs.find(({ granularity }) => granularity === name).times);
  return runs
    .filter(({ granularity }) => granularity !== 'weight of 4')
    .map(({ granularity, times, stages }) => ({
      name,
      granularity: inWords(granularity),
      engine: median(times),
      ratio: median(times) / engineOf(granularity === 'layer' ? 'weight of 4' : 'weight'),
      stages: Object.values(stages).map(median),
    }));
}

/** Rounds halves to even, and keeps at least one unit. */
function halfOf(units) {
  const half = Math.floor(units / 2);
  return Math.min(units % 2 === 1 && half % 2 === 1 ? half + 1 : half, units - 1);
}

function numbers(length, seed) {
  let state = seed;
  return new Float32Array(length).map(() => ((state = (Math.imul(state, 1664525) + 1013904223) | 0) / 2 ** 31) ** 3);
}

function letters(order) {
  return (Array.isArray(order) ? order : order.split(' ')).map((role) => role[0].toUpperCase()).join('');
}

function permutations(list) {
  if (list.length < 2) return [list];
  return list.flatMap((first) => permutations(list.filter((each) => each !== first)).map((rest) => [first, ...rest]));
}

function median(list) {
  return list.sort((a, b) => a - b)[Math.floor(list.length / 2)];
}
