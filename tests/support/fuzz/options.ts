// The options of calls, and those of the command line. Node only.
import { inspect, Sparsifier, SparsifyError } from 'sparsifier';
import { readModel } from 'sparsifier/formats';
import { fromArrays } from 'sparsifier/formats/arrays';
import { quantize } from 'sparsifier/quantize';
import * as parse from '../../../packages/sparsifier/dist/cli/parse.js';
import { expectNoMemoryInUse, expectSame, layerOf, layoutOf } from '../layers.js';
import { copyOf } from '../oracle.js';
import { safetensorsFile } from '../safetensors-builder.js';
import type { Input } from './input.js';
import { attempt, hold, type Target } from './target.js';

/** What is given to calls. Any part may be missing, or be anything. */
interface Given {
  readonly sparsifier?: unknown;
  readonly sparsity?: unknown;
  readonly call?: unknown;
  readonly reading?: unknown;
  readonly quantize?: unknown;
  /** Texts of the command line, by the names of functions that read them. */
  readonly words?: Readonly<Record<string, readonly string[]>>;
}

const layers = {
  conv: layerOf(layoutOf('conv2d')),
  depthwise: layerOf(layoutOf('depthwise conv2d')),
  dense: layerOf(layoutOf('dense')),
};
const file = safetensorsFile({ 'conv.weight': [4, 3, 3, 3], 'conv.bias': [4], 'fc.weight': [3, 8] });

/** Those of the command line take one text, or several. */
const parsers: Readonly<Record<string, (texts: string[]) => unknown>> = {
  ...Object.fromEntries(
    (['granularityOf', 'kindsOf', 'criterionOf', 'whole', 'above0', 'share', 'nameOf'] as const).map((name) => [
      name,
      (texts: string[]) => texts.map((text) => parse[name](text)),
    ]),
  ),
  rulesOf: (texts) => parse.rulesOf({ include: texts, exclude: texts }),
  parseSparsity: parse.parseSparsity,
  limitsOf: (texts) => parse.limitsOf({ minKeep: texts, maxSparsity: texts }),
  parseRankings: parse.parseRankings,
  parseLayers: parse.parseLayers,
};

/** Whether an error is one that the command line prints in a line of its own. */
const isPrinted = (error: unknown): boolean =>
  error instanceof SparsifyError || (error as { code?: unknown }).code === 'commander.invalidArgument';

const isEmpty = (value: unknown): boolean => Object.keys(Object(value)).length === 0;

function checkWords(words: Given['words']): void {
  if (typeof words !== 'object' || words === null) return;
  for (const [name, texts] of Object.entries(words)) {
    if (!Object.hasOwn(parsers, name) || !Array.isArray(texts)) continue;
    try {
      const read = parsers[name]!(texts.map(String));
      const isLost = texts.length > 0 && ['parseRankings', 'parseLayers'].includes(name) && isEmpty(read);
      hold(!isLost, `${name} loses ${texts.join(' ')}`);
    } catch (error) {
      if (!isPrinted(error)) throw error;
    }
  }
}

const inputOf = (given: Given): Input => ({ bytes: Uint8Array.from(new TextEncoder().encode(JSON.stringify(given))) });

const seeds: Readonly<Record<string, Given>> = {
  nothing: {},
  'weights of all layers': { sparsifier: { layerType: 'all' }, sparsity: 50 },
  filters: {
    sparsifier: {
      granularity: 'filter',
      context: 'global',
      normalizer: 'mean',
      reducer: 'l2',
      minKeep: 1,
      maxSparsity: 90,
    },
    sparsity: 30,
    call: { roundTo: 2 },
  },
  'a pattern': { sparsifier: { granularity: { nm: [2, 4] }, layerType: ['dense'] } },
  blocks: {
    sparsifier: { granularity: { block: { out: 2, in: 3 } }, layerType: 'all' },
    sparsity: { dense: 50, 'c*': { keep: 3 } },
  },
  'axes of units': { sparsifier: { granularity: { spanning: ['in', 'height'] } }, sparsity: [50] },
  'random weights': {
    sparsifier: { criteria: 'random', seed: 7, exclude: [{ depthwise: true }] },
    sparsity: { remove: 3 },
  },
  'a budget': {
    sparsifier: {
      context: 'global',
      budget: 'erk',
      rankTogether: { first: ['conv', 'd*'] },
      layerType: 'all',
      minKeep: { '*': 2 },
    },
    sparsity: 40,
    reading: { layers: { 'fc.weight': { kind: 'dense', roles: ['out', 'in'] } }, limits: { depth: 5, tensors: 10 } },
    quantize: { weights: 'float16', others: 'float16', rules: { include: ['conv*'], exclude: { smallerThan: 9 } } },
  },
  'names of properties': {
    words: { parseRankings: ['__proto__=a,b'], parseLayers: ['__proto__=dense'], limitsOf: ['__proto__=3'] },
    sparsity: JSON.parse('{ "__proto__": 50, "constructor": 50 }') as unknown,
  },
  'words of the command line': {
    words: {
      granularityOf: ['filter', '2:4', 'block:out=1,in=4', 'spanning:in,height'],
      kindsOf: ['dense,conv2d', 'all'],
      criterionOf: ['largeFinal', 'large_final'],
      whole: ['1', '-0', '1e3'],
      above0: ['0.5'],
      share: ['0.25'],
      nameOf: ['a.onnx'],
      rulesOf: ['conv*', 'kind:dense', 'is:depthwise', 'smaller:1000', 're:^a'],
      parseSparsity: ['50', 'conv=30', 'dense=keep:3'],
      limitsOf: ['90', 'conv=3'],
      parseRankings: ['encoder=block1*,block2*', 'rest=c'],
      parseLayers: ['fc.weight=dense:out,in'],
    },
  },
};

export const options: Target = {
  files: ['options/', 'cli/parse', 'quantization/options', 'formats/reading'],
  seeds: async () => Object.fromEntries(Object.entries(seeds).map(([name, given]) => [name, inputOf(given)])),
  check: async ({ bytes }) => {
    let given: Given;
    try {
      given = Object(JSON.parse(Buffer.from(bytes).toString()));
    } catch {
      return false;
    }
    checkWords(given.words);
    const copies = copyOf(layers);
    const model = fromArrays(copies);
    const report = await attempt(async () => {
      const sparsifier = new Sparsifier(model, given.sparsifier as never);
      await attempt(() => sparsifier.explain(given.sparsity as never, given.call as never));
      expectSame(copies, layers, 'after what only explains');
      return sparsifier.sparsifyModel(given.sparsity as never, given.call as never);
    });
    if (report === undefined) expectSame(copies, layers, 'after a refused call');
    else String(report);
    const read = await attempt(() => readModel(file, given.reading as never));
    if (read) {
      await attempt(() => inspect(read));
      const made = await attempt(() => quantize(read, given.quantize as never));
      made?.model.close();
      read.close();
    }
    await expectNoMemoryInUse();
    return report !== undefined;
  },
};
